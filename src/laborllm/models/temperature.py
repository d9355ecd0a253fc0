"""One number that makes a model's probabilities as sure of themselves as validation says they may be.

P_T(k) = P(k)^(1/T) / sum over j of P(j)^(1/T): above 1 the temperature T spreads the probabilities, below 1 it
sharpens them; the order of the occupations stays. T is the likeliest on the validation people (Guo, Pleiss, Sun &
Weinberger, "On Calibration of Modern Neural Networks", ICML 2017).
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.models.next_row import last_rows, memory_of
from laborllm.models.probabilities import BLOCK, Model, Probabilities, normalise
from laborllm.settings import Settings
from laborllm.survey.careers import Careers

FILE = "temperature.json"
COLDEST, HOTTEST = 0.02, 50.0
"""The temperatures that are searched; a model whose errors have no pattern at all would go on without end."""
STEPS, PRECISION = 60, 1e-9
"""Steps of Newton's method at most, and the relative change of 1/T after which they stop."""
IMPOSSIBLE = -1e100
"""Stands for a log-probability of minus infinity, of which no product with zero can be taken."""


class Tempering(Settings):
    """What the settings of every model have.

    Attributes:
        temperature: whether probabilities are tempered to what the validation people say. The same people stop the
            training of a network and choose a penalty; one number more that is learned from them overfits little.
    """

    temperature: bool = False

    def learned(self) -> dict[str, Any]:
        """What the fitted model depends on."""
        return self.model_dump(mode="json", exclude={"temperature"})


class Tempered:
    """A model whose log-probabilities are divided by a temperature and normalised again.

    Args:
        model: fitted with it, and saved by whoever built it.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.temperature = math.nan
        self.nats: dict[str, float] = {}
        self.impossible = 0

    @property
    def description(self) -> str:
        """One sentence for the report."""
        so = f"temperature {self.temperature:.4g}" if math.isfinite(self.temperature) else "a temperature"
        return f"{self.model.description.removesuffix('.')}; {so}, the likeliest on the validation people."

    @property
    def facts(self) -> dict[str, str | int | float]:
        """Those of the model, and the temperature once it is fitted."""
        facts = dict(self.model.facts)
        if math.isfinite(self.temperature):
            facts |= {"temperature": float(f"{self.temperature:.6g}")} | self.nats
        if self.impossible:
            facts["validation rows that no temperature makes possible"] = self.impossible
        return facts

    def fit(self, train: Careers, validation: Careers) -> None:
        """Fit the model; find the temperature on the validation people, who may have chosen its settings as well.

        Raises:
            LaborLLMError: as the model; or it gives the realised occupation alone.
        """
        self.model.fit(train, validation)
        scores, realised = _whole_list(self.model.predict(validation)), validation.occupation
        self.temperature = best_temperature(scores, realised)
        own = scores[np.arange(len(realised)), realised]
        self.impossible = int(np.isneginf(own).sum())
        rows = max(len(realised) - self.impossible, 1)
        self.nats = {
            f"validation log-likelihood per row {when}": float(f"{log_likelihood(scores, realised, at) / rows:.6g}")
            for when, at in (("before the temperature", 1.0), ("with the temperature", self.temperature))
        }

    def predict(self, careers: Careers) -> Probabilities:
        """The model's probabilities at the temperature; the mass on the closed list is the model's own.

        Raises:
            LaborLLMError: it is not fitted, or the model gives the realised occupation alone.
        """
        if not math.isfinite(self.temperature):
            raise LaborLLMError("the temperature is not fitted yet; call fit first")
        answer = self.model.predict(careers)
        return Probabilities(
            rows=answer.rows,
            occupations=answer.occupations,
            log_probabilities=tempered(_whole_list(answer), self.temperature),
            log_mass=answer.log_mass,
            arithmetic=answer.arithmetic,
        )

    @property
    def memory(self) -> int | None:
        """Rows before a row that its prediction depends on; None where it depends on all."""
        return memory_of(self.model)

    def predict_last(self, careers: Careers) -> np.ndarray:
        """Log-probabilities in each person's last row, nats, shape (people, occupations); raises as ``predict``."""
        if not math.isfinite(self.temperature):
            raise LaborLLMError("the temperature is not fitted yet; call fit first")
        return tempered(last_rows(self.model, careers), self.temperature)

    def save(self, folder: Path) -> None:
        """Write the temperature; the model keeps itself."""
        content = {"temperature": self.temperature, "nats": self.nats, "impossible": self.impossible}
        with whole_file(folder / FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, model: Model) -> "Tempered":
        """Read what ``save`` wrote, around the model as it was fitted.

        Raises:
            LaborLLMError: the file is missing or holds no temperature.
        """
        found = cls(model)
        try:
            content = json.loads((folder / FILE).read_text(encoding="utf-8"))
            found.temperature = float(content["temperature"])
            found.nats, found.impossible = dict(content["nats"]), int(content["impossible"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LaborLLMError(f"{folder / FILE}: cannot be read as a temperature; run the study again") from error
        return found


def best_temperature(log_probabilities: np.ndarray, realised: np.ndarray) -> float:
    """The temperature under which what happened is likeliest.

    The log-likelihood is concave in 1/T, so Newton's method between two bounds finds its only maximum. Rows whose
    realised occupation has probability zero have it at every temperature and say nothing of it.

    Args:
        log_probabilities: nats, shape (rows, occupations).
        realised: position of what happened, shape (rows,).

    Returns:
        T, between ``COLDEST`` and ``HOTTEST``; 1 where every temperature is as good.

    Raises:
        LaborLLMError: a log-probability is not a number.

    Examples:
        >>> sure = np.log([[0.9, 0.1]] * 4)  # and wrong in one row of four
        >>> round(best_temperature(sure, np.array([0, 0, 0, 1])), 6)  # log 9 / log 3
        2.0
    """
    inverse, low, high = 1.0, 1 / HOTTEST, 1 / COLDEST
    for _ in range(STEPS):
        slope, curvature = _derivatives(log_probabilities, realised, inverse)
        if slope == 0:
            break
        low, high = (inverse, high) if slope > 0 else (low, inverse)
        proposed = inverse + slope / curvature if curvature > 0 else math.nan
        if not low < proposed < high:
            proposed = math.sqrt(low * high)
        change, inverse = abs(proposed / inverse - 1), proposed
        if change < PRECISION:
            break
    return 1 / inverse


def tempered(log_probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Log-probabilities at a temperature.

    Args:
        log_probabilities: nats, shape (rows, occupations).
        temperature: above 0.

    Returns:
        nats, float32, shape (rows, occupations); exp of each row sums to 1.

    Examples:
        >>> np.exp(tempered(np.log([[0.9, 0.1]]), 2.0)).round(4).tolist()
        [[0.75, 0.25]]
    """
    answer = np.empty(log_probabilities.shape, dtype=np.float32)
    for rows in _stretches(len(answer)):
        answer[rows], _ = normalise(log_probabilities[rows].astype(np.float64) / temperature)
    return answer


def log_likelihood(log_probabilities: np.ndarray, realised: np.ndarray, temperature: float) -> float:
    """Of what happened, at a temperature, nats, summed over the rows in which it was possible."""
    total = 0.0
    for scores, own in _possible(log_probabilities, realised):
        top = scores.max(axis=1)
        mass = np.log(np.exp((scores - top[:, None]) / temperature).sum(axis=1))
        total += float(((own - top) / temperature - mass).sum())
    return total


def _derivatives(log_probabilities: np.ndarray, realised: np.ndarray, inverse: float) -> tuple[float, float]:
    """First derivative of the log-likelihood with respect to 1/T, and the second with its sign turned.

    With s = log P they are sum over rows of s_y - E s and of the variance of s, both under P_T.
    """
    slope, curvature = 0.0, 0.0
    for scores, own in _possible(log_probabilities, realised):
        top = scores.max(axis=1, keepdims=True)
        scores -= top
        chances = np.exp(inverse * scores)
        chances /= chances.sum(axis=1, keepdims=True)
        mean = np.einsum("ik,ik->i", chances, scores)
        slope += float((own - top[:, 0] - mean).sum())
        scores -= mean[:, None]
        curvature += float(np.einsum("ik,ik,ik->", chances, scores, scores))
    return slope, curvature


def _possible(log_probabilities: np.ndarray, realised: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of float64 log-probabilities (rows, occupations) and those of what happened (rows,), where it could."""
    for rows in _stretches(len(realised)):
        scores = log_probabilities[rows].astype(np.float64)
        own = scores[np.arange(len(scores)), realised[rows]]
        if np.isnan(scores).any():
            bad = rows.start + int(np.flatnonzero(np.isnan(scores).any(axis=1))[0]) + 1
            raise LaborLLMError(
                f"temperature: validation row {bad} has a probability that is no number; mend the model"
            )
        kept = own > -np.inf
        yield np.maximum(scores[kept], IMPOSSIBLE), own[kept]


def _stretches(rows: int) -> Iterator[slice]:
    """At most ``BLOCK`` rows each."""
    return (slice(first, min(first + BLOCK, rows)) for first in range(0, rows, BLOCK))


def _whole_list(probabilities: Probabilities) -> np.ndarray:
    """Log-probabilities of every occupation, shape (person_years, occupations)."""
    if probabilities.log_probabilities is None:
        raise LaborLLMError('a temperature needs the whole list; set probabilities = "full", or temperature = false')
    return probabilities.log_probabilities
