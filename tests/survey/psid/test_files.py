"""Files of the PSID: every layout gives the same numbers as cutting the lines by hand, every damage one clear error."""

import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from laborllm.errors import LaborLLMError
from laborllm.survey.psid import files as psid_files
from laborllm.survey.psid.files import read_psid_file
from laborllm.survey.psid.setups import Field, parse_setup
from tests.survey.psid.examples import (
    family_columns,
    individual_columns,
    mutated,
    places,
    setup,
    text,
    write_csv,
    write_fixed,
    write_zip,
)

COLUMNS: dict[str, list[object]] = {
    "V1": [1, 1, 2],
    "V2": [5, 120, ""],
    "ER30019": ["12.500", "", "."],
    "V3_A": ["-3", "-", "004"],
    "V4": ["1234567890", "7", "0"],
}
COLUMNS["V3_A"][1] = "-30"
NUMBERS = {
    "V1": [1, 1, 2],
    "V2": [5, 120, None],
    "ER30019": [12.5, None, None],
    "V3_A": [-3, -30, 4],
    "V4": [1234567890.0, 7.0, 0.0],
}


def written(path: Path, content: str) -> Path:
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("kind", [".sps", ".sas", ".do", ".job"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_layout_gives_the_numbers(tmp_path: Path, kind: str, line_end: str) -> None:
    file = read_psid_file(write_fixed(tmp_path, "FAM1985", COLUMNS, kind, line_end))
    assert file.table.to_dict(as_series=False) == NUMBERS
    assert file.header == tuple(COLUMNS)
    assert file.table.dtypes == [pl.Int32, pl.Int32, pl.Float64, pl.Int32, pl.Float64]


def test_a_zip_as_the_survey_packs_it(tmp_path: Path) -> None:
    assert read_psid_file(write_zip(tmp_path, "FAM1985", COLUMNS)).table.to_dict(as_series=False) == NUMBERS


def test_a_csv(tmp_path: Path) -> None:
    file = read_psid_file(write_csv(tmp_path / "J1.csv", COLUMNS))
    assert file.table.to_dict(as_series=False) == NUMBERS
    quoted = written(tmp_path / "q.csv", '\ufeff"v1","V2"\r\n"1"," 2"\r\n')
    assert read_psid_file(quoted).table.to_dict(as_series=False) == {"V1": [1], "V2": [2]}


def test_a_stata_or_parquet_table(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    frame = pl.DataFrame({"v1": [1, 2], "er30019": [1.5, None], "v2": ["3", ""]})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.to_pandas().to_stata(tmp_path / "a.dta", write_index=False)
    expected = pl.DataFrame({"V1": [1, 2], "ER30019": [1.5, None]}, schema={"V1": pl.Int32, "ER30019": pl.Float64})
    for name in ("a.parquet", "a.dta"):
        file = read_psid_file(tmp_path / name, wanted={"V1", "ER30019"}.__contains__)
        assert_frame_equal(file.table, expected)
        assert file.header == ("V1", "ER30019", "V2")
        assert read_psid_file(tmp_path / name).table["V2"].to_list() == [3, None]
    pl.DataFrame({"v1": ["a"]}).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(LaborLLMError, match=r"b.parquet, variable V1, row 1: 'a' is no number"):
        read_psid_file(tmp_path / "b.parquet")


@pytest.mark.parametrize("block", [1, 40, 1 << 22])
def test_only_wanted_columns_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(psid_files, "_BLOCK", block)
    rng = np.random.default_rng(1)
    columns = {f"V{k}": [int(10 ** rng.integers(9)) for _ in range(200)] for k in range(6)}
    columns["V2"][150] = "0.5"
    file = read_psid_file(write_fixed(tmp_path, "FAM1985", columns), wanted={"V4", "V2"}.__contains__)
    assert file.table["V4"].to_list() == columns["V4"]
    assert file.table["V2"].to_list() == [float(value) for value in columns["V2"]]
    assert file.table.columns == ["V2", "V4"]
    assert file.header == tuple(columns)


def test_a_large_file_never_stands_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psid_files, "_BLOCK", 1 << 20)
    path = written(tmp_path / "IND2021ER.txt", ("12" + "7" * 4996 + " 3\r\n") * 6000)
    written(tmp_path / "IND2021ER.do", "infix V1 1-2 V2 4999-5000 using x")
    tracemalloc.start()
    table = read_psid_file(path).table
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table.sum().row(0) == (12 * 6000, 3 * 6000)
    assert peak < 6_000_000 < 30_000_000 < path.stat().st_size


def test_the_forms_of_a_set_up() -> None:
    stata = "infix\n long V1 1 - 4   str  N 5-6 double W 7-9\nusing x, clear"
    assert parse_setup(stata, "a.do").fields == {"V1": Field(1, 4), "N": Field(5, 6, is_text=True), "W": Field(7, 9)}
    spss = "data list file=PSID fixed /1\n v1 1-4 (2) n 5 (A)\n w 6-8(F).\n"
    assert parse_setup(spss, "a.SPS").fields == {"V1": Field(1, 4, 2), "N": Field(5, 5, is_text=True), "W": Field(6, 8)}
    sas = "INFILE 'x' LRECL = 12 ;\n INPUT V1 1-4 .2 N $ 5-6 W 7 - 7;\n"
    found = parse_setup(sas, "a.sas")
    assert found.fields == {"V1": Field(1, 4, 2), "N": Field(5, 6, is_text=True), "W": Field(7, 7)}
    assert found.record_length == 12


def test_decimals_that_the_text_leaves_out(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "1250\n 1.5\n   7\n    \n")
    written(tmp_path / "a.sas", "INPUT V1 1-4 .2;")
    assert read_psid_file(path).table["V1"].to_list() == [12.5, 1.5, 0.07, None]


def test_points_in_any_place_and_in_none(tmp_path: Path) -> None:
    written(tmp_path / "a.do", "infix V1 1-6 using a.txt")
    words = [
        "12.345",
        " 2.345",
        "  .345",
        "     .",
        "    5.",
        "   1.5",
        "1.5   ",
        "000007",
        "+1.250",
        "-1.250",
        "      ",
    ]
    path = written(tmp_path / "a.txt", "".join(f"{word}\n" for word in words))
    expected = [None if not word.strip(" .") else float(word) for word in words]
    assert read_psid_file(path).table["V1"].to_list() == expected
    for wrong in ("1. 345", "1 .345", "1.3.45", "1.34 5", "1..345", "- .345", "1.345-"):
        written(path, f"12.345\n12.345\n{wrong}\n")
        with pytest.raises(LaborLLMError, match=re.escape(f"row 3: {wrong!r} is no number")):
            read_psid_file(path)


def test_decimals_are_the_doubles_nearest_to_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    words = [f"{rng.integers(10**12) / 10**k:.{k}f}" for k in (0, 3, 6, 9) for _ in range(500)]
    path = write_fixed(tmp_path, "W", {f"V{k}": words[500 * k : 500 * (k + 1)] for k in range(4)})
    table = read_psid_file(path).table
    assert [value for column in table for value in column] == [float(word) for word in words]


def test_blanks_behind_the_last_column_and_lines_at_the_end(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "12  \r\n34  \r\n\r\n\x1a")
    written(tmp_path / "a.do", "infix V1 1-1 V2 2-2 using a.txt")
    assert read_psid_file(path).table.rows() == [(1, 2), (3, 4)]
    written(path, "12\n34")
    assert read_psid_file(path).table.rows() == [(1, 2), (3, 4)]


ONE = "infix V1 1-2 V2 3-4 using a.txt"


@pytest.mark.parametrize(
    ("content", "layout", "message"),
    [
        ("1 2 \n1 2\n", ONE, r"a.txt, row 2: has 3 characters, but .*a.do says 4; the text is cut off or of another"),
        ("1 2 \n1 2 5\n", ONE, r"a.txt, row 2: has 5 characters"),
        ("1 2 9\n1 2 9\n", ONE, r"a.txt, row 1: has 5 characters, but .* says 4"),
        ("1 2\n1 2\n", ONE, r"a.txt, row 1: has 3 characters"),
        ("1 2 \r\n1 2 \n1 2 \r\n", ONE, r"a.txt, row 2: ends otherwise than row 1; unpack"),
        ("1 2 \n\n1 2 \n", ONE, r"a.txt, row 2: has 0 characters"),
        ("1 2 \n1 x \n", ONE, r"a.txt, variable V2, row 2: 'x' is no number \(1 such rows\); mend the value"),
        ("1 2 \n1 \x00 \n", ONE, r"variable V2, row 2: '\?' is no number"),
        ("1 2 \n1 é\n", ONE, r"variable V2, row 2: '\?\?' is no number"),
        ("1 1e\n", ONE, r"variable V2, row 1: '1e' is no number"),
        ("1 in\n", ONE, r"variable V2, row 1: 'in' is no number"),
        ("", ONE, r"a.txt: has no rows; download the file again"),
        ("\n\n", ONE, r"a.txt, row 1: has 0 characters"),
        ("1 2 \n", f"   Rows : 7\n{ONE}", r"a.txt: has 1 rows, but .*a.do announces 7"),
        ("1 2 \n", ONE.replace("V2", "v1"), r"a.do: variable V1 stands twice in the set-up; keep one of them"),
        ("1 2 \n", ONE.replace("3-4", "4-3"), r"a.do, variable V2: columns 4-3 are impossible"),
        ("1 2 \n", ONE.replace("3-4", "0-4"), r"a.do, variable V2: columns 0-4 are impossible"),
        ("1 2 \n", ONE.replace("3-4", "3-99999999"), r"a.do, variable V2: columns 3-99999999 are impossible"),
        (
            "1 2 \n",
            ONE.replace("using", "usin"),
            r"a.do: the statement 'infix ... using' that lists the columns is mis",
        ),
        ("1 2 \n", "infix using a.txt", r"a.do: .* lists no variable"),
        ("1 2 \n", ONE.replace("3-4", ""), r"a.do: 'V2' is no variable with its columns; unpack the set-up"),
        (
            "1 2 \n",
            f"MAX_REC_LENGTH : 3\n{ONE}",
            r"variable V2 ends in column 4, but rows have 3 characters by the same",
        ),
    ],
)
def test_damage_is_one_clear_error(tmp_path: Path, content: str, layout: str, message: str) -> None:
    path = written(tmp_path / "a.txt", content)
    written(tmp_path / "a.do", layout)
    with pytest.raises(LaborLLMError, match=message) as caught:
        read_psid_file(path)
    assert "\n" not in str(caught.value)


def test_formats_that_are_not_known(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"a.sps, variable V1: format \(DATE\) is unknown; give F, A or"):
        parse_setup("DATA LIST FILE=X FIXED /\n V1 1-8 (DATE)\n .\n", "a.sps")
    path = written(tmp_path / "a.txt", "ab\n")
    written(tmp_path / "a.do", "infix str V1 1-2 using a.txt")
    with pytest.raises(LaborLLMError, match=r"a.do, variable V1: holds words, not a number; leave it out"):
        read_psid_file(path, wanted={"V1"}.__contains__)
    assert read_psid_file(path).table.width == 0
    with pytest.raises(LaborLLMError, match=r"a.txt: '.txt' is no set-up|a.txt: .txt is no set-up; give a .sps"):
        parse_setup("", "a.txt")


def test_missing_files_and_set_ups(tmp_path: Path) -> None:
    path = written(tmp_path / "FAM1985.txt", "1\n")
    with pytest.raises(LaborLLMError, match=r"FAM1985.txt: no set-up is beside it; put FAM1985.sps \(.sas, .do\)"):
        read_psid_file(path)
    written(tmp_path / "FAM1985.SPS", "DATA LIST FILE = PSID FIXED /\n V1 1 - 1\n .\n")
    assert read_psid_file(path).table.rows() == [(1,)]
    with pytest.raises(LaborLLMError, match=r"none.txt: there is no such file; check the path"):
        written(tmp_path / "none.sps", "DATA LIST FILE = PSID FIXED /\n V1 1 - 1\n .\n")
        read_psid_file(tmp_path / "none.txt")
    with pytest.raises(LaborLLMError, match=r"a.sav: .sav is not read; give a .txt, .csv, .dta or .zip"):
        read_psid_file(tmp_path / "a.sav")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(LaborLLMError, match=r"folder.csv: cannot be read"):
        read_psid_file(tmp_path / "folder.csv")


def test_set_ups_that_disagree(tmp_path: Path) -> None:
    path = write_fixed(tmp_path, "FAM1985", COLUMNS, ".sps")
    other = setup(COLUMNS, "FAM1985", ".do").replace("2 - 4 ", "2 - 3 ")
    written(tmp_path / "FAM1985.do", other)
    with pytest.raises(
        LaborLLMError, match=r"FAM1985.do, variable V2: 2-3, but .*FAM1985.sps says 2-4; .*different re"
    ):
        read_psid_file(path)
    assert read_psid_file(path, wanted={"V1"}.__contains__).table.width == 1  # of what is read alone


def test_zips(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("FAM1985.txt", "1\n")
    with pytest.raises(LaborLLMError, match=r"a.zip: holds 0 texts with a set-up of the same name \(FAM1985.txt\)"):
        read_psid_file(path)
    content = write_zip(tmp_path, "FAM1986", COLUMNS).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(LaborLLMError, match=r"a.zip: the zip is truncated or corrupt"):
        read_psid_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"a.csv: the file is empty; draw the extract again"),
        ("V1,V2\n", r"a.csv: has a header but no rows"),
        ("V1,V2\n1\n", r"a.csv, row 2: has 1 values for 2 columns"),
        ("V1,V2\n1,2\n1,2,3\n", r"a.csv, row 3: has 3 values for 2 columns"),
        ("V1,v1\n1,2\n", r"a.csv, column 2: variable V1 stands twice"),
        ("V1,\n1,2\n", r"a.csv, column 2: has no name"),
        ("V1,V2\n1,2\n1,x\n", r"a.csv, variable V2, row 3: 'x' is no number"),
        (f"V1,V2\n1,{'9' * 200_000}\n", r"a.csv: is no CSV file \(field larger than field limit"),
    ],
)
def test_damaged_csv(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(LaborLLMError, match=message):
        read_psid_file(written(tmp_path / "a.csv", content))


def cut_by_hand(raw: bytes, spots: dict[str, tuple[int, int]], width: int) -> dict[str, list[float | None]] | None:
    """The numbers of a text by plain slicing, or None where a row or a value is not as it should be."""
    lines = raw.decode("latin-1").split("\r\n")
    while lines and not lines[-1]:
        lines.pop()
    table: dict[str, list[float | None]] = {name: [] for name in spots}
    for line in lines:
        if len(line) != width or "\n" in line:
            return None
        for name, (first, last) in spots.items():
            word = line[first - 1 : last].strip(" ")
            if word not in ("", ".") and not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", word):
                return None
            table[name].append(None if word in ("", ".") else float(word))
    return table


def answer(read: Callable[[], pl.DataFrame]) -> pl.DataFrame | None:
    try:
        return read()
    except LaborLLMError:
        return None


def test_three_hundred_mutated_texts(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    columns = {name: values for name, values in individual_columns().items() if len(name) < 8}
    path = write_fixed(tmp_path, "IND2021ER", columns)
    layout = path.with_suffix(".sps")
    layout.write_text(re.sub(r"(?m)^.*Rows .*$", "", layout.read_text()))  # so that a row more or less is read
    spots, raw, read = places(columns), text(columns).encode(), 0
    width = max(last for _, last in spots.values())
    for _ in range(300):
        content = mutated(raw, rng)
        path.write_bytes(content)
        expected = cut_by_hand(content, spots, width)
        table = answer(lambda: read_psid_file(path).table)
        if table is not None:
            read += 1
            assert expected is not None
            assert {name: table[name].to_list() for name in table.columns} == expected
    assert 20 < read < 280


@pytest.mark.parametrize("kind", [".sps", ".sas", ".do"])
def test_three_hundred_mutated_set_ups(tmp_path: Path, kind: str) -> None:
    """With all three set-ups in place, a damaged one never changes a number."""
    rng = np.random.default_rng(6)
    columns = family_columns(1985)
    path = write_fixed(tmp_path, "FAM1985", columns)
    for other in (".sas", ".do"):
        (tmp_path / f"FAM1985{other}").write_text(setup(columns, "FAM1985", other))
    damaged = path.with_suffix(kind)
    raw, right, read = damaged.read_bytes(), read_psid_file(path).table, 0
    for _ in range(100):
        damaged.write_bytes(mutated(raw, rng))
        table = answer(lambda: read_psid_file(path).table)
        if table is not None:
            read += 1
            assert_frame_equal(table.select(right.columns), right)
    assert 5 < read < 95
