"""Files of the Panel Study of Income Dynamics: packaged waves and Data Center extracts.

- A packaged file is a fixed-width ``.txt`` with its set-ups (``setups.py``) beside it under the same stem, or the
  ``.zip`` that holds them, as downloaded: FAM1985.txt with FAM1985.sps, IND2021ER.txt with IND2021ER.sas.
- A Data Center extract is a fixed-width JNNNNNN.txt with its set-ups, or a ``.csv`` with variable names as header.
- A ``.dta`` or ``.parquet`` is what a user has made of them, under the survey's names in capitals or small letters.

Only the wanted columns are cut out, block by block, so that a cross-year individual file (over 80,000 rows of over
5,000 characters) never stands in memory. A blank, or a point alone, is no value.
"""

import csv
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath
from typing import IO

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.psid.setups import SUFFIXES, Field, Setup, parse_setup, require_agreement
from laborllm.survey.tables.files import read_frame

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)$"
_BLOCK = 1 << 24
"""Bytes read at a time."""
_INT32_DIGITS, _EXACT_DIGITS = 9, 15
"""Digits that fit into int32, and that a double holds exactly."""
_CSV_ROWS = 2000
"""Rows of a CSV turned into numbers at a time."""


@dataclass(frozen=True)
class PSIDFile:
    """The wanted variables of one file.

    Attributes:
        file: the path, for messages.
        header: every variable of the file, in capitals, in the file's order.
        table: one row per row of the file, in its order; one column per wanted variable: int32 where all values are
            whole and have at most nine digits, else float64; null where the file is blank.
    """

    file: str
    header: tuple[str, ...]
    table: pl.DataFrame


def read_psid_file(path: Path, *, wanted: Callable[[str], bool] | None = None) -> PSIDFile:
    """Read the wanted variables of one file.

    Args:
        path: a ``.txt`` with a set-up beside it, a ``.zip`` that holds both, a ``.csv``, ``.dta`` or ``.parquet``.
        wanted: which variables to keep, by name in capitals; None keeps all that hold numbers.

    Raises:
        LaborLLMError: the file or its set-up is missing, broken or of another kind; the set-ups disagree; a row has
            another length than the set-up says, or the file another number of rows; a variable stands twice; or a
            value is no number.
    """
    try:
        match path.suffix.lower():
            case ".csv":
                return _read_csv(path, wanted)
            case ".txt" | ".zip":
                return _read_fixed_width(path, wanted)
            case ".dta" | ".parquet":
                return _read_table(path, wanted)
    except (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError, NotImplementedError) as error:
        raise LaborLLMError(f"{path}: the zip is truncated or corrupt ({error}); download the file again") from error
    except FileNotFoundError as error:
        raise LaborLLMError(f"{path}: there is no such file; check the path, relative to the study file") from error
    except OSError as error:
        raise LaborLLMError(f"{path}: cannot be read ({error.strerror or error}); check the file") from error
    raise LaborLLMError(
        f"{path}: {path.suffix or 'a file without suffix'} is not read; give a .txt, .csv, .dta or .zip file"
    )


def _read_fixed_width(path: Path, wanted: Callable[[str], bool] | None) -> PSIDFile:
    with _opened(path) as (setups, stream):
        setup = setups[0]
        kept = _kept(setup, wanted)
        for other in setups[1:]:
            require_agreement(setup, other, list(dict.fromkeys([*kept, *_kept(other, wanted)])))
        parts: dict[str, list[pl.Series]] = {name: [] for name in kept}
        rows = 0
        for block in _blocks(stream, setup, path):
            for name in kept:
                field = setup.fields[name]
                cells = block[:, field.first - 1 : field.last]
                parts[name].append(_numbers(cells, field, at=_At(path, name, rows + 1)))
            rows += len(block)
    _require_rows(rows, setup, path)
    table = pl.DataFrame([_joined(name, series) for name, series in parts.items()])
    return PSIDFile(str(path), tuple(setup.fields), table)


def _kept(setup: Setup, wanted: Callable[[str], bool] | None) -> list[str]:
    """The wanted variables of a text."""
    if wanted is None:
        return [name for name, field in setup.fields.items() if not field.is_text]
    kept = [name for name in setup.fields if wanted(name)]
    words = [name for name in kept if setup.fields[name].is_text]
    if words:
        raise LaborLLMError(f"{setup.file}, variable {words[0]}: holds words, not a number; leave it out")
    return kept


@contextmanager
def _opened(path: Path) -> Iterator[tuple[list[Setup], IO[bytes]]]:
    """The set-ups of a text, and its bytes."""
    if path.suffix.lower() != ".zip":
        found = {suffix: _beside(path, suffix) for suffix in SUFFIXES}
        texts = {str(file): file.read_bytes() for file in found.values() if file is not None}
        with path.open("rb") as stream:
            yield _setups(texts, path), stream
        return
    with zipfile.ZipFile(path) as archive:
        text, setups = _members(archive, path)
        texts = {f"{path}, {name}": archive.read(name) for name in setups}
        with archive.open(text) as stream:
            yield _setups(texts, path), stream


def _beside(path: Path, suffix: str) -> Path | None:
    """The file of the same stem with a suffix, in small letters or capitals."""
    files = (path.with_suffix(each) for each in (suffix, suffix.upper()))
    return next((file for file in files if file.is_file()), None)


def _members(archive: zipfile.ZipFile, path: Path) -> tuple[str, list[str]]:
    """The text of an archive that has set-ups, and these in the order in which they are looked for."""
    names = [name for name in archive.namelist() if not name.startswith("__MACOSX")]
    stems: dict[str, dict[str, str]] = {}
    for name in names:
        member = PurePath(name)
        stems.setdefault(str(member.with_suffix("")).upper(), {})[member.suffix.lower()] = name
    complete = [found for found in stems.values() if ".txt" in found and any(kind in found for kind in SUFFIXES)]
    if len(complete) != 1:
        held = ", ".join(names) or "nothing"
        raise LaborLLMError(
            f"{path}: holds {len(complete)} texts with a set-up of the same name ({held}); give the zip of one wave, "
            f"with its .txt and one of {', '.join(SUFFIXES)}"
        )
    return complete[0][".txt"], [complete[0][kind] for kind in SUFFIXES if kind in complete[0]]


def _setups(texts: dict[str, bytes], path: Path) -> list[Setup]:
    if not texts:
        raise LaborLLMError(
            f"{path}: no set-up is beside it; put {path.stem}{SUFFIXES[0]} ({', '.join(SUFFIXES[1:])}) of the same "
            f"download into its folder"
        )
    return [parse_setup(raw.decode("utf-8-sig", errors="replace"), name) for name, raw in texts.items()]


def _blocks(stream: IO[bytes], setup: Setup, path: Path) -> Iterator[np.ndarray]:
    """The rows of a text, uint8, shape (rows, record length), some megabytes at a time."""
    length, stride, row, rest = setup.record_length, 0, 1, b""
    while True:
        fresh = stream.read(max(_BLOCK, 2 * length))
        data = rest + fresh
        if not stride:
            stride = data.find(b"\n") + 1 or len(data) + 1
            ending = b"\r\n" if data[stride - 2 : stride] == b"\r\n" else b"\n"
        if not fresh:
            data = data.rstrip(b"\r\n\x1a") + ending if data.strip(b"\r\n\x1a") else b""
        whole = len(data) // stride * stride if fresh else len(data)
        if whole:
            yield _square(data[:whole], ending, setup=setup, at=_At(path, "", row), stride=stride)
            row += whole // stride
        rest = data[whole:]
        if not fresh:
            return


def _square(data: bytes, ending: bytes, *, setup: Setup, at: "_At", stride: int) -> np.ndarray:
    """Rows side by side, shape (rows, record length); refused where a row has another length."""
    length, width = setup.record_length, stride - len(ending)
    cells = np.frombuffer(data, dtype=np.uint8)
    if len(cells) % stride == 0 and width >= length:
        cells = cells.reshape(-1, stride)
        square = (cells[:, width:] == np.frombuffer(ending, np.uint8)).all() and data.count(b"\n") == len(cells)
        if square and (cells[:, length:width] == 32).all():
            return cells[:, :length]  # (rows, characters)
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=at.first_row):
        found = len(line.removesuffix(b"\r"))
        if found != width or found < length or line[length:].strip():
            raise LaborLLMError(
                f"{at.path}, row {number}: has {found} characters, but {setup.file} says {length}; the text is cut "
                f"off or of another release than its set-up: unpack both from one download"
            )
        if line.endswith(b"\r") != (ending == b"\r\n"):
            raise LaborLLMError(f"{at.path}, row {number}: ends otherwise than row 1; unpack the text again")
    raise LaborLLMError(f"{at.path}: rows are not alike; unpack the text again")


@dataclass(frozen=True)
class _At:
    """Where a piece of a column stands, for messages."""

    path: Path
    name: str
    first_row: int


def _numbers(cells: np.ndarray, field: Field, *, at: _At) -> pl.Series:
    """The numbers of one column of a block, cells uint8 of shape (rows, characters).

    Digits behind blanks, with at most one point in the place where most rows have theirs, are summed here: a whole
    number below 2^53 over a power of ten is the double nearest to the decimal. All other rows are parsed as text.
    """
    dots = cells == ord(".")
    decimals, pointed = field.decimals, dots.any(axis=1)
    if pointed.any():
        point = int(dots.sum(axis=0).argmax())
        decimals = cells.shape[1] - 1 - point
        digits = np.delete(cells, point, axis=1)
        elsewhere = ~dots[:, point] | (cells[:, point + 1 :] == 32).any(axis=1)
    else:
        digits, elsewhere = cells, pointed
    values, plain = _whole_numbers(digits)
    empty = (cells == 32).all(axis=1)
    plain = (plain & ~elsewhere) | empty
    if decimals:
        series = pl.Series(at.name, values / 10.0**decimals)
    else:
        series = pl.Series(at.name, values.astype(np.int32 if digits.shape[1] <= _INT32_DIGITS else np.float64))
    if empty.any():
        series = series.set(pl.Series(empty), None)
    if plain.all():
        return series
    odd = np.flatnonzero(~plain)
    texts = np.where((cells[odd] > 31) & (cells[odd] < 127), cells[odd], ord("?"))
    words = np.ascontiguousarray(texts).astype(np.uint8).view(f"S{cells.shape[1]}").ravel().astype(str)
    found = _parsed(pl.Series(words), odd + at.first_row, at=at, decimals=field.decimals)
    return series.cast(pl.Float64).scatter(odd, found)


def _whole_numbers(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole number in each row of cells, int64, and whether it is digits behind blanks; both of shape (rows,)."""
    value = cells - np.uint8(48)  # wraps around below "0"
    digit, blank = value < 10, cells == 32
    plain = (digit | blank).all(axis=1) & ~(digit[:, :-1] & blank[:, 1:]).any(axis=1) & digit[:, -1:].any(axis=1)
    if cells.shape[1] > _EXACT_DIGITS:
        plain &= blank[:, :-_EXACT_DIGITS].all(axis=1)
    numbers = np.zeros(len(cells), dtype=np.int64)
    for column in range(max(0, cells.shape[1] - _EXACT_DIGITS), cells.shape[1]):
        numbers = numbers * 10 + np.where(digit[:, column], value[:, column], 0)
    return numbers, plain


def _parsed(words: pl.Series, rows: np.ndarray, *, at: _At, decimals: int = 0) -> pl.Series:
    """Words as float64, null where blank or a point alone; rows are their numbers in the file."""
    words = words.str.strip_chars(" ")
    present = ~words.is_in(["", "."])
    wrong = present & ~words.str.contains(NUMBER)
    if wrong.any():
        place = wrong.arg_true()[0]
        raise LaborLLMError(
            f"{at.path}, variable {at.name}, row {rows[place]}: {words[place][:60]!r} is no number ({wrong.sum()} such "
            f"rows); mend the value or download the file again"
        )
    numbers = words.set(~present, None).cast(pl.Float64)
    if decimals:
        numbers = numbers / words.str.contains(".", literal=True).replace_strict({True: 1.0, False: 10.0**decimals})
    return numbers


def _joined(name: str, parts: list[pl.Series]) -> pl.Series:
    """One column out of its blocks; whole numbers stay int32."""
    if any(part.dtype == pl.Float64 for part in parts):
        parts = [part.cast(pl.Float64) for part in parts]
    column = pl.concat(parts) if parts else pl.Series(name, [], dtype=pl.Int32)
    return _small(column.alias(name))


def _small(column: pl.Series) -> pl.Series:
    if column.dtype.is_float() and ((column == column.floor()) & (column.abs() < 10**9)).all():
        return column.cast(pl.Int32)
    return column


def _require_rows(rows: int, setup: Setup, path: Path) -> None:
    if not rows:
        raise LaborLLMError(f"{path}: has no rows; download the file again")
    if setup.rows is not None and rows != setup.rows:
        raise LaborLLMError(
            f"{path}: has {rows} rows, but {setup.file} announces {setup.rows}; the text is cut off or of another "
            f"release than its set-up: unpack both from one download"
        )


def _read_csv(path: Path, wanted: Callable[[str], bool] | None) -> PSIDFile:
    with path.open("rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="") as lines:
        rows = csv.reader(lines)
        try:
            header = [name.strip().upper() for name in next(rows, [])]
            _require_names(header, path)
            kept = [place for place, name in enumerate(header) if wanted is None or wanted(name)]
            parts = list(_csv_parts(rows, header, kept=kept, path=path))
        except csv.Error as error:
            raise LaborLLMError(f"{path}: is no CSV file ({error}); draw the extract again") from error
    if not parts:
        raise LaborLLMError(f"{path}: has a header but no rows; draw the extract again")
    table = pl.concat(parts)
    return PSIDFile(str(path), tuple(header), table.select(_small(table[name]) for name in table.columns))


def _read_table(path: Path, wanted: Callable[[str], bool] | None) -> PSIDFile:
    """A table of a statistics program, read whole."""
    frame = read_frame(path)
    header = [name.strip().upper() for name in frame.columns]
    _require_names(header, path)
    columns = []
    for name, column in zip(header, frame, strict=True):
        if wanted is None or wanted(name):
            column = column.alias(name)
            if not column.dtype.is_numeric():
                column = _parsed(
                    column.cast(pl.String).fill_null(""), np.arange(1, frame.height + 1), at=_At(path, name, 1)
                )
            columns.append(_small(column.cast(pl.Float64).fill_nan(None)))
    return PSIDFile(str(path), tuple(header), pl.DataFrame(columns))


def _require_names(header: list[str], path: Path) -> None:
    if not header:
        raise LaborLLMError(f"{path}: the file is empty; draw the extract again")
    for place, name in enumerate(header, start=1):
        if not name:
            raise LaborLLMError(f"{path}, column {place}: has no name in the header; draw the extract again")
        if name in header[: place - 1]:
            raise LaborLLMError(f"{path}, column {place}: variable {name} stands twice in the header; keep one of them")


def _csv_parts(rows: Iterator[list[str]], header: list[str], *, kept: list[int], path: Path) -> Iterator[pl.DataFrame]:
    """The wanted columns as float64, some thousand rows at a time."""
    first = 2
    while lines := list(islice(rows, _CSV_ROWS)):
        for row, values in enumerate(lines, start=first):
            if len(values) != len(header):
                raise LaborLLMError(
                    f"{path}, row {row}: has {len(values)} values for {len(header)} columns; the file is cut off or "
                    f"was edited: draw the extract again"
                )
        numbers = np.arange(first, first + len(lines))
        yield pl.DataFrame(
            [
                _parsed(
                    pl.Series(header[place], [line[place] for line in lines], dtype=pl.String),
                    numbers,
                    at=_At(path, header[place], first),
                )
                for place in kept
            ]
        )
        first += len(lines)
