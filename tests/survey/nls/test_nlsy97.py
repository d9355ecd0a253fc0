"""Careers from the NLSY97: every rule on small extracts, then what the survey's own files say."""

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers
from laborllm.survey.nls.codebook import compare_frequencies, read_codebook
from laborllm.survey.nls.extracts import read_extract
from laborllm.survey.nls.nlsy97 import NLSY97Settings, careers_tagset, nlsy97_variables, read_nlsy97
from laborllm.survey.nls.nlsy97_weeks import week_reference
from laborllm.survey.occupations import crosswalk
from laborllm.survey.variables import question_key, read_variables

DATA = Path(__file__).parents[3] / "src" / "laborllm" / "survey" / "data"

VARIABLES = {
    "R0536300": "KEY!SEX_1997",
    "R0536402": "KEY!BDATE_Y_1997",
    "R1482600": "KEY!RACE_ETHNICITY_1997",
    "R1236101": "SAMPLING_WEIGHT_CC_1997",
    "S3805700": "CV_CENSUS_REGION_2004",
    "S5405600": "CV_CENSUS_REGION_2005",
    "S5041700": "YEMP_OCCODE-2002.01_2004",
    "S5041800": "YEMP_OCCODE-2002.02_2004",
    "S3820902": "CV_MAINJOB_FLG_2004",
    "S3820900": "CV_HRLY_PAY.01_2004",
    "S3821000": "CV_HRLY_PAY.02_2004",
    "S6783100": "YEMP_OCCODE-2002.01_2005",
    "S5421002": "CV_MAINJOB_FLG_2005",
    "S5421000": "CV_HRLY_PAY.01_2005",
    "S3808501": "CV_ENROLLSTAT_EDT_2004",
    "S5408900": "CV_ENROLLSTAT_2005",
    "S3813701": "CV_HIGHEST_DEGREE_EVER_EDT_2004",
    "S5412600": "CV_HGC_EVER_EDT_2005",
    "S5422000": "CV_INTERVIEW_DATE~D_2005",
    "S5422001": "CV_INTERVIEW_DATE~M_2005",
    "S5422002": "CV_INTERVIEW_DATE~Y_2005",
    "E0012545": "EMP_STATUS_2005.45_XRND",
}
NUMBERS, NAMES = ",".join(VARIABLES), ",".join(VARIABLES.values())
PEOPLE = """
1,1,1980,4,27217800,-4,3,4020,5700,2,700,1250,4020,1,1500,4,4,2,13,1,11,2005,200401
2,2,1984,1,19985000,1,4,-4,-4,-4,-4,-4,-4,-4,-4,10,4,0,11,1,11,2005,4
3,1,1982,2,10084900,2,-4,9830,-4,1,-4,-4,-3,-4,-4,4,4,4,-3,1,11,2005,9701
4,2,1983,3,0,-5,-5,-5,-5,-5,-5,-5,-4,-4,-4,-5,9,-5,14,1,11,2005,9701
5,1,1981,4,9780000,-4,-4,4160,-4,1,900,-4,-4,-4,-4,7,2,5,95,-4,11,2005,5
6,0,1981,4,300,1,1,-4,-4,-4,-4,-4,-4,-4,-4,3,3,1,12,1,11,2005,5
"""

FIRST = "PUBID_1997,YEMP_OCCODE-2002.01_2004"


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def extract(tmp_path: Path) -> Path:
    return written(tmp_path / "careers.csv", f"R0000100,{NUMBERS}{PEOPLE}")


def read(*files: Path, **settings: Any) -> Careers:
    return read_nlsy97(NLSY97Settings(files=files, **settings))


def rows(careers: Careers, *columns: str) -> list[tuple[Any, ...]]:
    return careers.table.with_columns(pl.col("occupation").cast(pl.String)).select(columns).rows()


def flow(careers: Careers) -> dict[str, tuple[int, int, str]]:
    return {step.what: (step.people, step.person_years, step.kind) for step in careers.flow}


def one(tmp_path: Path, header: str, values: str, **settings: Any) -> list[tuple[Any, ...]]:
    """The occupations of person 1 and of person 2, a cook."""
    empty = ",-4" * header.count(",")
    text = f"{FIRST}{header}\n1,{values}\n2,4020{empty}\n"
    return rows(read(written(tmp_path / "one.csv", text), **settings), "person", "occupation")


def test_careers(extract: Path) -> None:
    careers = read(extract, wage=True)
    white, black = "white", "black or african american"
    assert rows(careers, *careers.table.columns) == [
        (1, 2004, "313", "high school", "male", white, "south", 1980, "NLSY97", 272178.0, 12.5),
        (1, 2005, "436", "some college", "male", white, "south", 1980, "NLSY97", 272178.0, 15.0),
        (
            2,
            2004,
            "in_education",
            "less than high school",
            "female",
            black,
            "northeast",
            1984,
            "NLSY97",
            199850.0,
            None,
        ),
        (2, 2005, "unemployed", "less than high school", "female", black, "northeast", 1984, "NLSY97", 199850.0, None),
        (3, 2004, "905", "college", "male", "hispanic", "northcentral", 1982, "NLSY97", 100849.0, None),
        (4, 2005, "in_education", "some college", "female", "other", None, 1983, "NLSY97", 0.0, None),
        (5, 2005, "not_working", "graduate degree", "male", white, None, 1981, "NLSY97", 97800.0, None),
        (6, 2004, "not_working", "high school", None, white, "northeast", 1981, "NLSY97", 3.0, None),
        (6, 2005, "not_in_labor_force", "high school", None, white, "northeast", 1981, "NLSY97", 3.0, None),
    ]
    assert careers.occupations.codes[-4:] == ("unemployed", "not_in_labor_force", "in_education", "not_working")
    assert len(careers.occupations) == 4 + len(set(crosswalk(2002).values()))


def test_question_names_and_reference_numbers_mean_the_same(tmp_path: Path, extract: Path) -> None:
    names = written(tmp_path / "names.csv", f"PUBID_1997,{NAMES}{PEOPLE}")
    assert read(names, wage=True).table.equals(read(extract, wage=True).table)
    assert read(names, extract).table.equals(read(extract).table)


def test_the_flow_accounts_for_every_interview(extract: Path) -> None:
    steps = flow(read(extract, wage=True))
    assert steps == {
        "read: interview rounds with an occupation variable": (6, 12, "kept"),
        "missing rounds: the files have occupations of 2 of 21 rounds; not 1997, 1998, 1999, 2000, 2001, ...": (
            *(6, 114),
            "noted",
        ),
        "dropped: no interview (-5)": (1, 1, "dropped"),
        "interview's week: its date is unknown": (5, 6, "noted"),
        "dropped: invalid, unknown or refused occupation (-1 to -3)": (1, 1, "dropped"),
        "dropped: code maps to no occupation (Census 2002: 4160 1 times)": (1, 1, "dropped"),
        "recoded: no job (-4) to Unemployed": (1, 1, "recoded"),
        "recoded: no job (-4) to Not in labor force": (1, 1, "recoded"),
        "recoded: no job (-4) to In education": (2, 2, "recoded"),
        "recoded: no job (-4) to Not working": (2, 2, "recoded"),
        "recoded: neither Black nor Hispanic to white": (3, 5, "recoded"),
        "recoded: mixed race, not Hispanic, to other": (1, 1, "recoded"),
        "recoded: education carried forward from an earlier round": (1, 1, "recoded"),
        "recoded: region first known after the first round": (1, 2, "recoded"),
        "left missing: gender": (1, 2, "recoded"),
        "left missing: region": (2, 2, "recoded"),
        "left missing: wage of a job": (1, 1, "recoded"),
        "kept: person-years with an occupation": (6, 9, "kept"),
    }
    dropped = sum(count for _, count, kind in steps.values() if kind == "dropped")
    assert steps["read: interview rounds with an occupation variable"][1] == 9 + dropped


def test_coded_jobs_alone(extract: Path) -> None:
    careers = read(extract, states=False)
    assert rows(careers, "person", "year") == [(1, 2004), (1, 2005), (3, 2004)]
    assert not any(careers.occupations.is_state)
    assert flow(careers)["dropped: interviewed without a job (-4), states are not asked for"] == (4, 6, "dropped")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (-5, "no interview (-5)"),
        (-3, "invalid, unknown or refused occupation (-1 to -3)"),
        (-2, "invalid, unknown or refused occupation (-1 to -3)"),
        (-1, "invalid, unknown or refused occupation (-1 to -3)"),
        (9990, "code maps to no occupation (Census 2002: 9990 1 times)"),
    ],
)
def test_every_missing_code_is_counted(tmp_path: Path, code: int, reason: str) -> None:
    careers = read(written(tmp_path / "a.csv", f"{FIRST}\n1,{code}\n2,4020\n"))
    assert rows(careers, "person") == [(2,)]
    assert flow(careers)[f"dropped: {reason}"] == (1, 1, "dropped")


SOURCES = ",CV_ENROLLSTAT_EDT_2004,CV_INTERVIEW_DATE~D_2004,CV_INTERVIEW_DATE~M_2004,CV_INTERVIEW_DATE~Y_2004"
SOURCES += ",EMP_STATUS_2004.45_XRND"
DATE = {"D": 2, "M": 11, "Y": 2004}


@pytest.mark.parametrize(
    ("precedence", "code", "enrollment", "week", "occupation"),
    [
        (("job", "enrollment", "week"), 4020, 10, 4, "436"),
        (("job", "enrollment", "week"), -4, 10, 4, "in_education"),
        (("job", "enrollment", "week"), -4, 10, 9701, "in_education"),
        (("job", "enrollment", "week"), -4, 7, 4, "unemployed"),
        (("job", "enrollment", "week"), -4, -3, 5, "not_in_labor_force"),
        (("job", "enrollment", "week"), -4, 1, 2, "not_working"),
        (("job", "enrollment", "week"), -4, 1, 0, "not_working"),
        (("job", "week", "enrollment"), -4, 10, 4, "unemployed"),
        (("enrollment", "job", "week"), 4020, 8, 9701, "in_education"),
        (("enrollment", "job", "week"), 4020, 7, 4, "436"),
        (("week", "enrollment", "job"), 4020, 10, 4, "unemployed"),
        (("week", "enrollment", "job"), 4020, 10, 9701, "436"),
        (("week", "enrollment", "job"), 9830, 10, 6, "905"),
        (("week", "enrollment", "job"), 4020, 10, 0, "in_education"),
        (("week", "enrollment", "job"), 4020, 1, 0, "436"),
        (("week", "enrollment", "job"), -3, 1, 4, "unemployed"),
        (("week", "job"), 4020, 10, 5, "not_in_labor_force"),
        (("job",), -4, 10, 4, "not_working"),
    ],
)
def test_order_of_precedence(
    tmp_path: Path, precedence: tuple[str, ...], code: int, enrollment: int, week: int, occupation: str
) -> None:
    values = f"{code},{enrollment},2,11,2004,{week}"
    assert one(tmp_path, SOURCES, values, precedence=precedence)[0] == (1, occupation)


def expected_occupation(person: dict[str, int], precedence: tuple[str, ...]) -> str | None:
    """One person-year by hand: the occupation, or None where no row may stand."""
    flag = person["flag"]
    unflagged = 2 if person["first"] == -4 != person["second"] else 1
    code = {1: person["first"], 2: person["second"]}.get(flag if flag > 0 else unflagged)
    if code == -5:
        return None
    job = crosswalk(2002).get(code) if code is not None else None
    for source in precedence:
        if source == "job" and code != -4:
            return job
        if source == "enrollment" and person["enrollment"] >= 8:
            return "in_education"
        if source == "week":
            week = person["week"] if person["week"] in (1, 2, 3, 4, 5, 6, 9701, 200401) else person["before"]
            if week in (3, 6, 9701, 200401):
                return job if code != -4 else None
            if week in (1, 2, 4, 5):
                return {2: "not_working", 4: "unemployed"}.get(week, "not_in_labor_force")
    return None if code == -4 and flag > 0 else "not_working"


@pytest.mark.parametrize("precedence", [*permutations(("job", "enrollment", "week")), ("week", "job"), ("job",)])
def test_a_thousand_random_interviews_agree_with_the_rules_by_hand(
    tmp_path: Path, rng: np.random.Generator, precedence: tuple[str, ...]
) -> None:
    codes, weeks = [-5, -4, -4, -3, 4020, 5700, 9830, 4160], [-4, 0, 1, 2, 3, 4, 5, 6, 9701, 200401]
    frame = pl.DataFrame(
        {
            "PUBID_1997": np.arange(1000),
            "YEMP_OCCODE-2002.01_2004": rng.choice(codes, 1000),
            "YEMP_OCCODE-2002.02_2004": rng.choice(codes[1:], 1000),
            "CV_MAINJOB_FLG_2004": rng.choice([-4, 1, 1, 2, 3], 1000),
            "CV_ENROLLSTAT_EDT_2004": rng.choice([-3, *range(1, 12)], 1000),
            "EMP_STATUS_2004.45_XRND": rng.choice(weeks, 1000),
            "EMP_STATUS_2004.44_XRND": rng.choice(weeks, 1000),
        }
    )
    names = ["first", "second", "flag", "enrollment", "week", "before"]
    people = [dict(zip(names, row, strict=True)) for row in frame.drop("PUBID_1997").iter_rows()]
    day, month, year = (pl.lit(value).alias(f"CV_INTERVIEW_DATE~{part}_2004") for part, value in DATE.items())
    frame.with_columns(day, month, year).write_csv(tmp_path / "a.csv")
    careers = read(tmp_path / "a.csv", precedence=precedence)
    expected = {number: expected_occupation(person, precedence) for number, person in enumerate(people)}
    found = dict(rows(careers, "person", "occupation"))
    assert found == {number: occupation for number, occupation in expected.items() if occupation is not None}
    dropped = sum(step.person_years for step in careers.flow if step.kind == "dropped")
    assert len(found) + dropped == 1000


@pytest.mark.parametrize("enrollment", range(1, 12))
def test_who_is_enrolled(tmp_path: Path, enrollment: int) -> None:
    state = "in_education" if enrollment >= 8 else "not_working"
    assert one(tmp_path, ",CV_ENROLLSTAT_EDT_2004", f"-4,{enrollment}") == [(1, state), (2, "436")]


@pytest.mark.parametrize(
    ("week", "reason"),
    [
        (9701, "dropped: at work at the interview, without a coded job"),
        (3, "dropped: at work at the interview, without a coded job"),
        (6, "dropped: in the armed forces at the interview, without a coded job"),
    ],
)
def test_at_work_without_a_code_is_no_state(tmp_path: Path, week: int, reason: str) -> None:
    text = f"{FIRST}{SOURCES}\n1,-4,1,2,11,2004,{week}\n2,4020,1,2,11,2004,{week}\n"
    careers = read(written(tmp_path / "a.csv", text))
    assert rows(careers, "person") == [(2,)]
    assert flow(careers)[reason] == (1, 1, "dropped")


@pytest.mark.parametrize(
    ("precedence", "code", "employed", "occupation"),
    [
        (("job", "interview"), -4, 0, "not_working"),
        (("job", "interview"), -4, -3, "not_working"),
        (("job", "interview"), -4, 1, None),
        (("job", "interview"), 4020, 0, "436"),
        (("interview", "job"), 4020, 0, "not_working"),
        (("interview", "job"), 4020, 1, "436"),
        (("interview", "job"), 4020, -3, "436"),
    ],
)
def test_employed_on_the_day_of_the_interview(
    tmp_path: Path, precedence: tuple[str, ...], code: int, employed: int, occupation: str | None
) -> None:
    text = f"PUBID_1997,YEMP_OCCODE-2002.01_2019,CV_DOI_EMPLOYED_2019\n1,{code},{employed}\n2,5700,1\n"
    careers = read(written(tmp_path / "a.csv", text), precedence=precedence)
    assert dict(rows(careers, "person", "occupation")).get(1) == occupation


def test_jobs_that_a_state_comes_before_are_counted(tmp_path: Path) -> None:
    text = f"{FIRST}{SOURCES}\n1,4020,1,2,11,2004,4\n2,4020,1,2,11,2004,9701\n3,-4,1,2,11,2004,4\n"
    file = written(tmp_path / "a.csv", text)
    careers = read(file, precedence=("week", "job"))
    assert rows(careers, "person", "occupation") == [(1, "unemployed"), (2, "436"), (3, "unemployed")]
    assert flow(careers)["recoded: a state comes before the job of the round"] == (1, 1, "recoded")
    assert flow(careers)["recoded: no job (-4) to Unemployed"] == (1, 1, "recoded")
    careers = read(file, precedence=("week", "job"), states=False)
    assert rows(careers, "person") == [(2,)]
    assert flow(careers)["dropped: a state comes before the job, states are not asked for"] == (1, 1, "dropped")


@pytest.mark.parametrize(
    ("flag", "codes", "occupation"),
    [
        (1, "4020,5700", "436"),
        (2, "4020,5700", "313"),
        (-4, "4020,5700", "436"),
        (2, "-4,5700", "313"),
        (-4, "-4,5700", "313"),
        (-4, "-3,5700", None),
        (-4, "-4,-4", "not_working"),
        (1, "-4,5700", None),
        (2, "4020,-3", None),
        (3, "4020,5700", None),
    ],
)
def test_the_flag_says_which_job_is_the_main_one(tmp_path: Path, flag: int, codes: str, occupation: str | None) -> None:
    found = dict(one(tmp_path, ",YEMP_OCCODE-2002.02_2004,CV_MAINJOB_FLG_2004", f"{codes},{flag}"))
    assert found.get(1) == occupation


def test_a_main_job_that_the_files_lack_is_told_and_so_is_the_first_in_its_place(tmp_path: Path) -> None:
    text = f"{FIRST},CV_MAINJOB_FLG_2004\n1,4020,2\n2,4020,1\n3,4020,-4\n4,-4,-4\n"
    careers = read(written(tmp_path / "a.csv", text))
    assert rows(careers, "person") == [(2,), (3,), (4,)]
    reason = "dropped: main job is a later job of the roster, whose occupation the files lack"
    assert flow(careers)[reason] == (1, 1, "dropped")
    assert flow(careers)["recoded: main job not told (CV_MAINJOB_FLG), job 01 in its place"] == (1, 1, "recoded")


def test_without_a_flag_the_first_job_with_a_code_is_taken_and_counted(tmp_path: Path) -> None:
    text = f"{FIRST},YEMP_OCCODE-2002.02_2004\n1,-4,5700\n2,4020,5700\n3,-4,-4\n"
    careers = read(written(tmp_path / "a.csv", text))
    assert rows(careers, "person", "occupation") == [(1, "313"), (2, "436"), (3, "not_working")]
    untold = "recoded: main job not told (CV_MAINJOB_FLG)"
    assert flow(careers)[f"{untold}, job 01 in its place"] == (1, 1, "recoded")
    assert flow(careers)[f"{untold}, the first with a code in its place"] == (1, 1, "recoded")


def test_a_main_job_without_an_occupation_is_no_state_but_by_another_source(tmp_path: Path) -> None:
    text = f"{FIRST},CV_MAINJOB_FLG_2004,CV_ENROLLSTAT_EDT_2004\n1,-4,1,4\n2,-4,1,9\n3,-4,-4,4\n"
    careers = read(written(tmp_path / "a.csv", text))
    assert rows(careers, "person", "occupation") == [(2, "in_education"), (3, "not_working")]
    assert flow(careers)["dropped: main job without an occupation (-4)"] == (1, 1, "dropped")
    assert flow(careers)["recoded: main job without an occupation (-4) to a state"] == (1, 1, "recoded")
    assert flow(careers)["recoded: no job (-4) to Not working"] == (1, 1, "recoded")


@pytest.mark.parametrize(
    ("degree", "grade", "education"),
    [
        (0, 11, "less than high school"),
        (0, 12, "less than high school"),
        (1, 9, "high school"),
        (2, 12, "high school"),
        (2, 13, "some college"),
        (1, 13, "some college"),
        (0, 13, "some college"),
        (2, 16, "some college"),
        (3, 14, "some college"),
        (3, 16, "some college"),
        (4, 16, "college"),
        (4, 18, "college"),
        (5, 18, "graduate degree"),
        (6, 20, "graduate degree"),
        (7, 19, "graduate degree"),
        (2, 95, "high school"),
        (2, -3, "high school"),
        (-3, 11, "less than high school"),
        (-3, 12, "high school"),
        (-3, 15, "some college"),
        (-3, 16, "college"),
        (-3, 17, "graduate degree"),
        (-3, 95, None),
    ],
)
def test_education(tmp_path: Path, degree: int, grade: int, education: str | None) -> None:
    text = f"{FIRST},CV_HIGHEST_DEGREE_EVER_EDT_2004,CV_HGC_EVER_EDT_2004\n1,4020,{degree},{grade}\n"
    assert rows(read(written(tmp_path / "a.csv", text)), "education") == [(education,)]


def test_education_is_carried_forward_and_never_looks_ahead(tmp_path: Path) -> None:
    text = (
        "PUBID_1997,YEMP_OCCODE-2002.01_2003,YEMP_OCCODE-2002.01_2004,YEMP_OCCODE-2002.01_2005,YEMP_OCCODE-2002.01_2006,"
        "CV_HIGHEST_DEGREE_EVER_EDT_2004,CV_HGC_EVER_EDT_2005\n1,4020,4020,4020,4020,2,13\n"
    )
    careers = read(written(tmp_path / "a.csv", text))
    assert rows(careers, "year", "education") == [
        (2003, None),
        (2004, "high school"),
        (2005, "some college"),
        (2006, "some college"),
    ]
    assert flow(careers)["recoded: education carried forward from an earlier round"] == (1, 1, "recoded")
    assert flow(careers)["left missing: education"] == (1, 1, "recoded")


def test_from_which_age_on(tmp_path: Path) -> None:
    header = "PUBID_1997,KEY!BDATE_Y_1997,YEMP_OCCODE-2002.01_1997,YEMP_OCCODE-2002.01_2000"
    file = written(tmp_path / "a.csv", f"{header}\n1,1984,4020,4020\n2,-4,4020,4020\n")
    careers = read(file)
    assert rows(careers, "person", "year") == [(1, 2000), (2, 1997), (2, 2000)]
    assert flow(careers)["dropped: younger than 16"] == (1, 1, "dropped")
    assert len(read(file, youngest=13)) == 4
    assert rows(read(file, youngest=17), "person", "year") == [(2, 1997), (2, 2000)]


def test_weights(tmp_path: Path) -> None:
    text = (
        "PUBID_1997,YEMP_OCCODE-2002.01_1998,YEMP_OCCODE-2002.01_1999,R1236101,R1236201,R2600301,R2600401,R3923701\n"
        "1,4020,4020,100,200,300,400,-5\n"
    )
    file = written(tmp_path / "a.csv", text)
    weights = [(1998, 1.0), (1999, 1.0)], [(1998, 3.0), (1999, None)], [(1998, 4.0), (1999, None)]
    for whose, expected in zip(("1997", "round", "panel"), weights, strict=True):
        careers = read(file, weight=whose)
        assert rows(careers, "year", "weight") == expected
        assert not any(step.what.startswith("not read") for step in careers.flow)
    assert flow(careers)["left missing: weight"] == (1, 1, "recoded")


def test_wages(tmp_path: Path) -> None:
    header = f"{FIRST},YEMP_OCCODE-2002.02_2004,CV_MAINJOB_FLG_2004,CV_HRLY_PAY.01_2004,CV_HRLY_PAY.02_2004"
    people = (
        "1,4020,5700,2,700,1250\n2,4020,-4,1,50,900\n3,4020,-4,1,10000100,-4\n4,4020,-4,1,-3,-4\n5,-4,-4,-4,800,-4\n"
    )
    file = written(tmp_path / "a.csv", f"{header}\n{people}")
    careers = read(file, wage=True)
    assert rows(careers, "person", "wage") == [(1, 12.5), (2, None), (3, None), (4, None), (5, None)]
    steps = {what: counts for what, counts in flow(careers).items() if "wage" in what}
    assert steps == {
        "left missing: wage of a job": (1, 1, "recoded"),
        "left missing: wage below 1 dollars an hour": (1, 1, "recoded"),
        "left missing: wage above 1000 dollars an hour": (1, 1, "recoded"),
    }
    assert rows(read(file, wage=True, wage_bounds=(0.2, 2000.0)), "wage")[:2] == [(12.5,), (0.5,)]
    prices = written(tmp_path / "prices.csv", "year,price_index\n2004,100\n2010,120\n")
    assert rows(read(file, wage=True, wage_dollars=2010, prices=prices), "wage")[0] == (15.0,)
    assert "wage" not in read(file).table.columns
    without = written(tmp_path / "without.csv", f"{FIRST}\n1,4020\n")
    with pytest.raises(LaborLLMError, match=r"without.csv: no hourly rate of pay among the variables; add CV_HRLY_PAY"):
        read(without, wage=True)


def test_without_covariates_they_are_missing_and_the_flow_says_so(tmp_path: Path) -> None:
    careers = read(written(tmp_path / "a.csv", f"{FIRST}\n1,4020\n2,-4\n"))
    assert all(careers.table[name].null_count() == 2 for name in ("education", "gender", "ethnicity", "birth_year"))
    assert flow(careers)["left missing: birth_year, for which the files have no variable"] == (2, 2, "recoded")
    assert careers.occupations.codes[-1] == "not_working"


def test_a_new_round_and_another_classification_by_a_table_of_ones_own(tmp_path: Path) -> None:
    extra = "concept,year,reference,questions\noccupation_2010_01,2031,Z1234500,YEMP_OCCODE-2010.01\n"
    table = written(tmp_path / "mine.csv", f"{extra}main_job,2031,,CV_MAINJOB_FLG\n")
    text = f"{FIRST},Z1234500,CV_MAINJOB_FLG_2031\n1,4020,4020,1\n2,4020,-4,-4\n3,4020,205,1\n"
    careers = read(written(tmp_path / "a.csv", text), variables=table)
    assert rows(careers, "person", "year", "occupation")[1::2] == [
        (1, 2031, "436"),
        (2, 2031, "not_working"),
        (3, 2031, crosswalk(2010)[205]),
    ]
    assert careers.flow[1].what.startswith("missing rounds: the files have occupations of 2 of 22 rounds")


def test_an_occupation_without_a_year_is_refused(tmp_path: Path) -> None:
    extra = "concept,year,reference,questions\noccupation_2002_01,XRND,Z1234500,\n"
    table, file = written(tmp_path / "mine.csv", extra), written(tmp_path / "a.csv", "R0000100,Z1234500\n1,4020\n")
    with pytest.raises(LaborLLMError, match=r"occupation_2002_01 for the year 'XRND'"):
        read(file, variables=table)


def test_a_round_in_another_classification_is_refused(tmp_path: Path) -> None:
    people = "".join(f"{person},404\n" for person in range(1, 31))
    with pytest.raises(LaborLLMError, match=r"30 of the 30 occupation codes of 2004 map to no occupation"):
        read(written(tmp_path / "a.csv", f"{FIRST}\n{people}"))


def test_files_without_an_occupation_and_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"a.csv: no occupation among the variables; add an extract with YEMP_OCC"):
        read(written(tmp_path / "a.csv", "PUBID_1997,KEY!SEX_1997\n1,1\n"))
    with pytest.raises(LaborLLMError, match=r"b.csv: no person-year is left \(dropped: no inter"):
        read(written(tmp_path / "b.csv", f"{FIRST}{SOURCES}\n1,-5,-5,-5,-5,-5,-4\n"))


def test_files_of_the_nlsy79_are_refused(tmp_path: Path) -> None:
    label = 'infile dictionary {\n R0000100 "ID# (1-12686) 79"\n R0214800 "SEX OF R 79"\n}\n1 1\n'
    with pytest.raises(LaborLLMError, match=r"b.dct, column R0000100: the ids are CASEID, of the NLSY79, but survey"):
        read(written(tmp_path / "b.dct", label))


def test_the_weekly_history_is_no_unread_column(extract: Path) -> None:
    assert not any(step.what.startswith("not read") for step in read(extract).flow)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precedence": ["enrollment"]}, "must name job"),
        ({"precedence": ["job", "week", "week"]}, "each source once"),
        ({"precedence": ["job", "month"]}, "precedence"),
        ({"wage_dollars": 2010}, "set wage = true"),
        ({"wage": True, "prices": "prices.csv"}, "say to which year"),
        ({"wage": True, "wage_bounds": [5, 1]}, "the lower and the higher"),
        ({"youngest": -1}, "youngest"),
        ({"weight": "1998"}, "weight"),
        ({"state": True}, "state"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NLSY97Settings.model_validate({"files": ["a.csv"], **settings})


def test_the_tagset_is_that_of_the_table() -> None:
    lines = (DATA / "tagsets" / "careers.NLSY97").read_text().split()
    assert lines == careers_tagset()
    shipped = read_variables("nlsy97").rows["reference"].drop_nulls()
    assert set(shipped) <= set(lines)
    assert shipped.is_unique().all()
    weeks = [line for line in lines if line.startswith("E001")]
    assert (weeks[0], weeks[-1]) == (week_reference(1997, 1), week_reference(2022, 9))
    assert len(lines) == 1 + len(shipped) + len(weeks)


def test_the_table_of_variables_says_each_thing_once() -> None:
    shipped = read_variables("nlsy97").rows
    assert shipped.select("concept", "year").is_unique().all()
    assert set(shipped["source"]) == {"codebook", "Investigator file", "study code", "position", "name only"}
    assert shipped.filter(pl.col("reference").is_null())["source"].unique().to_list() == ["name only"]
    assert len(nlsy97_variables().meaning) == sum(
        len((row["questions"] or "").split()) + bool(row["reference"]) for row in nlsy97_variables().rows.to_dicts()
    )
    rounds = [*range(1997, 2012), *range(2013, 2024, 2)]
    table = nlsy97_variables()
    for concept in ("occupation_2002_01", "main_job", "enrollment", "grade", "region", "weight_cc", "interview_day"):
        assert table.years(concept) == [str(year) for year in rounds]


@pytest.mark.real_data
def test_occupations_are_those_of_the_codebook(real_data: Path) -> None:
    entries = read_codebook(real_data / "data" / "nlsy97" / "Occupations.cdb")
    table = read_variables("nlsy97").rows.filter(pl.col("source") == "codebook")
    assert {row["reference"] for row in table.to_dicts()} <= set(entries)
    for row in table.to_dicts():
        entry = entries[row["reference"]]
        assert (entry.year, question_key(entry.question)) == (row["year"], question_key(row["questions"]))
    occupations = {entry.reference for entry in entries.values() if entry.question.startswith("YEMP_OCCODE")}
    assert occupations == set(table.filter(pl.col("concept").str.starts_with("occupation"))["reference"])


MAPPED = {  # percent of the coded main jobs of each round that stand in groups with a mapped code
    **{"1997": 99.56, "1998": 99.27, "1999": 99.54, "2000": 99.68, "2001": 99.80, "2002": 99.70, "2003": 99.68},
    **{"2004": 99.86, "2005": 99.71, "2006": 99.51, "2007": 99.71, "2008": 99.64, "2009": 99.77, "2010": 99.82},
    "2011": 99.85,
}


@pytest.mark.real_data
def test_coded_jobs_map_to_occupations_in_every_round(real_data: Path) -> None:
    """The codebook prints groups of codes, so these are upper bounds; only "ACS special codes" lead nowhere."""
    entries = read_codebook(real_data / "data" / "nlsy97" / "Occupations.cdb")
    mapped = sorted(crosswalk(2002))
    found = {}
    for entry in (entry for entry in entries.values() if entry.question == "YEMP_OCCODE-2002.01"):
        lost = [group for group in entry.values if not any(group.low <= code <= group.high for code in mapped)]
        assert [group.low for group in lost] == [9950]
        coded = sum(group.count for group in entry.values)
        assert sum((entry.missing or {}).values()) + (entry.valid or 0) == 8984
        assert coded >= (entry.valid or 0) - 1  # 2001 and 2011 print one person more than their groups hold
        found[entry.year] = round(100 * (1 - lost[0].count / coded), 2)
    assert found == MAPPED


@pytest.mark.real_data
def test_what_the_survey_lists_is_in_the_table(real_data: Path) -> None:
    folder = real_data / "data" / "nlsy97"
    listed = {
        name for stem in ("y97_work", "y97_demographics") for name in (folder / f"{stem}.NLSY97").read_text().split()
    }
    table = read_variables("nlsy97").rows.filter(pl.col("year") <= "2015")
    for concept in ("occupation", "pay", "main_job", "weight", "interview", "sex", "race", "birth_year"):
        part = table.filter(pl.col("concept").str.starts_with(concept))
        assert part.height
        assert set(part["reference"]) <= listed


@pytest.mark.real_data
def test_frequencies_of_people_and_joins(real_data: Path, tmp_path: Path) -> None:
    people = real_data / "data" / "nlsy97" / "y97_demographics.dct.zip"
    entries = read_codebook(real_data / "data" / "nlsy97" / "Occupations.cdb")
    used = {"R0536300", "R0536402", "R1482600"}
    extract = read_extract(people, wanted=lambda variable: variable.reference in used)
    references = {variable.column: variable.reference or "" for variable in extract.variables}
    assert set(references.values()) == used
    assert compare_frequencies(extract.table, entries, references).height == 0

    ids = extract.table["person"]
    jobs = "".join(f"{person},4020\n" for person in ids)
    careers = read(written(tmp_path / "jobs.csv", f"{FIRST}\n{jobs}"), people)
    assert (careers.people, len(careers)) == (8984, 8984)
    assert careers.table["gender"].value_counts().sort("gender").rows() == [("female", 4385), ("male", 4599)]
    assert (careers.table["birth_year"].min(), careers.table["birth_year"].max()) == (1980, 1984)
    assert 18e6 < careers.table["weight"].sum() < 21e6  # youths of 12 to 16 in 1997
