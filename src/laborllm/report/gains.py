"""Who gains from the better model: a table and a figure of the tree's groups, a table by every feature."""

import math
from collections.abc import Iterable, Mapping
from textwrap import wrap
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from laborllm.report.drawing import INK, MUTED, Plot, dot, drawing, rows, settled, shortened
from laborllm.report.folder import SIZE, SPREAD, RunFolder
from laborllm.report.looks import looks
from laborllm.report.numbers import Estimate, fixed, interval, percent, standard_error, whole
from laborllm.report.results import file_of
from laborllm.report.tables import Cell, Table

PAIR = ("model_a", "model_b")
NUMBERS = ("gain", *SPREAD, "share_of_gain", "p_value", *SIZE)
WIDTH = 46
"""Letters of a rule on one line of the figure."""
MEANING = {
    "tenure": "years in the last occupation",
    "title length": "letters of its title",
    "occupation frequency": "training rows in it",
    "previous": "the last occupation",
    "gap": "years since the last row",
    "history length": "earlier rows",
}
"""Name of a feature -> what it means, where that needs saying."""
P_VALUE = (
    "p: of gaining as much as everybody, adjusted for all rows of the table; factor: how many times as probable the "
    "first model held what happened, the geometric mean."
)


def gains_tables(run: RunFolder) -> list[Table]:
    """For every pair of models that was split: groups found by a tree, and levels of every feature."""
    tables = []
    for (a, b), frame in _pairs(_leaves(run)).items():
        tables.append(_leaves_table(run, a, b, frame))
        features = _pairs(_features(run)).get((a, b))
        if features is not None:
            tables.append(_features_table(run, a, b, features))
    return tables


def gains_plots(run: RunFolder) -> list[Plot]:
    """One figure with a panel for every pair of models; none where nothing was split."""
    pairs = _pairs(_leaves(run))
    if not pairs:
        return []
    with drawing():
        return [settled(_plot(run, pairs))]


def gains_findings(run: RunFolder) -> list[str]:
    """Who gains most and least, one or two sentences for every pair of models."""
    return [_finding(run, a, b, frame) for (a, b), frame in _pairs(_leaves(run)).items()]


def _leaves(run: RunFolder) -> pl.DataFrame:
    return run.other_csv("gains", (*PAIR, "rule"), (*NUMBERS, "variance_explained"))


def _features(run: RunFolder) -> pl.DataFrame:
    return run.other_csv("gains_by_feature", (*PAIR, "feature", "level"), NUMBERS)


def _pairs(frame: pl.DataFrame) -> dict[tuple[str, str], pl.DataFrame]:
    """(better model, other model) -> its rows, in the order of the file."""
    parts = frame.partition_by(PAIR, maintain_order=True, as_dict=True)
    return {(str(a), str(b)): part for (a, b), part in parts.items()}


def _estimate(row: Mapping[str, Any]) -> Estimate:
    value = float("nan") if row["gain"] is None else row["gain"]
    spread = (row[name] for name in SPREAD)
    return Estimate(value, *spread, *(None if row[name] is None else int(row[name]) for name in SIZE))


def _leaves_table(run: RunFolder, a: str, b: str, frame: pl.DataFrame) -> Table:
    alone = (
        " No split holds up: the gain is the same for all, as far as these people tell." if frame.height == 1 else ""
    )
    return Table(
        name=f"gains_{file_of(a)}_over_{file_of(b)}",
        title=f"Who gains from {a} over {b}",
        caption=f"Gain: mean of log P({a}) − log P({b}) of what happened, in nats a person-year; above zero {a} is "
        f"better. One half of the test people chose the groups, the numbers are the other half's.{alone} "
        f"{_meanings(frame['rule'])}{P_VALUE}",
        brackets=run.ci,
        head=("Who", *_heads()),
        rows=tuple((Cell(row["rule"]), *_cells(row)) for row in frame.iter_rows(named=True)),
        frame=frame,
        ordered=True,
    )


def _features_table(run: RunFolder, a: str, b: str, frame: pl.DataFrame) -> Table:
    names = ["everybody" if name == "all" else name.replace("_", " ") for name in frame["feature"]]
    return Table(
        name=f"gains_by_feature_{file_of(a)}_over_{file_of(b)}",
        title=f"Gain from {a} over {b}, by what is known beforehand",
        caption=f"All test people; nats a person-year, above zero {a} is better; numbers in fifths or so. "
        f"{_meanings(names)}{P_VALUE}",
        brackets=run.ci,
        head=("By", "Level", *_heads()),
        rows=tuple(
            (Cell(name), Cell("" if name == row["level"] else row["level"]), *_cells(row))
            for name, row in zip(names, frame.iter_rows(named=True), strict=True)
        ),
        frame=frame,
        words=2,
        ordered=True,
    )


def _meanings(texts: Iterable[str]) -> str:
    """What the names of features in these texts mean."""
    joined = "; ".join(texts)
    found = [f"{name}: {words}" for name, words in MEANING.items() if name in joined]
    return f"{'; '.join(found).capitalize()}. " if found else ""


def _heads() -> tuple[str, ...]:
    return ("Gain (nats)", "Factor", "p", "Share of the gain", "People", "Person-years")


def _cells(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    gain = _estimate(row)
    return (
        Cell(fixed(gain.value, 3), interval(gain, 3), standard_error(gain, 4), strong=gain.excludes_zero),
        Cell(fixed(math.exp(gain.value), 2)),
        Cell(_p_value(row["p_value"]), value=row["p_value"]),
        Cell(percent(row["share_of_gain"], 1)),
        Cell(whole(gain.people)),
        Cell(whole(gain.person_years)),
    )


def _p_value(value: float | None) -> str:
    return "< 0.001" if value is not None and value < 0.001 else fixed(value, 3)


def _plot(run: RunFolder, pairs: Mapping[tuple[str, str], pl.DataFrame]) -> Plot:
    lines = [sum(len(_lines(rule)) for rule in frame["rule"]) + frame.height for frame in pairs.values()]
    figure = Figure(figsize=(7.4, 0.5 * len(pairs) + 0.4 + 0.17 * sum(lines)), layout="constrained")
    grid = figure.subplots(len(pairs), 1, squeeze=False, height_ratios=lines)[:, 0]
    for axes, ((a, b), frame) in zip(grid, pairs.items(), strict=True):
        _panel(run, axes, frame, a)
        axes.set_title(f"{shortened(a)} over {shortened(b)}")
    grid[-1].set_xlabel("Gain, nats a person-year (right of zero: the first model is better)")
    return Plot(
        name="gains",
        title="Who gains from the better model",
        caption=f"Groups that half of the test people chose, gains of the other half; bars are {run.ci}; dashed: "
        "everybody; hollow: the interval includes zero.",
        alt="Dot plots of the gain by group. " + " ".join(gains_findings(run)),
        frame=pl.concat(pairs.values()),
        figure=figure,
        wide=True,
    )


def _panel(run: RunFolder, axes: Axes, frame: pl.DataFrame, model: str) -> None:
    rows(axes, [""] * frame.height)
    axes.set_yticks(range(frame.height), ["\n".join(_lines(rule)) for rule in frame["rule"]])
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    look = looks(run).get(model) or next(iter(looks(run).values()))
    for place, row in enumerate(frame.iter_rows(named=True)):
        estimate = _estimate(row)
        if not place and math.isfinite(estimate.value):
            axes.axvline(estimate.value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        dot(axes, place, estimate, look, hollow=not estimate.excludes_zero, label=row["rule"])


def _lines(rule: str) -> list[str]:
    """A rule on several lines, broken between its parts.

    Examples:
        >>> _lines("tenure ≤ 2 and (occupation frequency ≥ 2202 or first row)")
        ['tenure ≤ 2 and', '(occupation frequency ≥ 2202 or first row)']
    """
    whole_parts = " and ".join(part.replace(" ", "\u00a0") for part in rule.split(" and "))
    return [line.replace("\u00a0", " ") for line in wrap(whole_parts, WIDTH, break_long_words=False)]


def _finding(run: RunFolder, a: str, b: str, frame: pl.DataFrame) -> str:
    """What the groups of one pair say."""
    everybody, groups = frame.row(0, named=True), frame[1:]
    start = f"From {a} over {b} the gain is {_told(everybody)} nats a person-year on average"
    if not groups.height:
        return f"{start}, and no group of people was found that gains more or less than others."
    differs = groups.filter(pl.col("p_value") < 1 - run.confidence)
    if not differs.height:
        return f"{start}; the groups of the tree do not differ from that by more than chance allows."
    most, least = differs.row(0, named=True), differs.row(differs.height - 1, named=True)
    above = [f"largest where {most['rule']}: {_told(most)}"] if most["gain"] > everybody["gain"] else []
    below = [f"smallest where {least['rule']}: {_told(least)}"] if least["gain"] < everybody["gain"] else []
    explained = max(everybody["variance_explained"] or 0.0, 0.0)
    return (
        f"{start}; it is {' and '.join(above + below)}. The {groups.height} groups explain {percent(explained)} of how "
        "the gain varies between the person-years of people who did not form them."
    )


def _told(row: Mapping[str, Any]) -> str:
    estimate = _estimate(row)
    return " ".join(part for part in (fixed(estimate.value, 2), interval(estimate, 2)) if part)
