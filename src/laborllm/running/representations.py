"""What the models of a study make of every row's history, for analyses that follow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.models.probabilities import Model
from laborllm.models.temperature import Tempered
from laborllm.study import Progress, Study, build_model
from laborllm.survey.careers import PARTS, Careers

LEAST = -20.0
"""Log-probabilities below this one are taken for it: an impossible occupation has minus infinity."""


@runtime_checkable
class HasStates(Protocol):
    """A model that predicts each row from a hidden state."""

    def states(self, careers: Careers) -> np.ndarray | None:
        """The state before each row's occupation is known, shape (person_years, width); None where there is none."""


def chosen_models(study: Study, names: Sequence[str], section: str) -> tuple[str, ...]:
    """The models a section names, in the order of the study; all that give the whole list a probability if none is.

    Raises:
        LaborLLMError: a name is no model of the study.
    """
    for name in names:
        if name not in study.models:
            raise LaborLLMError(f"{section}.models names {name!r}; the models are {', '.join(study.models)}")
    able = [name for name, model in study.models.items() if getattr(model, "probabilities", "full") == "full"]
    return tuple(name for name in study.models if name in (names or able))


def represent(
    name: str,
    study: Study,
    careers: Careers,
    kinds: Sequence[str],
    *,
    folder: Path,
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, np.ndarray]:
    """A model's representations of every row, in the order of the careers.

    Each is of the row before its own occupation is known: the model's log-probabilities of it ("probabilities"), or
    the hidden state they are computed from ("states").

    Args:
        name: the model's, in the study.
        study: that builds it.
        careers: split by person; it learns from, or is read for, the training and validation people.
        kinds: which are wanted.
        folder: where the fitted model is, or will be.
        progress: called with (stage, done, total).

    Returns:
        "NAME: probabilities", "NAME: states" -> float32, shape (person_years, width); without those it has not.
    """
    model = build_model(name, study, folder=folder, progress=progress)
    model.fit(careers.part("train"), careers.part("validation"))
    found = {}
    for kind in kinds:
        pieces = {part: _of(model, careers.part(part), kind) for part in PARTS}
        if all(piece is not None for piece in pieces.values()):
            found[f"{name}: {kind}"] = _in_order(careers, pieces)
    return found


def _of(model: Model, careers: Careers, kind: str) -> np.ndarray | None:
    inner = model.model if isinstance(model, Tempered) else model
    if kind == "states":
        return inner.states(careers) if isinstance(inner, HasStates) else None
    answer = model.predict(careers).log_probabilities
    return None if answer is None else np.maximum(answer, LEAST)


def _in_order(careers: Careers, pieces: dict[str, np.ndarray | None]) -> np.ndarray:
    """Parts of the split as one array, in the order of the careers' rows."""
    split = careers.table["split"]
    width = next(piece.shape[1] for piece in pieces.values() if piece is not None)
    whole = np.empty((len(careers), width), dtype=np.float32)
    for part, piece in pieces.items():
        whole[(split == part).to_numpy()] = piece
    return whole
