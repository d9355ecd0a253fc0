"""The tables, the figure and the words of an experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from laborllm.analysis.experiments.trials import Findings, Plan
from laborllm.report.drawing import Plot, dot, drawing, log_ticks, looks_of, settled, shortened
from laborllm.report.essay import Essay, Section, write_essay
from laborllm.report.numbers import Estimate, difference_decimals, fixed, interval, perplexity, standard_error, whole
from laborllm.report.tables import Cell, Table, perplexity_cell

MOST_ROWS = 40
"""Contrasts that stay legible in one figure; the table holds the rest."""


def write_experiment_page(
    plan: Plan,
    findings: Findings,
    path: Path,
    *,
    ci: str,
    needed: pl.DataFrame | None = None,
    facts: Mapping[str, str],
) -> Path:
    """Write the page of an experiment, with its tables and figure beside it.

    Args:
        plan: the experiment.
        findings: what it found.
        path: of the page.
        ci: the name of the intervals, e.g. "95% CI".
        needed: of the experiment on size: who needs how many people, as ``analysis.sizes`` gives it.
        facts: label -> value: how to repeat it.
    """
    tables, plot = experiment_tables(plan, findings, ci), experiment_plot(plan, findings, ci)
    curves = curves_plot(findings, ci) if plan.name == "size" else None
    cells, *contrasts = tables
    sections = [Section("differences", "What each change costs", (), contrasts, [plot])] if plot is not None else []
    if needed is not None and needed.height:
        sections.append(Section("needed", "Equivalent numbers of people", (NEEDED,), [needed_table(needed, ci)]))
    sections.append(Section("cells", "Every cell", (), [cells], [curves] if curves is not None else []))
    people, rows_ = findings.cells["people"][0], findings.cells["person_years"][0]
    lead = (
        f"Every cell predicts the same {whole(rows_)} person-years of the same {whole(people)} test people, so that "
        "differences are paired. Intervals come from resampling test people; the fitted models are held fixed."
    )
    essay = Essay("laborllm experiment", plan.question, lead, sentences(findings), sections, facts)
    return write_essay(essay, path)


NEEDED = (
    "Read as: with so many training people the curve on the left is as good as the other one is with all of its own. "
    "Between sizes that were tried, loss is taken to fall linearly in the logarithm of people."
)


def needed_table(needed: pl.DataFrame, ci: str) -> Table:
    """Who needs how many people to be as good as whom."""
    shown = [
        (
            Cell(row["curve"]),
            Cell(row["reaches"]),
            Cell(whole(row["people"])),
            Cell(perplexity(row["perplexity"])),
            Cell(_people(row["needed"])),
            Cell("–" if row["ci_low"] is None else f"[{_people(row['ci_low'])}, {_people(row['ci_high'])}]"),
        )
        for row in needed.iter_rows(named=True)
    ]
    return Table(
        name="experiment_people_needed",
        title="Training people needed to be as good as another",
        caption="∞: not with any number that was tried; 0: with fewer than the smallest that was tried.",
        head=("Model", "To reach", "Its people", "Its perplexity", "People needed", ci),
        rows=tuple(shown),
        frame=needed,
        words=2,
    )


def _people(number: float) -> str:
    return fixed(number, 0)


def curves_plot(findings: Findings, ci: str) -> Plot:
    """Perplexity by number of training people, one line a model and way of pre-training."""
    frame = findings.cells.filter(pl.col("subset") == "all").sort("training_people")
    names = [name for name in ("model", "pretraining") if name in frame.columns]
    curves = frame.partition_by(names, as_dict=True, maintain_order=True)
    labels = {key: ", ".join(str(part) for part in key if part is not None) for key in curves}
    looks = looks_of(list(labels.values()), ())
    with drawing():
        figure = Figure(figsize=(5.6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for key, curve in curves.items():
            look = looks[labels[key]]
            spread = [curve["perplexity"] - curve["ci_low"], curve["ci_high"] - curve["perplexity"]]
            error = None if curve["ci_low"].null_count() else spread
            axes.errorbar(
                curve["training_people"], curve["perplexity"], yerr=error, label=labels[key], color=look.colour,
                marker=look.marker, markersize=5, capsize=2, linewidth=1.3,
            )  # fmt: skip
        sizes = frame["training_people"].unique().sort().to_list()
        axes.set(xscale="log", yscale="log", xlabel="Training people", ylabel="Test perplexity (lower is better)")
        axes.set_xticks(sizes, [whole(size) for size in sizes])
        axes.minorticks_off()
        axes.set_yticks(log_ticks(*axes.get_ylim()))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.legend(frameon=False)
        return settled(
            Plot(
                name="experiment_size_curves",
                title="Learning curves",
                caption=f"Both axes are logarithmic; a horizontal line joins equally good models. Bars are {ci}.",
                alt="Lines of test perplexity by number of training people: "
                + "; ".join(
                    f"{labels[k]} from {c['perplexity'][0]:.2f} to {c['perplexity'][-1]:.2f}" for k, c in curves.items()
                ),
                frame=frame,
                figure=figure,
            )
        )


def experiment_tables(plan: Plan, findings: Findings, ci: str) -> list[Table]:
    """Every cell with its perplexity, and every contrast."""
    return [_cells_table(plan, findings, ci), *([_contrasts_table(plan, findings, ci)] if plan.contrasts else [])]


def _cells_table(plan: Plan, findings: Findings, ci: str) -> Table:
    factors = list(plan.trials[0].factors)
    shown = [
        (
            Cell(row["model"]),
            *(Cell(str(row[factor])) for factor in factors),
            Cell(row["subset"].replace("_", " ")),
            perplexity_cell(_estimate(row, "perplexity")),
            Cell(whole(row["person_years"])),
        )
        for row in findings.cells.iter_rows(named=True)
    ]
    return Table(
        name=f"experiment_{plan.name}",
        title="Every cell of the experiment",
        caption="Test perplexity; all cells predict the same person-years of the same test people.",
        brackets=ci,
        head=("Model", *(factor.replace("_", " ").capitalize() for factor in factors), "Rows", "Perplexity", "Count"),
        rows=tuple(shown),
        frame=findings.cells,
        words=2 + len(factors),
    )


def _contrasts_table(plan: Plan, findings: Findings, ci: str) -> Table:
    shown = []
    for row in findings.contrasts.iter_rows(named=True):
        estimate = _estimate(row, "nats")
        decimals = max(difference_decimals(estimate), 3)
        shown.append(
            (
                Cell(row["model"]),
                Cell(row["what"]),
                Cell(row["subset"].replace("_", " ")),
                Cell(fixed(estimate.value, decimals), strong=estimate.excludes_zero),
                Cell(standard_error(estimate, decimals) or "–"),
                Cell(interval(estimate, decimals) or "–"),
                Cell(fixed(row["times"], 3)),
            )
        )
    return Table(
        name=f"experiment_{plan.name}_differences",
        title="What each change costs",
        caption="Difference in nats a person-year, paired by person: above zero, the change makes predictions worse; "
        f"bold: the {ci} excludes zero; the last column says by what it multiplies perplexity.",
        head=("Model", "Change", "Rows", "Nats", "Std. error", ci, "Times"),
        rows=tuple(shown),
        frame=findings.contrasts,
        words=3,
    )


def experiment_plot(plan: Plan, findings: Findings, ci: str) -> Plot | None:
    """Every contrast as a dot with its interval; None without one."""
    found = findings.contrasts.head(MOST_ROWS).to_dicts()
    if not found:
        return None
    models = list(dict.fromkeys(row["model"] for row in found))
    looks = looks_of(models, ())
    with drawing():
        figure = Figure(figsize=(6.6, 0.9 + 0.3 * len(found)), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(axis="x")
        axes.set_yticks(range(len(found)), [_label(row, several=len(models) > 1) for row in found])
        axes.set_ylim(len(found) - 0.4, -0.6)
        for place, row in enumerate(found):
            dot(axes, place, _estimate(row, "nats"), looks[row["model"]])
        axes.axvline(0, linewidth=1, color="0.6", zorder=1)
        axes.set_xlabel("Nats a person-year (above zero: worse)")
        return settled(
            Plot(
                name=f"experiment_{plan.name}",
                title="What each change costs",
                caption=f"Paired differences; bars are {ci}. An interval that holds zero is no finding.",
                alt=f"Dot plot of {len(found)} paired differences. {' '.join(sentences(findings))}",
                frame=findings.contrasts.head(MOST_ROWS),
                figure=figure,
                wide=True,
            )
        )


def _label(row: dict, *, several: bool) -> str:
    words = f"{row['model']}: {row['what']}" if several else row["what"]
    return shortened(words if row["subset"] == "all" else f"{words} ({row['subset'].replace('_', ' ')} rows)", 60)


def sentences(findings: Findings) -> list[str]:
    """The paragraph of findings, written from the numbers: what costs more than noise, what does not."""
    found = findings.contrasts.to_dicts() if findings.contrasts.height else []
    written = []
    for model in dict.fromkeys(row["model"] for row in found):
        own = [(row, _estimate(row, "nats")) for row in found if row["model"] == model and row["subset"] == "all"]
        written += _of_model(model, own)
    for row in found:
        if row["subset"] != "all":
            written.append(f"{row['model']}, {row['subset'].replace('_', ' ')} rows: {_said(row)}.")
    return written


def _of_model(model: str, own: Sequence[tuple[dict, Estimate]]) -> list[str]:
    sure = sorted((one for one in own if one[1].excludes_zero), key=lambda one: -abs(one[1].value))
    unsure = [row["what"] for row, estimate in own if estimate.interval and not estimate.excludes_zero]
    written = []
    if sure:
        written.append(f"{model}: " + "; ".join(_said(row) for row, _ in sure[:4]) + ".")
    if len(sure) > 4:
        written.append(f"{len(sure) - 4} further changes have intervals that exclude zero.")
    if unsure:
        more = f" and {len(unsure) - 3} more" if len(unsure) > 3 else ""
        written.append(f"No clear effect, the interval holds zero: {'; '.join(unsure[:3])}{more}.")
    return written


def _said(row: dict) -> str:
    estimate = _estimate(row, "nats")
    decimals = max(difference_decimals(estimate), 3)
    costs = "costs" if estimate.value > 0 else "gains"
    end = replace(estimate, value=abs(estimate.value)) if estimate.value > 0 else estimate.flipped()
    return f"{row['what']} {costs} {fixed(end.value, decimals)} nats {interval(end, decimals)}"


def _estimate(row: dict, value: str) -> Estimate:
    number = float("nan") if row[value] is None else row[value]
    return Estimate(number, row["std_error"], row["ci_low"], row["ci_high"], row["person_years"], row["people"])
