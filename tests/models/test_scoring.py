"""Exact scoring: equal to scoring every title by itself, whatever the batch, the order and the padding."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from laborllm.models import scoring
from laborllm.models.probabilities import normalise
from laborllm.models.scoring import score_realised, score_titles
from laborllm.models.scratch import tiny_llama, train_tokenizer
from laborllm.survey.careers import Careers
from laborllm.text.resume import ResumeSettings, write_resumes
from laborllm.text.titles import ResumeTokenizer, TitleTree, TokenizedResume

PEOPLE = 5
TOLERANCE = 1e-4


@torch.inference_mode()
def brute_force(model: Any, resumes: ResumeTokenizer, tokenized: Sequence[TokenizedResume], rows: int) -> np.ndarray:
    """Every title by itself, batch size 1, no cache; shape (rows, occupations)."""
    answer = np.full((rows, len(resumes.titles)), np.nan)
    for resume in tokenized:
        for line in range(resume.first_scored, len(resume.rows)):
            cut = int(resume.cuts[line])
            for place, sequence in enumerate(resumes.sequences):
                text = torch.tensor([[*resume.tokens[:cut].tolist(), *sequence]])
                steps = model(text, logits_to_keep=len(sequence) + 1).logits.double().log_softmax(-1)[0]
                nats = [steps[nth, token].item() for nth, token in enumerate(sequence)]
                answer[resume.rows[line], place] = sum(nats)
    return answer


SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def llama(vocabulary: int) -> Any:
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, num_key_value_heads=2, **SMALL))


def gpt2(vocabulary: int) -> Any:
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=2))


def gpt_neox(vocabulary: int) -> Any:
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=vocabulary, **SMALL))


def mistral_with_short_window(vocabulary: int) -> Any:
    return MistralForCausalLM(MistralConfig(vocab_size=vocabulary, num_key_value_heads=2, sliding_window=16, **SMALL))


def prepared(tokenizer: Any, careers: Careers, **text: Any) -> tuple[ResumeTokenizer, list[TokenizedResume]]:
    resumes = ResumeTokenizer(tokenizer, careers.occupations.titles)
    return resumes, resumes.encode(write_resumes(careers, ResumeSettings(**text)))


def agree(model: Any, resumes: ResumeTokenizer, tokenized: list[TokenizedResume], careers: Careers) -> None:
    expected = brute_force(model, resumes, tokenized, len(careers))
    tree = TitleTree.of(resumes.sequences)
    full = score_titles(model, tokenized, tree, rows=len(careers))
    assert np.abs(full - expected).max() <= TOLERANCE
    realised = score_realised(model, tokenized, rows=len(careers))
    assert np.abs(realised - expected[np.arange(len(careers)), careers.occupation]).max() <= TOLERANCE
    _, log_mass = normalise(full)
    assert log_mass.max() <= 1e-6


@pytest.mark.real_data
@pytest.mark.parametrize("family", ["gpt2", "gpt-neox"])
@pytest.mark.parametrize("make", [llama, gpt2, gpt_neox, mistral_with_short_window])
def test_equals_brute_force_under_real_tokenizers(
    real_data: Path, few_careers: Careers, family: str, make: Callable[[int], Any]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(real_data / "tokenizers" / family)
    torch.manual_seed(0)
    model = make(len(tokenizer)).eval()
    careers = few_careers.first_people(1)
    resumes, tokenized = prepared(tokenizer, careers)
    agree(model, resumes, tokenized, careers)


@pytest.mark.real_data
def test_equals_brute_force_with_a_real_checkpoint(real_data: Path, few_careers: Careers) -> None:
    folder = real_data / "models" / "stories260K"
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    careers = few_careers.first_people(3)
    resumes, tokenized = prepared(AutoTokenizer.from_pretrained(folder), careers)
    agree(model, resumes, tokenized, careers)


@pytest.fixture(scope="module")
def own(few_careers: Careers) -> tuple[Any, ResumeTokenizer]:
    """Our tokenizer and a small model; titles that it never saw are many tokens long."""
    written = write_resumes(few_careers, ResumeSettings())
    tokenizer = train_tokenizer([resume.text for resume in written], few_careers.occupations.titles[:2], 8192)
    for_titles = ResumeTokenizer(tokenizer, few_careers.occupations.titles)
    return tiny_llama(tokenizer, seed=1).eval(), for_titles


@pytest.fixture(scope="module")
def sub_words(few_careers: Careers) -> tuple[Any, ResumeTokenizer]:
    """A small vocabulary: titles share beginnings and have many tokens."""
    written = write_resumes(few_careers, ResumeSettings())
    tokenizer = train_tokenizer([resume.text for resume in written], few_careers.occupations.titles, 280)
    return tiny_llama(tokenizer, seed=1).eval(), ResumeTokenizer(tokenizer, few_careers.occupations.titles)


@pytest.mark.parametrize("last_rows", [None, 2])
def test_equals_brute_force_with_our_own_tokenizers(
    request: pytest.FixtureRequest, few_careers: Careers, last_rows: int | None
) -> None:
    for fixture, people in (("own", PEOPLE), ("sub_words", 2)):
        model, resumes = request.getfixturevalue(fixture)
        careers = few_careers.first_people(people)
        tokenized = resumes.encode(write_resumes(careers, ResumeSettings(last_rows=last_rows)))
        agree(model, resumes, tokenized, careers)


def test_does_not_depend_on_batches_chunks_order_or_padding(
    sub_words: tuple[Any, ResumeTokenizer], few_careers: Careers, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, resumes = sub_words
    careers = few_careers.first_people(PEOPLE)
    tokenized = resumes.encode(write_resumes(careers, ResumeSettings()))
    tree = TitleTree.of(resumes.sequences)
    expected = score_titles(model, tokenized, tree, rows=len(careers))
    for tokens, nodes in ((1, 8), (3000, 64), (10**6, 10**4)):
        monkeypatch.setattr(scoring, "TOKENS_PER_BATCH", tokens)
        monkeypatch.setattr(scoring, "NODES_PER_CHUNK", nodes)
        for order in (tokenized, tokenized[::-1]):
            again = score_titles(model, order, tree, rows=len(careers))
            assert np.abs(again - expected).max() <= 2e-5
            assert np.abs(score_realised(model, order, rows=len(careers)) - _chosen(expected, careers)).max() <= 2e-5


def test_does_not_depend_on_the_order_of_titles(
    sub_words: tuple[Any, ResumeTokenizer], few_careers: Careers, rng: np.random.Generator
) -> None:
    model, resumes = sub_words
    careers = few_careers.first_people(2)
    tokenized = resumes.encode(write_resumes(careers, ResumeSettings()))
    expected = score_titles(model, tokenized, TitleTree.of(resumes.sequences), rows=len(careers))
    order = rng.permutation(len(resumes.sequences))
    shuffled = TitleTree.of([resumes.sequences[place] for place in order])
    again = score_titles(model, tokenized, shuffled, rows=len(careers))
    assert np.abs(again - expected[:, order]).max() <= 2e-5


def test_later_rows_change_nothing_earlier(sub_words: tuple[Any, ResumeTokenizer], few_careers: Careers) -> None:
    model, resumes = sub_words
    written = next(resume for resume in write_resumes(few_careers, ResumeSettings()) if len(resume.rows) > 3)
    whole = resumes.encode([written])[0]
    cut = TokenizedResume(whole.tokens[: whole.ends[1]], whole.rows[:2], whole.cuts[:2], whole.ends[:2])
    tree = TitleTree.of(resumes.sequences)
    both = [score_titles(model, [each], tree, rows=len(few_careers))[list(cut.rows)] for each in (whole, cut)]
    assert np.abs(both[0] - both[1]).max() <= 2e-5


def test_normalise_survives_tiny_masses() -> None:
    raw = np.array([[-800.0, -801.0], [-0.1, -5.0]], dtype=np.float32)
    normalised, log_mass = normalise(raw)
    assert np.exp(normalised.astype(float)).sum(axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert log_mass[0] == pytest.approx(-800 + np.log1p(np.exp(-1)), abs=1e-4)


def _chosen(table: np.ndarray, careers: Careers) -> np.ndarray:
    return table[np.arange(len(careers)), careers.occupation]
