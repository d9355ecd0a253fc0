from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.special import expit, logit

from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.evaluation.groups.implied_rates import MIN_PEOPLE
from laborllm.evaluation.groups.representativeness import (
    DISTANCES,
    GAPS,
    MIN_EVENTS,
    Representativeness,
    representativeness,
)
from laborllm.evaluation.uncertainty import draw_weights
from laborllm.models.oracle import Oracle
from laborllm.models.probabilities import Probabilities, normalise
from laborllm.survey.careers import Careers
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate
from tests.evaluation.conftest import noisy, prediction_of, restricted, restricted_prediction

SURVEY = SimulatedSettings(people=1200, occupations=12, last_year=1994)
SETTINGS = EvaluationSettings(by=("gender", "ethnicity", "education"), bootstrap=400)
SMALL = SimulatedSettings(people=160, occupations=5, last_year=1990, seed=4)


@pytest.fixture(scope="module")
def careers() -> Careers:
    return simulate(SURVEY)


@pytest.fixture(scope="module")
def oracle(careers: Careers) -> Probabilities:
    return Oracle(SURVEY).predict(careers)


@pytest.fixture(scope="module")
def small() -> Careers:
    return simulate(SMALL)


def shifted(prediction: Probabilities, careers: Careers, chosen: pl.Expr, log_odds: float) -> Probabilities:
    """The prediction with the log-odds of moving shifted in some rows; destinations keep their proportions."""
    assert prediction.log_probabilities is not None
    scores = prediction.log_probabilities.astype(np.float64)
    rows = np.flatnonzero(careers.table.select(chosen).to_series().to_numpy() & (careers.previous >= 0))
    stay = np.exp(scores[rows, careers.previous[rows]])
    move = expit(logit(1 - stay) + log_odds)
    scores[rows] += (np.log(move) - np.log(1 - stay))[:, None]
    scores[rows, careers.previous[rows]] = np.log(1 - move)
    return prediction_of(careers, normalise(scores)[0])


def test_columns_and_order_are_the_contract(small: Careers) -> None:
    result = representativeness({"a": noisy(small, 1), "b": noisy(small, 2)}, small, SETTINGS)
    assert dict(result.gaps.schema) == GAPS
    assert dict(result.shares_distance.schema) == DISTANCES
    assert not result.gaps.select("model", "weighting", "quantity", "group").is_duplicated().any()
    assert result.gaps["model"].unique(maintain_order=True).to_list() == ["a", "b"]
    assert not result.gaps.null_count().sum_horizontal().sum()
    pairs = result.gaps.filter(pl.col("group").str.contains(" & "))
    assert "gender=female & ethnicity=white" in set(pairs["group"])
    assert not pairs["quantity"].str.starts_with("flow").any()
    rates = {"stay", "leave_labor_force", "enter_labor_force", "become_unemployed", "share: Unemployed"}
    assert rates <= set(result.gaps["quantity"])
    assert result.gaps["quantity"].str.starts_with("flow: ").any()


def brute_force(prediction: Probabilities, careers: Careers, quantity: str, group: str) -> tuple[float, float, list]:
    """Predicted and observed average, and each person's (sum of gaps, rows at risk), by loops."""
    assert prediction.log_probabilities is not None
    codes, groups = careers.occupations.codes, careers.occupations.groups
    out = {"not_in_labor_force", "in_education"}
    states = {*out, "unemployed"}
    people: dict[int, list[float]] = {}
    for number, row in enumerate(careers.table.iter_rows(named=True)):
        wanted = dict(part.split("=") for part in group.split(" & ")) if group != "all" else {}
        total = people.setdefault(row["person"], [0.0, 0.0, 0.0, 0.0])
        if any(row[name] != value for name, value in wanted.items()):
            continue
        before = codes[careers.previous[number]] if careers.previous[number] >= 0 else None
        probability = dict(zip(codes, np.exp(prediction.log_probabilities[number].astype(float)), strict=True))
        if quantity.startswith("share: "):
            name = quantity.removeprefix("share: ")
            reached = {c for c, g, t in zip(codes, groups, careers.occupations.titles, strict=True) if name in (g, t)}
            at_risk = True
        else:
            at_risk, reached = {
                "stay": (before is not None, {before}),
                "leave_labor_force": (before is not None and before not in out, out),
                "enter_labor_force": (before in out, set(codes) - out),
                "become_unemployed": (before is not None and before not in states, {"unemployed"}),
            }[quantity]
        if at_risk:
            p = sum(probability[code] for code in reached)
            y = row["occupation"] in reached
            total[0], total[1], total[2], total[3] = total[0] + p, total[1] + y, total[2] + 1, total[3] + p * (1 - p)
    p, y, n, variance = np.array(list(people.values())).sum(axis=0)
    return p / n, y / n, [np.array(list(people.values())), np.sqrt(variance) / n]


@pytest.mark.parametrize(
    ("quantity", "group"),
    [
        ("stay", "all"),
        ("leave_labor_force", "gender=female"),
        ("enter_labor_force", "all"),
        ("become_unemployed", "all"),
        ("share: Unemployed", "education=high school"),
        ("share: In education", "gender=male & ethnicity=white"),
    ],
)
def test_every_number_equals_a_loop_over_rows(small: Careers, quantity: str, group: str) -> None:
    prediction = noisy(small, 1, stay=2.5)
    row = representativeness({"m": prediction}, small, SETTINGS).gaps.filter(quantity=quantity, group=group)
    assert row.height == 1
    predicted, observed, (people, model_error) = brute_force(prediction, small, quantity, group)
    assert row["predicted"][0] == pytest.approx(predicted, rel=1e-6)
    assert row["observed"][0] == pytest.approx(observed, rel=1e-12)
    assert row["difference"][0] == pytest.approx(predicted - observed, rel=1e-5)
    assert row["person_years"][0] == people[:, 2].sum()
    assert row["people"][0] == (people[:, 2] > 0).sum()
    draws = []
    for weights in draw_weights(small.people, SETTINGS.bootstrap, np.random.default_rng(SETTINGS.seed))[:, 1:].T:
        p, y, n, _ = weights.astype(float) @ people
        draws.append((p - y) / n)
    own = np.std(draws, ddof=1)
    assert row["std_error"][0] == pytest.approx(max(own, model_error), rel=1e-5)
    if own > model_error:
        ends = np.quantile(draws, [0.025, 0.975])
        np.testing.assert_allclose([row["ci_low"][0], row["ci_high"][0]], ends, rtol=1e-4)


def test_names_of_groups_and_values_may_be_any_words(small: Careers) -> None:
    """A broad group called as one of the sums that events are read from; a value that reads like a pair."""
    names = dict(zip(dict.fromkeys(small.occupations.groups), ("other", "previous", "inside", "outside"), strict=False))
    jobs = replace(small.occupations, groups=tuple(names.get(group, group) for group in small.occupations.groups))
    both = {"white": "white & asian"}
    table = small.table.with_columns(pl.col("ethnicity").replace(both))
    model = noisy(small, 1)
    plain = representativeness({"m": model}, small, SETTINGS).gaps
    renamed = representativeness(
        {"m": replace(model, occupations=jobs)}, replace(small, table=table, occupations=jobs), SETTINGS
    ).gaps
    assert_frame_equal(plain.drop("quantity", "group"), renamed.drop("quantity", "group"))
    assert "gender=female & ethnicity=white & asian" in set(renamed["group"])


def test_broad_flows_equal_a_count(small: Careers) -> None:
    prediction = noisy(small, 1)
    assert prediction.log_probabilities is not None
    groups = [
        title if state else group
        for title, state, group in zip(
            small.occupations.titles, small.occupations.is_state, small.occupations.groups, strict=True
        )
    ]
    flows = representativeness({"m": prediction}, small, SETTINGS).gaps.filter(
        pl.col("quantity").str.starts_with("flow: "), group="all"
    )
    before = np.array([groups[place] if place >= 0 else "" for place in small.previous])
    after = np.array([groups[place] for place in small.occupation])
    assert flows.height >= 2
    for row in flows.iter_rows(named=True):
        origin, end = row["quantity"].removeprefix("flow: ").split(" → ")
        assert row["person_years"] == (before == origin).sum()
        assert row["observed"] == pytest.approx((after[before == origin] == end).mean())
        reached = [place for place, group in enumerate(groups) if group == end]
        mass = np.exp(prediction.log_probabilities[before == origin][:, reached].astype(float)).sum(axis=1)
        assert row["predicted"] == pytest.approx(mass.mean(), rel=1e-5)


def test_the_distance_is_the_total_variation_of_all_occupations(small: Careers) -> None:
    prediction = noisy(small, 1)
    assert prediction.log_probabilities is not None
    found = representativeness({"m": prediction}, small, SETTINGS).shares_distance
    women = (small.table["gender"] == "female").to_numpy()
    for group, rows in (("all", slice(None)), ("gender=female", women)):
        predicted = np.exp(prediction.log_probabilities[rows].astype(float)).mean(axis=0)
        observed = np.bincount(small.occupation[rows], minlength=len(small.occupations)) / len(small.occupation[rows])
        row = found.filter(group=group)
        assert row["distance"][0] == pytest.approx(0.5 * np.abs(predicted - observed).sum(), rel=1e-5)
        assert row["person_years"][0] == len(small.occupation[rows])


def test_the_truth_is_off_by_noise_alone(careers: Careers, oracle: Probabilities) -> None:
    result = representativeness({"oracle": oracle}, careers, SETTINGS)
    assert result.gaps.height > 300
    assert not result.gaps["flagged"].sum()
    z = result.gaps["difference"] / result.gaps["std_error"]
    assert 0.7 < z.std() < 1.3
    assert (z.abs() > 1.96).mean() < 0.09
    ratio = result.shares_distance["distance"] / result.shares_distance["noise"]
    assert 0.85 < ratio.mean() < 1.15
    assert (result.shares_distance["distance"] > result.shares_distance["noise_high"]).mean() < 0.12


@pytest.mark.parametrize(
    "parts",
    [
        {"ethnicity": "hispanic"},
        {"gender": "female", "education": "some college"},
    ],
)
def test_a_shift_of_the_log_odds_of_moving_is_flagged_where_it_is_and_nowhere_else(
    careers: Careers, oracle: Probabilities, parts: dict[str, str]
) -> None:
    chosen = pl.all_horizontal(pl.col(name) == value for name, value in parts.items())
    wrong = shifted(oracle, careers, chosen, 1.0)
    gaps = representativeness({"wrong": wrong}, careers, SETTINGS).gaps
    inside = " & ".join(f"{name}={value}" for name, value in parts.items())
    stay = gaps.filter(quantity="stay", group=inside)
    assert stay["flagged"][0] == 1
    assert stay["difference"][0] < -0.05
    rows = careers.table.select(chosen).to_series().to_numpy()
    members = {group: _rows_of(careers, group) for group in gaps["group"].unique()}
    apart = [group for group, own in members.items() if not (own & rows).any()]
    within = [group for group, own in members.items() if (own <= rows).all()]
    assert len(apart) > 5
    assert not gaps.filter(pl.col("group").is_in(apart))["flagged"].sum()
    flagged = gaps.filter(pl.col("group").is_in(within), quantity="stay")
    assert len(within) == flagged.height
    assert flagged["flagged"].mean() > 0.6


def _rows_of(careers: Careers, group: str) -> np.ndarray:
    if group == "all":
        return np.ones(len(careers), dtype=bool)
    wanted = [part.split("=") for part in group.split(" & ")]
    return (
        careers.table.select(pl.all_horizontal(pl.col(name) == value for name, value in wanted)).to_series().to_numpy()
    )


@pytest.mark.slow
def test_the_truth_is_flagged_in_one_survey_of_twenty_at_most() -> None:
    smallest, beyond = [], []
    for seed in range(100):
        survey = SimulatedSettings(people=400, occupations=10, last_year=1992, seed=seed)
        careers = simulate(survey)
        gaps = representativeness({"oracle": Oracle(survey).predict(careers)}, careers, SETTINGS).gaps
        smallest.append(gaps["p_adjusted"].min())
        beyond.append(((gaps["difference"] / gaps["std_error"]).abs() > 1.96).mean())
    assert np.mean(np.array(smallest) < 0.05) <= 0.05
    assert np.median(smallest) < 0.9
    assert 0.025 < np.mean(beyond) < 0.055


def test_a_weight_of_two_is_the_same_person_twice(small: Careers) -> None:
    """Half of the people have weight 2; doubled, they are people of their own."""
    weight = 1.0 + (np.arange(small.people) % 2)
    weighted = replace(small, table=small.table.with_columns(weight=pl.Series(weight[small.person_of_row])))
    twice = np.repeat(np.arange(small.people), weight.astype(int))
    model = noisy(small, 1)
    settings = SETTINGS.model_copy(update={"bootstrap": 0})
    found = representativeness({"m": model}, weighted, settings)
    wanted = representativeness(
        {"m": restricted_prediction(model, small, twice)}, restricted(small, twice), settings
    ).gaps.filter(weighting="unweighted")
    key = ["quantity", "group"]
    both = found.gaps.filter(weighting="weighted").join(wanted, on=key, suffix="_twice")
    assert both.height > 50
    for column in ("predicted", "observed", "difference"):
        np.testing.assert_allclose(both[column], both[f"{column}_twice"], atol=1e-6)
    plain = representativeness({"m": model}, small, settings)
    assert_frame_equal(found.gaps.filter(weighting="unweighted"), plain.gaps)


def test_equal_weights_change_nothing_and_rows_without_one_do_not_count(small: Careers) -> None:
    model = noisy(small, 1)
    even = replace(small, table=small.table.with_columns(weight=pl.lit(437_000.0)))
    result = representativeness({"m": model}, even, SETTINGS)
    plain, weighted = (
        result.gaps.filter(weighting=way).drop("weighting", "p_adjusted") for way in ("unweighted", "weighted")
    )
    assert_frame_equal(plain, weighted, rel_tol=1e-6, abs_tol=1e-9)
    ways = [result.shares_distance.filter(weighting=way).drop("weighting") for way in ("unweighted", "weighted")]
    assert_frame_equal(*ways, rel_tol=1e-4, abs_tol=1e-7)

    men_only = pl.when(pl.col("gender") == "male").then(pl.lit(3.0))
    result = representativeness({"m": model}, replace(small, table=small.table.with_columns(weight=men_only)), SETTINGS)
    weighted = result.gaps.filter(weighting="weighted")
    everybody, men = (weighted.filter(group=group).drop("group") for group in ("all", "gender=male"))
    both = everybody.join(men, on="quantity", suffix="_men")
    np.testing.assert_allclose(both["difference"], both["difference_men"], rtol=1e-5, atol=1e-9)
    assert not weighted["group"].str.contains("gender=female").any()
    assert any("have no positive weight" in note for note in result.notes)


def test_few_people_and_few_events_are_left_out_and_said(small: Careers) -> None:
    one = small.table["person"][0]
    table = small.table.with_columns(
        ethnicity=pl.when(pl.col("person") == one).then(pl.lit("martian")).otherwise(pl.col("ethnicity"))
    )
    result = representativeness({"m": noisy(small, 1)}, replace(small, table=table), SETTINGS)
    assert not result.gaps["group"].str.contains("martian").any()
    assert any("fewer than 20 people left out" in note for note in result.notes)
    assert result.gaps["people"].min() >= MIN_PEOPLE
    expected, observed = (result.gaps[column] * result.gaps["person_years"] for column in ("predicted", "observed"))
    assert np.maximum(expected, observed).min() >= MIN_EVENTS - 1e-6


def test_what_never_happens_but_is_expected_is_flagged(small: Careers) -> None:
    """All people of a code are recoded; a constant model expects them, and no draw of people knows any spread."""
    code = small.occupations.codes[0]
    table = small.table.with_columns(
        pl.when(pl.col("occupation").cast(pl.String) == code)
        .then(pl.lit("unemployed"))
        .otherwise(pl.col("occupation").cast(pl.String))
        .cast(small.occupations.dtype)
        .alias("occupation")
    )
    careers = replace(small, table=table)
    even = prediction_of(careers, normalise(np.zeros((len(careers), len(careers.occupations))))[0])
    result = representativeness({"even": even}, careers, SETTINGS).gaps
    row = result.filter(quantity=f"share: {small.occupations.groups[0]}", group="all")
    assert row["observed"][0] < row["predicted"][0]
    assert row["flagged"][0] == 1
    assert row["std_error"][0] > 0


def test_the_same_seed_gives_the_same_bits_and_models_do_not_touch_each_other(small: Careers) -> None:
    a, b = noisy(small, 1), noisy(small, 2)
    both = representativeness({"a": a, "b": b}, small, SETTINGS)
    alone = representativeness({"b": b}, small, SETTINGS)
    assert_frame_equal(both.gaps.filter(model="b"), alone.gaps, check_exact=True)
    assert_frame_equal(both.shares_distance.filter(model="b"), alone.shares_distance, check_exact=True)


def test_without_bootstrap_there_are_no_flags_but_differences(small: Careers) -> None:
    result = representativeness({"m": noisy(small, 1)}, small, SETTINGS.model_copy(update={"bootstrap": 0}))
    assert result.gaps["difference"].null_count() == 0
    for column in ("std_error", "ci_low", "ci_high", "p_adjusted", "flagged"):
        assert result.gaps[column].null_count() == result.gaps.height
    assert result.shares_distance["noise"].null_count() == 0


def test_realised_only_models_are_left_out_and_said(small: Careers) -> None:
    rows = small.table.select("person", "year", "occupation")
    only = Probabilities(rows, small.occupations, realised_raw=np.full(len(small), -1.0))
    result: Representativeness = representativeness({"only": only}, small, SETTINGS)
    assert result.gaps.is_empty()
    assert any("only left out" in note for note in result.notes)


def test_messages(small: Careers) -> None:
    with pytest.raises(LaborLLMError, match="no predictions"):
        representativeness({}, small, SETTINGS)
    with pytest.raises(LaborLLMError, match=r"evaluation\.by: 'shoe'"):
        representativeness({"m": noisy(small, 1)}, small, EvaluationSettings(by=("shoe",)))
    wrong = prediction_of(small, np.zeros((len(small), len(small.occupations)), dtype=np.float32))
    with pytest.raises(LaborLLMError, match="model 'm', row 1: the probabilities sum to"):
        representativeness({"m": wrong}, small, SETTINGS)


def test_models_are_read_one_at_a_time(small: Careers) -> None:
    told: list[str] = []

    class Lazy(dict):
        def __getitem__(self, name: str) -> Probabilities:
            told.append(f"read {name}")
            return noisy(small, len(name))

    representativeness(Lazy.fromkeys(("a", "bb")), small, SETTINGS, progress=told.append)
    assert told == ["read a", "a", "read bb", "bb"]
