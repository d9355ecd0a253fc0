"""Forecasts out of time: who and what is forecast, that nothing later is read, and that the truth is the floor."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import EvaluationSettings, evaluate
from laborllm.evaluation.forecasts import (
    Forecast,
    Forecasts,
    ForecastSettings,
    RowsAhead,
    careers_to_forecast,
    careers_until,
    evaluate_forecasts,
    forecast,
)
from laborllm.models.baselines import TransitionFrequencies
from laborllm.models.no_change import NoChange
from laborllm.models.oracle import Oracle
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate

SURVEY = SimulatedSettings(people=1800, occupations=10, seed=4, last_year=1998)
SETTINGS = ForecastSettings(until=1986, paths=100, longest=5)
PLAIN = EvaluationSettings(by=(), bootstrap=200)


@pytest.fixture(scope="module")
def careers() -> Careers:
    return split_by_person(simulate(SURVEY), [0.6, 0.1, 0.3], np.random.default_rng(0))


@pytest.fixture(scope="module")
def test_people(careers: Careers) -> Careers:
    return careers_to_forecast(careers.part("test"), SETTINGS.until)


@pytest.fixture(scope="module")
def forecasts(careers: Careers, test_people: Careers) -> dict[str, Forecast]:
    learned = careers_until(careers, SETTINGS.until)
    models = {"no change": NoChange(), "transition": TransitionFrequencies(), "oracle": Oracle(SURVEY)}
    for model in models.values():
        model.fit(learned.part("train"), learned.part("validation"))
    return {name: forecast(model, test_people, SETTINGS) for name, model in models.items()}


@pytest.fixture(scope="module")
def result(forecasts: dict[str, Forecast], test_people: Careers) -> Forecasts:
    return evaluate_forecasts(forecasts, test_people, SETTINGS, PLAIN)


def test_who_is_learned_from_and_who_is_forecast(careers: Careers, test_people: Careers) -> None:
    learned = careers_until(careers, SETTINGS.until)
    assert learned.table["year"].max() == SETTINGS.until
    assert learned.table.equals(careers.table.filter(pl.col("year") <= SETTINGS.until))
    years = test_people.table.group_by("person").agg(first=pl.col("year").min(), last=pl.col("year").max())
    assert (years["first"] <= SETTINGS.until).all()
    assert (years["last"] > SETTINGS.until).all()
    whole = careers.part("test").table.group_by("person").agg(first=pl.col("year").min(), last=pl.col("year").max())
    assert len(years) == len(whole.filter((pl.col("first") <= SETTINGS.until) & (pl.col("last") > SETTINGS.until)))
    rows = careers.table.filter(pl.col("person").is_in(years["person"].to_list()))
    assert test_people.table.equals(rows)


def test_horizons_count_years_from_the_last_observed_row(five_occupations: Occupations) -> None:
    frame = pl.DataFrame(
        {
            "person": [1, 1, 1, 1, 1, 2, 2, 2],
            "year": [1980, 1983, 1985, 1986, 1999, 1984, 1985, 1987],
            "occupation": ["313", "436", "433", "433", "313", "436", "313", "436"],
        }
    )
    careers = careers_from_frame(frame, five_occupations)
    ahead = RowsAhead.of(careers, 1984)
    assert ahead.row.tolist() == [2, 3, 4, 6, 7]
    assert ahead.horizon.tolist() == [2, 3, 16, 1, 3]  # from 1983 and from 1984
    assert ahead.origin.tolist() == [1, 1, 1, 1, 1]
    named = {name: chosen.tolist() for name, chosen in ahead.by_horizon(3)}
    assert named == {"1": [3], "2": [0], "3": [1, 4], "4+": [2], "all": [0, 1, 2, 3, 4]}
    rows = np.array([1, 2, 4])
    by_path, one_step = (ahead.careers(way, rows) for way in ("path", "one_step"))
    assert by_path.previous.tolist() == [1, 1, 1]
    assert by_path.transition.tolist() == ["move", "move", "stay"]
    assert one_step.previous.tolist() == [2, 2, 0]
    assert one_step.transition.tolist() == ["stay", "move", "move"]
    assert by_path.people == one_step.people == 2


def test_first_rows_are_the_one_step_predictions(forecasts: dict[str, Forecast], test_people: Careers) -> None:
    ahead = RowsAhead.of(test_people, SETTINGS.until)
    person = test_people.person_of_row[ahead.row]
    first = np.append(True, person[1:] != person[:-1])
    for each in forecasts.values():
        np.testing.assert_allclose(
            each.path.log_probabilities[first], each.one_step.log_probabilities[first], atol=1e-6
        )
        assert (each.monte_carlo_error[first] == 0).all()
        assert (each.monte_carlo_error[~first] > 0).mean() > 0.9
        np.testing.assert_allclose(np.exp(each.path.log_probabilities.astype(float)).sum(axis=1), 1, atol=1e-5)
        assert each.path.rows.equals(test_people.table[ahead.row].select("person", "year", "occupation"))


def test_the_truth_is_the_floor_at_every_horizon(result: Forecasts) -> None:
    found = result.forecast.filter(task="occupation", metric="perplexity")
    for (_, _), rows in found.group_by("way", "horizon"):
        assert rows.sort("estimate")["model"][0] == "oracle"
    assert set(found["horizon"]) == {"1", "2", "3", "4", "5", "6+", "all"}
    decay = found.filter(model="oracle", way="path", horizon="6+")["estimate"][0]
    assert decay > 1.1 * found.filter(model="oracle", way="path", horizon="1")["estimate"][0]
    assert decay > 1.1 * found.filter(model="oracle", way="one_step", horizon="6+")["estimate"][0]
    pairs = result.comparisons.filter(metric="perplexity", task="occupation", model_b="oracle", horizon="all")
    assert (pairs["ci_low"] > 0).all()
    assert len(pairs) == 4  # two models, two ways


def test_numbers_are_those_of_a_plain_evaluation(
    result: Forecasts, forecasts: dict[str, Forecast], test_people: Careers
) -> None:
    """Person-years and perplexity by hand; moving from the origin by an evaluation of two rows a person."""
    ahead = RowsAhead.of(test_people, SETTINGS.until)
    chosen = np.flatnonzero(ahead.horizon == 3)
    own = result.forecast.filter(way="path", horizon="3", model="transition")
    nats = -forecasts["transition"].path.realised[chosen]
    row = own.filter(task="occupation", metric="perplexity").row(0, named=True)
    assert row["estimate"] == pytest.approx(np.exp(nats.mean()), rel=1e-6)
    assert (row["person_years"], row["people"]) == (len(chosen), len(chosen))
    target, jobs = ahead.row[chosen], len(test_people.occupations)
    years = test_people.table["year"].to_numpy()
    origin = np.array([np.flatnonzero((test_people.person_of_row == p) & (years <= SETTINGS.until))[-1]
                       for p in test_people.person_of_row[target]])  # fmt: skip
    pairs = np.stack([origin, target], axis=1).ravel()
    two_rows = replace(test_people, table=test_people.table[pairs])
    scores = np.full((len(pairs), jobs), -np.log(jobs), dtype=np.float32)
    scores[1::2] = forecasts["transition"].path.log_probabilities[chosen]
    prediction = Probabilities(two_rows.table.select("person", "year", "occupation"), two_rows.occupations, scores)
    plain = evaluate({"transition": prediction}, two_rows, PLAIN).evaluation.filter(
        task="move", subset="all", group="all"
    )
    for name in ("auc", "brier", "calibration_error"):
        mine, theirs = (each.filter(task="move", metric=name).row(0, named=True) for each in (own, plain))
        for column in ("estimate", "std_error", "ci_low", "ci_high", "person_years", "people"):
            assert mine[column] == pytest.approx(theirs[column], rel=1e-9), (name, column)


def test_later_rows_do_not_move_forecasts(careers: Careers, test_people: Careers) -> None:
    model = TransitionFrequencies()
    learned = careers_until(careers, SETTINGS.until)
    model.fit(learned.part("train"), learned.part("validation"))
    few = test_people.first_people(30)
    quick = SETTINGS.model_copy(update={"paths": 20})
    before = forecast(model, few, quick)
    other = pl.Series([few.occupations.codes[0]] * len(few), dtype=few.table.schema["occupation"])
    later = pl.col("year") > SETTINGS.until
    changed = few.table.with_columns(occupation=pl.when(later).then(other).otherwise("occupation"))
    after = forecast(model, replace(few, table=changed), quick)
    np.testing.assert_array_equal(before.path.log_probabilities, after.path.log_probabilities)
    assert not np.array_equal(before.one_step.log_probabilities, after.one_step.log_probabilities)


def test_too_few_paths_are_warned_of(careers: Careers, test_people: Careers) -> None:
    model = TransitionFrequencies()
    learned = careers_until(careers, SETTINGS.until)
    model.fit(learned.part("train"), learned.part("validation"))
    few = SETTINGS.model_copy(update={"paths": 2})
    noisy = evaluate_forecasts({"transition": forecast(model, test_people, few)}, test_people, few, PLAIN)
    (note,) = [note for note in noisy.notes if "forecast.paths" in note]
    assert note.startswith("transition: with 2 paths the perplexity by path at horizon ")
    bias = noisy.forecast.filter(metric="monte_carlo_bias").sort("horizon")["estimate"]
    assert bias[0] == 0
    assert bias.max() > 0.05


def test_the_stated_bias_is_the_true_one(careers: Careers, test_people: Careers) -> None:
    """Log-likelihood lost with 300 paths against 5,000, as 300 state it; with very few they understate it."""
    model = TransitionFrequencies()
    learned = careers_until(careers, SETTINGS.until)
    model.fit(learned.part("train"), learned.part("validation"))
    few, many = (forecast(model, test_people, SETTINGS.model_copy(update={"paths": n})) for n in (300, 5000))
    lost = (many.path.realised - few.path.realised).mean()
    stated = (few.monte_carlo_error**2).mean() / 2
    spread = np.sqrt((few.monte_carlo_error**2).sum()) / len(few.monte_carlo_error)
    assert lost == pytest.approx(stated, abs=4 * spread)
    assert 0.001 < stated < 0.02


def test_written_and_read_again(forecasts: dict[str, Forecast], tmp_path: Path) -> None:
    before = forecasts["oracle"]
    before.write(tmp_path / "oracle")
    after = Forecast.read(tmp_path / "oracle")
    np.testing.assert_array_equal(before.path.log_probabilities, after.path.log_probabilities)
    np.testing.assert_array_equal(before.one_step.log_probabilities, after.one_step.log_probabilities)
    np.testing.assert_array_equal(before.monte_carlo_error, after.monte_carlo_error)
    (tmp_path / "oracle" / "path.parquet").unlink()
    with pytest.raises(LaborLLMError, match="path.parquet"):
        Forecast.read(tmp_path / "oracle")
    with pytest.raises(LaborLLMError, match="monte_carlo.parquet"):
        Forecast.read(tmp_path / "nothing")


@pytest.mark.parametrize("year", [1900, 2050])
def test_a_year_outside_the_data_is_refused(careers: Careers, year: int) -> None:
    with pytest.raises(LaborLLMError, match=f"forecast.until is {year}.*1979 to 1998.*choose a year") as error:
        careers_to_forecast(careers.part("test"), year)
    assert "\n" not in str(error.value)
    if year == 1900:
        with pytest.raises(LaborLLMError, match="forecast.until is 1900, but rows are of 1979"):
            careers_until(careers, year)


def test_forecasts_of_other_careers_are_refused(forecasts: dict[str, Forecast], test_people: Careers) -> None:
    table = test_people.table.with_columns(person=pl.col("person") + 1)
    with pytest.raises(LaborLLMError, match="model 'no change'"):
        evaluate_forecasts(forecasts, replace(test_people, table=table), SETTINGS, PLAIN)
