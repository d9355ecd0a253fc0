"""Codebooks: what is found in them, and their figures against a table's."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.nls.codebook import Codebook, ValueCount, compare_frequencies, compare_lines, read_codebook
from laborllm.survey.nls.extracts import read_extract
from tests.survey.nls.examples import CODEBOOK, DICTIONARY, SHORT, codebook, known_table, zipped


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def book(tmp_path: Path) -> Codebook:
    return read_codebook(written(tmp_path / "a.cdb", CODEBOOK))


def test_a_codebook_is_parsed(book: Codebook) -> None:
    assert list(book) == ["R0000100", "R0214800", "R0216701"]
    sex, grade = book["R0214800"], book["R0216701"]
    assert sex.values == (ValueCount(1, 1, "MALE", 1), ValueCount(2, 2, "FEMALE, WHOSE LABEL RUNS ON", 1))
    assert (sex.title, sex.year, sex.valid, sex.total, sex.people) == ("SEX OF R", "1979", 2, 2, 3)
    assert sex.missing == {-1: 0, -2: 0, -3: 0, -4: 0, -5: 1}
    assert (sex.original_question, sex.universe, sex.text) == ("S01Q02", "All those asked", "IS R MALE OR FEMALE?")
    assert (sex.primary, sex.lead_in, sex.default_next) == (True, "R00001.00[Default]", "R02167.01")
    assert grade.values == (ValueCount(0, 11, "0-11 SCHOOL", 1), ValueCount(12, 12, "", 1))
    assert (grade.minimum, grade.maximum, grade.mean) == (9, 12, 10.5)
    assert grade.lead_in == "R02148.00[Default] R02147.00[1:1] R00005.00[Default]"
    assert book["R0000100"].values == ()
    assert book["R0000100"].valid is None
    assert book.people == 3


def test_a_short_description_is_parsed(tmp_path: Path) -> None:
    short = read_codebook(written(tmp_path / "a.sdf", SHORT))
    race = short["R0214700"]
    title = "R'S RACIAL/ETHNIC COHORT FROM SCREENER"
    assert (race.question, race.year, race.title) == ("SAMPLE_RACE", "78SCRN", title)
    assert short.people is None
    assert compare_lines(pl.Series([1, 2]), race).is_empty()


def test_a_codebook_is_read_out_of_a_zip(tmp_path: Path, book: Codebook) -> None:
    path = zipped(tmp_path / "a.zip", {"a.dct": b"", "a.sdf": SHORT.encode(), "a.cdb": CODEBOOK.encode()})
    assert read_codebook(path) == book


@pytest.mark.parametrize("text", ["highest GRADE", "hgcrev", "R0216701", "r02167.01"])
def test_variables_are_found(book: Codebook, text: str) -> None:
    assert book.find(text).rows() == [("R0216701", "HGCREV79", "1979", "HIGHEST GRADE COMPLETED")]


def test_variables_are_found_by_their_universe(book: Codebook) -> None:
    assert book.find("those asked")["reference"].to_list() == ["R0214800"]
    assert book.find("no such words").columns == ["reference", "question", "year", "title"]


def test_labels_of_values_ranges_and_missing_codes(book: Codebook) -> None:
    labels = book.labels("R0216701")
    assert labels.row(0) == (0, 11, "0-11 SCHOOL")
    assert labels["low"].to_list() == [0, -1, -2, -3, -4, -5]
    with pytest.raises(LaborLLMError, match="a.cdb: has no variable R9999999; look it up with find"):
        book.labels("R9999999")


def test_equal_frequencies_leave_no_row(tmp_path: Path, book: Codebook) -> None:
    table = read_extract(written(tmp_path / "b.dct", DICTIONARY)).table
    same = compare_frequencies(table, book, {"person": "R0000100", "R0214800": "R0214800", "R0216701": "R0216701"})
    assert same.height == 0
    assert same.columns == ["column", "reference", "what", "printed", "read"]


def test_every_difference_of_frequencies_is_a_row(book: Codebook) -> None:
    differences = compare_frequencies(pl.DataFrame({"sex": [1, 3, -4]}), book, {"sex": "R0214800"})
    assert differences.select("what", "printed", "read").rows() == [
        ("2", 1.0, 0.0),
        ("other", 0.0, 1.0),
        ("-4", 0.0, 1.0),
        ("-5", 1.0, 0.0),
    ]


def test_every_printed_figure_is_compared(book: Codebook) -> None:
    lines = compare_lines(pl.Series([9, 12, -5]), book["R0216701"])
    kinds = ["-1", "-2", "-3", "-4", "-5", "total", "minimum", "maximum", "mean"]
    assert lines["what"].to_list() == ["0 TO 11", "12", "other", "valid", *kinds]
    assert lines["printed"].to_list() == lines["read"].to_list()


def test_nobody_with_a_value(book: Codebook) -> None:
    lines = compare_lines(pl.Series([-4, -4, -5]), book["R0216701"])
    assert dict(lines.select("what", "read").iter_rows())["mean"] is None
    assert dict(lines.select("what", "read").iter_rows())["0 TO 11"] == 0


@pytest.mark.parametrize(
    ("values", "mean"),
    [([1, 2], 1.5), ([0] * 7 + [1], 0.13), ([0, 0, 1], 0.33), ([-1_000] * 7 + [-1_001], -1000.13), ([6, 7] * 500, 6.5)],
)
def test_means_are_rounded_to_two_decimals_halves_up(book: Codebook, values: list[int], mean: float) -> None:
    """0.125 is printed as .13; the binary number would be rounded to the even .12."""
    lines = compare_lines(pl.Series(values), book["R0216701"])
    assert dict(lines.select("what", "read").iter_rows())["mean"] == mean


def test_comparing_what_is_not_there(book: Codebook) -> None:
    with pytest.raises(LaborLLMError, match="column 'x' is not in the table"):
        compare_frequencies(pl.DataFrame({"sex": [1]}), book, {"x": "R0214800"})
    with pytest.raises(LaborLLMError, match="variable R9999999 is not in the codebook"):
        compare_frequencies(pl.DataFrame({"sex": [1]}), book, {"sex": "R9999999"})


def test_figures_agree_with_a_count_by_hand(tmp_path: Path) -> None:
    table = known_table(people=500, seed=3)
    book = read_codebook(written(tmp_path / "a.cdb", codebook(table)))
    assert book.people == 500
    for entry, column in zip(book.values(), table.T, strict=True):
        assert compare_lines(pl.Series(column), entry).filter(pl.col("printed").ne_missing(pl.col("read"))).is_empty()
        for line in entry.values:
            assert line.count == np.count_nonzero(column == line.low)


BAD = {
    "empty.cdb": ("some text\n", "describes no variable; give the .cdb or .sdf"),
    "sum.cdb": (
        CODEBOOK.replace("       1       1 MALE", "      90       1 MALE"),
        "row 37: the frequencies of R02148.00 sum to 91, the codebook says 2",
    ),
    "total.cdb": (CODEBOOK.replace("TOTAL =========>       2", "TOTAL =========>       1"), "2 valid values by its"),
    "twice.cdb": (CODEBOOK.replace("R02148.00  ", "R00001.00  "), "describes R0000100 twice"),
    "before.cdb": ("x\n" + CODEBOOK, "row 1: 'x' stands before the first heading of a variable"),
    "heading.cdb": (CODEBOOK.replace("R02148.00  ", "R02148  "), "row 18: 'R02148"),
    "value.cdb": (CODEBOOK.replace("       1       1 MALE", "       1       x MALE"), "is no count, value and label"),
    "missing.cdb": (CODEBOOK.replace("Don't Know(-2)         0", "Don't Know(-2)         x"), "no missing code"),
    "range.cdb": (CODEBOOK.replace("Max:              3", "Max:              x"), "is no 'Min:', 'Max:' and 'Mean:'"),
    "rule.cdb": (CODEBOOK.replace("  -------\n", ""), "are figures of R02148.00 that stand alone"),
    "cut.cdb": (CODEBOOK[: CODEBOOK.rindex("TOTAL")], "are figures of R02167.01 that stand alone"),
    "next.cdb": (CODEBOOK[: CODEBOOK.rindex("Default")], "R02167.01 is cut off before 'Default Next Question:'"),
    "more.cdb": (CODEBOOK + "-" * 80 + "\n", "the file ends where another variable should follow"),
    "null.cdb": (CODEBOOK.replace("MALE", "M\0LE"), "row 27: holds a null byte"),
    "line.sdf": (SHORT + "R02148.00  1979\n", "row 8: 'R02148.00  1979' is no reference number, year"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_codebooks_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    text, message = BAD[name]
    with pytest.raises(LaborLLMError) as caught:
        read_codebook(written(tmp_path / name, text))
    assert str(caught.value).startswith(str(tmp_path / name))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_codebook(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"none.cdb: there is no such file"):
        read_codebook(tmp_path / "none.cdb")


def test_letters_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.cdb"
    path.write_bytes(CODEBOOK.replace("RUNS ON", "SE\xd1ORA").encode("latin-1"))
    assert read_codebook(path)["R0214800"].values[1].label == "FEMALE, WHOSE LABEL SE\xd1ORA"
    path.write_bytes(CODEBOOK.encode("utf-16"))
    with pytest.raises(LaborLLMError, match="is UTF-16 text"):
        read_codebook(path)
