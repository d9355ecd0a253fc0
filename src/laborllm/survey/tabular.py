"""A user's own person-year table (CSV, Parquet, Stata) -> Careers."""

import csv
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from laborllm.errors import LaborLLMError
from laborllm.settings import Settings
from laborllm.survey.careers import COLUMNS, KEYS, Careers, Step
from laborllm.survey.door import Source, careers_from_frame
from laborllm.survey.occupations import Occupations, occ1990dd

THREE_STATES = ("unemployed", "not_in_labor_force", "in_education")
EXTENSIONS = (".csv", ".parquet", ".dta")
WORDS = ("education", "gender", "ethnicity", "region", "survey", "split")
"""Columns of which a labelled Stata value is read as its label; of all others, occupations too, the value counts."""

NO_MARKS = bytes(set(range(256)) - set(b',\n"'))
"""Every byte that has no meaning in a CSV file."""


class TableSettings(Settings):
    """A person-year table of one's own: ``[survey] source = "table"``.

    Attributes:
        files: one or more tables with the same columns, stacked; the extension (.csv, .parquet, .dta) names the format.
        survey: the population's name, where the table has no column ``survey``.
        columns: our column name -> theirs; not needed for columns that bear our name.
        occupations: CSV with the columns code, title and, if wanted, group: the whole closed list, states included.
            Default: occ1990dd and the states unemployed, not_in_labor_force and in_education (and not_working, where
            the table has it).
    """

    source: Literal["table"] = "table"
    files: tuple[Path, ...] = Field(min_length=1)
    survey: str = "survey"
    columns: dict[str, str] = Field(default_factory=dict)
    occupations: Path | None = None


def read_table(settings: TableSettings) -> Careers:
    """Read, rename and check the table.

    Raises:
        LaborLLMError: a file is missing, empty, of another format or ragged; the mapping names a column that is not
            there; or the rows, taken together, are no careers (see ``careers_from_frame``). The message names the file
            and the row in that file.
    """
    _require_sense(settings)
    words = {settings.columns.get(name, name) for name in WORDS}
    frames = [rename(read_frame(file, words), settings.columns, file) for file in settings.files]
    listed = settings.occupations
    occupations = _standard_list(frames) if listed is None else read_occupations(listed)
    steps = [
        Step(f"read from {file.name}", frame["person"].n_unique(), frame.height)
        for file, frame in zip(settings.files, frames, strict=True)
    ]
    source = Source(tuple(str(file) for file in settings.files), tuple(frame.height for frame in frames))
    return careers_from_frame(_stacked(frames), occupations, source=source, survey=settings.survey, flow=steps)


def read_frame(file: Path, words: Collection[str] = ()) -> pl.DataFrame:
    """Read one table as it stands; in a CSV, columns with leading zeros ("007") stay text.

    Args:
        file: .csv, .parquet or .dta.
        words: columns of which the labels count, where a Stata file has labels.

    Raises:
        LaborLLMError: the file is missing, empty, ragged, of an unknown extension or not of the format it names.
    """
    if not file.is_file():
        raise LaborLLMError(f"{file}: no such file; check the path, which is relative to the study file")
    if file.stat().st_size == 0:
        raise LaborLLMError(f"{file}: the file is empty; give a table with a header and at least one row")
    match file.suffix.lower():
        case ".csv":
            frame = _read_csv(file)
        case ".parquet":
            frame = _read_parquet(file)
        case ".dta":
            frame = _read_stata(file, words)
        case suffix:
            raise LaborLLMError(f"{file}: extension {suffix!r} is none of {', '.join(EXTENSIONS)}; convert the table")
    if not frame.height:
        raise LaborLLMError(f"{file}: has a header but no rows; give at least one person-year")
    return frame


def rename(frame: pl.DataFrame, columns: dict[str, str], file: Path) -> pl.DataFrame:
    """Keep the columns we know under our names; a mapped column goes before one that bears our name.

    Raises:
        LaborLLMError: the file lacks a column that is needed or mapped, or a column holds lists or bytes.
    """
    for ours, theirs in columns.items():
        if theirs not in frame.columns:
            raise LaborLLMError(
                f"{file}: column {theirs!r}, which survey.columns maps to {ours}, is not there; "
                f"the columns are {', '.join(frame.columns)}"
            )
    theirs_of = {name: columns.get(name, name) for name in COLUMNS}
    for ours in KEYS:
        if theirs_of[ours] not in frame.columns:
            raise LaborLLMError(
                f"{file}: column {ours!r} is missing; the columns are {', '.join(frame.columns)[:200]}; name one of "
                f'them in survey.columns, e.g. {{ {ours} = "..." }}, and separate columns by commas'
            )
    known = frame.select(pl.col(theirs).alias(ours) for ours, theirs in theirs_of.items() if theirs in frame.columns)
    for column in known:
        if column.dtype.is_nested() or column.dtype == pl.Binary:
            raise LaborLLMError(f"{file}, column {theirs_of[column.name]}: holds {column.dtype}; give numbers or text")
    return known


def read_occupations(file: Path) -> Occupations:
    """Read a closed list of one's own: CSV with code, title and, if wanted, group.

    Raises:
        LaborLLMError: the file is missing, empty or ragged, lacks a column, or an entry is blank or stands twice.
    """
    if file.suffix.lower() != ".csv":
        raise LaborLLMError(
            f"{file}: a list of occupations is a .csv with the columns code, title and, if wanted, group"
        )
    frame = read_frame(file)
    for name in ("code", "title"):
        if name not in frame.columns:
            raise LaborLLMError(f"{file}: column {name!r} is missing; the columns are {', '.join(frame.columns)}")
    group = pl.col("group").fill_null("") if "group" in frame.columns else pl.lit("").alias("group")
    listing = frame.select(pl.col("code", "title").fill_null(""), group)
    try:
        return Occupations(*(tuple(listing[name]) for name in ("code", "title", "group")))
    except LaborLLMError as error:
        raise LaborLLMError(f"{file}: {error}") from error


def _require_sense(settings: TableSettings) -> None:
    twice = [file for file in settings.files if settings.files.count(file) > 1]
    if twice:
        raise LaborLLMError(f"survey.files names {twice[0]} twice; name every file once")
    unknown = [ours for ours in settings.columns if ours not in COLUMNS]
    if unknown:
        raise LaborLLMError(f"survey.columns maps {unknown[0]!r}, which is none of {', '.join(COLUMNS)}")


def _standard_list(frames: list[pl.DataFrame]) -> Occupations:
    not_working = any(
        frame["occupation"].cast(pl.String).eq("not_working").any() for frame in frames if "occupation" in frame.columns
    )
    return occ1990dd(states=(*THREE_STATES, "not_working") if not_working else THREE_STATES)


def _stacked(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """All rows in the order of the files; a column that is text in one file (ids, codes) is text in all."""
    plain = [frame.with_columns(_plain(column) for column in frame) for frame in frames]
    mixed = {
        name
        for name in COLUMNS
        if len({frame[name].dtype.is_numeric() for frame in plain if name in frame.columns}) > 1
    }
    text = [frame.with_columns(pl.col(name).cast(pl.String) for name in mixed & {*frame.columns}) for frame in plain]
    return pl.concat(text, how="diagonal_relaxed")


def _plain(column: pl.Series) -> pl.Series:
    """Numbers (whole ones as integers, so that 436.0 reads as 436) or text; neither categories nor dates."""
    if column.dtype.is_integer():
        return column
    if not column.dtype.is_numeric():
        return column.cast(pl.String)
    numbers = column.cast(pl.Float64)
    whole = numbers.is_finite() & (numbers.abs() < 2**53) & (numbers == numbers.floor())
    return numbers.cast(pl.Int64) if whole.all() else numbers


def _read_csv(file: Path) -> pl.DataFrame:
    _require_rectangle(file)
    try:
        frame = pl.read_csv(file, infer_schema=False, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise LaborLLMError(
            f"{file}: cannot be read as CSV ({reason}); write it as comma-separated UTF-8, "
            f"values that hold quotes quoted"
        ) from error
    return frame.with_columns(_whole_if_plain(column) for column in frame)


def _require_rectangle(file: Path) -> None:
    """polars fills short rows with nulls without a word; we say so."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            header = next(csv.reader(stream), [])
        if not _same_commas(file, len(header)):
            _require_same_lengths(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LaborLLMError(f"{file}: cannot be read as CSV ({error}); write it as comma-separated UTF-8") from error
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise LaborLLMError(f"{file}: column {twice[0]!r} stands twice in the header; rename one")


def _same_commas(file: Path, width: int) -> bool:
    """Whether every line has the header's number of commas, those between quotes aside.

    A million rows of eight columns (49 MB) take 0.1 s of one core, 0.3 s with quotes; ``csv`` alone takes 0.9 s, and
    all of ``read_table`` about 1.5 s.
    A "no" is no verdict: what the lines mean when quotes stand in odd places is left to ``csv``.
    """
    data = file.read_bytes()
    if not data.endswith(b"\n"):
        data += b"\n"
    marks = np.frombuffer(data.translate(None, NO_MARKS), dtype=np.uint8)  # (marks,)
    quotes = marks == ord('"')
    if quotes.any():
        outside = np.logical_not(np.bitwise_xor.accumulate(quotes))
        if not outside[-1]:
            return False
        marks = marks[outside & ~quotes]
    ends = np.flatnonzero(marks == ord("\n"))  # (lines,)
    return width > 1 and bool((np.diff(ends, prepend=-1) == width).all())  # width - 1 commas and the line's end


def _require_same_lengths(file: Path) -> None:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.reader(stream)
        width = len(next(rows, []))
        for number, row in enumerate(rows, start=1):
            if len(row) != width:
                raise LaborLLMError(
                    f"{file}, row {number}: has {len(row)} values, the header has {width}; "
                    f"quote values that hold commas, and remove empty lines"
                )


def _whole_if_plain(column: pl.Series) -> pl.Series:
    """Text that writes whole numbers as we would becomes numbers, so that people sort by number; "007" stays text."""
    numbers = column.cast(pl.Int64, strict=False)
    plain = (numbers.cast(pl.String) == column).fill_null(False) | column.is_null()
    return numbers if plain.all() and numbers.count() else column


def _read_parquet(file: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(file, hive_partitioning=False, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LaborLLMError(f"{file}: cannot be read as Parquet; write it again or give a .csv") from error


def _read_stata(file: Path, words: Collection[str]) -> pl.DataFrame:
    """Values, but of the columns ``words`` the labels where there are any; an empty text is Stata's missing value."""
    absent = [name for name in ("pandas", "pyarrow") if find_spec(name) is None]
    if absent:
        raise LaborLLMError(f"{file}: Stata files need {absent[0]}; run `pip install laborllm[stata]`")
    import pandas as pd

    try:
        values = pd.read_stata(file, convert_categoricals=False)
        chosen = [name for name in values.columns if name in words]
        labels = pd.read_stata(file, columns=chosen) if chosen else values[[]]
    except (OSError, ValueError) as error:
        raise LaborLLMError(f"{file}: cannot be read as Stata ({error}); save it again or give a .csv") from error
    labelled = [name for name in chosen if isinstance(labels[name].dtype, pd.CategoricalDtype)]
    texts = [
        pl.Series(name, labels[name].astype("string").tolist(), dtype=pl.String, strict=False) for name in labelled
    ]
    frame = pl.from_pandas(values).with_columns(texts)
    return frame.with_columns(pl.col(pl.String).replace("", None))
