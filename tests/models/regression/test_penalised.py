"""The multinomial likelihood: brute force, finite differences, the maximum, and scikit-learn's answer."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from laborllm.models.regression import penalised, softmax
from laborllm.models.regression.lbfgs import minimise
from laborllm.models.regression.penalised import Penalty, Products, fit_penalised
from laborllm.models.regression.softmax import Choices, Coefficients
from tests.models.regression.conftest import FEATURES, OUTCOMES, ROWS


def brute_force(choices: Choices, coefficients: Coefficients) -> float:
    """Row by row, alternative by alternative."""
    x, total = choices.features.toarray(), 0.0
    stay, near = choices.similarities
    for row in range(ROWS):
        scores = []
        for k in range(OUTCOMES):
            score = choices.offset[k] + x[row] @ coefficients.by_outcome[:, k]
            push = stay.design.toarray()[row] @ coefficients.similarity[:2]
            score += push * stay.table.toarray()[stay.origin[row], k]
            score += coefficients.similarity[2] * near.table.toarray()[near.origin[row], k]
            scores.append(-np.inf if k == choices.excluded[row] else score)
        total -= scores[choices.chosen[row]] - np.log(np.exp(scores).sum())
    return total


def moved(coefficients: Coefficients, flat: np.ndarray) -> Coefficients:
    cut = coefficients.by_outcome.size
    by_outcome = coefficients.by_outcome + flat[:cut].reshape(coefficients.by_outcome.shape)
    return Coefficients(by_outcome, coefficients.similarity + flat[cut:])


def test_equals_brute_force(choices: Choices, coefficients: Coefficients) -> None:
    assert choices.loss(coefficients)[0] == pytest.approx(brute_force(choices, coefficients), rel=1e-12)


def test_gradient_and_curvature_are_the_differences(choices: Choices, coefficients: Coefficients) -> None:
    step, size = 1e-5, FEATURES * OUTCOMES + 3
    slope, bend = np.empty(size), np.empty(size)
    for place in range(size):
        nudge = np.eye(size)[place] * step
        ahead, behind = (choices.loss(moved(coefficients, sign * nudge)) for sign in (1, -1))
        slope[place] = (ahead[0] - behind[0]) / 2 / step
        bend[place] = (ahead[1].flat() - behind[1].flat())[place] / 2 / step
    np.testing.assert_allclose(choices.loss(coefficients)[1].flat(), slope, atol=1e-6)
    diagonal = choices.curvature(coefficients).flat()
    np.testing.assert_allclose(diagonal[:-1], bend[:-1], atol=1e-6)
    assert diagonal[-1] >= bend[-1]  # a bound where a row has several alternatives


def test_blocks_change_nothing(choices: Choices, coefficients: Coefficients, monkeypatch: pytest.MonkeyPatch) -> None:
    value, gradient = choices.loss(coefficients)
    monkeypatch.setattr(softmax, "BLOCK", 7)
    again, other = choices.loss(coefficients)
    assert again == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(other.flat(), gradient.flat(), atol=1e-10)


def test_float32_is_near_float64(choices: Choices, coefficients: Coefficients) -> None:
    single = replace(choices, features=choices.features.astype(np.float32))
    value, gradient = choices.loss(coefficients)
    other, rough = single.loss(coefficients)
    assert other == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(rough.flat(), gradient.flat(), atol=1e-3)


@pytest.mark.parametrize("widest", [0, 2500])
def test_at_the_maximum_no_direction_is_left(
    widest: int, choices: Choices, coefficients: Coefficients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without the products of features; shrunk towards a centre, with a factor for each feature."""
    monkeypatch.setattr(penalised, "WIDEST", widest)
    penalty = Penalty(2.0, np.array([0.01, 1, 1, 4, 1, 0.5]), 0.1, coefficients)
    products = Products(choices, penalty.factor)
    found, least = fit_penalised(choices, penalty, choices.zeros(), products, tolerance=1e-12, steps=500)
    assert least.converged
    slope = choices.loss(found)[1]
    weights = penalty.weights()
    slope.by_outcome[...] += weights.by_outcome * (found.by_outcome - coefficients.by_outcome)
    slope.similarity[...] += weights.similarity * (found.similarity - coefficients.similarity)
    np.testing.assert_allclose(slope.flat(), 0, atol=1e-4)


def test_agrees_with_scikit_learn(rng: np.random.Generator) -> None:
    x = rng.normal(size=(500, 5))
    chosen = (x[:, :3] + rng.gumbel(size=(500, 3))).argmax(axis=1)
    theirs = LogisticRegression(C=1 / 3, tol=1e-10, max_iter=1000).fit(x, chosen)
    features = sparse.csr_array(np.column_stack([np.ones(500), x]))
    choices = Choices(features, np.zeros(3), (), np.full(500, -1), chosen)
    penalty = Penalty(3.0, np.array([1e-9, 1, 1, 1, 1, 1]), 1.0, choices.zeros())
    found, _ = fit_penalised(
        choices, penalty, choices.zeros(), Products(choices, penalty.factor), tolerance=1e-14, steps=1000
    )
    np.testing.assert_allclose(found.by_outcome[1:].T, theirs.coef_, atol=1e-5)


def test_rounding_ends_the_search() -> None:
    """A function in steps has no lower point nearby: the search stops and says that it has not converged."""
    found = minimise(
        lambda x: (float(np.round(x @ x)), 2 * x),
        np.full(3, 0.4),
        inverse=lambda x: -x,  # not positive definite: every step leads up
        tolerance=-np.inf,
        steps=50,
    )
    assert not found.converged
    assert found.evaluations < 50
