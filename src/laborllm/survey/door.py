"""The door: any person-year frame, checked and made a Careers table; a message names file, column, row and remedy."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import COLUMNS, FIXED, KEYS, NUMBERS, PARTS, Careers, Step
from laborllm.survey.occupations import Occupations

FIRST_YEAR, LAST_YEAR = 1900, 2100


@dataclass(frozen=True)
class Source:
    """Where the rows of a frame come from, so that a message names the file and the row in that file.

    Attributes:
        names: the files in the order in which their rows are stacked.
        rows: rows of each, shape (files,).
        origin: the row, counted from 1 over all files, that each row of the frame comes from, shape (frame_rows,);
            None where the frame is the files' rows as they stand.
        theirs: our column name -> the file's, where they differ.
    """

    names: tuple[str, ...]
    rows: tuple[int, ...]
    origin: np.ndarray | None = field(default=None, compare=False)
    theirs: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " + ".join(self.names)

    def row(self, row: int) -> tuple[str, int]:
        """The file of a row of the frame, counted from 1, and its row there."""
        row = row if self.origin is None else int(self.origin[row - 1])
        ends = list(accumulate(self.rows))
        place = bisect_left(ends, row)
        return self.names[place], row - (ends[place] - self.rows[place])

    def at(self, column: str, row: int) -> str:
        file, own = self.row(row)
        return f"{file}, column {self.theirs.get(column, column)}, row {own}"

    def both(self, first: int, second: int) -> str:
        (file, own), (other, others) = self.row(first), self.row(second)
        return f"{file}, rows {own} and {others}" if file == other else f"{file}, row {own}, and {other}, row {others}"


def careers_from_frame(
    frame: Any,
    occupations: Occupations,
    *,
    source: str | Source = "table",
    survey: str = "survey",
    flow: Sequence[Step] = (),
) -> Careers:
    """Check a person-year frame and make it a Careers table.

    Args:
        frame: any frame that narwhals reads (polars, pandas, pyarrow, …) with the columns of ``Careers.table``;
            person, year and occupation are required. Codes may be numbers or text.
        occupations: the closed list; every code of the frame must be on it.
        source: the file's name, for messages; or the files and their rows, where the frame is several files stacked.
        survey: the population's name, where the frame has no survey column.
        flow: the steps that led to this frame.

    Raises:
        LaborLLMError: a required column or value is missing, a year is impossible (outside 1900-2100, or before the
            year of birth), an occupation is off the list, a person-year stands twice, a fixed covariate changes, a
            person is in two parts of the split, or the survey's name is blank or padded.

    Examples:
        >>> import polars as pl
        >>> from laborllm.survey.occupations import Occupations
        >>> occupations = Occupations(codes=("436", "313"), titles=("Cooks", "Secretaries"), groups=("food", "cleric"))
        >>> frame = pl.DataFrame({"person": [1, 1], "year": [1985, 1984], "occupation": [436, 313]})
        >>> careers_from_frame(frame, occupations).table.select("person", "year", "occupation").rows()
        [(1, 1984, '313'), (1, 1985, '436')]
    """
    if not survey.strip() or survey != survey.strip() or "\n" in survey:
        raise LaborLLMError(f"{source}: the survey's name is {survey!r}: blank, padded or of several lines; mend it")
    table = as_polars(frame, str(source))
    _require_columns(table, str(source))
    source = source if isinstance(source, Source) else Source((source,), (table.height,))
    table = table.select(column for column in COLUMNS if column in table.columns).with_row_index("row", offset=1)
    _require_values(table, source)
    table = _typed(table, occupations, source=source, survey=survey)
    _require_born(table, source)
    table = _sorted(table)
    _require_one_row_per_person_year(table, source)
    _require_constant(table, source)
    return Careers(table=table.drop("row"), occupations=occupations, flow=tuple(flow))


def as_polars(frame: Any, source: str) -> pl.DataFrame:
    """A frame of any library as polars.

    Raises:
        LaborLLMError: it is no frame, or has no rows.
    """
    try:
        table = nw.from_native(frame, eager_only=True).to_polars()
    except TypeError as error:
        what = type(frame).__name__
        raise LaborLLMError(f"{source}: {what} is no frame; give a polars, pandas or pyarrow table") from error
    if table.height == 0:
        raise LaborLLMError(f"{source}: has no rows; give at least one person-year")
    return table


def _require_columns(table: pl.DataFrame, source: str) -> None:
    """Refuse a frame without person, year or occupation."""
    missing = [column for column in KEYS if column not in table.columns]
    if missing:
        found = ", ".join(table.columns)
        raise LaborLLMError(f"{source}: column {missing[0]!r} is missing; the columns are {found}; rename or map one")


def _require_values(table: pl.DataFrame, source: Source) -> None:
    for column in KEYS:
        empty = table.filter(pl.col(column).is_null())
        if empty.height:
            raise LaborLLMError(
                f"{source.at(column, empty['row'][0])}: the value is missing ({empty.height} such rows); "
                f"drop these rows or fill them"
            )


def _typed(table: pl.DataFrame, occupations: Occupations, *, source: Source, survey: str) -> pl.DataFrame:
    _require_plain(table, source)
    year = _whole_numbers(table, "year", source)
    _require_years(table.with_columns(year), "year", source)
    columns = [_person(table, source), year, _occupation(table, occupations, source)]
    for name in ("education", "gender", "ethnicity", "region"):
        columns.append(_words(table, name, source))
    birth_year = _whole_numbers(table, "birth_year", source)
    _require_years(table.with_columns(birth_year), "birth_year", source)
    columns.append(birth_year)
    columns.append(_words(table, "survey", source).fill_null(survey))
    columns += [_numbers(table, name, source) for name in NUMBERS if name in table.columns]
    if "split" in table.columns:
        columns.append(_split(table, source))
    return pl.DataFrame([table["row"], *columns])


def _require_plain(table: pl.DataFrame, source: Source) -> None:
    """Numbers and words only: a date is no calendar year, a list is no value."""
    for name in (*COLUMNS, "row"):
        if name in table.columns and (table[name].dtype.is_temporal() or table[name].dtype.is_nested()):
            theirs = source.theirs.get(name, name)
            raise LaborLLMError(
                f"{source}, column {theirs}: is of type {table[name].dtype}; give numbers or words, of dates the year"
            )


def _person(table: pl.DataFrame, source: Source) -> pl.Series:
    """Whole numbers, also where the file's format holds them as floats; all else is text."""
    ids = table["person"]
    if ids.dtype.is_float() and not ids.is_finite().all():
        row = table.filter(~pl.col("person").is_finite())["row"][0]
        raise LaborLLMError(f"{source.at('person', row)}: {ids[row - 1]} is no id; mend or drop the row")
    if not ids.dtype.is_numeric():
        return _words(table, "person", source)
    if ids.dtype.is_float() and ids.is_finite().all() and ((ids == ids.floor()) & (ids.abs() < 2**53)).all():
        ids = ids.cast(pl.Int64)
    return ids if ids.dtype.is_integer() else ids.cast(pl.String)


def _occupation(table: pl.DataFrame, occupations: Occupations, source: Source) -> pl.Series:
    codes = table["occupation"]
    if codes.dtype.is_float():
        codes = _whole_numbers(table, "occupation", source)
    text = codes.cast(pl.String)
    off = table.select("row", code=text).filter(~pl.col("code").is_in(occupations.codes))
    if off.height:
        raise LaborLLMError(
            f"{source.at('occupation', off['row'][0])}: code {off['code'][0]!r} is not on the list of "
            f"{len(occupations)} occupations ({off.height} such rows); recode it or add it to the list"
        )
    return text.cast(occupations.dtype).alias("occupation")


def _whole_numbers(table: pl.DataFrame, name: str, source: Source) -> pl.Series:
    if name not in table.columns:
        return pl.Series(name, [None] * table.height, dtype=pl.Int32)
    values = table[name]
    numbers = values.cast(pl.Float64, strict=False)
    whole = numbers.is_not_null() & (numbers == numbers.floor()) & (numbers.abs() < 2**31)
    bad = table.filter(values.is_not_null() & ~whole.fill_null(False))
    if bad.height:
        raise LaborLLMError(f"{source.at(name, bad['row'][0])}: {bad[name][0]!r} is no whole number; mend or drop it")
    return numbers.cast(pl.Int32).alias(name)


def _numbers(table: pl.DataFrame, name: str, source: Source) -> pl.Series:
    numbers = table[name].cast(pl.Float64, strict=False)
    bad = table.filter(table[name].is_not_null() & ~(numbers.is_finite() & (numbers >= 0)).fill_null(False))
    if bad.height:
        raise LaborLLMError(f"{source.at(name, bad['row'][0])}: {bad[name][0]!r} is no number of zero or more; mend it")
    return numbers


def _words(table: pl.DataFrame, name: str, source: Source) -> pl.Series:
    if name not in table.columns:
        return pl.Series(name, [None] * table.height, dtype=pl.String)
    words = table[name].cast(pl.String)
    distinct = words.unique()
    faulty = distinct.filter(
        distinct.str.contains("[\n\r]") | (distinct.str.strip_chars() != distinct) | (distinct == "")
    )
    if len(faulty):
        bad = table.filter(words.is_in(faulty.implode()))
        raise LaborLLMError(
            f"{source.at(name, bad['row'][0])}: {bad[name][0]!r} is blank, padded or spans lines; "
            f"trim it, or leave it missing"
        )
    return words


def _split(table: pl.DataFrame, source: Source) -> pl.Series:
    off = table.filter(~pl.col("split").cast(pl.String).is_in(PARTS).fill_null(False))
    if off.height:
        raise LaborLLMError(f"{source.at('split', off['row'][0])}: {off['split'][0]!r} is none of {', '.join(PARTS)}")
    return table["split"].cast(pl.String).cast(pl.Enum(PARTS))


def _require_years(table: pl.DataFrame, name: str, source: Source) -> None:
    off = table.filter((pl.col(name) < FIRST_YEAR) | (pl.col(name) > LAST_YEAR))
    if off.height:
        raise LaborLLMError(
            f"{source.at(name, off['row'][0])}: {off[name][0]} is outside {FIRST_YEAR}-{LAST_YEAR}; "
            f"give calendar years with four digits"
        )


def _require_born(table: pl.DataFrame, source: Source) -> None:
    early = table.filter(pl.col("birth_year") > pl.col("year"))
    if early.height:
        person, year, birth_year = early.select("person", "year", "birth_year").row(0)
        raise LaborLLMError(
            f"{source.at('birth_year', early['row'][0])}: impossible years: person {person} is born in {birth_year}, "
            f"after the row's year {year} ({early.height} such rows); mend either year, or leave the birth year missing"
        )


def _sorted(table: pl.DataFrame) -> pl.DataFrame:
    """By person and year; a table that is sorted, as large ones mostly are, is not copied."""
    person, year = pl.col("person"), pl.col("year")
    rises = (person > person.shift()) | ((person == person.shift()) & (year >= year.shift()))
    if table.select(rises).to_series()[1:].all():
        return table
    return table.sort("person", "year", maintain_order=True)


def _require_one_row_per_person_year(table: pl.DataFrame, source: Source) -> None:
    """The table is sorted, so that equal person-years stand one below the other."""
    again = table.select((pl.col("person") == pl.col("person").shift()) & (pl.col("year") == pl.col("year").shift()))
    if again.to_series().any():
        twice = table.filter(pl.struct("person", "year").is_duplicated())
        rows = twice["row"].head(2).to_list()
        raise LaborLLMError(
            f"{source.both(*rows)}: person {twice['person'][0]} has two rows for {twice['year'][0]} "
            f"({twice.height} such rows); keep one row per person and year"
        )


def _require_constant(table: pl.DataFrame, source: Source) -> None:
    fixed = [name for name in (*FIXED, "split") if name in table.columns]
    counts = table.group_by("person", maintain_order=True).agg(pl.col(name).n_unique() for name in fixed)
    for name in fixed:
        changing = counts.filter(pl.col(name) > 1)
        if changing.height:
            person = changing["person"][0]
            rows = table.filter(pl.col("person") == person)
            values = rows[name].unique(maintain_order=True).to_list()
            row = rows.filter(pl.col(name).ne_missing(pl.lit(values[0], dtype=rows[name].dtype)))["row"][0]
            raise LaborLLMError(
                f"{source.at(name, row)}: person {person} has both {values[0]!r} and {values[1]!r} "
                f"({changing.height} such people); {name} must be one value a person"
            )
