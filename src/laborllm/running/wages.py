"""Wages of a study: wage equations with and without its models' representations, and gaps in wages."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl

from laborllm.analysis.wages.gap_settings import GapSettings
from laborllm.analysis.wages.wage_terms import SCHOOLING, WageRows, WageSettings, wage_rows
from laborllm.analysis.wages.wages import wage_equations
from laborllm.evaluation.uncertainty import draw_weights
from laborllm.files import file_hash, sole_writer, write_tables
from laborllm.record import Record
from laborllm.report.gap import write_gap_page
from laborllm.report.numbers import interval_name
from laborllm.report.wages import write_wages_page
from laborllm.running.representations import chosen_models, represent
from laborllm.running.run import fingerprint_of_model, run_study
from laborllm.running.stages import clear_unless
from laborllm.study import Progress, Study, needs_torch
from laborllm.survey.careers import Careers


def study_wages(
    study: Study,
    settings: WageSettings,
    out: Path,
    *,
    command: str,
    progress: Progress = lambda stage, done, total: None,
) -> Path:
    """Run wage equations on a study's people and write OUT/wages; what of the run is missing is done first.

    The folder: wages.csv and coefficients.csv (``analysis.wages.WageFindings``), record.json, tables, a figure and
    wages.html.

    Args:
        study: the study, its paths absolute; its survey has wages.
        settings: its section [wages].
        out: the run folder.
        command: the command line, for the record.
        progress: called with (stage, done, total).

    Returns:
        The page's path.

    Raises:
        LaborLLMError: the survey has no wages, a name is no model of the study, or the disk stands in the way.
    """
    names = chosen_models(study, settings.models, "wages")
    run_study(study, out, command=command, progress=progress)
    with sole_writer(out / "wages"):
        careers = Careers.read(out / "careers.parquet")
        rows = wage_rows(careers, settings.schooling)
        found: dict[str, np.ndarray] = {}
        for name in names:
            folder = out / "models" / name
            whole = represent(name, study, careers, settings.representations, folder=folder, progress=progress)
            found |= {each: values[rows.rows] for each, values in whole.items()}
        evaluation = study.evaluation
        people = len(np.unique(rows.person[rows.part("test")]))
        draws = draw_weights(people, evaluation.bootstrap, np.random.default_rng(evaluation.seed))
        findings = wage_equations(rows, found, settings=settings, draws=draws, confidence=evaluation.confidence)
        frames = {"wages": findings.table, "coefficients": findings.coefficients}
        record = _record(study, rows, command)
        _write(out / "wages", frames, record)
        page = out / "wages" / "wages.html"
        return write_wages_page(
            findings,
            rows,
            page,
            ci=interval_name(study.evaluation.confidence),
            facts=_facts(study, record, evaluation.bootstrap),
        )


def study_gap(
    study: Study,
    settings: GapSettings,
    out: Path,
    *,
    command: str,
    schooling: Mapping[str, float] = SCHOOLING,
    progress: Progress = lambda stage, done, total: None,
) -> Path:
    """Decompose a gap in wages between two groups of a study's people and write OUT/gap.

    What of the run is missing is done first. Models whose representations are read are fitted once more, on careers
    that do not tell the group: a representation that knows it leaves nobody to compare with.

    The folder: gap.csv, overlap.csv and terms.csv (``analysis.gap_tables.GapFindings``), record.json, tables, a figure
    and gap.html.

    Args:
        study: the study, its paths absolute; its survey has wages.
        settings: its section [gap].
        out: the run folder.
        command: the command line, for the record.
        schooling: years of schooling of each level of education.
        progress: called with (stage, done, total).

    Returns:
        The page's path.

    Raises:
        LaborLLMError: the survey has no wages, a name is no model of the study, a group is empty or too small, torch is
            not installed, or the disk stands in the way.
    """
    names = chosen_models(study, settings.models, "gap") if settings.models else ()
    with needs_torch("gap"):
        from laborllm.analysis.wages.gap_tables import gap_findings
    run_study(study, out, command=command, progress=progress)
    with sole_writer(out / "gap"):
        careers = Careers.read(out / "careers.parquet")
        rows = wage_rows(careers, schooling)
        found = _blind_representations(
            study, names, careers=careers, rows=rows, settings=settings, out=out, progress=progress
        )
        findings = gap_findings(
            rows,
            found,
            settings,
            confidence=study.evaluation.confidence,
            progress=lambda done, total: progress("gap", done, total),
        )
        frames = {"gap": findings.table, "overlap": findings.overlap, "terms": findings.terms}
        record = _record(study, rows, command)
        _write(out / "gap", frames, record)
        facts = _facts(study, record, settings.bootstrap)
        return write_gap_page(
            findings, settings, out / "gap" / "gap.html", ci=interval_name(study.evaluation.confidence), facts=facts
        )


def _blind_representations(
    study: Study,
    names: Sequence[str],
    *,
    careers: Careers,
    rows: WageRows,
    settings: GapSettings,
    out: Path,
    progress: Progress,
) -> dict[str, np.ndarray]:
    """Representations by models that never see the group, of the rows of the wage equation."""
    group = pl.lit(None, dtype=careers.table.schema[settings.group]).alias(settings.group)
    blind = replace(careers, table=careers.table.with_columns(group))
    found: dict[str, np.ndarray] = {}
    for name in names:
        folder = out / "gap" / "models" / name
        data = [file_hash(out / "careers.parquet"), settings.group]
        clear_unless(folder, fingerprint_of_model(study.models[name], study, data))
        whole = represent(name, study, blind, ("probabilities", "states"), folder=folder, progress=progress)
        kept = whole.get(f"{name}: states", whole.get(f"{name}: probabilities"))
        if kept is not None:
            found[name] = kept[rows.rows]
    return found


def _record(study: Study, rows: WageRows, command: str) -> Record:
    record = Record(command=command, seed=study.split.seed)
    record.rows = [asdict(step) for step in rows.steps]
    return record


def _write(folder: Path, frames: Mapping[str, pl.DataFrame], record: Record) -> None:
    write_tables(folder, frames)
    record.write(folder)


def _facts(study: Study, record: Record, draws: int) -> dict[str, str]:
    steps = [f"{step['what']}: {step['person_years']:,}" for step in record.rows]
    return {
        "Command": record.command,
        "laborllm": record.laborllm,
        "Started": record.started,
        "Rows": "; ".join(steps),
        "Bootstrap": f"{draws} draws of people",
    }
