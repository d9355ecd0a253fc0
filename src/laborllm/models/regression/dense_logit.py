"""A penalised multinomial logit on dense features, such as the states of a language model.

Features are standardised and turned to their principal axes. A penalty on squares is the same along any axes, and along
these the curvature is nearly diagonal, which makes for a good first guess at its inverse and few steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from laborllm.models.regression.lbfgs import Minimum, minimise
from laborllm.models.regression.softmax import BLOCK, Choices, Coefficients, log_softmax
from laborllm.models.regression.stage import log_shares

STEPS = 1000
CONSTANT = 1e-6
"""A feature whose standard deviation is below this share of its largest value is constant: rounding, no variation."""
NOTHING = 1e-9
"""A principal axis with less than this share of the variance of the first one is rounding."""


@dataclass(frozen=True)
class Axes:
    """Standardised features along their principal axes, the one of most variance first.

    Attributes:
        mean: of each feature on the training rows, shape (width,).
        turn: what a centred feature adds to each axis, shape (width, axes).
        constant: features that do not vary on the training rows; they add nothing.
    """

    mean: np.ndarray
    turn: np.ndarray
    constant: int

    @classmethod
    def of(cls, features: np.ndarray, keep: int | None = None) -> "Axes":
        """The axes of training rows.

        Args:
            features: shape (rows, width).
            keep: how many axes are kept; all that vary if not given.

        Examples:
            >>> rows = np.array([[0.0, 1.0], [2.0, 5.0], [4.0, 9.0]])  # the second follows from the first
            >>> Axes.of(rows)(rows).astype(float).round(2).tolist()  # the intercept, then one axis
            [[1.0, -1.73], [1.0, 0.0], [1.0, 1.73]]
        """
        rows, width = features.shape
        mean = sum((features[some].sum(axis=0, dtype=np.float64) for some in _blocks(rows)), np.zeros(width)) / rows
        products, largest = np.zeros((width, width)), np.abs(mean)
        for some in _blocks(rows):
            centred = (features[some] - mean).astype(np.float32)
            products += centred.T @ centred
            largest = np.maximum(largest, np.abs(centred).max(axis=0))
        deviation = np.sqrt(np.diag(products) / rows)
        varies = deviation > CONSTANT * largest
        scale = np.divide(1, deviation, out=np.zeros(width), where=varies)
        values, vectors = np.linalg.eigh(products * scale * scale[:, None])
        vectors = vectors[:, ::-1][:, : int((values > NOTHING * values[-1]).sum())][:, :keep]
        vectors = vectors * np.where(vectors.sum(axis=0) < 0, -1, 1)  # eigenvectors have no sign of their own
        return cls(mean, (scale[:, None] * vectors).astype(np.float32), int((~varies).sum()))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Features along the axes behind a column of ones, float32, shape (rows, 1 + axes)."""
        turned = np.ones((len(features), 1 + self.turn.shape[1]), dtype=np.float32)
        for some in _blocks(len(features)):
            turned[some, 1:] = (features[some] - self.mean).astype(np.float32) @ self.turn
        return turned


@dataclass(frozen=True)
class Rows:
    """Rows of a softmax.

    Attributes:
        features: the first one is the intercept; float32 or float64, shape (rows, features).
        chosen: the outcome of each row, shape (rows,).
        excluded: the outcome that is impossible in each row, -1 for none, shape (rows,).
    """

    features: np.ndarray
    chosen: np.ndarray
    excluded: np.ndarray


@dataclass(frozen=True)
class DenseLogit:
    """A fitted softmax: logits are coefficients times features, over the outcomes that training saw.

    Attributes:
        coefficients: float64, shape (features, outcomes seen).
        seen: which outcomes those are, ascending, shape (outcomes seen,).
        never: probability of each outcome that training never saw, its smoothed share; else 0, shape (outcomes,).
        l2: the penalty that was chosen.
        evaluations: of the likelihood and its gradient, over all penalties tried.
        remaining: nats per row that the chosen fit may still gain.
    """

    coefficients: np.ndarray
    seen: np.ndarray
    never: np.ndarray
    l2: float
    evaluations: int
    remaining: float

    def log_probabilities(self, features: np.ndarray, excluded: np.ndarray) -> np.ndarray:
        """Of every outcome, nats, float64, shape (rows, outcomes); features and excluded as in ``Rows``."""
        chances = np.full((len(features), len(self.never)), -np.inf)
        chances[:, self.seen] = features @ self.coefficients.astype(features.dtype)  # (rows, outcomes seen)
        barred = np.flatnonzero(excluded >= 0)
        chances[barred, excluded[barred]] = -np.inf
        top = chances.max(axis=1, keepdims=True)
        chances = np.exp(chances - np.where(np.isfinite(top), top, 0))
        mass = chances.sum(axis=1, keepdims=True)
        chances *= np.divide(1 - self.never.sum(), mass, out=np.zeros_like(mass), where=mass > 0)
        chances += self.never
        chances[barred, excluded[barred]] = 0
        with np.errstate(divide="ignore"):
            return np.log(chances / chances.sum(axis=1, keepdims=True))


def fit_dense(
    train: Rows, validation: Rows, outcomes: int, *, l2: Sequence[float], tolerance: float, steps: int = STEPS
) -> DenseLogit:
    """The coefficients of the penalised maximum, from the largest penalty down while validation rows gain.

    What is minimised is the negative log-likelihood in nats plus half of l2 times the sum of squared coefficients, the
    intercepts' apart. Each fit starts from the one before.

    Args:
        train, validation: rows to fit on, and to choose the penalty on.
        outcomes: how many there are.
        l2: penalties, in observations, the largest first.
        tolerance: nats per training row that the fit may leave.
        steps: at most so many for each penalty.
    """
    counts = np.bincount(train.chosen, minlength=outcomes)
    seen = np.flatnonzero(counts)
    choices, held_out = _choices(train, seen, outcomes), _choices(validation, seen, outcomes)
    never = np.where(counts == 0, np.exp(log_shares(train.chosen, outcomes)), 0)
    point = np.zeros(choices.shape)
    point[0] = np.log(counts[seen]) - np.log(counts[seen]).mean()
    best, least, evaluations = DenseLogit(point, seen, never, np.inf, 0, np.inf), np.inf, 0
    for penalty in l2:
        minimum = _fit(choices, penalty, point, tolerance=tolerance, steps=steps)
        point, evaluations = minimum.point.reshape(choices.shape), evaluations + minimum.evaluations
        nats = held_out.loss(Coefficients(point, np.zeros(0)))[0]
        if nats >= least:
            break
        best, least = DenseLogit(point, seen, never, penalty, 0, minimum.remaining / len(train.chosen)), nats
    return replace(best, evaluations=evaluations)


def _choices(rows: Rows, seen: np.ndarray, outcomes: int) -> Choices:
    """Rows over the outcomes that training saw; those that chose another one are the same under any penalty."""
    place = np.full(outcomes + 1, -1)  # the last one serves those that exclude nothing
    place[seen] = np.arange(len(seen))
    kept = np.flatnonzero(place[rows.chosen] >= 0)
    return Choices(
        features=rows.features if len(kept) == len(rows.chosen) else rows.features[kept],
        offset=np.zeros(len(seen)),
        similarities=(),
        excluded=place[rows.excluded[kept]],
        chosen=place[rows.chosen[kept]],
    )


def _fit(choices: Choices, l2: float, start: np.ndarray, *, tolerance: float, steps: int) -> Minimum:
    weight = np.full((len(start), 1), l2)
    weight[0] = 0

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = flat.reshape(start.shape)
        value, gradient = choices.loss(Coefficients(coefficients, np.zeros(0)))
        pull = weight * coefficients
        return value + float((pull * coefficients).sum()) / 2, (gradient.by_outcome + pull).ravel()

    guess = _curvature(choices, start) + weight

    def inverse(flat: np.ndarray) -> np.ndarray:
        step = flat.reshape(start.shape) / guess
        return (step - step.mean(axis=1, keepdims=True)).ravel()  # a shift of all outcomes changes nothing

    return minimise(loss, start.ravel(), inverse=inverse, tolerance=tolerance * len(choices.chosen), steps=steps)


def _curvature(choices: Choices, coefficients: np.ndarray) -> np.ndarray:
    """The diagonal of the Hessian of the negative log-likelihood, shape (features, outcomes)."""
    diagonal = np.zeros(coefficients.shape)
    for some in choices.blocks():
        chances = choices.logits(some, Coefficients(coefficients, np.zeros(0)))
        log_softmax(chances, choices.chosen[some])
        diagonal += np.square(choices.features[some]).T @ (chances * (1 - chances))
    return diagonal


def _blocks(rows: int) -> Iterator[slice]:
    """Stretches of at most ``BLOCK`` rows."""
    return (slice(first, min(first + BLOCK, rows)) for first in range(0, rows, BLOCK))
