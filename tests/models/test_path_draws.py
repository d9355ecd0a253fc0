"""Draws without probabilities: those of ``draw_paths``, or by walks those of the very same distribution."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from laborllm.models.baselines import TransitionFrequencies
from laborllm.models.next_row import DrawsLast
from laborllm.models.path_draws import draw_occupations
from laborllm.models.paths import draw_paths, drawn_places
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers


class Walks:
    """Frequencies that are drawn one by one."""

    description, facts = "walks", {}

    def __init__(self, careers: Careers) -> None:
        self.model = TransitionFrequencies()
        self.model.fit(careers, careers)
        self.asked: list[tuple[Careers, np.ndarray]] = []

    def fit(self, train: Careers, validation: Careers) -> None: ...

    def predict(self, careers: Careers) -> Probabilities:
        return self.model.predict(careers)

    def draw_last(self, careers: Careers, history: np.ndarray, generators: Sequence[np.random.Generator]) -> np.ndarray:
        self.asked.append((careers, history))
        shares = np.exp(self.predict(careers).log_probabilities[careers.starts[1:] - 1].astype(float))
        return drawn_places(np.cumsum(shares, axis=1), history, np.array([each.random() for each in generators]))


def later(careers: Careers) -> np.ndarray:
    drawn = np.ones(len(careers), dtype=bool)
    drawn[careers.starts[:-1]] = False
    return drawn


def test_draws_are_those_of_draw_paths(few_careers: Careers, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TransitionFrequencies()
    model.fit(few_careers, few_careers)
    expected = draw_paths(model, few_careers, later(few_careers), paths=7, seed=3).occupation
    monkeypatch.setattr("laborllm.models.path_draws.PEOPLE_AT_A_TIME", 40)
    assert np.array_equal(draw_occupations(model, few_careers, later(few_careers), paths=7, seed=3), expected)


def test_a_model_that_draws_is_asked_for_distinct_histories(few_careers: Careers) -> None:
    model = Walks(few_careers)
    assert isinstance(model, DrawsLast)
    found = draw_occupations(model, few_careers, later(few_careers), paths=50, seed=3)
    assert found.shape == (later(few_careers).sum(), 50)
    for careers, history in model.asked:
        assert (np.diff(history) >= 0).all()
        assert set(history.tolist()) == set(range(careers.people))
        codes = careers.occupation.copy()
        codes[careers.starts[1:] - 1] = -1
        columns = careers.table.select("year", "gender", "birth_year").rows()
        whole = [
            (tuple(columns[a:b]), tuple(codes[a:b].tolist()))
            for a, b in zip(careers.starts[:-1], careers.starts[1:], strict=True)
        ]
        assert len(whole) == len({*whole}) or careers.people < 41  # people may be alike, a person's histories not
    first, _ = model.asked[0]
    assert first.people == (np.diff(few_careers.starts) > 1).sum()  # all paths of a person share the first


def test_draws_depend_on_seed_person_year_and_path_alone(few_careers: Careers, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = later(few_careers)
    whole = draw_occupations(Walks(few_careers), few_careers, drawn, paths=6, seed=3)
    fewer = draw_occupations(Walks(few_careers), few_careers, drawn, paths=4, seed=3)
    assert np.array_equal(whole[:, :4], fewer)
    monkeypatch.setattr("laborllm.models.path_draws.PATHS_AT_A_TIME", 11)
    monkeypatch.setattr("laborllm.models.path_draws.CELLS_AT_A_TIME", 40)
    assert np.array_equal(draw_occupations(Walks(few_careers), few_careers, drawn, paths=6, seed=3), whole)
    some = few_careers.first_people(9)
    alone = draw_occupations(Walks(few_careers), some, drawn[: len(some)], paths=6, seed=3)
    assert np.array_equal(alone, whole[: len(alone)])
    assert not np.array_equal(draw_occupations(Walks(few_careers), few_careers, drawn, paths=6, seed=4), whole)


def test_both_ways_draw_from_one_distribution(few_careers: Careers) -> None:
    """Shares of all drawn rows over 4,000 paths agree, row by row, by a chi-square."""
    some, drawn = few_careers.first_people(6), later(few_careers.first_people(6))
    walked = draw_occupations(Walks(few_careers), some, drawn, paths=4000, seed=1)
    listed = draw_occupations(Walks(few_careers).model, some, drawn, paths=4000, seed=2)
    n = len(few_careers.occupations)
    for one, two in zip(walked, listed, strict=True):
        table = np.array([np.bincount(one, minlength=n), np.bincount(two, minlength=n)])
        table = table[:, table.sum(axis=0) > 10]
        if table.shape[1] > 1:
            assert stats.chi2_contingency(table).pvalue > 1e-5


@pytest.mark.parametrize(("vocabulary", "walk", "draws"), [(300, 0, 3_000), (300, 100, 20_000), (8192, 100, 20_000)])
def test_a_language_model_draws_from_its_own_probabilities(
    vocabulary: int, walk: int, draws: int, few_careers: Careers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By walks alone, over the whole list, and where every title is one token: all fit the exact distribution."""
    pytest.importorskip("torch")
    from laborllm.models.language.language_model import LanguageModel
    from laborllm.models.language.language_model_settings import LanguageModelSettings

    settings = LanguageModelSettings.model_validate(
        {"kind": "language_model", "scratch": "tiny", "vocabulary": vocabulary, "training": {"epochs": 1}}
    )
    model = LanguageModel(settings, tmp_path)
    model.fit(few_careers, few_careers)
    assert isinstance(model, DrawsLast)
    some = few_careers.first_people(3)
    exact = np.exp(model.predict_last(some).astype(float))
    monkeypatch.setattr("laborllm.models.language.title_draws.WALK", walk)
    drawn = model.draw_last(
        some, np.repeat([0, 1, 2], draws), [np.random.default_rng([7, n]) for n in range(3 * draws)]
    )
    for person in range(3):
        counted = np.bincount(drawn[person * draws : (person + 1) * draws], minlength=exact.shape[1])
        assert stats.chisquare(counted, exact[person] / exact[person].sum() * draws).pvalue > 1e-4
