"""Exact scoring: equal to scoring every title by itself, whatever the batch, the order, the prompt and the memory."""

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
import peft
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from laborllm.errors import LaborLLMError
from laborllm.models.language.scratch import tiny_llama, train_tokenizer
from laborllm.models.probabilities import normalise
from laborllm.models.scoring import llama
from laborllm.models.scoring.hugging_face import HuggingFaceForward
from laborllm.models.scoring.llama import LlamaForward
from laborllm.models.scoring.scorer import FEWEST_ROWS, Scorer
from laborllm.models.scoring.walks import sample_titles, top_titles
from laborllm.survey.careers import Careers
from laborllm.text.resume import ResumeSettings, write_resumes
from laborllm.text.titles import ResumeTokenizer, TitleTree, TokenizedResume
from tests.models.scoring.brute_force import (
    GENERIC,
    LINE_END,
    NO_SPECIAL,
    OWN,
    SHORT_SOFTMAX,
    VOCABULARY,
    Case,
    brute_force,
    close,
    prepared,
    random_case,
    random_list,
    random_model,
    wide_llama,
)

PEOPLE = 5
BOTH_ROUTES = ("llama", "gpt2")
NO_DOUBLE = ("mixtral", "gpt-oss")
"""Their experts' product has no float64 kernel."""


@pytest.fixture
def case(rng: np.random.Generator) -> Case:
    """Three careers, one of which is longer than the windows of the tiny models, over seven titles."""
    return random_case(rng, random_list(rng, 7), [[1, 3], [90, 4], [30]])


@pytest.fixture(scope="module")
def wide() -> tuple[Any, Case]:
    """A model wide enough for tiled kernels, a tree of more than 300 inner nodes and careers of many lengths."""
    rng = np.random.default_rng(5)
    sequences = random_list(rng, 130, longest=6, letters=40, vocabulary=5000)
    gaps = [[30, 4, 4], [1, 60], [150, 3], [5]]
    return wide_llama(), random_case(rng, sequences, gaps, vocabulary=5000)


@pytest.fixture(params=["oneDNN", "torch"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kernels for linear layers, whichever is the faster here."""
    if request.param == "oneDNN" and not torch.backends.mkldnn.is_available():
        pytest.skip("no oneDNN here")
    monkeypatch.setattr(
        llama, "onednn_serves", lambda weight: request.param == "oneDNN" and weight.dtype == torch.float32
    )


def chosen(table: np.ndarray, realised: np.ndarray) -> np.ndarray:
    """Each row's own title, shape (rows,)."""
    return table[np.arange(len(realised)), realised]


def agree(model: Any, case: Case, *, double: bool = False, short_softmax: bool = False) -> np.ndarray:
    """Full and realised scores equal brute force; returns the full scores."""
    expected = brute_force(model, case.resumes, case.sequences, case.rows)
    scorer = Scorer(model)
    full = scorer.titles(case.resumes, case.tree, rows=case.rows)
    assert full.dtype == (np.float64 if double else np.float32)
    assert close(full, expected, double=double, short_softmax=short_softmax)
    realised = scorer.realised(case.resumes, rows=case.rows)
    assert realised.dtype == np.float64
    assert close(realised, chosen(expected, case.realised), double=double, short_softmax=short_softmax)
    assert normalise(full)[1].max() <= 1e-6
    return full


VARIANTS = (
    "llama-one-key-head",
    "llama-linear-rope",
    "llama-yarn",
    "mistral-no-window",
    "qwen3-tied",
    "phi3-window-16",
)
VARIANTS += ("starcoder2-window-16", "falcon-rotary", "gptj", "mixtral", "gpt-oss")
"""Families of the second rank: in float64 they are left to the slow tests."""


def ranked(family: str) -> Any:
    return pytest.param(family, marks=[pytest.mark.slow] if family in VARIANTS else [])


@pytest.mark.parametrize("family", [*OWN, *GENERIC])
def test_equals_brute_force(family: str, case: Case) -> None:
    full = agree(random_model(family), case)
    assert full.std() > 1  # the distributions are not flat


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("family", ["llama-biases", "llama-tied", "qwen3", "smollm3", "mistral-window-80"])
def test_equals_brute_force_under_either_kernel(family: str, case: Case) -> None:
    agree(random_model(family), case)


@pytest.mark.usefixtures("kernel")
def test_a_wide_model_equals_brute_force_under_either_kernel(wide: tuple[Any, Case], rng: np.random.Generator) -> None:
    model, case = wide
    agree(model, random_case(rng, case.sequences[:20], [[30, 2], [200]], vocabulary=5000))


@pytest.mark.parametrize("family", [ranked(family) for family in (*OWN, *GENERIC) if family not in NO_DOUBLE])
def test_equals_brute_force_in_float64(family: str, case: Case) -> None:
    agree(random_model(family, double=True), case, double=True, short_softmax=family in SHORT_SOFTMAX)


@pytest.mark.parametrize("family", ["llama", "mistral-window-80", "mistral-window-16", "gemma3", "gpt2", "opt"])
def test_equals_brute_force_after_prefixes_of_every_length(family: str, rng: np.random.Generator) -> None:
    sequences = random_list(rng, 4)
    gaps = [[1], [2], [63, 1], [15, 1, 48, 64, 130, 220], [500]]
    agree(random_model(family), random_case(rng, sequences, gaps))


LISTS = {
    "prefixes of others": ((5, 1), (5, 6, 1), (5, 6, 7, 1), (5, 6, 7, 8, 9, 10, 11, 1)),
    "shared endings": ((5, 8, 9, 1), (6, 8, 9, 1), (7, 8, 9, 1), (9, 1)),
    "one token each": ((5,), (6,), (9,), (1,)),
    "one title": ((5, 6, 7, 1),),
    "one title of one token": ((5,),),
    "a mix": ((5,), (6, 7, 1), (6, 8), (6, 9, 9, 9, 9, 9), (1,)),
    "one long chain": (tuple([7] * 60 + [1]), (7, 8)),
    "unsorted": ((9, 1), (5, 6, 1), (7, 1), (5, 1)),
}


@pytest.mark.parametrize("family", BOTH_ROUTES)
@pytest.mark.parametrize("sequences", LISTS.values(), ids=LISTS)
def test_lists_of_every_shape(family: str, sequences: tuple[tuple[int, ...], ...], rng: np.random.Generator) -> None:
    case = random_case(rng, sequences, [[1, 1, 2], [9]])
    agree(random_model(family), case)
    every = np.tile(np.arange(len(sequences))[::-1], (case.rows, 1))
    scorer = Scorer(random_model(family))
    full = scorer.titles(case.resumes, case.tree, rows=case.rows)
    among = scorer.titles(case.resumes, case.tree, rows=case.rows, among=every)
    assert np.allclose(among, full[:, ::-1], atol=2e-5)
    top = top_titles(scorer, case.resumes, case.tree, rows=case.rows, most=len(sequences))
    assert np.allclose(top.raw, -np.sort(-full, axis=1), atol=2e-5)
    drawn = sample_titles(scorer, case.resumes, case.tree, [np.random.default_rng(row) for row in range(case.rows)])
    assert ((drawn >= 0) & (drawn < len(sequences))).all()


@lru_cache
def remembered(family: str) -> tuple[Any, Scorer]:
    model = random_model(family)
    return model, Scorer(model)


def prefix_free(words: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    """The words that begin with no other."""
    unique = [tuple(word) for word in words]
    return tuple(word for word in dict.fromkeys(unique) if not any(word[: len(w)] == w for w in unique if w != word))


WORD = st.lists(st.integers(2, 5), min_size=1, max_size=5)
ENDED = st.lists(WORD, min_size=1, max_size=7).map(lambda words: tuple({(*word, LINE_END): None for word in words}))
LIST = st.one_of(ENDED, st.lists(WORD, min_size=1, max_size=7).map(prefix_free))
GAPS = st.lists(st.lists(st.integers(1, 25), min_size=1, max_size=3), min_size=1, max_size=3)


@pytest.mark.parametrize("family", BOTH_ROUTES)
@settings(deadline=None, max_examples=25, derandomize=True, database=None)
@given(sequences=LIST, gaps=GAPS, seed=st.integers(0, 10**6), rows=st.sampled_from([64, 100, 8192]))
def test_any_list_after_any_text(
    family: str, sequences: tuple[tuple[int, ...], ...], gaps: list[list[int]], seed: int, rows: int
) -> None:
    model, scorer = remembered(family)
    case = random_case(np.random.default_rng(seed), sequences, gaps)
    expected = brute_force(model, case.resumes, sequences, case.rows)
    scorer.rows = rows
    full = scorer.titles(case.resumes, case.tree, rows=case.rows)
    assert close(full, expected)
    assert close(scorer.realised(case.resumes, rows=case.rows), chosen(expected, case.realised))
    assert np.exp(full.astype(float)).sum(axis=1).max() <= 1 + 1e-6


# Real tokenizers, real weights and our own tokenizer.


def tokenized(tokenizer: Any, careers: Careers, **text: Any) -> Case:
    """Careers as the program writes them."""
    resumes = ResumeTokenizer(tokenizer, careers.occupations.titles)
    encoded = resumes.encode(write_resumes(careers, ResumeSettings(**text)))
    return Case(resumes.sequences, encoded, np.asarray(careers.occupation))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("tokenizer", "family"),
    [
        ("gpt2", "llama"),
        ("gpt2", "gpt2"),
        pytest.param("gpt-neox", "llama", marks=pytest.mark.slow),
        pytest.param("gpt-neox", "gpt-neox", marks=pytest.mark.slow),
        pytest.param("gpt2", "gemma3", marks=pytest.mark.slow),
    ],
)
def test_equals_brute_force_under_real_tokenizers(
    real_data: Path, few_careers: Careers, tokenizer: str, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = AutoTokenizer.from_pretrained(real_data / "tokenizers" / tokenizer)
    monkeypatch.setitem(NO_SPECIAL, "vocab_size", len(words))
    agree(random_model(family), tokenized(words, few_careers.first_people(1)))


@pytest.mark.real_data
def test_equals_brute_force_with_a_real_checkpoint(real_data: Path, few_careers: Careers) -> None:
    folder = real_data / "models" / "stories260K"
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    case = tokenized(AutoTokenizer.from_pretrained(folder), few_careers.first_people(1))
    agree(model, case)
    assert Scorer(model).route == LlamaForward.name
    agree(model.double(), case, double=True)


@pytest.fixture(scope="module")
def own(few_careers: Careers) -> tuple[Any, Any]:
    """Our tokenizer and a small model; titles that it never saw are many tokens long."""
    written = write_resumes(few_careers, ResumeSettings())
    tokenizer = train_tokenizer([resume.text for resume in written], few_careers.occupations.titles[:2], 8192)
    return tiny_llama(tokenizer, seed=1).eval(), tokenizer


@pytest.fixture(scope="module")
def sub_words(few_careers: Careers) -> tuple[Any, Any]:
    """A small vocabulary: titles share beginnings and have many tokens."""
    written = write_resumes(few_careers, ResumeSettings())
    tokenizer = train_tokenizer([resume.text for resume in written], few_careers.occupations.titles, 280)
    return tiny_llama(tokenizer, seed=1).eval(), tokenizer


@pytest.mark.parametrize("last_rows", [None, 2])
@pytest.mark.parametrize(("fixture", "people"), [("own", PEOPLE), ("sub_words", 2)])
def test_equals_brute_force_with_our_own_tokenizers(
    request: pytest.FixtureRequest, few_careers: Careers, fixture: str, people: int, last_rows: int | None
) -> None:
    model, tokenizer = request.getfixturevalue(fixture)
    agree(model, tokenized(tokenizer, few_careers.first_people(people), last_rows=last_rows))


# What must not matter.


def everything(scorer: Scorer, resumes: Sequence[TokenizedResume], case: Case) -> dict[str, np.ndarray]:
    """All that a scorer can tell of a case."""
    generators = [np.random.default_rng(row) for row in range(case.rows)]
    some = np.stack([case.realised, np.zeros_like(case.realised), np.full_like(case.realised, 2)], axis=1)
    top = top_titles(scorer, resumes, case.tree, rows=case.rows, most=3)
    return {
        "titles": scorer.titles(resumes, case.tree, rows=case.rows),
        "realised": scorer.realised(resumes, rows=case.rows),
        "hidden": scorer.hidden(resumes, rows=case.rows),
        "sampled": sample_titles(scorer, resumes, case.tree, generators),
        "among": scorer.titles(resumes, case.tree, rows=case.rows, among=some),
        "top": top.raw,
    }


TO_THE_LAST_BIT = ("titles", "realised", "hidden", "sampled")


@pytest.mark.usefixtures("kernel")
def test_does_not_depend_on_rows_nor_on_the_order_of_workers(wide: tuple[Any, Case]) -> None:
    model, case = wide
    assert len(case.tree.inner) > 300
    scorer = Scorer(model)
    assert scorer.route == LlamaForward.name
    expected = everything(scorer, case.resumes, case)
    shuffled = [case.resumes[place] for place in (2, 0, 3, 1)]
    for rows, order in ((64, case.resumes), (500, case.resumes[::-1]), (8192, shuffled)):
        scorer.rows = rows
        found = everything(scorer, order, case)
        for name, values in expected.items():
            assert np.allclose(found[name], values, rtol=0, atol=2e-5), (rows, name)
            if name in TO_THE_LAST_BIT:
                assert np.array_equal(found[name], values), (rows, name)


@pytest.mark.usefixtures("kernel")
def test_a_few_titles_do_not_depend_on_rows_to_the_last_bit(wide: tuple[Any, Case]) -> None:
    """On one thread: with more, products of a few rows are shared out by their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model, case = wide
    scorer = Scorer(model)
    among = case.realised[:, None]
    found = []
    for rows in (64, 8192):
        scorer.rows = rows
        some = scorer.titles(case.resumes, case.tree, rows=case.rows, among=among)
        found.append((some, top_titles(scorer, case.resumes, case.tree, rows=case.rows, most=3).raw))
    for few, many in zip(*found, strict=True):
        assert np.array_equal(few, many)
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("kernel")
def test_does_not_depend_on_who_is_scored_together(wide: tuple[Any, Case]) -> None:
    model, case = wide
    scorer = Scorer(model)
    full = scorer.titles(case.resumes, case.tree, rows=case.rows)
    realised = scorer.realised(case.resumes, rows=case.rows)
    for resume in case.resumes:
        assert np.array_equal(scorer.titles([resume], case.tree, rows=case.rows)[resume.rows], full[resume.rows])
        assert np.array_equal(scorer.realised([resume], rows=case.rows)[resume.rows], realised[resume.rows])


@pytest.mark.usefixtures("kernel")
def test_does_not_depend_on_where_a_tile_ends(wide: tuple[Any, Case], rng: np.random.Generator) -> None:
    """Kernels take a tile of one row differently: 1025 rows together are 1024 and one, in layers and in the head."""
    model, case = wide
    both = random_case(rng, case.sequences[:9], [[600], [425]], vocabulary=5000)
    scorer = Scorer(model)
    scorer.rows = 8192
    assert sum(int(each.cuts[-1]) for each in both.resumes) == 1025
    together = scorer.titles(both.resumes, both.tree, rows=2), scorer.hidden(both.resumes, rows=2)
    for resume in both.resumes:
        alone = scorer.titles([resume], both.tree, rows=2), scorer.hidden([resume], rows=2)
        for one, all_ in zip(alone, together, strict=True):
            assert np.array_equal(one[resume.rows], all_[resume.rows])


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "mistral-window-16", "mistral-window-80"])
def test_other_routes_do_not_depend_on_rows_nor_on_the_order_of_workers(family: str, case: Case) -> None:
    scorer = Scorer(random_model(family))
    expected = everything(scorer, case.resumes, case)
    for rows in (64, 8192):
        scorer.rows = rows
        for name, values in everything(scorer, case.resumes[::-1], case).items():
            assert np.allclose(values, expected[name], rtol=0, atol=2e-5), (rows, name)


@pytest.mark.parametrize("family", BOTH_ROUTES)
def test_does_not_depend_on_the_order_of_titles(family: str, case: Case, rng: np.random.Generator) -> None:
    scorer = Scorer(random_model(family))
    expected = scorer.titles(case.resumes, case.tree, rows=case.rows)
    order = rng.permutation(len(case.sequences))
    shuffled = TitleTree.of([case.sequences[place] for place in order])
    assert np.array_equal(scorer.titles(case.resumes, shuffled, rows=case.rows), expected[:, order])


def test_does_not_depend_on_the_number_of_threads(wide: tuple[Any, Case]) -> None:
    model, case = wide
    scorer, before = Scorer(model), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            full = scorer.titles(case.resumes[:2], case.tree, rows=case.rows)[case.resumes[1].rows]
            found.append((full, scorer.realised(case.resumes, rows=case.rows)))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert np.allclose(one, two, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "mistral-window-80", "gpt2", "gemma3"])
def test_later_rows_change_nothing_earlier(family: str, rng: np.random.Generator) -> None:
    whole = random_case(rng, random_list(rng, 6), [[70, 5, 5, 40, 3]])
    (resume,) = whole.resumes
    cut = TokenizedResume(resume.tokens[: resume.ends[1]], resume.rows[:2], resume.cuts[:2], resume.ends[:2])
    scorer = Scorer(random_model(family))
    both = [scorer.titles([each], whole.tree, rows=whole.rows)[:2] for each in (resume, cut)]
    assert np.allclose(*both, rtol=0, atol=2e-5)


def test_rows_that_are_only_read_are_not_scored(case: Case) -> None:
    resume = case.resumes[1]
    second = TokenizedResume(resume.tokens, resume.rows, resume.cuts, resume.ends, first_scored=1)
    for family in BOTH_ROUTES:
        scorer = Scorer(random_model(family))
        both = [scorer.titles([each], case.tree, rows=case.rows)[resume.rows] for each in (resume, second)]
        assert np.isnan(both[1][0]).all()
        assert np.allclose(both[0][1], both[1][1], rtol=0, atol=2e-5)


def test_progress_counts_every_row(case: Case) -> None:
    scorer, said = Scorer(random_model("llama")), []
    scorer.rows = FEWEST_ROWS
    scorer.titles(case.resumes, case.tree, rows=case.rows, progress=lambda done, rows: said.append((done, rows)))
    assert said[-1] == (case.rows, case.rows)
    assert said == sorted(set(said))


# A shared prompt.

PROMPTED = ["llama", "smollm3", "qwen3", "mistral-window-80", "mistral-window-16", "gpt2", "gpt-neox", "gemma3", "opt"]


@pytest.mark.parametrize(("family", "length"), [*((family, 45) for family in PROMPTED), ("llama", 1), ("gpt2", 1)])
def test_a_prompt_equals_its_tokens_before_every_resume(
    family: str, length: int, case: Case, rng: np.random.Generator
) -> None:
    prompt = rng.integers(2, VOCABULARY, size=length)
    model = random_model(family)
    before = [
        TokenizedResume(np.append(prompt, each.tokens), each.rows, each.cuts + length, each.ends + length)
        for each in case.resumes
    ]
    plain, prompted = Scorer(model), Scorer(model, prompt=prompt)
    prepended = Case(case.sequences, before, case.realised)
    expected, found = everything(plain, before, prepended), everything(prompted, case.resumes, case)
    for name, values in expected.items():
        assert np.allclose(found[name], values, rtol=0, atol=1e-4), name
    by_hand = brute_force(model, case.resumes[:1], case.sequences, case.rows, prompt=prompt.tolist())
    assert close(found["titles"][:2], by_hand[:2])


def test_a_prompt_is_encoded_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(random_model("llama"), prompt=np.arange(2, 40))
    scorer.rows = FEWEST_ROWS
    given: list[int] = []
    run = LlamaForward.run

    def counted(self: LlamaForward, tokens: np.ndarray, *rest: Any) -> Any:
        given.append(len(tokens))
        return run(self, tokens, *rest)

    monkeypatch.setattr(LlamaForward, "run", counted)
    scorer.titles(case.resumes, case.tree, rows=case.rows)
    scorer.realised(case.resumes, rows=case.rows)
    assert given.count(38) == 1


@pytest.mark.parametrize("family", BOTH_ROUTES)
def test_an_empty_prompt_is_none(family: str, case: Case) -> None:
    model = random_model(family)
    found = Scorer(model, prompt=np.array([], dtype=np.int64)).titles(case.resumes, case.tree, rows=case.rows)
    assert np.allclose(found, Scorer(model).titles(case.resumes, case.tree, rows=case.rows), rtol=0, atol=2e-5)


# Some titles, and hidden states.


@pytest.mark.parametrize("family", ["llama", "mistral-window-80", "gpt2", "gemma3"])
def test_some_titles_equal_the_columns_of_all(family: str, case: Case, rng: np.random.Generator) -> None:
    scorer = Scorer(random_model(family))
    full = scorer.titles(case.resumes, case.tree, rows=case.rows)
    for wanted in (1, 3, 9):
        among = rng.integers(len(case.sequences), size=(case.rows, wanted))
        some = scorer.titles(case.resumes, case.tree, rows=case.rows, among=among)
        assert some.dtype == full.dtype
        assert np.allclose(some, np.take_along_axis(full, among, axis=1), rtol=0, atol=2e-5)
    realised = scorer.titles(case.resumes, case.tree, rows=case.rows, among=case.realised[:, None])[:, 0]
    assert np.allclose(scorer.realised(case.resumes, rows=case.rows), realised, rtol=0, atol=2e-5)


HIDDEN = [
    "llama",
    "llama-3-rope",
    "mistral-window-80",
    "qwen3",
    "smollm3",
    "mistral-window-16",
    "gpt2",
    "opt",
    "gemma3",
]


@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize("family", HIDDEN)
def test_hidden_states_equal_hugging_faces(family: str, layer: int, case: Case) -> None:
    model = random_model(family)
    states = Scorer(model).hidden(case.resumes, rows=case.rows, layer=layer)
    assert states.dtype == np.float32
    for resume in case.resumes:
        for row, cut in zip(resume.rows, resume.cuts, strict=True):
            with torch.inference_mode():
                text = torch.from_numpy(resume.tokens[None, :cut])
                expected = model(input_ids=text, output_hidden_states=True, use_cache=False).hidden_states[layer][0, -1]
            assert np.allclose(states[row], expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", BOTH_ROUTES)
@pytest.mark.parametrize("layer", [7, -7])
def test_a_layer_that_does_not_exist_is_refused(family: str, layer: int, case: Case) -> None:
    with pytest.raises((LaborLLMError, IndexError)):
        Scorer(random_model(family)).hidden(case.resumes, rows=case.rows, layer=layer)


def test_hidden_states_of_opt_with_a_narrow_embedding(case: Case) -> None:
    config = transformers.OPTConfig(
        vocab_size=VOCABULARY, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
        word_embed_proj_dim=16, max_position_embeddings=512, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    model = prepared(transformers.OPTForCausalLM(config))
    with torch.inference_mode():
        text = torch.from_numpy(case.resumes[2].tokens[None, :30])
        expected = model(input_ids=text, output_hidden_states=True).hidden_states[-1][0, -1]
    states = Scorer(model).hidden(case.resumes, rows=case.rows, layer=-1)
    assert np.allclose(states[-1], expected.numpy(), atol=1e-5)


# Adapters.


def adapted(family: str, modules: list[str]) -> Any:
    """A random model under a LoRA adapter that changes what it says."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = peft.get_peft_model(
            random_model(family),
            peft.LoraConfig(
                r=4,
                lora_alpha=8,
                target_modules=modules,
                task_type="CAUSAL_LM",
                init_lora_weights=False,
                fan_in_fan_out=family == "gpt2",
            ),
        )
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data.normal_(std=0.3)
    return model.eval()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("family", "modules", "forward"),
    [
        ("llama", ["q_proj", "v_proj", "down_proj"], LlamaForward),
        ("llama", ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], LlamaForward),
        ("llama", ["embed_tokens", "o_proj"], LlamaForward),
        ("llama", ["lm_head", "q_proj"], HuggingFaceForward),
        ("mistral-window-80", ["q_proj"], LlamaForward),
        ("gpt2", ["c_attn", "c_proj"], HuggingFaceForward),
    ],
)
def test_an_adapter_is_scored_where_it_lies(family: str, modules: list[str], forward: type, case: Case) -> None:
    model = adapted(family, modules)
    assert isinstance(Scorer(model).forward, forward)
    full = agree(model, case)
    plain = Scorer(random_model(family)).titles(case.resumes, case.tree, rows=case.rows)
    assert np.abs(full - plain).max() > 0.1  # the adapter does something


# Memory.


def scarce(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> None:
    """A machine on which our own forward pass takes at most some rows."""
    run = LlamaForward.run

    def within(self: LlamaForward, tokens: np.ndarray, *rest: Any) -> Any:
        if len(tokens) > most:
            raise error
        return run(self, tokens, *rest)

    monkeypatch.setattr(LlamaForward, "run", within)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "cpu", "python"])
def test_without_memory_fewer_rows_go_together_and_numbers_stay(
    wide: tuple[Any, Case], error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, case = wide
    scorer = Scorer(model)
    full = scorer.titles(case.resumes, case.tree, rows=case.rows)
    realised = scorer.realised(case.resumes, rows=case.rows)
    scorer.rows = 8192
    scarce(monkeypatch, 1000, error)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(scorer.titles(case.resumes, case.tree, rows=case.rows), full)
        assert np.array_equal(scorer.realised(case.resumes, rows=case.rows), realised)
    assert FEWEST_ROWS <= scorer.rows < 2048
    (record,) = caplog.records
    assert "memory does not suffice for 8192 rows" in record.getMessage()


def test_without_any_memory_there_is_one_clear_line(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(random_model("llama"))
    scarce(monkeypatch, 0, OUT_OF_MEMORY[0])
    with pytest.raises(LaborLLMError, match="memory does not suffice to score with LlamaForCausalLM") as raised:
        scorer.titles(case.resumes, case.tree, rows=case.rows)
    assert "\n" not in str(raised.value)
    assert scorer.rows == FEWEST_ROWS


def test_rows_never_fall_below_the_fewest(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, tried = Scorer(random_model("llama")), []

    def never(pack: object) -> None:
        tried.append(scorer.rows)
        raise MemoryError

    scorer.rows = 100
    with pytest.raises(LaborLLMError, match="memory does not suffice"):
        scorer.over_packs(case.resumes, never, rows=case.rows)
    assert min(tried) >= FEWEST_ROWS


def test_other_errors_are_not_taken_for_want_of_memory(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(random_model("llama"))
    scarce(monkeypatch, 0, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        scorer.titles(case.resumes, case.tree, rows=case.rows)


def test_less_memory_means_fewer_rows() -> None:
    model = random_model("llama")
    rows = [Scorer(model, memory=memory).rows for memory in (1, 10**6, 10**7, 10**12)]
    assert rows == sorted(rows)
    assert rows[0] == FEWEST_ROWS
    assert FEWEST_ROWS < rows[1] < rows[2] <= 8192


# Weights that are no numbers.

UNFINITE: dict[str, Callable[[Scorer, Case], object]] = {
    "titles": lambda scorer, case: scorer.titles(case.resumes, case.tree, rows=case.rows),
    "among": lambda scorer, case: scorer.titles(
        case.resumes, case.tree, rows=case.rows, among=np.zeros((case.rows, 1), dtype=np.int64)
    ),
    "realised": lambda scorer, case: scorer.realised(case.resumes, rows=case.rows),
    "hidden": lambda scorer, case: scorer.hidden(case.resumes, rows=case.rows),
    "top": lambda scorer, case: top_titles(scorer, case.resumes, case.tree, rows=case.rows, most=1),
    "sample": lambda scorer, case: sample_titles(
        scorer, case.resumes, case.tree, [np.random.default_rng(row) for row in range(case.rows)]
    ),
}


@pytest.mark.parametrize("family", BOTH_ROUTES)
@pytest.mark.parametrize("ask", UNFINITE.values(), ids=UNFINITE)
def test_one_token_without_numbers_is_refused(family: str, ask: Callable[[Scorer, Case], object], case: Case) -> None:
    model = random_model(family)
    scorer = Scorer(model)
    for resume in case.resumes:
        resume.tokens[0] = 50
    model.get_input_embeddings().weight.data[50] = torch.nan
    with pytest.raises(LaborLLMError, match="NaN or infinities"):
        ask(scorer, case)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("family", BOTH_ROUTES)
def test_weights_without_numbers_are_refused_at_the_door(family: str, value: float) -> None:
    model = random_model(family)
    model.lm_head.weight.data[3] = value
    with pytest.raises(LaborLLMError, match="NaN or infinities"):
        Scorer(model)


def test_normalise_survives_tiny_masses() -> None:
    raw = np.array([[-800.0, -801.0], [-0.1, -5.0]], dtype=np.float32)
    normalised, log_mass = normalise(raw)
    assert np.exp(normalised.astype(float)).sum(axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert log_mass[0] == pytest.approx(-800 + np.log1p(np.exp(-1)), abs=1e-4)


def test_behind_another_prompt_it_scores_as_a_scorer_of_that_prompt() -> None:
    rng = np.random.default_rng(3)
    model, case = random_model("llama"), random_case(rng, random_list(rng, 7), [[1, 3], [9, 4]])
    prompt = np.array([5, 7, 9, 11])
    first = Scorer(model, prompt=np.array([4, 4]))
    first.realised(case.resumes, rows=case.rows)
    other = first.behind(prompt)
    assert other.checked == 0  # a longer prompt may not fit the context
    expected = Scorer(model, prompt=prompt).realised(case.resumes, rows=case.rows)
    assert np.array_equal(other.realised(case.resumes, rows=case.rows), expected)
    assert first.prompt is not None
    assert len(first.prompt) == 2
