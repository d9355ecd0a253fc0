"""The whole set of tables from survey files, in a rehearsal on made-up ones."""

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from laborllm.cli import app
from laborllm.errors import LaborLLMError
from laborllm.running.reproduce import Materials, reproduce


def test_without_a_survey_nothing_starts(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match="no survey is given; give the files of at least one of nlsy79"):
        reproduce(Materials({}), tmp_path / "out", command="test")
    with pytest.raises(LaborLLMError, match="'gsoep' is none of the surveys of the paper"):
        reproduce(Materials({"gsoep": ()}), tmp_path / "out", command="test")
    with pytest.raises(LaborLLMError, match="resumes.parquet: cannot read"):
        reproduce(
            Materials({"nlsy79": (tmp_path / "a.csv",)}, resumes=(tmp_path / "resumes.parquet",)),
            tmp_path / "out",
            command="test",
        )


@pytest.mark.slow
def test_a_rehearsal_on_two_made_up_surveys(tmp_path: Path) -> None:
    runner = CliRunner()
    for survey in ("nlsy79", "nlsy97"):
        made = ["survey", "simulate", "--like", survey, "--people", "120", "--occupations", "8"]
        assert runner.invoke(app, [*made, "--out", str(tmp_path / survey)], catch_exceptions=False).exit_code == 0
    files = {survey: tmp_path / survey / f"{survey}.csv" for survey in ("nlsy79", "nlsy97")}
    given = ["reproduce", "--nlsy79", str(files["nlsy79"]), "--nlsy97", str(files["nlsy97"]), "--rehearsal"]
    done = runner.invoke(app, [*given, "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0
    page = (tmp_path / "out" / "reproduction.html").read_text()
    assert "A rehearsal" in page
    tables = sorted(path.stem for path in (tmp_path / "out" / "tables").glob("table_*.csv"))
    assert [name.split("_", 2)[2] for name in tables] == [
        *("samples", "perplexity", "differences", "by_transition", "moving", "by_group"),
        *("titles", "pooling", "size", "history", "covariates"),
    ]
    perplexity = pl.read_csv(tmp_path / "out" / "tables" / "table_02_perplexity.csv")
    assert set(perplexity["column"]) == {"NLSY79", "NLSY97"}
    absent = pl.read_csv(tmp_path / "out" / "tables" / "not_run.csv")
    assert any("--checkpoint" in command for command in absent["command"])
    assert any("--psid" in command for command in absent["command"])
