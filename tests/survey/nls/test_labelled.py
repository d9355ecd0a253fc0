"""Words beside codes, long and wide."""

from pathlib import Path

import pytest

from laborllm.survey.nls.codebook import Codebook, read_codebook
from laborllm.survey.nls.extracts import Extract, read_extract, read_extracts
from laborllm.survey.nls.labelled import labelled, long_form
from tests.survey.nls.examples import CODEBOOK, DICTIONARY


@pytest.fixture
def extract(tmp_path: Path) -> Extract:
    (tmp_path / "a.dct").write_text(DICTIONARY)
    (tmp_path / "a.cdb").write_text(CODEBOOK)
    return read_extract(tmp_path / "a.dct")


@pytest.fixture
def book(tmp_path: Path, extract: Extract) -> Codebook:
    return read_codebook(tmp_path / "a.cdb")


def test_long_form(extract: Extract, book: Codebook) -> None:
    assert long_form(extract, book).rows() == [
        (1, "1979", "SAMPLE_SEX", 1, "MALE"),
        (2, "1979", "SAMPLE_SEX", -5, "no interview"),
        (3, "1979", "SAMPLE_SEX", 2, "FEMALE, WHOSE LABEL RUNS ON"),
        (1, "1979", "HGCREV79", 9, "0-11 SCHOOL"),
        (2, "1979", "HGCREV79", -5, "no interview"),
        (3, "1979", "HGCREV79", 12, None),
    ]


def test_long_form_without_words(extract: Extract) -> None:
    assert long_form(extract)["label"].null_count() == 6


def test_wide_form(extract: Extract, book: Codebook) -> None:
    assert labelled(extract, book).rows() == [
        (1, "MALE", "0-11 SCHOOL"),
        (2, "no interview", "no interview"),
        (3, "FEMALE, WHOSE LABEL RUNS ON", "12"),
    ]


def test_people_who_are_not_in_a_file_have_no_row(tmp_path: Path, extract: Extract, book: Codebook) -> None:
    (tmp_path / "b.csv").write_text("R0000100,R0009900\n4,1\n")
    both = read_extracts([tmp_path / "a.dct", tmp_path / "b.csv"])
    assert long_form(both, book)["person"].to_list() == [1, 2, 3, 1, 2, 3, 4]
    assert labelled(both, book).row(3) == (4, None, None, "1")


def test_a_missing_code_within_a_range_keeps_its_meaning(tmp_path: Path) -> None:
    """Some printed ranges begin far below zero ("-999 TO 1979")."""
    (tmp_path / "a.cdb").write_text(CODEBOOK.replace("           0 TO 11:", "        -999 TO 11:"))
    (tmp_path / "a.dct").write_text(DICTIONARY.replace("1 1 9", "1 1 -7"))
    extract = read_extract(tmp_path / "a.dct")
    assert labelled(extract, read_codebook(tmp_path / "a.cdb"))["R0216701"].to_list() == [
        "0-11 SCHOOL",
        "no interview",
        "12",
    ]
