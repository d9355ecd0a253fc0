"""The main job at full size: the demonstration, and the real NLSY79 files. Slow."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from laborllm.running.run import run_study
from laborllm.study import read_careers, read_study
from laborllm.survey.careers import Careers

ROOT = Path(__file__).parents[1]


def run(study: Path, out: Path) -> Path:
    run_study(read_study(study), out, command="test")
    return out


@pytest.fixture
def example(real_data: Path, tmp_path: Path) -> Callable[[str], Path]:
    """An example study, its files looked for where the real data are."""

    def written(name: str) -> Path:
        content = (ROOT / "examples" / name).read_text().replace("../../shared", str(real_data))
        (tmp_path / name).write_text(content)
        return tmp_path / name

    return written


def perplexity(out: Path, model: str, metric: str = "perplexity") -> float:
    rows = pl.read_csv(out / "evaluation.csv").filter(
        (pl.col("task") == "occupation") & (pl.col("subset") == "all") & (pl.col("group") == "all")
    )
    return float(rows.filter((pl.col("model") == model) & (pl.col("metric") == metric))["estimate"][0])


def difference(out: Path, model_a: str, model_b: str) -> dict[str, float]:
    """a - b with its interval, whichever way round the pair is listed."""
    rows = pl.read_csv(out / "comparisons.csv").filter(
        (pl.col("task") == "occupation")
        & (pl.col("metric") == "perplexity")
        & (pl.col("subset") == "all")
        & (pl.col("group") == "all")
    )
    for row in rows.iter_rows(named=True):
        if (row["model_a"], row["model_b"]) == (model_a, model_b):
            return {"low": row["ci_low"], "high": row["ci_high"]}
        if (row["model_b"], row["model_a"]) == (model_a, model_b):
            return {"low": -row["ci_high"], "high": -row["ci_low"]}
    raise LookupError(f"{model_a} and {model_b} are not compared")


@pytest.mark.slow
def test_the_demonstration(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = run(ROOT / "src" / "laborllm" / "demo.toml", tmp_path)
    assert difference(out, "llm", "transition")["high"] < 0
    assert difference(out, "llm", "oracle")["low"] > 0
    attainable = pl.read_csv(out / "attainable.csv").filter(pl.col("model") == "llm")
    assert attainable["share"][0] >= 0.4
    stages = json.loads((out / "record.json").read_text())["stages"]
    assert max(stage["peak_memory_mib"] for stage in stages) < 4096


@pytest.mark.real_data
def test_nlsy79_counts_and_transition_perplexity(example: Callable[[str], Path], tmp_path: Path) -> None:
    study = read_study(example("nlsy79.toml"))
    careers = read_careers(study)
    assert careers.people == 12_044
    assert len(careers) == 134_439
    assert len(careers.occupations) == careers.table["occupation"].n_unique() == 330
    transition = {"transition": study.models["transition"]}
    out = tmp_path / "out"
    run_study(study.model_copy(update={"models": transition}), out, command="test")
    assert perplexity(out, "transition") == pytest.approx(30.6, abs=1)
    assert Careers.read(out / "careers.parquet").table.equals(careers.table)


@pytest.mark.slow
@pytest.mark.real_data
def test_nlsy79_language_model(example: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = run(example("nlsy79.toml"), tmp_path / "out")
    assert perplexity(out, "llm") <= 22.5
    assert difference(out, "llm", "transition")["high"] < 0


@pytest.mark.slow
@pytest.mark.real_data
def test_nlsy79_with_a_real_checkpoint(example: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = run(example("nlsy79_checkpoint.toml"), tmp_path / "out")
    untouched, tuned = (perplexity(out, name, "perplexity_raw") for name in ("stories", "stories_tuned"))
    assert math.log10(untouched) - math.log10(tuned) > 1
