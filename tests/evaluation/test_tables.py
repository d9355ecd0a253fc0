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
    table = evaluation_table(draws, SIZES, {"a": {AUC: 0.2}, "b": {}}, confidence=0.95)
    assert table["model"].to_list() == ["a"]
    assert table["std_error"][0] == pytest.approx(np.std([0.6, 0.8], ddof=1))
    assert table["std_error_delta"][0] == 0.2
    assert comparisons_table(draws, SIZES, pairs=[("a", "b")], confidence=0.95).height == 0


def test_two_infinite_numbers_have_an_unknown_difference() -> None:
    infinite = np.array([np.inf, np.nan, np.nan])
    draws = {"a": {AUC: infinite}, "b": {AUC: infinite}}
    table = comparisons_table(draws, SIZES, pairs=[("a", "b")], confidence=0.95)
    assert table.row(0)[-8:] == (None, None, None, None, 30, 9, None, None)


def _draws(models: int, rng: np.random.Generator, key: Key = AUC) -> dict[str, dict[Key, np.ndarray]]:
    levels = rng.normal(size=(models, 1)) / 10 + 0.6
    draws = levels + rng.normal(size=(models, 801)) * rng.uniform(0.01, 0.05, size=(models, 1))
    return {
        f"m{number}": {key: np.r_[level, row[1:]]}
        for number, (level, row) in enumerate(zip(levels, draws, strict=True))
    }


def test_the_band_holds_for_all_models_together_as_often_as_it_says(rng: np.random.Generator) -> None:
    """In 95 % of the draws every model is inside its band; the intervals one by one hold together less often."""
    draws = _draws(8, rng)
    table = evaluation_table(draws, SIZES, {model: {} for model in draws}, confidence=0.95)
    stack = np.stack([found[AUC][1:] for found in draws.values()])
    for ends, expected in ((("band_low", "band_high"), 0.95), (("ci_low", "ci_high"), 0.95**8)):
        low, high = (table[end].to_numpy()[:, None] for end in ends)
        assert ((stack >= low) & (stack <= high)).all(axis=0).mean() == pytest.approx(expected, abs=0.02)
    middle = (table["band_low"] + table["band_high"]) / 2
    np.testing.assert_allclose(middle, table["estimate"], rtol=1e-12)
    reach = (table["band_high"] - table["estimate"]) / table["std_error"]
    np.testing.assert_allclose(reach, reach[0], rtol=1e-9)


def test_the_band_of_differences_is_over_all_pairs_at_that_key_and_of_one_model_is_an_interval(
    rng: np.random.Generator,
) -> None:
    draws = _draws(5, rng)
    pairs = [(f"m{a}", f"m{b}") for a in range(5) for b in range(a + 1, 5)]
    table = comparisons_table(draws, SIZES, pairs=pairs, confidence=0.95)
    assert table.select("model_a", "model_b").rows() == pairs
    stack = np.stack([draws[a][AUC][1:] - draws[b][AUC][1:] for a, b in pairs])
    low, high = (table[end].to_numpy()[:, None] for end in ("band_low", "band_high"))
    assert ((stack >= low) & (stack <= high)).all(axis=0).mean() == pytest.approx(0.95, abs=0.005)
    alone = evaluation_table({"m0": draws["m0"]}, SIZES, {"m0": {}}, confidence=0.95)
    assert (alone["band_high"] - alone["estimate"])[0] == pytest.approx(1.96 * alone["std_error"][0], rel=0.1)


def test_what_is_the_same_for_all_models_is_not_compared(rng: np.random.Generator) -> None:
    key = Key("move", "brier_uncertainty", "all", "all")
    assert comparisons_table(_draws(2, rng, key), SIZES, pairs=[("m0", "m1")], confidence=0.95).height == 0


def test_a_draw_that_no_model_has_is_left_out_of_the_band(rng: np.random.Generator) -> None:
    draws = _draws(3, rng)
    for found in draws.values():
        found[AUC][7] = np.nan
    table = evaluation_table(draws, SIZES, {model: {} for model in draws}, confidence=0.95)
    assert table["band_low"].is_not_null().all()
