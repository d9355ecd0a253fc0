"""Headers, dictionaries and set-ups."""

from pathlib import Path

import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.nls.extracts import read_extract
from tests.survey.nls.examples import DICTIONARY

FREE = "data list file pcdat free /\n  R0000100 (F5)\n  R0214800 (F2)\n.\nvariable labels\n  R0214800  'SEX OF R'\n.\n"


def read(folder: Path, data: str, **beside: str) -> list[tuple[int, ...]]:
    for suffix, text in beside.items():
        (folder / f"a.{suffix}").write_text(text)
    (folder / "a.dat").write_text(data)
    return read_extract(folder / "a.dat").table.rows()


def test_a_free_set_up(tmp_path: Path) -> None:
    assert read(tmp_path, "2 1\n1 -5\n", sps=FREE) == [(1, -5), (2, 1)]
    assert read_extract(tmp_path / "a.dat").variables[0].label == "SEX OF R"


@pytest.mark.parametrize(
    "command",
    [
        "DATA LIST FILE='c:/my data/a.dat' FIXED RECORDS=1 /1 R0000100 1-5 (F) R0214800 6-7 (F).",
        "data list file=pcdat /\n R0000100 1 - 5\n R0214800 6-7\n.",
        "data list file=pcdat /\n R0000100 1-5 (F5.0) R0214800 6-7 .",
    ],
)
def test_fixed_columns(tmp_path: Path, command: str) -> None:
    assert read(tmp_path, "    2 1\n12345-5\n", sps=command) == [(2, 1), (12345, -5)]


def test_one_character_is_a_column(tmp_path: Path) -> None:
    assert read(tmp_path, "12\n", sps="data list file=pcdat / R0000100 1 R0214800 2.") == [(1, 2)]


def test_a_dictionary_or_a_short_description_names_the_columns(tmp_path: Path) -> None:
    assert read(tmp_path, "1 2 9\n", dct=DICTIONARY) == [(1, 2, 9)]


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ({"sps": FREE, "dct": DICTIONARY}, "the .sps beside it names 2 columns, the .dct 3 or others; keep the one"),
        ({"sps": "get file='x'.\n"}, "has no 'data list'; give the SPSS set-up"),
        ({"sps": FREE.replace("(F2)", "2-3")}, "is no variable with a whole format such as (F5)"),
        (
            {"sps": FREE.replace("(F2)", "(F8.2)")},
            "'R0214800 (F8.2)' in 'data list' is no variable with a whole",
        ),
        ({"sps": FREE.replace(" free", "")}, "is no variable with its columns such as 1-5"),
        ({"sps": "data list file=x / R0000100 1-5 R0214800 5-6."}, "R0214800 5-6 overlaps the columns before it"),
        ({"sps": "data list file=x / R0000100 5-1."}, "R0000100 5-1 overlaps"),
        ({"sps": "data list file=x /."}, "'data list' names no variable"),
        ({"sps": "data list file=x free / R0000100 (F5)"}, "'data list' is cut off before its full stop"),
    ],
)
def test_bad_set_ups_are_refused(tmp_path: Path, beside: dict[str, str], message: str) -> None:
    with pytest.raises(LaborLLMError) as caught:
        read(tmp_path, "1 2\n", **beside)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "a."))
