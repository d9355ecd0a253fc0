"""Gradient boosting: what its probabilities must satisfy, what it finds, and what it says to bad input."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from laborllm.errors import LaborLLMError
from laborllm.models.baselines import TransitionFrequencies
from laborllm.models.oracle import Oracle
from laborllm.models.regression import boosted_stage
from laborllm.models.regression.boosted_stage import StageRows, fit_boosted
from laborllm.models.regression.boosting import FOLDS, GradientBoosting, held_out_start, stage_start
from laborllm.models.regression.boosting_features import ABSENT, TreeFeatures
from laborllm.models.regression.boosting_settings import TERMS, BoostingSettings
from laborllm.models.regression.features import Histories
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate

pytest.importorskip("lightgbm")
SURVEY = SimulatedSettings(people=700, occupations=6, seed=2)


@pytest.fixture(scope="module")
def split() -> Careers:
    return split_by_person(simulate(SURVEY), [0.6, 0.2, 0.2], np.random.default_rng(0))


def fitted_on(careers: Careers, **settings: object) -> GradientBoosting:
    model = GradientBoosting(BoostingSettings(**settings))
    model.fit(careers.part("train"), careers.part("validation"))
    return model


@pytest.fixture(scope="module", params=[1, 2], ids=["one stage", "two stages"])
def fitted(request: pytest.FixtureRequest, split: Careers) -> GradientBoosting:
    return fitted_on(split, stages=request.param)


@pytest.fixture(scope="module")
def two_stages(split: Careers) -> GradientBoosting:
    return fitted_on(split)


def rows_of(rows: list[tuple[int, int, str]], occupations: Occupations) -> Careers:
    frame = pl.DataFrame(rows, schema=["person", "year", "occupation"], orient="row")
    return careers_from_frame(frame, occupations)


def test_rows_sum_to_one(split: Careers, fitted: GradientBoosting) -> None:
    answer = fitted.predict(split).log_probabilities
    assert answer.dtype == np.float32
    assert np.isfinite(answer).all()
    np.testing.assert_allclose(np.exp(answer.astype(float)).sum(axis=1), 1, atol=1e-6)


def test_two_stages_are_one_likelihood(split: Careers, two_stages: GradientBoosting) -> None:
    """P(previous) = P(stay), and the nats are those of staying or moving plus those of where to."""
    test = split.part("test")
    answer = two_stages.predict(test)
    start = two_stages.start.predict(test).log_probabilities
    features = two_stages.features.matrix(Histories(test))[0]
    stay, move = (
        stage.log_probabilities(features, stage_start(stage.what, start, test.previous)) for stage in two_stages.stages
    )
    rows, later = np.arange(len(test)), test.previous >= 0
    stays = test.previous == test.occupation
    given = answer.log_probabilities[rows, test.previous]
    np.testing.assert_allclose(given[later], stay[later, 1], atol=1e-5)
    nats = np.where(later, stay[rows, stays.astype(int)], 0) + np.where(stays, 0, move[rows, test.occupation])
    np.testing.assert_allclose(answer.realised, nats, atol=1e-5)
    assert np.exp(move[later, test.previous[later]]).max() < 1e-9


def test_it_finds_what_transitions_miss(split: Careers, fitted: GradientBoosting) -> None:
    """The simulator has memory, covariates and tenure: boosting lies between the transitions and the truth."""
    train, validation, test = (split.part(name) for name in ("train", "validation", "test"))
    transition = TransitionFrequencies()
    transition.fit(train, validation)
    ours, theirs, floor = (model.predict(test).realised.mean() for model in (fitted, transition, Oracle(SURVEY)))
    assert theirs + 0.05 < ours < floor + 0.01


def test_same_seed_same_bits(split: Careers, two_stages: GradientBoosting) -> None:
    again = fitted_on(split)
    assert [stage.trees for stage in again.stages] == [stage.trees for stage in two_stages.stages]
    one, two = (model.predict(split).log_probabilities for model in (two_stages, again))
    assert one.tobytes() == two.tobytes()
    other = fitted_on(split, seed=2)
    assert [stage.trees for stage in other.stages] != [stage.trees for stage in two_stages.stages]


def test_a_row_alone_is_as_among_others(split: Careers, two_stages: GradientBoosting) -> None:
    few = split.first_people(7)
    whole = two_stages.predict(split).log_probabilities[: len(few)]
    np.testing.assert_array_equal(two_stages.predict(few).log_probabilities, whole)


def test_later_rows_do_not_matter(split: Careers, two_stages: GradientBoosting) -> None:
    cut = split.table["year"] <= split.table["year"].median()
    early = Careers(split.table.filter(cut), split.occupations)
    whole = two_stages.predict(split).log_probabilities[cut.to_numpy()]
    np.testing.assert_array_equal(two_stages.predict(early).log_probabilities, whole)


def test_saved_and_loaded_is_the_same(tmp_path: Path, split: Careers, fitted: GradientBoosting) -> None:
    fitted.save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    stages = {1: {"all.txt"}, 2: {"stay.txt", "move.txt"}}[fitted.settings.stages]
    assert names == {"boosting.json", "transition.json"} | stages
    loaded = GradientBoosting.load(tmp_path)
    one, two = (model.predict(split).log_probabilities for model in (fitted, loaded))
    assert one.tobytes() == two.tobytes()
    assert loaded.facts == fitted.facts
    assert loaded.description == fitted.description


def test_training_rows_start_from_other_people(split: Careers) -> None:
    """A person whose transitions nobody else has gets no credit for having made them."""
    train, validation = split.part("train"), split.part("validation")
    start = held_out_start(train, validation, seed=1)
    fold = np.random.default_rng(1).permutation(train.people)[train.person_of_row] % FOLDS
    others = Careers(train.table.filter(pl.Series(fold != 3)), train.occupations)
    model = TransitionFrequencies()
    model.fit(others, validation)
    np.testing.assert_array_equal(start[fold == 3], model.predict(train).log_probabilities[fold == 3])


def test_trees_are_added_to_the_start() -> None:
    """One round on one feature with two values: each leaf is a Newton step from the start, by hand."""
    rng = np.random.default_rng(0)
    x = np.repeat([1.0, 2.0], 300)
    chosen = (rng.random(600) < np.where(x == 1, 0.3, 0.8)).astype(int)
    start = np.log(np.tile([0.4, 0.6], (600, 1)))
    rows = StageRows(boosted_stage.sparse.csr_array(x[:, None].astype(np.float32)), start, chosen)
    settings = BoostingSettings(rounds=1, learning_rate=1.0, leaves=2, l2=3.0)
    stage = fit_boosted(settings, "stay", rows, rows)
    found = stage.log_probabilities(rows.features, start)
    for value in (1, 2):
        here = x == value
        step = (chosen[here] - 0.6).sum() / (here.sum() * 0.6 * 0.4 + 3.0)
        expected = 1 / (1 + np.exp(-(np.log(0.6 / 0.4) + step)))
        np.testing.assert_allclose(np.exp(found[here, 1]), expected, atol=1e-6)


def test_never_seen_occupations_keep_their_share(split: Careers) -> None:
    """What training never saw has the transitions' probability, and is counted."""
    last = split.occupations.codes[1]
    train = Careers(split.part("train").table.filter(pl.col("occupation") != last), split.occupations)
    model = GradientBoosting(BoostingSettings(stages=1))
    model.fit(train, split.part("validation"))
    test = split.part("test")
    answer = model.predict(test).log_probabilities
    start = model.start.predict(test).log_probabilities
    np.testing.assert_allclose(answer[:, 1], start[:, 1], atol=1e-5)
    assert np.abs(answer[:, 0] - start[:, 0]).max() > 0.1
    assert model.facts["occupations never seen in training"] == 1
    assert model.facts["predicted rows in an occupation never seen in training"] == (test.occupation == 1).sum()


def test_trees_that_do_not_help_are_left_out(split: Careers, rng: np.random.Generator) -> None:
    """Without anything to learn the answer is the start."""
    rows = StageRows(
        boosted_stage.sparse.csr_array(rng.random((400, 3)).astype(np.float32)),
        np.log(np.full((400, 2), 0.5)),
        np.arange(400) % 2,
    )
    held_out = StageRows(rows.features, rows.start, 1 - rows.chosen)
    stage = fit_boosted(BoostingSettings(leaves=31, min_rows=1), "stay", rows, held_out)
    assert stage.rounds == 0
    np.testing.assert_array_equal(stage.log_probabilities(rows.features, rows.start), rows.start)


def test_features_are_those_of_the_histories(few_careers: Careers) -> None:
    histories = Histories(few_careers)
    matrix, unseen = TreeFeatures.of(TERMS, histories).matrix(histories)
    dense = matrix.toarray()
    assert unseen == {}
    assert dense.shape == (len(few_careers), len(TERMS) - 1 + 5)
    np.testing.assert_array_equal(dense[:, 0], few_careers.previous)
    np.testing.assert_array_equal(dense[:, TERMS.index("held") : TERMS.index("held") + 5], histories.held.toarray())
    education = np.where(few_careers.table["education"].to_numpy() == "high school", 0, 1)
    np.testing.assert_array_equal(dense[:, TERMS.index("education")], education)
    region = np.where(few_careers.table["region"].is_null().to_numpy(), ABSENT, 0)
    np.testing.assert_array_equal(dense[:, TERMS.index("region")], region)


def test_levels_never_seen_are_counted(split: Careers, two_stages: GradientBoosting) -> None:
    odd = Careers(split.table.with_columns(gender=pl.lit("unknown")), split.occupations)
    missing = Careers(split.table.with_columns(gender=pl.lit(None, dtype=pl.String)), split.occupations)
    one, two = two_stages.predict(odd).log_probabilities, two_stages.predict(missing).log_probabilities
    np.testing.assert_array_equal(one, two)
    two_stages.predict(odd)
    assert two_stages.facts["predicted rows with a level of gender never seen"] == len(split)
    two_stages.predict(split)
    assert "predicted rows with a level of gender never seen" not in two_stages.facts


CODES = ("313", "436", "433", "unemployed", "in_education")
SMALL = {
    "one person": [(1, 1980 + t, CODES[t % 3]) for t in range(6)],
    "one row": [(1, 1980, "436")],
    "one year": [(p, 1980, CODES[p % 3]) for p in range(30)],
    "nobody moves": [(p, 1980 + t, "436") for p in range(20) for t in range(4)],
    "everybody moves": [(p, 1980 + t, CODES[(p + t) % 2]) for p in range(30) for t in range(6)],
    "three occupations": [(p, 1980 + t, CODES[(p + t * t) % 3]) for p in range(60) for t in range(6)],
}


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("rows", SMALL.values(), ids=list(SMALL))
def test_small_populations(rows: list[tuple[int, int, str]], stages: int, five_occupations: Occupations) -> None:
    careers = rows_of(rows, five_occupations)
    model = GradientBoosting(BoostingSettings(stages=stages))
    model.fit(careers, careers)
    other = rows_of([(1, 1970, "in_education"), (1, 1971, "436"), (1, 1990, "436")], five_occupations)
    for each in (careers, other):
        answer = model.predict(each).log_probabilities
        np.testing.assert_allclose(np.exp(answer.astype(float)).sum(axis=1), 1, atol=1e-6)


def test_validation_without_later_rows(split: Careers) -> None:
    """A stage that validation says nothing of has no trees, and the answer is that of the transitions."""
    validation, test = split.part("validation"), split.part("test")
    firsts = Careers(validation.table.filter(pl.Series(validation.previous < 0)), split.occupations)
    model = GradientBoosting()
    model.fit(split.part("train"), firsts)
    assert model.facts["rounds of staying"] == 0
    later = np.flatnonzero(test.previous >= 0)
    one, two = (each.predict(test).log_probabilities for each in (model, model.start))
    own = later, test.previous[later]
    np.testing.assert_allclose(one[own], two[own], atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"terms": ("previous", "salary")}, "no variable 'salary'"),
        ({"terms": ("log(tenure)",)}, "without log"),
        ({"terms": ("gender:education",)}, "or a colon"),
        ({"terms": ("gender", "gender")}, "stands twice"),
        ({"leaves": 1}, "greater than or equal to 2"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"depth": 3}, "Extra inputs"),
    ],
)
def test_settings_say_what_is_wrong(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        BoostingSettings(**settings)


def test_it_must_be_fitted_first(split: Careers, tmp_path: Path) -> None:
    assert GradientBoosting().facts == {}
    with pytest.raises(LaborLLMError, match="boosting is not fitted yet; call fit first"):
        GradientBoosting().predict(split)
    with pytest.raises(LaborLLMError, match="not fitted yet"):
        GradientBoosting().save(tmp_path)


def test_another_list_is_refused(few_careers: Careers, two_stages: GradientBoosting, split: Careers) -> None:
    with pytest.raises(LaborLLMError, match="fitted on another list of 9"):
        two_stages.predict(few_careers)
    with pytest.raises(LaborLLMError, match="another list"):
        GradientBoosting().fit(split.part("train"), few_careers)


def test_a_folder_without_a_model(tmp_path: Path, split: Careers, two_stages: GradientBoosting) -> None:
    with pytest.raises(LaborLLMError, match=r"boosting\.json: cannot be read as boosting; run the study again"):
        GradientBoosting.load(tmp_path)
    two_stages.save(tmp_path)
    content = json.loads((tmp_path / "boosting.json").read_text())
    (tmp_path / "boosting.json").write_text(json.dumps(content | {"settings": {"leaves": 0}}))
    with pytest.raises(LaborLLMError, match="cannot be read as boosting"):
        GradientBoosting.load(tmp_path)


def test_broken_trees_are_refused(tmp_path: Path, two_stages: GradientBoosting) -> None:
    two_stages.save(tmp_path)
    trees = (tmp_path / "move.txt").read_text()
    (tmp_path / "move.txt").write_text(trees[: len(trees) // 2])
    with pytest.raises(LaborLLMError, match=r"move\.txt: is not the file that was saved with boosting\.json"):
        GradientBoosting.load(tmp_path)


def test_without_lightgbm_one_line(split: Careers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(LaborLLMError, match=r"install it with pip install 'laborllm\[boosting\]'"):
        fitted_on(split)
