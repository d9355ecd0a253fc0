import numpy as np
import pytest

from laborllm.evaluation.row_scores import RowScores, destination_nats, row_scores
from laborllm.evaluation.row_sums import row_sums
from laborllm.evaluation.tasks import Tasks, find_tasks
from laborllm.models.probabilities import Probabilities, normalise
from laborllm.survey.careers import Careers
from tests.evaluation.conftest import noisy, prediction_of


def _scored(prediction: Probabilities, careers: Careers) -> tuple[RowScores, Tasks]:
    tasks, _ = find_tasks(careers)
    array = prediction.log_probabilities
    return row_scores(prediction, None if array is None else row_sums(array, tasks), tasks), tasks


def _values(scores: RowScores) -> dict[tuple[str, str], np.ndarray]:
    return {(score.task, score.metric): score.values for score in scores.scores}


def test_an_occupation_is_moving_or_staying_and_then_the_destination(few_careers: Careers) -> None:
    """log P(j | history) = log P(move | history) + log P(j | history, move), row by row."""
    scores, tasks = _scored(noisy(few_careers, 1), few_careers)
    values = _values(scores)
    second = np.zeros(len(few_careers))
    second[tasks.moved] = values["destination", "perplexity"]
    rows = tasks.rows["move"]
    both = values["move", "perplexity"] + second[rows]
    np.testing.assert_allclose(both, values["occupation", "perplexity"][rows], rtol=2e-6, atol=1e-6)


def test_destination_nats_equal_renormalising_over_the_other_occupations(few_careers: Careers) -> None:
    scores, tasks = _scored(noisy(few_careers, 3), few_careers)
    shares = np.exp(np.asarray(noisy(few_careers, 3).log_probabilities, dtype=np.float64))
    for row, nats in zip(tasks.moved, _values(scores)["destination", "perplexity"], strict=True):
        others = np.delete(shares[row], tasks.previous[row]).sum()
        assert nats == pytest.approx(-np.log(shares[row, tasks.occupation[row]] / others), rel=1e-6, abs=1e-6)


def test_a_destination_that_is_excluded_costs_infinitely_many_nats() -> None:
    realised, other = np.array([-np.inf, -1.0, -np.inf]), np.array([0.5, 0.5, 0.0])
    found = destination_nats(realised, other, np.arange(3))
    np.testing.assert_allclose(found, [np.inf, np.log(0.5) + 1, np.inf])


def test_event_scores_equal_summing_probabilities_by_hand(few_careers: Careers) -> None:
    prediction = noisy(few_careers, 2)
    shares = np.exp(np.asarray(prediction.log_probabilities, dtype=np.float64))
    scores, tasks = _scored(prediction, few_careers)
    values = _values(scores)
    forecasts = {forecast.task: forecast for forecast in scores.forecasts}
    out = few_careers.occupations.position["in_education"]
    chance = {
        "move": 1 - shares[np.arange(len(shares)), tasks.previous],
        "leave_labor_force": shares[:, out],
        "enter_labor_force": 1 - shares[:, out],
    }
    for event in tasks.events:
        expected = chance[event.task][event.rows]
        np.testing.assert_allclose(forecasts[event.task].probability, expected, rtol=1e-5)
        nats = -np.log(np.where(event.happened, expected, 1 - expected))
        np.testing.assert_allclose(values[event.task, "perplexity"], nats, rtol=1e-5)
        np.testing.assert_allclose(values[event.task, "brier"], (expected - event.happened) ** 2, rtol=1e-5, atol=1e-9)


def test_scores_of_several_classes_equal_their_definitions(few_careers: Careers) -> None:
    prediction = noisy(few_careers, 5)
    scores, tasks = _scored(prediction, few_careers)
    values = _values(scores)
    confidence = {forecast.task: forecast for forecast in scores.forecasts}
    shares = np.exp(np.asarray(prediction.log_probabilities, dtype=np.float64))
    groups = np.stack([shares[:, tasks.group == place].sum(axis=1) for place in range(3)], axis=1)
    for task, chance, happened in (
        ("occupation", shares, tasks.occupation),
        ("broad_group", groups, tasks.group[tasks.occupation]),
    ):
        brier = ((chance - np.eye(chance.shape[1])[happened]) ** 2).sum(axis=1)
        np.testing.assert_allclose(values[task, "brier"], brier, rtol=1e-5)
        np.testing.assert_array_equal(values[task, "accuracy"], chance.argmax(axis=1) == happened)
        np.testing.assert_allclose(confidence[task].probability, chance.max(axis=1), rtol=1e-6)
        nats = -np.log(chance[np.arange(len(chance)), happened])
        np.testing.assert_allclose(values[task, "perplexity"], nats, rtol=1e-5)


def test_a_uniform_model_hits_by_chance_and_a_perfect_one_always(few_careers: Careers) -> None:
    shape = (len(few_careers), 5)
    uniform = _values(_scored(prediction_of(few_careers, normalise(np.zeros(shape))[0]), few_careers)[0])
    np.testing.assert_allclose(uniform["occupation", "accuracy"], 1 / 5)
    np.testing.assert_allclose(uniform["occupation", "top5"], 1.0)
    np.testing.assert_allclose(uniform["occupation", "brier"], 4 / 5, rtol=1e-6)
    certain = np.full(shape, -200.0)
    certain[np.arange(shape[0]), few_careers.occupation] = 0.0
    perfect = _values(_scored(prediction_of(few_careers, normalise(certain)[0]), few_careers)[0])
    for task in ("occupation", "broad_group"):
        assert (perfect[task, "accuracy"] == 1).all()
        assert (perfect[task, "brier"] == 0).all()


def test_only_what_a_prediction_defines_is_scored(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    found = {
        name: {m for t, m in _values(_scored(each, few_careers)[0]) if t == "occupation"}
        for name, each in models.items()
    }
    full = {"perplexity", "brier", "accuracy", "top5", "top10"}
    assert found == {
        "language": full | {"perplexity_raw", "log_mass"},
        "relative": full,
        "realised": {"perplexity_raw"},
    }
    assert _scored(models["realised"], few_careers)[0].forecasts == ()
    assert not any(
        metric == "top5"
        for task, metric in _values(_scored(models["language"], few_careers)[0])
        if task == "broad_group"
    )
