"""Simulated careers as an Investigator bundle of the NLSY97: the numbers and codes of ``nlsy97.py`` turned round.

The main job stands anywhere in the roster of jobs, under the number that CV_MAINJOB_FLG gives, among other jobs that
must not be read. Interviews spread over half a year from October on, so that some of a round lie in the next calendar
year; the weekly history says the state of the unemployed in the week of the interview or in the week before, and
something else in the weeks around. People under 16 are interviewed, and have jobs that no reader keeps.
"""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from laborllm.survey.careers import EDUCATION, ETHNICITIES, GENDERS
from laborllm.survey.nls.cohort import NO_INTERVIEW, NO_JOB
from laborllm.survey.nls.nlsy97 import CENSUSES, ENROLLED, ETHNICITY, GENDER, LEVEL_OF_GRADE
from laborllm.survey.nls.nlsy97_weeks import EMPLOYER, WEEK_STATUS, week_of, week_reference
from laborllm.survey.simulated.bundles import ID_REFERENCE, Description
from laborllm.survey.simulated.cohorts import Measured, Numbered, Other, interviewed_only, write_cohort
from laborllm.survey.simulated.likeness import AGES
from laborllm.survey.simulated.panel import Panel, codes_of, draw_codes
from laborllm.survey.simulated.telling import Telling
from laborllm.survey.simulated.world import SIMULATED_STATES
from laborllm.survey.variables import read_variables

FIRST_ROUND = 1997
INVALID = -3
ROSTER, JOBS = 4, 3
"""Jobs of the roster that are written, and that people have at most."""
UNFLAGGED = 0.05
"""Share of main jobs that are job 01 and not flagged as the main one."""
DAYS = ((0, 10, 5), (0, 11, 1), (0, 11, 27), (0, 12, 23), (1, 1, 2), (1, 1, 25), (1, 2, 20), (1, 3, 15))
"""Days of interviews: years after the round's, month, day."""
WEEK_BEFORE = 0.15
"""Share of interviews whose own week holds nothing."""
NOTHING_KNOWN = (0, NO_JOB)
STATUS_CODES = tuple(code for code, state in WEEK_STATUS.items() if state != "armed_forces")
DEGREES_OF_LEVEL = ((0,), (1, 2), (1, 2, 3), (4,), (5, 6, 7))
"""Level of education -> degrees; some college is told by the grade too."""
GED = 1
NO_DEGREE_TOLD = 0.1
"""Share of people who never tell a degree."""
SEX_LABELS = {1: "Male", 2: "Female"}
RACE_LABELS = {1: "Black", 2: "Hispanic", 3: "Mixed Race (Non-Hispanic)", 4: "Non-Black / Non-Hispanic"}
REGION_LABELS = {1: "Northeast", 2: "North Central", 3: "South", 4: "West"}
DEGREE_LABELS = {
    0: "None",
    1: "GED",
    2: "High school diploma",
    3: "Associate degree",
    4: "Bachelor's degree",
    5: "Master's degree",
    6: "PhD",
    7: "Professional degree",
}


def write_nlsy97(panel: Panel, folder: Path, rng: np.random.Generator) -> Telling:
    """Write ``nlsy97.csv`` and its companions; the public id is the simulated person."""
    numbered = Numbered(read_variables("nlsy97"), panel.population.rounds)
    met = panel.population.interviewed | _young(panel, rng)
    education = panel.tells_education(numbered.asked("grade"), rng)
    weight = np.where(met, rng.integers(10_000, 3_000_000, panel.shape), 0)
    first = panel.population.rounds == FIRST_ROUND
    weight[:, first] = rng.integers(10_000, 3_000_000, (panel.shape[0], int(first.sum())))
    days = rng.integers(0, len(DAYS), panel.shape)
    roster, wage = _roster(panel, met, rng)
    measured = {
        **roster,
        **_schooling(panel, education, numbered.asked("degree"), rng),
        **_dates(panel, met, days),
        **_covariates(panel, met, weight, rng),
    }
    others = [*_weeks(panel, days, rng), *_others(panel, rng)]
    person = Description(ID_REFERENCE, "PUBID", "1997", "PUBID, YOUTH CASE IDENTIFICATION CODE")
    write_cohort(numbered, measured, others, folder, person=person, cohort="NLSY97")
    told = dict.fromkeys(SIMULATED_STATES, np.ones(panel.shape[1], dtype=bool))
    weighted = weight[:, first][:, 0] / 100 if first.any() else None
    wage = np.where(numbered.asked("pay_01"), wage, np.nan)
    return Telling(told, education, weighted, wage, person=np.arange(1, panel.shape[0] + 1))


def _young(panel: Panel, rng: np.random.Generator) -> np.ndarray:
    """Interviews of people below the age from which there are rows, shape (people, rounds)."""
    age = panel.population.rounds - panel.population.birth_year[:, None]
    return (age < AGES["nlsy97"][0]) & (rng.random(panel.shape) < 0.9)


def _roster(panel: Panel, met: np.ndarray, rng: np.random.Generator) -> tuple[dict[str, Measured], np.ndarray]:
    """Occupations and pay of up to three jobs, and which is the main one; and the main job's wage in dollars."""
    works = panel.has_job | (met & ~panel.population.interviewed & (rng.random(panel.shape) < 0.5))
    main = rng.integers(1, JOBS + 1, panel.shape)
    jobs = np.maximum(main, rng.integers(1, JOBS + 1, panel.shape))
    unflagged = (main == 1) & (rng.random(panel.shape) < UNFLAGGED * JOBS)
    flag = np.where(works & ~unflagged, main, NO_JOB)
    measured = {"main_job": Measured("MAIN JOB FLAG", np.where(met, flag, NO_INTERVIEW))}
    wage = np.full(panel.shape, np.nan)
    for job in range(1, ROSTER + 1):
        places = np.where((job == main) & panel.has_job, panel.occupation, panel.other_jobs(rng))
        held = works & (job <= jobs)
        for census in CENSUSES:
            codes = np.where(held, panel.census_codes(census, rng, places), NO_JOB)
            title = f"OCCUPATION ({census} CENSUS 4 DIGIT) JOB #{job:02}"
            measured[f"occupation_{census}_{job:02}"] = Measured(title, np.where(met, codes, NO_INTERVIEW))
        cents = np.where(held, panel.cents(rng), NO_JOB)
        measured[f"pay_{job:02}"] = Measured(f"HOURLY RATE OF PAY JOB #{job:02}", np.where(met, cents, NO_INTERVIEW))
        wage = np.where((job == main) & panel.has_job, cents / 100, wage)
    return measured, wage


def _schooling(panel: Panel, told: np.ndarray, asked: np.ndarray, rng: np.random.Generator) -> dict[str, Measured]:
    """Degree and grade, told together; a GED goes with any grade, and without a degree the grade is the level's."""
    level = panel.population.education
    luck = rng.random((2, panel.shape[0], 1))  # a person's codes stay while the level does
    degree = draw_codes(level, DEGREES_OF_LEVEL, luck[0])
    grade = draw_codes(level, codes_of(EDUCATION, LEVEL_OF_GRADE), luck[1])
    tells = told & asked & (rng.random((panel.shape[0], 1)) >= NO_DEGREE_TOLD)
    grade = np.where(tells & (level == 1) & (degree == GED), rng.integers(8, 13, panel.shape), grade)
    untold = rng.choice([-1, -2, INVALID, NO_JOB], panel.shape)
    schooled = panel.among(["in_education"]) | (panel.has_job & (rng.random(panel.shape) < 0.2))
    enrollment = np.where(schooled, rng.choice(ENROLLED, panel.shape), rng.integers(1, min(ENROLLED), panel.shape))
    return {
        "degree": Measured(
            "HIGHEST DEGREE RECEIVED", interviewed_only(np.where(tells, degree, untold), panel), DEGREE_LABELS
        ),
        "grade": Measured("HIGHEST GRADE COMPLETED", interviewed_only(np.where(told, grade, untold), panel)),
        "enrollment": Measured("ENROLLMENT STATUS", interviewed_only(enrollment, panel)),
    }


def _dates(panel: Panel, met: np.ndarray, days: np.ndarray) -> dict[str, Measured]:
    years, months, dates = np.array(DAYS).T
    year = panel.population.rounds + years[days]
    return {
        "interview_year": Measured("INTERVIEW DATE - YEAR", np.where(met, year, NO_INTERVIEW)),
        "interview_month": Measured("INTERVIEW DATE - MONTH", np.where(met, months[days], NO_INTERVIEW)),
        "interview_day": Measured("INTERVIEW DATE - DAY", np.where(met, dates[days], NO_INTERVIEW)),
    }


def _weeks(panel: Panel, days: np.ndarray, rng: np.random.Generator) -> list[Other]:
    """The status in each week that is somebody's interview or the week before, as the extract's weekly history."""
    own, before = _status(panel, rng), rng.choice([*NOTHING_KNOWN, *STATUS_CODES, EMPLOYER], panel.shape)
    late = rng.random(panel.shape) < WEEK_BEFORE
    own, before = np.where(late, rng.choice(NOTHING_KNOWN, panel.shape), own), np.where(late, own, before)
    weeks: dict[tuple[int, int], np.ndarray] = {}
    for turn, year in enumerate(panel.population.rounds):
        for place, (later, month, day) in enumerate(DAYS):
            interview = date(int(year) + later, month, day)
            both = week_of(pl.Series([interview, interview - timedelta(7)])).rows()
            asked = (days[:, turn] == place) & panel.population.interviewed[:, turn]
            for week, status in zip(both, (own, before), strict=True):
                if week not in weeks:
                    weeks[week] = rng.choice([0, NO_JOB, NO_INTERVIEW, *STATUS_CODES, EMPLOYER], panel.shape[0])
                weeks[week][asked] = status[asked, turn]
    return [
        Other(
            Description(week_reference(*week), f"EMP_STATUS_{week[0]}.{week[1]:02}", "XRND", "EMPLOYMENT STATUS"),
            values,
        )
        for week, values in weeks.items()
    ]


def _status(panel: Panel, rng: np.random.Generator) -> np.ndarray:
    """Status in the week that tells a state; of others an employer or anything, shape (people, rounds)."""
    codes = codes_of(SIMULATED_STATES, WEEK_STATUS)
    employer = rng.integers(EMPLOYER, EMPLOYER + JOBS, panel.shape)
    status = np.where(rng.random(panel.shape) < 0.2, rng.choice(STATUS_CODES, panel.shape), employer)
    for place, state in enumerate(SIMULATED_STATES):
        if codes[place]:
            status = np.where(panel.among([state]), rng.choice(codes[place], panel.shape), status)
    return status


def _covariates(panel: Panel, met: np.ndarray, weight: np.ndarray, rng: np.random.Generator) -> dict[str, Measured]:
    people = panel.population
    region = panel.regions(rng) + 1
    hidden = (rng.random(panel.shape) < 0.1) & (np.cumsum(people.interviewed, axis=1) > 1)
    return {
        "region": Measured(
            "CENSUS REGION OF RESIDENCE",
            np.where(met, np.where(hidden, INVALID, region), NO_INTERVIEW),
            REGION_LABELS,
        ),
        "weight_cc": Measured("SAMPLING WEIGHT, CUMULATING CASES", weight),
        "weight_panel": Measured("SAMPLING WEIGHT, PANEL", np.where(panel.population.interviewed, weight, 0)),
        "sex": Measured("GENDER", draw_codes(people.gender, codes_of(GENDERS, GENDER), np.zeros(1)), SEX_LABELS),
        "race": Measured(
            "COMBINED RACE AND ETHNICITY",
            draw_codes(people.ethnicity, codes_of(ETHNICITIES, ETHNICITY), np.zeros(1)),
            RACE_LABELS,
        ),
        "birth_year": Measured("BIRTH DATE - YEAR", people.birth_year),
    }


def _others(panel: Panel, rng: np.random.Generator) -> list[Other]:
    """Columns that are no variable of a career: as every real extract has them."""
    size = Description("R1205400", "CV_HH_SIZE", "1997", "HOUSEHOLD SIZE")
    sample = Description("R1235800", "CV_SAMPLE_TYPE", "1997", "SAMPLE TYPE: CROSS-SECTIONAL OR OVERSAMPLE")
    people = panel.shape[0]
    return [Other(size, rng.integers(1, 10, people)), Other(sample, rng.integers(0, 2, people))]
