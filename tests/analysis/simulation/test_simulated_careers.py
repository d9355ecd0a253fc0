"""Careers of the truth look like the population's; a model that is off is found out; numbers are ratios of sums."""

import numpy as np
import polars as pl
import pytest

from laborllm.analysis.simulation.career_sums import ALL, CareerSums, by_age, person_sums
from laborllm.analysis.simulation.simulated_careers import summarise
from laborllm.analysis.simulation.simulation_settings import SimulateSettings
from laborllm.analysis.simulation.workers import Workers, workers_to_simulate
from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.models.baselines import TransitionFrequencies
from laborllm.models.oracle import Oracle
from laborllm.models.path_draws import draw_occupations
from laborllm.models.paths import draw_paths
from laborllm.survey.careers import Careers
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate

SURVEY = SimulatedSettings(people=800, occupations=8, last_year=1995)
KEYS = ["group", "summary", "what", "when"]


@pytest.fixture(scope="module")
def population() -> Careers:
    return simulate(SURVEY)


@pytest.fixture(scope="module")
def workers(population: Careers) -> Workers:
    return workers_to_simulate(population, SimulateSettings(), population)


@pytest.fixture(scope="module")
def drawn(workers: Workers) -> np.ndarray:
    return draw_occupations(Oracle(SURVEY), workers.careers, workers.drawn, paths=20, seed=1)


def test_the_truth_is_not_told_from_the_survey(workers: Workers, drawn: np.ndarray) -> None:
    found = summarise({"truth": drawn}, workers, EvaluationSettings(bootstrap=300)).table
    compared = found.filter(pl.col("p_adjusted").is_not_null())
    assert compared.height > 200
    assert {"spell_length", "occupation_share", "unemployment", "transition", "lifetime_transition"} <= set(
        found["summary"]
    )
    assert found["flagged"].sum() == 0
    covered = compared.select((pl.col("ci_low") <= 0) & (pl.col("ci_high") >= 0)).to_series().mean()
    assert covered > 0.8  # correlated numbers: about 0.95 on average over populations


def test_the_truth_reproduces_fresh_draws_of_a_large_population(workers: Workers, drawn: np.ndarray) -> None:
    """Shares, spell lengths, moves, unemployment, transitions of paths equal those of 12,000 other people.

    The people of one seed differ where their number differs, the world does not. Both sides are conditional on rows
    that do not depend on occupations, so their standard errors add up.
    """
    fresh = simulate(SURVEY.model_copy(update={"people": 12_000}))
    others = workers_to_simulate(fresh, SimulateSettings(), fresh)
    nobody = EvaluationSettings(by=(), bootstrap=200)
    own = others.careers.occupation[others.drawn][:, None]
    large = summarise({"large": np.repeat(own, 2, axis=1).astype(np.int16)}, others, nobody).table
    small = summarise({"truth": drawn}, workers, nobody).table
    both = small.join(large, on=KEYS, suffix="_large")
    assert both.height > 100
    gap = both["simulated"] - both["simulated_large"]
    error = (both["simulated_std_error"] ** 2 + both["simulated_std_error_large"] ** 2).sqrt()
    z = (gap / error).to_numpy()
    assert np.abs(z).max() < 4.5
    assert 0.7 < np.sqrt((z**2).mean()) < 1.3
    mean = both.filter(summary="spell_length", what="mean")
    assert abs(mean["simulated"][0] / mean["simulated_large"][0] - 1) < 0.05


def test_a_model_that_forgets_is_found_out(workers: Workers, population: Careers) -> None:
    """First-order frequencies know no duration, no return and no types: moves, jobs held and spells are off."""
    model = TransitionFrequencies()
    model.fit(population, population)
    occupation = draw_occupations(model, workers.careers, workers.drawn, paths=20, seed=1)
    found = summarise({"transition": occupation}, workers, EvaluationSettings(by=(), bootstrap=300)).table
    flagged = found.filter(flagged=1)
    assert {"occupations_held", "spell_length"} <= set(flagged["summary"])
    assert flagged.filter(summary="occupations_held")["difference"][0] > 0.3


def test_numbers_are_ratios_of_sums_and_intervals_come_from_people(workers: Workers, drawn: np.ndarray) -> None:
    settings = EvaluationSettings(by=("gender",), bootstrap=400)
    found = summarise({"truth": drawn}, workers, settings).table
    last = workers.careers.table[(workers.careers.starts[1:] - 1).tolist()]
    women = (last["gender"] == "female").to_numpy()
    sums = CareerSums(workers, by_age(workers))
    simulated = person_sums(sums, drawn, women[None, :])
    own = person_sums(sums, workers.careers.occupation[sums.row][:, None], women[None, :])
    place = next(n for n, each in enumerate(sums.quantities) if (each.summary, each.when) == ("moves", ALL))
    row = found.filter(summary="moves", when=ALL, group="gender=female").row(0, named=True)
    base = sums.base[place]
    for name, side in (("simulated", simulated), ("observed", own)):
        top, below = side.top[women, place], side.base[women, base]
        ratio = top.sum() / below.sum()
        assert row[name] == pytest.approx(ratio, rel=1e-12)
        parts = (top - ratio * below) / below.sum()
        assert row[f"{name}_std_error"] == pytest.approx(np.sqrt((parts**2).sum()), rel=0.15)
    assert row["difference"] == pytest.approx(row["simulated"] - row["observed"], abs=1e-12)
    assert row["people"] == women.sum()
    assert row["std_error"] < np.hypot(row["simulated_std_error"], row["observed_std_error"])  # paired
    tops = np.array([person_sums(sums, drawn[:, [p]], women[None, :]).top[women, place].sum() for p in range(20)])
    assert row["monte_carlo_error"] == pytest.approx(tops.std(ddof=1) / np.sqrt(20) / below.sum(), rel=1e-9)


def test_draws_do_not_depend_on_who_else_is_drawn(
    workers: Workers, drawn: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = draw_paths(Oracle(SURVEY), workers.careers, workers.drawn, paths=20, seed=1)
    assert np.array_equal(whole.occupation, drawn)
    monkeypatch.setattr("laborllm.models.path_draws.PEOPLE_AT_A_TIME", 97)
    assert np.array_equal(draw_occupations(Oracle(SURVEY), workers.careers, workers.drawn, paths=20, seed=1), drawn)


def test_without_rows_of_the_survey_or_bootstrap_nothing_is_compared(population: Careers) -> None:
    workers = workers_to_simulate(population, SimulateSettings(start="last", years=4), population)
    occupation = draw_occupations(Oracle(SURVEY), workers.careers, workers.drawn, paths=3, seed=1)
    found = summarise({"truth": occupation}, workers, EvaluationSettings(by=(), bootstrap=0))
    empty = ("observed", "observed_ci_low", "difference", "p_adjusted", "flagged", "simulated_std_error")
    assert all(found.table[name].null_count() == found.table.height for name in empty)
    assert found.table["simulated"].null_count() == 0
    assert found.table["monte_carlo_error"].null_count() == 0
    assert any("nothing to compare" in note for note in found.notes)


def test_occupations_of_other_workers_are_refused(workers: Workers, drawn: np.ndarray) -> None:
    with pytest.raises(LaborLLMError, match=r"truth: occupations of shape \(5, 20\) for \d+ rows to draw"):
        summarise({"truth": drawn[:5]}, workers, EvaluationSettings(bootstrap=0))
