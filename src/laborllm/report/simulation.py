"""The tables, figures and words of simulated careers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from laborllm.analysis.simulation.career_sums import ALL
from laborllm.analysis.simulation.counterfactuals import MEANING
from laborllm.report.drawing import INK, MUTED, Plot, drawing, looks_of, settled, shortened
from laborllm.report.essay import Essay, Section, write_essay
from laborllm.report.numbers import Estimate, fixed, interval, whole
from laborllm.report.tables import Cell, Table

DECIMALS = {"share": 3, "years": 2, "jobs": 2, "a year": 3}
NAMES = {
    "occupation_share": "Share of rows",
    "unemployment": "Unemployed",
    "moves": "Moves a year",
    "occupations_held": "Jobs held",
    "spell_length": "Length of spells",
    "transition": "Row to row",
    "lifetime_transition": "Start to end",
}
CURVES = (("moves", "any occupation", "Moves a year"), ("occupation_share", "Unemployed", "Share unemployed"))
MOST_ROWS = 60
"""Rows that stay legible on the page; the CSV file holds all."""


def write_simulation_page(
    summaries: pl.DataFrame,
    differences: pl.DataFrame,
    path: Path,
    *,
    notes: Sequence[str],
    lead: str,
    ci: str,
    facts: Mapping[str, str],
) -> Path:
    """Write the page of simulated careers, with its tables and figures beside it.

    Args:
        summaries: as ``analysis.simulated_careers.Summaries`` has them.
        differences: as ``analysis.counterfactuals.contrast`` gives them, of all models and counterfactuals.
        path: of the page.
        notes: what a reader must know.
        lead: who was simulated, how.
        ci: the name of the intervals, e.g. "95% CI".
        facts: label -> value: how to repeat it.
    """
    everyone, groups = summaries.filter(group=ALL), summaries.filter(pl.col("group") != ALL)
    flows = pl.col("summary").str.contains("transition")
    headline = everyone.filter((pl.col("when") == ALL) & ~flows)
    by_age = everyone.filter((pl.col("when") != ALL) & ~flows)
    curves = [curve for curve in (_curves_plot(by_age, ci),) if curve is not None]
    sections = [
        Section("beside", "Simulated careers and the survey's own", (FLAGS,), [_table("all", headline, ci)]),
        Section("ages", "By age", (), [_table("ages", by_age, ci)] if by_age.height else [], curves),
        Section("groups", "By group of people", (), [_table("groups", groups, ci)] if groups.height else []),
        Section(
            "transitions",
            "Transitions between broad groups",
            (FLOWS,),
            [_table("transitions", everyone.filter(flows), ci)],
        ),
        *_counterfactuals(differences, ci),
        Section("notes", "What to know of these numbers", tuple(_sentence(note) for note in notes)),
    ]
    findings = [*_beside(summaries), *_otherwise(differences)]
    return write_essay(Essay("laborllm simulate", "Simulated careers", lead, findings, sections, facts), path)


FLAGS = (
    "Differences are simulated - observed, paired by person; bold: the difference is larger than chance would make any "
    "one of all that are told of the model, so that a right model has no bold number at all 19 times in 20."
)
FLOWS = (
    "Row to row: the share of rows in the first group that are followed by a row in the second. Start to end: the "
    "share of people whose last given row is in the first group and whose last drawn row is in the second."
)


def _sentence(note: str) -> str:
    return note[:1].upper() + note[1:].removesuffix(".") + "."


def _table(name: str, frame: pl.DataFrame, ci: str) -> Table:
    """Simulated beside observed; the flagged rows first where there are too many."""
    chosen = frame.head(MOST_ROWS)
    if frame.height > MOST_ROWS:
        order = pl.col("p_adjusted").fill_null(2.0)
        chosen = frame.sort(order, -(pl.col("difference") / pl.col("std_error")).abs(), maintain_order=True)
        chosen = chosen.head(MOST_ROWS)
    more = f" The {MOST_ROWS} that stand out most of {frame.height}." if frame.height > MOST_ROWS else ""
    return Table(
        name=f"simulation_{name}",
        title={"all": "Whole careers", "ages": "Shares and moves by age", "groups": "Whole careers by group"}.get(
            name, "Transitions between broad groups"
        ),
        caption=f"Std. errors and intervals are clustered by person.{more}",
        head=("Model", "Who", "What", "", "Age", "Simulated", "Observed", "Difference", ci),
        rows=tuple(_row(row) for row in chosen.iter_rows(named=True)),
        frame=frame,
        words=5,
    )


def _row(row: dict) -> tuple[Cell, ...]:
    decimals = DECIMALS[row["unit"]]
    found = _estimate(row)
    return (
        Cell(row["model"]),
        Cell(row["group"]),
        Cell(NAMES[row["summary"]]),
        Cell(row["what"]),
        Cell(row["when"]),
        _number(row["simulated"], decimals),
        _number(row["observed"], decimals),
        Cell(fixed(row["difference"], decimals), strong=row["flagged"] == 1, value=row["difference"]),
        Cell(interval(found, decimals) or "–"),
    )


def _number(value: float | None, decimals: int) -> Cell:
    return Cell(fixed(value, decimals), value=value)


def _estimate(row: dict, name: str = "difference") -> Estimate:
    ends = ("ci_low", "ci_high") if name == "difference" else (f"{name}_ci_low", f"{name}_ci_high")
    value = float("nan") if row[name] is None else row[name]
    return Estimate(value, row["std_error"], row[ends[0]], row[ends[1]], people=row["people"])


def _curves_plot(by_age: pl.DataFrame, ci: str) -> Plot | None:
    """Moves and unemployment by age: each model beside the survey."""
    panels = [(by_age.filter(summary=summary, what=what), label) for summary, what, label in CURVES]
    panels = [(frame, label) for frame, label in panels if frame.height]
    if not panels:
        return None
    models = by_age["model"].unique(maintain_order=True).to_list()
    looks = looks_of(models, ())
    with drawing():
        figure = Figure(figsize=(3.4 * len(panels), 2.8), layout="constrained")
        for axes, (frame, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            ages = frame["when"].unique(maintain_order=True).to_list()
            for model in models:
                own = frame.filter(model=model)
                axes.plot(
                    [ages.index(age) for age in own["when"]], own["simulated"], label=shortened(model),
                    color=looks[model].colour, marker=looks[model].marker, markersize=4.5, linewidth=1.3,
                )  # fmt: skip
            _survey_line(axes, frame.filter(model=models[0]), ages)
            axes.set_xticks(range(len(ages)), ages, rotation=45, ha="right")
            axes.set(xlabel="Age", title=label)
            axes.grid(axis="y")
        axes.legend(frameon=False)
        return settled(
            Plot(
                name="simulation_by_age",
                title="Moves and unemployment by age",
                caption=f"The survey's own careers with {ci}; simulated careers of the same people and rows beside.",
                alt="Lines by age: " + "; ".join(label for _, label in panels) + "; the table holds the numbers.",
                frame=pl.concat([frame for frame, _ in panels]),
                figure=figure,
                wide=True,
            )
        )


def _survey_line(axes, frame: pl.DataFrame, ages: list[str]) -> None:  # type: ignore[no-untyped-def]
    if frame["observed"].null_count() == frame.height:
        return
    places = [ages.index(age) for age in frame["when"]]
    known = frame["observed_ci_low"].null_count() == 0
    ends = [frame["observed"] - frame["observed_ci_low"], frame["observed_ci_high"] - frame["observed"]]
    axes.errorbar(
        places, frame["observed"], yerr=ends if known else None, label="survey", color=INK, ecolor=MUTED,
        linestyle="--", linewidth=1.2, capsize=2,
    )  # fmt: skip


def _counterfactuals(differences: pl.DataFrame, ci: str) -> list[Section]:
    """A section for each counterfactual."""
    sections = []
    for name in differences["counterfactual"].unique(maintain_order=True).to_list():
        frame = differences.filter(counterfactual=name)
        flows = pl.col("summary").str.contains("transition")
        headline = frame.filter((pl.col("years_since") == ALL) & ~flows)
        table = _difference_table(name, headline, frame, ci)
        plot = _since_plot(name, frame, ci)
        people = max(frame["people"].to_list())
        words = (MEANING, f"{whole(people)} people whom it changes; both sides are drawn with the same luck.")
        plots = [plot] if plot is not None else []
        sections.append(Section(f"counterfactual-{name}", f"Counterfactual: {name}", words, [table], plots))
    return sections


def _difference_table(name: str, shown: pl.DataFrame, frame: pl.DataFrame, ci: str) -> Table:
    rows = []
    for row in shown.iter_rows(named=True):
        decimals = DECIMALS[row["unit"]]
        rows.append(
            (
                Cell(row["model"]),
                Cell(NAMES[row["summary"]]),
                Cell(row["what"]),
                _number(row["factual"], decimals),
                _number(row["otherwise"], decimals),
                Cell(fixed(row["difference"], decimals), strong=row["flagged"] == 1, value=row["difference"]),
                Cell(interval(_estimate(row), decimals) or "–"),
                Cell(fixed(row["monte_carlo_error"], decimals + 1)),
            )
        )
    return Table(
        name=f"simulation_counterfactual_{name}",
        title=f"Careers as they are, and under {name}",
        caption=f"{MEANING} Differences are otherwise - as they are, paired by person; bold as above. The last column "
        "is the part of the standard error that more paths would take away. The CSV file has years since as well.",
        head=("Model", "What", "", "As they are", "Otherwise", "Difference", ci, "Paths' error"),
        rows=tuple(rows),
        frame=frame,
        words=3,
    )  # fmt: skip


def _since_plot(name: str, frame: pl.DataFrame, ci: str) -> Plot | None:
    """Differences in moves and unemployment by years since the last given row."""
    later = frame.filter(pl.col("years_since") != ALL)
    panels = [(later.filter(summary=summary, what=what), label) for summary, what, label in CURVES]
    panels = [(each, label) for each, label in panels if each.height]
    if not panels:
        return None
    models = frame["model"].unique(maintain_order=True).to_list()
    looks = looks_of(models, ())
    with drawing():
        figure = Figure(figsize=(3.4 * len(panels), 2.8), layout="constrained")
        for axes, (part, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            times = part["years_since"].unique(maintain_order=True).to_list()
            for place, model in enumerate(models):
                own = part.filter(model=model)
                error = None
                if own["ci_low"].null_count() == 0:
                    error = [own["difference"] - own["ci_low"], own["ci_high"] - own["difference"]]
                axes.errorbar(
                    [times.index(time) + 0.12 * place for time in own["years_since"]], own["difference"], yerr=error,
                    label=shortened(model), color=looks[model].colour, marker=looks[model].marker, markersize=4.5,
                    capsize=2, linewidth=1.2,
                )  # fmt: skip
            axes.axhline(0, linewidth=1, color="0.6", zorder=1)
            axes.set_xticks(range(len(times)), times, rotation=45, ha="right")
            axes.set(xlabel="Years since the last given row", title=f"{label}: difference")
        axes.legend(frameon=False)
        return settled(
            Plot(
                name=f"simulation_counterfactual_{name}",
                title=f"What {name} changes, by years since",
                caption=f"Bars are {ci}. {MEANING}",
                alt=f"Differences under {name}: " + "; ".join(label for _, label in panels) + ". " + MEANING,
                frame=pl.concat([part for part, _ in panels]),
                figure=figure,
                wide=True,
            )
        )


def _beside(summaries: pl.DataFrame) -> list[str]:
    """How many numbers stand out, and which."""
    written = []
    for model in summaries["model"].unique(maintain_order=True).to_list():
        own = summaries.filter(model=model)
        compared = own.filter(pl.col("p_adjusted").is_not_null())
        flagged = compared.filter(flagged=1).sort("p_adjusted", maintain_order=True)
        if not compared.height:
            continue
        if not flagged.height:
            written.append(f"{model}: none of {compared.height} numbers differs from the survey's own beyond chance.")
            continue
        worst = flagged.with_columns(z=(pl.col("difference") / pl.col("std_error")).abs()).sort("z", descending=True)
        told = "; ".join(_told(row) for row in worst.head(3).iter_rows(named=True))
        written.append(
            f"{model}: {flagged.height} of {compared.height} numbers differ beyond chance, above all {told}."
        )
    return written


def _told(row: dict) -> str:
    decimals = DECIMALS[row["unit"]]
    where = " ".join(part for part in (row["group"], row["when"]) if part != ALL)
    what = f"{NAMES[row['summary']].lower()} ({row['what']}{', ' + where if where else ''})"
    return f"{what} {fixed(row['simulated'], decimals)} against {fixed(row['observed'], decimals)}"


def _otherwise(differences: pl.DataFrame) -> list[str]:
    """What each counterfactual does to unemployment, moves and jobs held."""
    written = []
    for (name, model), frame in differences.group_by("counterfactual", "model", maintain_order=True):
        told = []
        for summary, what in (
            ("unemployment", "share of rows"),
            ("moves", "any occupation"),
            ("occupations_held", "jobs"),
        ):
            for row in frame.filter(summary=summary, what=what, years_since=ALL).iter_rows(named=True):
                decimals = DECIMALS[row["unit"]]
                number = " ".join((fixed(row["difference"], decimals), interval(_estimate(row), decimals))).strip()
                told.append(f"{NAMES[summary].lower()} {number}")
        if frame.height and not (frame["difference"] != 0).any():
            written.append(f"{name}, by {model}: no difference at all; the model does not use what was changed.")
        elif told:
            written.append(f"{name}, by {model}, against the same people as they are: {', '.join(told)}.")
    return [*written, MEANING] if written else []
