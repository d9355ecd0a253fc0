"""One table of a user's own (CSV, Parquet, Stata) as a frame: read as it stands, or refused with a line."""

import csv
import os
import struct
import warnings
from codecs import BOM_UTF8
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError

EXTENSIONS = (".csv", ".parquet", ".dta")

DAMAGED = (OSError, ValueError, LookupError, ArithmeticError, AttributeError, MemoryError, UnicodeWarning, struct.error)
"""What pandas raises, by itself or from below, on Stata files that are cut or overwritten."""

NO_MARKS = bytes(set(range(256)) - set(b',\n"'))
"""Every byte that has no meaning in a CSV file."""

OPENS, CLOSES = np.frombuffer(b',\n"', dtype=np.uint8), np.frombuffer(b',\r\n"', dtype=np.uint8)
"""What may stand before a quote that opens a value, and after one that closes it; two quotes are one in a value."""


def read_frame(file: Path, words: Collection[str] = ()) -> pl.DataFrame:
    """Read one table as it stands; in a CSV, columns with leading zeros ("007") stay text.

    Args:
        file: .csv, .parquet or .dta.
        words: columns of which the labels count, where a Stata file has labels.

    Raises:
        LaborLLMError: the file is missing, unreadable, empty, ragged, under a path that is no UTF-8, of an unknown
            extension or not of the format it names.
    """
    _require_readable(file)
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
        raise LaborLLMError(f"{file}: has a header but no rows; give at least one row")
    return frame


def _require_readable(file: Path) -> None:
    if not file.is_file():
        raise LaborLLMError(f"{file}: no such file; check the path, which is relative to the study file")
    name = os.fsencode(file).decode(errors="replace")
    if name != str(file):
        raise LaborLLMError(f"{name}: the path is no UTF-8, which polars needs; rename the file or its folder")
    try:
        with file.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise LaborLLMError(f"{file}: cannot be read ({error.strerror}); check the file") from error
    if empty:
        raise LaborLLMError(f"{file}: the file is empty; give a table with a header and at least one row")


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
    frame = frame.with_columns(pl.all().replace("", None))  # "" and nothing between commas say the same
    return frame.with_columns(_whole_if_plain(column) for column in frame)


def _require_rectangle(file: Path) -> None:
    """polars fills short rows with nulls and reads odd quotes as it can, without a word; we say so."""
    try:
        data = file.read_bytes().removeprefix(BOM_UTF8)
        _require_text(file, data)
        with file.open(newline="", encoding="utf-8-sig") as stream:
            header = next(csv.reader(stream), [])
        if not _same_commas(data, len(header)):
            _require_same_lengths(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LaborLLMError(f"{file}: cannot be read as CSV ({error}); write it as comma-separated UTF-8") from error
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise LaborLLMError(f"{file}: column {twice[0]!r} stands twice in the header; rename one")
    broken = [name for name in header if name.splitlines() not in ([name], [])]
    if broken:
        raise LaborLLMError(f"{file}: column {broken[0]!r} has a name of several lines; rename it, or mend the quotes")


def _require_text(file: Path, data: bytes) -> None:
    """Refuse what readers of CSV files understand in different ways.

    A null byte is in no text: the file is damaged, or UTF-16, which Excel calls Unicode. A carriage return that ends
    no line, outside of quotes, is a line's end to some and a letter to others. A quote opens a value or closes it.
    """
    text = np.frombuffer(data + b"\n", dtype=np.uint8)  # (bytes,)
    quotes = np.flatnonzero(text == ord('"'))
    opening, closing = quotes[::2], quotes[1::2]
    before = text[opening[opening > 0] - 1]
    returns = np.flatnonzero(text == ord("\r"))
    lone = returns[text[returns + 1] != ord("\n")]
    places = {
        "a null byte; the file is damaged or UTF-16: write it again as comma-separated UTF-8": _first(text == 0),
        "a quote inside a value; write values that hold quotes quoted, and such quotes twice": min(
            _first(~np.isin(before, OPENS), opening[opening > 0]),
            _first(~np.isin(text[closing + 1], CLOSES), closing),
            key=lambda place: len(data) if place is None else place,
        ),
        "a carriage return that ends no line; end lines with a line feed": _first(
            np.searchsorted(quotes, lone) % 2 == 0, lone
        ),
    }
    for what, place in places.items():
        if place is not None:
            line = data[:place].count(b"\n") + 1
            raise LaborLLMError(f"{file}, line {line}: holds {what}")


def _first(is_wrong: np.ndarray, places: np.ndarray | None = None) -> int | None:
    """The first place where something is wrong, if any."""
    wrong = np.flatnonzero(is_wrong)
    if not len(wrong):
        return None
    return int(wrong[0] if places is None else places[wrong[0]])


def _same_commas(data: bytes, width: int) -> bool:
    """Whether every line has the header's number of commas, those between quotes aside.

    A million rows of eight columns (49 MB) take 0.1 s of one core, 0.3 s with quotes; ``csv`` alone takes 0.9 s, and
    all of ``read_table`` about 1.5 s.
    A "no" is no verdict: what the lines mean when quotes stand in odd places is left to ``csv``.
    """
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
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise LaborLLMError(f"{file}: cannot be read as Parquet; write it again or give a .csv") from error


def _read_stata(file: Path, words: Collection[str]) -> pl.DataFrame:
    """Values, but of the columns ``words`` the labels where there are any; an empty text is Stata's missing value."""
    absent = [name for name in ("pandas", "pyarrow") if find_spec(name) is None]
    if absent:
        raise LaborLLMError(f"{file}: Stata files need {absent[0]}; run `pip install laborllm[stata]`")
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UnicodeWarning)  # pandas would guess the letters and go on
            values = pd.read_stata(file, convert_categoricals=False)
            chosen = [name for name in values.columns if name in words]
            labels = pd.read_stata(file, columns=chosen) if chosen else values[[]]
    except DAMAGED as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise LaborLLMError(f"{file}: cannot be read as Stata ({reason}); save it again or give a .csv") from error
    labelled = [name for name in chosen if isinstance(labels[name].dtype, pd.CategoricalDtype)]
    texts = [_words(name, labels[name]) for name in labelled]
    frame = pl.from_pandas(values).with_columns(texts)
    frame = frame.with_columns(_years_of_dates(column) for column in frame)
    return frame.with_columns(pl.col(pl.String).replace("", None))


def _years_of_dates(column: pl.Series) -> pl.Series:
    """The year, where every date is the first moment of one: so pandas reads Stata's years (format %ty)."""
    if not column.dtype.is_temporal() or column.dtype == pl.Time:
        return column
    starts = (column == column.dt.truncate("1y")).all()
    return column.dt.year().cast(pl.Int64) if starts and column.count() else column


def _words(name: str, labels: Any) -> pl.Series:
    """A pandas column of labels as text, null where there is none."""
    known = labels.notna().tolist()
    words = [word if there else None for word, there in zip(labels.astype("string").tolist(), known, strict=True)]
    return pl.Series(name, words, dtype=pl.String)
