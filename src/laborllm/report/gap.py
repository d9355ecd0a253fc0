"""The tables, the figure and the words of a gap decomposition."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from laborllm.analysis.wages.gap import FEWEST_EFFECTIVE, TRIMMED_AT_MOST, GapFindings
from laborllm.analysis.wages.gap_settings import GapSettings
from laborllm.report.drawing import Plot, dot, drawing, looks_of, rows, settled
from laborllm.report.essay import Essay, Section, write_essay
from laborllm.report.numbers import Estimate, fixed, interval, percent, whole
from laborllm.report.tables import Cell, Table, number_cell

MEANING = (
    "All of this is descriptive. The unexplained part is what is left between people with like histories; it is "
    "neither the effect of the group nor a measure of discrimination, and the explained part is no justification: "
    "histories may themselves have come about by unequal treatment."
)
WORDS = (
    MEANING,
    "Oaxaca-Blinder prices characteristics by the coefficients of a regression on both groups. The other rows boil a "
    "whole history down to a few learned numbers and compare people by a doubly robust score on people that were not "
    "learned from. Learned for wages alone (naive), these numbers may drop what matters little for wages and much for "
    "the group, which biases the unexplained part; the other objectives are made to keep it.",
)
PARTS = ("gap", "explained", "unexplained")
OVERLAP = (
    "Where hardly anybody of the second group has a history like the first group's, the adjusted gap rests on few "
    "people. The signs of it are trimmed propensities, a row that bears much of the weight, and few effective people: "
    "the second group, weighted to have the first group's histories, tells as much as so many people of equal weight. "
    f"With more than {percent(TRIMMED_AT_MOST, 0)} trimmed or fewer than {FEWEST_EFFECTIVE} effective people (rules of "
    "thumb) a number is marked: do not use."
)
UNUSABLE = "do not use"


def write_gap_page(
    findings: GapFindings, settings: GapSettings, path: Path, *, ci: str, facts: Mapping[str, str]
) -> Path:
    """Write the page of a decomposition, with its tables and figure beside it.

    Args:
        findings: what it found.
        settings: which groups.
        path: of the page.
        ci: the name of the intervals, e.g. "95% CI".
        facts: label -> value: how to repeat it.
    """
    first, second = settings.of
    lead = (
        f"Log hourly wages of {whole(findings.rows)} person-years of {whole(findings.people)} people, "
        f"{whole(findings.first_people)} of them {first}. The gap is the mean of {first} less that of {second}, "
        f"adjusted for the histories of {first}. Standard errors are clustered by person."
    )
    sections = [
        Section("gap", "The gap and its parts", WORDS, [gap_rows(findings, ci)], [gap_plot(findings, ci)]),
        Section("overlap", "Are there people to compare with?", (OVERLAP,), [overlap_rows(findings, settings)]),
        Section("terms", "Oaxaca-Blinder, term by term", (), [term_rows(findings)]),
    ]
    title = f"The wage gap between {first} and {second}, adjusted for histories"
    return write_essay(Essay("laborllm gap", title, lead, sentences(findings, settings), sections, facts), path)


def gap_rows(findings: GapFindings, ci: str) -> Table:
    """Gap, explained and unexplained part by every method."""
    methods = findings.table["method"].unique(maintain_order=True)
    shown = [
        (
            Cell(method, badge=UNUSABLE if _doubts(findings, method) else ""),
            *(number_cell(_estimate(findings, method, part)) for part in PARTS),
        )
        for method in methods
    ]
    return Table(
        name="gap",
        title="The gap in log wages, and its parts",
        caption="Log points.",
        head=("Method", "Gap", "Explained by histories", "Unexplained"),
        rows=tuple(shown),
        frame=findings.table,
        brackets=ci,
        ordered=True,
    )


def overlap_rows(findings: GapFindings, settings: GapSettings) -> Table:
    """How far the groups' histories overlap."""
    shown = [
        (
            Cell(row["method"], badge="" if row["reliable"] else UNUSABLE),
            Cell(percent(row["trimmed"], 2)),
            Cell(percent(row["largest_weight"], 2)),
            Cell(whole(round(row["effective_people"]))),
        )
        for row in findings.overlap.iter_rows(named=True)
    ]
    return Table(
        name="gap_overlap",
        title="Overlap of histories",
        caption=f"Trimmed: rows whose propensity lay below {settings.trim:g} or above {1 - settings.trim:g} and was "
        "moved there; largest weight: the share of the second group's weight that one row bears; effective people of "
        "the second group: (sum w)² / sum w², w the weight of a person's rows.",
        head=("Method", "Trimmed", "Largest weight", "Effective people"),
        rows=tuple(shown),
        frame=findings.overlap,
    )


def term_rows(findings: GapFindings) -> Table:
    """The parts of every regressor."""
    shown = [
        (Cell(row["method"]), Cell(row["term"]), Cell(fixed(row["explained"], 4)), Cell(fixed(row["unexplained"], 4)))
        for row in findings.terms.iter_rows(named=True)
    ]
    return Table(
        name="gap_terms",
        title="Parts of every regressor",
        caption="Log points. How the unexplained part falls to a covariate's levels depends on the level left out.",
        head=("Method", "Term", "Explained", "Unexplained"),
        rows=tuple(shown),
        frame=findings.terms,
        words=2,
        ordered=True,
    )


def gap_plot(findings: GapFindings, ci: str) -> Plot:
    """The unexplained part by every method, beside the whole gap."""
    frame = findings.table.filter(pl.col("part") == "unexplained")
    methods = frame["method"].to_list()
    looks = looks_of(["unadjusted", *methods], ())
    gap = _estimate(findings, methods[0], "gap")
    with drawing():
        figure = Figure(figsize=(6.2, 1.3 + 0.32 * len(methods)), layout="constrained")
        axes = figure.add_subplot()
        rows(axes, ["Unadjusted", *methods])
        dot(axes, 0, gap, looks["unadjusted"], hollow=True)
        for place, method in enumerate(methods, start=1):
            estimate = _estimate(findings, method, "unexplained")
            dot(axes, place, estimate, looks[method], hollow=bool(_doubts(findings, method)))
        axes.axvline(0, linewidth=1, color="0.6", zorder=1)
        axes.set_xlabel("Log points")
        return settled(
            Plot(
                name="gap",
                title="The gap, unadjusted and adjusted for histories",
                caption=f"Bars are {ci}. Hollow below the first row: do not use, too little overlap. "
                "Descriptive: not the effect of the group.",
                alt=f"Dot plot of the unadjusted gap, {fixed(gap.value, 3)}, and {len(methods)} adjusted ones.",
                frame=frame,
                figure=figure,
            )
        )


def sentences(findings: GapFindings, settings: GapSettings) -> list[str]:
    """The paragraph of findings, written from the numbers."""
    methods = findings.table["method"].unique(maintain_order=True).to_list()
    gap = _estimate(findings, methods[0], "gap")
    written = [
        f"People who are {settings.of[0]} have log wages that are {fixed(gap.value, 3)} {interval(gap, 3)} "
        f"away from those of {settings.of[1]}."
    ]
    for method in methods:
        left = _estimate(findings, method, "unexplained")
        said = f"{fixed(left.value, 3)} {interval(left, 3)} is left between like histories."
        doubts = _doubts(findings, method)
        warned = f"do not use this number, for {' and '.join(doubts)}. " if doubts else ""
        written.append(f"{method}: {warned}{said}")
    return written


def _doubts(findings: GapFindings, method: str) -> list[str]:
    """Why a method's adjusted numbers should not be used; none of linear decompositions, which do not weigh people."""
    of = findings.overlap.filter(pl.col("method") == method)
    if of.is_empty() or of["reliable"][0]:
        return []
    doubts = []
    if of["trimmed"][0] > TRIMMED_AT_MOST:
        doubts.append(f"{percent(of['trimmed'][0], 1)} of propensities were trimmed")
    if of["effective_people"][0] < FEWEST_EFFECTIVE:
        people = whole(round(of["effective_people"][0]))
        doubts.append(f"the people to compare with count for no more than {people} (effective people)")
    return doubts


def _estimate(findings: GapFindings, method: str, part: str) -> Estimate:
    row = findings.table.row(by_predicate=(pl.col("method") == method) & (pl.col("part") == part), named=True)
    return Estimate(row["estimate"], row["std_error"], row["ci_low"], row["ci_high"], findings.rows, findings.people)
