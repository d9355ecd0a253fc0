"""What both NLS readers share: values by concept and year, and lines of the flow that account for every row."""

from pathlib import Path

import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Step
from laborllm.survey.nls import cohort
from laborllm.survey.nls.extracts import Extract, Variable, read_extracts
from laborllm.survey.variables import VariableTable

TABLE = VariableTable(
    pl.DataFrame(
        [
            ("job", "1990", "R0000001", "JOB"),
            ("job", "1991", "R0000002", "JOB OLD-JOB"),
            ("other_job", "1992", "R0000003", "OTHER"),
            ("grade", "XRND", None, "HGC"),
        ],
        schema=["concept", "year", "reference", "questions"],
        orient="row",
    )
)


def extract(tmp_path: Path, **files: str) -> Extract:
    paths = []
    for name, text in files.items():
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text(text)
    return read_extracts(paths)


@pytest.mark.parametrize(
    ("reference", "question", "year", "found"),
    [
        ("R0000001", None, None, {("job", "1990")}),
        (None, "job", "1990", {("job", "1990")}),
        (None, "OLD_JOB", "1991", {("job", "1991")}),
        ("R0000001", "JOB", "1990", {("job", "1990")}),
        ("R0000001", "HEIGHT", "1990", set()),  # the codebook says that the number is something else
        ("R0000002", "JOB", "1990", {("job", "1990"), ("job", "1991")}),
        ("R0000009", "HEIGHT", "1990", set()),
    ],
)
def test_what_a_variable_measures(
    reference: str | None, question: str | None, year: str | None, found: set[tuple[str, str]]
) -> None:
    variable = Variable("X", reference=reference, question=question, year=year)
    assert cohort.concept_years(variable, TABLE) == found


def test_values_stand_in_long_form(tmp_path: Path) -> None:
    both = extract(
        tmp_path, a="CASEID_1979,R0000001,HEIGHT_1990\n1,10,70\n2,-4,71\n", b="CASEID_1979,OLD-JOB_1991\n2,20\n3,-5\n"
    )
    values = cohort.values_by_concept(both, TABLE)
    assert values.sort("year", "person").rows() == [
        (1, "job", "1990", 10),
        (2, "job", "1990", -4),
        (2, "job", "1991", 20),
        (3, "job", "1991", -5),
    ]
    assert cohort.by_year(values, "job").schema["year"] == pl.Int32
    assert cohort.has(values, "job")
    assert not cohort.has(values, "grade")


def test_two_columns_of_one_variable_must_agree(tmp_path: Path) -> None:
    text = "CASEID_1979,JOB_1991,OLD-JOB_1991\n1,10,11\n"
    with pytest.raises(LaborLLMError, match=r"a.csv, column OLD-JOB_1991, person 1: 11, but .*a.csv, column JOB_1991"):
        cohort.values_by_concept(extract(tmp_path, a=text), TABLE)


def test_a_concept_that_varies_needs_calendar_years(tmp_path: Path) -> None:
    values = cohort.values_by_concept(extract(tmp_path, a="CASEID_1979,HGC_XRND\n1,12\n"), TABLE)
    with pytest.raises(LaborLLMError, match="has grade for the year 'XRND'; grade varies by year"):
        cohort.by_year(values, "grade")


PEOPLE = pl.DataFrame({"person": [1, 1, 2], "year": [1990, 1991, 1990]}, schema_overrides={"year": pl.Int32})


def test_rounds_that_the_files_lack(tmp_path: Path) -> None:
    one = extract(tmp_path, a="CASEID_1979,JOB_1990\n1,10\n")
    (step,) = cohort.missing_rounds(one, TABLE, concepts=("job", "other_job"), rows=PEOPLE)
    what = "missing rounds: the files have occupations of 1 of 3 rounds; not 1991, 1992"
    assert step == Step(what, people=2, person_years=4, kind="noted")
    assert cohort.rounds_held(one, TABLE, "job") == {"1990"}
    whole = extract(tmp_path, a="CASEID_1979,JOB_1990,JOB_1991,OTHER_1992\n1,1,1,1\n")
    assert cohort.missing_rounds(whole, TABLE, concepts=("job", "other_job"), rows=PEOPLE) == []


def test_the_first_known_value_is_the_persons() -> None:
    values = pl.DataFrame(
        [(1, "region", "1990", -5), (1, "region", "1991", 2), (1, "region", "1992", 1), (2, "region", "1990", 1)],
        schema=["person", "concept", "year", "value"],
        orient="row",
    )
    words = {1: "east", 2: "west"}
    assert sorted(cohort.first_words(values, "region", name="place", words=words).rows()) == [(1, "west"), (2, "east")]
    assert cohort.first_known_later(PEOPLE, values, concept="region", allowed=list(words)) == [
        Step("recoded: region first known after the first round", 1, 2, "recoded")
    ]
    gaps = PEOPLE.with_columns(place=pl.lit(None), sex=pl.lit("male"))
    assert cohort.left_missing(gaps, values, {"place": "region", "sex": "sex"}) == [
        Step("left missing: place", 2, 3, "recoded")
    ]
    assert cohort.left_missing(gaps, values, {"place": "area"}) == [
        Step("left missing: place, for which the files have no variable", 2, 3, "recoded")
    ]


def test_files_and_columns_that_are_not_read(tmp_path: Path) -> None:
    both = extract(tmp_path, a="CASEID_1979,JOB_1990,HEIGHT_1990\n1,1,1\n", b="CASEID_1979,HEIGHT_1991\n1,1\n")
    steps = cohort.unread(both, TABLE, rows=PEOPLE, files=[tmp_path / "a.csv", tmp_path / "b.csv"])
    assert [step.what for step in steps] == [
        "not read: 1 column is no variable of a career in a.csv (HEIGHT_1990)",
        "not read: no variable of a career in b.csv (HEIGHT_1991)",
    ]
