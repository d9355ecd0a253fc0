"""The command line, as a user meets it in a fresh folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_study import CLASSICAL, WITH_LANGUAGE_MODEL

COMMANDS = ("demo", "run", "careers", "resumes", "check", "bootstrap", "compare", "report", "experiment", "structure")
COMMANDS += ("reproduce", "simulate", "wages", "gap")


def laborllm(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "laborllm", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study.toml").write_text(CLASSICAL)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, tmp_path: Path) -> None:
    done = laborllm(command, "--help", folder=tmp_path)
    assert done.returncode == 0
    assert f"laborllm {command}" in done.stdout


def test_run_ends_with_the_table_and_the_report(folder: Path) -> None:
    done = laborllm("run", "study.toml", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "transition" in done.stdout
    assert f"runs/{folder.name}/report.html" in done.stdout
    assert (folder / "runs" / folder.name / "report.html").is_file()
    repeated = laborllm("run", f"runs/{folder.name}/study.toml", folder=folder)
    assert repeated.returncode == 0, repeated.stderr
    record = json.loads((folder / "runs" / folder.name / "record.json").read_text())
    assert all(stage["skipped"] for stage in record["stages"])


def test_an_error_is_one_line_and_exit_code_1(folder: Path) -> None:
    done = laborllm("run", "none.toml", folder=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: none.toml: cannot read")
    assert len(done.stderr.strip().splitlines()) == 1
    traced = laborllm("--debug", "run", "none.toml", folder=folder)
    assert "Traceback" in traced.stderr


def test_a_wrong_word_is_a_usage_error(folder: Path) -> None:
    assert laborllm("rnu", "study.toml", folder=folder).returncode == 2


def test_careers_writes_a_table(folder: Path) -> None:
    done = laborllm("careers", "study.toml", "--out", "made/careers.parquet", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "person-years: made/careers.parquet" in done.stdout
    assert (folder / "made" / "careers.parquet").is_file()


def test_resumes_prints_text(folder: Path) -> None:
    (folder / "study.toml").write_text(WITH_LANGUAGE_MODEL + 'text = { titles = "numeric" }\n')
    done = laborllm("resumes", "study.toml", "--people", "2", folder=folder)
    assert done.stdout.count("<END OF DATA>") == 2
    numeric = laborllm("resumes", "study.toml", "--model", "llm", folder=folder)
    assert ": job_" in numeric.stdout
    wrong = laborllm("resumes", "study.toml", "--model", "transition", folder=folder)
    assert wrong.returncode == 1
    assert "is no language model of this study" in wrong.stderr


def test_check_runs_nothing(folder: Path) -> None:
    pytest.importorskip("torch")
    (folder / "study.toml").write_text(WITH_LANGUAGE_MODEL)
    done = laborllm("check", "study.toml", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "titles tokenized" in done.stdout
    assert [path.name for path in folder.iterdir()] == ["study.toml"]
