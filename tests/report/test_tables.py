"""Tables agree with evaluation.csv in all three forms."""

import re
from pathlib import Path

import polars as pl
import pytest

from laborllm.report.differences import differences_table, pairs_of
from laborllm.report.folder import read_run
from laborllm.report.numbers import Estimate, perplexity
from laborllm.report.results import main_table, tasks_table, weighted_table
from laborllm.report.tables import Cell, Table, as_markdown, as_tex, tex_escape

from .conftest import MODELS


@pytest.fixture
def out(report_folder: Path) -> Path:
    return report_folder


def test_every_table_has_three_forms(out: Path) -> None:
    names = {path.stem for path in (out / "tables").iterdir()}
    assert {"main", "attainable", "differences", "by_transition", "by_group", "event_move", "sample_flow"} <= names
    assert {"split", "occupations", "examples", "inputs", "stages"} <= names
    assert {path.name for path in (out / "tables").iterdir()} == {
        f"{n}.{s}" for n in names for s in ("csv", "md", "tex")
    }


def test_main_table_is_evaluation_csv(out: Path) -> None:
    evaluation = pl.read_csv(out / "evaluation.csv").filter(pl.col("subset") == "all", pl.col("group") == "all")
    main = pl.read_csv(out / "tables" / "main.csv")
    markdown, tex = ((out / "tables" / f"main.{suffix}").read_text() for suffix in ("md", "tex"))
    for metric in ("perplexity", "perplexity_raw", "accuracy", "top5", "top10", "log_mass"):
        rows = evaluation.filter(pl.col("metric") == metric, pl.col("task") == "occupation")
        both = rows.join(main, on="model")
        assert both.height == rows.height > 0
        assert both["estimate"].to_list() == both[metric].to_list()
        assert both["ci_low"].to_list() == both[f"{metric}_ci_low"].to_list()
        if metric.startswith("perplexity"):
            for value in rows["estimate"]:
                assert perplexity(value) in markdown
                assert perplexity(value) in tex


def test_group_table_holds_every_group(out: Path) -> None:
    evaluation = pl.read_csv(out / "evaluation.csv").filter(
        pl.col("group") != "all", pl.col("metric") == "perplexity", pl.col("task") == "occupation"
    )
    groups = pl.read_csv(out / "tables" / "by_group.csv")
    both = evaluation.join(groups, on=["model", "group"])
    assert both.height == evaluation.height == groups.height
    assert both["estimate"].to_list() == both["perplexity"].to_list()


def test_differences_put_the_better_model_first(out: Path) -> None:
    run = read_run(out)
    pairs = pairs_of(run)
    assert len(pairs) == 6  # all pairs of the four models with a normalised perplexity
    for a, b, metric, difference in pairs:
        assert metric == "perplexity"
        assert difference.value < 0
        assert difference.value == pytest.approx(
            run.estimates("perplexity")[a].value - run.estimates("perplexity")[b].value
        )
        assert difference.interval[0] < difference.value < difference.interval[1]
    table = differences_table(run)
    assert all(row[3].strong == pair[3].excludes_zero for row, pair in zip(table.rows, pairs, strict=True))


def test_flipped_difference_swaps_the_interval() -> None:
    flipped = Estimate(-1.0, 0.1, -1.3, -0.8).flipped()
    assert (flipped.value, flipped.low, flipped.high) == (1.0, 0.8, 1.3)
    assert flipped.excludes_zero
    assert not Estimate(0.1, 0.1, -0.1, 0.3).excludes_zero
    assert not Estimate(0.1).excludes_zero


def test_floor_baseline_and_best_are_marked(out: Path) -> None:
    cells = {row[0].text: row[0].badge for row in main_table(read_run(out)).rows}
    assert cells == {"oracle": "floor", "llm": "best", "transition": "baseline", "no change": "", "off_the_shelf": ""}


def test_mass_is_the_ratio_of_perplexities(out: Path) -> None:
    main = pl.read_csv(out / "tables" / "main.csv").row(1, named=True)
    mass = Estimate(main["log_mass"]).as_mass().value
    assert main["perplexity"] / main["perplexity_raw"] == pytest.approx(mass) == pytest.approx(MODELS[1].mass)


def test_tex_sets_standard_errors_under_the_estimates() -> None:
    rows = ((Cell("a_b"), Cell("8.12", "[7.9, 8.3]", "(0.10)")),)
    table = Table("t", "R&D", "How to read it.", ("Model", "Perplexity"), rows, pl.DataFrame())
    tex = as_tex(table)
    assert "a\\_b & 8.12 \\\\\n & (0.10) \\\\" in tex
    assert "\\toprule" in tex
    assert "R\\&D" in tex
    assert "7.9" not in tex
    assert "| a_b | 8.12 [7.9, 8.3] |" in as_markdown(table)


def test_tex_is_balanced_and_plain(out: Path) -> None:
    for path in (out / "tables").glob("*.tex"):
        text = re.sub(r"\\[{}]", "", path.read_text())
        assert text.count("{") == text.count("}"), path
        rows = [line for line in text.splitlines() if line.endswith("\\\\")]
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in rows}) == 1, path


def test_tex_escape_leaves_no_active_character() -> None:
    assert tex_escape("50% of $x_1$ & {#}") == "50\\% of \\$x\\_1\\$ \\& \\{\\#\\}"


def test_cells_sort_by_the_number_behind_them(full_folder: Path) -> None:
    for row in main_table(read_run(full_folder)).rows:
        for cell in row[1:]:
            assert (cell.number is None) == (cell.text == "–")
    assert Cell("12.3%", value=0.123).number == 0.123
    assert Cell("8 of 9").number == 8
    assert Cell("1979–2000").number is None
    assert Cell("∞").number == float("inf")


def test_other_tasks_stand_in_one_table(full_folder: Path) -> None:
    run = read_run(full_folder)
    table = tasks_table(run)
    assert table.head[1:] == (
        "Moving: AUC", "Entering it: AUC", "Broad group: perplexity", "Where movers go: perplexity",
    )  # fmt: skip
    frame = table.frame.filter(model="llm").row(0, named=True)
    assert frame["broad_group_perplexity"] == run.estimates("perplexity", task="broad_group")["llm"].value


def test_weights_stand_beside_no_weights(full_folder: Path) -> None:
    frame = weighted_table(read_run(full_folder)).frame
    assert frame["perplexity_weighted"].to_list() == pytest.approx((frame["perplexity"] * 1.1).to_list())
    assert [row[4].text for row in weighted_table(read_run(full_folder)).rows] == ["1", "2", "3"]


def test_older_run_has_no_newer_table(out: Path) -> None:
    run = read_run(out)
    assert tasks_table(run) is None
    assert weighted_table(run) is None
    assert "Simultaneous 95% CI" not in differences_table(run).head


def test_simultaneous_intervals_stand_beside_the_others(full_folder: Path) -> None:
    run = read_run(full_folder)
    table = differences_table(run)
    assert table.head[-1] == "Simultaneous 95% CI"
    for row in table.frame.iter_rows(named=True):
        assert row["band_low"] < row["ci_low"] < row["ci_high"] < row["band_high"]
