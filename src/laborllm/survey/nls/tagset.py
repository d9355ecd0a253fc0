"""Tagsets of the NLS Investigator: lists of variables that it loads, one reference number a line, without the dot.

The suffix of a tagset names the cohort, such as ``.NLSY79`` or ``.NLSY97``; the Investigator offers it when an extract
is drawn, and takes it back to draw the same variables again.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.survey.nls.files import TAGSET, read_lines

REFERENCE = re.compile(r"[A-Z][0-9]{7}")


def read_tagset(path: Path) -> list[str]:
    """The reference numbers of a tagset, in its order.

    Raises:
        LaborLLMError: the file cannot be read or is empty, or a line is no reference number or stands twice.
    """
    _, lines = read_lines(path)
    rows = [(row, line.strip()) for row, line in enumerate(lines, start=1) if line.strip()]
    if not rows:
        raise LaborLLMError(f"{path}: names no variable; give a tagset of the NLS Investigator")
    _check(rows, path)
    return [reference for _, reference in rows]


def write_tagset(path: Path, references: Iterable[str]) -> None:
    """Write reference numbers (R0000100) as a tagset that the NLS Investigator loads.

    Args:
        path: its suffix names the cohort, such as ``.NLSY79`` or ``.NLSY97``.
        references: reference numbers without the dot, each once.

    Raises:
        LaborLLMError: the suffix is no cohort's, there is no reference number, one is none or stands twice, or the
            file cannot be written.
    """
    if not TAGSET.fullmatch(path.suffix):
        raise LaborLLMError(f"{path}: {path.suffix!r} names no cohort; end the name with .NLSY79 or .NLSY97")
    rows = list(enumerate(references, start=1))
    if not rows:
        raise LaborLLMError(f"{path}: no variable is given; name at least one reference number such as R0000100")
    _check(rows, path)
    with whole_file(path) as temporary:
        temporary.write_text("".join(f"{reference}\n" for _, reference in rows), encoding="ascii", newline="\n")


def _check(rows: list[tuple[int, str]], path: Path) -> None:
    seen: set[str] = set()
    for row, reference in rows:
        if not REFERENCE.fullmatch(reference):
            raise LaborLLMError(f"{path}, row {row}: {reference[:40]!r} is no reference number such as R0000100")
        if reference in seen:
            raise LaborLLMError(f"{path}, row {row}: {reference} stands twice; keep one of them")
        seen.add(reference)
