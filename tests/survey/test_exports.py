"""Careers for other programs: what is exported is read again as the same careers."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.door import careers_from_frame
from laborllm.survey.exports import export_careers
from laborllm.survey.occupations import Occupations
from laborllm.survey.own_list import write_occupations
from laborllm.survey.tables.career_text import CareerTextSettings, read_career_text
from laborllm.survey.tables.tabular import TableSettings, read_table

LISTS = {
    "numbers": Occupations(("2353", "110", "0"), ("Maîtres d'école", "Офицеры", "働く人"), ("a", "", "b")),
    "texts": Occupations(("2353", "0110", "unemployed"), ("Maîtres d'école", "Офицеры", "Без работы"), ("a", "", "b")),
}


def some_careers(name: str) -> Careers:
    codes = LISTS[name].codes
    columns = {
        "person": [7, 7, 2_147_483_648, 9],
        "year": [1990, 1992, 1990, 1991],
        "occupation": [codes[0], codes[2], codes[1], codes[0]],
        "education": ["école", None, "lycée", "lycée"],
        "birth_year": [1960, 1960, None, None],
        "weight": [1.25, 0.1, None, 3.0],
        "wage": [None, None, None, 1e6],
        "labor_income": [0.0, None, 21000.5, 1e7],
    }
    return careers_from_frame(pl.DataFrame(columns), LISTS[name], survey="enquête")


def read_back(careers: Careers, path: Path) -> Careers:
    listed = path.with_name("list.csv")
    write_occupations(careers.occupations, listed)
    return read_table(TableSettings(files=(path,), occupations=listed))


@pytest.mark.parametrize("kind", [".csv", ".dta", ".parquet"])
@pytest.mark.parametrize("name", ["numbers", "texts", "few"])
def test_the_round_trip_is_exact(
    kind: str, name: str, few_careers: Careers, tmp_path: Path, rng: np.random.Generator
) -> None:
    pytest.importorskip("pandas")
    careers = split_by_person(few_careers, (0.5, 0.2, 0.3), rng) if name == "few" else some_careers(name)
    export_careers(careers, tmp_path / f"out{kind}")
    again = read_back(careers, tmp_path / f"out{kind}")
    assert again.table.equals(careers.table)
    assert again.table.schema == careers.table.schema
    assert again.occupations == careers.occupations


def test_a_path_without_extension_is_a_folder_of_text(
    few_careers: Careers, tmp_path: Path, rng: np.random.Generator
) -> None:
    careers = split_by_person(few_careers, (0.5, 0.2, 0.3), rng)
    export_careers(careers, tmp_path / "out")
    again = read_career_text(CareerTextSettings(folder=tmp_path / "out", titles=tmp_path / "out" / "occupations.csv"))
    assert len(again) == len(careers)


def test_ids_that_are_text(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    careers = some_careers("texts")
    careers = careers_from_frame(
        careers.table.with_columns(person=pl.format("p{}", "person")), careers.occupations, survey="x"
    )
    export_careers(careers, tmp_path / "out.dta")
    assert read_back(careers, tmp_path / "out.dta").table.equals(careers.table)


def test_stata_sees_labels_and_whole_numbers(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    for name, labelled in (("numbers", "occupation"), ("texts", "title")):
        path = tmp_path / f"{name}.dta"
        export_careers(some_careers(name), path)
        assert path.read_bytes().startswith(b"<stata_dta><header><release>118</release>")
        with pd.io.stata.StataReader(path) as reader:
            assert reader.variable_labels()["year"] == "Calendar year"
            assert reader.variable_labels()["labor_income"] == "Labor income of the year before, dollars a year"
            assert set(reader.value_labels()[labelled].values()) == set(LISTS[name].titles)
        frame = pd.read_stata(path)
        assert frame[labelled].tolist() == [LISTS[name].titles[place] for place in (0, 2, 0, 1)]
        raw = pd.read_stata(path, convert_categoricals=False, preserve_dtypes=True)
        assert raw["year"].dtype.kind == "i"
        assert raw["birth_year"].isna().tolist() == [False, False, True, True]
    assert raw["occupation"].tolist() == ["2353", "unemployed", "2353", "0110"]


def test_ids_that_stata_cannot_hold(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    careers = some_careers("texts")
    large = Careers(careers.table.with_columns(person=pl.col("person") + 2**53), careers.occupations)
    with pytest.raises(LaborLLMError, match="column person: .* is above 2\\^53"):
        export_careers(large, tmp_path / "out.dta")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LaborLLMError, match="extension '.xlsx' is none of .csv, .parquet, .dta; choose one of them"):
        export_careers(some_careers("texts"), tmp_path / "out.xlsx")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(LaborLLMError, match="Stata files need pandas; run `pip install laborllm.stata.`"):
        export_careers(some_careers("texts"), tmp_path / "out.dta")


def test_years_in_statas_own_format_are_read(tmp_path: Path) -> None:
    """Stata shows a %ty number as a year; pandas makes it a date."""
    pd = pytest.importorskip("pandas")
    path = tmp_path / "years.dta"
    years = pd.to_datetime(["1990-01-01", "1991-01-01"])
    frame = pd.DataFrame({"person": [1, 1], "year": years, "occupation": ["436", "313"], "birth_year": years[[0, 0]]})
    frame.to_stata(path, write_index=False, convert_dates={"year": "ty", "birth_year": "ty"})
    careers = read_table(TableSettings(files=(path,)))
    assert careers.table.select("year", "birth_year").rows() == [(1990, 1990), (1991, 1990)]
    frame["year"] = pd.to_datetime(["1990-01-01", "1991-02-01"])
    frame.to_stata(path, write_index=False, convert_dates={"year": "td", "birth_year": "ty"})
    with pytest.raises(LaborLLMError, match="column year, row 1: '1990-01-01.*' is no whole number"):
        read_table(TableSettings(files=(path,)))
