"""The section on forecasts out of time: tables and figure hold what forecast.csv holds."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.report.drawing import as_svg
from laborllm.report.folder import read_run
from laborllm.report.forecasts import forecasts_plots, forecasts_tables
from laborllm.report.numbers import perplexity
from laborllm.report.tables import as_markdown

HORIZONS = ("1", "2", "10", "11+", "all")
NAMES = ("transition", "llm", "oracle", "no change")


def made_up() -> tuple[pl.DataFrame, pl.DataFrame]:
    """forecast.csv and forecast_comparisons.csv, rows in no order."""
    rng, rows, pairs = np.random.default_rng(0), [], []
    for way in ("one_step", "path"):
        for place, horizon in enumerate(HORIZONS):
            for nth, model in enumerate(NAMES):
                for task, metric, level in (("occupation", "perplexity", 6 + nth + place), ("move", "auc", 0.8)):
                    value = level * (1 + 0.02 * rng.random())
                    spread = (0.02 * value, 0.96 * value, 1.04 * value) if horizon != "10" else (None,) * 3
                    rows.append((model, way, horizon, task, metric, value, *spread, 300 - place, 120 - place))
            pairs.append(("transition", "llm", way, horizon, "occupation", "perplexity", 0.5, 0.1, 0.3, 0.7, 300, 120))
    end = ["std_error", "ci_low", "ci_high", "person_years", "people"]
    words = ["way", "horizon", "task", "metric"]
    return (
        pl.DataFrame(rows, schema=["model", *words, "estimate", *end], orient="row").sample(
            fraction=1, shuffle=True, seed=1
        ),
        pl.DataFrame(pairs, schema=["model_a", "model_b", *words, "difference", *end], orient="row"),
    )


@pytest.fixture
def out(run_folder: Path) -> Path:
    for name, frame in zip(("forecast", "forecast_comparisons"), made_up(), strict=True):
        frame.write_csv(run_folder / f"{name}.csv")
    return run_folder


def test_no_forecast_no_section(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert forecasts_tables(run) == []
    assert forecasts_plots(run) == []


def test_tables_are_forecast_csv(out: Path) -> None:
    run = read_run(out)
    tables = {table.name: table for table in forecasts_tables(run)}
    assert set(tables) == {"forecast_occupation_perplexity", "forecast_move_auc", "forecast_differences"}
    table = tables["forecast_occupation_perplexity"]
    written = pl.read_csv(out / "forecast.csv").filter(task="occupation", metric="perplexity")
    keys = ["model", "way", "horizon"]
    both = written.join(table.frame, on=keys)
    assert both.height == written.height == len(NAMES) * 2 * len(HORIZONS)
    assert both["estimate"].to_list() == both["perplexity"].to_list()
    ways = ["By path"] * 5 + ["One step"] * 5
    years = ["1 year", "2 years", "10 years", "11 years or more", "all"]
    assert [row[0].text for row in table.rows] == ways
    assert [row[1].text for row in table.rows] == 2 * years
    markdown = as_markdown(table)
    assert all(perplexity(value) in markdown for value in written["estimate"])
    assert table.head[4:] == tuple(model for model in run.models if model in NAMES)
    assert [row[2].text for row in tables["forecast_differences"].rows] == ["One step", "By path"]
    assert all(row[3].strong for row in tables["forecast_differences"].rows)


def test_the_figure_holds_every_number_but_the_total(out: Path) -> None:
    (plot,) = forecasts_plots(read_run(out))
    written = pl.read_csv(out / "forecast.csv").filter(pl.col("horizon") != "all")
    both = written.join(plot.frame, on=["model", "way", "horizon", "task", "metric"])
    assert both.height == written.height == plot.frame.height
    assert both["estimate"].to_list() == both["estimate_right"].to_list()
    assert "llm from " in plot.alt
    assert "11 years or more" in plot.alt
    svg = as_svg(plot)
    assert svg.count('class="tip"') == written.height
    assert "llm, 2 years: " in svg


def test_a_single_horizon_and_measure(out: Path) -> None:
    frame = made_up()[0].filter(horizon="2", metric="perplexity", model="llm")
    frame.write_csv(out / "forecast.csv")
    (out / "forecast_comparisons.csv").unlink()
    run = read_run(out)
    assert len(forecasts_tables(run)) == len(forecasts_plots(run)) == 1
