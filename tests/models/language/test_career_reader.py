"""Careers drawn with keys and values kept come from the probabilities that the model gives for whole careers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")

from laborllm.models.language import career_reader
from laborllm.models.language.language_model import LanguageModel
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.next_row import DrawsOn
from laborllm.models.path_draws import draw_occupations
from laborllm.models.probabilities import normalise
from laborllm.models.scoring.scorer import Lines
from laborllm.models.scoring.walks import walk
from laborllm.survey.careers import Careers


def fitted(careers: Careers, folder: Path, **changed: Any) -> LanguageModel:
    given = {"kind": "language_model", "scratch": "tiny", "vocabulary": 300, "training": {"epochs": 1}, **changed}
    model = LanguageModel(LanguageModelSettings.model_validate(given), folder)
    model.fit(careers, careers)
    return model


def later(careers: Careers, observed: int = 1) -> np.ndarray:
    """Whether a row is drawn: all but the first so many of each person."""
    return np.concatenate([np.arange(rows) >= observed for rows in np.diff(careers.starts)])


def anew(model: LanguageModel, careers: Careers, drawn: np.ndarray, *, paths: int, seed: int) -> np.ndarray:
    """The same draws by a model that keeps nothing."""

    class Forgetful:
        description, facts = "forgets", {}
        fit, predict, draw_last = model.fit, model.predict, model.draw_last

    assert not isinstance(Forgetful(), DrawsOn)
    return draw_occupations(Forgetful(), careers, drawn, paths=paths, seed=seed)  # type: ignore[arg-type]


@pytest.mark.parametrize(("vocabulary", "observed"), [(300, 1), (300, 3), (8192, 1)])
def test_probabilities_behind_what_was_drawn_are_those_of_the_whole_career(
    vocabulary: int, observed: int, few_careers: Careers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted(few_careers, tmp_path, vocabulary=vocabulary)
    some = few_careers.first_people(12)
    drawn = later(some, observed)
    found: list[np.ndarray] = []

    def seen(lines: Lines, line: np.ndarray, generators: Sequence[np.random.Generator]) -> np.ndarray:
        edges, inner = lines.roots(), len(lines.tree.inner)
        lines.feed(np.repeat(np.arange(lines.count), inner), np.tile(np.arange(inner), lines.count), edges)
        found.append(normalise(lines.tree.title_log_probabilities(edges))[0])
        return walk(lines, line, generators)

    monkeypatch.setattr(career_reader, "walk", seen)
    paths = draw_occupations(model, some, drawn, paths=1, seed=5)[:, 0]
    whole = career_reader.with_titles(some, np.minimum(observed, np.diff(some.starts)), paths)
    expected = model.predict(whole).log_probabilities
    assert expected is not None
    lengths = np.diff(some.starts)
    people = np.argsort(-lengths, kind="stable")  # as they are drawn: whoever ends first stands last
    for step, each in enumerate(found):
        rows = [int(some.starts[one]) + observed + step for one in people.tolist() if lengths[one] > observed + step]
        assert np.allclose(each, expected[rows], rtol=0, atol=2e-5)
    assert len(found) == lengths.max() - observed


def test_whole_paths_follow_the_exact_distribution(few_careers: Careers, tmp_path: Path) -> None:
    """Two rows drawn behind one: pairs of occupations, by a chi-square against the products of probabilities."""
    model = fitted(few_careers, tmp_path)
    person = int(np.flatnonzero(np.diff(few_careers.starts) >= 3)[0])
    rows = slice(int(few_careers.starts[person]), int(few_careers.starts[person]) + 3)
    one = Careers(few_careers.table[rows], few_careers.occupations)
    n, paths = len(one.occupations), 20_000
    found = draw_occupations(model, one, later(one), paths=paths, seed=1).astype(int)
    exact = np.empty((n, n))
    for first in range(n):
        shares = np.exp(
            model.predict(career_reader.with_titles(one, np.array([1]), np.array([first, 0]))).log_probabilities
        )
        exact[first] = shares[1, first] * shares[2]
    counted = np.bincount(found[0] * n + found[1], minlength=n * n)
    kept = exact.ravel() * paths > 5
    assert kept.sum() > 10
    expected = exact.ravel()[kept] / exact.ravel()[kept].sum() * counted[kept].sum()
    assert stats.chisquare(counted[kept], expected).pvalue > 1e-4
    assert abs(counted[~kept].sum() - exact.ravel()[~kept].sum() * paths) < 30


def test_a_person_is_drawn_alike_whoever_is_drawn_beside(
    few_careers: Careers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted(few_careers, tmp_path)
    drawn = later(few_careers)
    whole = draw_occupations(model, few_careers, drawn, paths=6, seed=3)
    some = few_careers.first_people(9)
    alone = draw_occupations(model, some, drawn[: len(some)], paths=6, seed=3)
    assert np.array_equal(alone, whole[: len(alone)])
    monkeypatch.setattr("laborllm.models.path_draws.PATHS_AT_A_TIME", 13)
    assert np.array_equal(draw_occupations(model, few_careers, drawn, paths=6, seed=3), whole)
    assert not np.array_equal(draw_occupations(model, few_careers, drawn, paths=6, seed=4), whole)


def several(careers: Careers, people: int = 40) -> Careers:
    """The first people with more than one row."""
    rows = np.repeat(np.diff(careers.starts) > 1, np.diff(careers.starts))
    return Careers(careers.table.filter(rows), careers.occupations).first_people(people)


def together(model: LanguageModel, careers: Careers, paths: int = 10) -> int | None:
    drawer = model.drawer(careers, np.ones(careers.people, dtype=np.int64), paths=paths)
    return None if drawer is None else drawer.together


def test_what_cannot_be_read_on_is_encoded_anew(
    few_careers: Careers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts with windows, shuffled covariates, too little memory, a context too short: draws are those of before."""
    model = fitted(few_careers, tmp_path)
    some = several(few_careers, 4)
    drawn = later(some)
    expected = anew(model, some, drawn, paths=5, seed=2)
    assert together(model, some)
    for text in ({"last_rows": 2}, {"permute": ("gender",)}):
        other = LanguageModel(
            model.settings.model_copy(update={"text": model.settings.text.model_copy(update=text)}), tmp_path
        )
        other.model, other.tokenizer, other.resumes = model.model, model.tokenizer, model.resumes
        assert together(other, some) is None
    with monkeypatch.context() as patched:
        patched.setattr(career_reader, "free_memory", lambda device: 1000)
        assert together(model, some) == 0
        assert np.array_equal(draw_occupations(model, some, drawn, paths=5, seed=2), expected)
    longest = max(int(resume.cuts[-1]) for resume in model._behind_prompts(some))
    with monkeypatch.context() as patched:
        patched.setattr(model.model.config, "max_position_embeddings", longest + 2)
        assert together(model, some) is None
        draw_occupations(model, some, drawn, paths=5, seed=2)


def test_memory_decides_how_many_people_are_drawn_at_once(
    few_careers: Careers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted(few_careers, tmp_path)
    monkeypatch.setattr(career_reader, "free_memory", lambda device: 2**26)
    few, many = (together(model, several(few_careers), paths=paths) for paths in (10, 1))
    assert few is not None
    assert many is not None
    assert 1 < few < many
    whole = draw_occupations(model, few_careers, later(few_careers), paths=10, seed=3)
    monkeypatch.setattr(career_reader, "free_memory", lambda device: 2**34)
    assert np.array_equal(draw_occupations(model, few_careers, later(few_careers), paths=10, seed=3), whole)


def test_lines_that_depend_on_the_title_before_are_noticed(few_careers: Careers, tmp_path: Path) -> None:
    model = fitted(few_careers, tmp_path)
    observed, sequences = np.ones(3, dtype=np.int64), model.resumes.sequences
    some = several(few_careers, 3)
    assert len(career_reader.careers_ahead(some, observed, sequences, model._behind_prompts)) == 3

    def depends(careers: Careers) -> list[Any]:
        found = model._behind_prompts(careers)
        if (careers.occupation[1:3] != longest).any():
            found[0].tokens[int(found[0].ends[0])] += 1  # the token behind the first title
        return found

    longest = int(np.argmax([len(sequence) for sequence in sequences]))
    assert career_reader.careers_ahead(some, observed, sequences, depends) == []
