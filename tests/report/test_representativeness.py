from pathlib import Path

import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.evaluation.groups.representativeness import DISTANCES, GAPS
from laborllm.report.drawing import Plot, as_svg, drawing, settled, write_plot
from laborllm.report.folder import read_run
from laborllm.report.representativeness import (
    MOST_FLAGGED,
    MOST_ROWS,
    NUMBERS,
    WORDS,
    representativeness_plot,
    representativeness_tables,
)
from laborllm.report.tables import as_markdown, as_tex

GROUPS = ("all", "gender=female", "gender=male", "education=college", "education=high school", "region=missing")
PAIRS = ("gender=female & education=college", "gender=male & region=missing")
QUANTITIES = (
    "stay",
    "leave_labor_force",
    "share: Food & Drink",
    "share: Unemployed",
    "flow: Food & Drink → Unemployed",
)


def write_numbers(out: Path, *, flagged: int = 1, weighted: bool = False) -> None:
    """The llm is off in staying among women, everybody else is right."""
    rows, distances = [], []
    for weighting in ("unweighted", *(("weighted",) if weighted else ())):
        for model in ("transition", "llm", "oracle"):
            for group in (*GROUPS, *PAIRS):
                off = model == "llm" and group in ("gender=female", PAIRS[0])
                for number, quantity in enumerate(QUANTITIES):
                    if "flow" in quantity and group in PAIRS:
                        continue
                    gap = -0.084 if off and quantity == "stay" else 0.001 * (number - 1)
                    flag = flagged if gap == -0.084 else 0
                    spread = (0.01, gap - 0.02, gap + 0.02, 0.002 if flag else 1.0, flag)
                    rows.append((model, weighting, quantity, group, 0.5 + gap, 0.5, gap, *spread, 400, 60))
                distance = 0.05 if off else 0.021
                distances.append((model, weighting, group, distance, 0.02, 0.026, 400, 60))
    pl.DataFrame(rows, schema=list(GAPS), orient="row").write_csv(out / "representativeness.csv")
    frame = pl.DataFrame(distances, schema=list(DISTANCES), orient="row")
    frame.write_csv(out / "representativeness_distance.csv")


@pytest.fixture
def run_with_numbers(run_folder: Path) -> Path:
    write_numbers(run_folder)
    return run_folder


def plot_of(folder: Path) -> Plot:
    with drawing():
        plot = representativeness_plot(read_run(folder))
        assert plot is not None
        return settled(plot)


def test_the_files_columns_are_those_that_the_evaluation_writes() -> None:
    assert (*WORDS, *NUMBERS) == tuple(GAPS)


def test_a_run_without_numbers_has_neither_figure_nor_tables(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert representativeness_plot(run) is None
    assert representativeness_tables(run) == []


def test_the_figure_is_of_the_best_rival_and_of_single_groups(run_with_numbers: Path) -> None:
    plot = plot_of(run_with_numbers)
    assert set(plot.frame["model"]) == {"llm"}
    assert plot.frame.height == len(GROUPS) * len(QUANTITIES)
    assert "2 of 38 comparisons differ beyond chance" in plot.alt
    assert "Stay in the occupation of gender “female” −8.4 percentage points" in plot.alt
    svg = as_svg(plot)
    for word in ("everybody", "region missing", "Share: Food &amp; Drink", "Food &amp; Drink → Unemployed", "llm"):
        assert f">{word}</text>" in svg, word
    assert svg.index(">high school</text>") < svg.index(">college</text>")
    assert "Stay in the occupation, gender “female”: predicted 41.6%, observed 50.0%" in svg
    assert "#" not in svg.replace('href="#', "").replace("url(#", "").replace("&#", "")
    strip = [text.get_text() for text in plot.figure.axes[1].texts]
    assert len(strip) == 3 * len(GROUPS)
    assert strip.count("1") == 1


def test_filled_marks_are_the_flagged_ones_and_point_the_way(run_with_numbers: Path) -> None:
    marks = plot_of(run_with_numbers).figure.axes[0].lines
    filled = [mark for mark in marks if mark.get_alpha() == 1]
    assert [mark.get_marker() for mark in filled] == ["v"]
    sizes = [mark.get_markersize() for mark in marks if mark.get_alpha() is not None]
    assert filled[0].get_markersize() == max(sizes)
    assert sum(mark.get_alpha() is not None for mark in marks) == len(GROUPS) * len(QUANTITIES)


def test_the_figure_is_written(run_with_numbers: Path) -> None:
    write_plot(plot_of(run_with_numbers), run_with_numbers / "figures")
    for suffix in ("pdf", "png", "csv"):
        assert (run_with_numbers / "figures" / f"representativeness.{suffix}").stat().st_size > 500


def test_quantities_beyond_the_most_are_left_out_and_said(run_folder: Path) -> None:
    write_numbers(run_folder)
    path = run_folder / "representativeness.csv"
    one = pl.read_csv(path).filter(quantity="share: Unemployed")
    more = [one.with_columns(quantity=pl.lit(f"share: {n}"), difference=pl.lit(0.02 + n / 1e4)) for n in range(40)]
    pl.concat([pl.read_csv(path), *more]).write_csv(path)
    plot = plot_of(run_folder)
    assert plot.frame["quantity"].n_unique() == MOST_ROWS
    assert "stay" in set(plot.frame["quantity"])
    assert "Left out here: the 15 quantities with the smallest differences." in plot.caption


def test_tables(run_with_numbers: Path) -> None:
    models, flagged = representativeness_tables(read_run(run_with_numbers))
    assert [row[0].text for row in models.rows] == ["oracle", "llm", "transition"]
    assert models.rows[0][0].badge == "floor"
    assert [cell.text for cell in models.rows[1][1:]] == ["38", "2", "0.15", "2.1%", "2.0%", "2 of 8"]
    assert len(flagged.rows) == 2
    row = [cell.text for cell in flagged.rows[0]]
    assert row == ["llm", "Stay in the occupation", "gender “female”", "41.6%", "50.0%", "−8.4", "0.002", "400"]
    assert flagged.rows[0][5].interval == "[−10.4, −6.4]"
    for table in (models, flagged):
        assert all(len(row) == len(table.head) for row in table.rows)
        assert as_markdown(table)
        assert as_tex(table)


def test_without_flags_there_is_no_table_of_them(run_folder: Path) -> None:
    write_numbers(run_folder, flagged=0)
    (models,) = representativeness_tables(read_run(run_folder))
    assert {row[2].text for row in models.rows} == {"0"}
    assert "0 of 38" in plot_of(run_folder).alt


def test_weighted_numbers_have_rows_of_their_own(run_folder: Path) -> None:
    write_numbers(run_folder, weighted=True)
    models, flagged = representativeness_tables(read_run(run_folder))
    assert [(row[0].text, row[0].badge) for row in models.rows[:2]] == [("oracle", "floor"), ("oracle", "weighted")]
    assert len(flagged.rows) == 4
    assert plot_of(run_folder).frame.height == len(GROUPS) * len(QUANTITIES)


def test_many_flags_are_cut_and_said(run_folder: Path) -> None:
    write_numbers(run_folder)
    path = run_folder / "representativeness.csv"
    one = pl.read_csv(path).filter(flagged=1).head(1)
    pl.concat([one.with_columns(quantity=pl.lit(f"share: {n}")) for n in range(50)]).write_csv(path)
    flagged = representativeness_tables(read_run(run_folder))[1]
    assert len(flagged.rows) == MOST_FLAGGED
    assert f"The {MOST_FLAGGED} largest; 10 more stand in representativeness.csv." in flagged.caption
    assert flagged.frame.height == 50


def test_numbers_without_bootstrap_are_shown_without_flags(run_folder: Path) -> None:
    write_numbers(run_folder)
    path = run_folder / "representativeness.csv"
    empty = [pl.lit(None).alias(name) for name in ("std_error", "ci_low", "ci_high", "p_adjusted", "flagged")]
    pl.read_csv(path).with_columns(empty).write_csv(path)
    (models,) = representativeness_tables(read_run(run_folder))
    assert {row[2].text for row in models.rows} == {"–"}
    plot = plot_of(run_folder)
    assert "no bootstrap" in plot.caption
    assert "no bootstrap" in plot.alt
    assert not plot.figure.axes[1].texts


def test_a_missing_column_is_told(run_folder: Path) -> None:
    write_numbers(run_folder)
    path = run_folder / "representativeness.csv"
    pl.read_csv(path).drop("flagged").write_csv(path)
    with pytest.raises(LaborLLMError, match=r"representativeness\.csv: column flagged is missing"):
        representativeness_tables(read_run(run_folder))
