"""What a study may name as its survey: everything is described, and every file that is read is known."""

from pathlib import Path
from typing import get_args

import pytest
from pydantic import TypeAdapter

from laborllm.survey.sources import SOURCES, TAGSETS, SurveySettings, describe, files_of, paths_in

FILES = {"career_text": {"folder": "."}, "simulated": {}}


def settings(source: str) -> SurveySettings:
    given = {"source": source, **FILES.get(source, {"files": ["made.csv"]})}
    return TypeAdapter(SurveySettings).validate_python(given)


def test_every_source_is_listed() -> None:
    union, _ = get_args(SurveySettings)
    assert tuple(get_args(kind.model_fields["source"].annotation)[0] for kind in get_args(union)) == SOURCES


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_is_described(source: str) -> None:
    title, sentence = describe(settings(source))
    assert title
    assert sentence.endswith(".")


def test_codebooks_and_set_ups_of_the_same_name_are_read_too(tmp_path: Path) -> None:
    for name in ("extract.dct.zip", "extract.cdb", "EXTRACT.sdf", "extract.txt", "extracts.cdb", "prices.csv"):
        (tmp_path / name).touch()
    given = {"source": "nlsy79", "files": [tmp_path / "extract.dct.zip"], "wage": True, "wage_dollars": 2000}
    study = TypeAdapter(SurveySettings).validate_python({**given, "prices": tmp_path / "prices.csv"})
    assert paths_in(study) == [tmp_path / "extract.dct.zip", tmp_path / "prices.csv"]
    names = [path.name for path in files_of(study)]
    assert names == ["extract.dct.zip", "prices.csv", "EXTRACT.sdf", "extract.cdb"]


def test_the_files_of_a_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.job").touch()
    (tmp_path / "below").mkdir()
    study = TypeAdapter(SurveySettings).validate_python({"source": "career_text", "folder": tmp_path})
    assert files_of(study) == [tmp_path / "train.job"]


def test_every_list_of_variables_is_there() -> None:
    for path in TAGSETS.values():
        assert path.read_text().split()
