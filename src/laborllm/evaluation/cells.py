"""Cells: the subsets (by transition type) and groups (by covariate) within which metrics are reported."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import COVARIATES, Careers

SUBSETS = ("first", "stay", "move")


@dataclass(frozen=True)
class Cell:
    """Some person-years of the test sample.

    Attributes:
        subset: "all", "first", "stay" or "move".
        group: "all" or "COVARIATE=VALUE".
        rows: whether each person-year belongs, bool, shape (person_years,).
    """

    subset: str
    group: str
    rows: np.ndarray


def find_cells(careers: Careers, by: Sequence[str]) -> tuple[tuple[Cell, ...], tuple[str, ...]]:
    """All person-years, the transition types, and every value of each covariate; with notes on what is left out.

    Raises:
        LaborLLMError: a name in ``by`` is no covariate of the careers.
    """
    cells, notes = [Cell("all", "all", np.ones(len(careers), dtype=bool))], []
    cells += [Cell(subset, "all", careers.transition == subset) for subset in SUBSETS]
    for covariate in by:
        groups = _groups(careers, covariate)
        if len(groups) == 1 and groups[0].group.endswith("=missing"):
            notes.append(f"{covariate}: no groups, the value is missing in every row")
        else:
            cells += groups
    return tuple(cell for cell in cells if cell.rows.any()), tuple(notes)


def _groups(careers: Careers, covariate: str) -> list[Cell]:
    """One cell per value in sorted order, missing last."""
    allowed = [name for name in (*COVARIATES, "survey") if name in careers.table.columns]
    if covariate not in allowed:
        raise LaborLLMError(f"evaluation.by: {covariate!r} is no covariate of these careers; use {', '.join(allowed)}")
    values = careers.table[covariate]
    known = values.drop_nulls().unique().sort().to_list()
    cells = [Cell("all", f"{covariate}={value}", values.eq(value).fill_null(False).to_numpy()) for value in known]
    if values.null_count():
        cells.append(Cell("all", f"{covariate}=missing", values.is_null().to_numpy()))
    return cells


def people_in(rows: np.ndarray, person: np.ndarray) -> int:
    """Number of people with at least one of the chosen rows; ``rows`` and ``person`` have shape (person_years,)."""
    return len(np.unique(person[rows]))
