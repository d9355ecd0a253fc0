"""Writes a table as a fixed-width file of the PSID with its three set-ups: what a user unpacks, made-up.

A wave file is ``NAME.txt``, digits side by side without separator, and ``NAME.sps`` (SPSS), ``NAME.do`` (Stata) and
``NAME.sas`` (SAS), each of which says in its own words where every variable stands and what it is called. Line ends,
order and spacing are those of the survey's own packages (FAM1982, IND2021ER).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file

NAME = re.compile(r"[A-Z]{1,2}\d+(_?[A-Z]\d*)?")
DECIMALS = 3
"""Of numbers that are not whole; the text file bears the point."""
PER_LINE = 3
"""Variables on a line of positions."""
RULE = "*" * 73


@dataclass(frozen=True)
class Place:
    """Where a variable stands: its name and label, first and last character of the line from 1 on, and decimals."""

    name: str
    label: str
    first: int
    last: int
    decimals: int = 0

    @property
    def width(self) -> int:
        return self.last - self.first + 1

    @property
    def position(self) -> str:
        return f"{self.name:<11}{self.first:>5} - {self.last:<5}"


def write_wave(table: pl.DataFrame, labels: Mapping[str, str], folder: Path, *, name: str, title: str) -> list[Path]:
    """Write ``NAME.txt``, ``NAME.sps``, ``NAME.do`` and ``NAME.sas``.

    Args:
        table: one row a family or person, one column a variable under the survey's name ("V7712", "ER30001"); whole
            numbers, or floats that are written with three decimals. No nulls: the PSID writes 0 or nines.
        labels: column -> the words of its set-ups.
        folder: where to write; each file is whole or absent.
        name: the stem, e.g. "FAM1982" or "IND2021ER".
        title: the words in the head of each set-up.

    Returns:
        The text file, then the set-ups for SPSS, Stata and SAS.

    Raises:
        LaborLLMError: a name is none of the survey's, a label is missing or quoted, a value is missing or no number,
            or the folder cannot be written.
    """
    for column in table.columns:
        _require_writable(table[column], labels.get(column), name)
    texts = table.select(_text(table[column]) for column in table.columns)
    places = _places(texts, labels, {column: table[column].dtype.is_float() for column in table.columns})
    padded = [pl.col(place.name).str.pad_start(place.width) for place in places]
    lines = texts.select(pl.concat_str(padded).alias("line"))
    paths = [folder / f"{name}{suffix}" for suffix in (".txt", ".sps", ".do", ".sas")]
    with whole_file(paths[0]) as temporary:
        lines.write_csv(temporary, include_header=False, line_terminator="\r\n", quote_style="never")
    head = [
        f"   Label           : {title}",
        f"   Rows            : {table.height}",
        f"   Columns         : {table.width}",
    ]
    for path, setup in zip(paths[1:], (_spss, _stata, _sas), strict=True):
        with whole_file(path) as temporary:
            temporary.write_bytes("\r\n".join([*setup(places, name, head), ""]).encode())
    return paths


def _require_writable(values: pl.Series, label: str | None, file: str) -> None:
    column = values.name
    if not NAME.fullmatch(column):
        raise LaborLLMError(f"{file}, column {column}: no variable of the PSID; give a name such as V7712 or ER30001")
    if not label or re.search(r'["\r\n;]', label):
        raise LaborLLMError(f"{file}, column {column}: label {label!r} is missing, quoted or spans lines; give words")
    if not values.dtype.is_numeric() or values.null_count() or values.is_empty():
        raise LaborLLMError(
            f"{file}, column {column}: {values.dtype} with {len(values)} rows and {values.null_count()} missing; give "
            f"numbers in every row"
        )


def _text(values: pl.Series) -> pl.Series:
    """Digits, with three decimals where the numbers are not whole."""
    if not values.dtype.is_float():
        return values.cast(pl.String)
    thousandths = (values * 10**DECIMALS).round().cast(pl.Int64)
    sign = pl.select(pl.when(thousandths < 0).then(pl.lit("-")).otherwise(pl.lit(""))).to_series()
    size = thousandths.abs()
    whole, rest = (size // 10**DECIMALS).cast(pl.String), (size % 10**DECIMALS).cast(pl.String)
    return (sign + whole + "." + rest.str.zfill(DECIMALS)).alias(values.name)


def _places(texts: pl.DataFrame, labels: Mapping[str, str], decimal: Mapping[str, bool]) -> list[Place]:
    """Each variable as wide as its longest value, one after another."""
    places: list[Place] = []
    for column in texts.columns:
        first = places[-1].last + 1 if places else 1
        width = int(texts[column].str.len_bytes().max() or 1)  # type: ignore[arg-type]
        decimals = DECIMALS if decimal[column] else 0
        places.append(Place(column, labels[column], first=first, last=first + width - 1, decimals=decimals))
    return places


def _positions(texts: Sequence[str]) -> list[str]:
    return ["      " + "    ".join(texts[place : place + PER_LINE]) for place in range(0, len(texts), PER_LINE)]


def _spss(places: Sequence[Place], name: str, head: Sequence[str]) -> list[str]:
    decimals = [f"      {place.name} (F{place.width}.{place.decimals})" for place in places if place.decimals]
    return [
        *("", "*" + RULE, *head, RULE + ".", ""),
        f"FILE HANDLE PSID / NAME = '[PATH]\\{name}.TXT' LRECL = {places[-1].last} .",
        "DATA LIST FILE = PSID FIXED /",
        *_positions([place.position for place in places]),
        *("   .", "   EXECUTE ."),
        *(["   FORMATS", *decimals, "   ."] if decimals else []),
        "   VARIABLE LABELS ",
        *(f'      {place.name:<12} "{place.label}"' for place in places),
        "   .",
    ]


def _stata(places: Sequence[Place], name: str, head: Sequence[str]) -> list[str]:
    """Positions with the storage type that Stata needs: its default, float, holds seven digits."""
    kinds = ["double" if place.decimals else "long" if place.width > 4 else "" for place in places]
    texts = [f"{kind:>6} {place.position}" for kind, place in zip(kinds, places, strict=True)]
    return [
        *("", "#delimit ;", "", "*" + RULE, *head, RULE + ";", ""),
        *("", "infix ", *_positions(texts), f"using [path]\\{name}.txt, clear ", ";"),
        *(f'label variable  {place.name:<12} "{place.label}" ;' for place in places),
    ]


def _sas(places: Sequence[Place], name: str, head: Sequence[str]) -> list[str]:
    formats = [f"f{place.width}.{place.decimals or ''}" for place in places]
    labels = [
        f'      {place.name:<10} LABEL="{place.label}"    format={form}'
        for place, form in zip(places, formats, strict=True)
    ]
    return [
        *("", "/" + RULE, *head, RULE + "/", "", f"DATA {name} ; ", "   ATTRIB ", *labels, "   ;"),
        f"   INFILE '[path]\\{name}.txt' LRECL = {places[-1].last} ; ",
        *("   INPUT ", *_positions([place.position for place in places]), "   ;", "RUN ;"),
    ]
