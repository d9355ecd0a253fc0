"""What a row's history gives: each number counted by hand, and nothing from later rows."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from laborllm.models.regression.features import Histories
from laborllm.survey.careers import Careers
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations

ARRAYS = (
    "previous",
    "before",
    "index",
    "tenure",
    "tenure_years",
    "years_observed",
    "gap",
    "education_changed",
    "distinct",
    "age",
)


@pytest.fixture
def two_people(five_occupations: Occupations) -> Histories:
    """Person 1: 313, 313, 433, then after a gap 313 twice; person 2: one row."""
    rows = [
        (1, 1980, "313", "high school"),
        (1, 1981, "313", "high school"),
        (1, 1982, "433", "some college"),
        (1, 1985, "313", None),
        (1, 1986, "313", None),
        (2, 1990, "436", None),
    ]
    frame = pl.DataFrame(rows, schema=["person", "year", "occupation", "education"], orient="row")
    frame = frame.with_columns(birth_year=pl.when(pl.col("person") == 1).then(1960))
    return Histories(careers_from_frame(frame, five_occupations))


def test_each_number_by_hand(two_people: Histories) -> None:
    expected = {
        "previous": [-1, 0, 0, 2, 0, -1],
        "before": [-1, -1, 0, 0, 2, -1],
        "index": [0, 1, 2, 3, 4, 0],
        "tenure": [0, 1, 2, 1, 1, 0],
        "tenure_years": [0, 1, 2, 3, 1, 0],
        "years_observed": [0, 1, 2, 5, 6, 0],
        "gap": [False, False, False, True, False, False],
        "education_changed": [False, False, True, True, False, False],
        "distinct": [0, 1, 1, 2, 2, 0],
        "age": [20, 21, 22, 25, 26, np.nan],
        "birth_year": [1960] * 5 + [-1],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(getattr(two_people, name), values, err_msg=name)
    np.testing.assert_array_equal(
        two_people.held.toarray(),
        [[0] * 5, [1, 0, 0, 0, 0], [2, 0, 0, 0, 0], [2, 0, 1, 0, 0], [3, 0, 1, 0, 0], [0] * 5],
    )
    assert two_people.words("education").null_count() == 3


def test_held_sums_to_the_index(few_careers: Careers) -> None:
    histories = Histories(few_careers)
    np.testing.assert_array_equal(histories.held.sum(axis=1), histories.index)


def test_a_row_s_own_occupation_and_later_rows_change_nothing(few_careers: Careers) -> None:
    """The last row's occupation altered, then the last row of every person left out."""
    whole = Histories(few_careers)
    last = few_careers.starts[1:] - 1
    codes = few_careers.table["occupation"].cast(pl.String).to_numpy().copy()
    codes[last] = np.where(codes[last] == "313", "436", "313")
    changed = pl.Series("occupation", codes).cast(few_careers.occupations.dtype)
    altered = Histories(replace(few_careers, table=few_careers.table.with_columns(changed)))
    keep = np.setdiff1d(np.arange(len(few_careers)), last)
    cut = Histories(replace(few_careers, table=few_careers.table[keep]))
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(altered, name), getattr(whole, name), err_msg=name)
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name)[keep], err_msg=name)
    assert (altered.held != whole.held).nnz == 0
    np.testing.assert_array_equal(cut.held.toarray(), whole.held.toarray()[keep])


def test_the_row_s_own_year_is_known(two_people: Histories) -> None:
    later = two_people.careers.table.with_columns(
        year=pl.when(pl.col("year") == 1981).then(1982).when(pl.col("year") == 1982).then(1983).otherwise("year")
    )
    moved = Histories(replace(two_people.careers, table=later.with_columns(pl.col("year").cast(pl.Int32))))
    np.testing.assert_array_equal(moved.gap, [False, True, False, True, False, False])
    np.testing.assert_array_equal(moved.previous, two_people.previous)
