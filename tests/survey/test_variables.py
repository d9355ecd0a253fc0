"""Tables of variables by year: what comes with the package, and what a user puts in."""

from pathlib import Path

import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.variables import COLUMNS, read_variables


def mine(tmp_path: Path, *lines: str, header: str = ",".join(COLUMNS)) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([header, *lines, ""]))
    return path


@pytest.mark.parametrize("survey", ["nlsy79", "nlsy97", "psid"])
def test_tables_that_come_with_the_package(survey: str) -> None:
    table = read_variables(survey)
    assert set(COLUMNS) <= set(table.rows.columns)
    assert table.rows.select("concept", "year").null_count().row(0) == (0, 0)
    named = table.rows.select("reference", "questions")
    assert all(reference or questions for reference, questions in named.iter_rows())


def test_a_new_round_is_added_and_an_old_one_replaced(tmp_path: Path) -> None:
    shipped = read_variables("nlsy79")
    path = mine(tmp_path, "occupation_2002,2024,T99999.01,", "occupation_2002, 2022 ,,MYJOB MY-OTHER.JOB")
    table = read_variables("nlsy79", path)
    assert table.meaning["T9999901"] == ("occupation_2002", "2024")
    assert table.meaning["MYJOB_2022"] == table.meaning["MY_OTHER_JOB_2022"] == ("occupation_2002", "2022")
    assert "T8982400" not in table.meaning
    assert "T8982400" in shipped.meaning
    assert table.years("occupation_2002") == [*shipped.years("occupation_2002"), "2024"]
    assert set(table.meaning) - set(shipped.meaning) == {"T9999901", "MYJOB_2022", "MY_OTHER_JOB_2022"}


def test_questions_may_be_left_out(tmp_path: Path) -> None:
    path = mine(tmp_path, "grade,2024,t9999901", header="concept,year,reference")
    assert read_variables("nlsy79", path).meaning["T9999901"] == ("grade", "2024")


def test_words_that_the_reader_knows_besides(tmp_path: Path) -> None:
    path = mine(tmp_path, "occupation_2010,2024,,MYJOB")
    assert read_variables("nlsy79", path, ["occupation_2010"]).years("occupation_2010") == ["2024"]
    with pytest.raises(LaborLLMError, match="column concept, row 1: 'occupation_2010' is none of"):
        read_variables("nlsy79", path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["job,2024,T1,"], "column concept, row 1: 'job' is none of at_interview, birth_year"),
        (["grade,2024,T9999901,", "grade,next,T9999902,"], "column year, row 2: 'next' is no survey year"),
        (["grade,,T9999901,"], "column year, row 1: None"),
        (["grade,2024,R02167.01,", "grade,2026,banana,"], "column reference, row 2: 'BANANA' is no reference number"),
        (["grade,2024, ,"], "row 1: grade 2024 has neither reference nor questions"),
        (["grade,2024,T8982400,"], "row 1: T8982400 is grade of 2024, but already occupation_2002 of 2022"),
        (["region,2022,,SAMPWEIGHT"], "row 1: SAMPWEIGHT_2022 is region of 2022, but already weight of 2022"),
        (
            ["grade,2024,T9999901,", "grade,2026,T9999901,"],
            "row 2: T9999901 is grade of 2026, but already grade of 2024",
        ),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(LaborLLMError, match=f"mine.csv.*{message}"):
        read_variables("nlsy79", mine(tmp_path, *lines))


def test_a_table_without_a_column(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"column 'reference' is missing; the columns are concept, year; give"):
        read_variables("nlsy79", mine(tmp_path, "grade,2024", header="concept,year"))


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"none.csv: no such file"):
        read_variables("nlsy79", tmp_path / "none.csv")


def test_names_and_tagset_of_the_table() -> None:
    table = read_variables("nlsy79")
    assert table.questions["R0000500"] == {"Q1_3_A_Y"}
    assert table.questions["R6592900"] == {"CPSOCC80", "CPSOCC80_01"}
    lines = table.tagset("R0000100")
    assert lines[0] == "R0000100"
    assert lines[1:] == sorted(set(lines[1:]))
    assert set(lines[1:]) == set(table.rows["reference"].drop_nulls())
