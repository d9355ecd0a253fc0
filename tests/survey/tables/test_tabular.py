"""A user's own table: three formats give the same careers; every fault names the file and the remedy."""

import csv
import re
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from laborllm.errors import LaborLLMError
from laborllm.survey.tables.files import read_frame
from laborllm.survey.tables.tabular import TableSettings, read_table

ROWS = pl.DataFrame(
    {
        "person": [10, 9, 9],
        "year": [1990, 1991, 1990],
        "occupation": ["436", "unemployed", "313"],
        "education": ["college", "high school", "high school"],
        "gender": ["female", "male", "male"],
        "birth_year": [1960, None, None],
        "weight": [1.5, 2.0, 2.0],
        "hair": ["red", "brown", "brown"],
    }
)
KEYS = ("person", "year", "occupation")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    ROWS.write_csv(path)
    return path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def error_of(*files: Path, **more: object) -> str:
    with pytest.raises(LaborLLMError) as caught:
        read_table(TableSettings(files=files, **more))
    return str(caught.value)


def test_our_names_need_no_mapping(table: Path) -> None:
    careers = read_table(TableSettings(files=(table,), survey="mine"))
    assert careers.table.select(KEYS).rows() == [(9, 1990, "313"), (9, 1991, "unemployed"), (10, 1990, "436")]
    assert careers.table["survey"].unique().to_list() == ["mine"]
    assert careers.table["birth_year"].to_list() == [None, None, 1960]
    assert "hair" not in careers.table.columns
    assert [(step.what, step.people, step.person_years) for step in careers.flow] == [("read from mine.csv", 2, 3)]


def test_three_formats_give_the_same_careers(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    ROWS.write_parquet(tmp_path / "mine.parquet")
    ROWS.to_pandas().to_stata(tmp_path / "mine.dta", write_index=False)
    careers = [
        read_table(TableSettings(files=(table.with_suffix(kind),))).table for kind in (".csv", ".parquet", ".dta")
    ]
    assert careers[0].equals(careers[1])
    assert careers[0].equals(careers[2])
    assert careers[0].schema == careers[1].schema == careers[2].schema


def test_mapped_columns_go_before_columns_of_our_name(tmp_path: Path) -> None:
    path = write(tmp_path / "theirs.csv", "id,wave,job,gender,sex\n1,1990,436,no,female\n")
    columns = {"person": "id", "year": "wave", "occupation": "job", "gender": "sex"}
    careers = read_table(TableSettings(files=(path,), columns=columns))
    assert careers.table.select(*KEYS, "gender").rows() == [(1, 1990, "436", "female")]


def test_codes_keep_their_leading_zeros(tmp_path: Path) -> None:
    path = write(tmp_path / "zeros.csv", "person,year,occupation\n007,1990,0010\n12,1990,1020\n")
    listing = write(tmp_path / "list.csv", "code,title\n0010,Chiefs\n1020,Clerks\n")
    careers = read_table(TableSettings(files=(path,), occupations=listing))
    assert careers.table.select("person", "occupation").rows() == [("007", "0010"), ("12", "1020")]


def test_a_list_of_ones_own_may_have_groups_and_titles_with_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", "person,year,occupation\n1,1990,a\n")
    listing = write(tmp_path / "list.csv", 'title,group,code\n"Cooks, short order",Food,a\nClerks,,b\n')
    occupations = read_table(TableSettings(files=(path,), occupations=listing)).occupations
    assert occupations.codes == ("a", "b")
    assert occupations.titles == ("Cooks, short order", "Clerks")
    assert occupations.groups == ("Food", "")


def test_the_standard_list_has_not_working_where_the_table_has(tmp_path: Path, table: Path) -> None:
    assert read_table(TableSettings(files=(table,))).occupations.codes[-1] == "in_education"
    path = write(tmp_path / "idle.csv", "person,year,occupation\n1,1990,not_working\n")
    assert read_table(TableSettings(files=(path,))).occupations.codes[-1] == "not_working"


def test_files_are_stacked_and_checked_as_one(tmp_path: Path, table: Path) -> None:
    more = write(tmp_path / "more.csv", "person,year,occupation\nx1,1990,436\n")
    careers = read_table(TableSettings(files=(table, more)))
    assert careers.table["person"].to_list() == ["10", "9", "9", "x1"]
    assert [step.what for step in careers.flow] == ["read from mine.csv", "read from more.csv"]
    again = write(tmp_path / "again.csv", "person,year,occupation\n10,1990,436\n")
    assert error_of(table, again).startswith(f"{table}, row 1, and {again}, row 1: person 10 has two rows for 1990 (2 ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9,1992,436\n3,199,436\n", ", column year, row 2: 199 is outside"),
        ("9,1992,436\n3,May,436\n", ", column year, row 2: 'May' is no whole number"),
        ("9,1992,436\n3,1990,99999\n", ", column occupation, row 2: code '99999' is not on the list"),
        ("9,1992,436\n,1990,436\n", ", column person, row 2: the value is missing"),
        ("3,1992,436\n4,1992,436\n4,1992,313\n", ", rows 2 and 3: person 4 has two rows for 1992"),
    ],
)
def test_with_several_files_a_message_names_the_file_and_its_own_row(text: str, message: str, tmp_path: Path) -> None:
    first = write(tmp_path / "first.csv", "person,year,occupation\n8,1990,436\n7,1990,436\n9,1990,436\n")
    second = write(tmp_path / "second.csv", f"person,year,occupation\n{text}")
    last = write(tmp_path / "last.csv", "person,year,occupation\n1,1990,436\n")
    assert error_of(first, second, last).startswith(f"{second}{message}")


def test_a_covariate_that_changes_between_files_names_the_later_file(tmp_path: Path) -> None:
    first = write(tmp_path / "first.csv", "person,year,occupation,gender\n8,1990,436,male\n1,1990,436,female\n")
    second = write(tmp_path / "second.csv", "person,year,occupation,gender\n9,1991,436,male\n1,1991,436,male\n")
    assert error_of(first, second).startswith(f"{second}, column gender, row 2: person 1 has both 'female' and 'male'")


def test_a_file_of_several_without_a_key_is_named(tmp_path: Path, table: Path) -> None:
    other = write(tmp_path / "other.csv", "person,year\n1,1990\n")
    assert error_of(table, other).startswith(f"{other}: column 'occupation' is missing; the columns are person, year;")
    assert error_of(table, table) == f"survey.files names {table} twice; name every file once"


def test_files_may_hold_a_column_in_different_types(tmp_path: Path) -> None:
    files = (tmp_path / "a.parquet", tmp_path / "b.csv", tmp_path / "c.parquet")
    pl.DataFrame({"person": [2.0], "year": [1990.0], "occupation": [436.0], "weight": [1.5]}).write_parquet(files[0])
    write(files[1], "person,year,occupation,weight\n1,1991,unemployed,2\n")
    columns = {"person": [3], "year": [1990], "occupation": ["313"], "weight": [None], "split": ["train"]}
    pl.DataFrame(columns).with_columns(pl.col("occupation").cast(pl.Categorical)).write_parquet(files[2])
    message = error_of(*files)
    assert message.startswith(f"{files[0]}, column split, row 1: None is none of train, validation, test")
    careers = read_table(TableSettings(files=files[:2]))
    assert careers.table.select(*KEYS, "weight").rows() == [(1, 1991, "unemployed", 2.0), (2, 1990, "436", 1.5)]
    assert read_table(TableSettings(files=files[2:])).table["occupation"].to_list() == ["313"]


def test_stacked_files_give_the_careers_of_the_whole(tmp_path: Path, table: Path) -> None:
    parts = tuple(tmp_path / f"part{number}.csv" for number in range(3))
    for number, part in enumerate(parts):
        ROWS[number : number + 1].write_csv(part)
    careers = read_table(TableSettings(files=parts))
    assert careers.table.equals(read_table(TableSettings(files=(table,))).table)
    assert [(step.people, step.person_years) for step in careers.flow] == [(1, 1)] * 3


def test_columns_that_hold_lists_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    frame = pl.DataFrame({"person": [1], "year": [1990], "occupation": ["436"], "ed": [["college"]]})
    frame.write_parquet(path)
    message = error_of(path, columns={"education": "ed"})
    assert message == f"{path}, column ed: holds List(String); give numbers or text"


def test_stata_labels_count_for_words_and_values_for_codes(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    path = tmp_path / "labelled.dta"
    frame = pd.DataFrame({"id": [1, 1, 2], "year": [1990, 1991, 1990], "job": [4, 7, 4], "sex": [1, 1, 2]})
    frame["region"] = ["south", "south", ""]
    labels = {"sex": {1: "male", 2: "female"}, "job": {4: "Same label", 7: "Same label "}}
    frame.to_stata(path, write_index=False, value_labels=labels)
    columns = {"person": "id", "occupation": "job", "gender": "sex"}
    careers = read_table(TableSettings(files=(path,), columns=columns))
    assert careers.table.select("occupation", "gender", "region").rows() == [
        ("4", "male", "south"),
        ("7", "male", "south"),
        ("4", "female", None),
    ]


def test_a_labelled_value_of_stata_may_be_missing(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"person": [1, 2], "year": [1990, 1990], "occupation": [4, 4], "gender": [1.0, None]})
    frame.to_stata(tmp_path / "missing.dta", write_index=False, value_labels={"gender": {1: "male"}})
    assert read_table(TableSettings(files=(tmp_path / "missing.dta",))).table["gender"].to_list() == ["male", None]


def test_stata_without_pandas_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "mine.dta", "anything")
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert error_of(path) == f"{path}: Stata files need pandas; run `pip install laborllm[stata]`"


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    assert error_of(path).startswith(f"{path}: no such file; check the path")


def test_an_empty_file_and_a_bare_header(tmp_path: Path) -> None:
    assert "the file is empty" in error_of(write(tmp_path / "empty.csv", ""))
    assert "has a header but no rows" in error_of(write(tmp_path / "bare.csv", "person,year,occupation\n"))


def test_settings_refuse_no_files() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        TableSettings(files=())


def test_an_unknown_extension_lists_the_allowed(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.xlsx", "x")
    assert error_of(path) == f"{path}: extension '.xlsx' is none of .csv, .parquet, .dta; convert the table"


@pytest.mark.parametrize("row", ["2,1990", "2,1990,436,x", "", '"2,1990,436'])
def test_a_ragged_csv_names_the_row(row: str, tmp_path: Path) -> None:
    path = write(tmp_path / "ragged.csv", f"person,year,occupation\n1,1990,436\n{row}\n")
    assert error_of(path).startswith(f"{path}, row 2: has ")
    assert "the header has 3" in error_of(path)


@pytest.mark.parametrize(
    "row",
    ['2,1990,"4,36"', '2,1990,"a ""b"", c"', '2,1990,"two\nlines, one value"', '"2","1990","436"'],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_quoted_values_may_hold_commas_quotes_and_lines(row: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "quoted.csv"
    path.write_bytes(f'"person",year,occupation\n1,1990,436\n{row}{end}'.encode())
    with path.open(newline="") as stream:
        expected = list(csv.reader(stream))
    frame = read_frame(path)
    assert [list(values) for values in frame.cast(pl.String).rows()] == expected[1:]


@pytest.mark.parametrize("rows", ['2,1990,5" nail\n', '2,1990,5" nail\n3,1990,6" nail\n', '2, "a,b",436\n'])
def test_a_stray_quote_is_refused_and_not_guessed(rows: str, tmp_path: Path) -> None:
    message = error_of(write(tmp_path / "stray.csv", f"person,year,occupation\n1,1990,436\n{rows}"))
    assert re.search(r"values that hold (quotes quoted|commas)", message)
    assert "\n" not in message


def test_lines_are_counted_as_csv_counts_them(tmp_path: Path, rng: np.random.Generator) -> None:
    """A cheap yes must never hide a short or a long row."""
    pieces = ["1", "22", "é", '"a,b"', '"say ""yes"""', '"two\nlines"', '""', ""]
    for trial in range(200):
        widths = rng.choice([2, 3, 3, 3, 3, 3, 4], 5) if trial % 2 else [3] * 5
        lines = [",".join(rng.choice(pieces, width)) for width in widths]
        path = write(tmp_path / "any.csv", "\n".join(["a,b,c", *lines]))
        if len(set(widths) | {3}) == 1:
            assert read_frame(path).height == 5
        else:
            row = next(row for row, width in enumerate(widths, start=1) if width != 3)
            with pytest.raises(LaborLLMError, match=f"row {row}: has {widths[row - 1]} values, the header has 3"):
                read_frame(path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("person,year,occupation\n1,1990,caf\xe9\n".encode("latin-1"))
    assert "cannot be read as CSV" in error_of(path)
    assert "comma-separated UTF-8" in error_of(path)


@pytest.mark.parametrize("kind", [".parquet", ".dta"])
def test_a_file_that_is_not_what_it_says(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    path = write(tmp_path / f"false{kind}", "person,year,occupation\n1,1990,436\n")
    assert error_of(path).startswith(f"{path}: cannot be read as")


def test_a_truncated_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    ROWS.write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert error_of(path).startswith(f"{path}: cannot be read as Parquet")


def test_a_mapping_to_an_absent_column_lists_the_columns(table: Path) -> None:
    message = error_of(table, columns={"gender": "sex"})
    assert message.startswith(f"{table}: column 'sex', which survey.columns maps to gender, is not there")
    assert "hair" in message
    assert "maps 'hair', which is none of person, year" in error_of(table, columns={"hair": "hair"})


def test_a_header_with_a_name_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "twice.csv", "person,year,year\n1,1990,436\n")
    assert error_of(path) == f"{path}: column 'year' stands twice in the header; rename one"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("person,year\n1,1990\n", ": column 'occupation' is missing"),
        ("person,year,occupation\n1,1990,436\n1,1990,313\n", ", rows 1 and 2: person 1 has two rows for 1990"),
        ("person,year,occupation\n1,199,436\n", ", column year, row 1: 199 is outside"),
        ("person,year,occupation\n1,May,436\n", ", column year, row 1: 'May' is no whole number"),
        ("person,year,occupation\n1,1990,99999\n", ", column occupation, row 1: code '99999' is not on the list"),
        ("person,year,occupation\n,1990,436\n", ", column person, row 1: the value is missing"),
    ],
)
def test_rows_that_are_no_careers(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.csv", text)
    assert error_of(path).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("code\n1\n", "column 'title' is missing; the columns are code"),
        ("code,title\n1,Cooks\n1,Clerks\n", "row 2: code '1' stands twice"),
        ("code,title\n1,\n", "row 1: title '' is blank"),
    ],
)
def test_a_faulty_list_of_occupations_names_its_file(text: str, message: str, tmp_path: Path, table: Path) -> None:
    path = write(tmp_path / "list.csv", text)
    assert error_of(table, occupations=path).startswith(f"{path}: ")
    assert message in error_of(table, occupations=path)
    assert "is a .csv with the columns code, title" in error_of(table, occupations=tmp_path / "list.xlsx")


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = write(tmp_path / "excel.csv", "\ufeffperson,year,occupation\n1,1990,436\n")
    assert read_frame(path).columns == ["person", "year", "occupation"]


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_a_path_is_no_pattern(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"wave [1]*{kind}"
    ROWS.write_csv(path) if kind == ".csv" else ROWS.write_parquet(path)
    assert read_frame(path).height == 3


def test_another_countrys_panel(tmp_path: Path) -> None:
    """ISCO codes with leading zeros, titles and words in other scripts, codes of their own for those without a job."""
    path = write(
        tmp_path / "パネル.csv",
        "番号,年,職業,学歴,性別\n甲,2001,0110,大学,女\n甲,2002,98,大学,女\n乙,2001,2353,-1,男\n乙,2002,-1,高校,男\n",
    )
    listing = write(
        tmp_path / "一覧.csv", "code,title,group,state\n0110,将校,軍,\n2353,語学教師,教育,\n98,失業中,,unemployed\n"
    )
    columns = {"person": "番号", "year": "年", "occupation": "職業", "education": "学歴", "gender": "性別"}
    careers = read_table(TableSettings(files=(path,), columns=columns, occupations=listing, missing=(-1,)))
    assert careers.table.select(*KEYS, "education", "gender").rows() == [
        ("乙", 2001, "2353", None, "男"),
        ("甲", 2001, "0110", "大学", "女"),
        ("甲", 2002, "unemployed", "大学", "女"),
    ]
    assert careers.occupations.titles == ("将校", "語学教師", "失業中")
    assert careers.occupations.is_state == (False, False, True)
    assert [(step.what, step.people, step.person_years) for step in careers.flow] == [
        ("read from パネル.csv", 2, 4),
        ("dropped: occupation is a missing value (-1)", 1, 1),
        ("recoded: education -1 is missing", 1, 1),
        ("recoded: occupation 98 is the state unemployed", 1, 1),
    ]
    assert error_of(path, columns=columns, occupations=listing).startswith(
        f"{path}, column 職業, row 4: code '-1' is not"
    )


def test_declared_missing_values_of_numbers_and_text(tmp_path: Path) -> None:
    columns = {"person": [9, 9, 8], "year": [1990, 1991, 1990], "occupation": ["436", "436", "9"]}
    frame = pl.DataFrame(
        {**columns, "wage": [9.0, 10.5, 9.5], "education": ["NA", "9", "x"], "birth_year": [None, None, 9]}
    )
    frame.write_parquet(tmp_path / "mine.parquet")
    careers = read_table(TableSettings(files=(tmp_path / "mine.parquet",), missing=(9, "NA")))
    assert careers.table.select("person", "wage", "education").rows() == [(9, None, None), (9, 10.5, None)]
    assert careers.flow[1].what == "dropped: occupation is a missing value (9)"


def test_undeclared_missing_occupations_stay_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", "person,year,occupation\n1,1990,-9\n1,1991,\n")
    assert error_of(path, missing=(-9,)).startswith(
        f"{path}, column occupation, row 2: the value is missing (1 such rows)"
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_a_file_in_two_bytes_a_letter(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "unicode.csv"
    path.write_bytes("person,year,occupation\n1,1990,436\n".encode(encoding))
    assert error_of(path).startswith(f"{path}, line 1: holds a null byte; the file is damaged or UTF-16:")


def test_nothing_left_says_why(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", "person,year,occupation\n1,1990,-9\n1,1991,-9\n")
    assert error_of(path, missing=(-9,)) == (
        f"{path}: no person-year is left (dropped: occupation is a missing value (-9): 2); draw the files again or "
        f"change the settings"
    )
