"""Careers altered on purpose: only what is named changes."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from laborllm.analysis.experiments.alterations import Alteration, altered, realised_after, some_people
from laborllm.errors import LaborLLMError
from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.regression.logit import MultinomialLogit
from laborllm.survey.careers import Careers
from laborllm.survey.simulated.simulate import simulate
from laborllm.survey.simulated.world import SimulatedSettings


@pytest.fixture(scope="module")
def careers() -> Careers:
    return simulate(SimulatedSettings(people=150, occupations=12, last_year=1990, seed=4))


def test_nothing_altered_is_the_same(careers: Careers) -> None:
    same = altered(careers, Alteration())
    assert same.table.equals(careers.table)
    assert same.occupations == careers.occupations


@pytest.mark.parametrize("way", ["numeric", "permuted", "random"])
def test_titles_change_the_list_alone(careers: Careers, way: str) -> None:
    other = altered(careers, Alteration(titles=way))
    assert other.table.equals(careers.table)
    assert other.occupations.codes == careers.occupations.codes
    assert other.occupations.groups == careers.occupations.groups
    assert other.occupations.titles != careers.occupations.titles
    if way == "permuted":
        assert sorted(other.occupations.titles) == sorted(careers.occupations.titles)


def test_a_dropped_covariate_is_missing_and_a_permuted_one_has_its_values(careers: Careers) -> None:
    dropped = altered(careers, Alteration(drop=("gender",)))
    assert dropped.table["gender"].null_count() == len(careers)
    assert dropped.table.drop("gender").equals(careers.table.drop("gender"))
    mixed = altered(careers, Alteration(permute=("gender", "region")))
    assert mixed.table.drop("gender", "region").equals(careers.table.drop("gender", "region"))
    first = careers.starts[:-1]
    pairs = [
        sorted(zip(each.table["gender"].gather(first), each.table["region"].gather(first), strict=True))
        for each in (careers, mixed)
    ]
    assert pairs[0] == pairs[1]  # of a pair, both come from one donor
    assert not mixed.table["gender"].equals(careers.table["gender"])


def test_larger_draws_hold_the_smaller(careers: Careers) -> None:
    drawn = [set(some_people(careers, n, np.random.default_rng(3)).table["person"]) for n in (10, 40)]
    assert len(drawn[0]) == 10
    assert drawn[0] < drawn[1]
    with pytest.raises(LaborLLMError, match="999 people are asked for"):
        some_people(careers, 999, np.random.default_rng(3))


def test_occupations_left_out_are_gone(careers: Careers) -> None:
    code = careers.table["occupation"].cast(pl.String).mode()[0]
    fewer = altered(careers, Alteration(without=(code,)))
    assert code not in fewer.table["occupation"].cast(pl.String).to_list()
    assert len(fewer) == len(careers) - careers.table["occupation"].cast(pl.String).eq(code).sum()
    with pytest.raises(LaborLLMError, match="no person-year is left"):
        altered(careers, Alteration(without=careers.occupations.codes))


def test_pooled_people_keep_apart_and_rows_off_the_list_leave(careers: Careers) -> None:
    other = simulate(SimulatedSettings(people=60, occupations=20, last_year=1985, seed=9))
    both = altered(careers, Alteration(pooled=0.5), [other])
    assert both.occupations == careers.occupations
    own = both.table.filter(pl.col("person").str.starts_with("0:"))
    assert own.height == len(careers)
    guests = both.table.filter(pl.col("person").str.starts_with("1:"))
    assert 0 < guests["person"].n_unique() <= round(0.5 * other.people)
    assert both.people == careers.people + guests["person"].n_unique()
    assert set(guests["occupation"].cast(pl.String)) <= set(careers.occupations.codes)
    with pytest.raises(LaborLLMError, match="no other survey"):
        altered(careers, Alteration(pooled=0.5))


def test_last_rows_equal_predictions_of_cut_careers(careers: Careers) -> None:
    """Against a plain loop that cuts every career by hand, one row at a time."""
    model = MultinomialLogit()
    model.fit(careers.first_people(100), careers)
    few = replace(careers, table=careers.table.filter(pl.col("person") > 140))
    for last in (0, 1, 3):
        found = realised_after(model, few, last)
        for row in range(len(few)):
            start = max(int(few.starts[few.person_of_row[row]]), row - last)
            cut = replace(few, table=few.table[start : row + 1])
            assert found[row] == pytest.approx(model.predict(cut).realised[-1], abs=1e-6)
    np.testing.assert_allclose(realised_after(model, few, 99), realised_after(model, few), atol=1e-6)


def test_a_first_order_model_looks_one_row_back(careers: Careers) -> None:
    model = TransitionFrequencies(TransitionSettings())
    model.fit(careers, careers)
    np.testing.assert_array_equal(realised_after(model, careers, 1), realised_after(model, careers))
    nothing = realised_after(model, careers, 0)
    marginal = model.predict(careers.first_people(1)).log_probabilities[0]
    np.testing.assert_allclose(nothing, marginal[careers.occupation], atol=1e-6)
