"""Drawing whole careers: equal to brute force, to the matrix power, to the generator; alone in its luck."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.ensemble import Ensemble
from laborllm.models.next_row import last_rows, memory_of
from laborllm.models.no_change import NoChange
from laborllm.models.oracle import Oracle
from laborllm.models.paths import Paths, draw_paths, drawn_places, with_years
from laborllm.models.probabilities import Model, Probabilities
from laborllm.models.temperature import Tempered
from laborllm.survey.careers import KEYS, Careers, split_by_person
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate

SETTINGS = SimulatedSettings(people=300, occupations=12, seed=5)
UNTIL = 1988


class Plain:
    """A model without any of the faster ways."""

    description, facts = "plain", {}

    def __init__(self, model: Model) -> None:
        self.model = model

    def fit(self, train: Careers, validation: Careers) -> None:
        self.model.fit(train, validation)

    def predict(self, careers: Careers) -> Probabilities:
        return self.model.predict(careers)


@pytest.fixture(scope="module")
def careers() -> Careers:
    return split_by_person(simulate(SETTINGS), [0.6, 0.1, 0.3], np.random.default_rng(0))


def both_sides(careers: Careers, people: int) -> Careers:
    """The first people with a row up to the year and one after it."""
    kept = ((pl.col("year").min() <= UNTIL) & (pl.col("year").max() > UNTIL)).over("person")
    return replace(careers, table=careers.table.filter(kept), flow=()).first_people(people)


def later(careers: Careers) -> np.ndarray:
    return (careers.table["year"] > UNTIL).to_numpy()


def fitted(model: Any, careers: Careers) -> Any:
    model.fit(careers.part("train"), careers.part("validation"))
    return model


def brute_force(model: Model, careers: Careers, paths: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One path at a time, one row at a time, over whole careers: occupations drawn and mean probabilities."""
    drawn, table = later(careers), careers.table
    chosen, mean = np.zeros((drawn.sum(), paths), dtype=int), np.zeros((drawn.sum(), len(careers.occupations)))
    rows = np.flatnonzero(drawn)
    for path in range(paths):
        occupation = careers.occupation.copy()
        occupation[rows] = 0
        for place, row in enumerate(rows):
            # Everybody at once, but only the rows before this one count for it.
            codes = pl.Series(np.array(careers.occupations.codes)[occupation], dtype=table.schema["occupation"])
            answer = model.predict(replace(careers, table=table.with_columns(occupation=codes))).log_probabilities
            shares = np.exp(answer[row].astype(np.float64))
            mean[place] += shares / paths
            luck = luck_of(table["person"][int(row)], table["year"][int(row)], seed, paths)[path]
            occupation[row] = chosen[place, path] = np.searchsorted(
                np.cumsum(shares), luck * np.cumsum(shares)[-1], side="right"
            )
    return chosen, mean


def luck_of(person: Any, year: int, seed: int, paths: int) -> np.ndarray:
    key = int.from_bytes(hashlib.sha256(str(person).encode()).digest()[:8], "big")
    return np.random.default_rng(np.random.SeedSequence([seed, key, year])).random(paths)


@pytest.mark.parametrize("kind", ["first order", "second order", "by gender", "oracle"])
def test_equals_one_path_at_a_time(careers: Careers, kind: str) -> None:
    models = {
        "first order": TransitionFrequencies(),
        "second order": TransitionFrequencies(TransitionSettings(order=2)),
        "by gender": TransitionFrequencies(TransitionSettings(order=2, by=("gender", "education"))),
        "oracle": Oracle(SETTINGS),
    }
    model, some = fitted(models[kind], careers), both_sides(careers.part("test"), 4)
    found = draw_paths(model, some, later(some), paths=6, seed=3)
    chosen, mean = brute_force(model, some, 6, 3)
    np.testing.assert_array_equal(found.occupation, chosen)
    np.testing.assert_allclose(np.exp(found.log_probabilities), mean, rtol=1e-5, atol=1e-9)
    assert memory_of(model) == {"first order": 1, "second order": 2, "by gender": 2, "oracle": None}[kind]


@pytest.mark.parametrize("order", [1, 2])
def test_a_short_memory_changes_no_bit(careers: Careers, order: int) -> None:
    model = fitted(TransitionFrequencies(TransitionSettings(order=order, by=("ethnicity",))), careers)
    some = both_sides(careers.part("test"), 30)
    short, whole = (draw_paths(each, some, later(some), paths=40) for each in (model, Plain(model)))
    np.testing.assert_array_equal(short.occupation, whole.occupation)
    np.testing.assert_allclose(short.log_probabilities, whole.log_probabilities, atol=1e-5)


def test_equals_the_power_of_the_transition_matrix(careers: Careers) -> None:
    model, some = fitted(TransitionFrequencies(), careers), both_sides(careers.part("test"), 40)
    jobs = len(some.occupations)
    matrix = np.stack([last_rows(model, one_person(some, [origin, 0]))[0] for origin in range(jobs)])
    powers = [np.exp(matrix.astype(np.float64))]
    found = draw_paths(model, some, later(some), paths=1000, seed=2)
    step = np.arange(len(found.row)) - np.searchsorted(found.person, found.person)  # (drawn_rows,): rows drawn before
    while len(powers) <= step.max():
        powers.append(powers[-1] @ powers[0])
    exact = np.stack(powers)[step, some.occupation[found.row - step - 1]]  # (drawn_rows, occupations)
    first = step == 0
    one_step = model.predict(some).log_probabilities
    np.testing.assert_array_equal(found.log_probabilities[first], one_step[found.row[first]])
    assert (found.monte_carlo_error[first] == 0).all()
    away = (found.log_probabilities - np.log(exact))[~first] / found.monte_carlo_error[~first]
    likely = exact[~first] > 0.02  # where the log of a mean is about normal
    assert np.abs(away[likely]).max() < 5  # of some 2,000
    assert 0.9 < away[likely].std() < 1.1  # the stated error is the true one
    counts = np.stack([np.bincount(drawn, minlength=jobs) for drawn in found.occupation])
    chi = ((counts - 1000 * exact) ** 2 / (1000 * exact)).sum(axis=1)
    people = np.bincount(found.person, chi - (jobs - 1)) / np.sqrt(2 * (jobs - 1))
    people = people[np.bincount(found.person) > 0]
    assert abs(people.mean()) < 4 * people.std() / np.sqrt(len(people))


def one_person(like: Careers, occupation: list[int]) -> Careers:
    table = like.table.head(1).select(pl.all().repeat_by(len(occupation)).explode())
    codes = pl.Series([like.occupations.codes[place] for place in occupation], dtype=like.table.schema["occupation"])
    return Careers(table.with_columns(occupation=codes, year=1980 + pl.int_range(len(occupation))), like.occupations)


def test_luck_depends_on_nobody_else(careers: Careers, monkeypatch: pytest.MonkeyPatch) -> None:
    model, some = fitted(TransitionFrequencies(), careers), both_sides(careers.part("test"), 20)
    whole = draw_paths(model, some, later(some), paths=30, seed=9)
    again = draw_paths(model, some, later(some), paths=30, seed=9)
    np.testing.assert_array_equal(whole.occupation, again.occupation)
    np.testing.assert_array_equal(whole.log_probabilities, again.log_probabilities)
    monkeypatch.setattr("laborllm.models.paths.PATHS_AT_A_TIME", 70)
    monkeypatch.setattr("laborllm.models.paths.CELLS_AT_A_TIME", 200)
    pieces = draw_paths(model, some, later(some), paths=30, seed=9)
    np.testing.assert_array_equal(whole.occupation, pieces.occupation)
    np.testing.assert_array_equal(whole.log_probabilities, pieces.log_probabilities)
    people = some.table["person"].unique(maintain_order=True)
    reverse = pl.DataFrame({"person": people.reverse()}).join(some.table, on="person", maintain_order="left_right")
    turned = replace(some, table=reverse.select(some.table.columns).filter(pl.col("person") != people[3]))
    other = draw_paths(model, turned, later(turned), paths=12, seed=9)
    assert keyed(other, 12).items() <= keyed(whole, 12).items()
    assert draw_paths(model, some, later(some), paths=30, seed=10).occupation.tolist() != whole.occupation.tolist()


def keyed(paths: Paths, first: int) -> dict[tuple[Any, int], tuple[int, ...]]:
    rows = paths.careers.table[paths.row].select("person", "year").rows()
    return {key: tuple(drawn[:first].tolist()) for key, drawn in zip(rows, paths.occupation, strict=True)}


@pytest.mark.parametrize("name", ["transition", "oracle"])
def test_what_happened_later_is_not_read(careers: Careers, name: str) -> None:
    model = fitted({"transition": TransitionFrequencies(), "oracle": Oracle(SETTINGS)}[name], careers)
    some = both_sides(careers.part("test"), 15)
    before = draw_paths(model, some, later(some), paths=20)
    occupation = some.occupation.copy()
    occupation[later(some)] = np.random.default_rng(1).integers(len(some.occupations), size=later(some).sum())
    codes = pl.Series(np.array(some.occupations.codes)[occupation], dtype=some.table.schema["occupation"])
    changed = replace(some, table=some.table.with_columns(occupation=codes, wage=pl.lit(9.0)))
    after = draw_paths(model, changed, later(changed), paths=20)
    np.testing.assert_array_equal(before.occupation, after.occupation)
    np.testing.assert_array_equal(before.log_probabilities, after.log_probabilities)


def test_the_oracle_draws_the_population_anew() -> None:
    """Occupation shares, stays and spell lengths of 100,000 rows drawn from nothing are the generator's."""
    settings = SimulatedSettings(people=1500, occupations=10, seed=8)
    careers = simulate(settings)
    found = draw_paths(Oracle(settings), careers, np.ones(len(careers), dtype=bool), paths=6, seed=1)
    assert found.occupation.size > 100_000
    true = statistics(careers)
    drawn = np.mean([statistics(found.one(path)) for path in range(6)], axis=0)
    gap = true - drawn  # (statistics, people)
    scale = gap.std(axis=1) * np.sqrt(careers.people)
    away = gap.sum(axis=1) / scale
    assert np.abs(away).max() < 4
    assert 0.5 < away.std() < 1.6


def statistics(careers: Careers) -> np.ndarray:
    """Per person: rows in each occupation, stays, spells, spells of 1, 2, 3-5 and more rows; (statistics, people)."""
    person, jobs = careers.person_of_row, len(careers.occupations)
    held = np.zeros((careers.people, jobs))
    np.add.at(held, (person, careers.occupation), 1)
    begins = np.flatnonzero(careers.previous != careers.occupation)
    lengths = np.diff(np.append(begins, len(careers)))
    kinds = np.digitize(lengths, [2, 3, 6])
    spells = np.zeros((careers.people, 4))
    np.add.at(spells, (person[begins], kinds), 1)
    return np.concatenate([held, spells], axis=1).T


def test_draws_follow_the_distribution_and_skip_what_is_impossible() -> None:
    shares = np.array([0.0, 0.5, 0.0, 0.2, 0.3, 0.0])
    places = drawn_places(
        np.cumsum(shares)[None], np.zeros(100_000, dtype=int), np.random.default_rng(0).random(100_000)
    )
    counts = np.bincount(places, minlength=6)
    assert (counts[shares == 0] == 0).all()
    likely = shares > 0
    chi = ((counts - 100_000 * shares)[likely] ** 2 / (100_000 * shares[likely])).sum()
    assert chi < 13.8  # 1 in 1,000 at two degrees of freedom
    edge = np.array([np.nextafter(1.0, 0.0)])
    assert drawn_places(np.array([[0.5, 1.0000001, 1.0000001]]), np.zeros(1, dtype=int), edge)[0] == 1


def test_years_are_added_behind_the_last_row(careers: Careers) -> None:
    some = careers.first_people(5)
    person, last = some.table["person"][0], some.table.filter(pl.col("person") == some.table["person"][0])["year"].max()
    given = pl.DataFrame({"person": [person], "year": [last + 2], "education": ["graduate degree"]})
    longer, drawn = with_years(some, [last + 2, last + 1, last + 3], education=given)
    own = longer.table.filter(pl.col("person") == person)
    assert own["year"].to_list()[-3:] == [last + 1, last + 2, last + 3]
    before = some.table.filter(pl.col("person") == person)["education"][-1]
    assert own["education"].to_list()[-3:] == [before, "graduate degree", before]
    assert longer.table.filter(~pl.Series(drawn)).equals(some.table)
    with pytest.raises(LaborLLMError, match="stands twice"):
        with_years(some, [last + 2], education=pl.concat([given, given]))
    assert len(longer) == len(drawn) == len(some) + drawn.sum()
    model = fitted(TransitionFrequencies(), careers)
    paths = draw_paths(model, longer, drawn, paths=3)
    one = paths.one(2)
    assert one.table.select("person", "year").equals(longer.table.select("person", "year"))
    np.testing.assert_array_equal(one.occupation[drawn], paths.occupation[:, 2])
    np.testing.assert_array_equal(one.occupation[~drawn], longer.occupation[~drawn])
    assert paths.year.tolist() == longer.table["year"].to_numpy()[drawn].tolist()


def test_people_may_bear_names(careers: Careers) -> None:
    model, some = fitted(TransitionFrequencies(), careers), both_sides(careers.part("test"), 5)
    named = replace(some, table=some.table.with_columns(pl.col("person").cast(pl.String)))
    numbers, names = (draw_paths(model, each, later(each), paths=4) for each in (some, named))
    np.testing.assert_array_equal(numbers.occupation, names.occupation)


@pytest.mark.parametrize("change", ["nothing", "gap", "paths"])
def test_bad_input_is_said_in_one_line(careers: Careers, change: str) -> None:
    model, some = fitted(TransitionFrequencies(), careers), both_sides(careers.part("test"), 3)
    drawn, paths = later(some), 2
    if change == "nothing":
        drawn[:] = False
    if change == "gap":
        drawn[some.starts[1] - 1] = False
        drawn[some.starts[1] - 2] = True
    words = {"nothing": "marks no row of", "gap": "an observed row follows", "paths": "draw at least 1"}
    with pytest.raises(LaborLLMError, match=words[change]) as error:
        draw_paths(model, some, drawn, paths=0 if change == "paths" else paths)
    assert "\n" not in str(error.value)
    with pytest.raises(LaborLLMError, match="years 1900 to 1901: nobody"):
        with_years(some, [1900, 1901])


class Broken(Plain):
    """Gives the realised occupation alone, or no numbers."""

    whole = False

    def predict(self, careers: Careers) -> Probabilities:
        rows = careers.table.select(KEYS)
        if not self.whole:
            return Probabilities(rows, careers.occupations, realised_raw=np.zeros(len(careers)))
        nothing = np.full((len(careers), len(careers.occupations)), np.nan, dtype=np.float32)
        return Probabilities(rows, careers.occupations, log_probabilities=nothing)


def test_a_model_without_probabilities_is_refused(careers: Careers) -> None:
    some, model = both_sides(careers, 2), Broken(NoChange())
    with pytest.raises(LaborLLMError, match="realised occupation alone"):
        draw_paths(model, some, later(some), paths=2)
    model.whole = True
    with pytest.raises(LaborLLMError, match="no numbers"):
        draw_paths(model, some, later(some), paths=2)


def test_last_rows_are_those_of_predict(careers: Careers) -> None:
    """Models around models pass on memory and last rows."""
    first, second = TransitionFrequencies(), TransitionFrequencies(TransitionSettings(order=2))
    test = careers.part("test")
    for model, memory in (
        (Tempered(TransitionFrequencies(TransitionSettings(order=2))), 2),
        (Ensemble({"no change": NoChange(), "first": first, "second": second}), 2),
        (Ensemble({"first": first, "oracle": Oracle(SETTINGS)}), None),
        (Tempered(Oracle(SETTINGS)), None),
    ):
        require_same_last_rows(fitted(model, careers), test)
        assert memory_of(model) == memory


def require_same_last_rows(model: Any, careers: Careers, tolerance: float = 1e-6) -> None:
    whole = model.predict(careers).log_probabilities[careers.starts[1:] - 1]
    np.testing.assert_allclose(last_rows(model, careers), whole, atol=tolerance)
    assert hasattr(model, "predict_last")


@pytest.mark.parametrize("kind", ["career", "published", "bag_of_jobs", "lstm"])
def test_last_rows_of_networks(few_careers: Careers, kind: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from laborllm.models.networks.sequence_model import SequenceModel
    from laborllm.models.networks.sequence_settings import (
        BagOfJobsSettings,
        CareerSettings,
        LSTMSettings,
        SequenceTraining,
    )

    quick = SequenceTraining(updates=6, warmup=2, rows_per_batch=80, evaluations=2)
    settings = {
        "career": CareerSettings(training=quick),
        "published": CareerSettings(training=quick, published=True),
        "bag_of_jobs": BagOfJobsSettings(width=16, training=quick),
        "lstm": LSTMSettings(width=16, training=quick),
    }[kind]
    model = SequenceModel(settings, tmp_path / "model")
    model.fit(few_careers, few_careers)
    require_same_last_rows(model, few_careers, 1e-5)
    some = both_sides(few_careers, 12)
    quick, plain = (draw_paths(each, some, later(some), paths=25) for each in (model, Plain(model)))
    np.testing.assert_array_equal(quick.occupation, plain.occupation)
    np.testing.assert_allclose(quick.log_probabilities, plain.log_probabilities, atol=2e-5)
    everything = np.ones(len(some), dtype=bool)  # from nothing: the reader begins with first rows
    quick, plain = (draw_paths(each, some, everything, paths=5) for each in (model, Plain(model)))
    np.testing.assert_array_equal(quick.occupation, plain.occupation)
    np.testing.assert_allclose(quick.log_probabilities, plain.log_probabilities, atol=2e-5)


@pytest.mark.parametrize("rows", [None, 3])
def test_last_rows_of_language_models(few_careers: Careers, rows: int | None, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from laborllm.models.language.embedding_logit import EmbeddingLogit
    from laborllm.models.language.embedding_settings import EmbeddingLogitSettings
    from laborllm.models.language.language_model import LanguageModel
    from laborllm.models.language.language_model_settings import LanguageModelSettings
    from laborllm.text.resume import ResumeSettings
    from tests.models.language.checkpoints import write_checkpoint

    careers = split_by_person(few_careers, (0.6, 0.2, 0.2), np.random.default_rng(1))
    checkpoint, text = write_checkpoint(few_careers, tmp_path / "checkpoint", 300), ResumeSettings(last_rows=rows)
    given: dict[str, Any] = {"kind": "language_model", "checkpoint": checkpoint, "text": text}
    plain = LanguageModel(LanguageModelSettings(**given, use="off_the_shelf"), tmp_path / "plain")
    shown = LanguageModel(
        LanguageModelSettings(**given, use="in_context", examples={"count": 1, "choose": "overlap"}), tmp_path / "shown"
    )
    logit = EmbeddingLogit(EmbeddingLogitSettings(checkpoint=checkpoint, text=text, l2=(1.0,)), tmp_path / "logit")
    for model in (plain, shown, logit):
        fitted(model, careers)
        require_same_last_rows(model, careers.part("test"), 1e-4)
        before = sorted(tmp_path.rglob("*"))
        last_rows(model, careers.part("test"))
        assert sorted(tmp_path.rglob("*")) == before  # nothing is left behind
    some = both_sides(careers.part("test"), 2)
    for model in (plain, shown, logit):
        found = draw_paths(model, some, later(some), paths=3)
        first = np.flatnonzero(np.diff(found.person, prepend=-1))
        whole = model.predict(some).log_probabilities[found.row[first]]
        np.testing.assert_allclose(found.log_probabilities[first], whole, atol=1e-4)
    realised = LanguageModel(
        LanguageModelSettings(**given, use="off_the_shelf", probabilities="realised"), tmp_path / "realised"
    )
    with pytest.raises(LaborLLMError, match="realised occupation alone"):
        last_rows(fitted(realised, careers), careers.part("test"))
