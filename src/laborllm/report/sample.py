"""The tables of what went in and what was run: sample flow, split, models, inputs, stages."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from laborllm.report.folder import RunFolder
from laborllm.report.numbers import fixed, percent, seconds, whole
from laborllm.report.tables import Table, text_rows
from laborllm.survey.careers import PARTS, Careers

KINDS = {"kept": "sample", "dropped": "dropped", "recoded": "recoded", "noted": "noted"}


def sample_tables(run: RunFolder) -> list[Table]:
    """How the sample came about and how it was split."""
    tables = [flow_table(run), split_table(run), occupations_table(run)]
    return [table for table in tables if table is not None]


def repeat_tables(run: RunFolder) -> list[Table]:
    """What is needed to repeat the run: input files and stages."""
    tables = [inputs_table(run), stages_table(run)]
    return [table for table in tables if table is not None]


def flow_table(run: RunFolder) -> Table | None:
    """The steps from the survey's files to the sample; None where neither careers nor record tell them."""
    steps = flow_steps(run)
    if not steps:
        return None
    rows = [
        (str(step.get("what", "")), KINDS.get(step.get("kind", "kept"), str(step.get("kind"))), *_sizes(step))
        for step in steps
    ]
    columns = ("what", "kind", "people", "person_years")
    frame = pl.DataFrame([{name: step.get(name) for name in columns} for step in steps], infer_schema_length=None)
    return Table(
        name="sample_flow",
        title="From the survey's files to the sample",
        caption="Read from top to bottom: 'sample' rows say who is in after the step, 'dropped' rows who left and why, "
        "'recoded' rows whose values were changed, 'noted' rows what the files lack.",
        head=("Step", "Kind", "People", "Person-years"),
        rows=text_rows(rows),
        frame=frame,
        words=2,
        ordered=True,
    )


def flow_steps(run: RunFolder) -> Sequence[Mapping[str, Any]]:
    """The steps of the sample flow (what, people, person_years, kind), of the careers or else of the record."""
    return [vars(step) for step in run.careers.flow] or mappings(run.record.get("rows"))


def _sizes(sizes: Mapping[str, Any]) -> tuple[str, str]:
    return whole(sizes.get("people")), whole(sizes.get("person_years"))


def parts_of(careers: Careers) -> dict[str, Careers]:
    """Part -> its careers, in the order of ``PARTS``; empty where the careers are not split."""
    if "split" not in careers.table.columns:
        return {}
    return {part: careers.part(part) for part in PARTS}


def split_table(run: RunFolder) -> Table | None:
    """People, person-years and years of each part; None where the careers are not split."""
    parts = parts_of(run.careers)
    if not parts:
        return None
    columns = ("part", "people", "person_years", "first_year", "last_year", "share_move")
    frame = pl.DataFrame([_describe(part, careers) for part, careers in parts.items()], schema=list(columns))
    rows = [
        (part, whole(people), whole(rows), f"{first}–{last}" if first else "–", percent(moves))
        for part, people, rows, first, last, moves in frame.iter_rows()
    ]
    return Table(
        name="split",
        title="People who teach and people who test",
        caption="Models learn from the training people and choose their settings on the validation people; every "
        "result on this page is about the test people, whom no model has seen.",
        head=("Part", "People", "Person-years", "Years", "Share of moves"),
        rows=text_rows(rows),
        frame=frame,
    )


def _describe(part: str, careers: Careers) -> dict[str, Any]:
    years, later = careers.table["year"], careers.transition != "first"
    return {
        "part": part,
        "people": careers.people if len(careers) else 0,
        "person_years": len(careers),
        "first_year": years.min(),
        "last_year": years.max(),
        "share_move": float((careers.transition[later] == "move").mean()) if later.any() else None,
    }


def occupations_table(run: RunFolder) -> Table:
    """The ten occupations with the most person-years."""
    counts = run.careers.table["occupation"].cast(pl.String).value_counts(sort=False)
    top = counts.sort(["count", "occupation"], descending=[True, False]).head(10)
    titles = dict(zip(run.careers.occupations.codes, run.careers.occupations.titles, strict=True))
    top = top.with_columns(
        title=pl.col("occupation").replace_strict(titles, return_dtype=pl.String),
        share=pl.col("count") / max(len(run.careers), 1),
    ).select("occupation", "title", person_years="count", share="share")
    rows = [(title, code, whole(count), percent(share)) for code, title, count, share in top.iter_rows()]
    return Table(
        name="occupations",
        title="The most frequent occupations",
        caption=f"The {len(rows)} most frequent of the {len(run.careers.occupations)} entries of the closed list, by "
        "person-years in the whole sample.",
        head=("Occupation", "Code", "Person-years", "Share"),
        rows=text_rows(rows),
        frame=top,
        words=2,
    )


def inputs_table(run: RunFolder) -> Table | None:
    """The files that went in, with their hashes."""
    inputs = mappings(run.record.get("inputs"))
    if not inputs:
        return None
    rows = [(str(one.get("file", "–")), whole(one.get("bytes")), str(one.get("sha256", "–"))) for one in inputs]
    frame = pl.DataFrame(
        [{name: one.get(name) for name in ("file", "bytes", "sha256")} for one in inputs], infer_schema_length=None
    )
    return Table(
        name="inputs",
        title="Files that went in",
        caption="The SHA-256 of your own copy must be the same for the numbers to be the same.",
        head=("File", "Bytes", "SHA-256"),
        rows=text_rows(rows),
        frame=frame,
    )


def stages_table(run: RunFolder) -> Table | None:
    """Seconds and peak memory of each stage, with the total."""
    stages = mappings(run.record.get("stages"))
    if not stages:
        return None
    shown = _refits_together(stages)
    rows = [_stage_row(stage) for stage in shown]
    total = sum(stage.get("seconds") or 0 for stage in stages)
    peak = _peak(stages)
    rows.append(("All stages", seconds(total), f"{fixed(peak, 0)} MiB" if peak else "–", ""))
    columns = ("stage", "seconds", "peak_memory_mib", "skipped")
    return Table(
        name="stages",
        title="Time and memory of each stage",
        caption="Wall-clock time and highest memory in use; a skipped stage was taken over from an earlier run with "
        "the same inputs and settings.",
        head=("Stage", "Time", "Peak memory", "Skipped"),
        rows=text_rows(rows),
        frame=pl.DataFrame([{name: one.get(name) for name in columns} for one in stages], infer_schema_length=None),
        ordered=True,
    )


def _refits_together(stages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The stages with all refits of all models as one, where the first of them stands."""
    refits = [stage for stage in stages if str(stage.get("stage")).startswith("refits/")]
    if not refits:
        return list(stages)
    together = {
        "stage": f"refits ({len(refits)})",
        "seconds": sum(stage.get("seconds") or 0 for stage in refits),
        "peak_memory_mib": _peak(refits) or None,
        "skipped": all(stage.get("skipped") for stage in refits),
    }
    return [together if stage is refits[0] else stage for stage in stages if stage is refits[0] or stage not in refits]


def _peak(stages: Sequence[Mapping[str, Any]]) -> float:
    """The highest memory in use, MiB; 0 where none is known."""
    return max((stage.get("peak_memory_mib") or 0 for stage in stages), default=0)


def _stage_row(stage: Mapping[str, Any]) -> tuple[str, str, str, str]:
    memory = stage.get("peak_memory_mib")
    return (
        str(stage.get("stage", "–")),
        seconds(stage.get("seconds")),
        "–" if memory is None else f"{fixed(memory, 0)} MiB",
        "yes" if stage.get("skipped") else "",
    )


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in a list of the record; empty where the record holds no such list."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping of the record; empty where the record holds none."""
    return value if isinstance(value, Mapping) else {}
