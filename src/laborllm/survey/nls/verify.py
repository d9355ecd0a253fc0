"""Extracts against their codebooks: every figure that is printed beside the same figure of the values read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.nls.codebook import Codebook, Entry, compare_lines, read_codebook
from laborllm.survey.nls.extracts import ID_REFERENCE, PERSON, Extract, Variable, codebook_beside, read_extract
from laborllm.survey.nls.files import CODEBOOKS

EQUAL, DIFFERS = "equal", "differs"
NO_FIGURES, NOT_DESCRIBED, NO_CODEBOOK = "no printed frequencies", "not in the codebook", "no codebook"
_NAMES = dict.fromkeys(("file", "column", "reference", "title"), pl.String)
_LINES = _NAMES | {"what": pl.String, "printed": pl.Float64, "read": pl.Float64}
_VARIABLES = _NAMES | {"outcome": pl.String, "lines": pl.Int64, "differing": pl.Int64}


@dataclass(frozen=True)
class Verification:
    """What extracts hold beside what codebooks print.

    Attributes:
        lines: a row for every printed figure: file, column, reference, title, what, printed and read. ``what`` is a
            value, a range "1 TO 999", "other" (valid values that no line names), "valid", a missing code, "total",
            "minimum", "maximum" or "mean"; see ``compare_lines``.
        variables: a row for every column of the files, ids included: file, column, reference, title, outcome ("equal",
            "differs", "no printed frequencies", "not in the codebook" or "no codebook"), lines and differing, the
            number of figures compared and of those that differ.
    """

    lines: pl.DataFrame
    variables: pl.DataFrame

    @property
    def differences(self) -> pl.DataFrame:
        """The lines whose figures differ; no rows: everything that is printed was read."""
        return self.lines.filter(pl.col("printed").ne_missing(pl.col("read")))

    @property
    def compares(self) -> bool:
        """Whether a figure of any variable but the ids was compared: both cohorts' codebooks describe R0000100."""
        return bool((self.lines["reference"] != ID_REFERENCE).any())


def verify(files: Sequence[Path]) -> Verification:
    """Compare every variable of extracts with their codebooks.

    Args:
        files: extracts; and codebooks (``.cdb``, ``.sdf``) for those variables that an extract's own codebook, which
            lies beside it under its name or in its zip, does not describe.

    Raises:
        LaborLLMError: no extract is among the files, or a file cannot be read.
    """
    extracts = [file for file in files if file.suffix.lower() not in CODEBOOKS]
    if not extracts:
        raise LaborLLMError("no extract is given; name at least one .csv, .dct, .dat or .zip file")
    given = [read_codebook(file) for file in files if file not in extracts]
    lines, variables = [pl.DataFrame(schema=_LINES)], []
    for file in extracts:
        codebook = _codebook(file, given)
        extract = read_extract(file, codebook=codebook)
        for variable, values in _columns(extract):
            entry = None if codebook is None else codebook.get(variable.reference or "")
            part = _compare(file, variable, values, entry)
            lines.append(part)
            variables.append(_outcome(file, variable, entry, part, described=codebook is not None))
    return Verification(pl.concat(lines), pl.DataFrame(variables, schema=_VARIABLES, orient="row"))


def files_read(files: Sequence[Path]) -> list[Path]:
    """The files that ``verify`` reads: those named, and the codebooks beside extracts."""
    return [*files, *(beside for file in files if (beside := codebook_beside(file)))]


def _codebook(file: Path, given: Sequence[Codebook]) -> Codebook | None:
    """An extract's own codebook and the given ones in one; where two describe a variable, the first with figures."""
    beside = codebook_beside(file)
    books = [*([read_codebook(beside)] if beside else []), *given]
    if not books:
        return None
    entries: dict[str, Entry] = {}
    for entry in (entry for book in books for entry in book.values()):
        known = entries.get(entry.reference)
        if known is None or (known.total is None and entry.total is not None):
            entries[entry.reference] = entry
    return Codebook(entries, books[0].path)


def _columns(extract: Extract) -> list[tuple[Variable, pl.Series]]:
    """Variables and their values, in the order of the file's columns but for the id, which is first."""
    ids = [(extract.id, extract.values[PERSON])] if extract.id else []
    return ids + [(variable, extract.values[variable.column]) for variable in extract.variables]


def _compare(file: Path, variable: Variable, values: pl.Series, entry: Entry | None) -> pl.DataFrame:
    if entry is None:
        return pl.DataFrame(schema=_LINES)
    names = _names(file, variable, entry)
    literals = [pl.lit(value, pl.String).alias(name) for name, value in zip(_NAMES, names, strict=True)]
    return compare_lines(values, entry).with_columns(literals).select(*_LINES)


def _names(file: Path, variable: Variable, entry: Entry | None) -> tuple[str, str, str | None, str]:
    name = os.fsencode(file).decode(errors="replace")  # names on disk need not be UTF-8, those in a table must
    return name, variable.column, variable.reference, entry.title if entry else variable.label


def _outcome(
    file: Path, variable: Variable, entry: Entry | None, lines: pl.DataFrame, *, described: bool
) -> tuple[str | int | None, ...]:
    differing = lines.filter(pl.col("printed").ne_missing(pl.col("read"))).height
    if entry is None:
        outcome = NOT_DESCRIBED if described else NO_CODEBOOK
    elif not lines.height:
        outcome = NO_FIGURES
    else:
        outcome = DIFFERS if differing else EQUAL
    return *_names(file, variable, entry), outcome, lines.height, differing
