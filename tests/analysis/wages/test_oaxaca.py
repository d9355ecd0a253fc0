"""Decompositions against statsmodels, and by hand."""

import numpy as np
import pytest
from statsmodels.stats.oaxaca import OaxacaBlinder

from laborllm.analysis.wages.oaxaca import kitagawa, oaxaca_blinder
from laborllm.errors import LaborLLMError


@pytest.fixture
def sample(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first = rng.random(400) < 0.45
    x = np.column_stack([np.ones(400), rng.normal(size=400) + 0.5 * first, rng.gamma(2, size=400) - 0.3 * first])
    y = x @ [1.0, 0.4, 0.2] + first * (0.15 + 0.1 * x[:, 1]) + rng.normal(size=400)
    return y, x, first


@pytest.mark.parametrize("reference", ["pooled", "first", "second"])
def test_agrees_with_statsmodels(sample: tuple[np.ndarray, ...], reference: str) -> None:
    """Its twofold pooled parts; of its threefold ones, seen from either group, the endowments are what is explained."""
    y, x, first = sample
    found = oaxaca_blinder(y, x, first, names="abc", cluster=np.arange(400), reference=reference)
    ones = ~first if reference == "second" else first  # without swapping, the group of ones prices endowments
    program = OaxacaBlinder(y, np.column_stack([x, ones.astype(float)]), 3, hasconst=True, swap=False)
    if reference == "pooled":
        unexplained, explained, gap = program.two_fold(two_fold_type="pooled").params
    else:
        explained, returns, interaction, gap = program.three_fold().params
        unexplained = returns + interaction
    sign = np.sign(found.gap * gap)
    np.testing.assert_allclose(
        [found.unexplained, found.explained, found.gap], sign * np.array([unexplained, explained, gap]), rtol=1e-6
    )


def test_parts_sum_to_the_gap_term_by_term(sample: tuple[np.ndarray, ...], rng: np.random.Generator) -> None:
    y, x, first = sample
    w = rng.gamma(2, size=400)
    for reference in ("first", "second", "pooled"):
        found = oaxaca_blinder(y, x, first, names="abc", cluster=np.arange(400), weights=w, reference=reference)
        assert found.explained + found.unexplained == pytest.approx(found.gap)
        assert found.terms["explained"].sum() == pytest.approx(found.explained)
        assert found.terms["unexplained"].sum() == pytest.approx(found.unexplained)
        weighted = np.average(y[first], weights=w[first]) - np.average(y[~first], weights=w[~first])
        assert found.gap == pytest.approx(weighted)


def test_equal_returns_leave_nothing_unexplained(rng: np.random.Generator) -> None:
    first = np.arange(200) < 100
    x = np.column_stack([np.ones(200), rng.normal(size=200) + first])
    found = oaxaca_blinder(x @ [1.0, 2.0], x, first, names="ab", cluster=np.arange(200))
    assert found.unexplained == pytest.approx(0, abs=1e-12)


def test_kitagawa_by_hand() -> None:
    cell = np.array([0, 0, 1, 0, 1, 1])
    first = np.array([True, True, True, False, False, False])
    wage = np.array([1.0, 3.0, 5.0, 1.0, 4.0, 6.0])
    gap, explained, unexplained = kitagawa(wage, cell, first)
    assert gap == pytest.approx(3 - 11 / 3)
    assert explained == pytest.approx((2 / 3 - 1 / 3) * 1.5 + (1 / 3 - 2 / 3) * 5)
    assert unexplained == pytest.approx(0.5 * (2 - 1) + 0.5 * (5 - 5))
    with pytest.raises(LaborLLMError, match="1 of 2 cells hold nobody of the second group"):
        kitagawa(wage[:4], cell[:4], first[:4])


def test_a_group_without_people_is_refused(sample: tuple[np.ndarray, ...]) -> None:
    y, x, first = sample
    with pytest.raises(LaborLLMError, match="one group has none"):
        oaxaca_blinder(y, x, np.ones_like(first), names="abc", cluster=np.arange(400))
