"""Families of statements: coverage, dependence, step-down p-values against a plain loop."""

import numpy as np
import pytest
from scipy import stats

from laborllm.evaluation.simultaneous import adjusted_p_values, critical_value


def family(rng: np.random.Generator, statistics: int, replicates: int, *, shared: float = 0.0) -> np.ndarray:
    common = rng.normal(size=(1, replicates + 1))
    own = rng.normal(size=(statistics, replicates + 1))
    return np.sqrt(shared) * common + np.sqrt(1 - shared) * own


def test_independent_members_have_sidaks_value() -> None:
    draws = family(np.random.default_rng(0), 8, 200_000)
    draws[:, 0] = 0
    sidak = stats.norm.ppf((1 + 0.95 ** (1 / 8)) / 2)
    assert critical_value(draws, confidence=0.95) == pytest.approx(sidak, abs=0.02)


def test_members_that_are_one_have_the_value_of_one() -> None:
    one = family(np.random.default_rng(1), 1, 5000)
    many = np.repeat(one, 30, axis=0)
    assert critical_value(many, confidence=0.9) == pytest.approx(critical_value(one, confidence=0.9), rel=1e-12)


def test_constant_infinite_and_undefined_members_count_for_nothing() -> None:
    draws = family(np.random.default_rng(2), 3, 500)
    odd = np.stack([np.ones(501), np.full(501, np.inf), np.full(501, np.nan)])
    both = np.concatenate([odd, draws])
    assert critical_value(both, confidence=0.95) == critical_value(draws, confidence=0.95)
    assert np.isnan(critical_value(odd, confidence=0.95))
    p_values = adjusted_p_values(both)
    assert np.isnan(p_values[:3]).all()
    np.testing.assert_array_equal(p_values[3:], adjusted_p_values(draws))


def test_step_down_equals_a_plain_loop() -> None:
    draws = family(np.random.default_rng(3), 6, 300, shared=0.4)
    draws[:, 0] = [0.1, -3.0, 1.2, 2.5, -0.4, 0.0]
    error = draws[:, 1:].std(axis=1, ddof=1)
    found = abs(draws[:, 0]) / error
    away = abs(draws[:, 1:] - draws[:, :1]) / error[:, None]
    expected, running, left = np.empty(6), 0.0, set(range(6))
    for member in np.argsort(-found):
        largest = away[sorted(left)].max(axis=0)
        running = max(running, (1 + (largest >= found[member]).sum()) / 301)
        expected[member] = running
        left.remove(int(member))
    np.testing.assert_allclose(adjusted_p_values(draws), expected)


def test_family_wise_error_is_held() -> None:
    rng = np.random.default_rng(4)
    false_alarms = 0
    for _ in range(400):
        data = np.sqrt(0.3) * rng.normal(size=(60, 1)) + np.sqrt(0.7) * rng.normal(size=(60, 12))
        weights = rng.multinomial(60, np.full(60, 1 / 60), size=199) / 60
        draws = np.column_stack([data.mean(axis=0), (weights @ data).T])
        false_alarms += adjusted_p_values(draws).min() < 0.05
    assert false_alarms / 400 < 0.09  # 5 % and the noise of 400 trials and of small samples
