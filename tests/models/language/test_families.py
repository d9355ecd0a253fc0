"""Every family passes the same suite: load, learn, score exactly, merge adapters, save, load again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from laborllm.models.language.adapters import add_adapters
from laborllm.models.language.finetune import finetune, occupation_perplexity
from laborllm.models.language.language_model_settings import LoraSettings, TrainingSettings
from laborllm.models.language.loading import load_checkpoint
from laborllm.models.probabilities import normalise
from laborllm.models.scoring.scorer import Scorer
from tests.models.scoring.brute_force import (
    VOCABULARY,
    Case,
    brute_force,
    close,
    random_case,
    random_list,
    random_model,
)

FAMILIES = (
    "llama",
    "qwen2",
    "qwen3",
    "mistral-window-80",
    "gemma",
    "gemma2",
    "gemma3",
    "gpt2",
    "gpt-neox",
    "phi",
    "phi3",
    "olmo2",
    "smollm3",
)
SETTINGS = TrainingSettings(epochs=4, learning_rate=3e-3, batch=2, patience=9)


@pytest.fixture(scope="module")
def case() -> Case:
    rng = np.random.default_rng(3)
    return random_case(rng, random_list(rng, 6), [[9, 4], [3, 5, 2], [12], [2, 2]])


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A token a character, as many as the random models know."""
    letters = ["<unk>", *(chr(33 + place) for place in range(VOCABULARY - 1))]
    plain = Tokenizer(models.WordLevel({letter: place for place, letter in enumerate(letters)}, unk_token="<unk>"))
    plain.pre_tokenizer, plain.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>")


def saved(model: Any, tokenizer: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def scores(model: Any, case: Case) -> np.ndarray:
    return Scorer(model.eval()).titles(case.resumes, case.tree, rows=case.rows)


def learn(model: Any, case: Case, folder: Path) -> float:
    """Fine-tune; the perplexity that was best."""
    return finetune(
        model,
        case.resumes,
        lambda trained: occupation_perplexity(trained, case.resumes, case.rows),
        settings=SETTINGS,
        folder=folder,
        seed=1,
    ).best


@pytest.mark.parametrize("family", FAMILIES)
def test_loaded_learned_scored_and_saved(family: str, case: Case, tokenizer: Any, tmp_path: Path) -> None:
    made = random_model(family)
    before = scores(made, case)
    model, _ = load_checkpoint(saved(made, tokenizer, tmp_path / "base"))
    assert close(scores(model, case), before)  # loaded models choose another kernel for attention
    untrained = occupation_perplexity(model, case.resumes, case.rows)
    assert learn(model, case, tmp_path / "training") < 0.9 * untrained
    after = scores(model, case)
    assert close(after, brute_force(model, case.resumes, case.sequences, case.rows))
    again, _ = load_checkpoint(saved(model, tokenizer, tmp_path / "tuned"))
    assert np.array_equal(scores(again, case), after)


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_merge_into_the_same_model(family: str, case: Case, tokenizer: Any, tmp_path: Path) -> None:
    model, _ = load_checkpoint(saved(random_model(family), tokenizer, tmp_path / "base"))
    before = scores(model, case)
    adapted = add_adapters(model, LoraSettings(rank=4, alpha=8, dropout=0), seed=0)
    ids = torch.from_numpy(case.resumes[1].tokens)[None]
    optimizer = torch.optim.AdamW([each for each in adapted.parameters() if each.requires_grad], lr=3e-3)
    for _ in range(3):
        adapted(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
    learned = scores(adapted, case)
    assert np.abs(learned - before).max() > 0.1  # the adapters do something
    merged, _ = load_checkpoint(saved(adapted.merge_and_unload(), tokenizer, tmp_path / "merged"))
    probabilities, expected = (np.exp(normalise(raw)[0]) for raw in (scores(merged, case), learned))
    assert np.abs(probabilities - expected).max() < 1e-5
