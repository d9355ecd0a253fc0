"""A page for a result that is no run: what was asked, what was found, tables and figures, how to repeat it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from laborllm.files import whole_file
from laborllm.report.drawing import Plot, write_plot
from laborllm.report.tables import Table, write_table
from laborllm.report.template import fill


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        id: its anchor.
        title: its heading.
        words: its paragraphs.
        tables, plots: shown below them, figures first.
    """

    id: str
    title: str
    words: Sequence[str] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()


@dataclass(frozen=True)
class Essay:
    """What the page says.

    Attributes:
        kicker: what kind of page it is, e.g. "laborllm experiment".
        title: of the page.
        lead: what was asked, of whom, in a sentence or two.
        findings: what was found, one sentence each, written from the numbers.
        sections: the parts.
        facts: label -> value: versions, seeds, the command that repeats it.
    """

    kicker: str
    title: str
    lead: str
    findings: Sequence[str]
    sections: Sequence[Section]
    facts: Mapping[str, str] = field(default_factory=dict)


def write_essay(essay: Essay, path: Path) -> Path:
    """Write the page with tables/ and figures/ beside it.

    Args:
        essay: what it says.
        path: of the page, e.g. OUT/experiment.html.

    Returns:
        The path; one file that asks nothing from outside.
    """
    tables = {table.name: table for section in essay.sections for table in section.tables}
    plots = {plot.name: plot for section in essay.sections for plot in section.plots}
    for table in tables.values():
        write_table(table, path.parent / "tables")
    for plot in plots.values():
        write_plot(plot, path.parent / "figures")
    links = [(section.id, section.title) for section in essay.sections] + [("repeat", "How to repeat it")]
    words = {name: getattr(essay, name) for name in ("kicker", "title", "lead", "findings", "sections", "facts")}
    page = fill("essay.html.j2", {**words, "links": links, "root": "", "folder": ""}, tables=tables, plots=plots)
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path
