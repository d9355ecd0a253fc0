"""A study: read, checked, run, repeated, skipped where unchanged, gone on with after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.models.probabilities import Probabilities
from laborllm.run import run_study
from laborllm.study import read_careers, read_study, write_study
from laborllm.survey.careers import PARTS, Careers

CLASSICAL = """
[survey]
source = "simulated"
people = 300
occupations = 12

[models.transition]
kind = "transition"

[models.oracle]
kind = "oracle"

[evaluation]
by = ["gender"]
bootstrap = 50
"""

WITH_LANGUAGE_MODEL = (
    CLASSICAL
    + """
[models.llm]
kind = "language_model"
scratch = "tiny"
training = { epochs = 4, batch = 8 }
"""
)


CELL = ["task", "metric", "subset", "group"]
SPREAD = ["std_error", "ci_low", "ci_high", "person_years", "people"]


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    (tmp_path / "study.toml").write_text(CLASSICAL)
    return tmp_path / "study.toml"


def run(study_file: Path, out: Path) -> Path:
    return run_study(read_study(study_file), out, command="test")


def stages(out: Path) -> dict[str, bool]:
    return {stage["stage"]: stage["skipped"] for stage in json.loads((out / "record.json").read_text())["stages"]}


def test_the_run_folder_is_as_promised(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = run(study_file, out)
    assert report == out / "report.html"
    careers = Careers.read(out / "careers.parquet")
    assert set(careers.table["split"].unique()) == set(PARTS)
    test = careers.part("test")
    for name in ("transition", "oracle"):
        columns = pl.read_parquet(out / "probabilities" / f"{name}.parquet").columns
        assert columns == ["person", "year", "occupation", *careers.occupations.codes]
        read = Probabilities.read(out / "probabilities" / f"{name}.parquet")
        assert read.rows.equals(test.table.select("person", "year", "occupation"))
    assert pl.read_csv(out / "evaluation.csv").columns == ["model", *CELL, "estimate", *SPREAD]
    assert pl.read_csv(out / "comparisons.csv").columns == ["model_a", "model_b", *CELL, "difference", *SPREAD]
    record = json.loads((out / "record.json").read_text())
    assert {"laborllm", "packages", "hardware", "inputs", "rows", "split", "stages", "models"} <= set(record)
    assert not list(out.rglob("*.tmp"))


def test_the_written_study_repeats_the_run(study_file: Path, tmp_path: Path) -> None:
    run(study_file, tmp_path / "a")
    assert tomllib.loads((tmp_path / "a" / "study.toml").read_text())["split"]["shares"] == [0.7, 0.1, 0.2]
    run(tmp_path / "a" / "study.toml", tmp_path / "b")
    for name in ("study.toml", "evaluation.csv", "comparisons.csv", "careers.parquet", "probabilities/oracle.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_unchanged_stages_are_skipped(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(study_file, out)
    assert not any(stages(out).values())
    run(study_file, out)
    assert all(stages(out).values())

    study_file.write_text(CLASSICAL.replace("bootstrap = 50", "bootstrap = 60"))
    run(study_file, out)
    assert stages(out) == {
        "careers": True,
        "models/transition": True,
        "models/oracle": True,
        "evaluation": False,
        "report": False,
    }
    (out / "probabilities" / "oracle.parquet").unlink()
    run(study_file, out)
    assert not stages(out)["models/oracle"]
    assert stages(out)["models/transition"]

    study_file.write_text(CLASSICAL.replace("people = 300", "people = 310"))
    run(study_file, out)
    assert not any(stages(out).values())


def test_a_broken_stage_leaves_the_finished_ones(study_file: Path, tmp_path: Path) -> None:
    table = tmp_path / "careers.csv"
    table.write_text("person,year,occupation\n" + "".join(f"{i},{1980 + t},436\n" for i in range(20) for t in range(3)))
    study_file.write_text(
        '[survey]\nsource = "table"\nfiles = ["careers.csv"]\n[models.transition]\nkind = "transition"\n'
        '[models.oracle]\nkind = "oracle"\n'
    )
    with pytest.raises(LaborLLMError, match=r"models.oracle: only survey.source = \"simulated\" has an oracle"):
        run(study_file, tmp_path / "out")
    assert (tmp_path / "out" / "probabilities" / "transition.parquet").is_file()
    assert not (tmp_path / "out" / "evaluation.csv").exists()
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_people_with_one_row_run_through(study_file: Path, tmp_path: Path) -> None:
    rows = [(person, 1990, "436" if person % 2 else "313") for person in range(30)]
    frame = pl.DataFrame(rows, schema=["person", "year", "occupation"], orient="row")
    frame.write_parquet(tmp_path / "careers.parquet")
    study_file.write_text(
        '[survey]\nsource = "table"\nfiles = ["careers.parquet"]\n[models.transition]\nkind = "transition"\n'
    )
    assert run(study_file, tmp_path / "out").is_file()


def test_the_split_of_a_table_is_kept(study_file: Path, tmp_path: Path) -> None:
    rows = [(person, year, "436", PARTS[person % 3]) for person in range(9) for year in (1990, 1991)]
    frame = pl.DataFrame(rows, schema=["person", "year", "occupation", "split"], orient="row")
    frame.write_csv(tmp_path / "careers.csv")
    study_file.write_text(
        '[survey]\nsource = "table"\nfiles = ["careers.csv"]\n[models.transition]\nkind = "transition"\n'
    )
    careers = read_careers(read_study(study_file))
    assert sorted(careers.part("test").table["person"].unique()) == [2, 5, 8]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[survey", "is no valid TOML"),
        (CLASSICAL.replace("people", "peple"), "survey.peple: Extra inputs are not permitted"),
        (CLASSICAL.replace('"simulated"', '"nlsy78"'), "survey: Input tag 'nlsy78' .* 'nlsy79', 'table', 'simulated'"),
        (CLASSICAL.replace("people = 300", "people = 0"), "survey.people: .*greater than or equal to 1, not 0"),
        (CLASSICAL.replace('kind = "oracle"', 'kind = "delphi"'), "models.oracle: Input tag 'delphi'"),
        (CLASSICAL.replace("[models.oracle]", '[models."a/b"]'), "models.a/b: use letters, digits"),
        (
            '[survey]\nsource = "table"\nfiles = ["no.csv"]\n[models.t]\nkind = "transition"\n',
            "no.csv, which does not exist",
        ),
        ('[survey]\nsource = "simulated"\n', "models: Dictionary should have at least 1 item"),
        (CLASSICAL + "[split]\nshares = [0.7, 0.3]\n", "split.shares"),
    ],
)
def test_a_wrong_study_is_one_line_that_names_the_key(study_file: Path, content: str, message: str) -> None:
    study_file.write_text(content)
    with pytest.raises(LaborLLMError, match=message) as raised:
        read_study(study_file)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(str(study_file))


def test_split_shares_must_sum_to_one(study_file: Path) -> None:
    study_file.write_text(CLASSICAL + "[split]\nshares = [0.7, 0.1, 0.1]\n")
    with pytest.raises(LaborLLMError, match="three positive shares that sum to 1"):
        read_careers(read_study(study_file))


def test_a_missing_study_names_itself(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"none.toml: cannot read \(No such file"):
        read_study(tmp_path / "none.toml")


def test_settings_survive_writing(study_file: Path, tmp_path: Path) -> None:
    study_file.write_text(WITH_LANGUAGE_MODEL)
    study = read_study(study_file)
    write_study(study, tmp_path / "again.toml")
    assert read_study(tmp_path / "again.toml") == study


def test_a_killed_run_ends_like_an_undisturbed_one(study_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    study_file.write_text(WITH_LANGUAGE_MODEL)
    run(study_file, tmp_path / "undisturbed")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "laborllm", "run", str(study_file), "--out", str(out)]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    half_trained = out / "models" / "llm" / "training" / "state.json"
    while not half_trained.is_file() and running.poll() is None:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert half_trained.is_file()
    assert not (out / "probabilities" / "llm.parquet").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert stages(out)["models/transition"]
    for name in ("evaluation.csv", "probabilities/llm.parquet"):
        assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert not list(out.rglob("*.tmp"))


def test_a_full_disk_while_writing_probabilities(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(pl.DataFrame, "write_parquet", full)
        with pytest.raises(LaborLLMError, match="careers.parquet: cannot write"):
            run(study_file, out)
    assert not (out / "careers.parquet").exists()
    run(study_file, out)
    assert (out / "report.html").is_file()
