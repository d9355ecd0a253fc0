"""Lines of the sample flow, and the closed list that the codes of a sample reach."""

import polars as pl

from laborllm.survey.careers import Step
from laborllm.survey.flow import closed_list, first_names, step, unmapped_codes
from laborllm.survey.occupations import crosswalk


def test_a_step_counts_people_and_rows() -> None:
    rows = pl.DataFrame({"person": [1, 1, 2]})
    assert step("kept", rows, "kept") == Step("kept", people=2, person_years=3, kind="kept")
    assert step("kept", rows.clear(), "kept") == Step("kept", people=0, person_years=0, kind="kept")


def test_five_names_and_no_more() -> None:
    assert first_names(list("abcde")) == "a, b, c, d, e"
    assert first_names(list("abcdef")) == "a, b, c, d, e, ..."
    assert first_names([]) == ""


def test_codes_are_told_by_frequency_then_code() -> None:
    rows = pl.DataFrame({"census": [1980] * 8 + [1970], "code": [1, 2, 2, 3, 4, 5, 6, 7, 9]})
    told = "Census 1980: 2 2 times, 1 1 times, 3 1 times, 4 1 times, 5 1 times, 2 other codes; Census 1970: 9 1 times"
    assert unmapped_codes(rows) == told
    assert unmapped_codes(rows.clear()) == ""


def test_the_closed_list_is_what_the_classifications_reach() -> None:
    rows = pl.DataFrame({"census": [1980, 1970, None], "occupation": ["436", "436", "in_education"]})
    occupations = closed_list(rows)
    reached = {*crosswalk(1980).values(), *crosswalk(1970).values()}
    assert set(occupations.codes) == {*reached, "in_education"}
    assert occupations.codes[-1] == "in_education"
    assert set(closed_list(rows.head(1)).codes) == set(crosswalk(1980).values())
