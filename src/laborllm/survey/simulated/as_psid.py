"""Simulated careers as PSID wave files: the cross-year individual file and a family file a wave.

The numbers are those of the reader's table, the codes those of ``survey/psid/codes.py`` turned round. A wave holds what
a reader must not take for a career: last jobs of people without work, mentions beside the one that counts, regions that
people moved to later, reports of race and of year of birth that others overrule.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import EDUCATION, ETHNICITIES, GENDERS
from laborllm.survey.psid.codes import (
    ARMED_FORCES_1970,
    CENSUS,
    HISPANIC,
    LEVEL_OF_GRADE,
    MILITARY,
    PRESENT_JOB_ALONE,
    SEX,
    SPANISH_DESCENT,
    WHITE,
    WORKS_NOW,
    races,
    relations,
    statuses,
)
from laborllm.survey.psid.labor_income import UNCLEAR, top_code
from laborllm.survey.simulated.families import CHILD, HEAD, LAST_SEQUENCE, PARTNER, SPOUSE, Families, draw_families
from laborllm.survey.simulated.panel import Panel, codes_of, draw_codes
from laborllm.survey.simulated.telling import Telling
from laborllm.survey.simulated.wave_files import write_wave
from laborllm.survey.simulated.world import SIMULATED_STATES
from laborllm.survey.variables import read_variables

CODES = {word: codes_of([word], statuses(1981))[0] for word in ("employed", "on_leave", *SIMULATED_STATES)}
"""Employment status -> its codes, the same in all waves from 1976 on."""
CHILD_1968, CHILD_1983 = 3, 30
"""Relation of a child to the head, to 1982 and from 1983 on."""
RELEASE = "ER30000"
DOES_NOT_WORK_NOW = 5
UNKNOWN_GRADES, UNKNOWN_YEAR = (0, 98, 99), 9999
NO_REGION = (5, 6, 9)
"""Alaska and Hawaii, a foreign country, unknown."""
LAST_JOBS = 0.6
"""Share of people without work whose last job stands in the waves that ask for it."""
NOT_CALCULATED = 0.05
"""Share of labor incomes that are nines in the waves in which these are no amount."""
OTHER_REPORT = 0.1
"""Share of reports of race and of year of birth that another report overrules."""
LABELS = {
    "interview": "INTERVIEW NUMBER",
    "sequence": "SEQUENCE NUMBER",
    "relation": "RELATION TO HEAD",
    "grades": "COMPLETED EDUCATION",
    "year_born": "YEAR INDIVIDUAL BORN",
    "weight": "INDIVIDUAL LONGITUDINAL WEIGHT",
    "sex": "SEX OF INDIVIDUAL",
    "id_1968": "1968 INTERVIEW NUMBER",
    "person_number": "PERSON NUMBER 68",
}


@dataclass(frozen=True)
class _Wave:
    """One wave's rows of families: its place among the rounds, its year, and the positions of heads and spouses.

    The spouse is -1 where there is none; both of shape (families,), in order of the interview number.
    """

    turn: int
    year: int
    head: np.ndarray
    spouse: np.ndarray


def write_psid(panel: Panel, folder: Path, rng: np.random.Generator) -> Telling:
    """Write ``IND2021ER.txt``, ``FAM1981.txt`` … and their set-ups; people get ids of the survey's form."""
    names, rounds = _names(), panel.population.rounds
    families = draw_families(panel.population, _asks(names, "spouse_race", rounds), rng)
    answers = _answers(panel, names, rng)
    answers["labor_income"] = incomes = _labor_incomes(panel, rng.spawn(1)[0])
    for turn in np.flatnonzero(panel.population.interviewed.any(axis=0)):  # a wave that nobody answers has no file
        year = int(rounds[turn])
        table, labels = _family_file(_wave(families, int(turn), year), answers, names)
        stem = f"FAM{year}{'ER' if year >= 1994 else ''}"
        write_wave(table, labels, folder, name=stem, title=f"{year} families, made up by laborllm")
    education = panel.tells_education(_asks(names, "grades", rounds), rng)
    education |= (families.role == CHILD) & _asks(names, "grades", rounds) & (rng.random(panel.shape) < 0.5)
    weight = np.where(families.role > 0, rng.integers(1, 99_999, panel.shape), 0) / 1000
    born = _reports(panel, families, names, rng)
    varying = {"interview": families.interview, "sequence": families.sequence, "weight": weight, "year_born": born}
    varying["grades"] = _grades(panel, education, rng)
    table, labels = _individual_file(panel, families, names, varying)
    last = max(year for concept, year in names if concept == "interview")
    write_wave(table, labels, folder, name=f"IND{last}ER", title=f"1968-{last} individuals, made up by laborllm")
    told = dict.fromkeys(SIMULATED_STATES, np.ones(len(rounds), dtype=bool))
    never = {"birth_year": (born == 0).all(axis=1)}
    earned = panel.has_job & _asks(names, "head_wage", rounds) & _asks(names, "spouse_wage", rounds)
    wage = np.where(earned, answers["wage"], np.nan)
    amounts = np.where(incomes == _nines(rounds), np.nan, incomes)
    return Telling(told, education, weight, wage, person=families.person, unasked=never, labor_income=amounts)


def _names() -> dict[tuple[str, str], str]:
    """Concept and year -> the survey's number."""
    rows = read_variables("psid").rows.drop_nulls("reference")
    return {(concept, year): name for concept, year, name in rows.select("concept", "year", "reference").iter_rows()}


def _wave(families: Families, turn: int, year: int) -> _Wave:
    here = (families.sequence[:, turn] > 0) & (families.sequence[:, turn] <= LAST_SEQUENCE)
    role, interview = families.role[:, turn], families.interview[:, turn]
    heads = np.flatnonzero(here & (role == HEAD))
    head = heads[np.argsort(interview[heads])]  # interview numbers are 1 … families
    spouses = np.flatnonzero(here & np.isin(role, (SPOUSE, PARTNER)))
    spouse = np.full(len(head), -1)
    spouse[interview[spouses] - 1] = spouses
    return _Wave(turn, year, head, spouse)


def _answers(panel: Panel, names: Mapping[tuple[str, str], str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What everybody says as head or spouse: last words of the concept -> shape (people, rounds)."""
    answers = {
        **_states(panel, names, rng),
        **_races(panel, names, rng),
        "region": np.where(rng.random(panel.shape) < 0.05, rng.choice(NO_REGION, panel.shape), panel.regions(rng) + 1),
        "home": np.broadcast_to(panel.population.region[:, None] + 1, panel.shape),
        "settled": np.cumsum(panel.population.interviewed, axis=1) > panel.population.interviewed,
        "wage": np.where(panel.has_job, panel.cents(rng) / 100, 0.0),
    }
    last_job = panel.other_jobs(rng)
    former = ~panel.has_job & (answers["status"] != CODES["on_leave"][0]) & (rng.random(panel.shape) < LAST_JOBS)
    soldiers = panel.among([MILITARY]) & (rng.random(panel.shape) < 0.5)
    for kind, census in CENSUS.items():
        codes = np.where(panel.has_job, panel.census_codes(census, rng), 0)
        if census == 1970:
            codes = np.where(soldiers, ARMED_FORCES_1970, codes)
        if kind not in PRESENT_JOB_ALONE:
            codes = np.where(former, panel.census_codes(census, rng, last_job), codes)
        answers[f"occupation_{kind}"] = codes
    return answers


def _labor_incomes(panel: Panel, rng: np.random.Generator) -> np.ndarray:
    """Dollars of the year before, or nines that are no amount, shape (people, rounds).

    The generator is one of its own, so that all else in the files is as it was without labor income.
    """
    nines = _nines(panel.population.rounds)
    return np.where((nines > 0) & (rng.random(panel.shape) < NOT_CALCULATED), nines, panel.incomes(rng))


def _nines(rounds: np.ndarray) -> np.ndarray:
    """The nines of the waves in which they are no amount, the same for heads and spouses; else -1; shape (rounds,)."""
    first, last = UNCLEAR
    return np.array([top_code("head", int(year)) if first <= year <= last else -1 for year in rounds])


def _asks(names: Mapping[tuple[str, str], str], concept: str, rounds: np.ndarray) -> np.ndarray:
    """Whether each wave has the concept, bool, shape (rounds,)."""
    return np.array([(concept, str(year)) in names for year in rounds])


def _states(panel: Panel, names: Mapping[tuple[str, str], str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Mentions of employment status; what counts may be the second, or the answer on work now, or a job on leave."""
    rounds, luck, way = panel.population.rounds, rng.random(panel.shape), rng.random(panel.shape)
    place = np.select([panel.among([state]) for state in SIMULATED_STATES], [1, 2, 3], 0)
    drawn = draw_codes(place, [CODES["employed"], *(CODES[state] for state in SIMULATED_STATES)], luck)
    without_work = rng.choice([code for state in SIMULATED_STATES for code in CODES[state]], panel.shape)
    out = rng.choice([0, *CODES["not_in_labor_force"]], panel.shape)
    on_leave = (panel.has_job | panel.among(["unemployed"])) & (way < 0.1)
    second = _asks(names, "head_status_2", rounds) & panel.has_job & (way >= 0.1) & (way < 0.2)
    now = _asks(names, "head_works_now", rounds) & panel.has_job & (way >= 0.2) & (way < 0.3)
    first = np.select([on_leave, second | now], [CODES["on_leave"][0], without_work], drawn)
    works = CODES["employed"][0]
    return {
        "status": first,
        "status_2": np.select([second, panel.has_job], [works, 0], out),
        "status_3": np.zeros(panel.shape, dtype=np.int64),
        "works_now": np.select([now, first == works], [WORKS_NOW, 0], DOES_NOT_WORK_NOW),
    }


def _races(panel: Panel, names: Mapping[tuple[str, str], str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Race and Spanish descent. Some reports differ: not the first, or of the hispanic the last, that counts."""
    people, rounds = panel.population, panel.population.rounds
    told = people.interviewed & _asks(names, "spouse_race", rounds)
    hispanic, white = ETHNICITIES.index(HISPANIC), ETHNICITIES.index(WHITE)
    others = [place for place in range(len(ETHNICITIES)) if place != hispanic]
    counts_last = (people.ethnicity == hispanic)[:, None]  # a hispanic origin counts whenever it is told
    earlier, later = np.cumsum(told, axis=1) > 1, np.cumsum(told[:, ::-1], axis=1)[:, ::-1] > 1
    differs = told & np.where(counts_last, later, earlier) & (rng.random(panel.shape) < OTHER_REPORT)
    is_hispanic = counts_last & ~differs
    reported = np.where(differs, rng.choice(others, panel.shape), people.ethnicity[:, None])
    race, descent = np.zeros(panel.shape, dtype=np.int64), np.zeros(panel.shape, dtype=np.int64)
    asks_descent = _asks(names, "head_hispanic", rounds)
    for turn, year in enumerate(rounds):
        options = codes_of(ETHNICITIES, races(int(year)))
        options = [codes or options[white] for codes in options]
        race[:, turn] = draw_codes(reported[:, turn], options, rng.random(panel.shape[0]))
        only_descent = HISPANIC not in races(int(year)).values()
        says = is_hispanic[:, turn] & asks_descent[turn] & (only_descent | (rng.random(panel.shape[0]) < 0.5))
        descent[:, turn] = np.where(says, rng.choice(SPANISH_DESCENT, panel.shape[0]), 0)
    return {"race": race, "hispanic": descent}


def _reports(
    panel: Panel, families: Families, names: Mapping[tuple[str, str], str], rng: np.random.Generator
) -> np.ndarray:
    """Year of birth as reported in each wave, 0 for none; the last report is right; shape (people, rounds)."""
    listed = (families.sequence > 0) & _asks(names, "year_born", panel.population.rounds)
    later = np.cumsum(listed[:, ::-1], axis=1)[:, ::-1] > listed  # a report of a later wave follows
    wrong = later & (rng.random(panel.shape) < OTHER_REPORT)
    born = panel.population.birth_year[:, None] + np.where(wrong, rng.integers(-2, 1, panel.shape), 0)
    born = np.where(wrong & (rng.random(panel.shape) < 0.3), UNKNOWN_YEAR, born)
    return np.where(listed, born, 0)


def _grades(panel: Panel, told: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    luck = rng.random((panel.shape[0], 1))  # a person's grade stays while the level does
    grades = draw_codes(panel.population.education, codes_of(EDUCATION, LEVEL_OF_GRADE), luck)
    return np.where(told, grades, rng.choice(UNKNOWN_GRADES, panel.shape))


def _relation(role: np.ndarray, year: int) -> np.ndarray:
    """Relation to the head in the codes of a wave, shape of ``role``."""
    codes = relations(year)
    child = CHILD_1968 if codes["head"] == relations(1968)["head"] else CHILD_1983
    return np.array([0, codes["head"][0], codes["spouse"][0], codes["spouse"][-1], child])[role]


def _individual_file(
    panel: Panel, families: Families, names: Mapping[tuple[str, str], str], varying: Mapping[str, np.ndarray]
) -> tuple[pl.DataFrame, dict[str, str]]:
    """Everybody, one row a person in order of the ids; and the labels."""
    sex = draw_codes(panel.population.gender, codes_of(GENDERS, SEX), np.zeros(1))
    fixed = {"id_1968": families.id_1968, "person_number": families.number, "sex": sex}
    columns = {RELEASE: np.ones(panel.shape[0], dtype=np.int64)}
    labels = {RELEASE: "RELEASE NUMBER"}
    for concept, values in fixed.items():
        columns[names[concept, "XRND"]], labels[names[concept, "XRND"]] = values, LABELS[concept]
    for turn, year in enumerate(panel.population.rounds):
        for concept, values in {**varying, "relation": _relation(families.role, int(year))}.items():
            name = names.get((concept, str(year)))
            if name:
                columns[name], labels[name] = values[:, turn], f"{LABELS[concept]} {year}"
    table = pl.DataFrame({name: columns[name] for name in sorted(columns, key=_number)})
    return table.sort(names["id_1968", "XRND"], names["person_number", "XRND"]), labels


def _family_file(
    wave: _Wave, answers: Mapping[str, np.ndarray], names: Mapping[tuple[str, str], str]
) -> tuple[pl.DataFrame, dict[str, str]]:
    """One row a family in order of the interview number, and the labels."""
    interview = names["family_interview", str(wave.year)]
    prefix, number, _ = _number(interview)
    release = f"{prefix}{number - 1}"  # the variable before the interview number
    region = names["region", str(wave.year)]
    columns = {
        release: np.ones(len(wave.head), dtype=np.int64),
        interview: np.arange(1, len(wave.head) + 1),
        region: _region(wave, answers),
    }
    labels = {release: "RELEASE NUMBER", interview: f"{wave.year} INTERVIEW NUMBER", region: f"REGION {wave.year}"}
    for role, people in (("head", wave.head), ("spouse", wave.spouse)):
        for word, values in answers.items():
            name = names.get((f"{role}_{word}", str(wave.year)))
            if name:
                columns[name] = np.where(people >= 0, values[people, wave.turn], 0)
                labels[name] = f"{role} {word} {wave.year}".upper().replace("_", " ")
    return pl.DataFrame({name: columns[name] for name in sorted(columns, key=_number)}), labels


def _region(wave: _Wave, answers: Mapping[str, np.ndarray]) -> np.ndarray:
    """The family's region: home, unless both have answered before; then another or unknown at times."""
    both = answers["settled"][wave.head, wave.turn]
    both &= (wave.spouse < 0) | answers["settled"][wave.spouse, wave.turn]
    return np.where(both, answers["region"][wave.head, wave.turn], answers["home"][wave.head, wave.turn])


def _number(name: str) -> tuple[str, int, str]:
    """The parts of a variable's name by which the survey orders them.

    Examples:
        >>> _number("ER4157E"), _number("V7712")
        (('ER', 4157, 'E'), ('V', 7712, ''))
    """
    found = re.fullmatch(r"([A-Z]+)(\d+)(.*)", name)
    if found is None:
        raise LaborLLMError(f"psid_variables.csv: {name!r} is no variable of the PSID; give a name such as V7712")
    return found[1], int(found[2]), found[3]
