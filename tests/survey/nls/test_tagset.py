"""Tagsets: read, written, refused."""

from pathlib import Path

import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.nls.extracts import read_extract
from laborllm.survey.nls.tagset import read_tagset, write_tagset


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.NLSY79"
    write_tagset(path, ["R0000100", "T5256900"])
    assert path.read_bytes() == b"R0000100\nT5256900\n"
    assert read_tagset(path) == ["R0000100", "T5256900"]


def test_windows_line_ends_and_no_end_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.NLSY97"
    path.write_bytes(b"R0000100\r\nZ9071700")
    assert read_tagset(path) == ["R0000100", "Z9071700"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no variable; give a tagset"),
        ("R0000100\nR00002.00\n", "row 2: 'R00002.00' is no reference number such as R0000100"),
        ("R0000100\n\nR0000100\n", "row 3: R0000100 stands twice"),
    ],
)
def test_bad_tagsets_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.NLSY79"
    path.write_text(text)
    with pytest.raises(LaborLLMError) as caught:
        read_tagset(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_bad_tagsets_are_not_written(tmp_path: Path) -> None:
    for name, references, message in [
        ("a.txt", ["R0000100"], "'.txt' names no cohort"),
        ("a.NLSY79", [], "no variable is given"),
        ("a.NLSY79", ["CASEID"], "row 1: 'CASEID' is no reference number"),
    ]:
        with pytest.raises(LaborLLMError, match=message):
            write_tagset(tmp_path / name, references)
    assert not list(tmp_path.iterdir())


@pytest.mark.real_data
@pytest.mark.parametrize("stem", ["investigator_2016/NLS_79", "investigator_2020/NLSY79_supplement1"])
def test_a_real_tagset_names_its_extract(real_data: Path, tmp_path: Path, stem: str) -> None:
    folder = real_data / "data" / "nlsy79"
    references = read_tagset(folder / f"{stem}.NLSY79")
    extract = read_extract(folder / f"{stem}.csv")
    assert references == ["R0000100", *(variable.reference for variable in extract.variables)]
    write_tagset(tmp_path / "again.NLSY79", references)
    assert (tmp_path / "again.NLSY79").read_bytes() == (folder / f"{stem}.NLSY79").read_bytes()
