import numpy as np
import pytest

from laborllm.evaluation.metrics import bin_edges, bin_of, brier_of_classes, calibration_error, hit_share


def test_brier_of_classes_equals_the_sum_over_classes(rng: np.random.Generator) -> None:
    shares = rng.dirichlet(np.ones(4), size=30)
    happened = np.eye(4)[rng.integers(4, size=30)]
    found = brier_of_classes((shares * happened).sum(axis=1), (shares**2).sum(axis=1))
    np.testing.assert_allclose(found, ((shares - happened) ** 2).sum(axis=1), atol=1e-14)


def test_hit_share_equals_breaking_ties_at_random(rng: np.random.Generator) -> None:
    probability = np.array([0.3, 0.2, 0.2, 0.2, 0.1])
    for realised in range(5):
        ranks = []
        for _ in range(4000):
            order = np.lexsort((rng.random(5), -probability))
            ranks.append(int(np.flatnonzero(order == realised)[0]))
        greater, tied = (probability > probability[realised]).sum(), (probability == probability[realised]).sum()
        for top in (1, 2, 3):
            found = hit_share(np.array([greater]), np.array([tied]), top=top)[0]
            assert found == pytest.approx(np.mean(np.array(ranks) < top), abs=0.03)


def test_bins_are_even_without_ties_and_never_empty_with_them(rng: np.random.Generator) -> None:
    smooth = rng.random(1000)
    assert np.bincount(bin_of(smooth, bin_edges(smooth, bins=10))).tolist() == [100] * 10
    for values in (np.array([0.1] * 3 + [0.9] * 7), np.full(5, 0.3), rng.integers(4, size=100) / 10):
        bins = bin_of(values, bin_edges(values, bins=10))
        assert np.bincount(bins).min() > 0
        assert len(np.unique(bins)) == len(np.unique(values))


def test_calibration_error_equals_the_definition_by_bin(rng: np.random.Generator) -> None:
    probability = rng.random(200)
    event = rng.random(200) < probability**2
    bins = bin_of(probability, bin_edges(probability, bins=10))
    expected = sum((bins == b).mean() * abs(probability[bins == b].mean() - event[bins == b].mean()) for b in range(10))
    gaps = np.array([[((probability - event) * (bins == b)).mean()] for b in range(10)])
    assert calibration_error(gaps)[0] == pytest.approx(expected, abs=1e-14)
