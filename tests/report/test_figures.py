"""Figures stay legible with many models and groups, and their data are the plotted data."""

from pathlib import Path

import polars as pl
import pytest

from laborllm.report.calibration import model_calibration_plot, reliability_plot, roc_plot
from laborllm.report.drawing import MARKERS, SERIES, SERIES_DARK, as_svg, log_ticks, looks_of
from laborllm.report.figures import MOST_GROUPS, MOST_MODELS, find_plots, group_plot, shown_models
from laborllm.report.folder import read_run
from laborllm.survey.careers import EDUCATION

from .conftest import MODELS, Made, write_run


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("colours", "ground"), [(SERIES, "#ffffff"), (SERIES_DARK, "#16181c")])
def test_colours_stand_out_from_the_ground(colours: tuple[str, ...], ground: str) -> None:
    for colour in colours:
        light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_every_model_looks_different() -> None:
    models = [f"model {n}" for n in range(14)]
    looks = looks_of(models, ("model 0", "model 3"))
    assert len(set(looks.values())) == len(models)
    assert len(MARKERS) != len(SERIES)


def test_many_models_and_groups_are_thinned_and_say_so(tmp_path: Path) -> None:
    models = [*MODELS, *(Made(f"variant {n}", 8.3 + 0.2 * n, "language_model", mass=0.9) for n in range(7))]
    out = write_run(tmp_path / "out", models)
    evaluation = pl.read_csv(out / "evaluation.csv")
    more = evaluation.filter(pl.col("group") == "gender=female")
    many = [more.with_columns(group=pl.lit(f"survey={n}"), person_years=pl.lit(n, dtype=pl.Int64)) for n in range(20)]
    pl.concat([evaluation, *many]).write_csv(out / "evaluation.csv")
    run = read_run(out)
    shown = shown_models(run)
    assert len(shown) == MOST_MODELS
    assert {"oracle", "transition", "llm"} <= set(shown)
    plot = group_plot(run, "survey")
    assert plot.frame["group"].n_unique() == MOST_GROUPS
    assert "survey=0" not in plot.frame["group"].to_list()
    assert "12 largest of 20 groups" in plot.caption
    assert "6 of 11 models" in plot.caption


def test_svg_is_coloured_by_the_page_and_has_its_own_ids(run_folder: Path) -> None:
    plots = find_plots(read_run(run_folder))
    for plot in plots:
        svg = as_svg(plot)
        assert "var(--ink)" in svg
        assert not any(colour in svg for colour in SERIES)
        assert svg.startswith("<svg")
        assert f'id="{plot.name}-' in svg


def test_plotted_data_are_the_estimates(run_folder: Path) -> None:
    run = read_run(run_folder)
    plots = {plot.name: plot for plot in find_plots(run)}
    for row in plots["by_transition"].frame.iter_rows(named=True):
        assert row["estimate"] == run.estimates("perplexity", subset=row["subset"])[row["model"]].value
    for row in plots["differences"].frame.iter_rows(named=True):
        assert row["estimate"] == run.differences("perplexity")[row["model_a"], row["model_b"]].value


def test_missing_subgroup_value_is_named(run_folder: Path) -> None:
    evaluation = pl.read_csv(run_folder / "evaluation.csv")
    evaluation.with_columns(pl.col("group").str.replace("=missing", "=")).write_csv(run_folder / "evaluation.csv")
    plots = {plot.name: plot for plot in find_plots(read_run(run_folder))}
    assert "missing: oracle" in plots["by_group_ethnicity"].alt


@pytest.mark.parametrize(
    ("low", "high"), [(1.01, 1.02), (1.2, 900.0), (8.0, 8.3), (3.0, 20.0), (1.0, 1e7), (20.0, 31.0)]
)
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert all(low <= tick <= high for tick in ticks)


def test_education_runs_from_low_to_high_whatever_the_file(run_folder: Path) -> None:
    pl.read_csv(run_folder / "evaluation.csv").sort("group").write_csv(run_folder / "evaluation.csv")
    groups = read_run(run_folder).covariates
    assert [group.partition("=")[2] for group in groups["education"]] == list(EDUCATION)
    assert groups["gender"] == ["gender=female", "gender=male"]


def test_rare_event_fills_its_diagram(run_folder: Path) -> None:
    reliability = pl.read_csv(run_folder / "reliability.csv")
    rare = [pl.col(name) / 5 for name in ("predicted", "observed", "ci_low", "ci_high")]
    reliability.with_columns(*rare).write_csv(run_folder / "reliability.csv")
    plot = reliability_plot(read_run(run_folder), "move")
    assert plot.figure.axes[0].get_xlim()[1] == pytest.approx(0.2 * 1.03)


def test_markers_tell_their_number(run_folder: Path) -> None:
    plots = {plot.name: plot for plot in find_plots(read_run(run_folder))}
    svg = as_svg(plots["perplexity"])
    assert '<g class="tip"><title>oracle: 7.31 [7.14, 7.49]</title>' in svg
    assert "<title>off_the_shelf, raw: " in svg
    assert 'id="perplexity-tip' not in svg


def test_roc_curves_and_calibration_of_one_model(full_folder: Path) -> None:
    run = read_run(full_folder)
    curve = roc_plot(run, "move")
    assert set(curve.frame["model"]) == {"oracle", "llm", "transition"}
    assert "transition 0.7" in curve.alt
    assert roc_plot(run, "leave_labor_force") is None
    plot = model_calibration_plot(run, "llm")
    assert set(plot.frame["task"]) == {"move", "enter_labor_force"}
    assert "Below: ROC curves" in plot.caption
    assert model_calibration_plot(run, "off_the_shelf") is None
