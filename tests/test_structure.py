"""The structure of occupations, from the command line, on a run with every kind of vectors."""

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from laborllm.cli import app
from laborllm.errors import LaborLLMError

STUDY = """
[survey]
source = "simulated"
people = 250
occupations = 10
last_year = 1988
[models.transition]
kind = "transition"
[models.career]
kind = "career"
training = { updates = 10, evaluations = 1 }
[models.llm]
kind = "language_model"
scratch = "tiny"
training = { epochs = 0.2 }
[evaluation]
bootstrap = 20
[report]
model_pages = false
workers = 0
"""


@pytest.mark.slow
def test_vectors_of_every_kind_of_model(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    runner = CliRunner()
    done = runner.invoke(app, ["run", str(study), "--out", str(tmp_path / "run")], catch_exceptions=False)
    assert done.exit_code == 0
    done = runner.invoke(app, ["structure", str(tmp_path / "run")], catch_exceptions=False)
    assert done.exit_code == 0
    out = tmp_path / "run" / "structure"
    found = pl.read_csv(out / "structure.csv")
    assert found.select("model", "source").rows() == [
        ("transition", "where its predictions lead"),
        ("career", "where its predictions lead"),
        ("career", "what it reads of an occupation"),
        ("llm", "where its predictions lead"),
        ("llm", "what it reads of a résumé of one row"),
    ]
    read = found.filter(pl.col("source") != "where its predictions lead")
    assert read["occupations"].to_list() == [13, 13]  # every entry of the list, seen or not
    page = (out / "structure.html").read_text()
    assert all(f'id="figure-map_{number}"' in page for number in range(1, 6))
    assert pl.read_csv(out / "neighbours.csv")["rank"].max() == 5


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match="holds no run of a study; give the folder of a finished run"):
        CliRunner().invoke(app, ["structure", str(tmp_path)], catch_exceptions=False)
