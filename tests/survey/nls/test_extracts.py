"""Extracts of the NLS Investigator: every format, joins, every kind of bad input."""

import zipfile
from pathlib import Path

import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.nls.codebook import read_codebook
from laborllm.survey.nls.extracts import codebook_beside, read_extract, read_extracts
from tests.survey.nls.examples import CODEBOOK, DICTIONARY, codebook, known_table, texts
from tests.survey.nls.examples import written as laid


def zipped(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("_dot_", "."), text)
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_csv_with_reference_numbers(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", '\ufeff"R0000100","R0214800"\r\n2,1\r\n1,-5\r\n')
    extract = read_extract(path)
    assert extract.table.rows(named=True) == [{"person": 1, "R0214800": -5}, {"person": 2, "R0214800": 1}]
    assert extract.variables[0].reference == "R0214800"
    assert extract.table.dtypes == [pl.Int64, pl.Int64]


def test_a_csv_with_question_names(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "CPSOCC80_1982,CASEID_1979,SAMPLE_RACE_78SCRN\n313,1,3\n")
    extract = read_extract(path)
    assert extract.table.columns == ["person", "CPSOCC80_1982", "SAMPLE_RACE_78SCRN"]
    assert [(v.question, v.year) for v in extract.variables] == [("CPSOCC80", "1982"), ("SAMPLE_RACE", "78SCRN")]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_dictionary_zipped_or_not(tmp_path: Path, line_end: str) -> None:
    text = DICTIONARY.replace("\n", line_end)
    plain = tmp_path / "plain.dct"
    plain.write_bytes(text.encode())
    packed = zipped(tmp_path / "packed.dct.zip", packed_dot_dct=text)
    for path in (plain, packed):
        extract = read_extract(path)
        assert extract.table.rows() == [(1, 1, 9), (2, -5, -5), (3, 2, 12)]
        assert extract.variables[0].label == "SEX OF R 79"


def test_only_the_wanted_columns_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.dct", DICTIONARY.replace("1 1 9", "1 x 9"))
    extract = read_extract(path, wanted=lambda variable: variable.reference == "R0216701")
    assert extract.table.columns == ["person", "R0216701"]
    assert len(extract.variables) == 1


@pytest.mark.parametrize("stem", ["a.dct", "a.dct.zip", "a.zip"])
def test_the_codebook_beside_gives_names_and_years(tmp_path: Path, stem: str) -> None:
    path = tmp_path / stem
    if stem.endswith("zip"):
        zipped(path, a_dot_dct=DICTIONARY)
    else:
        written(path, DICTIONARY)
    written(tmp_path / "a.cdb", CODEBOOK)
    sex = read_extract(path).variables[0]
    assert (sex.question, sex.year, sex.label) == ("SAMPLE_SEX", "1979", "SEX OF R")


def test_the_codebook_gives_a_question_name_its_reference_number(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "CASEID_1979,HGCREV79_1979\n1,12\n")
    codebook = written(tmp_path / "other.cdb", CODEBOOK)
    assert read_extract(path, codebook=codebook).variables[0].reference == "R0216701"


def test_extracts_join_on_the_id(tmp_path: Path) -> None:
    left = written(tmp_path / "left.csv", "CASEID_1979,CPSOCC80_1982\n1,313\n2,436\n")
    right = written(tmp_path / "right.csv", "R0000100,R0214800\n3,2\n2,1\n")
    extract = read_extracts([left, right])
    assert extract.table.rows() == [(1, 313, None), (2, 436, 1), (3, None, 2)]
    assert [variable.column for variable in extract.variables] == ["CPSOCC80_1982", "R0214800"]


def test_the_same_variable_in_two_extracts_is_kept_once(tmp_path: Path) -> None:
    left = written(tmp_path / "left.csv", "R0000100,R0214800\n1,1\n2,2\n")
    right = written(tmp_path / "right.dct", DICTIONARY.replace("2 -5 -5", "2 2 -5"))
    extract = read_extracts([left, right])
    assert extract.table.rows() == [(1, 1, 9), (2, 2, -5), (3, 2, 12)]


def test_the_same_variable_under_two_kinds_of_header(tmp_path: Path) -> None:
    left = written(tmp_path / "left.csv", "CASEID_1979,SAMPLE_SEX_1979\n1,1\n")
    right = written(tmp_path / "right.dct", DICTIONARY)
    written(tmp_path / "right.cdb", CODEBOOK)
    assert read_extracts([left, right]).table.columns == ["person", "SAMPLE_SEX_1979", "R0216701"]


def test_the_same_variable_with_different_values_is_refused(tmp_path: Path) -> None:
    left = written(tmp_path / "left.csv", "R0000100,R0214800\n1,2\n")
    right = written(tmp_path / "right.dct", DICTIONARY)
    with pytest.raises(LaborLLMError) as caught:
        read_extracts([left, right])
    assert str(caught.value) == (
        f"{right}, column R0214800, person 1: 1, but {left}, column R0214800 says 2 (1 such people); keep one of the "
        f"two extracts' variables"
    )


BAD_TEXT = {
    "empty.csv": ("", "the file is empty; draw the extract again"),
    "empty.dct": ("", "the file is empty"),
    "header.csv": ("R0000100,R0214800\n", "has a header but no rows"),
    "no_id.csv": ("R0214800,R0216701\n1,2\n", "no column holds the id; the columns are R0214800, R0216701"),
    "name.csv": ("R0000100,R00214800\n1,2\n", "column 2: 'R00214800' is neither a reference number (R0000100) nor"),
    "question.csv": ("CASEID_1979,CPSOCC80\n1,2\n", "column 2: 'CPSOCC80' is neither a reference number"),
    "twice.csv": ("R0000100,R0214800,R0214800\n1,2,2\n", "column 3: 'R0214800' stands twice in the header"),
    "text.csv": ("R0000100,R0214800\n1,2\n2,male\n", "column R0214800, row 2: 'male' is no whole number"),
    "decimal.csv": ("R0000100,R0214800\n1,2.5\n", "column R0214800, row 1: '2.5' is no whole number"),
    "blank.csv": ("R0000100,R0214800\n1,\n", "column R0214800, row 1: '' is no whole number"),
    "huge.csv": (f"R0000100,R0214800\n1,{10**20}\n", "column R0214800, row 1: '100000000000000000000' is no"),
    "few.csv": ("R0000100,R0214800\n1,2\n2\n", "row 2: has 1 values for 2 columns; the file is cut off"),
    "many.csv": ("R0000100,R0214800\n1,2,3\n", "row 1: has 3 values for 2 columns"),
    "ids.csv": ("R0000100,R0214800\n1,2\n2,2\n1,1\n", "column R0000100, rows 1 and 3: id 1 stands twice"),
    "no_one.csv": ("R0000100,R0214800\n1,2\n-5,2\n", "column R0000100, row 2: -5 is no id, but says that a value is"),
    "few.dct": (DICTIONARY + "4 1\n", "row 4: has 2 values for 3 columns"),
    "text.dct": (DICTIONARY.replace("1 1 9", "1 1 A"), "column R0216701, row 2: 'A' is no whole number"),
    "cut.dct": (DICTIONARY[:60], "is no variable with its label"),
    "brace.dct": (DICTIONARY.split("}")[0], "the dictionary is cut off before its closing brace"),
    "other.dct": ("a b c\n", "row 1: 'a b c' is no 'infile dictionary'"),
    "data.dat": ("1 2 3\n", "nothing beside it names its columns; put the .sps, .dct, .sdf file of the same download"),
    "data.txt": ("1 2 3\n", ".txt is no extract; give a .csv, .dct, .dat or .zip file"),
    "bare": ("1 2 3\n", "a file without suffix is no extract"),
    "brace_first.dct": ("infile dictionary {\n}\n1 2\n", "row 2: the dictionary names no variable"),
}


@pytest.mark.parametrize("name", BAD_TEXT)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    text, message = BAD_TEXT[name]
    path = written(tmp_path / name, text)
    with pytest.raises(LaborLLMError) as caught:
        read_extract(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"absent.csv: there is no such file; check the path"):
        read_extract(tmp_path / "absent.csv")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    with pytest.raises(LaborLLMError, match=r"folder.csv: cannot be read"):
        read_extract(folder)


def test_no_extract_at_all() -> None:
    with pytest.raises(LaborLLMError, match="no extract is given"):
        read_extracts([])


def test_a_truncated_zip(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "whole.zip", a_dot_dct=DICTIONARY).read_bytes()
    path = tmp_path / "cut.zip"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LaborLLMError, match=r"cut.zip: the zip is truncated or corrupt .*download the extract again"):
        read_extract(path)


def test_a_zip_damaged_inside(tmp_path: Path) -> None:
    rows = "".join(f"{person} 1 {person % 20}\n" for person in range(4, 5000))
    whole = bytearray(zipped(tmp_path / "whole.zip", a_dot_dct=DICTIONARY + rows).read_bytes())
    for place in range(len(whole) // 3, len(whole) // 3 + 200):
        whole[place] ^= 0xFF
    path = tmp_path / "damaged.zip"
    path.write_bytes(bytes(whole))
    with pytest.raises(LaborLLMError, match=r"damaged.zip"):
        read_extract(path)


def test_a_zip_without_an_extract(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", readme_dot_txt="nothing")
    with pytest.raises(LaborLLMError, match=r"a.zip: holds no .dct, .csv or .dat file but readme.txt"):
        read_extract(path)


def test_a_zip_with_two_extracts(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", a_dot_dct=DICTIONARY, b_dot_dct=DICTIONARY)
    with pytest.raises(LaborLLMError, match=r"holds 2 .dct files \(a.dct, b.dct\); zip one at a time"):
        read_extract(path)


@pytest.mark.parametrize("kind", ["csv", "questions", "dct", "dat_sps", "dat_fixed", "dat_sdf"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_gives_the_same_table(tmp_path: Path, kind: str, packed: bool) -> None:
    table = known_table(people=300)
    text = texts(table)[kind]
    path = laid(tmp_path, text, text.bytes())
    if packed:
        path = tmp_path / "b.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in tmp_path.glob("a.*"):
                archive.write(file, file.name)
                file.unlink()
    extract = read_extract(path)
    assert extract.table.to_numpy().tolist() == table.tolist()
    assert set(extract.table.dtypes) == {pl.Int64}
    assert extract.values.dtypes[1:4] == [pl.Int16] * 3


def test_a_codebook_in_the_zip_describes_the_extract(tmp_path: Path) -> None:
    path = zipped(tmp_path / "b.zip", a_dot_dct=DICTIONARY, a_dot_cdb=CODEBOOK)
    assert codebook_beside(path) == path
    assert [variable.question for variable in read_extract(path).variables] == ["SAMPLE_SEX", "HGCREV79"]


def test_a_codebook_that_was_read_describes_the_extract(tmp_path: Path) -> None:
    book = read_codebook(written(tmp_path / "other.cdb", CODEBOOK))
    path = written(tmp_path / "a.dct", DICTIONARY)
    assert read_extract(path, codebook=book).variables[0].label == "SEX OF R"


def test_only_the_wanted_values_become_numbers(tmp_path: Path) -> None:
    """In a plain file too, whose blocks are read by array operations."""
    table = known_table()
    text = texts(table)["csv"]
    path = laid(tmp_path, text, text.bytes())
    extract = read_extract(path, wanted=lambda variable: variable.reference in ("R0618301", "R0000500"))
    assert extract.values.columns == ["person", "R0000500", "R0618301"]
    assert extract.table.to_numpy().tolist() == table[:, [0, 1, 3]].tolist()


def test_a_file_that_ends_within_a_row_is_held_against_its_codebook(tmp_path: Path) -> None:
    """Without the codebook nobody can tell: some of the Investigator's files have no line end after the last row."""
    table = known_table()
    text = texts(table)["csv"]
    path = laid(tmp_path, text, "\n".join([*text.head, *text.rows[:30]]).encode())
    assert read_extract(path).table.height == 30
    written(tmp_path / "a.cdb", codebook(table))
    with pytest.raises(
        LaborLLMError, match=r"a.csv, the last row has no line end and the codebook counts 40 people, not 30"
    ):
        read_extract(path)
    path.write_bytes(text.bytes(last=False))
    assert read_extract(path).table.height == 40


@pytest.mark.parametrize(
    ("name", "text", "more"),
    [
        ("y97.dct", 'infile dictionary {\n  R0000100 "PUBID - YTH ID CODE 1997"\n  R0536300 "SEX"\n}\n1 2\n', ""),
        ("y97.csv", "PUBID_1997,KEY_SEX_1997\n1,2\n", ""),
        ("y97.csv", "R0000100,R0536300\n1,2\n", "y97.NLSY97"),
        ("y97.csv", "R0000100,R0536300\n" + "".join(f"{person},2\n" for person in range(1, 8985)), ""),
    ],
)
def test_two_cohorts_are_not_joined(tmp_path: Path, name: str, text: str, more: str) -> None:
    left = written(tmp_path / "y79.dct", DICTIONARY)
    right = written(tmp_path / name, text)
    if more:
        written(tmp_path / more, "R0000100\n")
    with pytest.raises(LaborLLMError) as caught:
        read_extracts([left, right])
    column = text.split(",")[0] if name.endswith("csv") else "R0000100"
    assert str(caught.value) == (
        f"{right}, column {column}: the ids are PUBID, but those of {left} are CASEID: these are two surveys' people; "
        f"read the files of one survey at a time"
    )


@pytest.mark.real_data
def test_formats_of_one_extract_agree(real_data: Path) -> None:
    folder = real_data / "data" / "nlsy79" / "investigator_2016"
    tables = [read_extract(folder / f"NLS_79.{suffix}").table for suffix in ("csv", "dct", "dat")]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


@pytest.mark.real_data
def test_the_two_real_cohorts_are_not_joined(real_data: Path) -> None:
    paths = [real_data / "data" / name for name in ("nlsy79/cpsocc80.csv", "nlsy97/y97_demographics.dct.zip")]
    with pytest.raises(LaborLLMError, match="the ids are PUBID, but those of .*cpsocc80.csv are CASEID"):
        read_extracts(paths)


@pytest.mark.real_data
def test_the_other_cohort_is_read(real_data: Path) -> None:
    extract = read_extract(real_data / "data" / "nlsy97" / "y97_demographics.dct.zip")
    assert extract.table.height == 8984
    assert len(read_codebook(real_data / "data" / "nlsy97" / "Occupations.cdb")) == 171
