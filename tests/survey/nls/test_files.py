"""Files of one download: beside each other or in one zip."""

from pathlib import Path

import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.nls.files import file_beside, read_lines, stem, tagsets_beside
from tests.survey.nls.examples import zipped


@pytest.mark.parametrize("name", ["a.b.csv", "a.b.DCT.zip", "a.b.zip", "a.b.dat"])
def test_stems(name: str) -> None:
    assert stem(Path(name)) == "a.b"


def test_what_lies_beside_comes_before_what_is_inside(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.dct.zip", {"x.dct": b"", "x.sdf": b"", "x.NLSY97": b""})
    assert file_beside(path, (".cdb", ".sdf")) == path
    assert tagsets_beside(path) == [".NLSY97"]
    (tmp_path / "a.sdf").touch()
    (tmp_path / "a.NLSY79").touch()
    (tmp_path / "other.cdb").touch()
    assert file_beside(path, (".cdb", ".sdf")) == tmp_path / "a.sdf"
    assert tagsets_beside(path) == [".NLSY79", ".NLSY97"]
    assert file_beside(path, (".sps",)) is None


def test_lines_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.cdb"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\nf\xe9\x0cour")
    assert read_lines(path)[1][1:3] == ["two", "three"]
    path.write_bytes("\ufeffs\xe9\n".encode())
    assert read_lines(path) == (".cdb", ["s\xe9", ""])


def test_a_zip_with_two_codebooks_or_none(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"a.zip: holds 2 .cdb files \(x.cdb, y.cdb\); zip one"):
        read_lines(zipped(tmp_path / "a.zip", {"x.cdb": b"", "y.cdb": b""}))
    with pytest.raises(LaborLLMError, match=r"a.zip: holds no .cdb or .sdf file"):
        read_lines(zipped(tmp_path / "a.zip", {"x.csv": b""}))
