from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn.metrics import roc_auc_score

from laborllm.evaluation.evaluate import EvaluationSettings, evaluate
from laborllm.evaluation.weighting import survey_weights
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers
from tests.evaluation.conftest import prediction_of

SETTINGS = EvaluationSettings(bootstrap=100, by=("gender", "region"))


def _weighted(careers: Careers, values: object) -> Careers:
    return replace(careers, table=careers.table.with_columns(weight=pl.Series(values, dtype=pl.Float64)))


def test_without_a_positive_weight_there_is_nothing_weighted(
    few_careers: Careers, models: dict[str, Probabilities]
) -> None:
    assert survey_weights(few_careers) == (None, ())
    none = "weights: none of the test people's is positive, so that no number is weighted"
    assert survey_weights(_weighted(few_careers, np.zeros(len(few_careers)))) == (None, (none,))
    found = evaluate(models, few_careers, SETTINGS)
    assert found.evaluation_weighted.height == found.comparisons_weighted.height == 0


def test_missing_and_zero_weights_are_left_out_and_counted(few_careers: Careers) -> None:
    values: list[float | None] = [2.0] * len(few_careers)
    values[3], values[5], values[8], values[9] = None, 0.0, -1.0, float("nan")
    weight, notes = survey_weights(_weighted(few_careers, values))
    assert weight is not None
    assert np.flatnonzero(weight == 0).tolist() == [3, 5, 8, 9]
    assert notes == (
        f"weights: 4 of {len(few_careers)} person-years have no positive weight and are in no weighted number",
    )


def test_equal_weights_change_nothing(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    found = evaluate(models, _weighted(few_careers, np.full(len(few_careers), 4.0)), SETTINGS)
    assert_frame_equal(found.evaluation_weighted, found.evaluation, rel_tol=1e-6)
    assert_frame_equal(found.comparisons_weighted, found.comparisons, rel_tol=1e-5, abs_tol=1e-8)


def test_a_weight_of_three_is_three_rows(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    """Whole-number weights give what copies of the rows give; the bins of the calibration are those of the rows."""
    copies = np.random.default_rng(2).integers(0, 4, size=len(few_careers))
    found = evaluate({"m": models["language"]}, _weighted(few_careers, copies), SETTINGS)
    table = found.evaluation_weighted
    assert found.evaluation.height == table.height
    prediction = models["language"]
    assert prediction.log_probabilities is not None
    assert prediction.realised is not None
    nats = np.repeat(-prediction.realised, copies)
    assert _one(table, "occupation", "perplexity") == pytest.approx(np.exp(nats.mean()), rel=1e-9)
    female = (few_careers.table["gender"] == "female").to_numpy()
    own = np.exp(np.repeat(-prediction.realised[female], copies[female]).mean())
    assert _one(table, "occupation", "perplexity", group="gender=female") == pytest.approx(own, rel=1e-9)
    rows = np.flatnonzero(few_careers.previous >= 0)
    move = 1 - np.exp(prediction.log_probabilities[rows, few_careers.previous[rows]].astype(float))
    moved = few_careers.transition[rows] == "move"
    auc = roc_auc_score(np.repeat(moved, copies[rows]), np.repeat(move, copies[rows]))
    assert _one(table, "move", "auc") == pytest.approx(auc, abs=1e-9)
    brier = ((move - moved) ** 2 * copies[rows]).sum() / copies[rows].sum()
    assert _one(table, "move", "brier") == pytest.approx(brier, rel=1e-5)
    row = table.filter(task="move", metric="auc", group="all").row(0, named=True)
    counted = rows[copies[rows] > 0]
    assert (row["person_years"], row["people"]) == (len(counted), len(np.unique(few_careers.person_of_row[counted])))


def test_rows_without_a_weight_do_not_matter_even_where_a_model_is_infinitely_wrong(few_careers: Careers) -> None:
    weight = np.ones(len(few_careers))
    weight[4] = 0.0
    scores = np.log(np.full((len(few_careers), 5), 0.2))
    scores[4] = np.log(0.25)
    scores[4, few_careers.occupation[4]] = -np.inf
    found = evaluate(
        {"m": prediction_of(few_careers, scores.astype(np.float32))}, _weighted(few_careers, weight), SETTINGS
    )
    assert _one(found.evaluation, "occupation", "perplexity") == np.inf
    assert _one(found.evaluation_weighted, "occupation", "perplexity") == pytest.approx(5, rel=1e-6)
    assert (
        found.evaluation_weighted.filter(metric="perplexity", group="all", subset="all")["std_error"]
        .is_not_null()
        .all()
    )


def _one(table: pl.DataFrame, task: str, metric: str, group: str = "all") -> float:
    return table.filter(task=task, metric=metric, subset="all", group=group)["estimate"].item()
