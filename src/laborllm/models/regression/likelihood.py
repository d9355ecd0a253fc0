"""The unpenalised multinomial likelihood: Newton's method, its Hessian, and a covariance clustered by person.

Outcomes are measured against a base, the most frequent one. Parameters are the coefficients of each feature for every
other outcome that was seen, then those of the similarity variables. The covariance is the sandwich H⁻¹ B H⁻¹, H the
Hessian of the negative log-likelihood and B the sum over people of the outer product of their summed scores, times
people / (people - 1), as Stata's vce(cluster) has it (Cameron & Miller, Journal of Human Resources 50(2), 2015).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.models.regression.softmax import Choices, Coefficients, log_softmax

LARGEST = 3000
"""Parameters whose covariance is held in memory."""
NEWTON_STEPS = 40
TOLERANCE = 1e-9
"""Nats in all that a Newton step may still promise at the maximum."""
RANK = 1e-9
"""Smallest eigenvalue of the Hessian, scaled to a unit diagonal, below which columns depend on one another."""
FARTHEST = 15.0
"""Coefficient of a scaled feature beyond which an outcome is all but impossible: the estimate runs to infinity."""
Name = tuple[str, str]
"""Term and level of a column."""


@dataclass(frozen=True)
class MaximumLikelihood:
    """Estimates without a penalty.

    Attributes:
        coefficients: as the softmax takes them; those of the base and of outcomes never seen are 0.
        base: position of the base outcome.
        estimated: positions of the outcomes that have coefficients, shape (estimated,).
        covariance: clustered by person, shape (parameters, parameters); parameters run over features, within them over
            the estimated outcomes, then over similarity columns.
        people: clusters.
        evaluations: of the likelihood.
    """

    coefficients: Coefficients
    base: int
    estimated: np.ndarray
    covariance: np.ndarray
    people: int
    evaluations: int

    def arrays(self) -> dict[str, np.ndarray]:
        """What a file holds beside the coefficients."""
        numbers = np.array([self.base, self.people, self.evaluations])
        return {"estimated": self.estimated, "covariance": self.covariance, "estimates": numbers}

    @classmethod
    def from_arrays(cls, coefficients: Coefficients, arrays: dict[str, np.ndarray]) -> "MaximumLikelihood":
        """Read what ``arrays`` gave."""
        base, people, evaluations = arrays["estimates"].tolist()
        return cls(coefficients, base, arrays["estimated"], arrays["covariance"], people, evaluations)


def maximum_likelihood(
    choices: Choices,
    person: np.ndarray,
    *,
    names: Sequence[Name],
    similarity_names: Sequence[Name],
    outcomes: Sequence[str],
) -> MaximumLikelihood:
    """Estimates and their covariance.

    Args:
        choices: rows in float64, ordered by person.
        person: index of each row's person, shape (rows,).
        names: of the features, shape (features, 2).
        similarity_names: of the similarity columns, shape (columns, 2).
        outcomes: what each outcome is called, shape (outcomes,).

    Raises:
        LaborLLMError: too many parameters, fewer than two people, columns that depend on one another, or an estimate
            that runs to infinity.
    """
    counts = np.bincount(choices.chosen, minlength=choices.shape[1])
    base = int(counts.argmax())
    estimated = np.array([k for k in np.flatnonzero(counts) if k != base], dtype=np.int64)
    parameters = len(names) * len(estimated) + len(similarity_names)
    people = len(np.unique(person))
    if parameters > LARGEST or people < 2 or not len(estimated):
        raise LaborLLMError(
            f"l2 = 0: {parameters} parameters from {people} people and {len(estimated) + 1} outcomes; standard errors "
            f"need 1 to {LARGEST} parameters and at least 2 people; take fewer terms, or an l2 above 0"
        )
    space = _Space(choices, estimated, base)
    labels = [f"{_label(name)}, outcome {outcomes[k]}" for name in names for k in estimated]
    labels += [_label(name) for name in similarity_names]
    flat, evaluations = _newton(space, labels)
    hessian, coefficients = space.hessian(flat), space.unpack(flat)
    inverse = np.linalg.inv(hessian)
    meat = space.meat(flat, person)
    covariance = inverse @ meat @ inverse * (people / (people - 1))
    return MaximumLikelihood(coefficients, base, estimated, covariance, people, evaluations)


def _label(name: Name) -> str:
    return f"{name[0]} {name[1]}".strip()


def _newton(space: "_Space", labels: Sequence[str]) -> tuple[np.ndarray, int]:
    """Newton's method with halved steps from zero.

    Raises:
        LaborLLMError: the Hessian is singular, or an estimate runs to infinity.
    """
    flat = np.zeros(space.parameters)
    value, gradient = space.loss(flat)
    evaluations = 1
    for step in range(NEWTON_STEPS):
        hessian = space.hessian(flat)
        if step == 0:
            _require_full_rank(hessian, labels)
        _require_finite(flat, labels)
        direction = -np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        promise = -float(gradient @ direction) / 2
        if promise < TOLERANCE:
            return flat, evaluations
        size = 1.0
        while True:
            proposed, slope = space.loss(flat + size * direction)
            evaluations += 1
            if proposed <= value + 1e-10 * abs(value) or size < 1e-6:
                break
            size /= 2
        flat, value, gradient = flat + size * direction, proposed, slope
    worst = labels[int(np.abs(flat).argmax())]
    raise LaborLLMError(
        f"l2 = 0: no maximum after {NEWTON_STEPS} Newton steps, {worst} is the farthest from 0; merge rare levels or "
        f"outcomes, or give an l2 above 0"
    )


def _require_full_rank(hessian: np.ndarray, labels: Sequence[str]) -> None:
    scale = np.sqrt(np.maximum(np.diag(hessian), 1e-300))
    values, vectors = np.linalg.eigh(hessian / scale[:, None] / scale)
    if values[0] < RANK:
        together = [labels[place] for place in np.argsort(-np.abs(vectors[:, 0]))[:3]]
        raise LaborLLMError(
            f"l2 = 0: the columns depend on one another ({'; '.join(together)}); leave out a term or a level, or give "
            f"an l2 above 0"
        )


def _require_finite(flat: np.ndarray, labels: Sequence[str]) -> None:
    far = int(np.abs(flat).argmax())
    if abs(flat[far]) > FARTHEST:
        raise LaborLLMError(
            f"l2 = 0: the coefficient of {labels[far]} runs to infinity: no training row, or every one, with it has "
            f"that outcome; merge rare levels or outcomes, or give an l2 above 0"
        )


class _Space:
    """The likelihood as a function of the identified parameters.

    Args:
        choices: rows in float64.
        estimated: outcomes with coefficients.
        base: the outcome without.
    """

    def __init__(self, choices: Choices, estimated: np.ndarray, base: int) -> None:
        self.choices, self.estimated, self.base = choices, estimated, base
        self.features = choices.shape[0]
        self.parameters = self.features * len(estimated) + choices.columns

    def unpack(self, flat: np.ndarray) -> Coefficients:
        """Parameters as coefficients of all outcomes."""
        coefficients = self.choices.zeros()
        cut = self.features * len(self.estimated)
        coefficients.by_outcome[:, self.estimated] = flat[:cut].reshape(self.features, -1)
        return replace(coefficients, similarity=flat[cut:].copy())

    def pack(self, coefficients: Coefficients) -> np.ndarray:
        """Coefficients, or their gradient, as parameters."""
        return np.concatenate([coefficients.by_outcome[:, self.estimated].ravel(), coefficients.similarity])

    def loss(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative log-likelihood and its gradient."""
        value, gradient = self.choices.loss(self.unpack(flat))
        return value, self.pack(gradient)

    def hessian(self, flat: np.ndarray) -> np.ndarray:
        """Second derivatives, shape (parameters, parameters)."""
        total = np.zeros((self.parameters, self.parameters))
        for x, chances, similar in self._blocks(flat):
            p = chances[:, self.estimated]
            mean = np.einsum("ik,ikc->ic", chances, similar)  # of each similarity column over the outcomes
            wide = (x[:, :, None] * p[:, None, :]).reshape(len(x), -1)  # (rows, features * estimated)
            mixed = np.hstack([wide, mean])
            total -= mixed.T @ mixed
            cut = wide.shape[1]
            own = np.einsum("if,ik,ikc->fkc", x, p, similar[:, self.estimated]).reshape(cut, -1)
            total[:cut, cut:] += own
            total[cut:, :cut] += own.T
            total[cut:, cut:] += np.einsum("ik,ikc,ikd->cd", chances, similar, similar, optimize=True)
            for k in range(len(self.estimated)):
                places = np.arange(self.features) * len(self.estimated) + k
                total[np.ix_(places, places)] += x.T @ (x * p[:, [k]])
        return total

    def meat(self, flat: np.ndarray, person: np.ndarray) -> np.ndarray:
        """Sum over people of the outer product of their scores, shape (parameters, parameters)."""
        total, left, whose = (
            np.zeros((self.parameters, self.parameters)),
            np.zeros((0, self.parameters)),
            np.zeros(0, int),
        )
        for (x, chances, similar), rows in zip(self._blocks(flat), self.choices.blocks(), strict=True):
            chosen = self.choices.chosen[rows]
            residual = (chosen[:, None] == self.estimated) - chances[:, self.estimated]
            gap = similar[np.arange(len(x)), chosen] - np.einsum("ik,ikc->ic", chances, similar)
            scores = np.hstack([(x[:, :, None] * residual[:, None, :]).reshape(len(x), -1), gap])
            scores, whose = np.vstack([left, scores]), np.append(whose, person[rows])
            begins = np.flatnonzero(np.append(True, whose[1:] != whose[:-1]))
            summed = np.add.reduceat(scores, begins, axis=0)  # (people, parameters); the last may go on
            total += summed[:-1].T @ summed[:-1]
            left, whose = summed[-1:], whose[-1:]
        return total + left.T @ left

    def _blocks(self, flat: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Features (rows, features), probabilities (rows, outcomes), similarities (rows, outcomes, columns)."""
        coefficients = self.unpack(flat)
        return (self._block(rows, coefficients) for rows in self.choices.blocks())

    def _block(self, rows: slice, coefficients: Coefficients) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chances = self.choices.logits(rows, coefficients)
        log_softmax(chances, self.choices.chosen[rows])
        return self.choices.features[rows].toarray(), chances, similarity_values(self.choices, rows)


def similarity_values(choices: Choices, rows: slice) -> np.ndarray:
    """What each alternative has of each similarity column, shape (rows, outcomes, columns)."""
    number = rows.stop - rows.start
    values = [np.zeros((number, choices.shape[1], 0))]
    for each in choices.similarities:
        row, column, value = each.entries(rows)
        table = np.zeros((number, choices.shape[1]))
        table[row, column] = value
        values.append(table[:, :, None] * each.design[rows].toarray()[:, None, :])
    return np.concatenate(values, axis=2)
