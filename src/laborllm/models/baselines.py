"""Models without covariates: smoothed transition frequencies."""

import json
from pathlib import Path
from typing import Literal

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.models.probabilities import Probabilities
from laborllm.settings import Settings
from laborllm.survey.careers import KEYS, Careers
from laborllm.survey.occupations import Occupations

FLOOR = 0.5
"""Observations that every occupation is given beside those counted, so that none has probability zero."""
WEIGHTS = (0.1, 0.3, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 3000.0, 10000.0)
FILE = "transition.json"


class TransitionSettings(Settings):
    """``[models.NAME] kind = "transition"``.

    Attributes:
        weights: the grid of shrinkage weights, in observations, from which validation perplexity chooses.
    """

    kind: Literal["transition"] = "transition"
    weights: tuple[float, ...] = WEIGHTS


class TransitionFrequencies:
    """First-order transition frequencies shrunk towards the marginal.

    With n counted over training rows: marginal m_k = (n_k + 1/2) / sum over l of (n_l + 1/2);
    P(k | previous j) = (n_jk + w m_k) / (n_j + w); in a first row (f_k + w' m_k) / (f + w'), f counting first rows.
    This is the posterior mean under a Dirichlet prior around the marginal. The weights w and w' are those of the
    grid with the lowest validation perplexity of later rows and of first rows. After an occupation that training
    never saw as a previous one the answer is the marginal.
    """

    description = "First-order transition frequencies between occupations, shrunk towards the marginal; no covariates."

    def __init__(self, settings: TransitionSettings | None = None) -> None:
        self.settings = settings or TransitionSettings()
        if not self.settings.weights or min(self.settings.weights) <= 0:
            raise LaborLLMError(f"weights is {list(self.settings.weights)}; give at least one number above 0")
        self.occupations: Occupations | None = None
        self.counts = np.zeros((0, 0))
        self.weight = self.first_weight = float("nan")

    @property
    def facts(self) -> dict[str, str | int | float]:
        """What a report says of this model; no facts before ``fit``."""
        if self.occupations is None:
            return {}
        return {
            "shrinkage weight": self.weight,
            "shrinkage weight of first rows": self.first_weight,
            "training rows": int(self.counts.sum()),
            "occupations never seen in training": int((self.counts.sum(axis=0) == 0).sum()),
        }

    def fit(self, train: Careers, validation: Careers) -> None:
        """Count the training transitions; choose the two weights on the validation people.

        Raises:
            LaborLLMError: the two have different lists of occupations.
        """
        _require_same_list(train.occupations, validation.occupations)
        self.occupations = train.occupations
        self.counts = transition_counts(train.previous, train.occupation, len(train.occupations))
        held_out = transition_counts(validation.previous, validation.occupation, len(train.occupations))
        self.weight = self._best_weight(held_out[:-1], slice(None, -1))
        self.first_weight = self._best_weight(held_out[-1:], slice(-1, None))

    def predict(self, careers: Careers) -> Probabilities:
        """Probability of each occupation given the previous one.

        Raises:
            LaborLLMError: the model is not fitted, or was fitted on another list of occupations.
        """
        if self.occupations is None:
            raise LaborLLMError("the transition model is not fitted yet; call fit first")
        _require_same_list(self.occupations, careers.occupations)
        table = np.vstack([shrunk(self.counts, self.weight)[:-1], shrunk(self.counts, self.first_weight)[-1:]])
        answer = np.log(table).astype(np.float32)[careers.previous]  # (person_years, occupations)
        return Probabilities(rows=careers.table.select(KEYS), occupations=careers.occupations, log_probabilities=answer)

    def save(self, folder: Path) -> None:
        """Write the counts, the weights and the list of occupations as JSON.

        Raises:
            LaborLLMError: the model is not fitted, or the folder cannot be written.
        """
        if self.occupations is None:
            raise LaborLLMError("the transition model is not fitted yet; call fit first")
        origins, destinations = np.nonzero(self.counts)
        numbers = self.counts[origins, destinations].astype(int)
        content = {
            "settings": self.settings.model_dump(mode="json"),
            "codes": self.occupations.codes,
            "titles": self.occupations.titles,
            "groups": self.occupations.groups,
            "weight": self.weight,
            "first_weight": self.first_weight,
            "counts": np.stack([origins, destinations, numbers], axis=1).tolist(),
        }
        with whole_file(folder / FILE) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "TransitionFrequencies":
        """Read what ``save`` wrote.

        Raises:
            LaborLLMError: the file is missing or holds no transition model.
        """
        path = folder / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            model = cls(TransitionSettings(**content["settings"]))
            model.occupations = Occupations(*(tuple(content[name]) for name in ("codes", "titles", "groups")))
            model.weight, model.first_weight = content["weight"], content["first_weight"]
            origins, destinations, numbers = np.array(content["counts"], dtype=np.int64).reshape(-1, 3).T
            model.counts = np.zeros((len(model.occupations) + 1, len(model.occupations)))
            model.counts[origins, destinations] = numbers
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise LaborLLMError(f"{path}: cannot be read as a transition model; run the study again") from error
        return model

    def _best_weight(self, held_out: np.ndarray, origins: slice) -> float:
        """The weight under which the held-out transitions of these origins are likeliest."""
        nats = [-np.sum(held_out * np.log(shrunk(self.counts, weight)[origins])) for weight in self.settings.weights]
        return self.settings.weights[int(np.argmin(nats))]


def transition_counts(previous: np.ndarray, occupation: np.ndarray, occupations: int) -> np.ndarray:
    """Number of rows by origin and destination.

    Args:
        previous: position of the previous occupation, -1 in first rows, shape (person_years,).
        occupation: position of the occupation, shape (person_years,).
        occupations: length of the closed list.

    Returns:
        float64, shape (origins, destinations); the last origin, found by -1, counts first rows.
    """
    counts = np.zeros((occupations + 1, occupations))
    np.add.at(counts, (previous, occupation), 1)
    return counts


def shrunk(counts: np.ndarray, weight: float) -> np.ndarray:
    """Posterior mean of each origin's distribution under a Dirichlet prior of this weight around the marginal.

    Args:
        counts: shape (origins, destinations).
        weight: observations that the marginal counts for, above 0.

    Returns:
        probabilities, shape (origins, destinations); each row sums to 1 and holds no zero.

    Examples:
        >>> shrunk(np.array([[3.0, 0.0], [0.0, 1.0]]), 1.0).round(3).tolist()
        [[0.925, 0.075], [0.35, 0.65]]
    """
    marginal = counts.sum(axis=0) + FLOOR
    marginal /= marginal.sum()
    return (counts + weight * marginal) / (counts.sum(axis=1, keepdims=True) + weight)  # (origins, destinations)


def _require_same_list(fitted: Occupations, given: Occupations) -> None:
    if fitted.codes != given.codes:
        raise LaborLLMError(
            f"the careers have {len(given)} occupations, the model was fitted on another list of {len(fitted)}; "
            f"read both with the same settings"
        )
