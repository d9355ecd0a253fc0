"""The Careers table: what is refused at the door, order, split by person, round trip."""

import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers, Step, split_by_person
from laborllm.survey.door import Source, careers_from_frame
from laborllm.survey.occupations import Occupations
from laborllm.text.resume import ResumeSettings, write_resumes

GOOD: dict[str, list[Any]] = {
    "person": [2, 1, 1],
    "year": [1984, 1985, 1984],
    "occupation": ["436", "313", "436"],
    "education": ["high school", None, "high school"],
    "gender": ["male", "female", "female"],
    "birth_year": [1960, 1961, 1961],
    "weight": [1.0, 2.5, 2.5],
}


def changed(**columns: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(GOOD | columns, strict=False)


def test_rows_are_sorted_and_columns_typed(five_occupations: Occupations) -> None:
    careers = careers_from_frame(pl.DataFrame(GOOD), five_occupations, survey="NLSY79")
    assert careers.table.select("person", "year", "occupation").rows() == [
        (1, 1984, "436"),
        (1, 1985, "313"),
        (2, 1984, "436"),
    ]
    assert careers.table["occupation"].dtype == five_occupations.dtype
    assert careers.table["year"].dtype == careers.table["birth_year"].dtype == pl.Int32
    assert careers.table["survey"].unique().to_list() == ["NLSY79"]
    assert careers.table["region"].null_count() == 3
    assert (careers.people, len(careers)) == (2, 3)
    assert careers.starts.tolist() == [0, 2, 3]
    assert careers.previous.tolist() == [-1, five_occupations.position["436"], -1]
    assert careers.transition.tolist() == ["first", "move", "first"]


@pytest.mark.parametrize("make", [pd.DataFrame, pa.table, pl.DataFrame])
def test_any_frame_gives_the_same_table(make: Any, five_occupations: Occupations) -> None:
    careers = careers_from_frame(make(GOOD), five_occupations)
    assert_frame_equal(careers.table, careers_from_frame(pl.DataFrame(GOOD), five_occupations).table)


def test_codes_may_be_numbers(five_occupations: Occupations) -> None:
    for codes in ([436, 313, 436], [436.0, 313.0, 436.0]):
        careers = careers_from_frame(changed(occupation=codes), five_occupations)
        assert careers.table["occupation"].to_list() == ["436", "313", "436"]


def test_ids_that_a_format_holds_as_floats_are_numbers(five_occupations: Occupations) -> None:
    assert careers_from_frame(changed(person=[10.0, 9.0, 9.0]), five_occupations).table["person"].to_list() == [
        9,
        9,
        10,
    ]
    assert careers_from_frame(changed(person=[1.5, 1.0, 1.0]), five_occupations).table["person"].dtype == pl.String


def test_other_columns_may_bear_any_name(five_occupations: Occupations) -> None:
    assert "row" not in careers_from_frame(changed(row=[7, 8, 9]), five_occupations).table.columns


def test_a_message_names_the_file_and_its_own_row(five_occupations: Occupations) -> None:
    source = Source(("a.csv", "b.csv"), (2, 1))
    with pytest.raises(LaborLLMError, match=r"^b.csv, column year, row 1: 99 is outside"):
        careers_from_frame(changed(year=[1984, 1985, 99]), five_occupations, source=source)
    with pytest.raises(LaborLLMError, match=r"^a.csv, row 2, and b.csv, row 1: person 1 has two rows for 1984"):
        careers_from_frame(changed(year=[1984, 1984, 1984]), five_occupations, source=source)
    with pytest.raises(LaborLLMError, match=r"^a.csv \+ b.csv: column 'year' is missing"):
        careers_from_frame(changed().drop("year"), five_occupations, source=source)


def test_born_in_the_year_itself_is_no_contradiction(five_occupations: Occupations) -> None:
    assert len(careers_from_frame(changed(birth_year=[1984, 1961, 1961]), five_occupations)) == 3


def test_order_of_rows_does_not_matter(few_careers: Careers, rng: np.random.Generator) -> None:
    shuffled = few_careers.table[rng.permutation(len(few_careers))]
    again = careers_from_frame(shuffled, few_careers.occupations)
    assert_frame_equal(again.table, few_careers.table)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"person": [2, None, 1]}, "column person, row 2: the value is missing (1 such rows); drop these rows"),
        ({"year": [1984, 1985, None]}, "column year, row 3: the value is missing"),
        ({"occupation": ["436", "999", "436"]}, "column occupation, row 2: code '999' is not on the list of 5"),
        ({"occupation": [436.5, 313.0, 436.0]}, "column occupation, row 1: 436.5 is no whole number"),
        ({"year": ["1984", "soon", "1984"]}, "column year, row 2: 'soon' is no whole number"),
        ({"year": [1984, 85, 1984]}, "column year, row 2: 85 is outside 1900-2100"),
        ({"birth_year": [60, 1961, 1961]}, "column birth_year, row 1: 60 is outside 1900-2100"),
        ({"birth_year": [1960.5, 1961, 1961]}, "column birth_year, row 1: 1960.5 is no whole number"),
        ({"year": [1984, 1984, 1984]}, "rows 2 and 3: person 1 has two rows for 1984 (2 such rows); keep one"),
        ({"gender": ["male", "female", "male"]}, "column gender, row 2: person 1 has both 'male' and 'female'"),
        ({"birth_year": [1960, None, 1961]}, "column birth_year, row 2: person 1 has both 1961 and None"),
        (
            {"birth_year": [1985, 1961, 1961]},
            "column birth_year, row 1: impossible years: person 2 is born in 1985, after",
        ),
        (
            {"birth_year": [1960, 1985, 1985]},
            "column birth_year, row 3: impossible years: person 1 is born in 1985, after",
        ),
        ({"education": ["", None, "x"]}, "column education, row 1: '' is blank, padded or spans lines"),
        ({"education": ["a\nb", None, "x"]}, "column education, row 1: 'a\\nb' is blank, padded or spans lines"),
        ({"weight": [-1.0, 2.0, 2.0]}, "column weight, row 1: -1.0 is no number of zero or more"),
        ({"wage": ["much", "1", "2"]}, "column wage, row 1: 'much' is no number of zero or more"),
        ({"labor_income": [0, 1, -5]}, "column labor_income, row 3: -5 is no number of zero or more"),
        ({"split": ["train", "test", "hold"]}, "column split, row 3: 'hold' is none of train, validation, test"),
        ({"split": ["train", "test", "train"]}, "column split, row 2: person 1 has both 'train' and 'test'"),
    ],
)
def test_a_bad_frame_is_refused(columns: dict[str, list[Any]], message: str, five_occupations: Occupations) -> None:
    with pytest.raises(LaborLLMError) as caught:
        careers_from_frame(changed(**columns), five_occupations, source="my.csv")
    assert str(caught.value).startswith("my.csv")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_travel_and_do_not_enter_a_resume(five_occupations: Occupations) -> None:
    bare = careers_from_frame(changed(), five_occupations)
    paid = careers_from_frame(changed(labor_income=[21_000, None, 0]), five_occupations)
    assert paid.table["labor_income"].null_count() == 1
    assert paid.table.drop("labor_income").equals(bare.table.select(paid.table.drop("labor_income").columns))
    settings = ResumeSettings()
    assert [each.text for each in write_resumes(paid, settings)] == [
        each.text for each in write_resumes(bare, settings)
    ]


def test_a_missing_column_is_named(five_occupations: Occupations) -> None:
    frame = pl.DataFrame(GOOD).rename({"occupation": "job"})
    with pytest.raises(LaborLLMError, match=r"column 'occupation' is missing; the columns are person, year, job"):
        careers_from_frame(frame, five_occupations)


def test_an_empty_frame_is_refused(five_occupations: Occupations) -> None:
    with pytest.raises(LaborLLMError, match="has no rows"):
        careers_from_frame(pl.DataFrame(GOOD).head(0), five_occupations)


def test_what_is_no_frame_is_refused(five_occupations: Occupations) -> None:
    with pytest.raises(LaborLLMError, match="list is no frame; give a polars, pandas or pyarrow table"):
        careers_from_frame([1, 2], five_occupations)


def test_parquet_round_trip(tmp_path: Path, few_careers: Careers) -> None:
    flow = (Step("read", 40, 200), Step("dropped: no interview", 3, 7, "dropped"))
    split = split_by_person(few_careers, [0.5, 0.25, 0.25], np.random.default_rng(1))
    careers = Careers(split.table, split.occupations, flow)
    careers.write(tmp_path / "careers.parquet")
    again = Careers.read(tmp_path / "careers.parquet")
    assert_frame_equal(again.table, careers.table)
    assert again.occupations == careers.occupations
    assert again.flow == flow
    assert [path.name for path in tmp_path.iterdir()] == ["careers.parquet"]


def test_files_that_hold_no_careers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"absent.parquet: cannot be read as Parquet"):
        Careers.read(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("person,year\n")
    with pytest.raises(LaborLLMError, match=r"text.parquet: cannot be read as Parquet"):
        Careers.read(tmp_path / "text.parquet")
    pl.DataFrame({"person": [1]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(LaborLLMError, match="holds no list of occupations"):
        Careers.read(tmp_path / "other.parquet")


def test_split_puts_every_person_in_one_part(few_careers: Careers) -> None:
    split = split_by_person(few_careers, [0.7, 0.1, 0.2], np.random.default_rng(1))
    parts = split.table.group_by("person").agg(pl.col("split").n_unique())
    assert parts["split"].max() == 1
    people = {name: set(split.part(name).table["person"]) for name in ("train", "validation", "test")}
    assert [len(people[name]) for name in people] == [28, 4, 8]
    assert set.union(*people.values()) == set(few_careers.table["person"])
    assert sum(len(split.part(name)) for name in people) == len(few_careers)


def test_split_follows_its_seed(few_careers: Careers) -> None:
    def by(seed: int) -> pl.DataFrame:
        return split_by_person(few_careers, [0.7, 0.1, 0.2], np.random.default_rng(seed)).table

    assert_frame_equal(by(1), by(1))
    assert not by(1).equals(by(2))


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.7, 0.2, 0.2], [1.0, 0.0, 0.0]])
def test_bad_shares_are_refused(shares: list[float], few_careers: Careers, rng: np.random.Generator) -> None:
    with pytest.raises(LaborLLMError, match="give three positive shares that sum to 1"):
        split_by_person(few_careers, shares, rng)


def test_too_few_people_to_split(five_occupations: Occupations, rng: np.random.Generator) -> None:
    careers = careers_from_frame(pl.DataFrame(GOOD), five_occupations)
    with pytest.raises(LaborLLMError, match="2 people are too few"):
        split_by_person(careers, [0.7, 0.1, 0.2], rng)


def test_a_part_before_the_split_is_refused(few_careers: Careers) -> None:
    with pytest.raises(LaborLLMError, match="not split yet"):
        few_careers.part("train")


def test_a_date_is_no_year(five_occupations: Occupations) -> None:
    frame = pl.DataFrame({"person": [1], "year": [date(1975, 4, 1)], "occupation": ["436"]})
    with pytest.raises(LaborLLMError, match=r"table, column year: is of type Date; give numbers or words"):
        careers_from_frame(frame, five_occupations)


@pytest.mark.parametrize("person", [" 1", "", "a\nb"])
def test_padded_or_blank_ids_are_refused(five_occupations: Occupations, person: str) -> None:
    frame = pl.DataFrame({"person": ["7", person], "year": [1990, 1990], "occupation": ["436", "436"]})
    with pytest.raises(
        LaborLLMError, match="table, column person, row 2: .* is blank, padded or spans lines"
    ) as raised:
        careers_from_frame(frame, five_occupations)
    assert "\n" not in str(raised.value)


def test_an_id_that_is_no_number_is_refused(five_occupations: Occupations) -> None:
    frame = pl.DataFrame({"person": [1.0, math.nan], "year": [1990, 1990], "occupation": ["436", "436"]})
    with pytest.raises(LaborLLMError, match="table, column person, row 2: nan is no id"):
        careers_from_frame(frame, five_occupations)
