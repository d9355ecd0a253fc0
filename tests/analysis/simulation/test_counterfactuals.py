"""What has no effect differs by nothing; what has one differs by what the truth says."""

import numpy as np
import polars as pl
import pytest

from laborllm.analysis.simulation.career_sums import ALL
from laborllm.analysis.simulation.counterfactuals import DIFFERENCES, MEANING, Pair, contrast, notes_of
from laborllm.analysis.simulation.simulation_settings import SimulateSettings
from laborllm.analysis.simulation.workers import factual_and_other
from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.models.baselines import TransitionFrequencies
from laborllm.models.oracle import Oracle
from laborllm.models.path_draws import draw_occupations
from laborllm.models.probabilities import Model
from laborllm.models.regression.logit import MultinomialLogit
from laborllm.models.regression.logit_settings import LogitSettings
from laborllm.survey.careers import Careers
from laborllm.survey.simulated.simulate import (
    Mechanisms,
    SimulatedSettings,
    build_world,
    logits,
    simulate,
    situations,
)

SURVEY = SimulatedSettings(people=700, occupations=8, last_year=1992, mechanisms=Mechanisms(region=False))
SETTINGS = EvaluationSettings(by=(), bootstrap=300)
GIVEN = SimulateSettings.model_validate(
    {
        "counterfactual": {
            "south": {"set": {"region": "south"}},
            "men": {"set": {"gender": "male"}},
            "cut": {"layoff": 1985},
        }
    }
)


@pytest.fixture(scope="module")
def population() -> Careers:
    return simulate(SURVEY)


def pair_of(name: str, careers: Careers) -> Pair:
    return Pair(name, *factual_and_other(careers, GIVEN, name, train=careers))


def found(model: Model, pair: Pair, paths: int = 20) -> pl.DataFrame:
    factual, other = (
        draw_occupations(model, each.careers, each.drawn, paths=paths, seed=1) for each in (pair.factual, pair.other)
    )
    return contrast("model", pair, factual, other, SETTINGS)


def test_a_covariate_without_effect_makes_no_difference(population: Careers) -> None:
    """By the truth exactly none, draw by draw."""
    table = found(Oracle(SURVEY), pair_of("south", population))
    assert table.height > 50
    zero = ("difference", "std_error", "ci_low", "ci_high", "monte_carlo_error")
    assert all((table[name] == 0).all() for name in zero)
    assert table["p_adjusted"].null_count() == table.height
    assert table["flagged"].null_count() == table.height


def test_the_first_years_difference_is_the_truths_own(population: Careers) -> None:
    """A year on, shares differ by the mean difference of the Oracle's probabilities, computed without any path."""
    pair = pair_of("men", population)
    paths, oracle = 60, Oracle(SURVEY)
    table = found(oracle, pair, paths=paths).filter(years_since="1", summary="occupation_share")
    workers = pair.factual
    row = workers.last_given + 1
    row = row[workers.year[row] - workers.year[row - 1] == 1]
    exact = [
        np.exp(oracle.predict(each.careers).log_probabilities[row]).mean(axis=0) for each in (pair.factual, pair.other)
    ]
    occupations = population.occupations
    labels = [
        t if s else g for t, s, g in zip(occupations.titles, occupations.is_state, occupations.groups, strict=True)
    ]
    checked = 0
    for what, difference, error in table.select("what", "difference", "monte_carlo_error").iter_rows():
        inside = np.array(labels) == what
        truth = (exact[1] - exact[0])[inside].sum()
        assert abs(difference - truth) < 4 * error + 1e-9
        checked += abs(truth) > 5 * error
    assert checked > 2  # there is something to be found


def test_whole_careers_differ_as_fresh_draws_from_the_generator_do(population: Careers) -> None:
    """Moves and unemployment of the same workers, drawn by the world itself with latent types, men against women."""
    pair, world = pair_of("men", population), build_world(SURVEY)
    table = found(Oracle(SURVEY), pair, paths=40)
    rng = np.random.default_rng(3)
    levels = [_levels(world, each, rng, paths=40) for each in (pair.factual, pair.other)]
    for (summary, what), values in {
        ("occupation_share", "Unemployed"): [each[:, 0] for each in levels],
        ("moves", "any occupation"): [each[:, 1] for each in levels],
    }.items():
        row = table.filter(summary=summary, what=what, years_since=ALL).row(0, named=True)
        for name, side in (("factual", values[0]), ("otherwise", values[1])):
            error = np.sqrt(2) * side.std(ddof=1) / np.sqrt(len(side))
            assert abs(row[name] - side.mean()) < 4 * error
        drawn = values[1] - values[0]
        assert abs(row["difference"] - drawn.mean()) < 4 * np.sqrt(2) * drawn.std(ddof=1) / np.sqrt(len(drawn))


def _levels(world, workers, rng: np.random.Generator, paths: int) -> np.ndarray:
    """Share unemployed and moves a year of each path, by the simulator's own forward draw; shape (paths, 2).

    The type of each person is drawn given the first row, which is given; then row after row.
    """
    careers, unemployed = workers.careers, workers.careers.occupations.position["unemployed"]
    begins, lengths = careers.starts[:-1], np.diff(careers.starts)
    fixed = situations(world, careers)
    elapsed = (workers.year[workers.drawn] - workers.year[np.flatnonzero(workers.drawn) - 1]).sum()
    found = []
    for _ in range(paths):
        people, n = careers.people, len(careers.occupations)
        first = logits(world, fixed)[begins][:, None, :] + world.type_preference[None]  # (people, types, occupations)
        first -= np.logaddexp.reduce(first, axis=2, keepdims=True)
        given = careers.occupation[begins]
        posterior = np.log(world.type_shares) + first[np.arange(people), :, given]
        posterior = np.exp(posterior - np.logaddexp.reduce(posterior, axis=1, keepdims=True))
        kind = (posterior.cumsum(axis=1) < rng.random(people)[:, None]).sum(axis=1)
        previous, tenure = given.copy(), np.ones(people, dtype=np.int64)
        held = np.zeros((people, n), dtype=bool)
        held[np.arange(people), previous] = True
        out, moved = 0, 0
        for step in range(1, lengths.max()):
            who = np.flatnonzero(lengths > step)
            row = begins[who] + step
            now = {name: values[row] for name, values in vars(fixed).items()}
            now |= {"previous": previous[who], "tenure": tenure[who], "held": held[who]}
            score = logits(world, type(fixed)(**now)) + world.type_preference[kind[who]]
            score[np.arange(len(who)), previous[who]] += world.type_stay[kind[who], previous[who]]
            chance = np.exp(score - np.logaddexp.reduce(score, axis=1, keepdims=True))
            chosen = np.minimum((chance.cumsum(axis=1) < rng.random(len(who))[:, None]).sum(axis=1), n - 1)
            moved += (chosen != previous[who]).sum()
            out += (chosen == unemployed).sum()
            tenure[who] = np.where(chosen == previous[who], tenure[who] + 1, 1)
            previous[who] = chosen
            held[who, chosen] = True
        found.append((out / workers.drawn.sum(), moved / elapsed))
    return np.array(found)


@pytest.mark.slow
def test_a_fitted_model_recovers_the_truths_difference(population: Careers) -> None:
    """A logit of other people of the same world, with gender among its variables; frequencies know no gender."""
    train = simulate(SURVEY.model_copy(update={"people": 3000}))
    logit, frequencies = MultinomialLogit(LogitSettings(l2=(1.0,))), TransitionFrequencies()
    for model in (logit, frequencies):
        model.fit(train, population)
    pair = pair_of("men", population)
    shares = pl.col("summary") == "occupation_share"
    truth, fitted, blind = (
        found(model, pair).filter(shares & (pl.col("years_since") == ALL))
        for model in (Oracle(SURVEY), logit, frequencies)
    )
    both = truth.join(fitted, on="what", suffix="_fitted")
    assert both["difference"].abs().max() > 0.05
    assert np.corrcoef(both["difference"], both["difference_fitted"])[0, 1] > 0.9
    assert (both["difference"] - both["difference_fitted"]).abs().max() < 0.5 * both["difference"].abs().max()
    assert (blind["difference"] == 0).all()


def test_a_layoff_raises_unemployment_and_costs_the_job(population: Careers) -> None:
    table = found(Oracle(SURVEY), pair_of("cut", population), paths=40)
    one = {key: table.filter(summary=key[0], what=key[1], years_since=key[2]).row(0, named=True) for key in (
        ("moves", "any occupation", "1"),
        ("occupation_share", "Unemployed", ALL),
        ("unemployment", "ever", ALL),
    )}  # fmt: skip
    assert all(row["difference"] > 0 and row["ci_low"] > 0 and row["flagged"] == 1 for row in one.values())
    later = table.filter(summary="moves", what="any occupation").filter(pl.col("years_since") != ALL)["difference"]
    assert later[0] == later.max()  # it wears off


def test_the_error_of_paths_is_that_of_drawing_again(population: Careers) -> None:
    """Standard deviation over seeds equals what one set of paths says of itself."""
    pair = pair_of("men", population.first_people(200))
    model = Oracle(SURVEY)
    values, told = [], []
    for seed in range(20):
        drawn = [
            draw_occupations(model, each.careers, each.drawn, paths=4, seed=seed) for each in (pair.factual, pair.other)
        ]
        table = contrast("model", pair, *drawn, EvaluationSettings(by=(), bootstrap=0))
        row = table.filter(summary="moves", years_since=ALL).row(0, named=True)
        values.append(row["difference"])
        told.append(row["monte_carlo_error"] ** 2)
    assert 0.5 < np.std(values, ddof=1) / np.sqrt(np.mean(told)) < 1.7


def test_every_row_says_that_it_is_no_causal_effect(population: Careers) -> None:
    pair = pair_of("men", population)
    table = found(frequencies_of(population), pair, paths=2)
    assert table.columns == list(DIFFERENCES)
    assert set(table["meaning"]) == {MEANING}
    assert "not a causal effect" in MEANING
    assert any(MEANING in note for note in notes_of(pair))


def frequencies_of(careers: Careers) -> TransitionFrequencies:
    model = TransitionFrequencies()
    model.fit(careers, careers)
    return model


def test_occupations_of_other_workers_are_refused(population: Careers) -> None:
    pair = pair_of("men", population)
    with pytest.raises(LaborLLMError, match="model: occupations of shape"):
        contrast("model", pair, np.zeros((3, 2), dtype=np.int16), np.zeros((3, 2), dtype=np.int16), SETTINGS)
