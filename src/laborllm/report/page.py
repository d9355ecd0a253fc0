"""The pages: reads a run folder, writes its tables and figures, report.html, a page per model, the worker explorer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2.utils import htmlsafe_json_dumps

from laborllm.files import whole_file
from laborllm.report.definitions import CAVEATS, DEFINITIONS, TERMS_OF_USE
from laborllm.report.drawing import Plot, write_plot
from laborllm.report.examples import RULE, Example, choose_rows, examples_table, find_examples
from laborllm.report.figures import find_plots
from laborllm.report.findings import answer, details, survey_title
from laborllm.report.folder import RunFolder, read_run
from laborllm.report.model_page import find_model_page, model_card
from laborllm.report.numbers import interval, percent, perplexity, whole
from laborllm.report.readings import Reading, read_models
from laborllm.report.results import TASKS, page_of, result_tables
from laborllm.report.sample import mapping, repeat_tables, sample_tables
from laborllm.report.sections import Section, find_sections
from laborllm.report.tables import Table, write_table
from laborllm.report.template import fill
from laborllm.report.workers import RULE as WORKERS_RULE
from laborllm.report.workers import choose_people, rows_of, worker_data


def write_report(out: Path) -> Path:
    """Write ``out/tables``, ``out/figures`` and the pages from the run folder ``out`` alone.

    The pages are report.html, pages/NAME.html for each model and workers.html, the worker explorer, as far as the
    section [report] of the run's study.toml wants them.

    Args:
        out: a run folder (design section 5); careers.parquet and evaluation.csv must be there, the rest may be missing.

    Returns:
        The path of report.html; each page is one file that asks nothing from outside.

    Raises:
        LaborLLMError: a file of the run is missing or is not what a run writes, or the disk is full.
    """
    run = read_run(out)
    people = _People.of(run)
    sections = find_sections(run)
    found = [*sample_tables(run), *result_tables(run), examples_table(people.examples), *repeat_tables(run)]
    found += [table for section in sections for table in section.tables]
    tables = {table.name: table for table in found if table is not None}
    plots = {plot.name: plot for plot in (*find_plots(run), *(plot for one in sections for plot in one.plots))}
    _write_files(out, "", tables, plots)
    page = render(
        run, tables=tables, plots=plots, examples=people.examples, workers=len(people.chosen), sections=sections
    )
    if run.settings.model_pages:
        for model in run.models:
            _write_model_page(run, model, people.readings.get(model))
    if people.chosen:
        _write(out / "workers.html", render_workers(run, people))
    _write(out / "report.html", page)
    _clear_earlier(run, people)
    return out / "report.html"


def _clear_earlier(run: RunFolder, people: "_People") -> None:
    """Remove what an earlier report showed and this one is not to show."""
    pages = {run.path / page_of(model) for model in run.models} if run.settings.model_pages else set()
    left = [page for page in (run.path / "pages").glob("*.html") if page not in pages]
    left += [] if people.chosen else [run.path / "workers.html"]
    left += [] if people.examples else [run.path / "tables" / f"examples.{suffix}" for suffix in ("csv", "md", "tex")]
    for file in left:
        file.unlink(missing_ok=True)
    if not pages and (run.path / "pages").is_dir() and not any((run.path / "pages").iterdir()):
        (run.path / "pages").rmdir()


@dataclass(frozen=True)
class _People:
    """What the pages show of single test people, and what was read of the models' probabilities.

    Attributes:
        readings: model -> reading.
        examples: the example résumés.
        chosen: positions of the people of the worker explorer among the test people.
    """

    readings: Mapping[str, Reading] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    chosen: tuple[int, ...] = ()

    @classmethod
    def of(cls, run: RunFolder) -> "_People":
        if "split" not in run.careers.table.columns:
            return cls()
        test, settings = run.careers.part("test"), run.settings
        rows = choose_rows(test) if settings.examples else []
        chosen = choose_people(test, settings.workers) if settings.examples and settings.workers else []
        wanted = sorted({*rows, *rows_of(test, chosen)})
        readings = read_models(run, test, wanted, mistakes=settings.model_pages)
        examples = find_examples(test, rows, readings)
        return cls(readings, examples, tuple(chosen) if readings else ())


def _write(path: Path, page: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _write_files(out: Path, folder: str, tables: Mapping[str, Table], plots: Mapping[str, Plot]) -> None:
    for table in tables.values():
        write_table(table, out / "tables" / folder)
    for plot in plots.values():
        write_plot(plot, out / "figures" / folder)


def _write_model_page(run: RunFolder, model: str, reading: Reading | None) -> None:
    page = find_model_page(run, model, reading)
    _write_files(run.path, page.folder, page.tables, page.plots)
    _write(run.path / page_of(model), fill("model.html.j2", page.words, tables=page.tables, plots=page.plots))


def render(
    run: RunFolder,
    *,
    tables: Mapping[str, Table],
    plots: Mapping[str, Plot],
    examples: Sequence[Example] = (),
    workers: int = 0,
    sections: Sequence[Section] = (),
) -> str:
    """report.html; every word that came from a user's file is escaped."""
    survey = mapping(run.record.get("survey"))
    events = {task: TASKS[task] for task in TASKS if f"reliability_{task}" in plots or f"event_{task}" in tables}
    groups = [name for name in plots if name.startswith("by_group_")]
    sentences = answer(run)
    words = {
        "title": survey_title(run),
        "description": str(survey.get("description") or ""),
        "answer": sentences[:2],
        "details": [*sentences[2:], *details(run)],
        "tiles": tiles(run),
        "groups": groups,
        "events": events,
        "sections": sections,
        "examples": examples,
        "rule": RULE,
        "workers": workers,
        "simulated": survey.get("source") == "simulated",
        "terms_of_use": TERMS_OF_USE,
        "models": [model_card(run, name) for name in _described(run)],
        "notes": notes(run),
        "facts": run_facts(run),
        "study": run.study,
        "definitions": DEFINITIONS,
        "caveats": CAVEATS,
        "root": "",
        "folder": "",
    }
    words["links"] = _links(tables, groups, events, examples, sections)
    return fill("page.html.j2", words, tables=tables, plots=plots)


def _described(run: RunFolder) -> list[str]:
    """Models of the evaluation, then those that only the record knows."""
    return [*run.models, *(name for name in mapping(run.record.get("models")) if name not in run.models)]


def _links(
    tables: Mapping[str, Table],
    groups: Sequence[str],
    events: Mapping[str, str],
    examples: Sequence[Example],
    sections: Sequence[Section],
) -> list[tuple[str, str]]:
    """(id, words) of the page's contents, in the order of its sections."""
    right = [(section.id, section.title) for section in sections if section.id == "right"]
    rest = [(section.id, section.title) for section in sections if section.id != "right"]
    return [
        ("data", "Data"),
        ("results", "How well they predict"),
        *([("differences", "More than noise?")] if "differences" in tables else []),
        *([("transitions", "Stays and moves")] if "by_transition" in tables else []),
        *([("groups", "Groups of people")] if groups else []),
        *right,
        *([("moving", "Who moves, leaves, enters")] if events or "tasks" in tables else []),
        *rest,
        *([("examples", "Example résumés")] if examples else []),
        ("models", "The models"),
        ("definitions", "Words"),
        ("repeat", "How to repeat it"),
    ]


def render_workers(run: RunFolder, people: _People) -> str:
    """workers.html, the worker explorer."""
    test, survey = run.careers.part("test"), mapping(run.record.get("survey"))
    words = {
        "title": survey_title(run),
        "count": len(people.chosen),
        "people": test.people,
        "rule": WORKERS_RULE if len(people.chosen) < test.people else "These are all of the test people.",
        "simulated": survey.get("source") == "simulated",
        "terms_of_use": TERMS_OF_USE,
        "data": htmlsafe_json_dumps(worker_data(test, people.chosen, people.readings)),
    }
    return fill("workers.html.j2", words, scripts=("page.js", "workers.js"))


def tiles(run: RunFolder) -> list[tuple[str, str, str]]:
    """(what, number, remark): the numbers that a reader takes away."""
    found = []
    if run.rivals:
        best = run.rivals[0]
        found.append(("Lowest test perplexity", perplexity(run.estimates("perplexity")[best].value), best))
        difference = run.differences("perplexity").get((best, run.baseline or ""))
        if difference is not None:
            remark = f"{interval(difference, 2)} against {run.baseline}".strip()
            found.append(("Difference from the baseline", _signed(difference.value), remark))
        if best in run.shares:
            share = run.shares[best]
            found.append(
                ("Share of the attainable gain", percent(share.value, 0), f"0% {run.baseline}, 100% {run.floor}")
            )
    sizes = f"{whole(len(run.careers))} person-years"
    found.append(("People", whole(run.careers.people), sizes))
    return found


def _signed(value: float) -> str:
    text = perplexity(value)
    return text if text.startswith("−") else f"+{text}"


def notes(run: RunFolder) -> list[str]:
    """The run's own caveats."""
    found = run.record.get("notes")
    return [str(note) for note in found] if isinstance(found, list) else []


def run_facts(run: RunFolder) -> dict[str, str]:
    """Versions, seed, start and machine, as far as the record tells them."""
    record, hardware = run.record, mapping(run.record.get("hardware"))
    packages = mapping(record.get("packages"))
    machine = [
        str(hardware[key]) + unit
        for key, unit in (("machine", ""), ("processor", ""), ("cores", " cores"), ("memory_gib", " GiB"), ("gpu", ""))
        if hardware.get(key) not in (None, "")
    ]
    facts = {
        "laborllm": record.get("laborllm"),
        "Python": record.get("python"),
        "Packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "Seed": record.get("seed"),
        "Started": record.get("started"),
        "Machine": ", ".join(machine),
        "Command": record.get("command"),
    }
    return {label: str(value) for label, value in facts.items() if value not in (None, "")}
