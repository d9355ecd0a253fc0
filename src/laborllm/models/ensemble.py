"""A mixture of models: each one's distribution, weighted by what the validation people say."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.models.next_row import last_rows, memory_of
from laborllm.models.probabilities import Model, Probabilities
from laborllm.models.temperature import Tempering
from laborllm.survey.careers import KEYS, Careers

ROUNDS, CHANGE = 10_000, 1e-9
"""Rounds of expectation and maximisation at most, and the change of a weight after which they stop."""


class EnsembleSettings(Tempering):
    """``[models.NAME] kind = "ensemble"``.

    Attributes:
        of: names of models that stand above it in the study.
    """

    kind: Literal["ensemble"] = "ensemble"
    of: tuple[str, ...] = Field(min_length=2)


class Ensemble:
    """P(k) = sum over members m of w_m P_m(k), the weights being those under which validation is likeliest.

    Args:
        members: name -> model; each is fitted anew, or taken as its folder has it.
    """

    def __init__(self, members: Mapping[str, Model]) -> None:
        self.members = members
        self.weights = np.full(len(members), np.nan)

    @property
    def description(self) -> str:
        """One sentence for the report."""
        return f"Mixture of {', '.join(self.members)}, weighted by validation likelihood."

    @property
    def facts(self) -> dict[str, str | int | float]:
        """The weights; no facts before ``fit``."""
        weights = dict(zip(self.members, self.weights.tolist(), strict=True))
        return {f"weight of {name}": weight for name, weight in weights.items() if np.isfinite(weight)}

    def fit(self, train: Careers, validation: Careers) -> None:
        """Fit every member; weigh them by the validation people.

        Raises:
            LaborLLMError: as the members; or a member gives the realised occupation alone.
        """
        realised = []
        for name, model in self.members.items():
            model.fit(train, validation)
            scores = _whole_list(name, model.predict(validation))
            realised.append(scores[np.arange(len(validation)), validation.occupation].astype(np.float64))
        self.weights = mixture_weights(np.stack(realised))

    def predict(self, careers: Careers) -> Probabilities:
        """The mixture's probabilities.

        Raises:
            LaborLLMError: it is not fitted.
        """
        self._require_fitted()
        scores = (_whole_list(name, model.predict(careers)) for name, model in self.members.items())
        return Probabilities(careers.table.select(KEYS), careers.occupations, self._mixed(scores))

    @property
    def memory(self) -> int | None:
        """Rows before a row that its prediction depends on; None where it depends on all."""
        longest = 0
        for model in self.members.values():
            memory = memory_of(model)
            if memory is None:
                return None
            longest = max(longest, memory)
        return longest

    def predict_last(self, careers: Careers) -> np.ndarray:
        """Log-probabilities in each person's last row, nats, shape (people, occupations); raises as ``predict``."""
        self._require_fitted()
        return self._mixed(last_rows(model, careers) for model in self.members.values())

    def _mixed(self, members: Iterable[np.ndarray]) -> np.ndarray:
        """Log of the weighted sum of the members' probabilities, given one by one, shape (rows, occupations)."""
        total: np.ndarray | None = None
        for each, weight in zip(members, self.weights, strict=True):
            scores = each + np.log(max(weight, np.finfo(np.float32).tiny), dtype=np.float32)
            total = scores if total is None else np.logaddexp(total, scores, out=total)
        return total if total is not None else np.zeros((0, 0), dtype=np.float32)

    def _require_fitted(self) -> None:
        if not np.isfinite(self.weights).all():
            raise LaborLLMError("the ensemble is not fitted yet; call fit first")

    def save(self, folder: Path) -> None:
        """Write the weights; the members keep themselves."""
        with whole_file(folder / "ensemble.json") as temporary:
            temporary.write_text(json.dumps(dict(zip(self.members, self.weights.tolist(), strict=True)), indent=1))


def mixture_weights(realised: np.ndarray) -> np.ndarray:
    """Weights under which the realised occupations are likeliest, by expectation and maximisation (a convex problem).

    Args:
        realised: log-probabilities of the realised occupations, nats, shape (models, rows).

    Returns:
        Shares that sum to 1, float64, shape (models,).

    Examples:
        >>> mixture_weights(np.log([[0.9, 0.9, 0.1], [0.1, 0.1, 0.9]])).round(3).tolist()
        [0.708, 0.292]
    """
    likelihood = np.exp(realised - realised.max(axis=0))  # (models, rows)
    weights = np.full(len(realised), 1 / len(realised))
    for _ in range(ROUNDS):
        shares = weights[:, None] * likelihood
        updated = (shares / shares.sum(axis=0)).mean(axis=1)
        change, weights = np.abs(updated - weights).max(), updated
        if change < CHANGE:
            break
    return weights


def _whole_list(name: str, probabilities: Probabilities) -> np.ndarray:
    """Log-probabilities of every occupation, shape (person_years, occupations)."""
    if probabilities.log_probabilities is None:
        raise LaborLLMError(f'models.{name}: an ensemble needs the whole list; set probabilities = "full"')
    return probabilities.log_probabilities
