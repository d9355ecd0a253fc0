"""Tables and the figure of who gains agree with gains.csv and gains_by_feature.csv."""

from pathlib import Path

import polars as pl
import pytest

from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.evaluation.groups.gains import FEATURES, LEAVES, who_gains
from laborllm.models.probabilities import Probabilities
from laborllm.report.drawing import as_svg
from laborllm.report.folder import read_run
from laborllm.report.gains import gains_findings, gains_plots, gains_tables
from laborllm.report.tables import as_markdown, as_tex
from laborllm.survey.careers import Careers

RULES = (
    ("everybody", 0.5, 1.0, None, 0.08),
    ("tenure ≤ 2 and (occupation frequency ≥ 2202 or first row) and ethnicity = black or african american",
     1.7, 0.6, 0.0004, None),
    ("tenure ≥ 3 and education = college", 0.2, 0.4, 0.01, None),
    ("first row", 0.45, 0.0, 0.9, None),
)  # fmt: skip


def leaves_of(a: str, b: str, rules: tuple = RULES) -> pl.DataFrame:
    rows = [
        (a, b, rule, gain, 0.05, gain - 0.1, gain + 0.1, share, p_value, 900, 80, explained)
        for rule, gain, share, p_value, explained in rules
    ]
    return pl.DataFrame(rows, schema=LEAVES, orient="row")


def features_of(a: str, b: str) -> pl.DataFrame:
    rows = [
        (a, b, "all", "everybody", 0.5, 0.05, 0.4, 0.6, 1.0, None, 1800, 160),
        (a, b, "title_length", "5 to 12", -0.5, 0.05, -0.6, -0.4, -0.3, 0.002, 700, 90),
        (a, b, "title_length", "first row", 0.0, 0.05, -0.1, 0.1, 0.0, 0.6, 160, 160),
    ]
    return pl.DataFrame(rows, schema=FEATURES, orient="row")


@pytest.fixture
def out(run_folder: Path) -> Path:
    pairs = [("llm", "transition"), ("llm", "no change")]
    pl.concat([leaves_of(*pairs[0]), leaves_of(*pairs[1], RULES[:1])]).write_csv(run_folder / "gains.csv")
    pl.concat([features_of(*pair) for pair in pairs]).write_csv(run_folder / "gains_by_feature.csv")
    return run_folder


def test_a_run_without_gains_shows_none(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert gains_tables(run) == gains_plots(run) == gains_findings(run) == []


def test_tables_say_what_the_files_say(out: Path) -> None:
    tables = {table.name: table for table in gains_tables(read_run(out))}
    assert list(tables) == [
        "gains_llm_over_transition", "gains_by_feature_llm_over_transition",
        "gains_llm_over_no_change", "gains_by_feature_llm_over_no_change",
    ]  # fmt: skip
    leaves = tables["gains_llm_over_transition"]
    assert [row[0].text for row in leaves.rows] == [rule for rule, *_ in RULES]
    assert [cell.text for cell in leaves.rows[1]] == [RULES[1][0], "1.700", "5.47", "< 0.001", "60.0%", "80", "900"]
    assert leaves.rows[1][1].interval == "[1.600, 1.800]"
    assert leaves.rows[1][1].strong
    assert "No split" not in leaves.note
    assert "Tenure: years in the last occupation; occupation frequency: training rows in it. p: " in leaves.note
    assert "No split holds up" in tables["gains_llm_over_no_change"].note
    features = tables["gains_by_feature_llm_over_transition"]
    first = [cell.text for cell in features.rows[1]]
    assert first[:5] == ["title length", "5 to 12", "−0.500", "0.61", "0.002"]
    assert not features.rows[2][2].strong
    for table in tables.values():
        assert all(len(row) == len(table.head) for row in table.rows)
        assert "95% CI" in as_markdown(table)
    assert "(0.0500)" in as_tex(leaves)


def test_the_figure_holds_every_group_of_every_pair(out: Path) -> None:
    (plot,) = gains_plots(read_run(out))
    assert plot.frame.height == len(RULES) + 1
    svg = as_svg(plot)
    for rule, *_ in RULES:
        assert rule in svg  # what the page tells whoever points at the marker
    assert "1.70 [1.60, 1.80]" in plot.alt


def test_findings_name_those_who_differ(out: Path) -> None:
    first, second = gains_findings(read_run(out))
    assert "0.50 [0.40, 0.60] nats a person-year on average; it is largest where tenure ≤ 2" in first
    assert "and smallest where tenure ≥ 3 and education = college: 0.20 [0.10, 0.30]" in first
    assert "3 groups explain 8.0% of" in first
    assert "no group of people was found that gains more or less" in second
    same = [(rule, gain, share, p_value and 0.5, explained) for rule, gain, share, p_value, explained in RULES]
    leaves_of("llm", "transition", tuple(same)).write_csv(out / "gains.csv")
    (only,) = gains_findings(read_run(out))
    assert "do not differ from that by more than chance allows" in only


def test_what_the_evaluation_finds_can_be_shown(run_folder: Path) -> None:
    careers = Careers.read(run_folder / "careers.parquet")
    llm, transition = (
        Probabilities.read(run_folder / "probabilities" / f"{name}.parquet") for name in ("llm", "transition")
    )
    found = who_gains(
        llm, transition, careers.part("test"), careers.part("train"), names=("llm", "transition"),
        settings=EvaluationSettings(bootstrap=0),
    )  # fmt: skip
    found.leaves.write_csv(run_folder / "gains.csv")
    found.features.write_csv(run_folder / "gains_by_feature.csv")
    run = read_run(run_folder)
    leaves, features = gains_tables(run)
    assert leaves.frame["gain"].to_list() == found.leaves["gain"].to_list()
    assert features.frame["gain"].to_list() == found.features["gain"].to_list()
    assert gains_plots(run)[0].frame.height == found.leaves.height
    assert gains_findings(run)
