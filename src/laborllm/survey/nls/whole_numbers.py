"""Whole numbers out of text, a block of lines at a time, so that a 50 MB file never stands in memory as text.

A block that holds nothing but plain numbers in rows of one width is turned into numbers by array operations. Any other
block is read line by line, which accepts quotes, blanks around a value and empty lines, and names the first row,
column and value that is no whole number.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError

BLOCK = 96 << 10
"""Bytes read at a time: with more, the arrays made from them are so large that memory is mapped anew for each."""
_TOGETHER, _PANEL = 64, 128
"""Blocks of rows turned into columns at a time, and columns held in one array until then."""
LONGEST_LINE = 1 << 26
"""Bytes; the widest extract that the NLS Investigator draws stays far below."""
_WHOLE = re.compile(rb"-?\d{1,18}")
_NEWLINE, _MINUS, _ZERO, _NO_NUMBER = ord("\n"), ord("-"), ord("0"), -1000
_SHOWN = 40
"""Characters of a wrong value that a message repeats."""


class ByteStream(Protocol):
    """Anything that bytes are read from."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Layout:
    """How a row's values are told apart.

    Attributes:
        width: values in a row.
        separator: "," or " "; with " " any blanks part two values.
        positions: first and last character of each value, counted from 1, where rows have fixed columns; else empty.
    """

    width: int
    separator: str = " "
    positions: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Numbers:
    """What was read.

    Attributes:
        table: one column a wanted place under its name, of the smallest of int16, int32 and int64 that holds it.
        last_row_ends: whether the last row has a line end.
    """

    table: pl.DataFrame
    last_row_ends: bool


def read_numbers(stream: ByteStream, layout: Layout, wanted: Mapping[int, str], path: Path) -> Numbers:
    """Read the wanted columns of rows of whole numbers; empty lines count for nothing.

    Args:
        stream: the rows, after any header; lines end in ``\\n``, ``\\r\\n`` or ``\\r``.
        layout: how a row's values are told apart.
        wanted: place in the row, from 0 -> name, in the order wanted.
        path: the file, for messages.

    Raises:
        LaborLLMError: a row has too few or too many values, a wanted value is no whole number of at most 18 digits,
            a line is longer than 64 MB, or there are no rows.
    """
    pieces: list[list[np.ndarray]] = []
    parts: list[np.ndarray] = []
    rows, last_row_ends = 0, True
    for block, ends in _blocks(stream, path):
        last_row_ends = ends
        values = None if layout.positions else _parse(block, layout, list(wanted))
        if values is None:
            values = _careful(block, layout, wanted, path=path, first_row=rows + 1)
        rows += len(values)
        parts.append(_smallest(values))
        if len(parts) == _TOGETHER:
            pieces.append(_panels(parts))
            parts = []
    if not rows:
        raise LaborLLMError(f"{path}: has a header but no rows; draw the extract again")
    pieces += [_panels(parts)] if parts else []
    return Numbers(_table(pieces, list(wanted.values())), last_row_ends)


def _panels(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Blocks of rows, each (rows, places), as arrays (places, rows) of some neighbouring places each."""
    rows = np.concatenate(parts)
    return [np.ascontiguousarray(rows[:, first : first + _PANEL].T) for first in range(0, rows.shape[1], _PANEL)]


def _table(pieces: list[list[np.ndarray]], names: list[str]) -> pl.DataFrame:
    """Pieces of rows as one table; each panel is given up as soon as its columns are made."""
    columns: list[pl.Series] = []
    panels = [list(panel) for panel in zip(*pieces, strict=True)]
    pieces.clear()
    for panel in panels:
        for column in zip(*panel, strict=True):
            columns.append(pl.Series(names[len(columns)], _smallest(np.concatenate(column))))
        panel.clear()
    return pl.DataFrame(columns)


def _smallest(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.int16 or not values.size:
        return values
    low, high = values.min(), values.max()
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind, copy=False)
    return values


def _blocks(stream: ByteStream, path: Path) -> Iterator[tuple[bytes, bool]]:
    """Whole lines, each ended by a newline, and whether the last of them was so in the file."""
    rest = b""
    while piece := stream.read(BLOCK):
        piece = rest + piece
        cut = max(piece.rfind(b"\n"), piece.rfind(b"\r", 0, len(piece) - 1)) + 1
        rest = piece[cut:]
        if len(rest) > LONGEST_LINE:
            raise LaborLLMError(f"{path}: a row is longer than 64 MB; this is no extract")
        if cut:
            yield _newlines(piece[:cut]), True
    if rest:
        ends = rest.endswith(b"\r")
        yield _newlines(rest if ends else rest + b"\n"), ends


def _newlines(text: bytes) -> bytes:
    """Every line end a newline. Pieces between two ``\\r`` are found faster than ``\\r\\n``."""
    if b"\r" not in text:
        return text
    first, *others = text.split(b"\r")
    if all(piece.startswith(b"\n") for piece in others):
        return b"".join([first, *others]) if others else text
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


@cache
def _short_numbers(separator: str) -> np.ndarray:
    """Value of two neighbouring bytes that end a number of at most two characters, else ``_NO_NUMBER``.

    Of a number of one character the first byte is the separator before it. Index: first byte + 256 · second byte.
    """
    values = np.full((256, 256), _NO_NUMBER, np.int16)
    digits = np.arange(10)
    for before in (_NEWLINE, ord(separator)):
        values[before, _ZERO : _ZERO + 10] = digits
    values[_MINUS, _ZERO : _ZERO + 10] = -digits
    values[_ZERO : _ZERO + 10, _ZERO : _ZERO + 10] = 10 * digits[:, None] + digits
    return values.T.ravel()


def _parse(block: bytes, layout: Layout, places: list[int]) -> np.ndarray | None:
    """Wanted values, shape (rows, places); None where the block is anything but plain numbers in rows of one width."""
    text = np.frombuffer(b"\n" + block, np.uint8)
    newline = text == _NEWLINE
    stops = np.flatnonzero((text == ord(layout.separator)) | newline)
    rows, odd = divmod(len(stops) - 1, layout.width)
    if odd or np.count_nonzero(newline) != rows + 1 or not newline[stops[:: layout.width]].all():
        return None
    starts, stops = stops[:-1], stops[1:]
    if places != list(range(layout.width)):
        starts = starts.reshape(rows, layout.width)[:, places].ravel()
        stops = stops.reshape(rows, layout.width)[:, places].ravel()
    pairs = np.ndarray(len(text) - 1, "<u2", text, strides=(1,))  # every two neighbouring bytes
    values = _short_numbers(layout.separator).take(pairs.take(stops - 2, mode="clip"))
    long = np.flatnonzero(stops - starts > 3)
    values[long] = 0
    if values.min(initial=0) == _NO_NUMBER:
        return None
    if len(long):
        numbers = _long_numbers(text, starts[long] + 1, stops[long])
        if numbers is None:
            return None
        values = values.astype(numbers.dtype)
        values[long] = numbers
    return values.reshape(rows, len(places))  # (rows, places)


def _long_numbers(text: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray | None:
    """The numbers between starts and stops, shape (numbers,); None where one is no whole number."""
    negative = text[starts] == _MINUS
    starts = starts + negative
    lengths = stops - starts
    if lengths.max() > 18:
        return None
    values = np.zeros(len(starts), np.int64)
    for place in range(lengths.max()):
        here = np.flatnonzero(lengths > place)
        digits = text[starts[here] + place] - np.uint8(_ZERO)  # wraps around below zero
        if digits.max() > 9:
            return None
        values[here] = values[here] * 10 + digits
    return _smallest(np.where(negative, -values, values))


def _careful(block: bytes, layout: Layout, wanted: Mapping[int, str], *, path: Path, first_row: int) -> np.ndarray:
    """Wanted values, shape (rows, places), line by line."""
    rows: list[list[int]] = []
    for line in block.split(b"\n"):
        if line.strip(b" \t"):
            row = first_row + len(rows)
            fields = _fields(line, layout, f"{path}, row {row}")
            rows.append([_whole(fields[place], name, row, path) for place, name in wanted.items()])
    return np.array(rows, np.int64).reshape(len(rows), len(wanted))


def _fields(line: bytes, layout: Layout, where: str) -> list[bytes]:
    if layout.positions:
        end = layout.positions[-1][1]
        if len(line) < end or line[end:].strip(b" \t"):
            raise LaborLLMError(
                f"{where}: has {len(line.rstrip())} characters, but its columns end at {end}; the file is cut off or "
                f"was edited: download the extract again"
            )
        return [line[first - 1 : last] for first, last in layout.positions]
    fields = line.split(b",") if layout.separator == "," else line.split()
    if len(fields) != layout.width:
        raise LaborLLMError(
            f"{where}: has {len(fields)} values for {layout.width} columns; the file is cut off or was edited: "
            f"download the extract again"
        )
    return fields


def _whole(field: bytes, name: str, row: int, path: Path) -> int:
    value = field.strip(b" \t")
    if len(value) > 1 and value[:1] == value[-1:] == b'"':
        value = value[1:-1].strip(b" \t")
    if not _WHOLE.fullmatch(value):
        shown = value.decode("latin-1")
        shown = repr(shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…")
        raise LaborLLMError(
            f"{path}, column {name}, row {row}: {shown} is no whole number; NLS extracts hold numbers alone (-5 to -1 "
            f"where there is none): mend the value or draw the extract again"
        )
    return int(value)
