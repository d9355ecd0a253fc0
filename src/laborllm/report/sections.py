"""The sections that only some runs have: representativeness, who gains, out of time, published rates."""

from dataclasses import dataclass

from laborllm.report.aggregates import aggregates_findings, aggregates_plots, aggregates_tables
from laborllm.report.drawing import Plot, drawing, settled
from laborllm.report.folder import RunFolder
from laborllm.report.forecasts import forecasts_plots, forecasts_tables
from laborllm.report.gains import gains_findings, gains_plots, gains_tables
from laborllm.report.representativeness import representativeness_plot, representativeness_tables
from laborllm.report.tables import Table


@dataclass(frozen=True)
class Section:
    """A section of report.html.

    Attributes:
        id: its anchor.
        title: its heading.
        lead: what the reader is about to see.
        tables: its tables.
        plots: its figures.
        findings: sentences written from its numbers.
    """

    id: str
    title: str
    lead: str
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...]
    findings: tuple[str, ...] = ()


def find_sections(run: RunFolder) -> list[Section]:
    """The sections that this run has numbers for, in the order of the page."""
    found = (_right(run), _gains(run), _time(run), _published(run))
    return [section for section in found if section.tables or section.plots]


def _right(run: RunFolder) -> Section:
    with drawing():
        plot = representativeness_plot(run)
        plots = () if plot is None else (settled(plot),)
    return Section(
        id="right",
        title="For whom it is right on average",
        lead="A model may predict well and still be wrong on average: here what it expects in a group of people is set "
        "beside what happened there.",
        tables=tuple(representativeness_tables(run)),
        plots=plots,
    )


def _gains(run: RunFolder) -> Section:
    return Section(
        id="gains",
        title="Who gains",
        lead="Where the better of two models is better: half of the test people formed the groups, the numbers are "
        "those of the other half.",
        tables=tuple(gains_tables(run)),
        plots=tuple(gains_plots(run)),
        findings=tuple(gains_findings(run)),
    )


def _time(run: RunFolder) -> Section:
    return Section(
        id="time",
        title="Out of time",
        lead="Models that learned up to a year, asked about the years after it: one step at a time, with all that was "
        "observed in between, and by paths, from the history up to that year alone.",
        tables=tuple(forecasts_tables(run)),
        plots=tuple(forecasts_plots(run)),
    )


def _published(run: RunFolder) -> Section:
    return Section(
        id="published",
        title="Against published rates",
        lead="Transition rates that others have published, those of the test people, and those that each model "
        "implies.",
        tables=tuple(aggregates_tables(run)),
        plots=tuple(aggregates_plots(run)),
        findings=tuple(aggregates_findings(run)),
    )
