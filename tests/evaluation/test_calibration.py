import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from laborllm.evaluation.calibration import BINS, BinnedForecast, binned_forecast, calibration_errors
from laborllm.evaluation.uncertainty import draw_weights


def _forecast(
    rng: np.random.Generator, rows: int, digits: int = 12
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    probability = rng.random(rows).round(digits)
    happened = (rng.random(rows) < probability**1.3).astype(float)
    return probability, happened, rng.integers(30, size=rows), rng.random(rows)


def _binned(rng: np.random.Generator, digits: int = 12) -> tuple[BinnedForecast, np.ndarray, tuple[np.ndarray, ...]]:
    probability, happened, person, row_weight = _forecast(rng, 400, digits)
    draws = draw_weights(30, 40, rng)
    binned = binned_forecast(probability, happened, person=person, row_weight=row_weight, draws=draws)
    return binned, draws, (probability, happened, person, row_weight)


def test_the_parts_of_a_brier_score_equal_their_definitions_and_add_up_with_the_remainder(
    rng: np.random.Generator,
) -> None:
    """The remainder is the variance within bins less twice the covariance within them (Stephenson et al. 2008)."""
    binned, draws, (probability, happened, person, row_weight) = _binned(rng)
    weight = row_weight[:, None] * draws[person]  # (rows, draws)
    brier = (weight * (probability - happened)[:, None] ** 2).sum(axis=0) / weight.sum(axis=0)
    parts = binned.brier_parts(brier)
    for draw in range(41):
        w = weight[:, draw] / weight[:, draw].sum()
        overall = (w * happened).sum()
        reliability = resolution = within = 0.0
        for place in range(BINS):
            rows = (binned.bins == place) & (w > 0)
            share, own = w[rows].sum(), w[rows] / w[rows].sum()
            p, o = (own * probability[rows]).sum(), (own * happened[rows]).sum()
            reliability += share * (p - o) ** 2
            resolution += share * (o - overall) ** 2
            gap_p, gap_o = probability[rows] - p, happened[rows] - o
            within += share * ((own * gap_p**2).sum() - 2 * (own * gap_p * gap_o).sum())
        assert parts["brier_reliability"][draw] == pytest.approx(reliability, abs=1e-12)
        assert parts["brier_resolution"][draw] == pytest.approx(resolution, abs=1e-12)
        assert parts["brier_uncertainty"][draw] == pytest.approx(overall * (1 - overall), abs=1e-12)
        assert parts["brier_within"][draw] == pytest.approx(within, abs=1e-12)
        assert brier[draw] == pytest.approx(reliability - resolution + overall * (1 - overall) + within, abs=1e-12)


def test_nothing_is_left_within_bins_of_one_prediction_each(rng: np.random.Generator) -> None:
    binned, draws, (probability, happened, person, row_weight) = _binned(rng, digits=0)
    weight = row_weight[:, None] * draws[person]
    brier = (weight * (probability - happened)[:, None] ** 2).sum(axis=0) / weight.sum(axis=0)
    np.testing.assert_allclose(binned.brier_parts(brier)["brier_within"], 0, atol=1e-12)


def test_bins_equal_scikit_learns(rng: np.random.Generator) -> None:
    probability, happened, person, _ = _forecast(rng, 1000)
    ones = np.ones(1000)
    binned = binned_forecast(probability, happened, person=person, row_weight=ones, draws=np.ones((30, 1)))
    observed, predicted = calibration_curve(happened, probability, n_bins=BINS, strategy="quantile")
    np.testing.assert_allclose((binned.happened / binned.weight)[:, 0], observed, atol=0.02)
    np.testing.assert_allclose((binned.predicted / binned.weight)[:, 0], predicted, atol=0.002)


def test_calibration_errors_equal_the_definition_in_every_cell_and_draw(rng: np.random.Generator) -> None:
    probability, happened, person, row_weight = _forecast(rng, 500)
    draws, cells = draw_weights(30, 5, rng), [np.arange(500) % 2 == 0, np.arange(500) < 120, np.ones(500, dtype=bool)]
    found = calibration_errors(probability, happened, cells=cells, person=person, row_weight=row_weight, draws=draws)
    whole = binned_forecast(probability, happened, person=person, row_weight=row_weight, draws=draws)
    np.testing.assert_allclose(found[-1], whole.calibration_error(), atol=1e-13)
    for rows, errors in zip(cells, found, strict=True):
        edges = np.quantile(probability[rows], np.arange(1, 10) / 10, method="inverted_cdf")
        bins = np.searchsorted(edges, probability[rows])
        weight = row_weight[rows, None] * draws[person[rows]]
        gaps = weight * (probability - happened)[rows, None]
        expected = sum(np.abs(gaps[bins == place].sum(axis=0)) for place in range(10)) / weight.sum(axis=0)
        np.testing.assert_allclose(errors, expected, atol=1e-12)
