"""Implied rates are those of a loop by hand, their spread that of drawing people, and the Oracle's are the truth's."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.evaluation.published.aggregate_rates import RATES, compare_with_aggregates
from laborllm.evaluation.published.aggregates import LINES, Aggregates
from laborllm.evaluation.uncertainty import clustered_std_error, draw_weights
from laborllm.models.oracle import Oracle
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate

from ..conftest import noisy

SETTINGS = EvaluationSettings(bootstrap=200)
FOOD, STATES, ANY = np.array([0, 1, 1, 0, 0]) > 0, np.array([0, 0, 0, 1, 1]) > 0, np.ones(5) > 0


def published(*rates: tuple) -> Aggregates:
    lines = pl.DataFrame(rates, schema=LINES, orient="row")
    return Aggregates(lines, {"food": FOOD, "states": STATES, "employed": ~STATES, "any": ANY})


RATES_OF_FEW = published(
    ("any", "states", 0.3, None, None, None, "all", None),
    ("employed", "food", 0.2, 1984, 1989, 0.05, "gender=female", "CPS"),
    ("any", "employed", 0.5, None, 1990, 0.01, "region=missing", "CPS"),
    ("food", "food", 0.6, 1990, None, None, "all", None),
)


@pytest.fixture
def weighted(few_careers: Careers) -> Careers:
    rng = np.random.default_rng(8)
    lost, weight = rng.random(len(few_careers)) < 0.1, rng.gamma(2, size=len(few_careers))
    known = pl.Series("weight", np.where(lost, np.nan, weight)).fill_nan(None)
    return replace(few_careers, table=few_careers.table.with_columns(known))


def by_hand(careers: Careers, prediction: Probabilities, line: dict, draw: np.ndarray) -> dict[str, float]:
    """One rate, by a loop over rows, each person counted as often as drawn."""
    members = RATES_OF_FEW.members
    place = careers.occupations.position
    people = dict(zip(careers.table["person"].unique(maintain_order=True), draw, strict=True))
    totals = dict.fromkeys(("weight", "happened", "implied", "rows", "gaps", "unweighted"), 0.0)
    before: dict = {}
    for row, values in enumerate(careers.table.iter_rows(named=True)):
        previous, before = before, values
        if previous.get("person") != values["person"] or not members[line["from"]][place[previous["occupation"]]]:
            continue
        if line["year_from"] is not None and values["year"] < line["year_from"]:
            continue
        if line["year_to"] is not None and values["year"] > line["year_to"]:
            continue
        covariate, _, value = line["group"].partition("=")
        if covariate != "all" and (values[covariate] or "missing") != value:
            continue
        if values["year"] - previous["year"] != 1:
            totals["gaps"] += 1
            continue
        if values.get("weight", 1.0) is None:
            totals["unweighted"] += 1
            continue
        weight = values.get("weight", 1.0) * people[values["person"]]
        totals["rows"] += 1
        totals["weight"] += weight
        totals["happened"] += weight * members[line["to"]][place[values["occupation"]]]
        assert prediction.log_probabilities is not None
        chances = np.exp(prediction.log_probabilities[row].astype(np.float64))
        totals["implied"] += weight * sum(chances[k] for k in range(5) if members[line["to"]][k])
    return totals


@pytest.mark.parametrize("which", ["few_careers", "weighted"])
def test_rates_and_their_spread_are_those_of_loops(which: str, request: pytest.FixtureRequest) -> None:
    careers = request.getfixturevalue(which)
    models = {"one": noisy(careers, 1), "two": noisy(careers, 2)}
    found = compare_with_aggregates(models, careers, RATES_OF_FEW, SETTINGS)
    assert dict(found.schema) == RATES
    assert found["model"].to_list() == ["one"] * 4 + ["two"] * 4
    draws = draw_weights(careers.people, 200, np.random.default_rng(SETTINGS.seed))
    for row in found.iter_rows(named=True):
        once = by_hand(careers, models[row["model"]], row, draws[:, 0])
        assert row["observed"] == pytest.approx(once["happened"] / once["weight"], abs=1e-12)
        assert row["implied"] == pytest.approx(once["implied"] / once["weight"], abs=1e-12)
        assert row["minus_published"] == pytest.approx(row["implied"] - row["published"], abs=1e-12)
        assert row["minus_observed"] == pytest.approx(row["implied"] - row["observed"], abs=1e-12)
        assert (row["person_years"], row["other_gaps"]) == (once["rows"], once["gaps"])
        assert row["without_weight"] == (once["unweighted"] if which == "weighted" else None)
    line = found.row(0, named=True)
    again = [by_hand(careers, models["one"], line, draw) for draw in draws.T[1:]]
    gaps = np.array([(each["implied"] - each["happened"]) / each["weight"] for each in again])
    levels = np.array([each["implied"] / each["weight"] for each in again])
    assert line["minus_observed_std_error"] == pytest.approx(gaps.std(ddof=1), rel=1e-9)
    ends = np.quantile(gaps, [0.025, 0.975])
    assert (line["minus_observed_ci_low"], line["minus_observed_ci_high"]) == pytest.approx(tuple(ends), rel=1e-9)
    assert line["implied_std_error"] == pytest.approx(levels.std(ddof=1), rel=1e-9)
    assert line["minus_published_std_error"] == pytest.approx(levels.std(ddof=1), rel=1e-9)  # taken as known


def test_a_published_standard_error_adds_to_that_of_the_sample(few_careers: Careers) -> None:
    many = EvaluationSettings(bootstrap=4000)
    found = compare_with_aggregates({"one": noisy(few_careers, 1)}, few_careers, RATES_OF_FEW, many)
    row = found.row(1, named=True)
    both = np.hypot(row["implied_std_error"], row["published_std_error"])
    assert row["minus_published_std_error"] == pytest.approx(both, rel=0.05)
    assert row["minus_published_std_error"] > 1.1 * row["implied_std_error"]


def test_nobody_at_risk_is_null_and_told(few_careers: Careers, caplog: pytest.LogCaptureFixture) -> None:
    nobody = published(
        ("food", "any", 1.0, 2050, None, None, "all", None),
        ("food", "any", 1.0, None, None, None, "gender=women", None),
    )
    found = compare_with_aggregates({"one": noisy(few_careers, 1)}, few_careers, nobody, SETTINGS)
    assert found["person_years"].to_list() == [0, 0]
    assert found.select(pl.col("observed", "implied", "minus_published_ci_low").is_null().all()).row(0) == (True,) * 3
    assert "published rate from food to any, gender=women: nobody is at risk" in caplog.text


def test_one_person_and_no_draws_have_no_spread(few_careers: Careers) -> None:
    everything = published(("any", "any", 1.0, None, None, None, "all", None))
    alone = few_careers.first_people(3)
    rows = alone.table.filter(pl.col("person") == alone.table["person"].mode()[0])
    one = Careers(rows.with_columns(year=1980 + pl.int_range(pl.len(), dtype=pl.Int32)), alone.occupations)
    for careers, settings in ((one, SETTINGS), (few_careers, EvaluationSettings(bootstrap=0))):
        found = compare_with_aggregates({"one": noisy(careers, 1)}, careers, everything, settings)
        assert found["observed"].to_list() == [1.0]
        assert found["implied"].to_list() == pytest.approx([1.0], abs=1e-6)
        assert found["implied_std_error"].to_list() == found["minus_published_ci_low"].to_list() == [None]


def test_realised_only_models_are_left_out_and_strangers_refused(
    few_careers: Careers, models: dict[str, Probabilities]
) -> None:
    found = compare_with_aggregates(models, few_careers, RATES_OF_FEW, SETTINGS)
    assert found["model"].unique(maintain_order=True).to_list() == ["language", "relative"]
    with pytest.raises(LaborLLMError, match="model 'language'"):
        compare_with_aggregates(models, few_careers.first_people(3), RATES_OF_FEW, SETTINGS)


def test_the_oracle_implies_the_rates_of_a_large_population() -> None:
    """Everybody lives in one world; the rates of nine tenths are published, the Oracle predicts the last tenth."""
    survey = SimulatedSettings(people=12000, occupations=20, last_year=1990)
    careers = simulate(survey)
    cut = careers.starts[careers.people // 10]
    test, rest = (Careers(rows, careers.occupations) for rows in (careers.table[:cut], careers.table[cut:]))
    groups = np.array(careers.occupations.groups)
    members = {str(name): groups == name for name in np.unique(groups)}
    members |= {code: np.array(careers.occupations.codes) == code for code in careers.occupations.codes[-3:]}
    members["employed"] = ~np.array(careers.occupations.is_state)
    year = rest.table["year"].to_numpy()
    at_risk = (rest.previous >= 0) & (np.diff(year, prepend=0) == 1)
    lines = []
    for origin in sorted(members):
        rows = at_risk & members[origin][rest.previous]
        for destination in sorted(members):
            reached = members[destination][rest.occupation[rows]]
            sums, counts = (np.bincount(rest.person_of_row[rows], each, rest.people) for each in (reached, None))
            error = clustered_std_error(sums, counts)
            lines.append((origin, destination, reached.mean(), None, None, error, "all", "simulated"))
    aggregates = Aggregates(pl.DataFrame(lines, schema=LINES, orient="row"), members)
    found = compare_with_aggregates({"oracle": Oracle(survey).predict(test)}, test, aggregates, SETTINGS)
    enough = found.filter(pl.col("person_years") >= 200, pl.col("published").is_between(0.01, 0.99))
    assert enough.height > 80
    for name in ("minus_published", "minus_observed"):
        known = enough.drop_nulls(f"{name}_std_error")
        inside = (known[f"{name}_ci_low"] <= 0) & (known[f"{name}_ci_high"] >= 0)
        assert inside.mean() > 0.88
        error = known[name] / known[f"{name}_std_error"]
        assert 0.8 < np.sqrt((error**2).mean()) < 1.25
    rare = found.filter(pl.col("reached") < 5)
    assert rare.height > 20
    assert rare["minus_observed_std_error"].null_count() == rare["observed_ci_low"].null_count() == rare.height
