"""Codes of the Panel Study of Income Dynamics and their words, by wave.

Facts from the survey's codebooks, as published label files of the releases to 2021 print them. The top code of hourly
earnings was not seen in print: check it against your codebook.
"""

from laborllm.survey.careers import EDUCATION, ETHNICITIES, REGIONS

ROLES = ("head", "spouse")
"""Those whose occupations the family files hold: head (reference person from 2017 on) and spouse (wife, "wife" or
partner of a year or more)."""

RELATIONS_1968: dict[str, tuple[int, ...]] = {"head": (1,), "spouse": (2,)}
RELATIONS_1983: dict[str, tuple[int, ...]] = {"head": (10,), "spouse": (20, 22)}
"""Relation to head -> role. Husbands of heads (9; 90) and cohabitors of the first year (88) have no variables of
their own in the family files."""

FIRST_WAVE = 1968
IN_FAMILY = (1, 20)
ABSENT = {
    "in an institution (sequence 51-59)": (51, 59),
    "moved out (sequence 71-80)": (71, 80),
    "died (sequence 81-89)": (81, 89),
}
"""Sequence numbers, first and last. In 1968 there is none, and everyone with a relation is in the family."""

STATUS_1968 = {1: "employed", 2: "unemployed", 3: "not_in_labor_force", 4: "not_in_labor_force"} | {
    5: "in_education",
    6: "not_in_labor_force",
}
"""Employment status 1968-1975: 1 working or laid off only temporarily, 2 unemployed, 3 retired or disabled,
4 housewife, 5 student, 6 other."""
STATUS_1976 = {1: "employed", 2: "on_leave", 3: "unemployed", 7: "in_education"} | dict.fromkeys(
    (4, 5, 6, 8), "not_in_labor_force"
)
"""From 1976 on: 1 working now, 2 only temporarily laid off, sick or maternity leave, 3 looking for work, 4 retired,
5 disabled, 6 keeping house, 7 student, 8 other. From 1994 on up to three mentions."""
WORKS_NOW = 1
"""Answer "yes" of those who said first that they do something else: doing any work for money now."""

RETROSPECTIVE = "1970_retrospective"
CENSUS = {RETROSPECTIVE: 1970, "1970": 1970, "2000": 2000, "2010": 2010}
"""Last words of the concepts ROLE_occupation_… -> classification; 2000 has 3 digits, 2010 has 4."""
PRESENT_JOB_ALONE = ("1970",)
"""Those that hold a present job alone. The others hold a last job too, of people who do not work."""
UNKNOWN_OCCUPATION = {1970: 999, 2000: 999, 2010: 9999}
ARMED_FORCES_1970, MILITARY = 600, "905"
"""The survey's own addition to the 1970 codes, current members of the armed forces, and their occ1990dd code."""

WHITE, BLACK, HISPANIC, OTHER = ETHNICITIES
RACE = {
    1968: {1: WHITE, 2: BLACK, 3: HISPANIC, 7: OTHER},
    1985: {1: WHITE, 2: BLACK, 3: OTHER, 4: OTHER, 7: OTHER, 8: OTHER},
    1990: {1: WHITE, 2: BLACK, 3: OTHER, 4: OTHER, 5: HISPANIC, 6: OTHER, 7: OTHER, 8: OTHER},
    1994: {1: WHITE, 2: BLACK, 3: OTHER, 4: OTHER, 5: HISPANIC, 6: OTHER, 7: OTHER},
    2005: {1: WHITE, 2: BLACK, 3: OTHER, 4: OTHER, 5: OTHER, 7: OTHER},
}
"""Race, first mention -> ethnicity, by the first wave of the coding. 5 is Latino origin 1990-2003, Pacific Islander
from 2005 on; 8 is more than two races 1985-1993, don't know later."""
SPANISH_DESCENT = tuple(range(1, 8))
"""Answers that name a Spanish, Hispanic or Latino origin; asked in 1985-1996 and from 2005 on."""

SEX = {1: "male", 2: "female"}
REGION = dict(enumerate(REGIONS, start=1))
"""5 (Alaska, Hawaii) and 6 (foreign country) are no region of the four."""
LEVEL_OF_GRADE = {
    **dict.fromkeys(range(1, 12), EDUCATION[0]),
    12: EDUCATION[1],
    **dict.fromkeys((13, 14, 15), EDUCATION[2]),
    16: EDUCATION[3],
    17: EDUCATION[4],
}
"""Years of completed education -> education; 0 is inapplicable, 98 and 99 are unknown."""
TOP_WAGE = 99.99
"""Hourly earnings at the top code of the waves with two digits before the point."""


def relations(year: int) -> dict[str, tuple[int, ...]]:
    """Role -> relations to head, in one wave.

    Examples:
        >>> relations(1982)["spouse"], relations(1983)["spouse"]
        ((2,), (20, 22))
    """
    return RELATIONS_1968 if year < 1983 else RELATIONS_1983


def statuses(year: int) -> dict[int, str]:
    """Employment status -> "employed", "on_leave" or a state, in one wave."""
    return STATUS_1968 if year < 1976 else STATUS_1976


def races(year: int) -> dict[int, str]:
    """Race -> ethnicity, in one wave.

    Examples:
        >>> races(2003)[5], races(2005)[5]
        ('hispanic', 'other')
    """
    return RACE[max(first for first in RACE if first <= year)]
