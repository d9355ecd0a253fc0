"""Wage equations: against statsmodels, by brute force, and with determinants that were planted."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import statsmodels.formula.api as smf
from statsmodels.regression.linear_model import OLS

from laborllm.analysis.wages.history_features import history_columns
from laborllm.analysis.wages.semi_simulated import with_wages
from laborllm.analysis.wages.wage_terms import SCHOOLING, WageRows, WageSettings, mincer_columns, wage_rows
from laborllm.analysis.wages.wages import HISTORY, MINCER, OCCUPATION, fit_ridge, r_squared_table, wage_equations
from laborllm.errors import LaborLLMError
from laborllm.evaluation.uncertainty import draw_weights
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.simulated.simulate import simulate
from laborllm.survey.simulated.world import SimulatedSettings


@pytest.fixture(scope="module")
def careers() -> Careers:
    people = simulate(SimulatedSettings(people=900, occupations=12, first_year=1979, last_year=1990))
    return split_by_person(people, (0.5, 0.15, 0.35), np.random.default_rng(1))


def planted(careers: Careers, hidden: np.ndarray, strength: float) -> WageRows:
    """Wages from schooling, experience and something hidden that no column of the careers holds."""
    rng = np.random.default_rng(2)
    college = (careers.table["education"] == "college").to_numpy().astype(float)
    year = (careers.table["year"] - 1979).to_numpy().astype(float)
    determinants = np.column_stack([college, year, hidden])
    paid = with_wages(careers, determinants, np.array([0.4, 0.03, strength]), person_noise=0.2, row_noise=0.3, rng=rng)
    return wage_rows(paid, SCHOOLING)


def draws_of(wages: WageRows) -> np.ndarray:
    people = len(np.unique(wages.person[wages.part("test")]))
    return draw_weights(people, 200, np.random.default_rng(3))


def test_mincer_agrees_with_statsmodels(careers: Careers) -> None:
    """Every coefficient and clustered standard error of a formula that names the same regressors."""
    wages = planted(careers, np.zeros(len(careers)), 0.0)
    found = wage_equations(wages, {}, settings=WageSettings(), draws=draws_of(wages), confidence=0.95)
    train = wages.part("train")
    frame = wages.careers.table[wages.rows].filter(train).to_pandas()
    frame["y"], frame["x"] = wages.log_wage[train], wages.experience[train]
    common = {name: frame[name].mode()[0] for name in ("education", "gender", "ethnicity", "region", "year")}
    terms = "+".join(f"C({name}, Treatment({level!r}))" for name, level in common.items())
    theirs = smf.ols(f"y ~ x + I(x**2) + {terms}", frame).fit(
        cov_type="cluster", cov_kwds={"groups": frame["person"]}, use_t=True
    )
    ours = found.coefficients.filter(specification=MINCER)
    assert ours.height == len(theirs.params)
    names = {"constant": "Intercept", "experience": "x", "experience²": "I(x ** 2)"}
    for name, level in common.items():
        names |= {f"{name}: {one}": f"C({name}, Treatment({level!r}))[T.{one}]" for one in frame[name].unique()}
    for row in ours.iter_rows(named=True):
        assert row["estimate"] == pytest.approx(theirs.params[names[row["term"]]], rel=1e-6, abs=1e-9)
        assert row["std_error"] == pytest.approx(theirs.bse[names[row["term"]]], rel=1e-6)


def test_r_squared_and_its_interval_are_those_of_brute_force(careers: Careers) -> None:
    """Every draw as a sample in which people stand as often as they were drawn."""
    wages = planted(careers, np.zeros(len(careers)), 0.0)
    draws = draws_of(wages)
    found = wage_equations(wages, {}, settings=WageSettings(), draws=draws, confidence=0.95)
    train, test = wages.part("train"), wages.part("test")
    person = np.unique(wages.person[test], return_inverse=True)[1]
    values = []
    for column in draws.T:
        rows = np.concatenate([np.flatnonzero(person == one) for one in np.repeat(np.arange(len(column)), column)])
        deviations = (wages.log_wage[test] - wages.log_wage[train].mean())[rows]
        values.append(
            [1 - (found.residuals[name][rows] ** 2).sum() / (deviations**2).sum() for name in (MINCER, HISTORY)]
        )
    mincer, history = np.array(values).T
    row = found.table.row(0, named=True)
    assert row["r_squared"] == pytest.approx(mincer[0])
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(np.quantile(mincer[1:], [0.025, 0.975])))
    second, gain = found.table.row(1, named=True), (history - mincer)[1:]
    assert second["gain"] == pytest.approx(history[0] - mincer[0])
    assert (second["gain_ci_low"], second["gain_ci_high"]) == pytest.approx(tuple(np.quantile(gain, [0.025, 0.975])))
    assert second["gain_std_error"] == pytest.approx(gain.std(ddof=1))


def test_what_is_planted_is_gained_and_nothing_else(careers: Careers) -> None:
    """A determinant of variance 1, 0.3 log points a unit, adds its share of the variance; noise nothing."""
    hidden = np.random.default_rng(4).normal(size=(len(careers), 6))
    wages = planted(careers, hidden[:, 0], 0.3)
    noise = np.random.default_rng(5).normal(size=hidden.shape)
    representations = {"true": hidden[wages.rows], "noise": noise[wages.rows]}
    found = wage_equations(wages, representations, settings=WageSettings(), draws=draws_of(wages), confidence=0.95)
    gain = {row["specification"]: row for row in found.table.iter_rows(named=True)}
    test = wages.part("test")
    share = 0.09 / (wages.log_wage[test] - wages.log_wage[wages.part("train")].mean()).var()
    assert gain["true"]["gain"] - gain[OCCUPATION]["gain"] == pytest.approx(share, rel=0.12)
    assert gain["true"]["gain_ci_low"] > 0
    assert abs(gain["noise"]["gain"]) < 0.01
    assert gain["noise"]["gain_ci_low"] < 0.002
    assert gain[MINCER]["gain"] == 0


def test_ridge_is_that_of_the_normal_equations(careers: Careers) -> None:
    """Of both kinds of regressors at once, those of the classic equation unpenalised."""
    hidden = np.random.default_rng(4).normal(size=(len(careers), 5)) * np.arange(1, 6)
    wages = planted(careers, hidden[:, 0], 0.3)
    train = wages.part("train")
    base, others = mincer_columns(wages).varying(train).values, hidden[wages.rows]
    ridge = fit_ridge(wages, base, others=others, penalties=[50.0])
    standard = (others - others[train].mean(axis=0)) / others[train].std(axis=0)
    both = np.hstack([base, standard])
    penalty = np.diag(np.repeat([0.0, 50.0], [base.shape[1], 5]))
    direct = np.linalg.solve(both[train].T @ both[train] + penalty, both[train].T @ wages.log_wage[train])
    np.testing.assert_allclose(ridge.predict(base, others), both @ direct, rtol=1e-8)
    free = fit_ridge(wages, base, others=others, penalties=[0.0])
    np.testing.assert_allclose(
        free.predict(base, others)[train], OLS(wages.log_wage[train], both[train]).fit().fittedvalues, rtol=1e-8
    )


def test_history_by_hand(few_careers: Careers) -> None:
    """Every column of every row by walking through each career."""
    found = history_columns(few_careers)
    column = dict(zip(found.names, found.values.T, strict=True))
    group, state = few_careers.occupations.groups, few_careers.occupations.is_state
    for person in range(few_careers.people):
        first, end = few_careers.starts[person : person + 2]
        for row in range(first, end):
            earlier, own = few_careers.occupation[first:row], few_careers.occupation[row]
            assert column["years in Food"][row] == sum(group[one] == "Food" for one in earlier)
            assert column["share out of work"][row] == (np.mean([state[one] for one in earlier]) if len(earlier) else 0)
            assert column["moves"][row] == sum(a != b for a, b in pairwise(earlier))
            tenure = 0
            while tenure < len(earlier) and earlier[len(earlier) - 1 - tenure] == own:
                tenure += 1
            assert column["tenure"][row] == tenure
            assert column["works in Food"][row] == (group[own] == "Food")


def test_rows_are_counted(careers: Careers) -> None:
    wages = planted(careers, np.zeros(len(careers)), 0.0)
    kept = [step.person_years for step in wages.steps]
    assert kept[0] - sum(kept[1:-1]) == kept[-1] == len(wages.rows)
    assert np.isfinite(wages.log_wage).all()


def test_what_stands_in_the_way_is_said(careers: Careers) -> None:
    with pytest.raises(LaborLLMError, match="no column wage; set survey.wage = true"):
        wage_rows(careers, SCHOOLING)
    wages = planted(careers, np.zeros(len(careers)), 0.0)
    with pytest.raises(LaborLLMError, match="wages.schooling has no years for the education 'college'"):
        wage_rows(wages.careers, {word: years for word, years in SCHOOLING.items() if word != "college"})
    everybody = wages.careers.table.with_columns(split=wages.careers.table["split"].replace("validation", "train"))
    with pytest.raises(LaborLLMError, match="no person of the part 'validation' has a wage"):
        alone = wage_rows(replace(wages.careers, table=everybody), SCHOOLING)
        wage_equations(alone, {}, settings=WageSettings(), draws=draws_of(wages), confidence=0.95)


def test_r_squared_by_hand() -> None:
    """Two people, one row each, all draws the sample itself."""
    table = r_squared_table(
        {"a": np.array([1.0, 0.0])},
        np.array([2.0, 1.0]),
        person=np.array([5, 9]),
        draws=np.ones((2, 3)),
        confidence=0.95,
    )
    assert table["r_squared"][0] == pytest.approx(1 - 1 / 5)
