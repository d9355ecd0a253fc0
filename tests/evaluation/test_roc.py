import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from laborllm.evaluation.roc import BINS, curve_of
from laborllm.evaluation.uncertainty import bootstrap_std_error, draw_weights


def _clustered(rng: np.random.Generator, people: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, event and person, the rows of a person alike."""
    person = np.repeat(np.arange(people), rows)
    effect = rng.normal(size=people)[person]
    score = 1 / (1 + np.exp(-effect - rng.normal(size=len(person))))
    event = rng.random(len(person)) < 1 / (1 + np.exp(-effect - 0.5 * rng.normal(size=people)[person]))
    return score, event, person


@pytest.mark.parametrize("digits", [1, 2, 12])
@pytest.mark.parametrize("weighted", [False, True])
def test_few_scores_give_scikit_learns_area_in_every_draw(
    rng: np.random.Generator, digits: int, weighted: bool
) -> None:
    score = rng.random(300).round(digits)
    event = rng.random(300) < score
    person = rng.integers(40, size=300)
    row_weight = rng.random(300) if weighted else np.ones(300)
    draws = draw_weights(40, 37, rng).astype(np.float32)
    found = curve_of(score, event, person=person, row_weight=row_weight, draws=draws).area()
    expected = [roc_auc_score(event, score, sample_weight=row_weight * draw[person]) for draw in draws.T]
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    assert found[0] == pytest.approx(expected[0], abs=1e-12)


def test_the_area_equals_counting_all_pairs(rng: np.random.Generator) -> None:
    score, event = rng.integers(6, size=50), rng.random(50) < 0.4
    above = score[event][:, None] > score[~event]
    tied = score[event][:, None] == score[~event]
    ones = np.ones(50)
    found = curve_of(score, event, person=np.arange(50), row_weight=ones, draws=np.ones((50, 1), dtype=np.float32))
    assert found.area()[0] == pytest.approx((above + tied / 2).mean(), abs=1e-14)


def test_binned_draws_have_the_exact_standard_error_to_one_percent(rng: np.random.Generator) -> None:
    """Many more scores than bins: the estimate stays exact, and every draw is exact to a hundredth of the error."""
    score, event, person = _clustered(rng, 900, 9)
    draws = draw_weights(900, 300, rng)
    assert len(np.unique(score)) > 7 * BINS
    curve = curve_of(score, event, person=person, row_weight=np.ones(len(score)), draws=draws.astype(np.float32))
    exact = np.array([roc_auc_score(event, score, sample_weight=draw[person]) for draw in draws.T])
    found = curve.area()
    assert found[0] == pytest.approx(exact[0], abs=1e-12)
    error, exact_error = (bootstrap_std_error(each[None, 1:])[0] for each in (found, exact))
    assert error == pytest.approx(exact_error, rel=0.01)
    np.testing.assert_allclose(found, exact, atol=0.01 * exact_error)


def test_the_delta_method_agrees_with_the_bootstrap_and_not_with_rows_as_people(rng: np.random.Generator) -> None:
    score, event, person = _clustered(rng, 600, 8)
    draws = draw_weights(600, 3000, rng).astype(np.float32)
    curve = curve_of(score, event, person=person, row_weight=np.ones(len(score)), draws=draws)
    error = bootstrap_std_error(curve.area()[None, 1:])[0]
    assert curve.std_error_delta == pytest.approx(error, rel=0.03)
    rows = np.arange(len(score))
    one = np.ones((len(score), 1), dtype=np.float32)
    alone = curve_of(score, event, person=rows, row_weight=np.ones(len(score)), draws=one)
    assert alone.std_error_delta < 0.8 * error


def test_the_curve_equals_scikit_learns(rng: np.random.Generator) -> None:
    """Read at its own corners, where nothing is to be drawn between them."""
    for digits in (1, 12):
        score = rng.random(400).round(digits)
        event = rng.random(400) < score
        draws = draw_weights(400, 2, rng).astype(np.float32)
        curve = curve_of(score, event, person=np.arange(400), row_weight=np.ones(400), draws=draws)
        for draw in range(3):
            alarms, hits, _ = roc_curve(event, score, sample_weight=draws[:, draw], drop_intermediate=False)
            upper = np.array([hits[alarms == each].max() for each in alarms])
            # A hair to the right, so that a corner rounded to either side is at or above its vertical step.
            np.testing.assert_allclose(curve.true_positive_rate(alarms + 1e-9)[:, draw], upper, atol=1e-5)
    grid = np.linspace(0, 1, 101)
    rates = curve.true_positive_rate(grid)
    assert (np.diff(rates[:, 0]) >= 0).all()
    assert rates[-1, 0] == 1
    corners = np.unique(np.r_[alarms, 0, 1])
    trapezoids = np.trapezoid(curve.true_positive_rate(np.linspace(0, 1, 20001))[:, 0], dx=1 / 20000)
    assert len(corners) > 100
    assert trapezoids == pytest.approx(curve.area()[0], abs=1e-3)


def test_a_draw_without_events_is_unknown() -> None:
    draws = np.array([[1, 0, 1], [1, 1, 0]], dtype=np.float32)
    curve = curve_of(
        np.array([0.2, 0.8]), np.array([False, True]), person=np.arange(2), row_weight=np.ones(2), draws=draws
    )
    np.testing.assert_array_equal(curve.area(), [1.0, np.nan, np.nan])
    np.testing.assert_array_equal(curve.true_positive_rate(np.array([0.5]))[0], [1.0, np.nan, np.nan])
