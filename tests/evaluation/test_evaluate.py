import gc
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.special import logsumexp
from sklearn.metrics import brier_score_loss, roc_auc_score

from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import Evaluation, EvaluationSettings, evaluate
from laborllm.evaluation.tables import ATTAINABLE, COMPARISONS, EVALUATION, RELIABILITY, ROC
from laborllm.evaluation.uncertainty import clustered_std_error
from laborllm.models.probabilities import Probabilities, normalise
from laborllm.survey.careers import Careers
from tests.evaluation.conftest import noisy, prediction_of, restricted

SETTINGS = EvaluationSettings(bootstrap=200, by=("gender", "region", "education"))


@pytest.fixture(scope="module")
def result(few_careers: Careers, models: dict[str, Probabilities]) -> Evaluation:
    return evaluate(models, few_careers, SETTINGS)


def _estimate(table: pl.DataFrame, **where: str) -> float:
    chosen = {"task": "occupation", "metric": "perplexity", "subset": "all", "group": "all", **where}
    rows = table.filter(**chosen)
    assert rows.height == 1, rows
    return rows["estimate" if "estimate" in table.columns else "difference"][0]


def test_the_columns_are_the_contract(result: Evaluation) -> None:
    key, spread = ["task", "metric", "subset", "group"], ["std_error", "ci_low", "ci_high"]
    size, band = ["person_years", "people"], ["band_low", "band_high"]
    assert result.evaluation.columns == ["model", *key, "estimate", *spread, *size, "std_error_delta", *band]
    assert result.comparisons.columns == ["model_a", "model_b", *key, "difference", *spread, *size, *band]
    schemas = {
        "evaluation": EVALUATION,
        "comparisons": COMPARISONS,
        "reliability": RELIABILITY,
        "roc": ROC,
        "attainable": ATTAINABLE,
        "evaluation_weighted": EVALUATION,
        "comparisons_weighted": COMPARISONS,
    }
    assert list(result.frames) == list(schemas)
    for name, table in result.frames.items():
        assert dict(table.schema) == dict(schemas[name])
        for column in table.select(pl.selectors.float()):
            assert not column.is_nan().any()


def test_every_metric_subset_and_group_is_there_once(result: Evaluation) -> None:
    table = result.evaluation
    assert not table.select("model", "task", "metric", "subset", "group").is_duplicated().any()
    classes = {"occupation", "broad_group", "destination"}
    assert set(table["task"]) == classes | {"move", "leave_labor_force", "enter_labor_force"}
    assert set(table["subset"]) == {"all", "first", "stay", "move"}
    assert set(table.filter(model="language", metric="perplexity_raw")["group"]) >= {"all", "region=missing"}
    assert set(table.filter(model="realised")["metric"]) == {"perplexity_raw"}
    parts = {"brier_reliability", "brier_resolution", "brier_uncertainty", "brier_within"}
    binary = {"perplexity", "log_score", "auc", "brier", "calibration_error"} | parts
    for task in ("move", "leave_labor_force", "enter_labor_force"):
        assert set(table.filter(task=task)["metric"]) == binary
    assert set(table.filter(task="destination")["metric"]) == {"perplexity", "log_score"}
    assert set(table.filter(task="broad_group")["metric"]) >= {"perplexity", "log_score", "brier", "accuracy"}
    assert set(table.filter(metric="auc", subset="all", task="move")["group"]) > {"all", "gender=male"}


def test_perplexity_equals_a_loop_over_rows(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    language = models["language"]
    assert language.log_probabilities is not None
    assert language.log_mass is not None
    table = evaluate(models, few_careers, SETTINGS).evaluation
    nats, raw, years = 0.0, 0.0, 0
    for row, gender in enumerate(few_careers.table["gender"]):
        if gender == "female":
            own = float(language.log_probabilities[row, few_careers.occupation[row]])
            nats, raw, years = nats - own, raw - own - language.log_mass[row], years + 1
    assert _estimate(table, model="language", group="gender=female") == pytest.approx(np.exp(nats / years), rel=1e-12)
    found = _estimate(table, model="language", metric="perplexity_raw", group="gender=female")
    assert found == pytest.approx(np.exp(raw / years), rel=1e-12)


def test_binary_metrics_equal_scikit_learn(few_careers: Careers, result: Evaluation) -> None:
    prediction = noisy(few_careers, 1)
    assert prediction.log_probabilities is not None
    rows = np.flatnonzero(few_careers.previous >= 0)
    stay = np.exp(prediction.log_probabilities[rows, few_careers.previous[rows]].astype(float))
    moved = few_careers.transition[rows] == "move"
    found = {m: _estimate(result.evaluation, model="language", task="move", metric=m) for m in ("auc", "brier")}
    assert found["auc"] == pytest.approx(roc_auc_score(moved, 1 - stay), abs=1e-9)
    assert found["brier"] == pytest.approx(brier_score_loss(moved, 1 - stay), abs=1e-6)


def test_a_perfect_model_has_perplexity_one_and_a_uniform_one_the_number_of_occupations(few_careers: Careers) -> None:
    perfect = np.full((len(few_careers), 5), -500.0)
    perfect[np.arange(len(few_careers)), few_careers.occupation] = 0.0
    predictions = {
        "perfect": prediction_of(few_careers, normalise(perfect)[0]),
        "uniform": prediction_of(few_careers, normalise(np.zeros_like(perfect))[0]),
    }
    table = evaluate(predictions, few_careers, SETTINGS).evaluation.filter(task="occupation", metric="perplexity")
    assert (table.filter(model="perfect")["estimate"] == 1).all()
    np.testing.assert_allclose(table.filter(model="uniform")["estimate"], 5, rtol=1e-7)


def test_the_order_of_models_does_not_matter(
    few_careers: Careers, models: dict[str, Probabilities], result: Evaluation
) -> None:
    turned = evaluate(dict(reversed(models.items())), few_careers, SETTINGS)
    by = ["model", "task", "metric", "subset", "group"]
    assert_frame_equal(turned.evaluation.sort(by), result.evaluation.sort(by), check_exact=True)
    same, other = (r.comparisons.filter(metric="perplexity").sort("task", "subset", "group") for r in (result, turned))
    np.testing.assert_array_equal(same["difference"], -other["difference"])
    np.testing.assert_array_equal(same["std_error"], other["std_error"])


def test_the_same_seed_gives_the_same_bits(
    few_careers: Careers, models: dict[str, Probabilities], result: Evaluation
) -> None:
    again = evaluate(models, few_careers, SETTINGS)
    assert_frame_equal(again.comparisons, result.comparisons, check_exact=True)
    assert_frame_equal(again.reliability, result.reliability, check_exact=True)


def test_paired_differences_are_sharper_than_unpaired(result: Evaluation) -> None:
    both = result.evaluation.filter(task="occupation", metric="perplexity", subset="all", group="all")
    paired = result.comparisons.filter(task="occupation", metric="perplexity", subset="all", group="all")
    assert paired.height == 1
    assert paired["difference"][0] == pytest.approx(both["estimate"][0] - both["estimate"][1], rel=1e-12)
    assert paired["std_error"][0] < 0.3 * np.sqrt((both["std_error"] ** 2).sum())


def test_realised_only_models_are_compared_on_raw_perplexity_alone(result: Evaluation) -> None:
    assert set(result.comparisons.filter(model_b="realised", model_a="language")["metric"]) == {"perplexity_raw"}
    assert result.comparisons.filter(model_b="realised", model_a="relative").height == 0


def test_standard_errors_agree_with_the_delta_method(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    table = evaluate(models, few_careers, SETTINGS.model_copy(update={"bootstrap": 4000})).evaluation
    realised = models["language"].realised
    assert realised is not None
    count = np.diff(few_careers.starts)
    nats = np.add.reduceat(-realised, few_careers.starts[:-1])
    row = table.filter(model="language", task="occupation", metric="perplexity", subset="all", group="all")
    expected = row["estimate"][0] * clustered_std_error(nats, count)
    assert row["std_error"][0] == pytest.approx(expected, rel=0.06)
    assert row["ci_low"][0] < row["estimate"][0] < row["ci_high"][0]


def test_copying_a_persons_rows_does_not_add_information(few_careers: Careers) -> None:
    """Each row three times within its person: the same clustered error; as fresh persons: a smaller, wrong one."""
    prediction = noisy(few_careers, 1)
    assert prediction.log_probabilities is not None
    thrice = np.repeat(np.arange(len(few_careers)), 3)
    shift = pl.Series(np.tile(np.arange(3), len(few_careers)))
    copied = few_careers.table[thrice].with_columns(year=pl.col("year") * 3 + shift)
    fresh = copied.with_columns(person=pl.col("person") * 3 + shift)
    order = fresh.with_row_index("row").sort("person", "year")["row"].to_numpy()
    errors = {}
    for name, table, rows in (
        ("one", few_careers.table, np.arange(len(few_careers))),
        ("copied", copied, thrice),
        ("fresh", fresh[order], thrice[order]),
    ):
        careers = replace(few_careers, table=table)
        settings = EvaluationSettings(by=(), bootstrap=2000)
        predictions = {"m": prediction_of(careers, prediction.log_probabilities[rows])}
        errors[name] = evaluate(predictions, careers, settings).evaluation["std_error"][0]
    assert errors["copied"] == pytest.approx(errors["one"], rel=1e-9)
    assert errors["fresh"] == pytest.approx(errors["one"] / np.sqrt(3), rel=0.1)


def test_a_group_of_one_person_has_an_estimate_and_no_interval(few_careers: Careers) -> None:
    alone = pl.when(pl.col("person") == 5).then(pl.lit("lonely")).otherwise("gender")
    careers = replace(few_careers, table=few_careers.table.with_columns(gender=alone))
    table = evaluate({"m": noisy(careers, 1)}, careers, SETTINGS).evaluation
    row = table.filter(group="gender=lonely", metric="perplexity")
    assert row.select("std_error", "ci_low", "ci_high").row(0) == (None, None, None)
    assert row["people"][0] == 1
    assert row["estimate"][0] > 1
    two = table.filter(group="gender=female", metric="perplexity")
    assert two["std_error"][0] > 0


def test_no_bootstrap_leaves_the_spread_empty(few_careers: Careers, result: Evaluation) -> None:
    table = evaluate({"m": noisy(few_careers, 1)}, few_careers, SETTINGS.model_copy(update={"bootstrap": 0}))
    assert table.evaluation["std_error"].null_count() == table.evaluation.height
    assert table.evaluation["estimate"].null_count() == 0


def test_zero_probability_of_what_happened_is_infinite_and_noted(
    few_careers: Careers, models: dict[str, Probabilities], caplog: pytest.LogCaptureFixture
) -> None:
    scores = np.zeros((len(few_careers), 5))
    scores[[3, 9], few_careers.occupation[[3, 9]]] = -np.inf
    predictions = {"hole": prediction_of(few_careers, normalise(scores)[0]), **models}
    found = evaluate(predictions, few_careers, SETTINGS)
    assert found.notes == ("hole: 2 realised occupations have probability 0, so its perplexity is infinite",)
    assert found.notes[0] in caplog.text
    row = found.evaluation.filter(model="hole", metric="perplexity", task="occupation").row(0, named=True)
    assert row["estimate"] == np.inf
    assert row["std_error"] is row["ci_low"] is row["ci_high"] is None
    assert _estimate(found.comparisons, model_a="hole", model_b="language") == np.inf


def test_sizes_count_rows_and_people(few_careers: Careers, result: Evaluation) -> None:
    table = result.evaluation.filter(model="language", metric="perplexity")
    row = table.filter(task="occupation", group="region=missing").row(0, named=True)
    rows = few_careers.table.filter(pl.col("region").is_null())
    assert (row["person_years"], row["people"]) == (rows.height, rows["person"].n_unique())
    assert table.filter(subset="first")["people"][0] == few_careers.people
    assert table.filter(task="move")["person_years"][0] == len(few_careers) - few_careers.people


def test_reliability_averages_back_to_the_whole(few_careers: Careers, result: Evaluation) -> None:
    table = result.reliability.filter(model="language", task="move")
    years = table["person_years"]
    moved = (few_careers.transition == "move").sum() / (few_careers.previous >= 0).sum()
    assert (table["observed"] * years).sum() / years.sum() == pytest.approx(moved, rel=1e-12)
    gaps = ((table["predicted"] - table["observed"]).abs() * years).sum() / years.sum()
    found = _estimate(result.evaluation, model="language", task="move", metric="calibration_error")
    assert gaps == pytest.approx(found, rel=1e-12)
    assert (table["edge_low"] <= table["predicted"]).all()
    assert (table["predicted"] <= table["edge_high"]).all()
    assert "realised" not in result.reliability["model"]


def test_share_of_the_attainable_gain(few_careers: Careers) -> None:
    """Halfway between two models in log-odds stands a model; its share is what the formula says."""
    truth = np.zeros((len(few_careers), 5))
    truth[np.arange(len(few_careers)), few_careers.occupation] = 2.0
    predictions = {
        name: prediction_of(few_careers, normalise(scale * truth)[0])
        for name, scale in (("transition", 0.2), ("model", 0.5), ("oracle", 1.0))
    }
    found = evaluate(predictions, few_careers, SETTINGS, baseline="transition", floor="oracle").attainable
    nats = {s: logsumexp([2 * s, 0, 0, 0, 0]) - 2 * s for s in (0.2, 0.5, 1.0)}
    share = (nats[0.2] - nats[0.5]) / (nats[0.2] - nats[1.0])
    assert found.select("model", "baseline", "floor").row(0) == ("model", "transition", "oracle")
    assert found.height == 1
    assert found["share"][0] == pytest.approx(share, rel=1e-6)
    turned = evaluate(predictions, few_careers, SETTINGS, baseline="oracle", floor="transition")
    assert turned.attainable.height == 0
    assert "does not improve" in turned.notes[-1]


@pytest.mark.parametrize("part", ["first rows", "stays", "one person", "one row"])
def test_samples_that_lack_a_task_have_no_row_of_it(few_careers: Careers, part: str) -> None:
    rows = {
        "first rows": few_careers.previous < 0,
        "stays": few_careers.transition != "move",
        "one person": few_careers.person_of_row == few_careers.person_of_row[few_careers.transition == "move"][0],
        "one row": np.arange(len(few_careers)) == 0,
    }[part]
    careers = replace(few_careers, table=few_careers.table.filter(pl.Series(rows)))
    if part == "stays":  # without the moves between them the rows that are left make some; keep who has none
        moved = careers.table.filter(pl.Series(careers.transition == "move"))["person"]
        careers = replace(careers, table=careers.table.filter(~pl.col("person").is_in(moved.implode())))
    careers = replace(careers, table=careers.table.with_columns(weight=pl.lit(2.0)))
    found = evaluate({"a": noisy(careers, 1), "b": noisy(careers, 2)}, careers, SETTINGS)
    tasks = set(found.evaluation["task"])
    assert ("move" in tasks) == (part in ("stays", "one person"))
    assert ("destination" in tasks) == (part == "one person")
    if part == "stays":
        assert "auc" not in found.evaluation["metric"]
        assert found.roc.height == 0
        assert found.evaluation.filter(metric="brier_uncertainty")["estimate"].to_list() == [0, 0]
    if part.startswith("one"):
        spread = found.evaluation.select("std_error", "ci_low", "ci_high", "std_error_delta", "band_low", "band_high")
        assert spread.null_count().sum_horizontal().item() == 6 * found.evaluation.height
    assert_frame_equal(found.evaluation, found.evaluation_weighted, rel_tol=1e-6)


class OneAtATime(Mapping[str, Probabilities]):
    """Counts how often each model is asked for, and refuses while an earlier one is still held."""

    def __init__(self, careers: Careers, names: tuple[str, ...]) -> None:
        self.careers, self.names, self.reads, self.alive = careers, names, dict.fromkeys(names, 0), []

    def __getitem__(self, name: str) -> Probabilities:
        gc.collect()
        assert all(each() is None for each in self.alive), "an earlier model's array is still held"
        prediction = noisy(self.careers, self.names.index(name))
        assert prediction.log_probabilities is not None
        self.alive.append(weakref.ref(prediction.log_probabilities))
        self.reads[name] += 1
        return prediction

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names


def test_models_are_read_once_and_one_at_a_time(few_careers: Careers) -> None:
    lazy = OneAtATime(few_careers, ("a", "b", "c"))
    found = evaluate(lazy, few_careers, SETTINGS, baseline="a", floor="c")
    assert lazy.reads == {"a": 1, "b": 1, "c": 1}
    held = {name: noisy(few_careers, seed) for seed, name in enumerate(lazy)}
    eager = evaluate(held, few_careers, SETTINGS, baseline="a", floor="c")
    for name, table in found.frames.items():
        assert_frame_equal(table, eager.frames[name], check_exact=True)


def test_a_model_that_is_no_distribution_is_named_when_it_is_reached(
    few_careers: Careers, models: dict[str, Probabilities]
) -> None:
    done: list[str] = []
    wrong = np.full((len(few_careers), 5), np.log(0.2), dtype=np.float32)
    wrong[7, 1] = np.nan
    with pytest.raises(LaborLLMError, match="model 'wrong', row 8: the probabilities sum to nan"):
        evaluate({**models, "wrong": prediction_of(few_careers, wrong)}, few_careers, SETTINGS, progress=done.append)
    assert done == list(models)


def test_roc_curves_rise_from_the_area_of_their_auc(result: Evaluation) -> None:
    assert set(result.roc["task"]) == {"move", "leave_labor_force", "enter_labor_force"}
    assert "realised" not in result.roc["model"]
    for (model, task), curve in result.roc.partition_by("model", "task", as_dict=True).items():
        rate = curve["true_positive_rate"].to_numpy()
        assert (curve.height, rate[-1]) == (101, 1.0)
        assert (np.diff(rate) >= 0).all()
        area = np.trapezoid(rate, curve["false_positive_rate"])
        assert area == pytest.approx(_estimate(result.evaluation, model=model, task=task, metric="auc"), abs=0.02)
        assert (curve["ci_low"] <= curve["true_positive_rate"] + 1e-6).mean() > 0.9


def test_a_brier_score_is_the_sum_of_its_parts(result: Evaluation) -> None:
    for task in ("move", "leave_labor_force", "enter_labor_force"):
        rows = result.evaluation.filter(pl.col("metric").str.starts_with("brier"), task=task, model="language")
        part = dict(rows.select("metric", "estimate").rows())
        whole = part["brier_reliability"] - part["brier_resolution"] + part["brier_uncertainty"] + part["brier_within"]
        assert whole == pytest.approx(part["brier"], abs=1e-12)
    assert "brier_uncertainty" not in result.comparisons["metric"]


def test_the_log_score_is_minus_the_log_of_the_perplexity(result: Evaluation) -> None:
    for task in ("occupation", "broad_group", "destination", "move"):
        found = [
            _estimate(result.evaluation, model="language", task=task, metric=m) for m in ("log_score", "perplexity")
        ]
        assert found[0] == pytest.approx(-np.log(found[1]), rel=1e-12)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"baseline": "language"}, "both a baseline and a floor"),
        ({"baseline": "language", "floor": "orcale"}, "floor is 'orcale', .* use one of language, relative"),
        ({"baseline": "realised", "floor": "language"}, "baseline 'realised' has raw probabilities"),
    ],
)
def test_wrong_names_are_refused(
    few_careers: Careers, models: dict[str, Probabilities], names: dict[str, str], message: str
) -> None:
    with pytest.raises(LaborLLMError, match=message):
        evaluate(models, few_careers, SETTINGS, **names)


def test_a_true_models_calibration_interval_reaches_almost_to_zero_and_a_false_ones_does_not(
    few_careers: Careers, rng: np.random.Generator
) -> None:
    """Outcomes drawn from the model itself: what gap there is, is noise."""
    people = np.arange(few_careers.people).repeat(12)
    careers = restricted(few_careers, people)
    probability, previous = np.full((len(careers), 5), 0.2), careers.previous
    odds = rng.uniform(-1.5, 1.5, size=len(careers))
    moved = (rng.random(len(careers)) < 1 / (1 + np.exp(-odds))) & (previous >= 0)
    # Stay or go to the next occupation, as the coin says.
    occupation = careers.occupation.copy()
    for row in range(len(careers)):
        if previous[row] >= 0:
            occupation[row] = (occupation[row - 1] + int(moved[row])) % 5
    codes = pl.Series("occupation", np.array(careers.occupations.codes)[occupation], dtype=careers.occupations.dtype)
    careers = replace(careers, table=careers.table.with_columns(codes))
    predictions = {}
    for name, shift in (("true", 0.0), ("shifted", 0.7)):
        log_probabilities = np.log(probability)
        later = np.flatnonzero(careers.previous >= 0)
        move = 1 / (1 + np.exp(-odds[later] - shift))
        log_probabilities[later] = np.log(move / 4)[:, None]
        log_probabilities[later, careers.previous[later]] = np.log1p(-move)
        predictions[name] = prediction_of(careers, log_probabilities.astype(np.float32))
    table = evaluate(predictions, careers, SETTINGS).evaluation
    rows = table.filter(task="move", metric="calibration_error", group="all").sort("model", descending=True)
    assert rows["ci_low"][0] < 0.01
    assert rows["ci_low"][1] > 0.08
    assert (rows["ci_low"] <= rows["estimate"]).all()
    assert (rows["estimate"] <= rows["ci_high"]).all()
