"""The door: what does not depend on the size or the order of a table, and where a message points."""

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers
from laborllm.survey.door import Source, careers_from_frame


def test_the_order_of_rows_does_not_matter(few_careers: Careers, rng: np.random.Generator) -> None:
    rows = rng.permutation(len(few_careers))
    shuffled = careers_from_frame(few_careers.table[rows], few_careers.occupations)
    assert shuffled.table.equals(few_careers.table)
    assert careers_from_frame(few_careers.table, few_careers.occupations).table.equals(few_careers.table)


def test_one_swapped_pair_is_sorted_again(few_careers: Careers) -> None:
    for row in range(len(few_careers) - 1):
        rows = np.arange(len(few_careers))
        rows[[row, row + 1]] = rows[[row + 1, row]]
        assert careers_from_frame(few_careers.table[rows], few_careers.occupations).table.equals(few_careers.table)


def test_a_repeated_row_is_found_wherever_it_stands(few_careers: Careers, rng: np.random.Generator) -> None:
    for row in rng.choice(len(few_careers), 20, replace=False):
        rows = np.append(np.arange(len(few_careers)), row)
        with pytest.raises(LaborLLMError, match=f"rows {row + 1} and {len(few_careers) + 1}: person .* has two rows"):
            careers_from_frame(few_careers.table[rows], few_careers.occupations)


def test_a_message_points_to_the_row_of_origin(few_careers: Careers) -> None:
    frame = pl.DataFrame({"person": [1, 2], "year": [1990, 1990], "occupation": ["436", "x"]})
    source = Source(("a.csv", "b.csv"), (4, 5), origin=np.array([2, 7]), theirs={"occupation": "job"})
    with pytest.raises(LaborLLMError, match="b.csv, column job, row 3: code 'x' is not on the list"):
        careers_from_frame(frame, few_careers.occupations, source=source)
    assert source.both(1, 2) == "a.csv, row 2, and b.csv, row 3"
    assert source.at("year", 1) == "a.csv, column year, row 2"


@pytest.mark.parametrize("name", ["", " ", "a survey ", "a\nb"])
def test_a_survey_without_a_name(name: str, few_careers: Careers) -> None:
    with pytest.raises(LaborLLMError, match="the survey's name is .*: blank, padded or of several lines"):
        careers_from_frame(few_careers.table, few_careers.occupations, survey=name)
