"""Variables of the alternatives, counted by hand."""

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.models.regression.features import Histories
from laborllm.models.regression.similarity import by_origin, coded_similarities
from laborllm.models.regression.softmax import Similarity
from laborllm.survey.careers import Careers
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations


def dense(variable: Similarity) -> np.ndarray:
    """Values by row and alternative."""
    return variable.table[variable.origin].toarray()


def test_by_previous_occupation(five_occupations: Occupations) -> None:
    stay = by_origin("stay", five_occupations).toarray()
    np.testing.assert_array_equal(stay, np.vstack([np.zeros(5), np.eye(5)]))
    group = by_origin("same_group", five_occupations).toarray()
    np.testing.assert_array_equal(group[0], 0)
    np.testing.assert_array_equal(group[1:].nonzero(), [[1, 2, 3, 4], [2, 1, 4, 3]])
    words = by_origin("shared_words", five_occupations).toarray()
    assert words[2, 2] == words[3, 1] == pytest.approx(1 / 3)  # "Cooks" and "Cooks, short order"
    assert np.count_nonzero(words) == 2


def test_by_history(five_occupations: Occupations) -> None:
    rows = [(1, 1980, "313"), (1, 1981, "313"), (1, 1982, "433"), (1, 1983, "313"), (1, 1984, "436")]
    frame = pl.DataFrame(rows, schema=["person", "year", "occupation"], orient="row")
    histories = Histories(careers_from_frame(frame, five_occupations))
    back, years = (each.variable(histories) for each in coded_similarities(["return", "years_held"], histories))
    expected = np.zeros((5, 5))
    expected[3, 0] = 1  # after 433, 313 was held before
    expected[4, 2] = 1
    np.testing.assert_array_equal(dense(back), expected)
    expected[3, 0], expected[4, 2] = np.log(3), np.log(2)
    np.testing.assert_allclose(dense(years), expected)


def test_a_coefficient_that_varies(few_careers: Careers) -> None:
    histories = Histories(few_careers)
    (coded,) = coded_similarities(["stay:log(tenure)"], histories)
    variable = coded.variable(histories)
    assert coded.names == [("stay:log(tenure)", "")]
    np.testing.assert_allclose(variable.design.toarray()[:, 0] * coded.scales[0], np.log1p(histories.tenure))


def test_what_does_not_vary_is_left_out(few_careers: Careers) -> None:
    histories = Histories(few_careers.first_people(1))
    assert coded_similarities(["stay", "stay:gender"], histories)[-1].name == "stay"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["near"], "similarity 'near': there is no variable 'near'; choose out of stay, same_group"),
        (["stay:sex"], "term 'sex': there is no variable 'sex'"),
        (["stay", "stay"], "similarity 'stay' stands twice; keep one of them"),
    ],
)
def test_names_that_cannot_be_read(names: list[str], message: str, few_careers: Careers) -> None:
    with pytest.raises(LaborLLMError, match=message):
        coded_similarities(names, Histories(few_careers))
