"""`laborllm bootstrap`, `laborllm compare`, `laborllm report`, as a user meets them in a fresh folder."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from laborllm.commands.results import app
from laborllm.errors import LaborLLMError
from laborllm.running.run import run_study
from laborllm.study import read_careers, read_study
from tests.test_cli import laborllm

COMMANDS = ("bootstrap", "compare", "report")
SIMULATED = '[survey]\nsource = "simulated"\npeople = 200\noccupations = 10\n'
MODELS = """
[models.transition]
kind = "transition"

[models.second]
kind = "transition"
order = 2

[evaluation]
by = ["gender"]
bootstrap = 30
"""
TABLE = """
[survey]
source = "table"
files = ["my data/table.csv"]
"""


def command(*arguments: str, folder: Path) -> Result:
    """What a command prints in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)


@pytest.fixture(scope="module", autouse=True)
def quick_report() -> Iterator[None]:
    """The page is tested elsewhere, and below by a whole process."""

    def written(out: Path) -> Path:
        (out / "tables").mkdir(exist_ok=True)
        (out / "tables" / "main.csv").write_text("model\n")
        (out / "report.html").write_text("a page")
        return out / "report.html"

    with pytest.MonkeyPatch.context() as patch:
        for module in ("laborllm.running.run", "laborllm.running.compare", "laborllm.report.page"):
            patch.setattr(f"{module}.write_report", written)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a person-year table, two studies on it and the run of the first."""
    made = tmp_path_factory.mktemp("results")
    (made / "simulated.toml").write_text(SIMULATED + MODELS)
    (made / "my data").mkdir()
    rows = read_careers(read_study(made / "simulated.toml")).table
    rows.with_columns(pl.col("occupation").cast(pl.String)).write_csv(made / "my data" / "table.csv")
    (made / "study.toml").write_text(TABLE + MODELS)
    (made / "other.toml").write_text(TABLE + MODELS.replace("order = 2", "weights = [100.0]"))
    run_study(read_study(made / "study.toml"), made / "first", command="laborllm run study.toml")
    return made


def test_every_command_has_an_example() -> None:
    for name in COMMANDS:
        done = command(name, "--help", folder=Path.cwd())
        assert done.exit_code == 0
        assert f"laborllm {name}" in done.stdout


def test_bootstrap_prints_both_parts_and_goes_on(folder: Path) -> None:
    shutil.copytree(folder / "first", folder / "refitted")
    given = ("bootstrap", "study.toml", "--refits", "2", "--models", "transition", "--out", "refitted")
    done = command(*given, folder=folder)
    assert done.exit_code == 0, done.exception
    assert re.search(r"model +┃ perplexity ┃ test +┃ training ┃ both +┃ 95 % interval", done.stdout)
    assert "refitted/refits.csv" in done.stdout
    assert pl.read_csv(folder / "refitted" / "refits.csv")["model"].unique().to_list() == ["transition"]
    more = command("bootstrap", "study.toml", "--refits", "3", "--out", "refitted", folder=folder)
    assert more.exit_code == 0, more.exception
    assert "second" in more.stdout
    stages = json.loads((folder / "refitted" / "record.json").read_text())["stages"]
    skipped = {stage["stage"]: stage["skipped"] for stage in stages}
    assert skipped["models/second"]
    assert skipped["refits/2/transition"]
    assert not skipped["refits/2/second"]
    wrong = command("bootstrap", "study.toml", "--models", "llm", "--out", "refitted", folder=folder)
    assert isinstance(wrong.exception, LaborLLMError)
    assert command("bootstrap", "study.toml", "--refits", "1", folder=folder).exit_code == 2


def test_compare_prints_the_pairs(folder: Path) -> None:
    run_study(read_study(folder / "other.toml"), folder / "other", command="laborllm run other.toml")
    done = command("compare", "first", "other", "--common", folder=folder)
    assert done.exit_code == 0, done.exception
    assert "first-second" in done.stdout
    assert "first: 0 of its" in done.stdout
    assert "The report: runs/first-other/report.html" in done.stdout
    record = json.loads((folder / "runs" / "first-other" / "record.json").read_text())
    assert record["command"] == "laborllm compare first other --common --out runs/first-other"
    wrong = command("compare", "first", "none", folder=folder)
    assert str(wrong.exception).startswith("none: holds no run of laborllm")


def test_report_writes_the_page_again(folder: Path) -> None:
    (folder / "first" / "report.html").unlink()
    done = command("report", "first", folder=folder)
    assert done.exit_code == 0, done.exception
    assert done.stdout == "The report: first/report.html\n"
    assert (folder / "first" / "report.html").is_file()
    assert not (folder / "first" / "replication").exists()
    none = command("report", "my data", folder=folder)
    assert isinstance(none.exception, LaborLLMError)
    assert not list((folder / "my data").glob("*.html"))


@pytest.mark.slow
def test_the_replication_package_repeats_the_study(folder: Path, tmp_path: Path) -> None:
    """In processes of their own, with the real page."""
    done = laborllm("run", "study.toml", "--out", "published", folder=folder)
    assert done.returncode == 0, done.stderr
    done = laborllm("report", "published", "--replication", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "The replication package: published/replication/README.md" in done.stdout
    assert "marked TODO are left to you" in done.stdout
    package = tmp_path / "package"
    shutil.copytree(folder / "published" / "replication", package)
    digest, place = (package / "inputs.sha256").read_text().strip().split("  ")
    assert place == "data/table.csv"
    (package / "data").mkdir()
    shutil.copy(folder / "my data" / "table.csv", package / place)
    assert hashlib.sha256((package / place).read_bytes()).hexdigest() == digest
    again = laborllm("run", "study.toml", "--out", "run", folder=package)
    assert again.returncode == 0, again.stderr
    sums = dict(line.split("  ")[::-1] for line in (package / "outputs.sha256").read_text().splitlines())
    for name in ("evaluation.csv", "comparisons.csv", "careers.parquet", "tables/main.csv"):
        assert hashlib.sha256((package / "run" / name).read_bytes()).hexdigest() == sums[name]
    twice = laborllm("report", "published", "--replication", folder=folder)
    assert twice.returncode == 1
    assert "is there already, perhaps with your words" in twice.stderr
    assert len(twice.stderr.strip().splitlines()) == 1
