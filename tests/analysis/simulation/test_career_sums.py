"""What careers add up to equals plain loops over people and rows."""

from collections import Counter

import numpy as np
import polars as pl
import pytest

from laborllm.analysis.simulation.career_sums import (
    AGES,
    SINCE,
    SPELL_YEARS,
    CareerSums,
    by_age,
    by_years_since,
    person_sums,
)
from laborllm.analysis.simulation.simulation_settings import SimulateSettings
from laborllm.analysis.simulation.workers import Workers, workers_to_simulate
from laborllm.evaluation.groups.implied_rates import broad_groups
from laborllm.survey.careers import Careers


def counted(workers: Workers, occupation: np.ndarray, classes: list[str]) -> tuple[Counter, Counter]:
    """(person, summary, what, when) -> numerator, and denominator, row by row."""
    careers, top, base = workers.careers, Counter(), Counter()
    names, broad = broad_groups(careers)
    state, codes = careers.occupations.is_state, careers.occupations.codes
    whole = careers.occupation.copy()
    whole[workers.drawn] = occupation
    year, times = workers.year, dict(zip(np.flatnonzero(workers.drawn).tolist(), classes, strict=True))
    for person in range(careers.people):
        rows = list(range(careers.starts[person], careers.starts[person + 1]))
        drawn = [row for row in rows if workers.drawn[row]]
        given = drawn[0] - 1
        for row in drawn:
            now, before = whole[row], whole[row - 1]
            for time in {"all", times[row]} - {""}:
                top[person, "occupation_share", names[broad[now]], time] += 1
                top[person, "moves", "any occupation", time] += now != before
                for name in names:
                    base[person, "occupation_share", name, time] += 1
                base[person, "moves", "any occupation", time] += year[row] - year[row - 1]
            top[person, "transition", f"{names[broad[before]]} → {names[broad[now]]}", "all"] += 1
            for name in names:
                base[person, "transition", f"{names[broad[before]]} → {name}", "all"] += 1
            top[person, "unemployment", "share of rows", "all"] += codes[now] == "unemployed"
            base[person, "unemployment", "share of rows", "all"] += 1
        lived = [whole[row] for row in [given, *drawn]]
        top[person, "unemployment", "ever", "all"] = any(codes[each] == "unemployed" for each in lived[1:])
        top[person, "occupations_held", "jobs", "all"] = len({each for each in lived if not state[each]})
        ends = f"{names[broad[lived[0]]]} → {names[broad[lived[-1]]]}"
        top[person, "lifetime_transition", ends, "all"] = 1
        for summary, what in (("unemployment", "ever"), ("occupations_held", "jobs")):
            base[person, summary, what, "all"] = 1
        for name in names:
            base[person, "lifetime_transition", f"{names[broad[lived[0]]]} → {name}", "all"] = 1
        spells(person, rows, given, whole=whole, year=year, told=(names, broad, top, base))
    return top, base


def spells(person: int, rows: list[int], given: int, *, whole, year, told) -> None:
    names, broad, top, base = told
    runs = []  # (occupation, first row), of every row from the very first on
    for row in rows:
        if not runs or runs[-1][0] != whole[row]:
            runs.append((whole[row], row))
    for nth, (occupation, first) in enumerate(runs):
        cut = nth == len(runs) - 1
        last_row = rows[-1] if cut else runs[nth + 1][1] - 1
        if last_row < given:
            continue
        length = (year[rows[-1]] + 1 if cut else year[runs[nth + 1][1]]) - year[first]
        top[person, "spell_length", "mean", "all"] += length
        top[person, "spell_length", f"mean: {names[broad[occupation]]}", "all"] += length
        a, b = next(c for c in SPELL_YEARS if c[0] <= length <= c[1])
        label = f"{a}+" if b > 1000 else f"{a}" if a == b else f"{a}-{b}"
        top[person, "spell_length", f"{label} years", "all"] += 1
        top[person, "spell_length", "cut off by the end", "all"] += cut
        base[person, "spell_length", f"mean: {names[broad[occupation]]}", "all"] += 1
        for what in ("mean", "cut off by the end", "1 years", "2 years", "3-5 years", "6-10 years", "11+ years"):
            base[person, "spell_length", what, "all"] += 1


def label(value: int | None, firsts: tuple[int, ...]) -> str:
    if value is None or value < firsts[0]:
        return ""
    first = max(each for each in firsts if each <= value)
    later = [each for each in firsts if each > first]
    return f"{first}+" if not later else f"{first}" if later[0] - 1 == first else f"{first}-{later[0] - 1}"


@pytest.mark.parametrize("start", ["first", 1986])
@pytest.mark.parametrize("classes", ["ages", "since"])
def test_sums_of_every_person_equal_plain_loops(
    start: str | int, classes: str, few_careers: Careers, rng: np.random.Generator
) -> None:
    table = few_careers.table.with_columns(
        pl.when(pl.col("person") == 3).then(None).otherwise("birth_year").alias("birth_year").cast(pl.Int32)
    )
    careers = Careers(table, few_careers.occupations)
    workers = workers_to_simulate(careers, SimulateSettings(start=start), careers)
    when = by_age(workers) if classes == "ages" else by_years_since(workers)
    rows = np.flatnonzero(workers.drawn)
    born = workers.careers.table["birth_year"].to_list()
    since = workers.year - workers.year[workers.last_given][workers.careers.person_of_row]
    names = [
        label(None if born[row] is None else int(workers.year[row] - born[row]), AGES)
        if classes == "ages"
        else label(int(since[row]), SINCE)
        for row in rows
    ]
    occupation = rng.integers(0, len(careers.occupations), (len(rows), 3)).astype(np.int16)
    occupation[:, 0] = workers.careers.occupation[rows]  # as it was
    member = np.stack([np.ones(workers.careers.people, dtype=bool), np.arange(workers.careers.people) % 3 == 0])
    sums = CareerSums(workers, when)
    found = person_sums(sums, occupation, member)
    expected = [counted(workers, occupation[:, path], names) for path in range(3)]
    for side, values in enumerate((found.top, found.base[:, sums.base])):
        whole = np.zeros_like(values)
        for place, each in enumerate(sums.quantities):
            for person in range(sums.people):
                key = (person, each.summary, each.what, each.when)
                whole[person, place] = np.mean([one[side][key] for one in expected])
        assert np.allclose(values, whole, atol=1e-12)
        keys = {(each.summary, each.what, each.when) for each in sums.quantities}
        assert {key[1:] for one in expected for key, value in one[side].items() if value} <= keys
    assert np.allclose(found.path_top.mean(axis=0), member @ found.top)
    assert np.allclose(found.path_base.mean(axis=0), member @ found.base)
    alone = person_sums(sums, occupation[:, :1], member)
    assert np.allclose(found.path_top[0], member @ alone.top)
