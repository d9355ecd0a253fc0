"""Extracts and codebooks of the NLS Investigator: every format, every kind of bad input."""

import zipfile
from pathlib import Path

import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.codebook import ValueCount, compare_frequencies, read_codebook
from laborllm.survey.nls import read_extract, read_extracts

DICTIONARY = """infile dictionary {
  R0000100 "ID# (1-12686) 79"
  R0214800 "SEX OF R 79"
  R0216701 "HIGHEST GRADE COMPLTD (REV) 79"
}
3 2 12
1 1 9
2 -5 -5
"""

CODEBOOK = """R00001.00    [CASEID]                                       Survey Year: 1979
  PRIMARY VARIABLE


             IDENTIFICATION CODE

ACTUAL NUMBER

Refusal(-1)            0
Don't Know(-2)         0
TOTAL =========>       3   VALID SKIP(-4)       0     NON-INTERVIEW(-5)       0

Min:              1        Max:              3        Mean:                   2
--------------------------------------------------------------------------------
R02148.00    [SAMPLE_SEX]                                   Survey Year: 1979
  PRIMARY VARIABLE


             SEX
             OF R

       1       1 MALE
       1       2 FEMALE, WHOSE LABEL
                 RUNS ON
  -------
       2

Refusal(-1)            0
Don't Know(-2)         0
Invalid Skip(-3)       0
TOTAL =========>       2   VALID SKIP(-4)       0     NON-INTERVIEW(-5)       1
--------------------------------------------------------------------------------
R02167.01    [HGCREV79]                                     Survey Year: 1979
  PRIMARY VARIABLE


             HIGHEST GRADE COMPLETED

       1           0 TO 11: 0-11 SCHOOL
       1          12
  -------
       2

Refusal(-1)            0
Don't Know(-2)         0
TOTAL =========>       2   VALID SKIP(-4)       0     NON-INTERVIEW(-5)       1

Min:              9        Max:             12        Mean:                10.5
"""

SHORT = """

Reference
Number     Year    Variable Description                    Question Name
-------------------------------------------------------------------------
R00001.00  1979    IDENTIFICATION CODE                     CASEID
R02147.00  78SCRN  R'S RACIAL/ETHNIC COHORT FROM SCREENER  SAMPLE_RACE
"""


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


def test_a_codebook_is_parsed(tmp_path: Path) -> None:
    entries = read_codebook(written(tmp_path / "a.cdb", CODEBOOK))
    assert list(entries) == ["R0000100", "R0214800", "R0216701"]
    sex, grade = entries["R0214800"], entries["R0216701"]
    assert sex.values == (ValueCount(1, 1, "MALE", 1), ValueCount(2, 2, "FEMALE, WHOSE LABEL RUNS ON", 1))
    assert (sex.title, sex.year, sex.valid, sex.total) == ("SEX OF R", "1979", 2, 2)
    assert sex.missing == {-1: 0, -2: 0, -3: 0, -4: 0, -5: 1}
    assert grade.values == (ValueCount(0, 11, "0-11 SCHOOL", 1), ValueCount(12, 12, "", 1))
    assert (grade.minimum, grade.maximum, grade.mean) == (9, 12, 10.5)
    assert entries["R0000100"].values == ()
    assert entries["R0000100"].valid is None


def test_a_short_description_is_parsed(tmp_path: Path) -> None:
    entries = read_codebook(written(tmp_path / "a.sdf", SHORT))
    race = entries["R0214700"]
    assert (race.question, race.year, race.title) == (
        "SAMPLE_RACE",
        "78SCRN",
        "R'S RACIAL/ETHNIC COHORT FROM SCREENER",
    )


def test_equal_frequencies_leave_no_row(tmp_path: Path) -> None:
    entries = read_codebook(written(tmp_path / "a.cdb", CODEBOOK))
    table = read_extract(written(tmp_path / "a.dct", DICTIONARY)).table
    same = compare_frequencies(table, entries, {"person": "R0000100", "R0214800": "R0214800", "R0216701": "R0216701"})
    assert same.height == 0
    assert same.columns == ["column", "reference", "what", "printed", "read"]


def test_every_difference_of_frequencies_is_a_row(tmp_path: Path) -> None:
    entries = read_codebook(written(tmp_path / "a.cdb", CODEBOOK))
    table = pl.DataFrame({"sex": [1, 3, -4]})
    differences = compare_frequencies(table, entries, {"sex": "R0214800"})
    assert differences.select("what", "printed", "read").rows() == [
        ("2", 1.0, 0.0),
        ("other", 0.0, 1.0),
        ("-4", 0.0, 1.0),
        ("-5", 1.0, 0.0),
    ]


def test_comparing_what_is_not_there(tmp_path: Path) -> None:
    entries = read_codebook(written(tmp_path / "a.cdb", CODEBOOK))
    with pytest.raises(LaborLLMError, match="column 'x' is not in the table"):
        compare_frequencies(pl.DataFrame({"sex": [1]}), entries, {"x": "R0214800"})
    with pytest.raises(LaborLLMError, match="variable R9999999 is not in the codebook"):
        compare_frequencies(pl.DataFrame({"sex": [1]}), entries, {"sex": "R9999999"})


def test_bad_codebooks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"none.cdb: cannot be read"):
        read_codebook(tmp_path / "none.cdb")
    with pytest.raises(LaborLLMError, match=r"a.cdb: describes no variable; give the .cdb or .sdf"):
        read_codebook(written(tmp_path / "a.cdb", "some text\n"))
    with pytest.raises(LaborLLMError, match=r"b.cdb, row 26: the frequencies of R02148.00 sum to 91, .* says 2"):
        read_codebook(written(tmp_path / "b.cdb", CODEBOOK.replace("       1       1 MALE", "      90       1 MALE")))


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
    "few.dct": (DICTIONARY + "4 1\n", "row 4: has 2 values for 3 columns"),
    "text.dct": (DICTIONARY.replace("1 1 9", "1 1 A"), "column R0216701, row 2: 'A' is no whole number"),
    "cut.dct": (DICTIONARY[:60], "is no variable with its label"),
    "brace.dct": (DICTIONARY.split("}")[0], "the dictionary is cut off before its closing brace"),
    "other.dct": ("a b c\n", "row 1: 'a b c' is no 'infile dictionary'"),
    "data.dat": ("1 2 3\n", ".dat is no extract; give a .csv, .dct or .zip file"),
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
    with pytest.raises(LaborLLMError, match=r"a.zip: holds no .dct or .csv file but readme.txt"):
        read_extract(path)


def test_a_zip_with_two_extracts(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", a_dot_dct=DICTIONARY, b_dot_dct=DICTIONARY)
    with pytest.raises(LaborLLMError, match=r"holds 2 .dct files \(a.dct, b.dct\); zip one at a time"):
        read_extract(path)


# Where the codebook of 2019 and the data of the same extract count two reasons for "no value" differently.
KNOWN = {
    "y79_demographicsV2": {("R0618301", "-4"), ("R0618301", "-5"), ("R4417400", "-5"), ("R4417500", "-4")}
    | {("R4417500", "-5"), ("R7006800", "-4"), ("R7006800", "-5")},
}


@pytest.mark.real_data
@pytest.mark.parametrize(
    "file",
    [
        "y79_demographicsV2.dct.zip",
        "investigator_2016/NLS_79.csv",
        "investigator_2016/NLS_79.dct",
        "investigator_2020/NLSY79_supplement1.csv",
    ],
)
def test_every_printed_frequency_is_met(real_data: Path, file: str) -> None:
    path = real_data / "data" / "nlsy79" / file
    stem = path.name.split(".")[0]
    entries = read_codebook(path.with_name(f"{stem}.cdb"))
    extract = read_extract(path)
    references = {v.column: v.reference for v in extract.variables if v.reference} | {"person": "R0000100"}
    assert set(references.values()) == set(entries)
    differences = compare_frequencies(extract.table, entries, references)
    assert set(differences.select("reference", "what").iter_rows()) == KNOWN.get(stem, set()), differences


@pytest.mark.real_data
def test_formats_of_one_extract_agree(real_data: Path) -> None:
    folder = real_data / "data" / "nlsy79" / "investigator_2016"
    assert read_extract(folder / "NLS_79.csv").table.equals(read_extract(folder / "NLS_79.dct").table)


@pytest.mark.real_data
def test_the_other_cohort_is_read(real_data: Path) -> None:
    extract = read_extract(real_data / "data" / "nlsy97" / "y97_demographics.dct.zip")
    assert extract.table.height == 8984
    assert len(read_codebook(real_data / "data" / "nlsy97" / "Occupations.cdb")) == 171
