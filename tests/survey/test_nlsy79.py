"""Careers from the NLSY79: every rule on small extracts, then the counts and frequencies of the real ones."""

import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers
from laborllm.survey.codebook import compare_frequencies, read_codebook
from laborllm.survey.nls import read_extract
from laborllm.survey.nlsy79 import NLSY79Settings, read_nlsy79

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
        "missing rounds: CPSOCC80 has 3 of 16 rounds; not 1984, 1985, 1986, 1987, 1988, ...": (4, 52, "noted"),
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
    rest = "1982, 1983, 1984, 1985, 1986, ..."
    assert noted(careers) == {
        "not read: 2 columns are no variable of a career in a.csv (R0898310, R9999999)": (2, 2),
        f"missing rounds: CPSOCC80 has 1 of 16 rounds; not {rest}": (2, 30),
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


def test_rounds_that_the_other_census_covers_are_not_missing(tmp_path: Path) -> None:
    eighty = [*range(1982, 1995), 1996, 1998, 2000]
    seventy = [1979, *range(1982, 1990)]
    names = [f"CPSOCC80_{year}" for year in eighty] + [f"CPSOCC70_{year}" for year in seventy]
    text = f"CASEID_1979,{','.join(names)}\n1{',404' * len(names)}\n"
    careers = read(written(tmp_path / "a.csv", text))
    assert noted(careers) == {"missing rounds: CPSOCC70 has 9 of 15 rounds; not 1980, 1981": (1, 2)}
    alone = f"CASEID_1979,{','.join(names[:16])}\n1{',404' * 16}\n"
    assert noted(read(written(tmp_path / "b.csv", alone))) == {}


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


def test_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"a.csv: no person-year has a usable occupation"):
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
    assert noted(careers) == {}
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
    table = pl.read_csv(
        Path(__file__).parents[2] / "src" / "laborllm" / "survey" / "data" / "nlsy79_variables.csv", infer_schema=False
    )
    used = set(table.filter(pl.col("concept").is_in(concepts))["reference"])
    entries = read_codebook(folder / f"{stem}.cdb")
    extract = read_extract(folder / f"{stem}.dct.zip", wanted=lambda variable: variable.reference in used)
    references = {v.column: v.reference for v in extract.variables if v.reference}
    assert set(references.values()) == used
    differences = compare_frequencies(extract.table, entries, references)
    known = TWO_REASONS[stem]
    read = {(row["reference"], row["what"]): row["read"] for row in differences.iter_rows(named=True)}
    assert read == {(name, code): known[name][i] for name in known for i, code in enumerate(("-4", "-5"))}
