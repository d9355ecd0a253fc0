"""Simulated careers as an Investigator bundle of the NLSY79: the numbers and codes of ``nlsy79.py`` turned round.

Both classifications of the rounds that have two are there, and where the second one does not count it is now and then
invalid. A state is told by the strongest variable of the round: enrollment, the status recode, its collapsed form,
weeks of the past year; the weaker ones contradict it at times, and must not be heard.
"""

from pathlib import Path

import numpy as np

from laborllm.survey.careers import EDUCATION, ETHNICITIES, GENDERS, REGIONS
from laborllm.survey.nls.cohort import NO_JOB
from laborllm.survey.nls.nlsy79 import LEVEL_OF_GRADE, STATUS, WORDS, NLSY79Settings
from laborllm.survey.simulated.bundles import ID_REFERENCE, Description
from laborllm.survey.simulated.cohorts import Measured, Numbered, Other, interviewed_only, write_cohort
from laborllm.survey.simulated.panel import Panel, codes_of, draw_codes
from laborllm.survey.simulated.telling import Telling
from laborllm.survey.simulated.world import SIMULATED_STATES
from laborllm.survey.variables import read_variables

INVALID = -3
NOT_ENROLLED = (1, 4)
"""ENROLLMTREV of people who have left school without and with a diploma."""
WEEKS = 52
SHARE_ENROLLED = 0.7
"""Of those in education, who are told by enrollment where the recode tells it too."""
SEX_WORDS = {1: "MALE", 2: "FEMALE"}
RACE_WORDS = {1: "HISPANIC", 2: "BLACK", 3: "NON-BLACK, NON-HISPANIC"}
REGION_WORDS = {1: "NORTHEAST", 2: "NORTH CENTRAL", 3: "SOUTH", 4: "WEST"}
STATUS_WORDS = {
    1: "WORKING",
    2: "WITH A JOB, NOT AT WORK",
    3: "UNEMPLOYED",
    4: "KEEPING HOUSE",
    5: "GOING TO SCHOOL",
    6: "UNABLE TO WORK",
    7: "OTHER",
    8: "IN ACTIVE ARMED FORCES",
}
COLLAPSED = np.array([0, 1, 1, 2, 3, 3, 3, 3, 4])
"""Status recode -> its collapsed form."""


def write_nlsy79(panel: Panel, folder: Path, rng: np.random.Generator) -> Telling:
    """Write ``nlsy79.csv`` and its companions; the case number is the simulated person."""
    numbered = Numbered(read_variables("nlsy79"), panel.population.rounds)
    tells = _tells(numbered)
    education = panel.tells_education(numbered.asked("grade"), rng)
    weight = rng.integers(10_000, 3_000_000, panel.shape[0])
    pay, wage = _pay(panel, numbered, rng)
    measured = {
        **_occupations(panel, numbered, rng),
        **_states(panel, numbered, rng),
        **_covariates(panel, education, weight, rng),
        **pay,
    }
    person = Description(ID_REFERENCE, "CASEID", "1979", "IDENTIFICATION CODE")
    write_cohort(numbered, measured, _others(panel, rng), folder, person=person, cohort="NLSY79")
    weighted = weight / 100 if numbered.asked("weight")[panel.population.rounds == 1979].any() else None
    return Telling(tells, education, weighted, wage, person=np.arange(1, panel.shape[0] + 1))


def _tells(numbered: Numbered) -> dict[str, np.ndarray]:
    """State -> the rounds that tell it."""
    status = numbered.asked("status") | numbered.asked("status_collapsed")
    either = status | (numbered.asked("weeks_unemployed") & numbered.asked("weeks_out"))
    school = numbered.asked("enrollment") | numbered.asked("status")
    return {"in_education": school, "unemployed": either, "not_in_labor_force": either}


def _occupations(panel: Panel, numbered: Numbered, rng: np.random.Generator) -> dict[str, Measured]:
    """Codes in every classification; one that does not count is invalid now and then."""
    measured = {}
    counted = np.zeros(panel.shape[1], dtype=bool)
    for census in NLSY79Settings.model_fields["classifications"].default:
        concept = f"occupation_{census}"
        codes = np.where(panel.has_job, panel.census_codes(census, rng), NO_JOB)
        codes = np.where(counted & (rng.random(panel.shape) < 0.05), INVALID, codes)
        title = f"OCCUPATION OF CURRENT OR MOST RECENT JOB (CENSUS {census} CODES)"
        measured[concept] = Measured(title, interviewed_only(codes, panel))
        counted |= numbered.asked(concept)
    return measured


def _states(panel: Panel, numbered: Numbered, rng: np.random.Generator) -> dict[str, Measured]:
    schooled = panel.among(["in_education"])
    told = numbered.asked("enrollment") & (~numbered.asked("status") | (rng.random(panel.shape) < SHARE_ENROLLED))
    enrolled = (schooled & told) | (panel.has_job & (rng.random(panel.shape) < 0.2))
    enrollment = np.where(enrolled, rng.integers(2, 4, panel.shape), rng.choice(NOT_ENROLLED, panel.shape))
    status = _status(panel, told, rng)
    measured = {
        "enrollment": Measured("ENROLLMENT AS OF MAY 1 (REVISED)", enrollment),
        "status": Measured("EMPLOYMENT STATUS RECODE", status, STATUS_WORDS),
        "status_collapsed": Measured("EMPLOYMENT STATUS RECODE (COLLAPSED)", COLLAPSED[status]),
        "at_interview": Measured("EMPLOYED AT THE DATE OF INTERVIEW", panel.has_job & (rng.random(panel.shape) < 0.9)),
        **_weeks(panel, rng),
    }
    return {
        name: Measured(each.title, interviewed_only(each.values.astype(np.int64), panel), each.labels)
        for name, each in measured.items()
    }


def _status(panel: Panel, enrolled: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The recode; of people with a coded job and of those told by enrollment it may be anything but military."""
    states = ["employed", *SIMULATED_STATES]
    place = np.select([panel.among([state]) for state in SIMULATED_STATES], [1, 2, 3], 0)
    free = (enrolled & panel.among(["in_education"])) | (panel.has_job & (rng.random(panel.shape) < 0.1))
    drawn = draw_codes(place, codes_of(states, STATUS["status"]), rng.random(panel.shape))
    return np.where(free, rng.integers(1, 8, panel.shape), drawn)


def _weeks(panel: Panel, rng: np.random.Generator) -> dict[str, Measured]:
    """Weeks of the past year: the jobless have more in their own state, those in education as many in both."""
    many = rng.integers(10, 26, panel.shape)
    few = rng.integers(0, 10, panel.shape)
    unemployed = np.where(panel.among(["unemployed"]), many, few)
    out = np.where(panel.among(["not_in_labor_force"]), many, few)
    return {
        "weeks_worked": Measured("WEEKS WORKED IN PAST CALENDAR YEAR", WEEKS - unemployed - out),
        "weeks_unemployed": Measured("WEEKS UNEMPLOYED IN PAST CALENDAR YEAR", unemployed),
        "weeks_out": Measured("WEEKS OUT OF THE LABOR FORCE IN PAST CALENDAR YEAR", out),
    }


def _covariates(
    panel: Panel, education: np.ndarray, weight: np.ndarray, rng: np.random.Generator
) -> dict[str, Measured]:
    people = panel.population
    luck = rng.random((panel.shape[0], 1))  # a person's grade stays while the level does
    grade = draw_codes(people.education, codes_of(EDUCATION, LEVEL_OF_GRADE), luck)
    untold = rng.choice([-1, -2, INVALID, NO_JOB, 95], panel.shape)
    region = draw_codes(panel.regions(rng), codes_of(REGIONS, WORDS["region"]), np.zeros(1))
    hidden = rng.random(panel.shape) < 0.1
    hidden &= np.cumsum(people.interviewed, axis=1) > 1
    later = np.where(people.interviewed, rng.integers(10_000, 3_000_000, panel.shape), 0)
    later[:, people.rounds == 1979] = weight[:, None]
    return {
        "grade": Measured(
            "HIGHEST GRADE COMPLETED AS OF MAY 1 (REVISED)",
            interviewed_only(np.where(education, grade, untold), panel),
            {0: "NONE", 12: "12TH GRADE", 16: "4TH YEAR OF COLLEGE", 93: "PRE-KINDERGARTEN", 95: "UNGRADED"},
        ),
        "region": Measured(
            "REGION OF CURRENT RESIDENCE", interviewed_only(np.where(hidden, INVALID, region), panel), REGION_WORDS
        ),
        "weight": Measured("SAMPLING WEIGHT", later),
        "sex": Measured("SEX OF R", _fixed(people.gender, GENDERS, WORDS["gender"]), SEX_WORDS),
        "race": Measured("RACIAL/ETHNIC COHORT", _fixed(people.ethnicity, ETHNICITIES, WORDS["ethnicity"]), RACE_WORDS),
        "birth_year": Measured("DATE OF BIRTH - YEAR", people.birth_year - 1900),
    }


def _fixed(places: np.ndarray, words: tuple[str, ...], meaning: dict[int, str]) -> np.ndarray:
    options = [codes or [0] for codes in codes_of(words, meaning)]
    return draw_codes(places, options, np.zeros(len(places)))


def _pay(panel: Panel, numbered: Numbered, rng: np.random.Generator) -> tuple[dict[str, Measured], np.ndarray]:
    """Pay of the current job and of job #1, of which the first counts; and the wage in dollars that they tell."""
    cents = {concept: panel.cents(rng) for concept in ("wage", "wage_cps")}
    told = np.where(numbered.asked("wage_cps"), cents["wage_cps"], cents["wage"])
    asked = panel.has_job & (numbered.asked("wage_cps") | numbered.asked("wage"))
    titles = {"wage": "HOURLY RATE OF PAY JOB #01", "wage_cps": "HOURLY RATE OF PAY CURRENT/MOST RECENT JOB"}
    pay = {
        concept: Measured(titles[concept], interviewed_only(np.where(panel.has_job, values, NO_JOB), panel))
        for concept, values in cents.items()
    }
    return pay, np.where(asked, told / 100, np.nan)


def _others(panel: Panel, rng: np.random.Generator) -> list[Other]:
    """Columns that are no variable of a career: as every real extract has them."""
    people = panel.shape[0]
    mother = Description("R0006500", "HGC-MOTHER", "1979", "HIGHEST GRADE COMPLETED BY R'S MOTHER")
    sample = Description("R0173600", "SAMPLE_ID", "1979", "SAMPLE IDENTIFICATION CODE")
    return [Other(mother, rng.integers(-2, 21, people)), Other(sample, rng.integers(1, 21, people))]
