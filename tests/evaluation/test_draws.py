import numpy as np
import polars as pl
import pytest

from laborllm.evaluation.cells import find_cells
from laborllm.evaluation.draws import Key, Mean, Sample, mean_draws, model_draws
from laborllm.evaluation.evaluate import EvaluationSettings, evaluate
from laborllm.evaluation.tasks import find_events
from laborllm.evaluation.uncertainty import draw_weights
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers
from tests.evaluation.conftest import restricted, restricted_prediction

BY = ("gender", "region", "education")


def test_a_draw_equals_evaluating_the_resampled_people(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    """Brute force: build the data set of a bootstrap draw and evaluate it. Calibration keeps the sample's bins."""
    people = np.random.default_rng(8).integers(few_careers.people, size=few_careers.people)
    weights = np.stack([np.ones(few_careers.people), np.bincount(people, minlength=few_careers.people)], axis=1)
    cells, events = find_cells(few_careers, BY)[0], find_events(few_careers)[0]
    sample = Sample(few_careers.person_of_row, weights, cells, events)
    draws, reliability = model_draws(models["language"], sample)
    again = evaluate(
        {"again": restricted_prediction(models["language"], few_careers, people)},
        restricted(few_careers, people),
        EvaluationSettings(by=BY, bootstrap=0),
    ).evaluation
    checked = 0
    for row in again.filter(pl.col("metric") != "calibration_error").iter_rows(named=True):
        key = Key(row["task"], row["metric"], row["subset"], row["group"])
        assert draws[key][1] == pytest.approx(row["estimate"], rel=1e-12), key
        checked += 1
    assert checked > 30
    _check_calibration(draws, reliability[0].edges, restricted_prediction(models["language"], few_careers, people))


def _check_calibration(draws: dict[Key, np.ndarray], edges: np.ndarray, prediction: Probabilities) -> None:
    assert prediction.log_probabilities is not None
    table = prediction.rows
    previous = table.select(pl.col("occupation").to_physical().shift().over("person"))["occupation"]
    rows = np.flatnonzero(previous.is_not_null())
    stay = previous.drop_nulls().to_numpy()
    moved = table["occupation"].to_physical().to_numpy()[rows] != stay
    shares = np.exp(prediction.log_probabilities[rows].astype(float))
    probability = 1 - shares[np.arange(len(rows)), stay] / shares.sum(axis=1)
    bins = np.digitize(probability, edges[1:-1] + 1e-12)
    error = sum(abs((probability - moved)[bins == b].sum()) for b in range(len(edges) - 1)) / len(rows)
    assert draws[Key("move", "calibration_error", "all", "all")][1] == pytest.approx(error, rel=1e-9)


def test_mean_draws_equal_a_loop_over_resampled_rows(rng: np.random.Generator) -> None:
    person = np.sort(rng.integers(8, size=40))
    values = rng.normal(size=40)
    weights = draw_weights(8, 50, rng)
    some = np.flatnonzero(person < 3)
    found = mean_draws([Mean(values, person), Mean(values[some], person[some])], weights)
    for draw in range(51):
        rows = np.concatenate([np.flatnonzero(person == who) for who in np.repeat(np.arange(8), weights[:, draw])])
        assert found[0, draw] == pytest.approx(values[rows].mean(), abs=1e-12)
        few = rows[person[rows] < 3]
        expected = values[few].mean() if len(few) else np.nan
        assert found[1, draw] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_an_infinite_value_is_infinite_in_the_sample_and_unknown_in_every_draw(rng: np.random.Generator) -> None:
    means = [Mean(np.array([1.0, np.inf, 2.0]), np.arange(3)), Mean(np.ones(3), np.arange(3))]
    found = mean_draws(means, draw_weights(3, 20, rng))
    assert found[0, 0] == np.inf
    assert np.isnan(found[0, 1:]).all()
    assert (found[1] == 1).all()


def test_sizes_of_a_task_count_only_rows_in_which_it_is_defined(few_careers: Careers) -> None:
    sample = Sample(
        few_careers.person_of_row, np.ones((40, 1)), find_cells(few_careers, BY)[0], find_events(few_careers)[0]
    )
    later = few_careers.table.filter(pl.Series(few_careers.previous >= 0), gender="male")
    assert sample.sizes()["move", "all", "gender=male"] == (later.height, later["person"].n_unique())
