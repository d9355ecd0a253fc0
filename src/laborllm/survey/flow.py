"""What the readers of surveys share: the lines of the sample flow, and the closed list that census codes reach."""

from collections.abc import Sequence

import polars as pl

from laborllm.survey.careers import Step
from laborllm.survey.occupations import STATES, Occupations, crosswalk, occ1990dd

NAMED = 5
"""Columns, codes or years that a step names before it breaks off."""


def step(what: str, rows: pl.DataFrame, kind: str) -> Step:
    """A line of the flow that counts the people and the rows of a frame with the column person."""
    return Step(what, people=rows["person"].n_unique(), person_years=rows.height, kind=kind)


def first_names(names: Sequence[str]) -> str:
    """The first few names, and whether there are more.

    Examples:
        >>> first_names(["1979", "1980"])
        '1979, 1980'
    """
    return ", ".join([*names[:NAMED], *(["..."] if len(names) > NAMED else [])])


def unmapped_codes(rows: pl.DataFrame, most: int = NAMED) -> str:
    """The codes of a frame (columns census and code), most frequent first.

    Examples:
        >>> unmapped_codes(pl.DataFrame({"census": [1980, 1980], "code": [999, 999]}))
        'Census 1980: 999 2 times'
    """
    texts = []
    for (census,), part in rows.group_by("census", maintain_order=True):
        counts = part.group_by("code").len().sort(["len", "code"], descending=[True, False])
        named = [f"{code} {count} times" for code, count in counts.head(most).iter_rows()]
        others = [f"{counts.height - most} other codes"] if counts.height > most else []
        texts.append(f"Census {census}: {', '.join(named + others)}")
    return "; ".join(texts)


def closed_list(rows: pl.DataFrame) -> Occupations:
    """The occupations that the census codes of a frame (columns census and occupation) reach, then its states."""
    present = set(rows["occupation"].unique())
    states = [state for state in STATES if state in present]
    censuses = rows["census"].drop_nulls().unique()
    reachable = {code for census in censuses for code in crosswalk(census).values()}
    return occ1990dd(states).restrict(reachable | set(states))
