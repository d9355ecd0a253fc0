"""The sentences say what the numbers say."""

from pathlib import Path

import polars as pl

from laborllm.report.findings import answer, details
from laborllm.report.folder import read_run

from .conftest import MODELS, Made, write_run


def said(out: Path) -> str:
    run = read_run(out)
    return " ".join([*answer(run), *details(run)])


def test_worst_group_is_named_with_its_interval(run_folder: Path) -> None:
    assert "predicts worst for education “graduate degree”" in said(run_folder)


def test_small_groups_are_not_singled_out(run_folder: Path) -> None:
    evaluation = pl.read_csv(run_folder / "evaluation.csv")
    few = pl.when(pl.col("group") == "education=graduate degree").then(5).otherwise(pl.col("people"))
    evaluation.with_columns(few.alias("people")).write_csv(run_folder / "evaluation.csv")
    assert "predicts worst for education “college”" in said(run_folder)


def test_no_lead_is_claimed_where_the_interval_includes_zero(tmp_path: Path) -> None:
    models = (MODELS[0], Made("llm", 9.869, "language_model", mass=0.9))
    text = said(write_run(tmp_path / "out", models))
    assert "an interval that includes zero: no clear lead" in text
    assert "excludes zero" not in text


def test_baseline_that_wins_is_said_to_win(tmp_path: Path) -> None:
    text = said(write_run(tmp_path / "out", (MODELS[0], MODELS[3])))
    assert "No model beats the baseline transition." in text
    assert "lower than that of the runner-up no change" in text


def test_floor_is_no_competitor(run_folder: Path) -> None:
    text = said(run_folder)
    assert "The best of 3 models is llm" in text
    assert "knowing them (oracle) gives 7.31" in text


def test_realised_only_run_says_what_is_missing(tmp_path: Path) -> None:
    assert "only raw perplexities" in said(write_run(tmp_path / "out", MODELS[4:]))
