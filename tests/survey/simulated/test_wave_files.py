"""Wave files: each of the three set-ups says where the digits of the text file stand."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.simulated.wave_files import write_wave

FAMILIES = 250
LABELS = {
    "V8202": "1982 INTERVIEW NUMBER",
    "V8380": "B5 MAIN OCC:3 DIGIT (H-E)",
    "V197_A": "Y/N: CODED AFTERWARDS",
    "ER12221E": "CURRENT REGION",
    "V8728": "1982 FAMILY WEIGHT",
    "V8693": "HEAD'S INCOME, WITH A LOSS",
}


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    rng = np.random.default_rng(2)
    columns = [
        rng.permutation(FAMILIES) + 1,
        rng.integers(0, 996, FAMILIES),
        rng.integers(0, 2, FAMILIES),
        rng.integers(1, 6, FAMILIES),
        (rng.integers(0, 90_000, FAMILIES) - 200) / 1000,
        rng.integers(-99_999, 9_999_999, FAMILIES),
    ]
    return pl.DataFrame(dict(zip(LABELS, columns, strict=True)))


@pytest.fixture(scope="module")
def paths(table: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_wave(table, LABELS, tmp_path_factory.mktemp("wave"), name="FAM1982", title="1982 made-up families")


def positions(setup: Path) -> dict[str, tuple[int, int]]:
    """Name -> first and last character, as a set-up's list of positions has them."""
    text = setup.read_text()
    start = {".sps": "DATA LIST", ".do": "infix", ".sas": "INPUT"}[setup.suffix]
    end = {".sps": "EXECUTE", ".do": "using", ".sas": "RUN"}[setup.suffix]
    found = re.findall(r"(\w+)\s+(\d+) - (\d+)", text[text.index(start) : text.index(end)])
    return {name: (int(first), int(last)) for name, first, last in found}


@pytest.mark.parametrize("place", [1, 2, 3])
def test_the_digits_stand_where_each_set_up_says(table: pl.DataFrame, paths: list[Path], place: int) -> None:
    places = positions(paths[place])
    assert list(places) == table.columns
    lines = paths[0].read_text().splitlines()
    assert len(lines) == FAMILIES
    for name, (first, last) in places.items():
        read = np.array([float(line[first - 1 : last]) for line in lines])
        np.testing.assert_array_equal(read, table[name].to_numpy())
    assert {len(line) for line in lines} == {last}
    assert f"LRECL = {last}" in paths[1].read_text()
    assert f"LRECL = {last}" in paths[3].read_text()


def test_every_set_up_says_what_a_variable_is(paths: list[Path]) -> None:
    for path in paths[1:]:
        found = set(re.findall(r'"([^"]*)"', path.read_text()))
        assert found == set(LABELS.values())


def test_decimals_are_declared_and_written(paths: list[Path]) -> None:
    assert "V8728 (F6.3)" in paths[1].read_text()
    assert re.search(r"double V8728 ", paths[2].read_text())
    assert re.search(r"long V8693 ", paths[2].read_text())
    assert re.search(r'"1982 FAMILY WEIGHT"\s+format=f6\.3', paths[3].read_text())
    first, last = positions(paths[1])["V8728"]
    assert all(re.fullmatch(r" *-?\d+\.\d{3}", line[first - 1 : last]) for line in paths[0].read_text().splitlines())


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("OCCUPATION", [1], "no variable of the PSID"),
        ("V1", [1], "label None is missing"),
        ("V8380", [None], "give numbers in every row"),
        ("V8380", ["1"], "give numbers in every row"),
        ("V8380", [], "with 0 rows"),
    ],
)
def test_what_no_wave_file_can_hold_is_refused(tmp_path: Path, column: str, values: list, message: str) -> None:
    table = pl.DataFrame({column: values})
    with pytest.raises(LaborLLMError, match=message):
        write_wave(table, LABELS, tmp_path, name="FAM1982", title="families")
    assert not list(tmp_path.iterdir())
