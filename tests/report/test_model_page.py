"""A model's page holds its own numbers, and its differences are those of the comparisons."""

from pathlib import Path

import polars as pl
import pytest

from laborllm.report.folder import read_run
from laborllm.report.model_page import find_model_page, metrics_table, model_card, model_findings
from laborllm.report.page import write_report

from .conftest import MODELS, write_run
from .test_page import Page


def read(out: Path, model: str) -> Page:
    return Page((out / "pages" / f"{model}.html").read_text(encoding="utf-8"))


def test_metrics_are_those_of_evaluation_csv(full_folder: Path) -> None:
    evaluation = pl.read_csv(full_folder / "evaluation.csv").filter(model="llm", subset="all", group="all")
    metrics = pl.read_csv(full_folder / "tables" / "llm" / "metrics.csv")
    both = evaluation.join(metrics, on=["task", "metric"])
    assert both.height == evaluation.height == metrics.height > 10
    for column in ("estimate", "std_error", "ci_low", "band_high", "std_error_delta"):
        assert both[column].to_list() == both[f"{column}_right"].to_list()


def test_differences_are_taken_from_this_models_side(full_folder: Path) -> None:
    for name, sign in (("oracle", -1), ("transition", 1)):
        rivals = pl.read_csv(full_folder / "tables" / name / "rivals.csv")
        assert len(rivals) == 2
        assert all(sign * difference > 0 for difference in rivals["difference"])
        assert (rivals["ci_low"] < rivals["difference"]).all()
        assert (rivals["band_low"] < rivals["ci_low"]).all()
        assert (rivals["ci_high"] < rivals["band_high"]).all()


def test_every_transition_and_group_has_its_row(full_folder: Path) -> None:
    cells = pl.read_csv(full_folder / "tables" / "llm" / "cells.csv")
    evaluation = pl.read_csv(full_folder / "evaluation.csv").filter(model="llm", task="occupation", metric="perplexity")
    assert len(cells) == len(evaluation) - 1
    both = cells.join(evaluation, on=["subset", "group"])
    assert both["perplexity"].to_list() == both["estimate"].to_list()


def test_page_tells_what_it_is_and_where_it_stands(full_folder: Path) -> None:
    page = read(full_folder, "llm")
    assert "A made-up model of kind language_model" in page.text
    assert "By test perplexity it is number 1 of 2 models that compete." in page.text
    assert "lower than that of the runner-up transition, an interval that excludes zero, as does the one" in page.text
    assert 'kind = "language_model"' in page.text
    assert "963,456" in page.text
    assert "../report.html" in page.addresses
    assert {"oracle.html", "transition.html"} <= set(page.addresses)
    assert {"figure-calibration", "figure-rivals"} <= page.alts.keys()
    assert "no competitor" in read(full_folder, "oracle").text


def test_time_and_memory_are_those_of_its_stage(run_folder: Path) -> None:
    run = read_run(run_folder)
    stages = [{"stage": "models/llm", "seconds": 231.4, "peak_memory_mib": 1840.2}]
    run = type(run)(**(vars_of(run) | {"record": {**run.record, "stages": stages}}))
    assert model_card(run, "llm")["cost"] == {"time to fit and score": "231 s", "highest memory in use": "1,840 MiB"}
    assert model_card(run, "oracle")["cost"] == {}


def vars_of(run) -> dict:
    return {name: getattr(run, name) for name in run.__dataclass_fields__}


def test_lesser_model_is_set_against_best_and_baseline(run_folder: Path) -> None:
    text = " ".join(model_findings(read_run(run_folder), "no change"))
    assert "number 3 of 3" in text
    assert "the best model llm" in text
    assert "the baseline transition" in text
    assert "higher than that of" in text


def test_realised_only_model_has_a_page(run_folder: Path) -> None:
    run = read_run(run_folder)
    page = find_model_page(run, "off_the_shelf", None)
    assert "realised titles" in page.words["findings"][0]
    assert page.tables.keys() == {"metrics", "cells"}
    assert not page.plots


def test_names_that_are_no_file_names_get_one(tmp_path: Path) -> None:
    out = write_run(tmp_path / "out", MODELS[3:4], report="workers = 0")
    write_report(out)
    assert (out / "pages" / "no_change.html").is_file()
    assert (out / "tables" / "no_change" / "metrics.csv").is_file()


@pytest.mark.parametrize("name", ["roc.csv", "evaluation_weighted.csv"])
def test_broken_newer_table_is_named(full_folder: Path, tmp_path: Path, name: str) -> None:
    out = write_run(tmp_path / "out", MODELS[:2], report="workers = 0")
    (out / name).write_text("model,task\n")
    with pytest.raises(Exception, match=f"{name}: column"):
        write_report(out)


def test_standard_errors_are_in_the_unit_of_their_metric(full_folder: Path) -> None:
    run = read_run(full_folder)
    table = metrics_table(run, "llm")
    assert table.head[3:6] == ("Std. error", "By delta method", "Simultaneous 95% CI")
    cells = {(row[0].text, row[1].text): row for row in table.rows}
    mass = run.estimates("log_mass")["llm"].as_mass()
    shown = cells["next occupation", "mass on the list"]
    assert shown[2].text == "96.2%"
    assert shown[3].text == f"({100 * mass.std_error:.2f})" == "(0.10)"
    assert shown[4].text == f"({100 * 0.99 * mass.std_error:.2f})"
    assert cells["moving", "AUC"][3].text == "(0.004)"
