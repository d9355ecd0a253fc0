"""A wide table, one row a person and one column a year, as person-years."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import COLUMNS, NUMBERS, Careers, Step
from laborllm.survey.door import FIRST_YEAR, LAST_YEAR, Source, as_polars, careers_from_frame
from laborllm.survey.flow import first_names, step
from laborllm.survey.occupations import Occupations
from laborllm.survey.tables.columns import blank_missing, rename, require_plain, stacked

YEARLY = ("occupation", "education", *NUMBERS)
"""What may have a column a year; everything else is one value a person."""

CENTURY = 50
"""Two digits from 50 on are years of the 1900s, those below are years of the 2000s."""

PLACES = {"{year}": r"(?P<year>\d{4})", "{yy}": r"(?P<yy>\d{2})"}


@dataclass(frozen=True)
class WideSource(Source):
    """A ``Source`` whose columns of a year are named by the file's own names.

    Attributes:
        patterns: our column name -> pattern of theirs.
        years: year of each row of the frame, shape (frame_rows,).
    """

    patterns: dict[str, str] = field(default_factory=dict)
    years: np.ndarray | None = field(default=None, compare=False)

    def at(self, column: str, row: int) -> str:
        if column not in self.patterns or self.years is None:
            return super().at(column, row)
        file, own = self.row(row)
        return f"{file}, column {yearly_column(self.patterns[column], int(self.years[row - 1]))}, row {own}"


def careers_from_wide(
    frame: Any,
    occupations: Occupations,
    *,
    patterns: dict[str, str],
    columns: dict[str, str] | None = None,
    missing: Sequence[int | float | str] = (),
    source: str = "table",
    survey: str = "survey",
) -> Careers:
    """Check a wide frame and make it a Careers table.

    Args:
        frame: any frame that narwhals reads (polars, pandas, pyarrow, …), one row a person.
        occupations: the closed list; every code of the frame must be on it.
        patterns: occupation and, if wanted, education, weight, wage and labor_income -> the names of their columns,
            with {year} for four digits or {yy} for two (50-99 are 1950-1999, 00-49 are 2000-2049).
        columns: our name -> theirs, of what is one value a person; not needed for columns that bear our name.
        missing: values that stand for missing ones.
        source: the table's name, for messages.
        survey: the population's name, where the frame has no survey column.

    Raises:
        LaborLLMError: a pattern is no pattern or fits no column, or the person-years are no careers (see
            ``careers_from_frame``).

    Examples:
        >>> import polars as pl
        >>> from laborllm.survey.occupations import Occupations
        >>> occupations = Occupations(codes=("436", "313"), titles=("Cooks", "Secretaries"), groups=("food", "cleric"))
        >>> frame = pl.DataFrame({"person": [1, 2], "occ84": [313, None], "occ85": [436, 436]})
        >>> careers = careers_from_wide(frame, occupations, patterns={"occupation": "occ{yy}"})
        >>> careers.table.select("person", "year", "occupation").rows()
        [(1, 1984, '313'), (1, 1985, '436'), (2, 1985, '436')]
        >>> [(step.what, step.person_years) for step in careers.flow]
        [('read from table: 2 years, 1984 to 1985', 4), ('dropped: no occupation in the year', 1)]
    """
    columns = columns or {}
    require_patterns(patterns, columns)
    table = as_polars(frame, source)
    long, read = long_from_wide(table, patterns, columns=columns, file=source)
    long, dropped = drop_absent(long)
    long, blanked = blank_missing(long, missing)
    place = wide_source([source], [table.height], long, patterns=patterns, columns=columns)
    return careers_from_frame(long, occupations, source=place, survey=survey, flow=[*read, *dropped, *blanked])


def require_patterns(patterns: dict[str, str], columns: dict[str, str]) -> None:
    """Refuse patterns without sense.

    Raises:
        LaborLLMError: a pattern is of a column that has no years, has not exactly one place for the year, is missing
            for the occupation, or a column is also mapped.
    """
    for ours, pattern in patterns.items():
        if ours not in YEARLY:
            raise LaborLLMError(
                f"survey.wide names {ours!r}; only {', '.join(YEARLY)} may have a column a year: "
                f"map one column with survey.columns"
            )
        if sum(pattern.count(place) for place in PLACES) != 1:
            raise LaborLLMError(
                f"survey.wide.{ours} is {pattern!r}; write {{year}} (four digits) or {{yy}} (two) once, "
                f'e.g. "occ{{year}}"'
            )
    if "occupation" not in patterns:
        raise LaborLLMError('survey.wide has no occupation; add e.g. { occupation = "occ{year}" }')
    for ours in columns:
        if ours not in COLUMNS:
            raise LaborLLMError(f"survey.columns maps {ours!r}, which is none of {', '.join(COLUMNS)}")
        if ours in patterns or ours == "year":
            raise LaborLLMError(f"survey.columns maps {ours!r}, which a wide table has once a year; remove it there")


def yearly_column(pattern: str, year: int) -> str:
    """The name of a year's column.

    Examples:
        >>> yearly_column("occ_{yy}", 2003)
        'occ_03'
    """
    return pattern.replace("{year}", str(year)).replace("{yy}", f"{year % 100:02}")


def columns_of_years(columns: Sequence[str], pattern: str, file: Path | str) -> dict[int, str]:
    """Year -> column, of the columns that fit a pattern, by year.

    Raises:
        LaborLLMError: a column that fits names no calendar year.

    Examples:
        >>> columns_of_years(["id", "occ_99", "occ_02", "occ_total"], "occ_{yy}", "mine.csv")
        {1999: 'occ_99', 2002: 'occ_02'}
    """
    found = {}
    expression = re.escape(pattern)
    for place, digits in PLACES.items():
        expression = expression.replace(re.escape(place), digits)
    for column in columns:
        match = re.fullmatch(expression, column, re.ASCII)
        if match is None:
            continue
        (kind, digits), *_ = match.groupdict().items()
        year = int(digits) + (0 if kind == "year" else 1900 if int(digits) >= CENTURY else 2000)
        if not FIRST_YEAR <= year <= LAST_YEAR:
            raise LaborLLMError(
                f"{file}, column {column}: fits survey.wide's {pattern!r}, but {year} is outside "
                f"{FIRST_YEAR}-{LAST_YEAR}; rename the column or narrow the pattern"
            )
        found[year] = column
    return dict(sorted(found.items()))


def long_from_wide(
    frame: pl.DataFrame, patterns: dict[str, str], *, columns: dict[str, str], file: Path | str
) -> tuple[pl.DataFrame, list[Step]]:
    """One row per person and year of an occupation column, the year's other columns beside it.

    Args:
        frame: the table as it stands, one row a person.
        patterns: our column name -> pattern of theirs; see ``careers_from_wide``.
        columns: our column name -> theirs, of what is one value a person.
        file: for messages.

    Returns:
        Columns row (the person's row in the table, counted from 1), year, person, those of ``patterns`` and whatever
        else of ``Careers.table`` is there; and the steps: what was read, and which years lack a column.

    Raises:
        LaborLLMError: no column fits the occupation's pattern, or one of another; or a column holds lists.
    """
    names = [name for name in COLUMNS if name != "year" and name not in patterns]
    people = rename(frame, columns, file, names=names, keys=["person"]).with_row_index("row", offset=1)
    found = {ours: columns_of_years(frame.columns, pattern, file) for ours, pattern in patterns.items()}
    for ours, years in found.items():
        if not years:
            raise LaborLLMError(
                f"{file}: no column fits survey.wide.{ours} = {patterns[ours]!r}; "
                f"the columns are {', '.join(frame.columns)[:200]}"
            )
        for column in years.values():
            require_plain(frame[column], column, file)
    jobs = found["occupation"]
    parts = [
        people.with_columns(
            pl.lit(year).cast(pl.Int64).alias("year"),
            *(frame[years[year]].alias(ours) for ours, years in found.items() if year in years),
        )
        for year in jobs
    ]
    long = stacked(parts)
    read = step(f"read from {Path(file).name}: {len(jobs)} years, {min(jobs)} to {max(jobs)}", long, "kept")
    return long, [read, *_uneven(long, found, patterns)]


def drop_absent(long: pl.DataFrame) -> tuple[pl.DataFrame, list[Step]]:
    """Drop the person-years without an occupation, which a wide table has as a matter of course, and count them."""
    absent = long.filter(pl.col("occupation").is_null())
    steps = [step("dropped: no occupation in the year", absent, "dropped")] if absent.height else []
    return long.filter(pl.col("occupation").is_not_null()), steps


def wide_source(
    names: Sequence[str],
    rows: Sequence[int],
    long: pl.DataFrame,
    *,
    patterns: dict[str, str],
    columns: dict[str, str],
) -> WideSource:
    """Where each row of a long frame (columns row, over all files, and year) comes from."""
    return WideSource(
        tuple(names),
        tuple(rows),
        origin=long["row"].to_numpy(),
        theirs=columns,
        patterns=patterns,
        years=long["year"].to_numpy(),
    )


def _uneven(long: pl.DataFrame, found: dict[str, dict[int, str]], patterns: dict[str, str]) -> list[Step]:
    """The years that one column has and another has not."""
    jobs = found["occupation"]
    steps = []
    for ours, years in found.items():
        lacking = [year for year in jobs if year not in years]
        if lacking:
            what = f"noted: {ours} ({patterns[ours]}) has no column for {first_names([str(year) for year in lacking])}"
            steps.append(step(what, long.filter(pl.col("year").is_in(lacking)), "noted"))
        unread = [column for year, column in years.items() if year not in jobs]
        if unread:
            what = f"noted: columns of years without an occupation column, unread: {first_names(unread)}"
            steps.append(Step(what, people=0, person_years=0, kind="noted"))
    return steps
