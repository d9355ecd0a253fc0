"""Writes whole numbers and their descriptions as a bundle of the NLS Investigator: what a user draws, made-up.

A bundle is one extract in every form in which the Investigator gives it: ``.csv``, ``.dct`` (Stata), ``.dat`` with
``.sps`` (SPSS), the codebook ``.cdb`` with its frequencies, the short description ``.sdf`` and the tagset, whose suffix
is the cohort's name. Columns, line ends and rounding are those of real bundles.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.survey.nls.codebook import MISSING_CODES
from laborllm.survey.variables import question_key

REFERENCE = re.compile(r"[A-Z]\d{7}")
ID_REFERENCE = "R0000100"
LISTED = 30
"""A variable with more values than this, and no labels, has its frequencies printed in classes."""
LINE = 80
LABEL_COLUMN = 26
"""Where a long label runs on."""
ORIGIN = "NOTE: Made-up values, written by laborllm; nobody gave these answers."


@dataclass(frozen=True)
class Description:
    """What a bundle says about one variable.

    Attributes:
        reference: reference number without the dot, e.g. "R0216701".
        question: question name, e.g. "HGCREV79".
        year: survey year as the survey writes it ("1979", "78SCRN", "XRND").
        title: one line of words.
        labels: value -> words; each labelled value has its line in the codebook, even where nobody has it.
    """

    reference: str
    question: str
    year: str
    title: str
    labels: Mapping[int, str] = field(default_factory=dict)

    @property
    def dotted(self) -> str:
        """The reference number as codebooks print it: "R02167.01"."""
        return f"{self.reference[:6]}.{self.reference[6:]}"

    @property
    def label(self) -> str:
        """What dictionaries call the variable: the title and the year."""
        return f"{self.title} {self.year}"


def write_bundle(
    table: pl.DataFrame, descriptions: Sequence[Description], folder: Path, *, name: str, cohort: str
) -> dict[str, Path]:
    """Write one extract as ``NAME.csv``, ``.dct``, ``.dat``, ``.sps``, ``.cdb``, ``.sdf`` and ``NAME.COHORT``.

    Args:
        table: one row a person, one column a variable under its reference number, whole numbers; those from -1 to -5
            say why there is no value. The id ``R0000100`` comes first.
        descriptions: one per column, in the same order.
        folder: where to write; each file is whole or absent.
        name: the stem of the files.
        cohort: the suffix of the tagset, "NLSY79" or "NLSY97".

    Returns:
        Suffix ("csv", "dct", "dat", "sps", "cdb", "sdf" or the cohort) -> path.

    Raises:
        LaborLLMError: columns and descriptions differ, a reference number is none, a value is missing or no whole
            number, a title holds a quote or a line break, or the folder cannot be written.
    """
    _require_described(table, descriptions)
    paths = {suffix: folder / f"{name}.{suffix}" for suffix in ("csv", "dct", "dat", "sps", "cdb", "sdf", cohort)}
    quoted = ",".join(f'"{each.reference}"' for each in descriptions)
    dictionary = "".join(f'  {each.reference} "{each.label}"\n' for each in descriptions)
    _write_rows(table, paths["csv"], head=f"{quoted}\r\n", separator=",")
    _write_rows(table, paths["dct"], head=f"infile dictionary {{\n{dictionary}}}\n", separator=" ", last_end=True)
    _write_rows(table, paths["dat"], head="", separator=" ")
    _write_text(paths["sps"], _spss(table, descriptions, f"{name}.dat"), "\n")
    _write_text(paths["cdb"], _codebook(table, descriptions), "\r\n")
    _write_text(paths["sdf"], _short(descriptions), "\n")
    _write_text(paths[cohort], [each.reference for each in descriptions] + [""], "\n")
    return paths


def _require_described(table: pl.DataFrame, descriptions: Sequence[Description]) -> None:
    references = [each.reference for each in descriptions]
    if not table.height:
        raise LaborLLMError("bundle: the table has no row; give at least one person")
    if table.columns != references:
        pairs = zip([*table.columns, None], [*references, None], strict=False)
        column, reference = next(pair for pair in pairs if pair[0] != pair[1])
        raise LaborLLMError(f"bundle: column {column} is described as {reference}; give one description a column")
    if references[:1] != [ID_REFERENCE]:
        raise LaborLLMError(f"bundle: the first column is {references[:1]}; put the id {ID_REFERENCE} first")
    for each in descriptions:
        if not REFERENCE.fullmatch(each.reference):
            raise LaborLLMError(f"bundle: {each.reference!r} is no reference number; give a capital and 7 digits")
        if re.search(r'["\r\n]', each.title) or not each.title.strip():
            raise LaborLLMError(f"bundle, column {each.reference}: {each.title!r} is blank, quoted or spans lines")
        values = table[each.reference]
        if not values.dtype.is_integer() or values.null_count():
            raise LaborLLMError(
                f"bundle, column {each.reference}: {values.dtype} with {values.null_count()} missing; give whole "
                f"numbers, -5 to -1 where there is no value"
            )


def _write_rows(table: pl.DataFrame, path: Path, *, head: str, separator: str, last_end: bool = False) -> None:
    """The last line of a real ``.csv`` or ``.dat`` has no end; that of a ``.dct`` has."""
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        stream.write(head.encode())
        table.write_csv(stream, include_header=False, separator=separator, line_terminator="\r\n")
        if not last_end:
            stream.seek(-len("\r\n"), os.SEEK_END)
            stream.truncate()


def _write_text(path: Path, lines: Sequence[str], end: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_bytes(end.join(lines).encode())


def _spss(table: pl.DataFrame, descriptions: Sequence[Description], data: str) -> list[str]:
    """Names and widths in the order of the ``.dat``, whose values are parted by blanks; then the words."""
    extremes = table.select(pl.all().min()).row(0), table.select(pl.all().max()).row(0)
    widths = [max(len(str(low)), len(str(high))) for low, high in zip(*extremes, strict=True)]
    lines = [f"file handle pcdat/name='{data}' /lrecl={sum(widths) + len(widths) + 2}.", "data list file pcdat free /"]
    lines += [f"  {each.reference} (F{width})" for each, width in zip(descriptions, widths, strict=True)]
    lines += [".", "missing values all (-5 thru -1).", "variable labels"]
    lines += [f'  {each.reference}  "{each.label}"' for each in descriptions]
    lines += [".", "value labels"]
    for each in descriptions:
        if each.labels:
            lines.append(f" {each.reference}")
            lines += [*(f'    {value} "{words}"' for value, words in each.labels.items()), "    /"]
    lines += [".", "* Question names in place of reference numbers.", "* rename variables"]
    lines += [f"  ({each.reference} = {question_key(each.question)}_{each.year}) " for each in descriptions]
    return [*lines, "  .", ""]


def _short(descriptions: Sequence[Description]) -> list[str]:
    titles = max([20, *(len(each.title) for each in descriptions)]) + 2
    questions = max([13, *(len(each.question) for each in descriptions)]) + 2
    rows = [
        f"{each.dotted:<11}{each.year:<8}{each.title:<{titles}}{each.question:<{questions}}" for each in descriptions
    ]
    head = f"{'Number':<11}{'Year':<8}{'Variable Description':<{titles}}{'Question Name':<{questions}}"
    return ["", "", "Reference", head, "-" * (len(head) + 2), *rows, ""]


def _codebook(table: pl.DataFrame, descriptions: Sequence[Description]) -> list[str]:
    lines: list[str] = []
    for place, each in enumerate(descriptions):
        before = f"{descriptions[place - 1].dotted}[Default]" if place else "None."
        after = descriptions[place + 1].dotted if place + 1 < len(descriptions) else "None."
        lines += _entry(table[each.reference], each)
        lines += [f"Lead In: {before}", f"Default Next Question: {after}", "-" * LINE]
    return lines[:-1]


def _entry(values: pl.Series, each: Description) -> Iterator[str]:
    """Heading, title, frequencies, the missing, the range."""
    counts = dict(values.value_counts().sort(values.name).iter_rows())
    missing = {code: counts.pop(code, 0) for code in MISSING_CODES}
    valid = sum(counts.values())
    yield f"{each.dotted:<13}{f'[{each.question}]':<47}Survey Year: {each.year}"
    yield from ("  PRIMARY VARIABLE", "", " ")
    yield from (" " * 13 + line for line in wrap(each.title, LINE - 13, break_on_hyphens=False))
    yield from (" ", ORIGIN, " ")
    if each.labels or counts:
        yield from (line for count in _lines(counts, each.labels) for line in _wrapped(*count))
        yield from ("  -------", f"{valid:8}", " ")
    yield f"Refusal(-1){missing[-1]:13}"
    yield f"Don't Know(-2){missing[-2]:10}"
    if missing[-3]:
        yield f"Invalid Skip(-3){missing[-3]:8}"
    total = valid + missing[-1] + missing[-2] + missing[-3]
    skips = f"   VALID SKIP(-4){missing[-4]:8}     NON-INTERVIEW(-5){missing[-5]:8}"
    yield from (f"TOTAL =========>{total:8}{skips}", " ")
    if counts:
        mean = _mean(sum(value * count for value, count in counts.items()), valid)
        yield f"Min:{min(counts):15}        Max:{max(counts):15}        Mean:{mean:>20}"
        yield " "


def _lines(counts: Mapping[int, int], labels: Mapping[int, str]) -> list[tuple[int, int, int, str]]:
    """Lowest and highest value, people and words of each printed line."""
    if labels or len(counts) <= LISTED:
        others = [value for value in counts if value not in labels]
        return [(value, value, counts.get(value, 0), labels.get(value, "")) for value in [*labels, *others]]
    values, people = np.array(list(counts)), np.array(list(counts.values()))
    classes = _classes(int(values.min()), int(values.max()))
    inside = [(values >= low) & (values <= high) for low, high, _ in classes]
    return [(low, high, int(people[at].sum()), words) for (low, high, words), at in zip(classes, inside, strict=True)]


def _classes(lowest: int, highest: int) -> list[tuple[int, int, str]]:
    """Classes as wide as the first digit of the highest value; below zero one class, and the last one is open."""
    unit = 10 ** (len(str(max(highest, 1))) - 1)
    last = max(highest, 1) // unit * unit
    below = [(-999999999, -6, "< 0")] if lowest < 0 else []
    closed = [(max(low, 1), low + unit - 1, "") for low in range(0, last, unit) if low + unit > 1]
    return [*below, (0, 0, ""), *closed, (last, 999999999, f"{last}+")]


def _wrapped(low: int, high: int, people: int, words: str) -> list[str]:
    """One value or class as the codebook prints it; long words run on below."""
    line = f"{people:8}{low:12}" + ("" if low == high else f" TO {high}")
    if not words:
        return [line]
    line += f" {words}" if low == high else f": {words}"
    return wrap(line, LINE, subsequent_indent=" " * LABEL_COLUMN, break_on_hyphens=False)


def _mean(total: int, people: int) -> str:
    """Two decimals, halves away from zero, without zeros at the end and before the point, as real codebooks print it.

    Examples:
        >>> _mean(12687, 2), _mean(1, 5), _mean(7, 1), _mean(0, 3), _mean(-1, 8)
        ('6343.5', '.2', '7', '0', '-.13')
    """
    hundredths = (200 * abs(total) + people) // (2 * people)
    whole, rest = divmod(hundredths, 100)
    decimals = f"{rest:02}".rstrip("0")
    text = f"{whole or ''}.{decimals}" if decimals else f"{whole}"
    return f"-{text}" if total < 0 and hundredths else text
