import numpy as np
import pytest
from scipy.stats import bootstrap

from laborllm.evaluation.uncertainty import (
    bootstrap_std_error,
    clustered_std_error,
    draw_weights,
    percentile_interval,
    ratio,
    weighted_sums,
)


def test_the_first_column_is_the_sample_and_every_draw_has_as_many_people(rng: np.random.Generator) -> None:
    weights = draw_weights(23, 150, rng)
    assert weights.shape == (23, 151)
    assert (weights[:, 0] == 1).all()
    assert (weights.sum(axis=0) == 23).all()


def test_draws_repeat_with_the_seed_and_grow_with_more_replicates() -> None:
    few, many = (draw_weights(9, count, np.random.default_rng(5)) for count in (70, 200))
    np.testing.assert_array_equal(few, many[:, :71])


def test_weighted_sums_equal_a_loop_over_resampled_people(rng: np.random.Generator) -> None:
    sums = rng.normal(size=(3, 12))
    weights = draw_weights(12, 300, rng)
    found = weighted_sums(sums, weights)
    for draw in range(301):
        people = np.repeat(np.arange(12), weights[:, draw])
        np.testing.assert_allclose(found[:, draw], sums[:, people].sum(axis=1), atol=1e-12)


def test_interval_and_standard_error_equal_numpy_and_skip_undefined_draws(rng: np.random.Generator) -> None:
    draws = rng.normal(size=(4, 501))
    draws[1, ::3] = np.nan
    draws[2, 1:] = np.nan
    draws[3] = np.nan
    low, high = percentile_interval(draws, confidence=0.9)
    np.testing.assert_allclose(low[:2], np.nanquantile(draws[:2], 0.05, axis=1))
    np.testing.assert_allclose(high[:2], np.nanquantile(draws[:2], 0.95, axis=1))
    np.testing.assert_allclose(bootstrap_std_error(draws)[:2], np.nanstd(draws[:2], axis=1, ddof=1))
    for spread in (low, high, bootstrap_std_error(draws)):
        assert np.isnan(spread[2:]).all()


def _clusters(rng: np.random.Generator, people: int) -> tuple[np.ndarray, np.ndarray]:
    """Per-person sums of correlated values and numbers of rows."""
    count = rng.integers(1, 15, size=people).astype(float)
    return count * rng.normal(2.0, 0.5, size=people) + rng.normal(size=people) * np.sqrt(count), count


def test_bootstrap_agrees_with_the_delta_method(rng: np.random.Generator) -> None:
    """With twenty thousand draws a standard error is known to half a percent."""
    total, count = _clusters(rng, 800)
    weights = draw_weights(800, 20_000, rng)
    draws = ratio(*np.split(weighted_sums(np.stack([total, count]), weights), 2))[:, 1:]
    assert bootstrap_std_error(draws)[0] == pytest.approx(clustered_std_error(total, count), rel=0.02)


def test_the_delta_method_takes_many_statistics_at_once_and_knows_where_there_is_none(rng: np.random.Generator) -> None:
    total, count = _clusters(rng, 20)
    several = np.stack([total, total, np.where(np.arange(20) == 3, np.inf, total)])
    found = clustered_std_error(several, np.stack([count, np.zeros(20), count]))
    assert found[0] == clustered_std_error(total, count)
    assert np.isnan(found[1:]).all()
    assert np.isnan(clustered_std_error(total[:1], count[:1]))


def test_bootstrap_agrees_with_scipy(rng: np.random.Generator) -> None:
    total, count = _clusters(rng, 300)
    theirs = bootstrap(
        (total, count),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(1),
    )
    weights = draw_weights(300, 4000, rng)
    draws = ratio(*np.split(weighted_sums(np.stack([total, count]), weights), 2))[:, 1:]
    low, high = percentile_interval(draws, confidence=0.95)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert bootstrap_std_error(draws)[0] == pytest.approx(theirs.standard_error, rel=0.05)
    assert low[0] == pytest.approx(theirs.confidence_interval.low, abs=0.05 * width)
    assert high[0] == pytest.approx(theirs.confidence_interval.high, abs=0.05 * width)


def test_intervals_cover_the_truth_and_ignoring_persons_under_covers(rng: np.random.Generator) -> None:
    """Two hundred samples of 60 people whose rows share a person effect."""
    covered = {"person": 0, "row": 0}
    for _ in range(200):
        person = np.repeat(np.arange(60), rng.integers(1, 12, size=60))
        values = 2.0 + rng.normal(size=60)[person] + rng.normal(size=len(person))
        for way, cluster in (("person", person), ("row", np.arange(len(person)))):
            sums = np.stack([np.bincount(cluster, weights=values), np.bincount(cluster)])
            draws = ratio(*np.split(weighted_sums(sums, draw_weights(sums.shape[1], 200, rng)), 2))
            low, high = percentile_interval(draws[:, 1:], confidence=0.95)
            covered[way] += int(low[0] <= 2.0 <= high[0])
    assert 0.90 <= covered["person"] / 200 <= 0.985
    assert covered["row"] / 200 < 0.75
