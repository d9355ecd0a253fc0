"""The most probable titles and titles drawn at random, found by walking the tree, equal what the full result says."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")

from laborllm.models.probabilities import normalise
from laborllm.models.scoring.llama import LlamaForward
from laborllm.models.scoring.scorer import Pack, Scorer
from laborllm.models.scoring.walks import TopTitles, sample_titles, top_titles, walk
from laborllm.text.titles import TitleTree, TokenizedResume
from tests.models.scoring.brute_force import (
    LINE_END,
    VOCABULARY,
    Case,
    random_case,
    random_list,
    random_model,
    wide_llama,
    with_head_bias,
)

DRAWS = 500
ROUTES = ["llama", "mistral-window-80", "gpt2", "gemma3"]


@pytest.fixture
def case(rng: np.random.Generator) -> Case:
    return random_case(rng, random_list(rng, 25, letters=5), [[1, 3], [90, 4], [30]])


def likely(model: Any, sequences: Sequence[tuple[int, ...]], lead: float) -> Any:
    """The same model with a lead, in nats, for the tokens of which titles consist."""
    bias = np.zeros(model.config.vocab_size)
    bias[np.unique(np.concatenate([np.array(sequence) for sequence in sequences]))] = lead
    return with_head_bias(model, bias.tolist())


def certified(top: TopTitles, full: np.ndarray) -> None:
    """Exact titles and raw scores, and a normalised score that is too high by no more than the bound."""
    most = top.title.shape[1]
    order = np.argsort(-full, axis=1, kind="stable")[:, :most]
    best = np.take_along_axis(full, order, axis=1)
    assert np.allclose(top.raw, best, rtol=0, atol=2e-5)
    assert np.allclose(np.take_along_axis(full, top.title, axis=1), best, rtol=0, atol=2e-5)
    assert all(len(set(titles)) == most for titles in top.title.tolist())
    exact, log_mass = normalise(full)
    above = top.log_probabilities - np.take_along_axis(exact.astype(float), top.title, axis=1)
    assert above.min() >= -5e-5
    assert (above.max(axis=1) <= top.error + 5e-5).all()
    assert (np.exp(log_mass) <= (np.exp(top.log_mass) + np.exp(top.log_unseen)) * (1 + 1e-4)).all()
    assert (top.log_mass <= log_mass + 5e-5).all()


@pytest.mark.parametrize("family", ROUTES)
@pytest.mark.parametrize("lead", [0.0, 8.0])
def test_top_titles_are_those_of_the_full_result(family: str, lead: float, case: Case) -> None:
    scorer = Scorer(likely(random_model(family), case.sequences, lead))
    full = scorer.titles(case.resumes, case.tree, rows=case.rows)
    for most in (1, 3, 25, 40):
        top = top_titles(scorer, case.resumes, case.tree, rows=case.rows, most=most)
        assert top.title.shape == top.raw.shape == (case.rows, min(most, 25))
        certified(top, full)
        assert ((top.nodes >= 0) & (top.nodes <= len(case.tree.inner))).all()
    assert np.isneginf(top.log_unseen).all()
    assert (top.error == 0).all()


@pytest.mark.parametrize("tolerance", [0.5, 1e-3, 0.0])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_tolerance_is_kept(family: str, tolerance: float, case: Case) -> None:
    scorer = Scorer(likely(random_model(family), case.sequences, 4.0))
    full = scorer.titles(case.resumes, case.tree, rows=case.rows)
    free = top_titles(scorer, case.resumes, case.tree, rows=case.rows, most=2)
    top = top_titles(scorer, case.resumes, case.tree, rows=case.rows, most=2, tolerance=tolerance)
    certified(top, full)
    assert top.error.max() <= tolerance + 1e-12
    assert (top.nodes >= free.nodes).all()
    assert np.array_equal(top.title, free.title)


def test_a_peaked_model_feeds_few_nodes(rng: np.random.Generator) -> None:
    sequences = random_list(rng, 130, longest=6, letters=40, vocabulary=1000)
    case = random_case(rng, sequences, [[30, 4, 4], [60]], vocabulary=1000)
    model = wide_llama(vocabulary=1000, width=32)
    model.lm_head.weight.data *= 4
    scorer = Scorer(likely(model, sequences, 25.0))
    full = scorer.titles(case.resumes, case.tree, rows=case.rows)
    top = top_titles(scorer, case.resumes, case.tree, rows=case.rows, most=3)
    certified(top, full)
    assert top.nodes.max() < len(case.tree.inner) / 2
    assert (top.nodes > 0).all()


def test_top_titles_do_not_depend_on_who_is_walked_together(case: Case) -> None:
    scorer = Scorer(likely(random_model("llama"), case.sequences, 4.0))
    together = top_titles(scorer, case.resumes, case.tree, rows=case.rows, most=3)
    for resume in case.resumes:
        alone = top_titles(scorer, [resume], case.tree, rows=case.rows, most=3)
        for name in ("title", "nodes"):
            assert np.array_equal(getattr(alone, name)[resume.rows], getattr(together, name)[resume.rows])
        assert np.allclose(alone.raw[resume.rows], together.raw[resume.rows], rtol=0, atol=2e-5)


UNTHINKABLE = [-400.0, -800.0]
"""What every title loses with its line end, nats; exp(-800) is no double."""


@pytest.mark.parametrize("bias", UNTHINKABLE)
def test_top_titles_of_a_list_with_tiny_mass(bias: float, case: Case) -> None:
    scorer = Scorer(with_tiny_mass("llama", bias))
    full = scorer.titles(case.resumes, case.tree, rows=case.rows)
    top = top_titles(scorer, case.resumes, case.tree, rows=case.rows, most=3)
    assert np.allclose(top.raw, -np.sort(-full, axis=1)[:, :3], rtol=1e-6, atol=2e-5)
    assert np.isfinite(top.error).all()
    assert np.isfinite(top.log_mass).all()


def with_tiny_mass(family: str, bias: float) -> Any:
    """A model that hardly ever ends a line."""
    biases = np.zeros(VOCABULARY)
    biases[LINE_END] = bias
    return with_head_bias(random_model(family), biases.tolist())


# Draws.


def repeated(case: Case, times: int) -> list[TokenizedResume]:
    """The first line of the last career, many times, as if the career had that many rows."""
    cut = int(case.resumes[-1].cuts[0])
    cuts = np.full(times, cut)
    return [TokenizedResume(case.resumes[-1].tokens[:cut], range(times), cuts, cuts)]


def level(model: Any) -> Any:
    """The same model, less sure of everything, so that draws differ."""
    model.lm_head.weight.data *= 0.3
    return model


@pytest.fixture
def nine(rng: np.random.Generator) -> Case:
    """One prefix, and nine titles of three tokens."""
    return random_case(rng, tuple((a, b, LINE_END) for a in (5, 40, 77) for b in (8, 40, 66)), [[12]])


def generators(seed: int, rows: int) -> list[np.random.Generator]:
    return [np.random.default_rng((seed, row)) for row in range(rows)]


def fits(drawn: np.ndarray, raw: np.ndarray) -> float:
    """p-value of the draws under the exact distribution; titles that are hardly expected are counted together."""
    probability = np.exp(raw - np.logaddexp.reduce(raw))
    expected = probability * len(drawn)
    counted = np.bincount(drawn, minlength=len(raw)).astype(float)
    rare = expected < 8
    if rare.any():
        expected = np.append(expected[~rare], expected[rare].sum())
        counted = np.append(counted[~rare], counted[rare].sum())
    if expected[-1] < 1:
        assert counted[-1] <= 6
        expected, counted = expected[:-1] / expected[:-1].sum() * counted[:-1].sum(), counted[:-1]
    assert len(expected) > 2  # else the test says nothing
    return float(stats.chisquare(counted, expected / expected.sum() * counted.sum()).pvalue)


def follows(scorer: Scorer, case: Case, seed: int, draws: int = DRAWS) -> None:
    """Draws of one line agree with its exact distribution."""
    raw = scorer.titles(case.resumes, case.tree, rows=1)[0].astype(float)
    drawn = sample_titles(scorer, repeated(case, draws), case.tree, generators(seed, draws))
    assert fits(drawn, raw) > 1e-3


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("lead", [0.0, 6.0])
def test_draws_follow_the_exact_distribution(family: str, lead: float, nine: Case) -> None:
    follows(Scorer(likely(level(random_model(family)), nine.sequences, lead)), nine, seed=1)


@pytest.mark.slow
def test_a_hundred_thousand_draws_follow_the_exact_distribution(nine: Case) -> None:
    follows(Scorer(likely(level(random_model("llama")), nine.sequences, 6.0)), nine, seed=1, draws=100_000)


def test_draws_from_titles_of_many_lengths_follow_the_exact_distribution(rng: np.random.Generator) -> None:
    case = random_case(rng, random_list(rng, 9), [[12]])
    follows(Scorer(likely(level(random_model("llama")), case.sequences, 6.0)), case, seed=4)


@pytest.mark.parametrize("bias", UNTHINKABLE)
def test_draws_follow_the_exact_distribution_where_the_mass_is_tiny(bias: float, nine: Case) -> None:
    scorer = Scorer(level(with_tiny_mass("llama", bias)))
    assert scorer.titles(nine.resumes, nine.tree, rows=1).max() < bias
    follows(scorer, nine, seed=2)


def test_draws_follow_the_exact_distribution_under_a_prompt(nine: Case, rng: np.random.Generator) -> None:
    prompt = rng.integers(2, VOCABULARY, size=30)
    follows(Scorer(level(random_model("smollm3")), prompt=prompt), nine, seed=3)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_draw_depends_on_its_own_generator_alone(family: str, case: Case) -> None:
    scorer = Scorer(likely(random_model(family), case.sequences, 2.0))
    for seed in range(4):
        together = sample_titles(scorer, case.resumes, case.tree, generators(seed, case.rows))
        for rows in (64, 8192):
            scorer.rows = rows
            backwards = sample_titles(scorer, case.resumes[::-1], case.tree, generators(seed, case.rows))
            assert np.array_equal(backwards, together)
        for resume in case.resumes:
            alone = sample_titles(scorer, [resume], case.tree, generators(seed, case.rows))
            assert np.array_equal(alone[resume.rows], together[resume.rows])


@torch.inference_mode()
def test_walks_behind_one_line_are_independent_of_one_another(nine: Case) -> None:
    """Walks that share what is fed: each fits the exact distribution, and each pair that of two draws apart."""
    scorer = Scorer(likely(level(random_model("llama")), nine.sequences, 1.0))  # less sure: walks often begin again
    raw = scorer.titles(nine.resumes, nine.tree, rows=1)[0].astype(float)
    times, each = 1500, 3
    lines = scorer.lines(Pack.of(repeated(nine, times)), nine.tree)
    drawn = walk(lines, np.repeat(np.arange(times), each), generators(6, times * each)).reshape(times, each)
    pairs = (raw[:, None] + raw).ravel()
    for one, two in ((0, 1), (1, 2), (0, 2)):
        assert fits(drawn[:, one], raw) > 1e-3
        assert fits(drawn[:, one] * len(raw) + drawn[:, two], pairs) > 1e-3


@torch.inference_mode()
def test_many_walks_behind_few_lines_follow_each_lines_distribution(rng: np.random.Generator) -> None:
    case = random_case(rng, random_list(rng, 30), [[12, 9], [4]])
    scorer = Scorer(likely(level(random_model("llama")), case.sequences, 3.0))
    raw = scorer.titles(case.resumes, case.tree, rows=3).astype(float)
    line = np.repeat(np.arange(3), 2000)
    drawn = walk(scorer.lines(Pack.of(case.resumes), case.tree), line, generators(5, len(line)))
    for place in range(3):
        assert fits(drawn[line == place], raw[place]) > 1e-3


def test_other_generators_draw_other_titles(nine: Case) -> None:
    scorer = Scorer(level(random_model("llama")))
    drawn = [sample_titles(scorer, repeated(nine, 100), nine.tree, generators(seed, 100)) for seed in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_draws_stay_where_memory_fails_once(nine: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is done again draws again what it drew the first time."""
    scorer = Scorer(level(random_model("llama")))
    rows = 100
    expected = sample_titles(scorer, repeated(nine, rows), nine.tree, generators(1, rows))
    run, calls = LlamaForward.run, []

    def fails_on_the_third_call(self: LlamaForward, *given: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(self, *given)

    monkeypatch.setattr(LlamaForward, "run", fails_on_the_third_call)
    again = sample_titles(scorer, repeated(nine, rows), nine.tree, generators(1, rows))
    assert len(calls) > 3
    assert np.array_equal(again, expected)


def test_a_list_of_one_title_is_always_drawn(rng: np.random.Generator) -> None:
    scorer = Scorer(random_model("llama"))
    for sequence in ((5, 6, LINE_END), (5,)):
        case = random_case(rng, (sequence,), [[3, 4]])
        assert sample_titles(scorer, case.resumes, TitleTree.of((sequence,)), generators(1, 2)).tolist() == [0, 0]
