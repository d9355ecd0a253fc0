"""The table and the figure of published rates agree with aggregates.csv."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.evaluation.published.aggregate_rates import RATES, compare_with_aggregates
from laborllm.evaluation.published.aggregates import LINES, Aggregates
from laborllm.models.probabilities import Probabilities
from laborllm.report.aggregates import aggregates_findings, aggregates_plots, aggregates_tables
from laborllm.report.drawing import as_svg
from laborllm.report.folder import read_run
from laborllm.report.numbers import percent
from laborllm.report.tables import as_markdown, as_tex
from laborllm.survey.careers import Careers


@pytest.fixture
def found(run_folder: Path) -> pl.DataFrame:
    """aggregates.csv of three models, as the evaluation writes it; nobody is at risk of the last rate."""
    test = Careers.read(run_folder / "careers.parquet").part("test")
    codes = np.array(test.occupations.codes)
    states = np.array(test.occupations.is_state)
    members = {"employed": ~states, "unemployed": codes == "unemployed", "any": states | True}
    rates = [
        ("employed", "employed", 0.8, None, None, 0.01, "all", "CPS"),
        ("employed", "unemployed", 0.02, 1980, 1990, None, "gender=female", "CPS"),
        ("unemployed", "employed", 0.4, None, 1990, None, "all", None),
        ("any", "unemployed", 0.04, 2060, 2060, None, "all", None),
    ]
    aggregates = Aggregates(pl.DataFrame(rates, schema=LINES, orient="row"), members)
    names = ("transition", "llm", "oracle")
    predictions = {name: Probabilities.read(run_folder / "probabilities" / f"{name}.parquet") for name in names}
    frame = compare_with_aggregates(predictions, test, aggregates, EvaluationSettings(bootstrap=100))
    frame.write_csv(run_folder / "aggregates.csv")
    return frame


def test_a_run_without_published_rates_shows_none(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert aggregates_tables(run) == aggregates_plots(run) == aggregates_findings(run) == []


def test_the_table_says_what_the_file_says(run_folder: Path, found: pl.DataFrame) -> None:
    (table,) = aggregates_tables(read_run(run_folder))
    assert len(table.rows) == found.height == 12
    assert set(table.frame.columns) == set(RATES)
    assert table.frame["implied"].to_list() == found["implied"].to_list()
    first = [cell.text for cell in table.rows[0]]
    row = found.row(0, named=True)
    assert first[:7] == ["employed", "employed", "all", "all", "CPS", "transition", "80.00%"]
    assert first[7:11] == [percent(row[n], 2) for n in ("observed", "implied", "minus_published", "minus_observed")]
    assert table.rows[0][9].strong == (row["minus_published_ci_low"] > 0 or row["minus_published_ci_high"] < 0)
    assert [row[2].text for row in table.rows[1:4]] == ["1980–1990", "–1990", "2060"]
    assert [cell.text for cell in table.rows[3]][7:] == ["–", "–", "–", "–", "0"]
    assert "weighted" not in table.note
    assert "80.00%" in as_markdown(table)
    assert r"80.00\%" in as_tex(table)


def test_weights_and_gaps_are_told(run_folder: Path, found: pl.DataFrame) -> None:
    found.with_columns(without_weight=3, other_gaps=pl.int_range(pl.len()) % 4).write_csv(run_folder / "aggregates.csv")
    (table,) = aggregates_tables(read_run(run_folder))
    assert "weighted by survey weights" in table.note
    assert "6 times a person's next row came later than a year" in table.note  # 0 + 1 + 2 + 3, once for all models


def test_the_figure_holds_the_rates_that_are_known(run_folder: Path, found: pl.DataFrame) -> None:
    (plot,) = aggregates_plots(read_run(run_folder))
    assert plot.frame.height == 9
    assert set(plot.frame["model"]) == {"transition", "llm", "oracle"}
    svg = as_svg(plot)
    assert "llm, from employed to unemployed" in svg
    (axes,) = plot.figure.axes
    assert axes.get_xscale() == "log"
    never = found.with_columns(implied=pl.when(pl.col("published") == 0.02).then(0.0).otherwise("implied"))
    never.write_csv(run_folder / "aggregates.csv")
    (plot,) = aggregates_plots(read_run(run_folder))
    assert plot.figure.axes[0].get_xscale() == "linear"


def test_findings_are_of_the_best_model(run_folder: Path, found: pl.DataFrame) -> None:
    (finding,) = aggregates_findings(read_run(run_folder))
    llm = found.filter(pl.col("model") == "llm").drop_nulls("implied")
    worst = llm.sort(pl.col("minus_published").abs())[-1].row(0, named=True)
    inside = ((llm["minus_published_ci_low"] <= 0) & (llm["minus_published_ci_high"] >= 0)).sum()
    assert finding.startswith(f"Of 3 published rates, {inside} lie within the 95% CI of the rate that llm implies. ")
    assert f"from {worst['from']} to {worst['to']}: published {percent(worst['published'])}, implied by llm" in finding
