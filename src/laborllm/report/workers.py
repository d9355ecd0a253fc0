"""The worker explorer: careers of some test people, and what every model said of each of their years."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from laborllm.report.examples import about, spread
from laborllm.report.readings import Prediction, Reading
from laborllm.survey.careers import Careers

SHARES = {"once": 0.1, "stayers": 0.25}
"""Of the people shown: those seen in one year alone, those who never move; the rest move."""
DIGITS = 3
"""Significant digits of a probability in the page."""
RULE = (
    "Chosen by rule, not by hand: evenly spaced in the file among the test people who move at some time; a quarter "
    "never move, and a tenth are seen in one year alone, as far as there are such people."
)


def choose_people(test: Careers, wanted: int) -> list[int]:
    """Positions of the test people to show, in the order of the table; all of them where there are no more."""
    if test.people <= wanted or not len(test):
        return list(range(test.people if len(test) else 0))
    years = np.diff(test.starts)
    moves = np.bincount(test.person_of_row, weights=test.transition == "move", minlength=test.people)
    strata = {
        "once": np.flatnonzero(years == 1),
        "stayers": np.flatnonzero((years > 1) & (moves == 0)),
        "movers": np.flatnonzero(moves > 0),
    }
    sizes = {name: min(int(share * wanted), len(strata[name])) for name, share in SHARES.items()}
    sizes["movers"] = min(wanted - sum(sizes.values()), len(strata["movers"]))
    chosen = {int(strata[name][place]) for name, size in sizes.items() for place in spread(len(strata[name]), size)}
    others = [person for person in range(test.people) if person not in chosen]
    chosen |= {others[place] for place in spread(len(others), wanted - len(chosen))}
    return sorted(chosen)


def rows_of(test: Careers, people: Sequence[int]) -> list[int]:
    """Every row of these people."""
    return [row for person in people for row in range(int(test.starts[person]), int(test.starts[person + 1]))]


def worker_data(test: Careers, people: Sequence[int], readings: Mapping[str, Reading]) -> dict[str, Any]:
    """What the page of the explorer holds, without any identifier of a person.

    Returns:
        titles: of the closed list; models: names, best first; people: of each
            about: the person in words;
            rows: (year, education, place in the list, transition) of each year;
            said: for each model and year (probability of what happened, its place, then place in the list and
                probability of the most probable occupations in turn).
    """
    education = test.table["education"].fill_null("education unknown").to_list()
    years = test.table["year"].to_list()
    found = []
    for person in people:
        rows = rows_of(test, [person])
        found.append(
            {
                "about": about(test.table.row(rows[0], named=True)),
                "rows": [
                    [years[row], education[row], int(test.occupation[row]), str(test.transition[row])] for row in rows
                ],
                "said": [[_said(reading.predictions[row]) for row in rows] for reading in readings.values()],
            }
        )
    return {"titles": list(test.occupations.titles), "models": list(readings), "people": found}


def _said(prediction: Prediction) -> list[float]:
    tops = [number for guess in prediction.top for number in (guess.place, _rounded(guess.probability))]
    return [_rounded(prediction.realised), prediction.rank, *tops]


def _rounded(probability: float) -> float:
    return float(f"{probability:.{DIGITS}g}")
