"""The page: reads a run folder, writes its tables and figures, and one self-contained report.html."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from laborllm.files import whole_file
from laborllm.report.definitions import CAVEATS, DEFINITIONS
from laborllm.report.drawing import SERIES, SERIES_DARK, Plot, as_svg, write_plot
from laborllm.report.examples import RULE, examples_table, find_examples
from laborllm.report.figures import find_plots
from laborllm.report.findings import answer, details, survey_title
from laborllm.report.folder import RunFolder, read_run
from laborllm.report.numbers import interval, percent, perplexity, whole
from laborllm.report.results import result_tables
from laborllm.report.sample import mapping, repeat_tables, sample_tables
from laborllm.report.tables import Table, write_table


def write_report(out: Path) -> Path:
    """Write ``out/tables``, ``out/figures`` and ``out/report.html`` from the run folder ``out`` alone.

    Args:
        out: a run folder (design section 5); careers.parquet and evaluation.csv must be there, the rest may be missing.

    Returns:
        The path of the page, one file that asks nothing from outside.

    Raises:
        LaborLLMError: a file of the run is missing or is not what a run writes, or the disk is full.
    """
    run = read_run(out)
    examples = find_examples(run)
    found = [*sample_tables(run), *result_tables(run), examples_table(examples), *repeat_tables(run)]
    tables = {table.name: table for table in found if table is not None}
    plots = {plot.name: plot for plot in find_plots(run)}
    for table in tables.values():
        write_table(table, out / "tables")
    for plot in plots.values():
        write_plot(plot, out / "figures")
    page = render(run, tables=tables, plots=plots, examples=examples)
    with whole_file(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "report.html"


def render(run: RunFolder, *, tables: Mapping[str, Table], plots: Mapping[str, Plot], examples: Sequence) -> str:
    """The page as HTML; every word that came from a user's file is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "whole": whole, "shown": shown}
    survey = mapping(run.record.get("survey"))
    return environment.get_template("page.html.j2").render(
        title=survey_title(run),
        description=str(survey.get("description") or ""),
        answer=answer(run),
        details=details(run),
        tiles=tiles(run),
        tables=tables,
        plots=plots,
        svg={name: Markup(as_svg(plot)) for name, plot in plots.items()},
        groups=[name for name in plots if name.startswith("by_group_")],
        examples=examples,
        rule=RULE,
        simulated=survey.get("source") == "simulated",
        models=model_cards(run),
        notes=notes(run),
        facts=run_facts(run),
        study=run.study,
        definitions=DEFINITIONS,
        caveats=CAVEATS,
        colours=list(zip(SERIES, SERIES_DARK, strict=True)),
    )


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


def model_cards(run: RunFolder) -> list[dict[str, Any]]:
    """Name, kind, description, marks and facts of each model, best first."""
    record = mapping(run.record.get("models"))
    names = [*run.models, *(name for name in record if name not in run.models)]
    marks = {run.floor: "floor", run.baseline: "baseline"}
    cards = []
    for name in names:
        model = mapping(record.get(name))
        cards.append(
            {
                "name": name,
                "kind": str(model.get("kind") or ""),
                "description": str(model.get("description") or "The record does not describe this model."),
                "facts": mapping(model.get("facts")),
                "mark": marks.get(name, ""),
            }
        )
    return cards


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


def shown(value: Any) -> str:
    """A fact of a model as words: counts with thousands separators, lists with commas.

    Examples:
        >>> shown(1234567), shown(0.25), shown([1, "a"]), shown(True)
        ('1,234,567', '0.25', '1, a', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, list):
        return ", ".join(shown(one) for one in value)
    return str(value)
