"""Facts about the three surveys that the simulated population can be made to resemble.

Rounds and the classification of their occupations stand in the readers' tables of variables: a wave added there is
imitated here. Birth years are those of the cohorts (nlsinfo.org); the PSID has people of every age.
"""

import re
from functools import cache
from typing import Literal

from laborllm.survey.occupations import crosswalk
from laborllm.survey.variables import read_variables

Like = Literal["nlsy79", "nlsy97", "psid"]

OCCUPATION = re.compile(r"(?:head_)?occupation_(\d{4})(?:_01)?")
"""Concepts that hold the occupation of a round, and their classification."""
BIRTHS = {"nlsy79": (1957, 1964), "nlsy97": (1980, 1984)}
OLDEST_FIRST, YOUNGEST_LAST = 60, 20
"""PSID: the oldest are so old in the first year, the youngest so old in the last year."""
AGES = {"nlsy79": (16, 65), "nlsy97": (16, 65), "psid": (18, 65)}
"""Ages with a row."""
SHARES = {
    "nlsy79": (0.59, 0.25, 0.16, 0.0),
    "nlsy97": (0.50, 0.26, 0.21, 0.03),
    "psid": (0.60, 0.31, 0.06, 0.03),
}
"""Shares of ``ETHNICITIES``, made up; the NLSY79 has no word for the other ones."""


@cache
def censuses(like: Like) -> dict[int, tuple[int, ...]]:
    """Each round in order -> the classifications in which the survey codes its occupations.

    A round whose occupations have no reference number in the table of variables cannot be written, and is left out.

    Examples:
        >>> censuses("psid")[2001], 1998 in censuses("psid")
        ((1970,), False)
    """
    found: dict[int, set[int]] = {}
    rows = read_variables(like).rows.drop_nulls("reference")
    for concept, year in rows.select("concept", "year").iter_rows():
        if match := OCCUPATION.fullmatch(concept):
            found.setdefault(int(year), set()).add(int(match[1]))
    return {year: tuple(sorted(found[year])) for year in sorted(found)}


def rounds_of(like: Like, first_year: int, last_year: int) -> list[int]:
    """The survey's rounds from the first to the last year, in order."""
    return [year for year in censuses(like) if first_year <= year <= last_year]


def reachable(like: Like, first_year: int, last_year: int) -> set[str]:
    """The occ1990dd codes that every classification of these rounds can express."""
    used = {census for year in rounds_of(like, first_year, last_year) for census in censuses(like)[year]}
    return set.intersection(*(set(crosswalk(census).values()) for census in used))


def births(like: Like, first_year: int, last_year: int) -> tuple[int, int]:
    """First and last year of birth."""
    return BIRTHS.get(like, (first_year - OLDEST_FIRST, last_year - YOUNGEST_LAST))
