from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.evaluation.checks import check_predictions
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers


def _changed(prediction: Probabilities, row: int, value: float) -> Probabilities:
    assert prediction.log_probabilities is not None
    log_probabilities = prediction.log_probabilities.copy()
    log_probabilities[row, 2] = value
    return replace(prediction, log_probabilities=log_probabilities)


def test_good_predictions_pass_whatever_the_type_of_their_keys(
    few_careers: Careers, models: dict[str, Probabilities]
) -> None:
    wide = models["relative"].rows.with_columns(pl.col("year").cast(pl.Int64))
    check_predictions({**models, "wide": replace(models["relative"], rows=wide)}, few_careers)


def test_the_first_differing_row_is_named(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    year = few_careers.table["year"].to_numpy().copy()
    year[[4, 7]] += 1
    wrong = models["relative"].rows.with_columns(year=pl.Series(year))
    with pytest.raises(LaborLLMError, match=r"model 'm', row 5: the prediction is for person .*the careers have"):
        check_predictions({"m": replace(models["relative"], rows=wrong)}, few_careers)


def test_a_prediction_of_fewer_rows_is_refused(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    language = models["language"]
    assert language.log_probabilities is not None
    short = Probabilities(language.rows.head(9), language.occupations, log_probabilities=language.log_probabilities[:9])
    with pytest.raises(LaborLLMError, match=r"model 'm', row 10: the prediction is for no such row.*\(9 and"):
        check_predictions({"m": short}, few_careers)


def test_another_list_is_refused(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    rows = models["realised"].rows
    other = few_careers.occupations.restrict({"313", "436", "433", "unemployed"})
    prediction = Probabilities(rows, other, realised_raw=np.zeros(len(rows)))
    with pytest.raises(LaborLLMError, match=r"model 'm': occupation 5 on its list is 'nothing', .* 'in_education'"):
        check_predictions({"m": prediction}, few_careers)


@pytest.mark.parametrize("value", [np.nan, np.inf, 900.0, 0.0])
def test_rows_that_are_no_distribution_are_refused(
    few_careers: Careers, models: dict[str, Probabilities], value: float
) -> None:
    with pytest.raises(LaborLLMError, match=r"model 'm', row 7: the probabilities sum to (nan|inf|1\.\d+), not to 1"):
        check_predictions({"m": _changed(models["language"], 6, value)}, few_careers)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
@pytest.mark.parametrize(("model", "field"), [("language", "log_mass"), ("realised", "realised_raw")])
def test_numbers_that_are_no_log_probabilities_are_refused(
    few_careers: Careers, models: dict[str, Probabilities], *, model: str, field: str, value: float
) -> None:
    values = np.full(len(few_careers), -1.0)
    values[2] = value
    with pytest.raises(LaborLLMError, match=rf"model 'm', row 3: {field} is {value}"):
        check_predictions({"m": replace(models[model], **{field: values})}, few_careers)


def test_a_mass_of_another_length_is_refused(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    with pytest.raises(LaborLLMError, match=r"log_mass has shape \(3,\)"):
        check_predictions({"m": replace(models["language"], log_mass=np.zeros(3))}, few_careers)


def test_nothing_to_evaluate_is_refused(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    with pytest.raises(LaborLLMError, match="no predictions"):
        check_predictions({}, few_careers)
    with pytest.raises(LaborLLMError, match="no rows"):
        check_predictions(models, replace(few_careers, table=few_careers.table.clear()))
