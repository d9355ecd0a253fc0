"""Minimum of a smooth convex function by limited-memory BFGS, given a first guess at the inverse Hessian.

Nocedal & Wright, *Numerical Optimization* (2nd ed., 2006), algorithms 7.4 and 7.5. scipy's L-BFGS-B also handles
bounds, and with 300,000 coefficients that takes longer than the likelihood; here a step is a few passes over the
coefficients.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MEMORY = 10
"""Earlier steps that are remembered."""
SUFFICIENT = 1e-4
"""Share of the decrease that the slope promises which a step must bring."""
SHORTEST = 1e-6
"""A step shorter than this is none."""


@dataclass(frozen=True)
class Minimum:
    """Where a function is least.

    Attributes:
        point: shape (coefficients,).
        value: the function there.
        evaluations: of the function and its gradient.
        remaining: how much lower the quadratic model says the function gets.
        converged: whether that is below the tolerance.
    """

    point: np.ndarray
    value: float
    evaluations: int
    remaining: float
    converged: bool


def minimise(
    function: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    *,
    inverse: Callable[[np.ndarray], np.ndarray],
    tolerance: float,
    steps: int,
) -> Minimum:
    """Follow quasi-Newton steps until the quadratic model promises less than the tolerance.

    Args:
        function: value and gradient at a point.
        start: shape (coefficients,).
        inverse: multiplies by a guess at the inverse Hessian, symmetric and positive definite.
        tolerance: in units of the function.
        steps: at most so many.

    Examples:
        >>> square = lambda x: (float(((x - 3) ** 2).sum()), 2 * (x - 3))
        >>> minimise(square, np.zeros(2), inverse=lambda x: x / 2, tolerance=1e-9, steps=9).point.tolist()
        [3.0, 3.0]
    """
    point, evaluations = start, 1
    value, gradient = function(point)
    past = _Past(inverse)
    remaining = np.inf
    for _ in range(steps):
        direction = past.direction(gradient)
        slope = float(gradient @ direction)
        remaining = -slope / 2
        if remaining < tolerance:
            break
        step = 1.0
        while True:
            proposal = point + step * direction
            proposed, new = function(proposal)
            evaluations += 1
            if proposed <= value + SUFFICIENT * step * slope or step < SHORTEST:
                break
            curve = 2 * (proposed - value - step * slope)  # of the parabola through both points
            step *= min(0.5, max(0.1, -slope * step / curve)) if np.isfinite(curve) and curve > 0 else 0.1
        if step < SHORTEST:
            break  # rounding hides any further decrease
        past.remember(proposal - point, new - gradient)
        point, value, gradient = proposal, proposed, new
    return Minimum(point, value, evaluations, remaining, remaining < tolerance)


class _Past:
    """The last steps and changes of the gradient, the newest last.

    Args:
        inverse: multiplies by the inverse Hessian that they amend.
    """

    def __init__(self, inverse: Callable[[np.ndarray], np.ndarray]) -> None:
        self.inverse = inverse
        self.pairs: list[tuple[np.ndarray, np.ndarray, float]] = []

    def remember(self, step: np.ndarray, change: np.ndarray) -> None:
        """Keep a pair, unless rounding made its curvature vanish."""
        product = float(step @ change)
        if product > 1e-12 * float(np.linalg.norm(step) * np.linalg.norm(change)):
            self.pairs.append((step, change, product))
            del self.pairs[:-MEMORY]

    def direction(self, gradient: np.ndarray) -> np.ndarray:
        """Minus the inverse Hessian times the gradient, by the two loops."""
        pull, shares = gradient.copy(), []
        for step, change, product in reversed(self.pairs):
            shares.append(float(step @ pull) / product)
            pull -= shares[-1] * change
        pull = self.inverse(pull)
        for (step, change, product), share in zip(self.pairs, reversed(shares), strict=True):
            pull += step * (share - float(change @ pull) / product)
        return -pull
