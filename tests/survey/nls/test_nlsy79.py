"""Careers from the NLSY79: every rule on small extracts, then the counts and frequencies of the real ones."""

import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers
from laborllm.survey.nls.codebook import Entry, compare_frequencies, read_codebook
from laborllm.survey.nls.cohort import by_year, concept_years, rounds_held, values_by_concept
from laborllm.survey.nls.extracts import Extract, read_extract
from laborllm.survey.nls.nlsy79 import NLSY79Settings, read_nlsy79
from laborllm.survey.occupations import map_codes
from laborllm.survey.variables import question_key, read_variables

DATA = Path(__file__).parents[3] / "src" / "laborllm" / "survey" / "data"

JOBS = """CASEID_1979,CPSOCC80_1982,CPSOCC80_1983,CPSOCC80_2000
1,404,404,313
2,-4,-5,-4
3,-3,999,-4
4,-5,-5,-5
"""

PEOPLE = """infile dictionary {
  R0000100 "ID# (1-12686) 79"
  R0000500 "DATE OF BIRTH - YR 79"
  R0214700 "RACL/ETHNIC COHORT /SCRNR 79"
  R0214800 "SEX OF R 79"
  R0216100 "SAMPLING WEIGHT 79"
  R0216400 "REGION OF CURRENT RESIDENCE 79"
  R0405700 "REGION OF CURRENT RESIDENCE 80"
  R0898201 "HIGHEST GRADE COMPLTD (REV) 82"
  R0898301 "ENROLLMT STAT MAY 1 SURVEY YR (REV) 82"
  R1145001 "HIGHEST GRADE COMPLTD (REV) 83"
  R7007300 "HIGHEST GRADE COMPLTD (REV) 2000"
}
1 57 1 2 764095 1 2 11 1 12 16
2 60 2 1 100 -4 3 12 3 -5 -4
3 64 3 2 200 4 4 95 1 -5 17
4 58 3 2 300 2 2 12 1 12 12
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    return written(tmp_path / "jobs.csv", JOBS), written(tmp_path / "people.dct", PEOPLE)


def read(*files: Path, **settings: Any) -> Careers:
    return read_nlsy79(NLSY79Settings(files=files, **settings))


def rows(careers: Careers, *columns: str) -> list[tuple[Any, ...]]:
    return careers.table.with_columns(pl.col("occupation").cast(pl.String)).select(columns).rows()


def flow(careers: Careers) -> dict[str, tuple[int, int, str]]:
    return {step.what: (step.people, step.person_years, step.kind) for step in careers.flow}


def test_jobs_come_first_then_states(files: tuple[Path, ...]) -> None:
    assert rows(read(*files), "person", "year", "occupation") == [
        (1, 1982, "436"),
        (1, 1983, "436"),
        (1, 2000, "313"),
        (2, 1982, "in_education"),
        (2, 2000, "not_working"),
        (3, 2000, "not_working"),
    ]


def test_the_flow_accounts_for_every_interview(files: tuple[Path, ...]) -> None:
    steps = flow(read(*files))
    assert steps == {
        "read: interview rounds with an occupation variable": (4, 12, "kept"),
        "missing rounds: the files have occupations of 3 of 30 rounds; not 1979, 1980, 1981, 1984, 1985, ...": (
            4,
            108,
            "noted",
        ),
        "dropped: no interview (-5)": (2, 4, "dropped"),
        "dropped: invalid, unknown or refused occupation (-1 to -3)": (1, 1, "dropped"),
        "dropped: code maps to no occupation (Census 1980: 999 1 times)": (1, 1, "dropped"),
        "recoded: no job (-4) to In education": (1, 1, "recoded"),
        "recoded: no job (-4) to Not working": (2, 2, "recoded"),
        "recoded: education carried forward from an earlier round": (1, 1, "recoded"),
        "recoded: region first known after the first round": (1, 2, "recoded"),
        "recoded: non-black, non-hispanic to white": (1, 1, "recoded"),
        "kept: person-years with an occupation": (3, 6, "kept"),
    }


def test_coded_jobs_alone(files: tuple[Path, ...]) -> None:
    careers = read(*files, states=False)
    assert rows(careers, "person", "year") == [(1, 1982), (1, 1983), (1, 2000)]
    assert not any(careers.occupations.is_state)
    assert len(careers.occupations) == 330
    assert flow(careers)["dropped: interviewed without a job (-4), states are not asked for"] == (2, 3, "dropped")


def test_the_list_holds_only_states_that_occur(files: tuple[Path, ...]) -> None:
    assert read(*files).occupations.codes[330:] == ("in_education", "not_working")


def test_covariates(files: tuple[Path, ...]) -> None:
    careers = read(*files)
    fixed = ("person", "gender", "ethnicity", "region", "birth_year", "weight", "survey")
    assert sorted(set(rows(careers, *fixed))) == [
        (1, "female", "hispanic", "northeast", 1957, 7640.95, "NLSY79"),
        (2, "male", "black or african american", "south", 1960, 1.0, "NLSY79"),
        (3, "female", "white", "west", 1964, 2.0, "NLSY79"),
    ]


def test_education_is_the_last_grade_known(files: tuple[Path, ...]) -> None:
    assert rows(read(*files), "person", "year", "education") == [
        (1, 1982, "less than high school"),
        (1, 1983, "high school"),
        (1, 2000, "college"),
        (2, 1982, "high school"),
        (2, 2000, "high school"),
        (3, 2000, "graduate degree"),
    ]


@pytest.mark.parametrize(
    ("grade", "education"),
    [
        (0, "less than high school"),
        (94, "less than high school"),
        (11, "less than high school"),
        (12, "high school"),
        (13, "some college"),
        (15, "some college"),
        (16, "college"),
        (17, "graduate degree"),
        (20, "graduate degree"),
        (95, None),
        (-3, None),
    ],
)
def test_grades(tmp_path: Path, grade: int, education: str | None) -> None:
    text = f"CASEID_1979,CPSOCC80_1982,HGCREV82_1982\n1,404,{grade}\n"
    assert rows(read(written(tmp_path / "a.csv", text)), "education") == [(education,)]


def test_education_never_looks_ahead(tmp_path: Path) -> None:
    text = "CASEID_1979,CPSOCC80_1982,CPSOCC80_1983,HGCREV83_1983\n1,404,404,12\n"
    careers = read(written(tmp_path / "a.csv", text))
    assert rows(careers, "year", "education") == [(1982, None), (1983, "high school")]
    assert flow(careers)["left missing: education"] == (1, 1, "recoded")


@pytest.mark.parametrize(
    ("question", "value", "occupation"),
    [
        ("ESR_KEY", 3, "unemployed"),
        ("ESR_KEY", 4, "not_in_labor_force"),
        ("ESR", 7, "not_in_labor_force"),
        ("ESR", 5, "in_education"),
        ("ESR_KEY", 5, "in_education"),
        ("ESR_KEY", 6, "not_in_labor_force"),
        ("ESR_COL", 2, "unemployed"),
        ("ESR_COL", 3, "not_in_labor_force"),
        ("ESR_KEY", -3, "not_working"),
    ],
)
def test_the_employment_status_recode_tells_states_apart(
    tmp_path: Path, question: str, value: int, occupation: str
) -> None:
    text = f"CASEID_1979,CPSOCC80_1982,{question}_1982\n1,-4,{value}\n2,404,1\n"
    careers = read(written(tmp_path / "a.csv", text))
    assert rows(careers, "person", "occupation") == [(1, occupation), (2, "436")]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1, "dropped: employed by status, without a coded job"),
        (8, "dropped: in the armed forces, without a coded job"),
    ],
)
def test_employed_without_a_code_is_no_state(tmp_path: Path, value: int, reason: str) -> None:
    text = f"CASEID_1979,CPSOCC80_1982,ESR_KEY_1982\n1,-4,{value}\n2,404,1\n"
    careers = read(written(tmp_path / "a.csv", text))
    assert rows(careers, "person") == [(2,)]
    assert flow(careers)[reason] == (1, 1, "dropped")


def test_enrollment_goes_before_the_status(tmp_path: Path) -> None:
    text = "CASEID_1979,CPSOCC80_1982,ESR_KEY_1982,ENROLLMTREV82_1982\n1,-4,3,2\n"
    assert rows(read(written(tmp_path / "a.csv", text)), "occupation") == [("in_education",)]


@pytest.mark.parametrize(
    ("enrollment", "recode", "collapsed", "occupation"),
    [
        (3, 3, 2, "in_education"),
        (3, 1, 1, "in_education"),
        (1, 5, 3, "in_education"),
        (-5, 5, 3, "in_education"),
        (1, 6, 2, "not_in_labor_force"),
        (1, -3, 2, "unemployed"),
        (1, -3, -3, "not_working"),
    ],
)
def test_order_of_precedence_of_states(
    tmp_path: Path, enrollment: int, recode: int, collapsed: int, occupation: str
) -> None:
    header = "CASEID_1979,CPSOCC80_1982,ENROLLMTREV82_1982,ESR_KEY_1982,ESR_COL_1982"
    careers = read(written(tmp_path / "a.csv", f"{header}\n1,-4,{enrollment},{recode},{collapsed}\n"))
    assert rows(careers, "occupation") == [(occupation,)]
    worked = written(tmp_path / "b.csv", f"{header}\n1,404,{enrollment},{recode},{collapsed}\n")
    assert rows(read(worked), "occupation") == [("436",)]  # a coded job goes before all of them


def noted(careers: Careers) -> dict[str, tuple[int, int]]:
    return {step.what: (step.people, step.person_years) for step in careers.flow if step.kind == "noted"}


def test_columns_that_nothing_describes_are_counted_and_named(tmp_path: Path) -> None:
    careers = read(written(tmp_path / "a.csv", "R0000100,R4193700,R0898310,R9999999\n1,404,1,2\n2,404,1,2\n"))
    rest = "1979, 1980, 1981, 1982, 1983, ..."
    assert noted(careers) == {
        "not read: 2 columns are no variable of a career in a.csv (R0898310, R9999999)": (2, 2),
        f"missing rounds: the files have occupations of 1 of 30 rounds; not {rest}": (2, 58),
    }
    many = ",".join(f"R98765{number:02}" for number in range(7))
    careers = read(written(tmp_path / "b.csv", f"R0000100,R4193700,{many}\n1,404{',0' * 7}\n"))
    shown = "R9876500, R9876501, R9876502, R9876503, R9876504, ..."
    assert f"not read: 7 columns are no variable of a career in b.csv ({shown})" in noted(careers)
    careers = read(written(tmp_path / "c.csv", "CASEID_1979,CPSOCC80_1993,CPSOC80_1994\n1,404,404\n"))
    assert "not read: 1 column is no variable of a career in c.csv (CPSOC80_1994)" in noted(careers)


def test_a_file_without_any_variable_of_a_career_is_told(tmp_path: Path) -> None:
    jobs = written(tmp_path / "jobs.csv", "R0000100,R4193700\n1,404\n")
    other = written(tmp_path / "other.csv", "R0000100,R0898310\n1,1\n")
    labelled = 'infile dictionary {\n  R0000100 "ID"\n  R9999999 "HEIGHT"\n}\n1 70\n'
    careers = read(jobs, other, written(tmp_path / "other.dct", labelled))
    assert [what for what in noted(careers) if what.startswith("not read")] == [
        "not read: no variable of a career in other.csv (R0898310)",
        "not read: no variable of a career in other.dct (R9999999)",
    ]
    ids = written(tmp_path / "ids.csv", "CASEID_1979\n1\n")
    assert "not read: no variable of a career in ids.csv (the id alone)" in noted(read(jobs, ids))


def test_labelled_columns_that_are_not_read_are_no_news(tmp_path: Path) -> None:
    jobs = written(tmp_path / "jobs.csv", "CASEID_1979,CPSOCC80_1993\n1,404\n")
    text = 'infile dictionary {\n  R0000100 "ID"\n  R0214800 "SEX"\n  R9999999 "HEIGHT"\n}\n1 2 70\n'
    again = "CASEID_1979,SAMPLE_SEX_1979\n1,2\n"  # another file's variable, held twice, is read all the same
    people, twice = written(tmp_path / "people.dct", text), written(tmp_path / "again.csv", again)
    assert not any(what.startswith("not read") for what in noted(read(jobs, people)))
    assert not any(what.startswith("not read") for what in noted(read(jobs, people, twice)))


ROUNDS = [*range(1979, 1995), *range(1996, 2023, 2)]


def question(year: int) -> str:
    """The name of the occupation that the reader prefers in a round."""
    return "CPSOCC70" if year < 1982 else "CPSOCC80" if year <= 2000 else "OCCALL-EMP.01"


def test_rounds_without_any_occupation_are_told(tmp_path: Path) -> None:
    names = [f"{question(year)}_{year}" for year in ROUNDS if year not in (1980, 2018)]
    codes = [4020 if name.startswith("OCCALL") and name > "OCCALL-EMP.01_2002" else 404 for name in names]
    text = f"CASEID_1979,{','.join(names)}\n1,{','.join(map(str, codes))}\n"
    told = noted(read(written(tmp_path / "a.csv", text)))
    assert told["missing rounds: the files have occupations of 28 of 30 rounds; not 1980, 2018"] == (1, 2)
    whole = text.replace("CPSOCC70_1981", "CPSOCC70_1980,CPSOCC70_1981").replace("\n1,", "\n1,1,")
    whole = whole.replace("OCCALL-EMP.01_2022", "OCCALL-EMP.01_2018,OCCALL-EMP.01_2022").replace("4020\n", "4020,10\n")
    assert not any(what.startswith("missing") for what in noted(read(written(tmp_path / "b.csv", whole))))


def test_careers_that_cross_classifications_say_so(tmp_path: Path) -> None:
    text = "CASEID_1979,CPSOCC70_1979,CPSOCC80_1982,CPSOCC80_1983\n1,1,404,404\n"
    told = noted(read(written(tmp_path / "a.csv", text)))
    assert told["classification: Census 1970 codes in 1 round (1979)"] == (1, 1)
    assert told["classification: Census 1980 codes in 2 rounds (1982, 1983)"] == (1, 2)


@pytest.mark.parametrize(
    ("name", "code", "occupation"),
    [
        ("OCCALL-EMP.01_1994", 1, "23"),  # Census 1970
        ("OCCALL-EMP.01_2002", 402, "436"),  # Census 2000, 3 digits
        ("OCCALL-EMP.01_2004", 4020, "436"),  # the same, 4 digits
        ("OCCALL_EMP.01_2022", 4020, "436"),
        ("R7209600", 402, "436"),
        ("T5256900", 4020, "436"),
        ("T8982400", 4020, "436"),
        ("OCCALL-EMP.01_2004", 402, None),  # 3 digits in a round of 4 are no code
        ("OCCALL-EMP.01_2002", 4020, None),
        ("OCCALL-EMP.01_2014", 9990, None),  # uncodeable
    ],
)
def test_each_round_has_its_classification(tmp_path: Path, name: str, code: int, occupation: str | None) -> None:
    path = written(
        tmp_path / "a.csv", f"R0000100,{name},CPSOCC80_1982\n1,{code},404\n".replace("R0000100", "CASEID_1979")
    )
    careers = read(path)
    year = int(name[-4:]) if "_" in name else {"R7209600": 2002, "T5256900": 2016, "T8982400": 2022}[name]
    expected = [(1982, "436"), *([(year, occupation)] if occupation else [])]
    assert rows(careers, "year", "occupation") == expected


def test_job_number_one_is_not_the_main_job_before_1993(tmp_path: Path) -> None:
    text = "CASEID_1979,CPSOCC80_1983,OCCALL-EMP.01_1983\n1,404,-4\n2,-4,1\n"
    careers = read(written(tmp_path / "a.csv", text))
    assert rows(careers, "person", "occupation") == [(1, "436"), (2, "not_working")]


def test_the_preferred_classification_is_a_setting(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "CASEID_1979,CPSOCC70_1982,CPSOCC80_1982,CPSOCC80_1994\n1,1,404,404\n")
    assert rows(read(path), "year", "occupation") == [(1982, "436"), (1994, "436")]
    assert rows(read(path, classifications=(1970, 1980)), "year", "occupation") == [(1982, "23"), (1994, "436")]
    assert rows(read(path, classifications=(1970,)), "year", "occupation") == [(1982, "23")]


def test_a_round_in_another_classification_is_refused(tmp_path: Path) -> None:
    lines = "".join(f"{person},{402 if person < 12 else 4020}\n" for person in range(1, 22))
    path = written(tmp_path / "a.csv", f"CASEID_1979,OCCALL-EMP.01_2004\n{lines}")
    message = (
        r"a.csv: 11 of the 21 occupation codes of 2004 map to no occupation \(Census 2002: 402 11 times\);.*variables"
    )
    with pytest.raises(LaborLLMError, match=message):
        read(path)


def test_a_new_round_comes_in_through_a_table_of_ones_own(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "CASEID_1979,MYJOB_2024,CPSOCC80_2000,T9999999\n1,4020,404,12\n")
    table = "concept,year,reference,questions\noccupation_2010,2024,,MYJOB\ngrade,2024,T99999.99,\n"
    careers = read(path, variables=written(tmp_path / "mine.csv", table))
    assert rows(careers, "year", "occupation", "education") == [(2000, "436", None), (2024, "436", "high school")]
    (missing,) = [what for what in noted(careers) if what.startswith("missing")]
    assert missing.startswith("missing rounds: the files have occupations of 2 of 31 rounds; not 1979")
    assert rows(read(path), "year") == [(2000,)]


def test_a_row_of_ones_own_table_that_fits_no_file_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "CASEID_1979,CPSOCC80_2000,T9999999\n1,404,12\n")
    table = "concept,year,reference\ngrade,2024,T9999999\nregion,2024,T9999998\nwage,2024,T9999997\n"
    careers = read(path, variables=written(tmp_path / "mine.csv", table))
    what = "not found: no file holds what survey.variables names as region of 2024, wage of 2024"
    assert noted(careers)[what] == (1, 1)


def test_census_1970_fills_the_years_without_census_1980(tmp_path: Path) -> None:
    text = "CASEID_1979,CPSOCC70_1979,CPSOCC70_1982,CPSOCC80_1982\n1,1,1,404\n"
    careers = read(written(tmp_path / "a.csv", text))
    assert rows(careers, "year", "occupation") == [(1979, "23"), (1982, "436")]


def test_reference_numbers_of_occupations(tmp_path: Path) -> None:
    careers = read(written(tmp_path / "a.csv", "R0000100,R0046400,R4193700\n1,1,404\n"))
    assert rows(careers, "year", "occupation") == [(1979, "23"), (1993, "436")]


def test_the_last_round_may_bear_its_other_name(tmp_path: Path) -> None:
    careers = read(written(tmp_path / "a.csv", "CASEID_1979,CPSOCC80.01_2000\n1,404\n"))
    assert rows(careers, "year", "occupation") == [(2000, "436")]


def test_without_covariates_they_are_missing_and_the_flow_says_so(files: tuple[Path, ...]) -> None:
    careers = read(files[0])
    assert all(careers.table[name].null_count() == len(careers) for name in ("education", "gender", "birth_year"))
    assert flow(careers)["left missing: gender, for which the files have no variable"] == (3, 6, "recoded")
    assert careers.occupations.codes[330:] == ("not_working",)


def test_order_of_files_does_not_matter(files: tuple[Path, ...]) -> None:
    assert read(*files).table.equals(read(*reversed(files)).table)


def test_two_names_of_one_variable_must_agree(tmp_path: Path, files: tuple[Path, ...]) -> None:
    other = written(tmp_path / "other.csv", "CASEID_1979,SAMPLE_SEX_1979\n1,1\n")
    with pytest.raises(LaborLLMError, match=r"column .*, person 1: .*1 such people.*keep one of the two"):
        read(*files, other)


def test_files_without_an_occupation(files: tuple[Path, ...]) -> None:
    with pytest.raises(LaborLLMError, match=r"people.dct: no occupation among the variables; add an extract with CPS"):
        read(files[1])


def test_files_of_the_nlsy97_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "PUBID_1997,CPSOCC80_1982\n1,404\n")
    with pytest.raises(LaborLLMError, match=r'a.csv, column PUBID_1997: the ids are PUBID, .*set source = "nlsy97"'):
        read(path)


def test_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"a.csv: no person-year is left \(dropped: no interview \(-5\): 1\); draw"):
        read(written(tmp_path / "a.csv", "CASEID_1979,CPSOCC80_1982\n1,-5\n"))


def test_settings_refuse_no_files_and_unknown_keys(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        NLSY79Settings(files=())
    with pytest.raises(ValidationError):
        NLSY79Settings.model_validate({"files": [tmp_path], "state": True})


def test_a_zip_of_the_people(tmp_path: Path, files: tuple[Path, ...]) -> None:
    with zipfile.ZipFile(tmp_path / "people.dct.zip", "w") as archive:
        archive.writestr("people.dct", PEOPLE)
    assert read(files[0], tmp_path / "people.dct.zip").table.equals(read(*files).table)


CODED = "CASEID_1979,CPSOCC80_1982"


@pytest.mark.parametrize(
    ("unemployed", "out", "occupation"),
    [
        (30, 22, "unemployed"),
        (10, 42, "not_in_labor_force"),
        (26, 26, "not_working"),
        (0, 0, "not_working"),
        (30, -3, "not_working"),
        (-3, 30, "not_working"),
    ],
)
def test_weeks_of_the_past_year_stand_in_for_the_status(
    tmp_path: Path, unemployed: int, out: int, occupation: str
) -> None:
    header = f"{CODED},WKSUEMP-PCY_1982,WKSOLF-PCY_1982,ESR_COL_1982"
    careers = read(written(tmp_path / "a.csv", f"{header}\n1,-4,{unemployed},{out},-3\n2,404,0,0,1\n"))
    assert rows(careers, "occupation") == [(occupation,), ("436",)]
    known = read(written(tmp_path / "b.csv", f"{header}\n1,-4,{unemployed},{out},2\n"))
    assert rows(known, "occupation") == [("unemployed",)]  # the status at the interview goes first


def test_weeks_worked_last_year_make_nobody_employed_now(tmp_path: Path) -> None:
    text = f"{CODED},WKSWK-PCY_1982\n1,-4,40\n2,-4,0\n3,404,52\n"
    careers = read(written(tmp_path / "a.csv", text))
    assert rows(careers, "occupation") == [("not_working",), ("not_working",), ("436",)]
    what = "kept without a job: weeks worked in the past calendar year, no job at the interview"
    assert noted(careers)[what] == (1, 1)


def test_employed_on_the_day_of_the_interview_is_no_state(tmp_path: Path) -> None:
    text = f"{CODED},DOI_EMPLOYED_1982,WKSUEMP-PCY_1982,WKSOLF-PCY_1982\n1,-4,1,30,0\n2,-4,0,30,0\n3,404,0,0,0\n"
    careers = read(written(tmp_path / "a.csv", text))
    assert rows(careers, "person", "occupation") == [(2, "unemployed"), (3, "436")]
    assert flow(careers)["dropped: employed by status, without a coded job"] == (1, 1, "dropped")


@pytest.mark.parametrize(
    ("precedence", "occupation"),
    [
        (("enrollment", "status"), "in_education"),
        (("status", "enrollment"), "unemployed"),
        (("weeks", "enrollment", "status"), "not_in_labor_force"),
        (("status_collapsed",), "not_working"),
        ((), "not_working"),
    ],
)
def test_a_study_may_change_the_precedence(tmp_path: Path, precedence: tuple[str, ...], occupation: str) -> None:
    header = f"{CODED},ENROLLMTREV82_1982,ESR_1982,WKSUEMP-PCY_1982,WKSOLF-PCY_1982"
    path = written(tmp_path / "a.csv", f"{header}\n1,-4,2,3,1,51\n")
    assert rows(read(path, precedence=precedence), "occupation") == [(occupation,)]


def test_a_recent_job_counts_unless_current_ones_are_asked_for(tmp_path: Path) -> None:
    header = f"{CODED},ESR_1982,ESR_COL_1982,DOI_EMPLOYED_1982,ENROLLMTREV82_1982,HRP1_1982"
    people = [
        "404,1,1,1,2",
        "404,3,2,1,1",
        "404,-3,3,0,1",
        "404,-3,-3,0,1",
        "404,-3,-3,-3,3",
        "404,8,4,0,1",
        "-4,5,3,0,1",
    ]
    lines = "".join(f"{person},{values},500\n" for person, values in enumerate(people, start=1))
    path = written(tmp_path / "a.csv", f"{header}\n{lines}")
    assert rows(read(path), "occupation") == [("436",)] * 6 + [("in_education",)]
    careers = read(path, jobs="current", wage=True)
    assert rows(careers, "occupation", "wage") == [
        ("436", 5.0),  # works and studies
        ("unemployed", None),
        ("not_in_labor_force", None),
        ("not_working", None),
        ("436", 5.0),  # nothing says that the job is lost; enrollment does not
        ("436", 5.0),
        ("in_education", None),
    ]
    steps = flow(careers)
    assert steps["recoded: job not held at the interview to the state then"] == (3, 3, "recoded")
    assert steps["kept: job of which the files do not say whether it is held at the interview"] == (1, 1, "noted")
    jobs = read(path, jobs="current", states=False)
    assert rows(jobs, "person") == [(1,), (5,), (6,)]
    assert flow(jobs)["dropped: job not held at the interview, states are not asked for"] == (3, 3, "dropped")
    by_day = read(path, jobs="current", precedence=("interview",))
    assert rows(by_day, "person", "occupation")[1:4] == [(2, "436"), (3, "not_working"), (4, "not_working")]


def test_a_lost_job_is_no_job_where_a_weaker_rule_says_employed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", f"{CODED},DOI_EMPLOYED_1982,ESR_1982,ESR_COL_1982\n1,404,0,1,2\n2,404,0,1,1\n")
    rules = ("interview", "status", "status_collapsed")
    assert rows(read(path, jobs="current", precedence=rules), "occupation") == [("unemployed",), ("not_working",)]


PAID = """CASEID_1979,CPSOCC80_1982,CPSOCC80_2000,HRP1_1982,HRP1_2000,CPSHRP_1982
1,404,404,500,1000,525
2,404,-4,600,700,-4
3,404,404,0,3333433,-4
4,404,404,-4,-3,-4
"""


def test_wages_are_cents_of_the_main_job(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", PAID)
    assert "wage" not in read(path).table.columns
    careers = read(path, wage=True)
    assert rows(careers, "person", "year", "wage") == [
        (1, 1982, 5.25),  # the CPS job's goes before that of job #1
        (1, 2000, 10.0),
        (2, 1982, 6.0),
        (2, 2000, None),  # no job, no wage
        (3, 1982, None),
        (3, 2000, None),
        (4, 1982, None),
        (4, 2000, None),
    ]
    steps = flow(careers)
    assert steps["left missing: wage below 1 dollars an hour"] == (1, 1, "recoded")
    assert steps["left missing: wage above 1000 dollars an hour"] == (1, 1, "recoded")
    assert steps["left missing: wage of a job"] == (1, 2, "recoded")
    wide = read(path, wage=True, wage_bounds=(0, 50_000))
    assert rows(wide, "wage")[4:6] == [(0.0,), (33334.33,)]


def test_wages_in_dollars_of_one_year(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", PAID)
    careers = read(path, wage=True, wage_dollars=2000)
    assert rows(careers, "wage")[:2] == [(5.25 * 172.2 / 96.5,), (10.0,)]
    assert flow(careers)["recoded: wage to dollars of 2000 (prices.csv)"] == (2, 3, "recoded")
    prices = written(tmp_path / "mine.csv", "year,price_index\n1982,50\n2000,100\n")
    assert rows(read(path, wage=True, wage_dollars=1982, prices=prices), "wage")[:2] == [(5.25,), (5.0,)]


def test_wages_that_are_not_there(files: tuple[Path, ...]) -> None:
    with pytest.raises(LaborLLMError, match=r"jobs.csv, people.dct: no hourly rate of pay.*add HRP1"):
        read(*files, wage=True)


def test_weights_of_each_round(tmp_path: Path) -> None:
    text = f"{CODED},CPSOCC80_1983,SAMPWEIGHT_1979,SAMPWEIGHT_1982,SAMPWEIGHT_1983\n1,404,404,100,200,-5\n"
    path = written(tmp_path / "a.csv", text)
    assert rows(read(path), "weight") == [(1.0,), (1.0,)]
    careers = read(path, weight="round")
    assert rows(careers, "weight") == [(2.0,), (None,)]
    assert flow(careers)["left missing: weight"] == (1, 1, "recoded")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precedence": ["weeks", "weeks"]}, "names one twice"),
        ({"precedence": ["luck"]}, "precedence"),
        ({"classifications": []}, "classifications"),
        ({"classifications": [1980, 1980]}, "names one twice"),
        ({"wage_dollars": 2000}, "set wage = true"),
        ({"wage": True, "prices": "prices.csv"}, "say to which year"),
        ({"wage": True, "wage_bounds": [5, 2]}, "lower and the higher"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NLSY79Settings.model_validate({"files": ["a.csv"], **settings})


def test_a_codebook_that_names_another_question_is_believed(tmp_path: Path) -> None:
    jobs = written(tmp_path / "a.csv", "R0000100,R0828000,R0945300\n1,404,404\n")
    line = "{}  {}    SOME WORDS                            {}    \n"
    written(tmp_path / "a.sdf", line.format("R08280.00", 1982, "HEIGHT") + line.format("R09453.00", 1983, "CPSOCC80"))
    careers = read(jobs)
    assert rows(careers, "year") == [(1983,)]
    what = "not read: the codebook gives another question name (R0828000 is HEIGHT, not CPSOCC80); check the table of"
    assert any(told.startswith(what) for told in noted(careers))


def test_the_tagset_is_the_table(tmp_path: Path) -> None:
    lines = (DATA / "tagsets" / "careers.NLSY79").read_text().splitlines()
    table = read_variables("nlsy79")
    assert lines == table.tagset("R0000100")
    assert len(lines) == len(set(lines)) == 1 + table.rows["reference"].drop_nulls().len()
    # an extract drawn with it reads: every column is known, every round has an occupation
    text = f"{','.join(lines)}\n{','.join(['1', *['-5'] * (len(lines) - 1)])}\n"
    extract = read_extract(written(tmp_path / "a.csv", text))
    assert all(concept_years(variable, table) for variable in extract.header)
    concepts = [f"occupation_{census}" for census in (1970, 1980, 2000, 2002)]
    held = {year for concept in concepts for year in rounds_held(extract, table, concept)}
    assert held == {str(year) for year in ROUNDS}


def test_the_table_has_a_source_for_every_number() -> None:
    table = read_variables("nlsy79").rows
    numbered = table.filter(pl.col("reference").is_not_null())
    assert set(numbered["source"]) == {"codebook", "Investigator file", "study code"}
    assert set(table.filter(pl.col("reference").is_null())["source"]) == {"name only"}
    assert numbered["reference"].is_unique().all()
    assert numbered["reference"].str.contains(r"^[RT]\d{7}$").all()
    assert not table.select("concept", "year").is_duplicated().any()


@pytest.fixture(scope="module")
def real_files(real_data: Path) -> tuple[Path, ...]:
    folder = real_data / "data" / "nlsy79"
    return tuple(folder / name for name in ("cpsocc80.csv", "y79_demographicsV2.dct.zip", "y79_schoolV2.dct.zip"))


@pytest.mark.real_data
def test_counts_of_coded_jobs(real_files: tuple[Path, ...]) -> None:
    careers = read(*real_files[:2], states=False)
    assert (careers.people, len(careers)) == (12044, 134439)
    assert len(careers.occupations) == careers.table["occupation"].n_unique() == 330
    dropped = [step for step in careers.flow if step.kind == "dropped"]
    assert [step.person_years for step in dropped] == [42020, 603, 158, 25756]
    assert "Census 1980: 999 43 times, 590 26 times" in dropped[2].what
    assert careers.flow[0].person_years == 12686 * 16 == len(careers) + sum(step.person_years for step in dropped)


@pytest.mark.real_data
def test_careers_with_states(real_files: tuple[Path, ...]) -> None:
    careers = read(*real_files)
    assert (careers.people, len(careers)) == (12565, 160195)
    rest = "not 1979, 1980, 1981, 2002, 2004, ..."
    what = f"missing rounds: the files have occupations of 16 of 30 rounds; {rest}"
    assert noted(careers) == {what: (12686, 12686 * 14)}
    counts = dict(careers.table["occupation"].value_counts().iter_rows())
    assert (counts["in_education"], counts["not_working"]) == (2978, 22778)
    assert careers.table["education"].null_count() == 5
    assert careers.table["region"].null_count() == 8
    for name in ("gender", "ethnicity", "birth_year", "weight"):
        assert careers.table[name].null_count() == 0
    assert careers.table["birth_year"].is_between(1957, 1964).all()


# In the round of 2000, data and codebook of one extract tell valid skip from no interview differently for one or two
# people (awk on the raw file counts what we count). Both mean that there is no value.
TWO_REASONS = {
    "y79_demographicsV2": {"R7006800": (61, 4651)},
    "y79_schoolV2": {"R7007300": (0, 4654), "R7007400": (0, 4654)},
}


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("stem", "concepts"),
    [
        ("y79_demographicsV2", ("sex", "race", "birth_year", "weight", "region")),
        ("y79_schoolV2", ("grade", "enrollment")),
    ],
)
def test_frequencies_of_every_variable_used(real_data: Path, stem: str, concepts: tuple[str, ...]) -> None:
    folder = real_data / "data" / "nlsy79"
    entries = read_codebook(folder / f"{stem}.cdb")
    table = read_variables("nlsy79").rows.filter(pl.col("concept").is_in(concepts))
    used = set(table.filter((pl.col("year") <= "2014") | (pl.col("year") == "78SCRN"))["reference"])
    extract = read_extract(folder / f"{stem}.dct.zip", wanted=lambda variable: variable.reference in used)
    references = {v.column: v.reference for v in extract.variables if v.reference}
    assert set(references.values()) == used
    differences = compare_frequencies(extract.table, entries, references)
    assert all(question_key(entries[name].question) in read_variables("nlsy79").questions[name] for name in used)
    known = TWO_REASONS[stem]
    read = {(row["reference"], row["what"]): row["read"] for row in differences.iter_rows(named=True)}
    if stem == "y79_demographicsV2":  # in 1993, those who were not interviewed have a weight of zero in place of -5
        assert read.pop(("R4417400", "-5")) == 0
    assert read == {(name, code): known[name][i] for name in known for i, code in enumerate(("-4", "-5"))}


@pytest.fixture(scope="module")
def codebooks(real_data: Path) -> dict[str, Entry]:
    """Every variable that some codebook of the NLSY79 at hand describes."""
    folder = real_data / "data" / "nlsy79"
    files = ("original", "y79_demographicsV2", "y79_schoolV2", "investigator_2016/NLS_79")
    files = (*files, "investigator_2020/NLSY79_supplement1")
    return {name: entry for file in files for name, entry in read_codebook(folder / f"{file}.cdb").items()}


@pytest.mark.real_data
def test_numbers_from_a_codebook_stand_there(codebooks: dict[str, Entry]) -> None:
    table = read_variables("nlsy79").rows
    for concept, year, reference, questions, source in table.iter_rows():
        if source != "codebook" or reference == "R4193700":  # CPSOCC80 of 1993: in none of those at hand now
            continue
        entry = codebooks[reference]
        keys = [question_key(question) for question in questions.split()]
        assert (question_key(entry.question) in keys, entry.year) == (True, year), (concept, reference)
        if concept.startswith("occupation"):
            digits = "4 DIGIT" if int(year) >= 2004 else "3 DIGIT"
            census = "70 " if concept.endswith("1970") else "00 "
            assert digits in entry.title, entry.title
            assert census in entry.title, entry.title


@pytest.fixture(scope="module")
def few_hundred(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """686 people over all rounds to 2014, with the codebook under the extract's name."""
    folder, source = tmp_path_factory.mktemp("original"), real_data / "data" / "nlsy79"
    (folder / "original.csv").symlink_to(source / "original-8.csv")
    (folder / "original.cdb").symlink_to(source / "original.cdb")
    return folder / "original.csv"


@pytest.fixture(scope="module")
def few_hundred_read(few_hundred: Path) -> Extract:
    return read_extract(few_hundred, wanted=lambda variable: "OCC" in (variable.question or ""))


AGREEMENT = {
    1982: (474, 0.863),
    1983: (492, 0.843),
    1984: (497, 0.859),
    1985: (427, 0.864),
    1986: (427, 0.885),
    1987: (425, 0.892),
    1988: (432, 0.748),
    1989: (434, 0.802),
    1990: (430, 0.816),
    1991: (185, 0.816),
    1992: (185, 0.703),
    1993: (178, 0.775),
    1994: (178, 0.725),
    1996: (191, 0.796),
    1998: (188, 0.745),
    2000: (165, 0.758),
}
"""Year -> people with a code in both classifications, and the share whose codes lead to the same occ1990dd code; Census
1970 codes are those of the CPS item to 1993 and of job #1 from 1994."""


@pytest.mark.real_data
def test_census_1970_and_1980_tell_the_same_careers(few_hundred_read: Extract, real_files: tuple[Path, ...]) -> None:
    table = read_variables("nlsy79")
    seventy = by_year(values_by_concept(few_hundred_read, table), "occupation_1970")
    eighty = by_year(values_by_concept(read_extract(real_files[0]), table), "occupation_1980")
    pairs = seventy.join(eighty, on=["person", "year"])
    pairs = pairs.with_columns(
        ours=map_codes(pairs["occupation_1970"], 1970), theirs=map_codes(pairs["occupation_1980"], 1980)
    )
    found = {}
    for (year,), part in pairs.sort("year").group_by("year", maintain_order=True):
        both = part.drop_nulls(["ours", "theirs"])
        assert part.height == 686
        assert ((part["occupation_1970"] >= 0) == (part["occupation_1980"] >= 0)).mean() >= 0.98, year
        found[year] = (both.height, round(float((both["ours"] == both["theirs"]).mean() or 0), 3))
    assert found == AGREEMENT


@pytest.mark.real_data
def test_careers_over_all_rounds(few_hundred: Path, real_data: Path, real_files: tuple[Path, ...]) -> None:
    folder = real_data / "data" / "nlsy79"
    later = (folder / "investigator_2016" / "NLS_79.csv", folder / "investigator_2020" / "NLSY79_supplement1.csv")
    careers = read(few_hundred, *real_files, *later, wage=True, wage_dollars=2000, weight="round")
    told = noted(careers)
    assert not any("another question" in what for what in told)
    assert [what for what in told if what.startswith("missing")] == [
        "missing rounds: the files have occupations of 27 of 30 rounds; not 2018, 2020, 2022"
    ]
    assert [what.split(" codes")[0] for what in told if what.startswith("classification")] == [
        "classification: Census 1970",
        "classification: Census 1980",
        "classification: Census 2000",
        "classification: Census 2002",
    ]
    jobs = careers.table.filter(~pl.col("occupation").cast(pl.String).is_in(("not_working", "in_education")))
    counts = dict(jobs.group_by("year").len().iter_rows())
    assert set(counts) == {year for year in ROUNDS if year <= 2016}
    assert counts[2016] == 5323 - 10  # 10 codes lead nowhere
    wages = jobs.filter(pl.col("year").is_in((1979, 2012)))["wage"].drop_nulls()
    assert 200 < len(wages) < 500
    assert 5 < float(wages.median() or 0) < 20


@pytest.mark.real_data
@pytest.mark.parametrize("year", [1980, 1994, 1996, 1998, 2000, 2002, 2004, 2006, 2008, 2010, 2012, 2014])
def test_codes_of_job_number_one_fit_their_classification(few_hundred_read: Extract, year: int) -> None:
    extract = few_hundred_read
    (column,) = [v.column for v in extract.variables if (v.question, v.year) == ("OCCALL-EMP.01", str(year))]
    codes = extract.table.filter(pl.col(column) >= 0)[column]
    right = 1970 if year <= 2000 else 2000 if year == 2002 else 2002
    fit = {census: 1 - map_codes(codes, census).null_count() / len(codes) for census in (1970, 1980, 2000, 2002, 2010)}
    assert fit[right] >= (0.95 if right == 1970 else 0.99)  # Census 1970 code 280 leads nowhere
    assert max(share for census, share in fit.items() if census != right) < 0.9
