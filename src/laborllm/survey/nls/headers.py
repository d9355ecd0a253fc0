"""Which columns an extract has: header of a ``.csv``, dictionary of a ``.dct``, set-up beside a ``.dat``."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from laborllm.errors import LaborLLMError
from laborllm.survey.nls.codebook_blocks import short_entries
from laborllm.survey.nls.files import decoded, file_beside, read_lines
from laborllm.survey.nls.whole_numbers import LONGEST_LINE, ByteStream, Layout

SETUPS = (".sps", ".dct", ".sdf")
"""Where the columns of a ``.dat`` are named; the first one found counts, the others must name the same."""
DICTIONARY_LINE = re.compile(r'\s*(\S+)\s+"(.*)"\s*')
_SETUP_LABEL = re.compile(r"\s*(\S+)\s+(?:\"(.*)\"|'(.*)')\s*\.?\s*")
_SETUP_COLUMN = re.compile(r"\s*([A-Za-z]\w*)(?:\s+(\d+)(?:\s*-\s*(\d+))?)?(?:\s*\(([^)]*)\))?\s*")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_WHOLE_FORMAT = re.compile(r"(?:[FN]\d*(?:\.0)?)?", re.IGNORECASE)
_PIECE = 1 << 13


@dataclass(frozen=True)
class Header:
    """Columns of an extract.

    Attributes:
        columns: name and label of each; the label is empty where none is given.
        layout: how a row's values are told apart.
    """

    columns: list[tuple[str, str]]
    layout: Layout


class HeadedStream:
    """A stream whose first lines are read one by one, whatever ends them, and whose rest is read in blocks."""

    def __init__(self, stream: ByteStream, path: Path) -> None:
        self.stream, self.path = stream, path
        self.buffer = b""

    def line(self) -> str | None:
        """The next line without its end; None after the last.

        Raises:
            LaborLLMError: the line is no text, or longer than 64 MB.
        """
        more = True
        while more:
            ends = [place for place in (self.buffer.find(b"\n"), self.buffer.find(b"\r")) if place >= 0]
            if ends and min(ends) + 1 < len(self.buffer):
                break
            piece = self.stream.read(_PIECE)
            more = bool(piece)
            self.buffer += piece
            if len(self.buffer) > LONGEST_LINE:
                raise LaborLLMError(f"{self.path}: its header is longer than 64 MB; this is no extract")
        if not self.buffer:
            return None
        end = re.search(rb"\r\n|\n|\r|\Z", self.buffer)
        start, stop = end.span() if end else (len(self.buffer),) * 2
        line, self.buffer = self.buffer[:start], self.buffer[stop:]
        return decoded(line, self.path)

    def read(self, size: int, /) -> bytes:
        piece, self.buffer = self.buffer, b""
        return piece or self.stream.read(size)


def read_header(stream: HeadedStream, kind: str, path: Path) -> Header:
    """The columns of an extract; the stream is left at the first row of values.

    Args:
        stream: the extract from its first byte.
        kind: ".csv", ".dct" or ".dat".
        path: the file, for messages and for what lies beside it.

    Raises:
        LaborLLMError: the file is empty or of another kind, its header is broken, or a ``.dat`` has no names beside it.
    """
    if kind == ".csv":
        return _csv_header(_first_line(stream, path), path)
    if kind == ".dct":
        lines = iter(stream.line, None)
        columns = list(_dictionary(_first_line(stream, path), lines, path))
        return Header(columns, Layout(len(columns)))
    if kind == ".dat":
        return _header_beside(path)
    raise LaborLLMError(
        f"{path}: {kind or 'a file without suffix'} is no extract; give a .csv, .dct, .dat or .zip file"
    )


def _csv_header(line: str, path: Path) -> Header:
    try:
        names = next(csv.reader([line]), [])
    except csv.Error as error:
        raise LaborLLMError(f"{path}: is no CSV file ({error}); draw the extract again") from error
    return Header([(name.strip(" \t"), "") for name in names], Layout(len(names), ","))


def _first_line(stream: HeadedStream, path: Path) -> str:
    for line in iter(stream.line, None):
        if line.strip():
            return line
    raise LaborLLMError(f"{path}: the file is empty; draw the extract again")


def _dictionary(first: str, lines: Iterator[str], path: Path) -> Iterator[tuple[str, str]]:
    """Name and label of each line between ``infile dictionary {`` and ``}``."""
    if not first.strip().startswith("infile dictionary"):
        raise LaborLLMError(f"{path}, row 1: {first.strip()[:60]!r} is no 'infile dictionary'; give a Stata .dct file")
    for row, line in enumerate(lines, start=2):
        if line.strip() == "}":
            if row == 2:
                raise LaborLLMError(f"{path}, row {row}: the dictionary names no variable; draw the extract again")
            return
        found = DICTIONARY_LINE.fullmatch(line)
        if found is None:
            raise LaborLLMError(
                f"{path}, row {row}: {line.strip()[:60]!r} is no variable with its label; draw the extract again"
            )
        yield found[1], found[2]
    raise LaborLLMError(f"{path}: the dictionary is cut off before its closing brace; download the extract again")


def _header_beside(path: Path) -> Header:
    """The columns of a ``.dat``, as the files of the same download name them."""
    found = {suffix: file for suffix in SETUPS if (file := file_beside(path, [suffix])) is not None}
    if not found:
        raise LaborLLMError(
            f"{path}: nothing beside it names its columns; put the {', '.join(SETUPS)} file of the same download there"
        )
    headers = {suffix: _setup_header(file, suffix) for suffix, file in found.items()}
    (first, header), *others = headers.items()
    names = [name for name, _ in header.columns]
    for suffix, other in others:
        if [name for name, _ in other.columns] != names:
            raise LaborLLMError(
                f"{path}: the {first} beside it names {len(names)} columns, the {suffix} {len(other.columns)} or "
                f"others; keep the one of the same download"
            )
    return header


def _setup_header(file: Path, suffix: str) -> Header:
    _, lines = read_lines(file, [suffix])
    if suffix == ".sps":
        return _sps_header(lines, file)
    if suffix == ".dct":
        rows = iter(lines)
        columns = list(_dictionary(next(rows, ""), rows, file))
    else:
        columns = [(entry.reference, entry.title) for entry in short_entries(lines, file)]
    return Header(columns, Layout(len(columns)))


def _sps_header(lines: list[str], path: Path) -> Header:
    """The command ``data list``, free or with columns, and the variable labels of an SPSS set-up."""
    command = " ".join(_command(lines, "data list", path))
    options, _, variables = _QUOTED.sub("", command).partition("/")
    free = bool(re.search(r"\b(free|list)\b", options[len("data list") :], re.IGNORECASE))
    variables = re.sub(r"^\s*1\s", "", variables)
    labels = dict(_labels(_command(lines, "variable labels", path)))
    columns: list[tuple[str, str]] = []
    positions: list[tuple[int, int]] = []
    place = 0
    while place < len(variables):
        found = _SETUP_COLUMN.match(variables, place)
        if not found or not _WHOLE_FORMAT.fullmatch(found[4] or "") or bool(found[2]) == free:
            raise LaborLLMError(
                f"{path}: {variables[place : place + 40].strip()!r} in 'data list' is no variable with "
                f"{'a whole format such as (F5)' if free else 'its columns such as 1-5'}; draw the extract again"
            )
        place = found.end()
        columns.append((found[1], labels.get(found[1], "")))
        if not free:
            positions.append((int(found[2]), int(found[3] or found[2])))
    if not columns:
        raise LaborLLMError(f"{path}: 'data list' names no variable; draw the extract again")
    _require_order(positions, columns, path)
    return Header(columns, Layout(len(columns), positions=tuple(positions)))


def _require_order(positions: list[tuple[int, int]], columns: list[tuple[str, str]], path: Path) -> None:
    end = 0
    for (first, last), (name, _) in zip(positions, columns, strict=False):
        if not end < first <= last:
            raise LaborLLMError(f"{path}: {name} {first}-{last} overlaps the columns before it; draw the extract again")
        end = last


def _command(lines: list[str], name: str, path: Path) -> list[str]:
    """The lines of an SPSS command, up to the full stop that ends it."""
    start = next((i for i, line in enumerate(lines) if line.strip().lower().startswith(name)), None)
    if start is None and name == "data list":
        raise LaborLLMError(f"{path}: has no 'data list'; give the SPSS set-up of the extract")
    found: list[str] = []
    for line in lines[start:] if start is not None else []:
        if line.rstrip().endswith("."):
            return [*found, line.rstrip()[:-1]]
        found.append(line)
    if start is not None:
        raise LaborLLMError(f"{path}: {name!r} is cut off before its full stop; download the extract again")
    return found


def _labels(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines[1:]:
        if found := _SETUP_LABEL.fullmatch(line):
            yield found[1], found[2] or found[3] or ""
