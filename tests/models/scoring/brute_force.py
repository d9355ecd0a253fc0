"""Random models of every family, random lists and careers, and every title scored by itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers as hf

from laborllm.text.titles import TitleTree, TokenizedResume

VOCABULARY = 97
LINE_END = 1
"""Ends every title and stands nowhere else, so that a list is prefix-free as it is under a real tokenizer."""
NO_SPECIAL = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 1024, "initializer_range": 0.2}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 256}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [3.0, 4.0, 5.0, 6.0],
    "original_max_position_embeddings": 48,
}
MIXED = ["sliding_attention", "full_attention"]


def _llama(**changed: Any) -> Any:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**{**NO_SPECIAL, **GROUPED, **changed}))


def _mistral(**changed: Any) -> Any:
    return hf.MistralForCausalLM(hf.MistralConfig(**{**NO_SPECIAL, **GROUPED, **changed}))


def _qwen2(**changed: Any) -> Any:
    return hf.Qwen2ForCausalLM(hf.Qwen2Config(**{**NO_SPECIAL, **GROUPED, **changed}))


def _qwen3(**changed: Any) -> Any:
    return hf.Qwen3ForCausalLM(hf.Qwen3Config(**{**NO_SPECIAL, **GROUPED, "head_dim": 16, **changed}))


def _smollm3(**changed: Any) -> Any:
    return hf.SmolLM3ForCausalLM(hf.SmolLM3Config(**{**NO_SPECIAL, **GROUPED, "no_rope_layers": [1, 0], **changed}))


def _gemma() -> Any:
    return hf.GemmaForCausalLM(hf.GemmaConfig(**NO_SPECIAL, **GROUPED, head_dim=8))


def _gemma2() -> Any:
    config = hf.Gemma2Config(
        **NO_SPECIAL, **GROUPED, head_dim=8, sliding_window=16, layer_types=MIXED, attn_implementation="eager"
    )
    return hf.Gemma2ForCausalLM(config)


def _gemma3() -> Any:
    config = hf.Gemma3TextConfig(
        **NO_SPECIAL, **GROUPED, head_dim=8, sliding_window=16, layer_types=MIXED, attn_implementation="eager"
    )
    return hf.Gemma3ForCausalLM(config)


def _gpt2(**changed: Any) -> Any:
    size = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024, "initializer_range": 0.2}
    return hf.GPT2LMHeadModel(hf.GPT2Config(**{**NO_SPECIAL, **size, **changed}))


def _gpt_neox() -> Any:
    return hf.GPTNeoXForCausalLM(
        hf.GPTNeoXConfig(**NO_SPECIAL, **SMALL, max_position_embeddings=1024, initializer_range=0.2)
    )


def _phi() -> Any:
    return hf.PhiForCausalLM(hf.PhiConfig(**NO_SPECIAL, **GROUPED))


def _phi3(**changed: Any) -> Any:
    return hf.Phi3ForCausalLM(hf.Phi3Config(**{**NO_SPECIAL, **GROUPED, **changed}))


def _olmo2() -> Any:
    return hf.Olmo2ForCausalLM(hf.Olmo2Config(**NO_SPECIAL, **GROUPED))


def _opt(**changed: Any) -> Any:
    size = {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "init_std": 0.2}
    size |= {"word_embed_proj_dim": 32, "max_position_embeddings": 1024}
    return hf.OPTForCausalLM(hf.OPTConfig(**{**NO_SPECIAL, **size, **changed}))


def _starcoder2() -> Any:
    return hf.Starcoder2ForCausalLM(hf.Starcoder2Config(**NO_SPECIAL, **GROUPED, sliding_window=16))


def _mixtral() -> Any:
    return hf.MixtralForCausalLM(hf.MixtralConfig(**NO_SPECIAL, **GROUPED, num_local_experts=3))


def _gpt_oss() -> Any:
    config = hf.GptOssConfig(
        **{**NO_SPECIAL, **GROUPED, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        head_dim=8,
        sliding_window=16,
        layer_types=MIXED,
        num_local_experts=3,
        num_experts_per_tok=2,
    )
    return hf.GptOssForCausalLM(config)


def _gptj() -> Any:
    size = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024, "rotary_dim": 4, "initializer_range": 0.2}
    return hf.GPTJForCausalLM(hf.GPTJConfig(**NO_SPECIAL, **size))


def _gpt_neo() -> Any:
    size = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 1024, "window_size": 40}
    attention = [[["global", "local"], 1]]
    return hf.GPTNeoForCausalLM(hf.GPTNeoConfig(**NO_SPECIAL, **size, attention_types=attention, initializer_range=0.2))


def _llama4() -> Any:
    config = hf.Llama4TextConfig(
        **NO_SPECIAL,
        **GROUPED,
        head_dim=8,
        intermediate_size_mlp=48,
        num_local_experts=2,
        attention_chunk_size=40,
        layer_types=["chunked_attention", "full_attention"],
    )
    return hf.Llama4ForCausalLM(config)


def _falcon(**changed: Any) -> Any:
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2}
    return hf.FalconForCausalLM(hf.FalconConfig(**{**NO_SPECIAL, **size, **changed}))


def _bloom() -> Any:
    return hf.BloomForCausalLM(hf.BloomConfig(**NO_SPECIAL, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2))


def _mpt() -> Any:
    return hf.MptForCausalLM(hf.MptConfig(**NO_SPECIAL, d_model=32, n_layers=2, n_heads=4, max_seq_len=1024))


def _mamba() -> Any:
    return hf.MambaForCausalLM(hf.MambaConfig(**NO_SPECIAL, hidden_size=32, num_hidden_layers=2, state_size=4))


OWN: dict[str, Callable[[], Any]] = {
    "llama": _llama,
    "llama-tied": lambda: _llama(tie_word_embeddings=True),
    "llama-one-key-head": lambda: _llama(num_key_value_heads=1),
    "llama-wide-heads": lambda: _llama(head_dim=16),
    "llama-biases": lambda: _llama(attention_bias=True, mlp_bias=True),
    "llama-3-rope": lambda: _llama(rope_parameters=LLAMA3),
    "llama-linear-rope": lambda: _llama(rope_parameters=LINEAR),
    "llama-yarn": lambda: _llama(rope_parameters=YARN),
    "mistral-long-window": lambda: _mistral(sliding_window=4096),
    "mistral-no-window": lambda: _mistral(sliding_window=None),
    "mistral-window-80": lambda: _mistral(sliding_window=80),
    "qwen2": _qwen2,
    "qwen2-window-80": lambda: _qwen2(use_sliding_window=True, sliding_window=80, layer_types=MIXED[::-1]),
    "qwen3": _qwen3,
    "qwen3-tied": lambda: _qwen3(tie_word_embeddings=True),
    "smollm3": _smollm3,
}
"""Families that our own forward pass takes."""
GENERIC: dict[str, Callable[[], Any]] = {
    "mistral-window-16": lambda: _mistral(sliding_window=16),
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "gpt2": _gpt2,
    "gpt-neox": _gpt_neox,
    "phi": _phi,
    "phi3": _phi3,
    "phi3-window-16": lambda: _phi3(sliding_window=16),
    "olmo2": _olmo2,
    "opt": _opt,
    "starcoder2-window-16": _starcoder2,
    "mixtral": _mixtral,
    "gpt-oss": _gpt_oss,
    "gptj": _gptj,
    "falcon-rotary": lambda: _falcon(alibi=False),
}
"""Families that go through their Hugging Face forward."""
UNSUPPORTED: dict[str, Callable[[], Any]] = {
    "bloom": _bloom,
    "falcon-alibi": lambda: _falcon(alibi=True),
    "mpt": _mpt,
    "mamba": _mamba,
}
"""Families that cannot be scored behind a tree's mask."""
LOCAL: dict[str, Callable[[], Any]] = {"gpt-neo": _gpt_neo, "llama4": _llama4}
"""Families whose local attention counts rows, or chunks, instead of positions."""
STRETCHED: dict[str, Callable[[], Any]] = {
    "phi3-longrope": lambda: _phi3(original_max_position_embeddings=48, rope_parameters=LONGROPE),
    "llama-dynamic-rope": lambda: _llama(max_position_embeddings=48, rope_parameters=DYNAMIC),
}
"""Families whose rotary angles depend on how long the text is."""
FAMILIES = {**OWN, **GENERIC, **UNSUPPORTED, **LOCAL, **STRETCHED}
SHORT_SOFTMAX = ("gemma2", "gemma3", "gpt-oss", "gptj", "gpt-neo")
"""Families that take their softmax in float32 whatever the weights are."""


def random_model(family: str, *, seed: int = 0, double: bool = False) -> Any:
    """A small model with random weights, its norms and biases too, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return prepared(FAMILIES[family](), double=double)


def prepared(model: Any, *, double: bool = False) -> Any:
    """The same model with random norms and biases, in evaluation mode."""
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    return (model.double() if double else model).eval()


def with_head_bias(model: Any, bias: Sequence[float]) -> Any:
    """The same model with a bias in its output layer, one number a token."""
    head = torch.nn.Linear(model.lm_head.in_features, model.lm_head.out_features, dtype=model.dtype)
    head.weight.data.copy_(model.lm_head.weight.data)
    head.bias.data.copy_(torch.tensor(bias))
    model.set_output_embeddings(head)
    return model.eval()


def wide_llama(seed: int = 0, *, vocabulary: int = 5000, width: int = 64, **changed: Any) -> Any:
    """A Llama wide enough for tiled kernels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wide = {"vocab_size": vocabulary, "hidden_size": width, "intermediate_size": 3 * width}
        return prepared(_llama(**{**wide, "initializer_range": 0.1, **changed}))


@dataclass(frozen=True)
class Case:
    """Random careers over a random list.

    Attributes:
        sequences: the list's tokens.
        resumes: the careers, which score every row once.
        realised: place in the list of each row's title, shape (rows,).
    """

    sequences: tuple[tuple[int, ...], ...]
    resumes: list[TokenizedResume]
    realised: np.ndarray

    @property
    def rows(self) -> int:
        """Number of person-years."""
        return len(self.realised)

    @property
    def tree(self) -> TitleTree:
        """The list as a tree."""
        return TitleTree.of(self.sequences)


def random_list(
    rng: np.random.Generator, titles: int, *, longest: int = 5, letters: int = 4, vocabulary: int = VOCABULARY
) -> tuple[tuple[int, ...], ...]:
    """Titles over a few tokens, so that they share beginnings and endings, some beginning with the whole of others."""
    alphabet = rng.choice(np.arange(2, vocabulary), size=letters, replace=False)
    found: dict[tuple[int, ...], None] = {}
    while len(found) < titles:
        words = rng.choice(alphabet, size=int(rng.integers(0, longest)))
        found[(*words.tolist(), LINE_END)] = None
    return tuple(found)


def random_case(
    rng: np.random.Generator,
    sequences: tuple[tuple[int, ...], ...],
    gaps: Sequence[Sequence[int]],
    *,
    vocabulary: int = VOCABULARY,
) -> Case:
    """Careers of random tokens.

    Args:
        rng: the randomness.
        sequences: the list's tokens.
        gaps: for each career, how many tokens stand before each of its titles, the first at least one.
        vocabulary: size of the vocabulary.
    """
    resumes, realised = [], []
    for career in gaps:
        tokens: list[int] = []
        cuts, ends = [], []
        first = len(realised)
        for gap in career:
            tokens += rng.integers(2, vocabulary, size=gap).tolist()
            cuts.append(len(tokens))
            realised.append(int(rng.integers(len(sequences))))
            tokens += sequences[realised[-1]]
            ends.append(len(tokens))
        rows = range(first, len(realised))
        resumes.append(TokenizedResume(np.array(tokens), rows, np.array(cuts), np.array(ends)))
    return Case(sequences, resumes, np.array(realised))


@torch.inference_mode()
def brute_force(
    model: Any,
    resumes: Sequence[TokenizedResume],
    sequences: Sequence[tuple[int, ...]],
    rows: int,
    *,
    prompt: Sequence[int] = (),
) -> np.ndarray:
    """Every title by itself, batch size 1, no cache, the model's plain output; shape (rows, titles)."""
    answer = np.full((rows, len(sequences)), np.nan)
    for resume in resumes:
        for line in range(resume.first_scored, len(resume.rows)):
            prefix = [*prompt, *resume.tokens[: int(resume.cuts[line])].tolist()]
            for place, sequence in enumerate(sequences):
                text = torch.tensor([[*prefix, *sequence[:-1]]], device=model.device)
                logits = model(input_ids=text, use_cache=False).logits[0, len(prefix) - 1 :]
                steps = logits.double().log_softmax(1)
                answer[resume.rows[line], place] = float(steps[range(len(sequence)), list(sequence)].sum())
    return answer


def close(found: np.ndarray, expected: np.ndarray, *, double: bool = False, short_softmax: bool = False) -> bool:
    """Whether log-probabilities agree within what the arithmetic allows."""
    absolute = (1e-6 if short_softmax else 1e-9) if double else 1e-4
    relative = 0.0 if double else 1e-6
    return bool((np.abs(found - expected) <= absolute + relative * np.abs(expected)).all())
