"""Wage equations and a gap of a study, from its file to the pages."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.analysis.wages.gap_settings import GapNetworkSettings, GapSettings
from laborllm.analysis.wages.semi_simulated import with_wages
from laborllm.analysis.wages.wage_terms import WageSettings
from laborllm.errors import LaborLLMError
from laborllm.running.wages import study_gap, study_wages
from laborllm.study import Study, read_study
from laborllm.survey.simulated.simulate import simulate
from laborllm.survey.simulated.world import SimulatedSettings

STUDY = """
[survey]
source = "table"
files = ["careers.parquet"]

[models.transition]
kind = "transition"

[models.bag]
kind = "bag_of_jobs"
width = 8
training = { updates = 10, evaluations = 1 }

[models.career]
kind = "career"
training = { updates = 10, evaluations = 1 }

[evaluation]
bootstrap = 50
by = []
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A table with made-up wages in which women have 0.2 log points less, whatever their history."""
    folder = tmp_path_factory.mktemp("wages")
    careers = simulate(SimulatedSettings(people=400, occupations=10, first_year=1979, last_year=1988))
    woman = (careers.table["gender"] == "female").to_numpy().astype(float)
    year = (careers.table["year"] - 1979).to_numpy().astype(float)
    rng = np.random.default_rng(1)
    paid = with_wages(
        careers, np.column_stack([woman, year]), np.array([-0.2, 0.05]), person_noise=0.1, row_noise=0.1, rng=rng
    )
    paid.table.with_columns(pl.col("occupation").cast(pl.String)).write_parquet(folder / "careers.parquet")
    (folder / "study.toml").write_text(STUDY)
    return read_study(folder / "study.toml"), folder / "run"


def test_wages_to_the_page(study: tuple[Study, Path]) -> None:
    """Every model's representations stand in the table; a network without a linear head has no states."""
    content, out = study
    page = study_wages(content, WageSettings(components=5), out, command="laborllm wages study.toml")
    table = pl.read_csv(out / "wages" / "wages.csv")
    assert table["specification"].to_list() == [
        "Mincer",
        "hand-made history",
        "occupation",
        "transition: probabilities",
        "bag: probabilities",
        "career: probabilities",
        "career: states",
    ]
    assert (table["r_squared"] > 0.5).all()  # gender and year, which Mincer has, are most of it
    assert (table["gain"].abs() < 0.03).all()
    assert "equation explains" in page.read_text()
    assert (out / "wages" / "figures" / "wages_gain.png").is_file()


def test_gap_to_the_page(study: tuple[Study, Path]) -> None:
    """What was planted is found by every method; models are fitted again without the group."""
    content, out = study
    network = GapNetworkSettings(width=4, hidden=8, updates=60, learning_rate=0.03, weight_decay=0.0, group_weight=1.0)
    settings = GapSettings(models=("career",), folds=2, network=network, bootstrap=20)
    page = study_gap(content, settings, out, command="laborllm gap study.toml")
    table = pl.read_csv(out / "gap" / "gap.csv").filter(pl.col("part") == "unexplained")
    assert table.height == 6
    for row in table.iter_rows(named=True):
        assert row["estimate"] == pytest.approx(-0.2, abs=0.08), row["method"]
        assert 0 < row["std_error"] < 0.08
    assert "neither the effect of the group nor a measure of discrimination" in page.read_text()
    assert (out / "gap" / "models" / "career" / "model.json").is_file()
    assert "female" not in (out / "gap" / "models" / "career" / "model.json").read_text()


def test_what_stands_in_the_way_is_said(study: tuple[Study, Path], tmp_path: Path) -> None:
    content, out = study
    with pytest.raises(LaborLLMError, match="wages.models names 'logit'; the models are transition, bag, career"):
        study_wages(content, WageSettings(models=("logit",)), out, command="")
    with pytest.raises(LaborLLMError, match="gap.of names 'woman', but nobody with a wage has that gender"):
        study_gap(content, GapSettings(of=("woman", "male")), out, command="")
