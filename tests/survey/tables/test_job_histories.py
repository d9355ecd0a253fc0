"""Job histories: one job a year, as a count of days by brute force has it; what is dropped is counted."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers, Step
from laborllm.survey.tables.job_histories import JobHistoriesSettings, one_job_a_year, read_job_histories
from laborllm.survey.tables.spell_dates import first_and_last_day

JOBHOP = """resume_id,matched_code,start_date,end_date,university_level
0,2353.1,Q3 1996,Q1 2000,Master
0,0110.10,Q1 2000,Q2 2002,Master
4,2642.1.8,,,Bachelor
4,unknown,Q2 2009,Q3 2009,Bachelor
4,1111.4,Q4 2010,,Bachelor
6,9333.8.1,Q1 2011,Q1 2010,None
"""


@pytest.fixture
def jobhop(tmp_path: Path) -> Path:
    return write(tmp_path / "jobhop.csv", JOBHOP)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def read(*files: Path, **settings: Any) -> Careers:
    return read_job_histories(JobHistoriesSettings(files=files, **settings))


def error_of(*files: Path, **settings: Any) -> str:
    with pytest.raises(LaborLLMError) as caught:
        read(*files, **settings)
    return str(caught.value)


def rows(careers: Careers, *columns: str) -> list[tuple[Any, ...]]:
    return careers.table.select("person", "year", pl.col("occupation").cast(pl.String), *columns).rows()


def test_jobhops_own_columns(jobhop: Path) -> None:
    careers = read(jobhop)
    assert rows(careers, "education") == [
        (0, 1996, "2353.1", "Master"),
        (0, 1997, "2353.1", "Master"),
        (0, 1998, "2353.1", "Master"),
        (0, 1999, "2353.1", "Master"),
        (0, 2000, "0110.10", "Master"),
        (0, 2001, "0110.10", "Master"),
        (0, 2002, "0110.10", "Master"),
        (4, 2010, "1111.4", "Bachelor"),
        (4, 2011, "1111.4", "Bachelor"),
    ]
    assert careers.occupations.codes == careers.occupations.titles == ("0110.10", "1111.4", "2353.1")
    assert [(step.what, step.people, step.person_years, step.kind) for step in careers.flow] == [
        ("read: jobs", 3, 6, "kept"),
        ("dropped: job without a code", 1, 1, "dropped"),
        ("dropped: job without a start", 1, 1, "dropped"),
        ("noted: open ends run to the end of 2011", 1, 1, "noted"),
        ("dropped: job ends before it starts", 1, 1, "dropped"),
        ("kept: the job held for most days of each year", 2, 9, "kept"),
    ]


def test_settings_of_open_ends_codes_and_words(jobhop: Path, tmp_path: Path) -> None:
    listed = write(
        tmp_path / "isco.csv", "code,title\n0110,Officers\n1111,Legislators\n2353,Language teachers\n9,Other\n"
    )
    words = {"Master": "graduate degree", "Bachelor": "college", "None": "high school"}
    careers = read(jobhop, occupations=listed, code_length=4, education=words, last_year=2010)
    assert rows(careers, "education")[-1] == (4, 2010, "1111", "college")
    assert careers.occupations.titles[2] == "Language teachers"
    assert ("recoded: codes cut to 4 characters", 5) in [(step.what, step.person_years) for step in careers.flow]
    assert error_of(jobhop, occupations=listed).startswith(
        f"{jobhop}, column matched_code, row 1: code '2353.1' is not on the list of 4 occupations"
    )
    words.pop("Bachelor")
    assert error_of(jobhop, education=words).startswith(
        f"{jobhop}, column university_level, row 5: survey.education has no word for 'Bachelor' (1 such rows)"
    )
    assert error_of(jobhop, inverted="error").startswith(
        f"{jobhop}, column end_date, row 6: the job ends before it starts (1 such rows)"
    )


def test_other_sets_and_their_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "spells.csv",
        "who,isco,from,to,sex,level\na,10,1990,1990-06-30,f,2\na,20,1990-07,Present,f,3\nb,10,03/1991,1991-12-31,m,1\n",
    )
    columns = {
        "person": "who",
        "occupation": "isco",
        "start": "from",
        "end": "to",
        "gender": "sex",
        "education": "level",
    }
    careers = read(path, columns=columns, survey="mine")
    assert rows(careers, "gender", "education") == [
        ("a", 1990, "20", "f", "3"),
        ("a", 1991, "20", "f", "3"),
        ("b", 1991, "10", "m", "1"),
    ]
    del columns["education"]
    assert read(path, columns=columns).table["education"].null_count() == 3
    assert "column 'none', which survey.columns maps to gender, is not there" in error_of(
        path, columns={**columns, "gender": "none"}
    )
    assert "maps 'wage', which is none of person, occupation, start" in error_of(path, columns={"wage": "x"})
    assert "column 'person' is missing" in error_of(path)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("Q5 1996", "column start_date, row 1: 'Q5 1996' is none of a year"),
        ("1997-02-29", "column start_date, row 1: '1997-02-29' is none of a year"),
        ("31/12/1996", "column start_date, row 1: '31/12/1996' is none of a year"),
        ("0205", "column start_date, row 1: '0205' is outside 1900-2100 (1 such rows)"),
    ],
)
def test_dates_that_are_none(start: str, message: str, jobhop: Path) -> None:
    write(jobhop, JOBHOP.replace("Q3 1996", start))
    assert error_of(jobhop).startswith(f"{jobhop}, {message}")
    assert read(jobhop, missing=("unknown", start)).people == 2


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("1996", (1996, 1, 1), (1996, 12, 31)),
        ("Q1 1996", (1996, 1, 1), (1996, 3, 31)),
        ("1997-Q4", (1997, 10, 1), (1997, 12, 31)),
        ("1997q2", (1997, 4, 1), (1997, 6, 30)),
        ("1996-02", (1996, 2, 1), (1996, 2, 29)),
        ("2/1997", (1997, 2, 1), (1997, 2, 28)),
        (" 1996-12-31 ", (1996, 12, 31), (1996, 12, 31)),
        ("1996-01-05T10:00:00Z", (1996, 1, 5), (1996, 1, 5)),
    ],
)
def test_what_a_date_covers(text: str, first: tuple[int, int, int], last: tuple[int, int, int]) -> None:
    assert first_and_last_day(pl.Series([text, None, "no"])).rows() == [
        (date(*first), date(*last)),
        (None, None),
        (None, None),
    ]


def test_dates_and_numbers_are_dates_too(tmp_path: Path) -> None:
    columns = {"resume_id": [1, 1], "matched_code": ["a", "b"]}
    days = pl.DataFrame(
        {**columns, "start_date": [date(1990, 1, 1), date(1990, 7, 3)], "end_date": [date(1990, 7, 2), None]}
    )
    days.write_parquet(tmp_path / "days.parquet")
    assert rows(read(tmp_path / "days.parquet")) == [(1, 1990, "a")]
    years = pl.DataFrame({**columns, "start_date": [1990.0, 1992.0], "end_date": [1991.0, None]})
    years.write_parquet(tmp_path / "years.parquet")
    assert rows(read(tmp_path / "years.parquet")) == [(1, 1990, "a"), (1, 1991, "a"), (1, 1992, "b")]


def test_ties_go_to_the_later_start_then_end_then_row() -> None:
    half, end = date(1990, 7, 2), date(1990, 12, 31)
    spells = pl.DataFrame(
        {
            "person": [1, 1, 2, 2, 3, 3],
            "occupation": ["late", "early", "short", "long", "first", "last"],
            "first": [half + timedelta(1), date(1990, 1, 2), date(1990, 1, 1), date(1990, 1, 1), half, half],
            "last": [end, half, end, date(1991, 1, 1), end, end],
        }
    )
    assert one_job_a_year(spells).filter(pl.col("year") == 1990)["occupation"].to_list() == ["late", "long", "last"]


def test_one_job_a_year_by_brute_force(rng: np.random.Generator) -> None:
    """Every day of every spell, counted in Python."""
    spells = []
    for row in range(400):
        first = date(1990, 1, 1) + timedelta(int(rng.integers(0, 2000)))
        spells.append((int(rng.integers(60)), row, first, first + timedelta(int(rng.integers(0, 900)))))
    days: dict[tuple[int, int], dict[int, int]] = {}
    for person, row, first, last in spells:
        for day in range((last - first).days + 1):
            counts = days.setdefault((person, (first + timedelta(day)).year), {})
            counts[row] = counts.get(row, 0) + 1
    best = {
        key: max(counts, key=lambda row: (counts[row], spells[row][2], spells[row][3], row))
        for key, counts in days.items()
    }
    frame = pl.DataFrame(spells, schema=["person", "occupation", "first", "last"], orient="row")
    chosen = one_job_a_year(frame)
    assert {(person, year): row for person, row, year in chosen.select("person", "occupation", "year").rows()} == best
    assert chosen.select("person", "year").rows() == sorted(best)


@pytest.mark.parametrize("inverted", ["drop", "error"])
def test_an_open_job_that_starts_after_the_last_year(inverted: str, tmp_path: Path) -> None:
    text = "resume_id,matched_code,start_date,end_date\n1,a,1990,1992\n1,b,1996-06,\n2,a,1995,now\n"
    careers = read(write(tmp_path / "open.csv", text), last_year=1995, inverted=inverted)
    assert [row[:3] for row in rows(careers)] == [(1, 1990, "a"), (1, 1991, "a"), (1, 1992, "a"), (2, 1995, "a")]
    assert Step("dropped: job with an open end starts after 1995", 1, 1, "dropped") in careers.flow


def test_a_missing_covariate_is_counted(tmp_path: Path) -> None:
    text = "resume_id,matched_code,start_date,end_date,university_level\n1,a,1990,1992,?\n2,a,1995,1996,Master\n"
    careers = read(write(tmp_path / "levels.csv", text), missing=["?"])
    assert careers.table["education"].to_list() == [None] * 3 + ["Master"] * 2
    assert Step("recoded: education ? is missing", 1, 1, "recoded") in careers.flow


def test_no_job_is_left(tmp_path: Path) -> None:
    path = write(tmp_path / "none.csv", "resume_id,matched_code,start_date,end_date\n1,unknown,1990,1991\n")
    assert error_of(path) == f"{path}: no job has a code, a start and an end; check survey.columns and survey.missing"


@pytest.mark.slow
def test_four_hundred_thousand_resumes(rng: np.random.Generator, tmp_path: Path) -> None:
    people = np.repeat(np.arange(400_000), rng.poisson(4.25, 400_000))
    starts = rng.integers(1965 * 4, 2020 * 4, len(people))
    ends = starts + rng.geometric(0.08, len(people))

    def quarters(times: np.ndarray) -> pl.Series:
        return pl.select(pl.format("Q{} {}", pl.Series(times % 4 + 1), pl.Series(times // 4))).to_series()

    codes = pl.Series([f"{code}.1" for code in range(1000, 4000)])[rng.integers(0, 3000, len(people))]
    columns = {"resume_id": people, "matched_code": codes, "start_date": quarters(starts), "end_date": quarters(ends)}
    pl.DataFrame(columns).write_csv(tmp_path / "large.csv")
    careers = read(tmp_path / "large.csv")
    assert careers.people == len(np.unique(people))
    assert len(careers.occupations) == 3000
