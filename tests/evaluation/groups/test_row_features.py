"""Features know the past and the covariates, never the occupation that is predicted."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from laborllm.evaluation.groups.row_features import FIRST_ROW, MISSING, RowFeature, row_features, rule_in_words
from laborllm.survey.careers import Careers
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations


def by_name(careers: Careers, training: Careers) -> dict[str, RowFeature]:
    return {feature.name: feature for feature in row_features(careers, training)}


def with_occupation(careers: Careers, occupation: np.ndarray) -> Careers:
    codes = pl.Series("occupation", [careers.occupations.codes[place] for place in occupation])
    return replace(careers, table=careers.table.with_columns(codes.cast(careers.occupations.dtype)))


def test_no_feature_sees_the_occupation_of_its_own_row_or_of_a_later_one(
    few_careers: Careers, rng: np.random.Generator
) -> None:
    cut = rng.integers(0, np.diff(few_careers.starts))  # a row of each person, from which on jobs are other ones
    place = np.arange(len(few_careers)) - few_careers.starts[:-1][few_careers.person_of_row]
    future = place >= cut[few_careers.person_of_row]
    drawn = (few_careers.occupation + rng.integers(1, 5, len(few_careers))) % 5
    changed = with_occupation(few_careers, np.where(future, drawn, few_careers.occupation))
    as_known = place <= cut[few_careers.person_of_row]
    before, after = by_name(few_careers, few_careers), by_name(changed, few_careers)
    assert before.keys() == after.keys()
    for name, feature in before.items():
        np.testing.assert_array_equal(feature.codes[as_known], after[name].codes[as_known], err_msg=name)
    assert not np.array_equal(before["tenure"].codes, after["tenure"].codes, equal_nan=True)


def test_features_are_what_a_loop_over_people_finds(few_careers: Careers) -> None:
    jobs = few_careers.occupations
    training = few_careers.first_people(20)
    counts = training.table["occupation"].cast(pl.String).value_counts()
    frequency = dict(counts.iter_rows())
    wanted: dict[str, list] = {name: [] for name in ("tenure", "title_length", "occupation_frequency", "gap")}
    wanted |= {"previous": [], "history_length": []}
    for _, rows in few_careers.table.group_by("person", maintain_order=True):
        years, codes = rows["year"].to_list(), rows["occupation"].cast(pl.String).to_list()
        for now in range(len(years)):
            wanted["history_length"].append(now)
            if not now:
                for name in ("tenure", "title_length", "occupation_frequency", "gap", "previous"):
                    wanted[name].append(np.nan)
                continue
            held, begin = codes[now - 1], now - 1
            while begin and codes[begin - 1] == held:
                begin -= 1
            wanted["tenure"].append(years[now] - years[begin])
            wanted["title_length"].append(len(jobs.titles[jobs.position[held]]))
            wanted["occupation_frequency"].append(frequency.get(held, 0))
            wanted["gap"].append(years[now] - years[now - 1])
            wanted["previous"].append(float(held in ("unemployed", "in_education")))
    found = by_name(few_careers, training)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name].codes, values, err_msg=name)
        assert found[name].absent == (MISSING if name == "history_length" else FIRST_ROW)


def test_covariates_keep_a_level_for_what_is_missing_and_education_its_order(few_careers: Careers) -> None:
    found = by_name(few_careers, few_careers)
    assert "survey" not in found  # the same in every row
    region = found["region"]
    assert [region.label(code) for code in region.distinct] == ["south", "missing"]
    assert np.isnan(region.codes).sum() == few_careers.table["region"].null_count() > 0
    education = found["education"]
    assert education.ordered
    assert [education.label(code) for code in education.distinct] == ["high school", "some college"]
    own_words = replace(few_careers, table=few_careers.table.with_columns(education=pl.lit("Abitur")))
    mixed = own_words.table.with_columns(education=pl.when(pl.col("person") < 9).then("education"))
    own = by_name(replace(few_careers, table=mixed), few_careers)["education"]
    assert not own.ordered
    assert [own.label(code) for code in own.distinct] == ["Abitur", "missing"]


def test_careers_without_covariates_or_second_rows_have_few_features(five_occupations: Occupations) -> None:
    frame = pl.DataFrame({"person": [1, 2, 3], "year": [1980, 1980, 1981], "occupation": "436"})
    careers = careers_from_frame(frame, five_occupations)
    assert list(by_name(careers, careers)) == ["year"]


@pytest.mark.parametrize(
    ("tenure", "previous", "words"),
    [
        ([1, 1, 1, 1], [1, 1, 1], "everybody"),
        ([1, 1, 0, 1], [1, 1, 1], "tenure ≤ 2 or first row"),
        ([0, 1, 0, 0], [1, 1, 1], "tenure = 2"),
        ([0, 0, 1, 0], [1, 1, 1], "tenure ≥ 3"),
        ([0, 0, 0, 1], [1, 1, 1], "first row"),
        ([0, 0, 1, 1], [0, 0, 1], "first row"),
        ([1, 1, 1, 0], [1, 1, 1], "not first row"),
        ([1, 1, 0, 1], [1, 0, 0], "tenure ≤ 2 and previous = a job"),
        ([1, 1, 0, 1], [0, 1, 1], "(tenure ≤ 2 or first row) and previous ≠ a job"),
        ([1, 1, 1, 1], [1, 1, 0], "not first row"),
    ],
)
def test_rules_say_what_they_ask_once(tenure: list[int], previous: list[int], words: str) -> None:
    years = RowFeature("tenure", np.array([1, 2, 3, np.nan]), absent=FIRST_ROW)
    kind = RowFeature("previous", np.array([0, 1, np.nan]), ("a job", "a state"), ordered=False, absent=FIRST_ROW)
    assert rule_in_words([years, kind], [np.array(tenure) > 0, np.array(previous) > 0]) == words


def test_rules_over_words_and_missing_numbers() -> None:
    levels = ("high school", "some college", "college")
    education = RowFeature("education", np.array([0, 1, 2, np.nan]), levels)
    birth = RowFeature("birth_year", np.array([1960, 1961, np.nan]))
    everything = np.ones(4, dtype=bool), np.ones(3, dtype=bool)
    for education_allowed, birth_allowed, words in (
        ([0, 0, 1, 0], everything[1], "education = college"),
        ([0, 1, 1, 0], everything[1], "education ≥ some college"),
        ([1, 0, 0, 0], everything[1], "education = high school"),
        ([1, 1, 1, 0], [1, 0, 1], "education known and (birth year ≤ 1960 or missing)"),
        ([0, 0, 0, 1], [0, 0, 1], "education: missing and birth year: missing"),
    ):
        allowed = [np.array(education_allowed) > 0, np.array(birth_allowed) > 0]
        assert rule_in_words([education, birth], allowed) == words
