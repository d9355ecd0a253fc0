"""Example résumés: a few test people, what happened next, and what each model thought most likely.

The choice is mechanical, so that nobody picks the flattering ones: among the test people with at least five rows and a
move after the fourth, three evenly spaced in the order of the table, each shown at that move; then, halfway
through the people with at least five rows, one shown at the first stay after the fourth row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from laborllm.report.numbers import percent
from laborllm.report.readings import Prediction, Reading
from laborllm.report.tables import Table, text_rows
from laborllm.survey.careers import Careers

EARLIER = 4
"""Rows that must precede the one shown."""
MOVES = 3
RULE = (
    "Chosen by rule, not by hand: three of the test people who move after at least four recorded years, evenly spaced "
    "in the file, each shown at that move; and one who stays after at least four."
)


@dataclass(frozen=True)
class Example:
    """A person's career up to a year, what happened in it, and the predictions.

    Attributes:
        about: the person in words, e.g. "female, hispanic, south, born 1963".
        history: (year, education, title) of every earlier row.
        year: of the prediction.
        education: in that year.
        title: the realised occupation.
        transition: "move" or "stay".
        predictions: one per model with a full distribution, best model first.
    """

    about: str
    history: tuple[tuple[int, str, str], ...]
    year: int
    education: str
    title: str
    transition: str
    predictions: tuple[Prediction, ...]


def find_examples(test: Careers, rows: Sequence[int], readings: Mapping[str, Reading]) -> tuple[Example, ...]:
    """The example résumés: the chosen rows of the test careers with what each model said of them."""
    return tuple(_example(test, row, [reading.predictions[row] for reading in readings.values()]) for row in rows)


def choose_rows(test: Careers) -> list[int]:
    """Rows of the test careers to show: moves of three people, then a stay of another; fewer if there are fewer."""
    moves = _first_late_rows(test, "move")
    chosen = [moves[place] for place in spread(len(moves), MOVES)]
    people = {int(test.person_of_row[row]) for row in chosen}
    stays = [row for row in _first_late_rows(test, "stay") if int(test.person_of_row[row]) not in people]
    return chosen + stays[len(stays) // 2 :][:1]


def _first_late_rows(test: Careers, transition: str) -> list[int]:
    """Each person's first row of this transition that has enough rows before it, in the order of the table."""
    place = np.arange(len(test)) - test.starts[test.person_of_row]
    late = np.flatnonzero((place >= EARLIER) & (test.transition == transition))
    _, first = np.unique(test.person_of_row[late], return_index=True)
    return late[first].tolist()


def spread(count: int, wanted: int) -> list[int]:
    """Up to ``wanted`` evenly spaced places among ``count``."""
    return sorted({(2 * step + 1) * count // (2 * wanted) for step in range(wanted)}) if count else []


def _example(test: Careers, row: int, predictions: Sequence[Prediction]) -> Example:
    start = int(test.starts[test.person_of_row[row]])
    titles = test.occupations.titles
    education = test.table["education"].fill_null("education unknown").to_list()
    years = test.table["year"].to_list()
    history = [(years[i], education[i], titles[test.occupation[i]]) for i in range(start, row)]
    return Example(
        about=about(test.table.row(row, named=True)),
        history=tuple(history),
        year=years[row],
        education=education[row],
        title=titles[test.occupation[row]],
        transition=str(test.transition[row]),
        predictions=tuple(predictions),
    )


def about(row: Mapping[str, Any]) -> str:
    """A person in words, from a row of the careers."""
    parts = [str(row[name]) for name in ("gender", "ethnicity", "region") if row.get(name) is not None]
    parts += [f"born {row['birth_year']}"] if row.get("birth_year") is not None else []
    return ", ".join(parts) or "no covariates known"


def examples_table(examples: Sequence[Example]) -> Table | None:
    """The examples' predictions as a table; None without a prediction."""
    rows = [
        (place, example, prediction, rank, guess)
        for place, example in enumerate(examples, start=1)
        for prediction in example.predictions
        for rank, guess in enumerate(prediction.top, start=1)
    ]
    if not rows:
        return None
    columns = ("example", "year", "realised", "model", "rank", "occupation", "probability")
    values = [(n, e.year, e.title, p.model, rank, g.title, g.probability) for n, e, p, rank, g in rows]
    words = [(str(n), str(y), done, model, str(r), t, percent(p)) for n, y, done, model, r, t, p in values]
    return Table(
        name="examples",
        title="Example résumés: the five most probable next occupations of each model",
        caption=RULE,
        head=("Example", "Year", "What happened", "Model", "Rank", "Predicted occupation", "Probability"),
        rows=text_rows(words),
        frame=pl.DataFrame(values, schema=list(columns), orient="row", infer_schema_length=None),
        words=6,
    )
