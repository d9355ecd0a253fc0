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
    assert "Of 3 models llm has the lowest test perplexity, 8.12" in text
    assert "knowing them (oracle) gives 7.31" in text


def test_realised_only_run_says_what_is_missing(tmp_path: Path) -> None:
    assert "only raw perplexities" in said(write_run(tmp_path / "out", MODELS[4:]))


def test_bands_say_whether_a_lead_survives_all_pairs(run_folder: Path) -> None:
    comparisons = pl.read_csv(run_folder / "comparisons.csv")
    for low, high, words in ((1.0, 3.0, "as does the one that holds for all pairs"), (-1.0, 3.0, "at once does not")):
        # transition - llm: the first is the worse
        bands = {"band_low": pl.lit(low), "band_high": pl.lit(high)}
        comparisons.with_columns(**bands).write_csv(run_folder / "comparisons.csv")
        assert words in said(run_folder)


def test_overlapping_groups_are_said_to_overlap(run_folder: Path) -> None:
    evaluation = pl.read_csv(run_folder / "evaluation.csv")
    assert "the two intervals overlap" not in said(run_folder)
    grouped = pl.col("group") != "all"
    wide = [
        pl.when(grouped).then(pl.col("estimate") * factor).otherwise(pl.col(end)).alias(end)
        for end, factor in (("ci_low", 0.5), ("ci_high", 2.0))
    ]
    evaluation.with_columns(*wide).write_csv(run_folder / "evaluation.csv")
    assert "the two intervals overlap, so that the order may be chance" in said(run_folder)


def test_largest_drops_are_named(run_folder: Path) -> None:
    expected = (
        "Dropped on the way to the sample: code maps to no occupation (Census 1980: 999) (1,204 person-years, 104"
    )
    assert expected in said(run_folder)


def test_survey_weights_are_said_to_change_the_order_or_not(run_folder: Path) -> None:
    assert "urvey weights" not in said(run_folder)
    evaluation = pl.read_csv(run_folder / "evaluation.csv")
    evaluation.write_csv(run_folder / "evaluation_weighted.csv")
    assert "Survey weights leave the order of the 3 models as it is; llm then has 8.12 (95% CI" in said(run_folder)
    worse = pl.when(pl.col("model") == "llm").then(pl.col("estimate") * 1.5).otherwise(pl.col("estimate"))
    evaluation.with_columns(estimate=worse).write_csv(run_folder / "evaluation_weighted.csv")
    assert "transition has the lowest perplexity" in said(run_folder)
    assert "but is not clearly ahead of llm, which comes first without them" in said(run_folder)
    comparisons = pl.read_csv(run_folder / "comparisons.csv")
    wider = {"difference": pl.lit(-2.0), "ci_low": pl.lit(-3.0), "ci_high": pl.lit(-1.0)}
    comparisons.with_columns(**wider).write_csv(run_folder / "comparisons_weighted.csv")
    assert "2.00 (95% CI 1.00 to 3.00) lower than that of llm, which comes first without them" in said(run_folder)


def gaps(flagged: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "model": "llm",
            "weighting": "unweighted",
            "quantity": ["stay", "share: Office"],
            "group": ["gender=female", "all"],
            "predicted": [0.6, 0.21],
            "observed": [0.5, 0.2],
            "difference": [0.1, 0.01],
            "std_error": 0.01,
            "ci_low": [0.08, -0.01],
            "ci_high": [0.12, 0.03],
            "p_adjusted": [0.001, 0.9],
            "flagged": [flagged, 0],
            "person_years": 400,
            "people": 45,
        }
    )


def test_groups_off_beyond_chance_are_counted_and_named(run_folder: Path) -> None:
    gaps(1).write_csv(run_folder / "representativeness.csv")
    text = said(run_folder)
    assert (
        "The mean predictions of llm were set beside what happened in 2 cases of a group and a rate; 1 differ" in text
    )
    assert "gender “female”, predicted 60.0% and observed 50.0%, 10.0 (95% CI 8.0 to 12.0) percentage points" in text
    gaps(0).write_csv(run_folder / "representativeness.csv")
    assert "and none differs beyond chance" in said(run_folder)


def test_fading_forecast_is_claimed_only_where_intervals_part(run_folder: Path) -> None:
    for far, words in ((12.0, "rises from 8.00 (95% CI 7.50 to 8.50) 1 year ahead to 12.00"), (8.4, "that overlap")):
        table = pl.DataFrame(
            {
                "model": "llm",
                "way": "path",
                "horizon": ["1", "10", "11+", "all"],
                "task": "occupation",
                "metric": "perplexity",
                "estimate": [8.0, far, 99.0, 9.0],
                "std_error": 0.25,
                "ci_low": [7.5, far - 0.5, 90.0, 8.5],
                "ci_high": [8.5, far + 0.5, 110.0, 9.5],
                "person_years": 100,
                "people": 40,
            }
        )
        table.write_csv(run_folder / "forecast.csv")
        assert words in said(run_folder)
