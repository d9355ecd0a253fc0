"""The Careers table: one row per person and year, checked at the door."""

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.survey.occupations import METADATA, Occupations

KEYS = ("person", "year", "occupation")
FIXED = ("gender", "ethnicity", "region", "birth_year", "survey")
"""Covariates with one value a person."""
VARYING = ("education",)
"""Covariates that may change from year to year."""
COVARIATES = ("education", "gender", "ethnicity", "region", "birth_year")
NUMBERS = ("weight", "wage")
PARTS = ("train", "validation", "test")
COLUMNS = (*KEYS, *COVARIATES, "survey", *NUMBERS, "split")
FIRST_YEAR, LAST_YEAR = 1900, 2100

EDUCATION = ("less than high school", "high school", "some college", "college", "graduate degree")
GENDERS = ("female", "male")
ETHNICITIES = ("white", "black or african american", "hispanic", "other")
REGIONS = ("northeast", "northcentral", "south", "west")
"""The words the built-in readers use; a user's own table may use others."""


@dataclass(frozen=True)
class Step:
    """One line of the sample flow: what happened to how many, and why.

    Attributes:
        what: the step in words, e.g. "dropped: code maps to no occupation (Census 1980: 999)".
        people: people concerned.
        person_years: person-years concerned.
        kind: "kept" (the sample after this step), "dropped", "recoded", or "noted" (what the files lack or hold unread;
            the sample stays as it is).
    """

    what: str
    people: int
    person_years: int
    kind: str = "kept"


@dataclass(frozen=True)
class Source:
    """Where the rows of a frame come from, so that a message names the file and the row in that file.

    Attributes:
        names: the files in the order in which their rows are stacked.
        rows: rows of each, shape (files,).
    """

    names: tuple[str, ...]
    rows: tuple[int, ...]

    def __str__(self) -> str:
        return " + ".join(self.names)

    def row(self, row: int) -> tuple[str, int]:
        """The file of a row, counted from 1 over all files, and its row there."""
        ends = list(accumulate(self.rows))
        place = bisect_left(ends, row)
        return self.names[place], row - (ends[place] - self.rows[place])

    def at(self, column: str, row: int) -> str:
        file, own = self.row(row)
        return f"{file}, column {column}, row {own}"

    def both(self, first: int, second: int) -> str:
        (file, own), (other, others) = self.row(first), self.row(second)
        return f"{file}, rows {own} and {others}" if file == other else f"{file}, row {own}, and {other}, row {others}"


@dataclass(frozen=True)
class Careers:
    """Careers by person and year: the table that every model reads.

    Attributes:
        table: sorted by person and year, one row per person-year; columns person (int or str), year (int32),
            occupation (``Enum`` over ``occupations.codes``), education, gender, ethnicity, region (str, may be
            missing), birth_year (int32, may be missing), survey (str), and where known weight (float64), wage
            (dollars of the survey year), split ("train" | "validation" | "test").
        occupations: the closed list.
        flow: how the sample came about, in order.
    """

    table: pl.DataFrame
    occupations: Occupations
    flow: tuple[Step, ...] = ()

    def __len__(self) -> int:
        return self.table.height

    @property
    def people(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def starts(self) -> np.ndarray:
        """First row of each person, then the number of rows, shape (people + 1,)."""
        changed = self.table["person"].to_frame().select(pl.col("person") != pl.col("person").shift())
        first = changed["person"].fill_null(True).arg_true().to_numpy()
        return np.append(first, len(self)).astype(np.int64)  # (people + 1,)

    @cached_property
    def person_of_row(self) -> np.ndarray:
        """Index of each row's person, 0 … people - 1, shape (person_years,)."""
        return np.repeat(np.arange(self.people), np.diff(self.starts))

    @cached_property
    def occupation(self) -> np.ndarray:
        """Position of each row's occupation in the closed list, shape (person_years,)."""
        return self.table["occupation"].to_physical().to_numpy().astype(np.int64)

    @cached_property
    def previous(self) -> np.ndarray:
        """Position of the person's previous observed occupation, -1 in a first row, shape (person_years,)."""
        previous = np.full(len(self), -1, dtype=np.int64)
        previous[1:] = self.occupation[:-1]
        previous[self.starts[:-1]] = -1
        return previous

    @cached_property
    def transition(self) -> np.ndarray:
        """ "first", "stay" or "move" for each row, shape (person_years,)."""
        stays = np.where(self.previous == self.occupation, "stay", "move")
        return np.where(self.previous < 0, "first", stays)

    def part(self, name: str) -> "Careers":
        """The people of one part of the split: train, validation or test."""
        if "split" not in self.table.columns:
            raise LaborLLMError("the careers are not split yet; call split_by_person first")
        return replace(self, table=self.table.filter(pl.col("split") == name), flow=())

    def first_people(self, people: int) -> "Careers":
        """The first so many people."""
        return replace(self, table=self.table.head(int(self.starts[min(people, self.people)])))

    def write(self, path: Path) -> None:
        """Write one Parquet file that carries the closed list in its metadata."""
        flow = json.dumps([vars(step) for step in self.flow])
        with whole_file(path) as temporary:
            self.table.write_parquet(temporary, metadata={METADATA: self.occupations.to_json(), "laborllm.flow": flow})

    @classmethod
    def read(cls, path: Path) -> "Careers":
        """Read what ``write`` wrote.

        Raises:
            LaborLLMError: the file is missing, no Parquet file, or holds no careers.
        """
        try:
            with path.open("rb") as stream:
                metadata = pl.read_parquet_metadata(stream)
            table = pl.read_parquet(path, glob=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise LaborLLMError(f"{path}: cannot be read as Parquet; write it with `laborllm careers`") from error
        if METADATA not in metadata:
            raise LaborLLMError(f"{path}: holds no list of occupations; write it with `laborllm careers`")
        flow = tuple(Step(**step) for step in json.loads(metadata.get("laborllm.flow", "[]")))
        return cls(table=table, occupations=Occupations.from_json(metadata[METADATA]), flow=flow)


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
            year of birth), an occupation is off the list, a person-year stands twice, a fixed covariate changes, or a
            person is in two parts of the split.

    Examples:
        >>> import polars as pl
        >>> from laborllm.survey.occupations import Occupations
        >>> occupations = Occupations(codes=("436", "313"), titles=("Cooks", "Secretaries"), groups=("food", "cleric"))
        >>> frame = pl.DataFrame({"person": [1, 1], "year": [1985, 1984], "occupation": [436, 313]})
        >>> careers_from_frame(frame, occupations).table.select("person", "year", "occupation").rows()
        [(1, 1984, '313'), (1, 1985, '436')]
    """
    table = _as_polars(frame, str(source))
    require_columns(table, str(source))
    source = source if isinstance(source, Source) else Source((source,), (table.height,))
    table = table.select(column for column in COLUMNS if column in table.columns).with_row_index("row", offset=1)
    _require_values(table, source)
    table = _typed(table, occupations, source=source, survey=survey)
    _require_born(table, source)
    table = table.sort("person", "year", maintain_order=True)
    _require_one_row_per_person_year(table, source)
    _require_constant(table, source)
    return Careers(table=table.drop("row"), occupations=occupations, flow=tuple(flow))


def split_by_person(careers: Careers, shares: Sequence[float], rng: np.random.Generator) -> Careers:
    """Assign every person to train, validation or test at random.

    Args:
        careers: any careers; a split already there is replaced.
        shares: shares of people in train, validation and test; they sum to 1.
        rng: the source of randomness.

    Raises:
        LaborLLMError: the shares are not three numbers that sum to 1, or a part would hold nobody.
    """
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise LaborLLMError(f"split.shares is {list(shares)}; give three positive shares that sum to 1")
    bounds = np.round(np.cumsum(shares) * careers.people).astype(int)
    sizes = np.diff(bounds, prepend=0)
    if sizes.min() < 1:
        raise LaborLLMError(f"{careers.people} people are too few for split.shares {list(shares)}; add people")
    part_of_person = np.repeat(np.arange(3), sizes)
    rng.shuffle(part_of_person)
    split = pl.Series("split", np.array(PARTS)[part_of_person[careers.person_of_row]], dtype=pl.Enum(PARTS))
    return replace(careers, table=careers.table.with_columns(split))


def _as_polars(frame: Any, source: str) -> pl.DataFrame:
    try:
        table = nw.from_native(frame, eager_only=True).to_polars()
    except TypeError as error:
        what = type(frame).__name__
        raise LaborLLMError(f"{source}: {what} is no frame; give a polars, pandas or pyarrow table") from error
    if table.height == 0:
        raise LaborLLMError(f"{source}: has no rows; give at least one person-year")
    return table


def require_columns(table: pl.DataFrame, source: str) -> None:
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
    year = _whole_numbers(table, "year", source)
    _require_years(table.with_columns(year), "year", source)
    columns = [_person(table["person"]), year, _occupation(table, occupations, source)]
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


def _person(ids: pl.Series) -> pl.Series:
    """Whole numbers, also where the file's format holds them as floats; all else is text."""
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
    bad = table.filter(words.str.contains("[\n\r]") | (words.str.strip_chars() != words) | (words == ""))
    if bad.height:
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


def _require_one_row_per_person_year(table: pl.DataFrame, source: Source) -> None:
    twice = table.filter(pl.struct("person", "year").is_duplicated())
    if twice.height:
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
