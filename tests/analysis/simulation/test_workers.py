"""Who is simulated from where on; what is otherwise with them; what is refused."""

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from laborllm.analysis.simulation.simulation_settings import SimulateSettings
from laborllm.analysis.simulation.workers import (
    Workers,
    beyond_training,
    factual_and_other,
    modelled_education,
    workers_to_simulate,
)
from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers


def settings(**given) -> SimulateSettings:
    return SimulateSettings.model_validate(given)


def rows(workers: Workers) -> dict[int, list[tuple[int, bool]]]:
    """Person -> year and whether it is drawn."""
    found: dict[int, list[tuple[int, bool]]] = {}
    for (person, year), drawn in zip(
        workers.careers.table.select("person", "year").iter_rows(), workers.drawn, strict=True
    ):
        found.setdefault(person, []).append((year, bool(drawn)))
    return found


def years_of(careers: Careers) -> dict[int, list[int]]:
    return dict(careers.table.group_by("person").agg("year").iter_rows())


@pytest.mark.parametrize(
    ("start", "until", "years"),
    [("first", None, None), ("first", 1988, None), ("first", None, 4), (1986, None, None), (1986, 1992, 3)],
)
def test_rows_of_the_survey_are_given_then_drawn(start, until, years, few_careers: Careers) -> None:
    expected = {}
    for person, seen in years_of(few_careers).items():
        given = [year for year in seen if year <= (min(seen) if start == "first" else start)]
        if given:
            end = min(until or 9999, max(given) + (years or 9999))
            later = [year for year in seen if year not in given and year <= end]
            if later:
                expected[person] = [(year, False) for year in given] + [(year, True) for year in later]
    found = workers_to_simulate(few_careers, settings(start=start, until=until, years=years), few_careers)
    assert rows(found) == expected
    assert found.observed
    joined = found.careers.table.join(few_careers.table, on=["person", "year"], suffix="_before")
    assert joined.height == len(found.careers)
    assert (joined["occupation"] == joined["occupation_before"]).all()


def test_rows_beyond_the_last_one_stand_in_the_surveys_years_and_then_at_its_last_distance(
    few_careers: Careers,
) -> None:
    table = few_careers.table.filter(pl.col("year") != 1993)  # 1994 is the last year, 1992 that before
    careers = Careers(table, few_careers.occupations)
    assert sorted(set(table["year"]))[-2:] == [1992, 1994]
    found = workers_to_simulate(careers, settings(start="last", until=1999), careers)
    assert not found.observed
    for person, seen in years_of(careers).items():
        later = [year for year in [*sorted(set(table["year"])), 1996, 1998] if year > max(seen)]
        assert rows(found)[person] == [(year, False) for year in seen] + [(year, True) for year in later]
    within = workers_to_simulate(careers, settings(start="last", years=5), careers)
    for given in rows(within).values():
        last = max(year for year, drawn in given if not drawn)
        assert all(year <= last + 5 for year, _ in given)
        assert any(drawn for _, drawn in given)


def test_education_is_the_surveys_or_carried_or_modelled(few_careers: Careers) -> None:
    given = settings(start=1986)
    observed = workers_to_simulate(few_careers, given, few_careers)
    assert set(observed.careers.table.filter(observed.drawn & (observed.year >= 1988))["education"]) == {"some college"}
    carried = workers_to_simulate(few_careers, given.model_copy(update={"education": "carried"}), few_careers)
    assert set(carried.careers.table["education"]) == {"high school"}
    modelled = workers_to_simulate(few_careers, given.model_copy(update={"education": "modelled"}), few_careers)
    assert modelled.careers.table.drop("education").equals(observed.careers.table.drop("education"))
    assert set(modelled.careers.table.filter(~modelled.drawn)["education"]) == {"high school"}
    again = workers_to_simulate(few_careers, given.model_copy(update={"education": "modelled"}), few_careers)
    assert modelled.careers.table.equals(again.careers.table)


def test_modelled_education_follows_the_shares_of_training_people(few_careers: Careers) -> None:
    """At one age half of those with high school have some college in the next row; nobody loses it."""

    def people(number: int, first: int, level) -> pl.DataFrame:
        frame = few_careers.table.filter(pl.col("person") == few_careers.table["person"][0]).head(1)
        made = [
            frame.with_columns(
                person=pl.lit(first + n).cast(pl.Int64),
                year=pl.lit(1980 + t).cast(pl.Int32),
                birth_year=pl.lit(1960).cast(pl.Int32),
                education=pl.lit(level(n, t)),
            )
            for n in range(number)
            for t in range(3)
        ]
        return pl.concat(made).select(few_careers.table.columns).cast(dict(few_careers.table.schema))

    train = Careers(
        people(10, 1, lambda n, t: "some college" if t and n % 2 else "high school"), few_careers.occupations
    )
    test = Careers(people(400, 1, lambda n, t: "high school"), few_careers.occupations)
    workers = workers_to_simulate(test, settings(), test)
    drawn = modelled_education(workers, train, np.random.default_rng(0)).to_numpy().reshape(400, 3)
    assert abs((drawn[:, 1] == "some college").mean() - 0.5) < 4 * 0.5 / np.sqrt(400)
    assert (drawn[:, 2] == drawn[:, 1]).all()  # at 21 nobody of the training people changes


def test_so_many_people_are_drawn_at_random(few_careers: Careers) -> None:
    found = [workers_to_simulate(few_careers, settings(people=10, seed=seed), few_careers) for seed in (1, 1, 2)]
    assert found[0].careers.people <= 10
    assert found[0].careers.table.equals(found[1].careers.table)
    assert not found[0].careers.table.equals(found[2].careers.table)


def test_a_covariate_is_set_in_every_row_of_those_who_had_another(few_careers: Careers) -> None:
    given = settings(counterfactual={"men": {"set": {"gender": "male", "birth_year": 1963}}})
    factual, other = factual_and_other(few_careers, given, "men", train=few_careers)
    whole = workers_to_simulate(few_careers, given, few_careers).careers.table
    concerned = whole.filter((pl.col("gender") != "male") | (pl.col("birth_year") != 1963))
    assert factual.careers.table.equals(concerned)
    assert set(other.careers.table["gender"]) == {"male"}
    assert set(other.careers.table["birth_year"]) == {1963}
    rest = [name for name in concerned.columns if name not in ("gender", "birth_year")]
    assert other.careers.table.select(rest).equals(concerned.select(rest))
    assert other.careers.table.schema == concerned.schema
    assert np.array_equal(factual.drawn, other.drawn)


def test_a_layoff_makes_people_with_a_job_unemployed_in_that_row_alone(few_careers: Careers) -> None:
    given = settings(counterfactual={"cut": {"layoff": 1986}})
    factual, other = factual_and_other(few_careers, given, "cut", train=few_careers)
    jobs, expected = {"313", "436", "433"}, []
    for person, years in years_of(few_careers).items():
        held = dict(few_careers.table.filter(person=person).select("year", "occupation").iter_rows())
        before = [year for year in years if year < 1986]
        if 1986 in held and before and max(years) > 1986 and {held[1986], held[max(before)]} <= jobs:
            expected.append(person)
    assert expected
    assert factual.careers.table["person"].unique().sort().to_list() == sorted(expected)
    assert np.array_equal(factual.drawn, (factual.careers.table["year"] > 1986).to_numpy())
    changed = factual.careers.table["occupation"].cast(pl.String) != other.careers.table["occupation"].cast(pl.String)
    assert np.array_equal(changed.to_numpy(), factual.year == 1986)
    assert set(other.careers.table.filter(pl.col("year") == 1986)["occupation"]) == {"unemployed"}


def test_years_and_ages_beyond_training_are_told(few_careers: Careers) -> None:
    workers = workers_to_simulate(few_careers, settings(start="last", until=2000), few_careers)
    year, age = beyond_training(workers, few_careers)
    assert "years before 1980 or after 1994, which no training person has" in year
    assert "extrapolates" in age
    assert beyond_training(workers_to_simulate(few_careers, settings(), few_careers), few_careers) == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": 1979}, "nobody has a row to draw with start = 1979.*1980 to 1994"),
        ({"until": 1979}, "until = 1979.*their rows are of 1980 to 1994"),
        ({"people": 99}, "99"),
        (
            {"counterfactual": {"a": {"set": {"gender": "men"}}}},
            "nobody has gender 'men'; the test people have female, male",
        ),
        ({"counterfactual": {"a": {"set": {"birth_year": "late"}}}}, "birth_year is 'late'; give a whole number"),
        ({"counterfactual": {"a": {"layoff": 1994}}}, "nobody has a row to draw with start = 1994"),
    ],
)
def test_what_concerns_nobody_is_refused(given: dict, message: str, few_careers: Careers) -> None:
    chosen = settings(**given)
    with pytest.raises(LaborLLMError, match=message) as problem:
        for name in chosen.counterfactual:
            factual_and_other(few_careers, chosen, name, train=few_careers)
        workers_to_simulate(few_careers, chosen, few_careers)
    assert "\n" not in str(problem.value)


def test_a_layoff_needs_the_state_and_somebody(few_careers: Careers) -> None:
    jobs = few_careers.table.filter(pl.col("occupation").is_in(["313", "436", "433"]))
    occupations = few_careers.occupations.restrict({"313", "436", "433"})
    alone = Careers(
        jobs.with_columns(pl.col("occupation").cast(pl.String).cast(pl.Enum(occupations.codes))), occupations
    )
    given = settings(counterfactual={"cut": {"layoff": 1986}})
    with pytest.raises(LaborLLMError, match="needs the state 'unemployed'"):
        factual_and_other(alone, given, "cut", train=alone)
    everybody = few_careers.table.with_columns(gender=pl.lit("male"))
    same = Careers(everybody, few_careers.occupations)
    with pytest.raises(LaborLLMError, match="concerns none of the test people"):
        factual_and_other(same, settings(counterfactual={"men": {"set": {"gender": "male"}}}), "men", train=same)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": "last"}, "give until = YEAR or years = NUMBER"),
        ({"start": "middle"}, "first"),
        ({"paths": 1}, "greater than or equal to 2"),
        ({"counterfactual": {"a": {}}}, "give either set"),
        ({"counterfactual": {"a": {"set": {"gender": "male"}, "layoff": 1990}}}, "give either set"),
        ({"counterfactual": {"a": {"set": {"weight": "1"}}}}, "Input should be 'education'"),
        ({"counterfactual": {"a/b": {"layoff": 1990}}}, "letters, digits"),
        ({"path": 3}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**given)
