"""The page on the structure of occupations: how far groups explain the vectors, maps, neighbours."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from laborllm.report.drawing import MUTED, SERIES, Plot, drawing, settled, shortened
from laborllm.report.essay import Essay, Section, write_essay
from laborllm.report.numbers import fixed, percent, whole
from laborllm.report.tables import Cell, Table

NAMED_GROUPS = 7
"""Broad groups with a colour of their own on a map; the others are grey."""
NAMED_OCCUPATIONS = 28
"""Occupations named on a map; all of them stand in its CSV."""
SHOWN_NEIGHBOURS = 60
CAVEAT = (
    "A map shows the two directions in which the vectors spread most; what it leaves out is said on its axes. Near on "
    "the map need not be near in the whole space: read neighbours off the table."
)


def write_structure_page(frames: Mapping[str, pl.DataFrame], path: Path, *, facts: Mapping[str, str]) -> Path:
    """Write the page with its tables and maps.

    Args:
        frames: "structure", "neighbours" and "map", as ``structure.find_structure`` makes them.
        path: of the page.
        facts: label -> value: how to repeat it.
    """
    keys = frames["structure"].select("model", "source").rows()
    plots = [_map_plot(frames["map"], number, model, source) for number, (model, source) in enumerate(keys, start=1)]
    sections = [
        Section("explained", "Do broad groups order them?", (), [_explained_table(frames["structure"])]),
        Section("maps", "Maps", (CAVEAT,), (), plots),
        Section("neighbours", "Nearest neighbours", (), [_neighbours_table(frames["neighbours"])]),
    ]
    lead = (
        "Vectors of occupations, out of each model: they are near one another where the model treats them alike. "
        "Models are not told the broad groups, but for the Oracle and a logit with the similarity same_group: what "
        "groups explain of the others' vectors they found by themselves."
    )
    essay = Essay(
        "laborllm structure",
        "What models take occupations to be",
        lead,
        _findings(frames["structure"]),
        sections,
        facts,
    )
    return write_essay(essay, path)


def _findings(table: pl.DataFrame) -> list[str]:
    written = []
    for row in table.sort("nearest_alike", descending=True).iter_rows(named=True):
        beyond = "beyond chance" if row["p_value"] < 0.05 else "no more than chance would"
        written.append(
            f"{row['model']}, {row['source']}: broad groups explain {percent(row['share'], 0)} of the spread "
            f"({percent(row['chance'], 0)} if dealt out at random), {beyond}; the nearest neighbour is of the same "
            f"group for {percent(row['nearest_alike'], 0)} of {whole(row['occupations'])} occupations "
            f"({percent(row['nearest_chance'], 0)} by chance)."
        )
    return written


def _explained_table(table: pl.DataFrame) -> Table:
    rows = tuple(
        (
            Cell(row["model"]),
            Cell(row["source"]),
            Cell(percent(row["share"])),
            Cell(percent(row["chance"])),
            Cell(fixed(row["p_value"], 3)),
            Cell(percent(row["nearest_alike"])),
            Cell(percent(row["nearest_chance"])),
            Cell(whole(row["occupations"])),
        )
        for row in table.iter_rows(named=True)
    )
    return Table(
        name="structure",
        title="What broad groups explain of the vectors",
        caption="Share of the sum of squares between groups, beside its mean over 999 random deals of groups, and the "
        "share of deals that reach it (p). Nearest alike: the nearest neighbour is of the same group.",
        head=("Model", "Vectors", "Between groups", "By chance", "p", "Nearest alike", "By chance", "Occupations"),
        rows=rows,
        frame=table,
        words=2,
    )


def _neighbours_table(table: pl.DataFrame) -> Table:
    first = table.filter(pl.col("rank") <= 3).group_by("model", "source", "occupation", maintain_order=True)
    near = first.agg(pl.col("neighbour").str.join("; "), pl.col("similarity").max())
    shown = near.group_by("model", "source", maintain_order=True).head(SHOWN_NEIGHBOURS)
    return Table(
        name="neighbours",
        title="The three nearest neighbours",
        caption=f"By cosine; at most {SHOWN_NEIGHBOURS} occupations of each kind, all in neighbours.csv.",
        head=("Model", "Vectors", "Occupation", "Nearest", "Cosine of the first"),
        rows=tuple(
            (
                Cell(r["model"]),
                Cell(r["source"]),
                Cell(r["occupation"]),
                Cell(r["neighbour"]),
                Cell(fixed(r["similarity"], 2)),
            )
            for r in shown.iter_rows(named=True)
        ),
        frame=table,
        words=4,
    )


def _map_plot(table: pl.DataFrame, number: int, model: str, source: str) -> Plot:
    own = table.filter((pl.col("model") == model) & (pl.col("source") == source))
    sizes = own["group"].value_counts().sort(["count", "group"], descending=[True, False])
    named = sizes["group"].head(NAMED_GROUPS).to_list()
    with drawing():
        figure = Figure(figsize=(7.4, 5.6), layout="constrained")
        axes = figure.add_subplot()
        rest = own.filter(~pl.col("group").is_in(named))
        if rest.height:
            axes.scatter(rest["first"], rest["second"], s=22, color=MUTED, label="other groups")
        for place, group in enumerate(named):
            part = own.filter(pl.col("group") == group)
            marker = "os^Dvp*"[place % 7]
            axes.scatter(
                part["first"],
                part["second"],
                s=30,
                color=SERIES[place % len(SERIES)],
                marker=marker,
                label=shortened(group),
            )
        for row in _apart(own):
            spot = (row["first"], row["second"])
            axes.annotate(
                shortened(row["occupation"], 26), spot, fontsize=6.5, xytext=(3, 3), textcoords="offset points"
            )
        axes.set_xlabel(f"First direction ({percent(own['first_share'][0], 0)} of the spread)")
        axes.set_ylabel(f"Second direction ({percent(own['second_share'][0], 0)})")
        axes.legend(frameon=False, fontsize=7, loc="best")
        return settled(
            Plot(
                name=f"map_{number}",
                title=f"{model}: {source}",
                caption="One mark an occupation; colours and shapes are broad groups.",
                alt=f"Scatter of {own.height} occupations on the two main directions of the vectors of {model}.",
                frame=own,
                figure=figure,
                wide=True,
            )
        )


def _apart(own: pl.DataFrame) -> list[dict]:
    """Occupations that may be named without one name standing on another: a strip of the map each."""
    height = float(own["second"].max() - own["second"].min()) or 1.0  # type: ignore[operator,arg-type]
    width = float(own["first"].max() - own["first"].min()) or 1.0  # type: ignore[operator,arg-type]
    chosen: list[dict] = []
    for row in own.iter_rows(named=True):
        clear = all(
            abs(row["second"] - one["second"]) > 0.03 * height or abs(row["first"] - one["first"]) > 0.3 * width
            for one in chosen
        )
        if clear and len(chosen) < NAMED_OCCUPATIONS:
            chosen.append(row)
    return chosen
