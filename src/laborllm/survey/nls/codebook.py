"""Codebooks of the NLS Investigator: what the survey says about each variable, and how often each value should occur.

Source: the ``.cdb`` and ``.sdf`` files that come with every extract (nlsinfo.org/investigator).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.nls.codebook_blocks import Entry, ValueCount, codebook_entries, short_entries
from laborllm.survey.nls.files import CODEBOOKS, read_lines

__all__ = ["MISSING", "MISSING_CODES", "Codebook", "Entry", "ValueCount", "compare_frequencies", "read_codebook"]

MISSING = {-1: "refusal", -2: "don't know", -3: "invalid skip", -4: "valid skip", -5: "no interview"}
"""Codes that say why there is no value (nlsinfo.org, "Missing values")."""
MISSING_CODES = tuple(MISSING)
_LINES: dict[str, type[pl.DataType]] = {"what": pl.String, "printed": pl.Float64, "read": pl.Float64}
_NAMED_LINES: dict[str, type[pl.DataType]] = {"column": pl.String, "reference": pl.String, **_LINES}


@dataclass(frozen=True, eq=False, repr=False)
class Codebook(Mapping[str, Entry]):
    """What a survey says about variables: reference number without the dot -> entry, in the file's order.

    Attributes:
        entries: the same, as a dict.
        path: the file they come from.
    """

    entries: Mapping[str, Entry]
    path: Path

    def __getitem__(self, reference: str) -> Entry:
        return self.entries[reference]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return f"Codebook({str(self.path)!r}, {len(self)} variables)"

    @cached_property
    def people(self) -> int | None:
        """Everybody in the survey's file, by most of the variables; None for a short description."""
        counts = Counter(entry.people for entry in self.values() if entry.people is not None)
        return counts.most_common(1)[0][0] if counts else None

    def find(self, text: str) -> pl.DataFrame:
        """The variables that have a text in their title, question name, reference number or universe, in any case.

        Returns:
            Columns reference, question, year and title, in the codebook's order.
        """
        wanted = text.casefold()
        rows = [
            (entry.reference, entry.question, entry.year, entry.title)
            for entry in self.values()
            if any(wanted in words.casefold() for words in _words(entry))
        ]
        return pl.DataFrame(
            rows, schema=dict.fromkeys(("reference", "question", "year", "title"), pl.String), orient="row"
        )

    def labels(self, reference: str) -> pl.DataFrame:
        """The words for a variable's values, missing codes last.

        Returns:
            Columns low, high (int64; the same but for a range) and label; values without words are left out.

        Raises:
            LaborLLMError: the codebook has no such variable.
        """
        entry = self.get(reference)
        if entry is None:
            raise LaborLLMError(f"{self.path}: has no variable {reference}; look it up with find()")
        rows = [(line.low, line.high, line.label) for line in entry.values if line.label]
        rows += [(code, code, words) for code, words in MISSING.items()]
        return pl.DataFrame(rows, schema={"low": pl.Int64, "high": pl.Int64, "label": pl.String}, orient="row")


def _words(entry: Entry) -> tuple[str, ...]:
    dotted = f"{entry.reference[:-2]}.{entry.reference[-2:]}"
    return entry.title, entry.question, entry.reference, dotted, entry.universe


def read_codebook(path: Path) -> Codebook:
    """Read a ``.cdb`` codebook or a ``.sdf`` short description (which has no frequencies), or the one in a ``.zip``.

    Raises:
        LaborLLMError: the file cannot be read, holds no variable, describes one twice, or its figures do not add up.
    """
    suffix, lines = read_lines(path)
    read = short_entries if suffix == CODEBOOKS[1] else codebook_entries
    entries: dict[str, Entry] = {}
    for entry in read(lines, path):
        if entry.reference in entries:
            raise LaborLLMError(f"{path}: describes {entry.reference} twice; draw the codebook again")
        entries[entry.reference] = entry
    if not entries:
        raise LaborLLMError(f"{path}: describes no variable; give the .cdb or .sdf file of an NLS Investigator extract")
    return Codebook(entries, path)


def compare_frequencies(
    table: pl.DataFrame, codebook: Mapping[str, Entry], references: Mapping[str, str]
) -> pl.DataFrame:
    """Where a table's frequencies differ from those that the codebook prints.

    Args:
        table: one row a person, whole numbers with the survey's missing codes.
        codebook: what ``read_codebook`` gave.
        references: column of the table -> reference number of the codebook.

    Returns:
        Columns column, reference, what, printed and read, the last three as ``compare_lines`` gives them. No rows: they
        all agree.

    Raises:
        LaborLLMError: the table has no such column, or the codebook no such variable.
    """
    parts = [pl.DataFrame(schema=_NAMED_LINES)]
    for column, reference in references.items():
        if column not in table.columns:
            raise LaborLLMError(f"column {column!r} is not in the table; read it first")
        if reference not in codebook:
            raise LaborLLMError(f"variable {reference} is not in the codebook; give the codebook of the same extract")
        lines = compare_lines(table[column], codebook[reference])
        names = pl.lit(column).alias("column"), pl.lit(reference).alias("reference")
        parts.append(lines.filter(pl.col("printed").ne_missing(pl.col("read"))).select(*names, *_LINES))
    return pl.concat(parts)


def compare_lines(values: pl.Series, entry: Entry) -> pl.DataFrame:
    """Every figure that a codebook prints for a variable, beside the same figure of the values read.

    Returns:
        Columns what (a value, a range "1 TO 999", "other", "valid", a missing code, "total", "minimum", "maximum" or
        "mean"), printed and read (float64; null where there is none). "other" are valid values that no printed line
        names, "valid" is the sum below the lines, "total" everybody but -4 and -5. Means are compared as they are
        printed, to two decimals, halves up. No rows where the entry prints no figures.
    """
    if entry.total is None:
        return pl.DataFrame(schema=_LINES)
    return pl.DataFrame(list(_figures(values.drop_nulls().to_numpy(), entry)), schema=_LINES, orient="row")


def _figures(values: np.ndarray, entry: Entry) -> Iterator[tuple[str, float | None, float | None]]:
    numbers, counts = np.unique(values, return_counts=True)
    missing = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    answered = ~np.isin(numbers, MISSING_CODES)
    numbers, counts = numbers[answered].astype(np.int64), counts[answered]
    below = np.concatenate([[0], np.cumsum(counts)])  # (numbers + 1,): people with a value below each
    listed = 0
    for line in entry.values:
        first, last = np.searchsorted(numbers, line.low), np.searchsorted(numbers, line.high, side="right")
        count = int(below[last] - below[first])
        listed += count
        yield (str(line.low) if line.low == line.high else f"{line.low} TO {line.high}"), line.count, count
    valid = int(below[-1])
    if entry.valid is not None:
        yield "other", entry.valid - sum(line.count for line in entry.values), valid - listed
        yield "valid", entry.valid, valid
    printed = entry.missing or {}
    for code in MISSING_CODES:
        yield str(code), printed.get(code, 0), missing.get(code, 0)
    yield "total", entry.total, len(values) - missing.get(-4, 0) - missing.get(-5, 0)
    if entry.mean is not None:
        yield "minimum", entry.minimum, float(numbers[0]) if valid else None
        yield "maximum", entry.maximum, float(numbers[-1]) if valid else None
        yield "mean", entry.mean, _mean(int(numbers @ counts), valid) if valid else None


def _mean(total: int, people: int) -> float:
    """To two decimals, halves away from zero: so are all 1,025 means of the codebooks at hand, six of them halves."""
    hundredths = (200 * abs(total) + people) // (2 * people)
    return (hundredths if total >= 0 else -hundredths) / 100
