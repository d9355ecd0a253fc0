import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from laborllm.evaluation.metrics import bin_edges, bin_of, calibration_error, hit_share, weighted_auc


@pytest.mark.parametrize("digits", [1, 2, 12])
def test_weighted_auc_equals_scikit_learn_with_and_without_ties(rng: np.random.Generator, digits: int) -> None:
    score = rng.random(300).round(digits)
    event = rng.random(300) < score
    person = rng.integers(40, size=300)
    weights = rng.multinomial(40, np.full(40, 1 / 40), size=37).T
    found = weighted_auc(score, event, person=person, weights=weights)
    expected = [roc_auc_score(event, score, sample_weight=draw[person]) for draw in weights.T]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_weighted_auc_equals_counting_all_pairs(rng: np.random.Generator) -> None:
    score, event = rng.integers(6, size=50), rng.random(50) < 0.4
    above = score[event][:, None] > score[~event]
    tied = score[event][:, None] == score[~event]
    found = weighted_auc(score, event, person=np.arange(50), weights=np.ones((50, 1)))
    assert found[0] == pytest.approx((above + tied / 2).mean(), abs=1e-14)


def test_weighted_auc_is_unknown_in_a_draw_without_events() -> None:
    weights = np.array([[1, 0, 1], [1, 1, 0]])
    found = weighted_auc(np.array([0.2, 0.8]), np.array([False, True]), person=np.arange(2), weights=weights)
    np.testing.assert_array_equal(found, [1.0, np.nan, np.nan])


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
