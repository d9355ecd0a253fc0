import numpy as np
import pytest

from laborllm.evaluation.draws import Key
from laborllm.evaluation.tables import comparisons_table, evaluation_table, spread_of

AUC = Key("move", "auc", "all", "all")
SIZES = {("move", "all", "all"): (30, 9)}


def test_a_reflected_interval_mirrors_the_percentiles_and_stops_at_zero() -> None:
    draws = np.stack([np.concatenate([[estimate], np.linspace(0.2, 0.4, 101)]) for estimate in (0.25, 0.15, 0.25)])
    reflected = np.array([True, True, False])
    _, low, high = spread_of(draws, people=np.full(3, 9), reflected=reflected, confidence=0.9, least=0.0)
    np.testing.assert_allclose(low, [0.11, 0.0, 0.21])
    np.testing.assert_allclose(high, [0.29, 0.09, 0.39])


def test_undefined_metrics_have_no_row_and_undefined_draws_do_not_count() -> None:
    defined = np.array([0.7, 0.6, np.nan, 0.8])
    draws = {"a": {AUC: defined}, "b": {AUC: np.array([np.nan, 0.5, 0.5, 0.5])}}
    table = evaluation_table(draws, SIZES, confidence=0.95)
    assert table["model"].to_list() == ["a"]
    assert table["std_error"][0] == pytest.approx(np.std([0.6, 0.8], ddof=1))
    assert comparisons_table(draws, SIZES, pairs=[("a", "b")], confidence=0.95).height == 0


def test_two_infinite_numbers_have_an_unknown_difference() -> None:
    infinite = np.array([np.inf, np.nan, np.nan])
    draws = {"a": {AUC: infinite}, "b": {AUC: infinite}}
    table = comparisons_table(draws, SIZES, pairs=[("a", "b")], confidence=0.95)
    assert table.row(0)[-6:] == (None, None, None, None, 30, 9)
