"""Where a model is most often wrong: broad groups it confuses, occupations that cost it most."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from laborllm.report.numbers import fixed, percent, whole
from laborllm.report.tables import Cell, Table
from laborllm.survey.careers import Careers

BLOCK = 4096
"""Person-years whose probabilities are held in double precision at a time."""
SHOWN = 15
"""Rows of each table on a model's page; the CSV files have more."""
FEWEST_PEOPLE = 5
"""People behind a confusion that any file shows: fewer might be recognised."""
FIRST = "(first year)"


@dataclass(frozen=True)
class Mistakes:
    """Where one model is wrong among the test people.

    Attributes:
        confusions: previous, realised, predicted (broad groups; predicted: the most probable one, not the realised
            one), person_years, people, share (of all person-years), probability (mean, of the realised group); most
            frequent first; no rows where the list has a single group.
        occupations: occupation, title, person_years, nats (summed over them), share_of_loss, share_of_person_years,
            predicted (expected person-years), difference (predicted - person_years), std_error (of the difference,
            clustered by person), people; largest loss first.
    """

    confusions: pl.DataFrame
    occupations: pl.DataFrame


def find_mistakes(log_probabilities: np.ndarray, test: Careers) -> Mistakes:
    """Confusions and losses of one model, one pass over its array in blocks of people.

    Args:
        log_probabilities: nats, shape (person_years, occupations).
        test: the careers that they are of.
    """
    names, group = np.unique(np.array(test.occupations.groups), return_inverse=True)
    member = np.zeros((len(test.occupations), len(names)))
    member[np.arange(len(group)), group] = 1.0  # (occupations, groups)
    by_group = np.empty((len(test), len(names)))
    expected, squares = np.zeros((2, len(test.occupations)))
    for first, last in _blocks_of_people(test.starts):
        shares = np.exp(log_probabilities[first:last], dtype=np.float64)  # (rows, occupations)
        by_group[first:last] = shares @ member  # (rows, groups)
        expected += shares.sum(axis=0)
        shares[np.arange(last - first), test.occupation[first:last]] -= 1.0
        starts = test.starts[(test.starts >= first) & (test.starts < last)] - first
        squares += (np.add.reduceat(shares, starts, axis=0) ** 2).sum(axis=0)  # (occupations,)
    return Mistakes(
        confusions=confusions_of(by_group, names, group, test),
        occupations=losses_of(log_probabilities, test, expected, squares),
    )


def _blocks_of_people(starts: np.ndarray) -> list[tuple[int, int]]:
    """First and last row of runs of whole people, each of about ``BLOCK`` rows; ``starts`` as of Careers."""
    cuts = [0]
    for wanted in range(BLOCK, int(starts[-1]), BLOCK):
        cuts.append(int(starts[np.searchsorted(starts, wanted)]))
    cuts = sorted({*cuts, int(starts[-1])})
    return list(pairwise(cuts))


def confusions_of(by_group: np.ndarray, names: np.ndarray, group: np.ndarray, test: Careers) -> pl.DataFrame:
    """Counts of (previous, realised, predicted) where the most probable broad group is not the realised one.

    Args:
        by_group: probability of each broad group, shape (person_years, groups).
        names: of the groups, shape (groups,).
        group: of each occupation, shape (occupations,).
        test: the careers.
    """
    realised, predicted = group[test.occupation], by_group.argmax(axis=1)
    previous = np.where(test.previous < 0, len(names), group[test.previous])
    frame = pl.DataFrame(
        {
            "previous": np.append(names, FIRST)[previous],
            "realised": names[realised],
            "predicted": names[predicted],
            "person": test.person_of_row,
            "probability": by_group[np.arange(len(realised)), realised],
        }
    )
    keys = ("previous", "realised", "predicted")
    counts = frame.filter(pl.col("realised") != pl.col("predicted")).group_by(keys)
    found = counts.agg(
        person_years=pl.len().cast(pl.Int64),
        people=pl.col("person").n_unique(),
        probability=pl.col("probability").mean(),
    )
    share = pl.col("person_years") / max(len(test), 1)
    found = found.select(*keys, "person_years", "people", "probability", share=share)
    return found.sort("person_years", *keys, descending=[True, False, False, False])


def losses_of(log_probabilities: np.ndarray, test: Careers, expected: np.ndarray, squares: np.ndarray) -> pl.DataFrame:
    """Loss and calibration by occupation.

    Args:
        log_probabilities: nats, shape (person_years, occupations).
        test: the careers.
        expected: summed probability of each occupation, shape (occupations,).
        squares: sum over people of their squared (expected - observed) person-years, shape (occupations,).
    """
    size = len(test.occupations)
    nats = -log_probabilities[np.arange(len(test)), test.occupation].astype(np.float64)  # (person_years,)
    loss = np.bincount(test.occupation, weights=nats, minlength=size)
    count = np.bincount(test.occupation, minlength=size)
    difference = expected - count
    spread = squares - difference**2 / max(test.people, 1)
    scale = test.people / max(test.people - 1, 1)
    pairs = np.unique(np.stack([test.person_of_row, test.occupation]), axis=1)
    return pl.DataFrame(
        {
            "occupation": test.occupations.codes,
            "title": test.occupations.titles,
            "person_years": count,
            "people": np.bincount(pairs[1], minlength=size),
            "nats": loss,
            "share_of_loss": loss / loss.sum() if np.isfinite(loss.sum()) and loss.sum() else np.full(size, np.nan),
            "share_of_person_years": count / max(len(test), 1),
            "predicted": expected,
            "difference": difference,
            "std_error": np.sqrt(np.maximum(scale * spread, 0.0)),
        }
    ).sort("nats", descending=True, maintain_order=True)


def confusions_table(mistakes: Mistakes) -> Table | None:
    """The most frequent confusions of broad groups; None without any."""
    frequent = mistakes.confusions.filter(pl.col("people") >= FEWEST_PEOPLE)
    shown = frequent.head(SHOWN)
    if not shown.height:
        return None
    rows = [
        (
            *(Cell(row[name]) for name in ("previous", "realised", "predicted")),
            Cell(whole(row["person_years"]), value=row["person_years"]),
            Cell(whole(row["people"]), value=row["people"]),
            Cell(percent(row["probability"]), value=row["probability"]),
        )
        for row in shown.iter_rows(named=True)
    ]
    wrong = float(mistakes.confusions["share"].sum())
    return Table(
        name="confusions",
        title="Broad groups that it takes for one another",
        caption=f"In {percent(wrong)} of the test person-years the broad group that it holds most probable is not the "
        f"one that came; the most frequent cases with at least {FEWEST_PEOPLE} people. Last column: the mean "
        "probability it had left for what came.",
        head=("Group before", "Group that came", "Group held most probable", "Person-years", "People", "Probability"),
        rows=tuple(rows),
        frame=frequent,
        words=3,
    )


def losses_table(mistakes: Mistakes) -> Table | None:
    """The occupations that cost the model most; None where its loss is infinite."""
    shown = mistakes.occupations.filter(pl.col("person_years") > 0).head(SHOWN)
    if not shown.height or shown["share_of_loss"].is_nan().any():
        return None
    rows = [
        (
            Cell(row["title"]),
            Cell(whole(row["person_years"]), value=row["person_years"]),
            Cell(percent(row["share_of_person_years"]), value=row["share_of_person_years"]),
            Cell(percent(row["share_of_loss"]), value=row["share_of_loss"]),
            Cell(fixed(row["nats"] / row["person_years"], 2), value=row["nats"] / row["person_years"]),
        )
        for row in shown.iter_rows(named=True)
    ]
    return Table(
        name="losses",
        title="Occupations that cost it most",
        caption="The occupations that came with the largest share of the total log loss (nats summed over the "
        "person-years in which they came); a share of the loss far above the share of person-years: hard to foresee.",
        head=("Occupation", "Person-years", "Share of person-years", "Share of loss", "Nats a person-year"),
        rows=tuple(rows),
        frame=mistakes.occupations.select(
            "occupation", "title", "person_years", "people", "nats", "share_of_loss", "share_of_person_years"
        ),
    )


def expected_table(mistakes: Mistakes) -> Table | None:
    """The occupations that the model expects too often or too rarely; None where nothing was counted."""
    frame = mistakes.occupations.with_columns(ratio=pl.col("difference") / pl.col("std_error"))
    frame = frame.filter(pl.col("person_years") > 0, pl.col("std_error") > 0)
    shown = frame.sort(pl.col("difference").abs(), descending=True, maintain_order=True).head(SHOWN)
    if not shown.height:
        return None
    rows = [
        (
            Cell(row["title"]),
            Cell(fixed(row["predicted"], 0), value=row["predicted"]),
            Cell(whole(row["person_years"]), value=row["person_years"]),
            Cell(fixed(row["difference"], 1), error=f"({fixed(row['std_error'], 1)})", value=row["difference"]),
            Cell(fixed(row["std_error"], 1), value=row["std_error"]),
            Cell(fixed(row["ratio"], 1), value=row["ratio"]),
        )
        for row in shown.iter_rows(named=True)
    ]
    return Table(
        name="occupations",
        title="Occupations that it expects too often or too rarely",
        caption="Person-years that it expects among the test people (its probabilities summed), those that came, and "
        f"the difference with its standard error, clustered by person; the {len(rows)} largest differences of "
        f"{len(frame)} occupations, so a few ratios beyond 2 would arise by chance alone.",
        head=("Occupation", "Expected", "Came", "Difference", "Std. error", "Ratio"),
        rows=tuple(rows),
        frame=mistakes.occupations.select(
            "occupation", "title", "person_years", "people", "predicted", "difference", "std_error"
        ),
    )
