"""Checks at the door: predictions are of these careers, over this list, and are probabilities."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.evaluation.uncertainty import blocks
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers

TOLERANCE = 1e-4
"""How far a row's probabilities may sum from 1."""
BLOCK = 4096
"""Rows of (person_years, occupations) worked on at a time."""


def check_predictions(predictions: Mapping[str, Probabilities], careers: Careers) -> None:
    """Refuse predictions that cannot be evaluated on these careers; every model is read once.

    Raises:
        LaborLLMError: as in ``require_something``, ``check_prediction`` and ``check_totals``.
    """
    require_something(predictions, careers)
    for model in predictions:
        prediction = predictions[model]
        check_prediction(model, prediction, careers)
        if prediction.log_probabilities is not None:
            check_totals(model, _totals(prediction.log_probabilities))


def require_something(predictions: Mapping[str, Probabilities], careers: Careers) -> None:
    """Refuse to evaluate nothing.

    Raises:
        LaborLLMError: there are no careers or no predictions.
    """
    if not len(careers):
        raise LaborLLMError("the careers to evaluate on have no rows; give the test part of a split")
    if not len(predictions):
        raise LaborLLMError("there are no predictions to evaluate; give at least one model's Probabilities")


def check_prediction(model: str, prediction: Probabilities, careers: Careers) -> None:
    """Refuse a prediction of other careers, or with numbers beside its array that are no log-probabilities.

    Raises:
        LaborLLMError: a model's rows or occupations are not the careers', or its log mass or raw log-probabilities
            are not as they must be. The message names the model and the first such row.
    """
    _require_same_occupations(model, prediction, careers)
    _require_same_rows(model, prediction, careers)
    _require_numbers(model, prediction)


def check_totals(model: str, total: np.ndarray) -> None:
    """Refuse rows that hold no probability distribution.

    Args:
        model: its name.
        total: sum of probabilities of each row, NaN where one is, shape (person_years,).

    Raises:
        LaborLLMError: a total is not 1 within ``TOLERANCE``; the message names the model and the first such row.
    """
    wrong = np.flatnonzero(~(np.abs(total - 1) <= TOLERANCE))  # NaN is wrong too
    if len(wrong):
        raise LaborLLMError(
            f"model {model!r}, row {wrong[0] + 1}: the probabilities sum to {total[wrong[0]]:.6g}, "
            f"not to 1 within {TOLERANCE}; normalise the model's log-probabilities and look for NaN"
        )


def _require_same_occupations(model: str, prediction: Probabilities, careers: Careers) -> None:
    ours, theirs = careers.occupations.codes, prediction.occupations.codes
    if ours == theirs:
        return
    shared = min(len(ours), len(theirs))
    place = next((i for i in range(shared) if ours[i] != theirs[i]), shared)
    found, wanted = (codes[place] if place < len(codes) else "nothing" for codes in (theirs, ours))
    raise LaborLLMError(
        f"model {model!r}: occupation {place + 1} on its list is {found!r}, on the careers' list {wanted!r} "
        f"({len(theirs)} and {len(ours)} occupations); predict these careers with their own list"
    )


def _require_same_rows(model: str, prediction: Probabilities, careers: Careers) -> None:
    ours, theirs = (table.select("person", "year", "occupation") for table in (careers.table, prediction.rows))
    if ours.schema == theirs.schema and ours.equals(theirs):
        return
    ours, theirs = _plain_keys(ours), _plain_keys(theirs)
    shared = min(ours.height, theirs.height)
    differs = (ours.head(shared) != theirs.head(shared)).select(pl.any_horizontal(pl.all().fill_null(True)))
    rows = differs.to_series().arg_true()
    if not len(rows) and ours.height == theirs.height:
        return
    row = rows[0] if len(rows) else shared
    found, wanted = (_row_in_words(table, row) for table in (theirs, ours))
    raise LaborLLMError(
        f"model {model!r}, row {row + 1}: the prediction is for {found}, the careers have {wanted} "
        f"({theirs.height} and {ours.height} rows); predict the very careers that are evaluated"
    )


def _plain_keys(table: pl.DataFrame) -> pl.DataFrame:
    return table.select(pl.all().cast(pl.String))


def _row_in_words(table: pl.DataFrame, row: int) -> str:
    if row >= table.height:
        return "no such row"
    person, year, occupation = table.row(row)
    return f"person {person}, {year}, occupation {occupation!r}"


def _require_numbers(model: str, prediction: Probabilities) -> None:
    for name, values in (("log_mass", prediction.log_mass), ("realised_raw", prediction.realised_raw)):
        if values is None:
            continue
        if values.shape != (prediction.rows.height,):
            raise LaborLLMError(
                f"model {model!r}: {name} has shape {values.shape}, not ({prediction.rows.height},); "
                f"give one number per person-year"
            )
        # A log-probability above zero is none; a hair above is rounding.
        wrong = np.flatnonzero(~(values <= TOLERANCE))
        if len(wrong):
            raise LaborLLMError(
                f"model {model!r}, row {wrong[0] + 1}: {name} is {values[wrong[0]]} ({len(wrong)} such rows); "
                f"the log of a probability is at most 0; check how the model computes it"
            )


def _totals(log_probabilities: np.ndarray) -> np.ndarray:
    """Sum of probabilities of each row, shape (person_years,)."""
    total = np.empty(len(log_probabilities))
    with np.errstate(over="ignore"):  # a huge value sums to infinity and is refused
        for rows in blocks(len(log_probabilities), BLOCK):
            total[rows] = np.exp(log_probabilities[rows]).sum(axis=1, dtype=np.float64)
    return total
