"""A closed list of strings after any prefixes: equal to scoring every string by itself, and clear about bad input."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, PythonBackend

from laborllm.errors import LaborLLMError
from laborllm.models.scoring.choices import score_choices
from tests.models.scoring.brute_force import NO_SPECIAL, close, random_model

CITIES = ["New York", "New York City", "Newark", "Boston", "San Francisco", "San José", "St. Louis"]
PREFIXES = [
    "The capital of Massachusetts is",
    "I live in",
    "Q: Where is the Statue of Liberty?\nA:",
    "I",
    "Once upon a time there was a girl who moved from one small town to another, and in the end she came to",
]
BOTH_ROUTES = pytest.mark.parametrize("family", ["llama", "gpt2"])


def byte_tokenizer(*, lowercase: bool = False, bos: bool = False, size: int = 330) -> PreTrainedTokenizerFast:
    """A byte-level BPE as GPT-2's, learned from the cities."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=["<s>"],
    )
    tokenizer.train_from_iterator([*CITIES, *PREFIXES], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>" if bos else None)


@pytest.fixture
def sized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models with room for the byte-level vocabulary."""
    monkeypatch.setitem(NO_SPECIAL, "vocab_size", 340)


@torch.inference_mode()
def by_hand(
    model: Any, tokenizer: Any, prefixes: Sequence[str], choices: Sequence[str], separator: str, end: str
) -> np.ndarray:
    """The whole text tokenised and scored, choice by choice."""
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    answer = np.zeros((len(prefixes), len(choices)))
    for row, prefix in enumerate(prefixes):
        first = len(start) + len(tokenizer(prefix, add_special_tokens=False).input_ids)
        for column, choice in enumerate(choices):
            ids = [*start, *tokenizer(prefix + separator + choice + end, add_special_tokens=False).input_ids]
            steps = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(1)
            answer[row, column] = sum(float(steps[at - 1, ids[at]]) for at in range(first, len(ids)))
    return answer


@BOTH_ROUTES
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize(("separator", "end"), [(" ", "\n"), (" ", "."), (": ", "\n"), ("\n", "\n\n")])
@pytest.mark.usefixtures("sized")
def test_equals_scoring_every_choice_by_itself(family: str, bos: bool, separator: str, end: str) -> None:
    model, tokenizer = random_model(family), byte_tokenizer(bos=bos)
    scores = score_choices(model, tokenizer, PREFIXES, CITIES, separator=separator, end=end)
    assert close(scores.raw, by_hand(model, tokenizer, PREFIXES, CITIES, separator, end))
    assert np.exp(scores.log_probabilities.astype(float)).sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert scores.log_mass.max() <= 1e-6
    assert np.allclose(scores.log_probabilities + scores.log_mass[:, None], scores.raw, rtol=1e-6, atol=1e-5)


@BOTH_ROUTES
@pytest.mark.usefixtures("sized")
def test_a_list_without_an_end_is_scored_where_it_is_prefix_free(family: str) -> None:
    model, tokenizer, choices = random_model(family), byte_tokenizer(), ["Boston", "Newark", "St. Louis"]
    scores = score_choices(model, tokenizer, PREFIXES, choices, end="")
    assert close(scores.raw, by_hand(model, tokenizer, PREFIXES, choices, " ", ""))


@pytest.mark.usefixtures("sized")
def test_order_and_company_do_not_matter() -> None:
    model, tokenizer = random_model("llama"), byte_tokenizer()
    whole = score_choices(model, tokenizer, PREFIXES, CITIES).raw
    assert np.allclose(score_choices(model, tokenizer, PREFIXES[::-1], CITIES).raw[::-1], whole, atol=2e-5)
    assert np.allclose(score_choices(model, tokenizer, PREFIXES, CITIES[::-1]).raw[:, ::-1], whole, atol=2e-5)
    assert np.allclose(score_choices(model, tokenizer, [PREFIXES[2]], CITIES[:2]).raw[0], whole[2, :2], atol=2e-5)


@pytest.mark.usefixtures("sized")
def test_one_choice_has_probability_one() -> None:
    scores = score_choices(random_model("llama"), byte_tokenizer(), PREFIXES, ["Boston"])
    assert np.allclose(scores.log_probabilities, 0, atol=1e-6)


@pytest.mark.usefixtures("sized")
def test_an_empty_prefix_after_a_start_token() -> None:
    model, tokenizer = random_model("llama"), byte_tokenizer(bos=True)
    scores = score_choices(model, tokenizer, ["", "I live in"], CITIES)
    assert close(scores.raw, by_hand(model, tokenizer, ["", "I live in"], CITIES, " ", "\n"))


@pytest.mark.usefixtures("sized")
def test_progress_is_told() -> None:
    said: list[tuple[int, int]] = []
    score_choices(
        random_model("llama"), byte_tokenizer(), PREFIXES, CITIES, progress=lambda done, rows: said.append((done, rows))
    )
    assert said[-1] == (len(PREFIXES), len(PREFIXES))


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["gpt2", "gpt-neox"])
def test_equals_brute_force_under_real_tokenizers(real_data: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = AutoTokenizer.from_pretrained(real_data / "tokenizers" / name)
    monkeypatch.setitem(NO_SPECIAL, "vocab_size", len(tokenizer))
    model = random_model("llama")
    scores = score_choices(model, tokenizer, PREFIXES, CITIES)
    assert close(scores.raw, by_hand(model, tokenizer, PREFIXES, CITIES, " ", "\n"))


# Bad input.


def refused(match: str, prefixes: Sequence[str], choices: Sequence[str], **given: Any) -> None:
    model = given.pop("model", None) or random_model(given.pop("family", "llama"))
    tokenizer = given.pop("tokenizer", None) or byte_tokenizer()
    with pytest.raises(LaborLLMError, match=match) as raised:
        score_choices(model, tokenizer, prefixes, choices, **given)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("sized")
@pytest.mark.parametrize(
    ("match", "prefixes", "choices"),
    [
        ("5 prefixes and 0 choices", PREFIXES, []),
        ("0 prefixes and 7 choices", [], CITIES),
        ("choice 2, 'Boston', stands twice", PREFIXES, ["Boston", "Newark", "Boston"]),
        ("a prefix is empty and the tokenizer has no start token", ["I live in", ""], CITIES),
        ("takes .* tokens and the longest choice .* context is 1024; shorten", ["word " * 3000 + "is"], CITIES),
        ("space", ["I live in "], CITIES),
        ("space", [*PREFIXES, "I live in "], CITIES),
    ],
    ids=["no choices", "no prefixes", "twice", "empty prefix", "too long", "ends in a space", "one ends in a space"],
)
def test_bad_lists_and_prefixes_are_refused(match: str, prefixes: Sequence[str], choices: Sequence[str]) -> None:
    refused(match, prefixes, choices)


@pytest.mark.usefixtures("sized")
def test_a_prefix_that_just_fits_is_scored() -> None:
    tokenizer = byte_tokenizer()
    longest = max(len(tokenizer(f" {city}\n").input_ids) for city in CITIES)
    word = len(tokenizer(" is").input_ids)
    assert word == 1
    prefix = " is" * (1024 - longest)
    for family in ("llama", "gpt2"):
        assert np.isfinite(score_choices(random_model(family), tokenizer, [prefix], CITIES).raw).all()
    refused("shorten the prefix", [prefix + " is"], CITIES, tokenizer=tokenizer)


@pytest.mark.usefixtures("sized")
def test_a_choice_that_the_tokenizer_changes_is_refused() -> None:
    refused(
        "'Boston' becomes 'boston' under the tokenizer", PREFIXES, ["Boston"], tokenizer=byte_tokenizer(lowercase=True)
    )
    lower = score_choices(random_model("llama"), byte_tokenizer(lowercase=True), PREFIXES, ["boston", "newark"])
    assert np.isfinite(lower.raw).all()


@pytest.mark.usefixtures("sized")
def test_a_choice_that_begins_another_needs_an_end() -> None:
    refused("'New York' and 'New York City' begin with the same tokens", PREFIXES, CITIES, end="")


@pytest.mark.usefixtures("sized")
def test_a_token_that_spans_the_join_is_refused() -> None:
    refused("one token spans the end of the prefix", ["I live in Bost"], ["on", "roit"], separator="")


@BOTH_ROUTES
@pytest.mark.usefixtures("sized")
def test_weights_without_numbers_are_refused(family: str) -> None:
    model = random_model(family)
    model.lm_head.weight.data[7, 0] = torch.nan
    refused("NaN or infinities", PREFIXES, CITIES, model=model)


@pytest.mark.usefixtures("sized")
def test_a_slow_tokenizer_is_refused() -> None:
    class Slow(PythonBackend):
        vocab_size = 2

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0, "b": 1}

    refused("Slow is no fast tokenizer; convert it", PREFIXES, CITIES, tokenizer=Slow())


@pytest.mark.usefixtures("sized")
def test_a_model_that_cannot_be_scored_is_refused() -> None:
    refused("BloomForCausalLM takes no position_ids", PREFIXES, CITIES, family="bloom")
