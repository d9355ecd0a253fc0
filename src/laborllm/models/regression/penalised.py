"""The penalised multinomial likelihood at its maximum: what is shrunk how far, and a guess at the curvature.

What is minimised is the negative log-likelihood in nats, summed over rows, plus half of l2 times the sum over
coefficients of factor times the squared distance from the centre. It is strictly convex where all factors are above 0.
"""

from dataclasses import dataclass

import numpy as np

from laborllm.models.regression.lbfgs import Minimum, minimise
from laborllm.models.regression.softmax import Choices, Coefficients

WIDEST = 2500
"""Features up to which their products are part of the guess at the curvature; beyond, its diagonal alone."""


@dataclass(frozen=True)
class Penalty:
    """How coefficients are shrunk.

    Attributes:
        l2: the penalty, in observations: at 10 a coefficient has a prior standard deviation of 10 ** -0.5.
        factor: by feature, above 0, shape (features,).
        similarity_factor: the factor of every similarity coefficient.
        centre: what they are shrunk towards.
    """

    l2: float
    factor: np.ndarray
    similarity_factor: float
    centre: Coefficients

    def weights(self) -> Coefficients:
        """Of the squares: shape (features, 1) and (columns,)."""
        similarity = np.full(len(self.centre.similarity), self.l2 * self.similarity_factor)
        return Coefficients(self.l2 * self.factor[:, None], similarity)


class Products:
    """Eigenvectors of the features' scaled products, from which the curvature of every outcome is guessed.

    With q_k the share of outcome k, the curvature would be q_k (1 - q_k) X'X plus the penalty if the probabilities
    were the same in all rows. They are not, so each coefficient is rescaled to have the right diagonal. That keeps what
    a diagonal alone misses: terms that nearly add up to one another, such as year, years observed and year of birth.

    Args:
        choices: whose features they are.
        factor: of the penalty, shape (features,).
    """

    def __init__(self, choices: Choices, factor: np.ndarray) -> None:
        self.features = choices.features.shape[1]
        if self.features <= WIDEST:
            scaled = choices.features.astype(np.float64).multiply(factor**-0.5).tocsr()
            values, vectors = np.linalg.eigh((scaled.T @ scaled).toarray())
            self.values, self.vectors = np.maximum(values, 0), vectors.astype(np.float32)
        self.diagonal = np.asarray(choices.features.power(2).sum(axis=0, dtype=np.float64)).ravel()
        self.shares = np.bincount(choices.chosen, minlength=choices.shape[1]) + 0.5
        self.shares /= self.shares.sum()


def fit_penalised(
    choices: Choices, penalty: Penalty, start: Coefficients, products: Products, *, tolerance: float, steps: int
) -> tuple[Coefficients, Minimum]:
    """The coefficients of the penalised maximum.

    Args:
        choices: rows of features and what was chosen.
        penalty: how coefficients are shrunk.
        start: where to begin.
        products: of the same features and factors.
        tolerance: nats per row that may be left.
        steps: at most so many.
    """
    weights = penalty.weights()

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = choices.unflat(flat)
        value, gradient = choices.loss(coefficients)
        gaps = coefficients.by_outcome - penalty.centre.by_outcome, coefficients.similarity - penalty.centre.similarity
        for slope, weight, gap in (
            (gradient.by_outcome, weights.by_outcome, gaps[0]),
            (gradient.similarity, weights.similarity, gaps[1]),
        ):
            value += float((weight * gap * gap).sum()) / 2
            slope += weight * gap
        return value, gradient.flat()

    # A shift of all outcomes by the same changes no probability; this one has the smallest penalty, and every step of
    # the search keeps it so.
    shift = (penalty.centre.by_outcome - start.by_outcome).mean(axis=1, keepdims=True)  # (features, 1)
    start = Coefficients(start.by_outcome + shift, start.similarity)
    curvature = choices.curvature(start)
    guess = Coefficients(curvature.by_outcome + weights.by_outcome, curvature.similarity + weights.similarity)
    least = minimise(
        loss,
        start.flat(),
        inverse=_Inverse(choices, guess, products, penalty),
        tolerance=tolerance * max(len(choices.chosen), 1),
        steps=steps,
    )
    return choices.unflat(least.point), least


class _Inverse:
    """Multiplies by the guess at the inverse curvature.

    Args:
        choices: for its shape.
        diagonal: of the curvature, penalty included.
        products: of the features.
        penalty: how coefficients are shrunk.
    """

    def __init__(self, choices: Choices, diagonal: Coefficients, products: Products, penalty: Penalty) -> None:
        self.choices, self.diagonal, self.products = choices, diagonal, products
        if products.features > WIDEST:
            return
        spread = products.shares * (1 - products.shares)  # (outcomes,)
        even = np.outer(products.diagonal, spread) + penalty.weights().by_outcome  # (features, outcomes)
        self.scale = np.sqrt(even / diagonal.by_outcome).astype(np.float32)
        self.within = (penalty.factor**-0.5).astype(np.float32)[:, None]
        self.spectrum = (1 / (np.outer(products.values, spread) + penalty.l2)).astype(np.float32)

    def __call__(self, flat: np.ndarray) -> np.ndarray:
        gradient = self.choices.unflat(flat)
        if self.products.features > WIDEST:
            by_outcome = gradient.by_outcome / self.diagonal.by_outcome
        else:
            vectors = self.products.vectors
            turned = vectors.T @ (gradient.by_outcome.astype(np.float32) * self.scale * self.within)
            by_outcome = (vectors @ (turned * self.spectrum)) * self.within * self.scale  # (features, outcomes)
        by_outcome = by_outcome - by_outcome.mean(axis=1, keepdims=True)  # no shift of all outcomes
        return Coefficients(by_outcome, gradient.similarity / self.diagonal.similarity).flat().astype(np.float64)
