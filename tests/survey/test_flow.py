"""Lines of the sample flow, and the closed list that the codes of a sample reach."""

import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Step
from laborllm.survey.flow import (
    carried_forward,
    carried_steps,
    closed_list,
    first_names,
    require_classified,
    sift,
    step,
    unmapped_codes,
)
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


def test_the_first_reason_that_holds_drops_a_row() -> None:
    rows = pl.DataFrame({"person": [1, 1, 2, 3], "x": [-5, -3, None, 7]})
    kept, steps = sift(rows, [("none", pl.col("x") == -5), ("low", pl.col("x") < 0), ("never", pl.lit(False))])
    assert kept["x"].to_list() == [None, 7]  # a null is no reason
    assert steps == [Step("dropped: none", 1, 1, "dropped"), Step("dropped: low", 1, 1, "dropped")]


def test_a_value_is_carried_forward_and_never_back() -> None:
    rows = pl.DataFrame({"person": [2, 1, 1, 1], "year": [1990, 1992, 1990, 1991]}, schema_overrides={"year": pl.Int32})
    known = pl.DataFrame(
        {"person": [1, 1, 2], "year": [1992, 1991, 1991], "level": ["b", "a", "c"]}, schema_overrides={"year": pl.Int32}
    )
    carried = carried_forward(rows, known, "level")
    assert carried.rows() == [
        (1, 1990, None, None),
        (1, 1991, "a", 1991),
        (1, 1992, "b", 1992),
        (2, 1990, None, None),
    ]
    later = carried.with_columns(year=pl.col("year") + 1)
    assert carried_steps(later, "level") == [
        Step("recoded: level carried forward from an earlier round", 1, 2, "recoded")
    ]
    assert carried_steps(carried, "level") == []


@pytest.mark.parametrize(("strange", "refused"), [(10, False), (11, True)])
def test_a_round_most_of_whose_codes_are_unknown_is_refused(strange: int, refused: bool) -> None:
    jobs = [None] * strange + ["436"] * (20 - strange)
    rows = pl.DataFrame({"year": 1990, "census": 1980, "code": [7] * 20, "job": pl.Series(jobs, dtype=pl.String)})
    few = rows.head(strange).head(19).with_columns(year=1991)
    if not refused:
        require_classified(pl.concat([rows, few]), "a.csv")
        return
    message = r"a.csv: 11 of the 20 occupation codes of 1990 map to no occupation \(Census 1980: 7 11 times\)"
    with pytest.raises(LaborLLMError, match=message):
        require_classified(pl.concat([rows, few]), "a.csv")
