"""Published rates are read as they stand, or refused with the line that is wrong."""

from pathlib import Path

import numpy as np
import pytest

from laborllm.errors import LaborLLMError
from laborllm.evaluation.published.aggregates import LINES, PublishedSettings, read_aggregates
from laborllm.survey.occupations import Occupations

GOOD = """from,to,rate,year_from,year_to,std_error,group,source
Food,Administrative support,0.04,1985,1990,0.002,,CPS
Food,unemployed,0.051,,,,gender=female,CPS
employed,any,1,1985,,,all,
313,in_education,0.01,,1990,,cohort=1960-1964,"a paper, table 2"
"""
MAPPING = "code,aggregate\n313,313\n436,kitchens\n433,kitchens\nin_education,unemployed\nunemployed,unemployed\n"


@pytest.fixture
def jobs() -> Occupations:
    """Five occupations, one of which has no broad group of its own but its code."""
    return Occupations(
        codes=("313", "436", "433", "unemployed", "in_education"),
        titles=("Secretaries", "Cooks", "Cooks, short order", "Unemployed", "In education"),
        groups=("Administrative support", "Food", "Food", "Not employed", "Not employed"),
    )


def written(folder: Path, text: str, name: str = "rates.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_file_is_read_to_the_letter(tmp_path: Path, jobs: Occupations) -> None:
    mapping = written(tmp_path, MAPPING, "soc.csv")
    found = read_aggregates(written(tmp_path, GOOD), jobs, mapping)
    assert dict(found.lines.schema) == LINES
    assert found.lines.rows() == [
        ("Food", "Administrative support", 0.04, 1985, 1990, 0.002, "all", "CPS"),
        ("Food", "unemployed", 0.051, None, None, None, "gender=female", "CPS"),
        ("employed", "any", 1.0, 1985, None, None, "all", None),
        ("313", "in_education", 0.01, None, 1990, None, "cohort=1960-1964", "a paper, table 2"),
    ]
    members = {name: np.flatnonzero(holds).tolist() for name, holds in found.members.items()}
    assert members == {
        "any": [0, 1, 2, 3, 4],
        "employed": [0, 1, 2],
        "unemployed": [3, 4],  # the mapping's takes the place of the state alone
        "in_education": [4],
        "Administrative support": [0],
        "Food": [1, 2],
        "Not employed": [3, 4],
        "313": [0],
        "kitchens": [1, 2],
    }
    assert found.notes == ()


def test_three_columns_are_enough_and_states_are_what_the_list_has(tmp_path: Path, jobs: Occupations) -> None:
    found = read_aggregates(written(tmp_path, "rate,to,from\n0,Food,any\n"), jobs)
    assert found.lines.rows() == [("any", "Food", 0.0, None, None, None, "all", None)]
    assert "not_in_labor_force" not in found.members


def test_a_mapping_says_what_it_leaves_out(tmp_path: Path, jobs: Occupations) -> None:
    mapping = written(tmp_path, "code,aggregate\n436,kitchens\n4,managers\n7,managers\n", "soc.csv")
    found = read_aggregates(written(tmp_path, "from,to,rate\nkitchens,any,1\n"), jobs, mapping)
    assert found.notes == (
        "soc.csv: 2 codes are not on the careers' list, 4, 7",
        "soc.csv: 4 occupations are in no aggregate, 313, 433, unemployed, in_education",
    )
    with pytest.raises(LaborLLMError, match="column from, row 1: 'managers' is no group here; use any, employed, "):
        read_aggregates(written(tmp_path, "from,to,rate\nmanagers,any,1\n"), jobs, mapping)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("from,to,rate\n", "has a header but no rows"),
        ("from,rate\nFood,0.1\n", "column 'to' is missing; the columns are from, rate"),
        ("from,to,rate,yera_from\nFood,any,1,1990\n", "column 'yera_from' is unknown; use from, to, rate, year_from"),
        ("from,to,rate\nFood,any\n", "row 1: has 2 values, the header has 3"),
        ("from,to,rate\nFood,any,1\n,any,1\n", "column from, row 2: a blank stands for nothing; fill it in"),
        ("from,to,rate\nFood,any,\n", "column rate, row 1: a blank stands for nothing"),
        ("from,to,rate\nFood,food,0.1\n", "column to, row 1: 'food' is no group here; use any, employed, unemployed"),
        ("from,to,rate\nnot_in_labor_force,any,1\n", "column from, row 1: 'not_in_labor_force' is no group here"),
        ("from,to,rate\nFood,any,3.2\n", r"column rate, row 1: 3\.2 is no share; give 0 … 1, 0\.032 for 3\.2 per cent"),
        ("from,to,rate\nFood,any,-0.1\n", r"column rate, row 1: -0\.1 is no share"),
        ('from,to,rate\nFood,any,"0,1"\n', "column rate, row 1: '0,1' is no number; write it with a decimal point"),
        ("from,to,rate\nFood,any,nan\n", "column rate, row 1: 'nan' is no number"),
        ("from,to,rate\nFood,any,3%\n", "column rate, row 1: '3%' is no number"),
        ("from,to,rate,std_error\nFood,any,1,-1\n", r"column std_error, row 1: -1\.0 is negative"),
        ("from,to,rate,std_error\nFood,any,1,inf\n", "column std_error, row 1: 'inf' is no number"),
        ("from,to,rate,year_from\nFood,any,1,85\n", "column year_from, row 1: '85' is no calendar year; give four"),
        ("from,to,rate,year_to\nFood,any,1,1985.5\n", r"column year_to, row 1: '1985\.5' is no calendar year"),
        ("from,to,rate,year_from,year_to\nFood,any,1,1990,1985\n", "column year_to, row 1: 1985 is before year_from"),
        (
            "from,to,rate,group\nFood,any,1,women\n",
            "column group, row 1: 'women' is no group of people; give COVARIATE=",
        ),
        ("from,to,rate,group\nFood,any,1,sex=2\n", "column group, row 1: 'sex=2' is no group of people"),
        ("from,to,rate,group\nFood,any,1,gender=\n", "column group, row 1: 'gender=' is no group of people"),
        (
            "from,to,rate\nFood,any,1\nany,Food,0.1\nFood,any,0.9\n",
            "column from, row 3: 'Food' is published a second time for the same to, years, group and source",
        ),
    ],
)
def test_every_bad_line_is_told(tmp_path: Path, jobs: Occupations, text: str, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(LaborLLMError, match=words) as caught:
        read_aggregates(path, jobs)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("code,group\n436,a\n", "column 'aggregate' is missing; the columns are code, group"),
        ("code,aggregate\n436,\n", "column aggregate, row 1: a blank stands for nothing"),
        ("code,aggregate\n436,a\n436,b\n", "column code, row 2: '436' is mapped a second time"),
        ("code,aggregate\n436,Food\n", "'Food' is also the name of a group that holds other occupations"),
        ("code,aggregate\n436,employed\n", "'employed' is also the name of a group that holds other occupations"),
        ("code,aggregate\n436,unemployed\n", "'unemployed' is also the name of a state that it does not hold"),
    ],
)
def test_every_bad_mapping_is_told(tmp_path: Path, jobs: Occupations, text: str, words: str) -> None:
    mapping = written(tmp_path, text, "soc.csv")
    with pytest.raises(LaborLLMError, match=words) as caught:
        read_aggregates(written(tmp_path, "from,to,rate\nFood,any,1\n"), jobs, mapping)
    assert str(caught.value).startswith(str(mapping))


def test_other_files_than_csv_are_refused(tmp_path: Path, jobs: Occupations) -> None:
    with pytest.raises(LaborLLMError, match=r"rates\.dta: is no \.csv; give a CSV file with the columns from, to"):
        read_aggregates(written(tmp_path, GOOD, "rates.dta"), jobs)
    with pytest.raises(LaborLLMError, match="no such file"):
        read_aggregates(tmp_path / "absent.csv", jobs)


def test_settings_are_a_file_and_perhaps_groups() -> None:
    settings = PublishedSettings.model_validate({"file": "cps.csv"})
    assert (settings.file, settings.groups) == (Path("cps.csv"), None)
