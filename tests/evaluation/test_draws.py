import numpy as np
import polars as pl
import pytest

from laborllm.evaluation.cells import find_cells
from laborllm.evaluation.draws import ALL, Key, Mean, ModelDraws, Sample, mean_draws, model_draws
from laborllm.evaluation.evaluate import EvaluationSettings, evaluate
from laborllm.evaluation.row_scores import row_scores
from laborllm.evaluation.row_sums import row_sums
from laborllm.evaluation.tasks import find_tasks
from laborllm.evaluation.uncertainty import bootstrap_std_error, draw_weights
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate
from tests.evaluation.conftest import noisy, restricted, restricted_prediction

BY = ("gender", "region", "education")


def _sample(careers: Careers, weights: np.ndarray) -> Sample:
    cells, tasks = find_cells(careers, BY)[0], find_tasks(careers)[0]
    return Sample(careers.person_of_row, weights, cells, tasks, np.ones(len(careers)))


def _draws(prediction: Probabilities, sample: Sample) -> ModelDraws:
    assert prediction.log_probabilities is not None
    sums = row_sums(prediction.log_probabilities, sample.tasks)
    return model_draws(row_scores(prediction, sums, sample.tasks), sample)


def test_a_draw_equals_evaluating_the_resampled_people(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    """Brute force: build the data set of a bootstrap draw and evaluate it. Calibration keeps the sample's bins."""
    people = np.random.default_rng(8).integers(few_careers.people, size=few_careers.people)
    weights = np.stack([np.ones(few_careers.people), np.bincount(people, minlength=few_careers.people)], axis=1)
    found = _draws(models["language"], _sample(few_careers, weights))
    again = evaluate(
        {"again": restricted_prediction(models["language"], few_careers, people)},
        restricted(few_careers, people),
        EvaluationSettings(by=BY, bootstrap=0),
    ).evaluation
    binned = ("calibration_error", "brier_reliability", "brier_resolution", "brier_within")
    rows = again.filter(~pl.col("metric").is_in(binned))
    for row in rows.iter_rows(named=True):
        key = Key(row["task"], row["metric"], row["subset"], row["group"])
        # The draws of an AUC are sums in single precision.
        assert found.draws[key][1] == pytest.approx(row["estimate"], rel=2e-6 if key.metric == "auc" else 1e-12), key
    assert rows.height == 53
    edges = next(each.edges for each in found.reliability if each.task == "move")
    _check_calibration(found.draws, edges, restricted_prediction(models["language"], few_careers, people))


def _check_calibration(draws: dict[Key, np.ndarray], edges: np.ndarray, prediction: Probabilities) -> None:
    assert prediction.log_probabilities is not None
    table = prediction.rows
    previous = table.select(pl.col("occupation").to_physical().shift().over("person"))["occupation"]
    rows = np.flatnonzero(previous.is_not_null())
    stay = previous.drop_nulls().to_numpy()
    moved = table["occupation"].to_physical().to_numpy()[rows] != stay
    shares = np.exp(prediction.log_probabilities[rows].astype(float))
    probability = 1 - shares[np.arange(len(rows)), stay] / shares.sum(axis=1)
    bins = np.digitize(probability, edges[1:-1] + 1e-6)
    error = sum(abs((probability - moved)[bins == b].sum()) for b in range(len(edges) - 1)) / len(rows)
    assert draws[Key("move", "calibration_error", "all", "all")][1] == pytest.approx(error, rel=1e-5)


def test_clustered_standard_errors_are_those_of_resampling_people_row_by_row(
    few_careers: Careers, models: dict[str, Probabilities]
) -> None:
    """Brute force on the rows of the drawn people; the very same draws, so that only arithmetic may differ."""
    weights = draw_weights(few_careers.people, 200, np.random.default_rng(3))
    found = _draws(models["language"], _sample(few_careers, weights)).draws
    realised, moved = models["language"].realised, few_careers.transition == "move"
    assert realised is not None
    loop: dict[Key, list[float]] = {Key("occupation", "perplexity", s, "all"): [] for s in ("all", "move")}
    for draw in weights.T[1:]:
        people = np.repeat(np.arange(few_careers.people), draw)
        rows = np.concatenate([np.arange(few_careers.starts[i], few_careers.starts[i + 1]) for i in people])
        loop[Key("occupation", "perplexity", "all", "all")].append(np.exp(-realised[rows].mean()))
        loop[Key("occupation", "perplexity", "move", "all")].append(np.exp(-realised[rows][moved[rows]].mean()))
    for key, values in loop.items():
        assert bootstrap_std_error(found[key][None, 1:])[0] == pytest.approx(np.std(values, ddof=1), rel=1e-9)


def test_delta_method_errors_agree_with_an_independent_sandwich(
    few_careers: Careers, models: dict[str, Probabilities]
) -> None:
    """A regression on a constant with the clustered covariance (X'X)^-1 sum_p X_p'u u'X_p (X'X)^-1, n / (n - 1)."""
    found = _draws(models["language"], _sample(few_careers, np.ones((few_careers.people, 1))))
    nats = -np.asarray(models["language"].realised)
    ones = np.ones((len(nats), 1))
    bread = np.linalg.inv(ones.T @ ones)
    residual = nats - (bread @ ones.T @ nats)[0]
    meat = np.zeros((1, 1))
    for first, last in zip(few_careers.starts[:-1], few_careers.starts[1:], strict=True):
        score = ones[first:last].T @ residual[first:last]
        meat += np.outer(score, score)
    error = float(np.sqrt(few_careers.people / (few_careers.people - 1) * bread @ meat @ bread).item())
    assert found.deltas[Key("occupation", "log_score", "all", "all")] == pytest.approx(error, rel=1e-9)
    assert found.deltas[ALL] == pytest.approx(error * np.exp(nats.mean()), rel=1e-9)
    assert Key("move", "calibration_error", "all", "all") not in found.deltas


def test_the_bootstrap_agrees_with_the_delta_method_for_every_metric_that_has_both() -> None:
    """Six hundred people; with three thousand draws a standard error is known to 1.3 %."""
    careers = simulate(SimulatedSettings(people=600, occupations=4))
    weights = draw_weights(careers.people, 3000, np.random.default_rng(3))
    found = _draws(noisy(careers, 1), _sample(careers, weights))
    whole = {key: delta for key, delta in found.deltas.items() if key.subset == key.group == "all" and delta > 0}
    assert {key.metric for key in whole} == {"perplexity", "log_score", "brier", "accuracy", "top5", "auc"}
    for key, delta in whole.items():
        assert bootstrap_std_error(found.draws[key][None, 1:])[0] == pytest.approx(delta, rel=0.05), key


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
    sample = _sample(few_careers, np.ones((40, 1)))
    later = few_careers.table.filter(pl.Series(few_careers.previous >= 0), gender="male")
    assert sample.sizes()["move", "all", "gender=male"] == (later.height, later["person"].n_unique())
    assert sample.sizes()["destination", "all", "all"][0] == (few_careers.transition == "move").sum()
