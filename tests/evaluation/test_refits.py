"""Variance over test people and over training people, against loops and against whole new surveys."""

import numpy as np
import polars as pl
import pytest

from laborllm.evaluation.refits import (
    COMPARISONS,
    REFITS,
    Fits,
    VarianceSplit,
    comparisons_table,
    mean_of,
    perplexity_of,
    refits_table,
    split_variance,
)
from laborllm.evaluation.uncertainty import clustered_std_error

JOBS = 6
TRUE = np.arange(1, JOBS + 1) / np.arange(1, JOBS + 1).sum()
TRAINING, TEST, YEARS = 60, 200, 5


def survey(rng: np.random.Generator, people: int) -> np.ndarray:
    """Years of each person in each job; a person keeps to some jobs, so that years are dependent: (people, jobs)."""
    own = rng.dirichlet(2 * TRUE, size=people)
    return rng.multinomial(1 + rng.poisson(YEARS - 1, size=people), own).astype(float)


def fitted(counts: np.ndarray, weight: float) -> np.ndarray:
    """Log shares of jobs, shrunk towards equal ones by so many observations, shape (..., jobs)."""
    return np.log((counts + weight / JOBS) / (counts.sum(axis=-1, keepdims=True) + weight))


def draws_of(rng: np.random.Generator, people: int) -> np.ndarray:
    """How often each training person counts in the sample itself and in 12 refits, shape (13, people)."""
    return np.vstack([np.ones(people), rng.multinomial(people, np.full(people, 1 / people), size=12)])


def perplexity(rng: np.random.Generator, weight: float, *, training: int, test: int) -> tuple[Fits, float]:
    """Fits on a new survey, and the true perplexity of the first of them."""
    train, tested = survey(rng, training), survey(rng, test)
    model = fitted(draws_of(rng, training) @ train, weight)  # (refits + 1, jobs)
    return perplexity_of(model @ tested.T, tested.sum(axis=1)), float(np.exp(-(model[0] @ TRUE)))


def surveys(
    weight: float, *, number: int, training: int = TRAINING, test: int = TEST
) -> tuple[list[VarianceSplit], np.ndarray]:
    """What is estimated on each of many new surveys, and the true perplexity of its model."""
    rng = np.random.default_rng(5)
    found = [perplexity(rng, weight, training=training, test=test) for _ in range(number)]
    return [split_variance(fits, confidence=0.95, positive=True) for fits, _ in found], np.array(
        [true for _, true in found]
    )


def means(found: list[VarianceSplit], name: str) -> float:
    """Mean variance."""
    return float(np.mean([getattr(each, name) ** 2 for each in found]))


def covered(found: list[VarianceSplit]) -> float:
    """Share of intervals that hold the mean over all surveys."""
    truth = np.mean([each.estimate for each in found])
    return float(np.mean([each.ci_low <= truth <= each.ci_high for each in found]))


def test_the_parts_equal_a_two_way_analysis_of_variance(rng: np.random.Generator) -> None:
    refits, people = 5, 30
    sums = rng.normal(size=(refits + 1, 1)) + rng.normal(size=people) + rng.normal(size=(refits + 1, people))
    found = split_variance(mean_of(sums, np.ones(people)), confidence=0.95)
    table = sums[1:]
    between = sum((table[r].mean() - table.mean()) ** 2 for r in range(refits)) / (refits - 1)
    residual = 0.0
    for r in range(refits):
        for i in range(people):
            residual += (table[r, i] - table[r].mean() - table[:, i].mean() + table.mean()) ** 2
    interaction = residual / ((refits - 1) * (people - 1))
    assert found.std_error_training**2 == pytest.approx(between - interaction / people, rel=1e-12)
    assert found.std_error_test == pytest.approx(sums[0].std(ddof=1) / np.sqrt(people), rel=1e-12)
    assert found.std_error_total**2 == pytest.approx(found.std_error_test**2 + found.std_error_training**2, rel=1e-12)
    assert found.refit_mean == pytest.approx(table.mean(), rel=1e-12)
    assert found.refit_std_dev**2 == pytest.approx(between, rel=1e-12)


def test_the_test_part_is_the_clustered_standard_error(rng: np.random.Generator) -> None:
    years, nats = rng.integers(1, 9, size=40), rng.gamma(2.0, size=(4, 40))
    mean, exponential = mean_of(nats, years), perplexity_of(-nats, years)
    alone = clustered_std_error(nats[0], years)
    assert split_variance(mean, confidence=0.95).std_error_test == pytest.approx(alone, rel=1e-12)
    found = split_variance(exponential, confidence=0.95)
    assert found.estimate == pytest.approx(np.exp(nats[0].sum() / years.sum()), rel=1e-12)
    assert found.std_error_test == pytest.approx(alone * found.estimate, rel=1e-12)


def test_luck_with_the_test_people_is_no_training_variance() -> None:
    """Refits that are equally good, each with luck in other people: the spread between them is noise of the test."""
    rng = np.random.default_rng(1)
    between, training = [], []
    for _ in range(300):
        fits = mean_of(rng.normal(size=(13, 50)), np.ones(50))
        between.append(fits.values[1:].var(ddof=1))
        influence = fits.influence[1:]
        training.append(between[-1] - 50 / 49 * influence.var(axis=0, ddof=1).sum())
        assert split_variance(fits, confidence=0.95).std_error_training == pytest.approx(np.sqrt(max(training[-1], 0)))
    assert np.mean(between) == pytest.approx(1 / 50, rel=0.05)
    assert np.mean(training) == pytest.approx(0, abs=1 / 50 * 0.05)


@pytest.mark.slow
def test_the_total_is_that_of_whole_new_surveys() -> None:
    """A model held far from its own best fit: what it learns moves the metric in proportion."""
    found, true = surveys(400.0, number=1500)
    estimates = np.array([each.estimate for each in found])
    assert means(found, "std_error_training") == pytest.approx(true.var(ddof=1), rel=0.2)
    assert means(found, "std_error_total") == pytest.approx(estimates.var(ddof=1), rel=0.15)
    assert 0.92 <= covered(found) <= 0.97


def test_intervals_cover_and_those_of_the_test_people_alone_do_not() -> None:
    found, _ = surveys(400.0, number=400)
    assert 0.915 <= covered(found) <= 0.975
    estimates = np.array([each.estimate for each in found])
    alone = np.abs(estimates - estimates.mean()) <= 1.96 * np.array([each.std_error_test for each in found])
    assert alone.mean() < 0.85


def test_a_model_fitted_by_its_metric_has_wide_intervals_never_narrow_ones() -> None:
    """The slope is zero at the best fit, so refits around the fit at hand spread three times as much as new fits."""
    found, true = surveys(1.0, number=400, training=200, test=4000)
    assert means(found, "std_error_training") / true.var(ddof=1) == pytest.approx(3, rel=0.25)
    few, _ = surveys(1.0, number=400)
    assert covered(few) >= 0.95


def test_pairs_share_people_and_draws() -> None:
    rng = np.random.default_rng(3)
    train, tested = survey(rng, TRAINING), survey(rng, TEST)
    draws, years = draws_of(rng, TRAINING), tested.sum(axis=1)
    a, b = (perplexity_of(fitted(draws @ train, weight) @ tested.T, years) for weight in (400.0, 380.0))
    difference = split_variance(a - b, confidence=0.95)
    own = split_variance(a, confidence=0.95)
    assert difference.estimate == pytest.approx(a.values[0] - b.values[0])
    assert difference.std_error_training < own.std_error_training / 5
    assert difference.std_error_test < own.std_error_test / 5
    same = split_variance(a - a, confidence=0.95)
    assert (same.std_error_total, same.ci_low, same.ci_high) == (0, 0, 0)


def test_the_order_of_people_and_of_refits_does_not_matter(rng: np.random.Generator) -> None:
    years, scores = rng.integers(1, 9, size=40), -rng.gamma(2.0, size=(6, 40))
    people, refits = rng.permutation(40), np.append(0, 1 + rng.permutation(5))
    one = split_variance(perplexity_of(scores, years), confidence=0.9)
    other = split_variance(perplexity_of(scores[refits][:, people], years[people]), confidence=0.9)
    for name, value in vars(one).items():
        assert getattr(other, name) == pytest.approx(value, rel=1e-9), name


def test_the_interval_of_a_perplexity_is_that_of_its_logarithm(rng: np.random.Generator) -> None:
    scores = -rng.gamma(2.0, size=(1, 9)) * (1 + rng.normal(scale=0.01, size=(7, 1)))
    exponential = split_variance(perplexity_of(scores, np.ones(9)), confidence=0.9, positive=True)
    nats = split_variance(mean_of(-scores, np.ones(9)), confidence=0.9)
    assert exponential.ci_low == pytest.approx(np.exp(nats.ci_low), rel=0.01)
    assert exponential.ci_high == pytest.approx(np.exp(nats.ci_high), rel=0.01)


def test_what_has_no_spread_is_empty() -> None:
    impossible = np.array([[-1.0, -np.inf, -2.0], [-1.0, -1.0, -2.0], [-1.5, -1.0, -2.0]])
    fits = {"sure": {"perplexity": perplexity_of(impossible, np.ones(3))}}
    fits["other"] = {"perplexity": perplexity_of(np.full((3, 3), -1.0), np.ones(3))}
    table = refits_table(fits, confidence=0.95)
    assert dict(table.schema) == REFITS
    assert table["estimate"].to_list() == [np.inf, pytest.approx(np.e)]
    assert table["std_error_total"].to_list() == [None, 0.0]
    assert table["std_error_test"][0] is None
    pairs = comparisons_table(fits, confidence=0.95)
    assert dict(pairs.schema) == COMPARISONS
    assert pairs.select("model_a", "model_b").rows() == [("sure", "other")]
    assert not any(column.is_nan().any() for column in pairs.select(pl.selectors.float()))
    one_refit = split_variance(perplexity_of(np.full((2, 3), -1.0), np.ones(3)), confidence=0.95)
    assert np.isnan(one_refit.std_error_training)
    assert np.isnan(one_refit.std_error_total)


def test_degrees_of_freedom_lie_between_those_of_the_parts(rng: np.random.Generator) -> None:
    sums = rng.normal(size=(8, 1)) * 5 + rng.normal(size=50)
    training_alone = split_variance(mean_of(sums, np.ones(50)), confidence=0.95)
    assert training_alone.degrees_of_freedom == pytest.approx(6, abs=0.1)
    test_alone = split_variance(mean_of(np.tile(rng.normal(size=50), (8, 1)), np.ones(50)), confidence=0.95)
    assert test_alone.degrees_of_freedom == pytest.approx(49)
    assert test_alone.ci_high - test_alone.estimate == pytest.approx(2.0096 * test_alone.std_error_test, rel=1e-4)
