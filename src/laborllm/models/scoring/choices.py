"""Exact probabilities of a closed list of strings after any prefixes, on their own: no careers needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.models.probabilities import normalise
from laborllm.models.scoring.routes import context_length
from laborllm.models.scoring.scorer import Progress, Scorer, no_progress
from laborllm.text.titles import TitleTree, TokenizedResume, require_prefix_free, require_unchanged

TAIL = 48
"""Characters at the end of a prefix on which the tokens of what follows may depend."""


@dataclass(frozen=True)
class ChoiceScores:
    """Probabilities of each choice after each prefix.

    Attributes:
        raw: log-probabilities under the model, nats, shape (prefixes, choices); exp of a row sums to at most 1.
        log_probabilities: the same, normalised over the choices, shape (prefixes, choices).
        log_mass: log of the sum of exp(raw), nats, shape (prefixes,).
        arithmetic: the precision of the model's layers, and the forward pass that was taken.
    """

    raw: np.ndarray
    log_probabilities: np.ndarray
    log_mass: np.ndarray
    arithmetic: str


def score_choices(
    model: Any,
    tokenizer: Any,
    prefixes: Sequence[str],
    choices: Sequence[str],
    *,
    separator: str = " ",
    end: str = "\n",
    progress: Progress = no_progress,
) -> ChoiceScores:
    """The exact distribution of a causal language model over a closed list of strings, after any prefixes.

    What is scored is ``separator + choice + end`` after ``prefix``: every prefix is encoded once, choices share the
    tokens with which they begin, and the end makes the list prefix-free ("New York", "New York City"). Nothing is
    divided by length. Mass on other tokenisations of the same string is not counted.

    Args:
        model: a Hugging Face causal language model.
        tokenizer: its fast tokenizer.
        prefixes: the texts, none of which ends in the separator.
        choices: the closed list, unique.
        separator: what stands between prefix and choice.
        end: what stands after a choice; it may be empty if no choice's tokens begin with another's.
        progress: called with (prefixes done, all prefixes).

    Raises:
        LaborLLMError: the list is empty or has duplicates, a choice changes under the tokenizer or has other tokens
            after one prefix than after another, a prefix does not fit the context, or the weights are not finite.

    Examples:
        >>> from laborllm.models.language.scratch import tiny_llama, train_tokenizer
        >>> days = ["Monday", "Tuesday", "Wednesday"]
        >>> tokenizer = train_tokenizer(["The day after Monday is Tuesday\\n"], days, 300)
        >>> scores = score_choices(tiny_llama(tokenizer, seed=1), tokenizer, ["The day after Monday is"], days)
        >>> scores.log_probabilities.shape, bool(scores.log_mass[0] < 0)
        ((1, 3), True)
    """
    _require_list(prefixes, choices)
    _require_open_ends(prefixes, separator)
    start = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    heads = _tokens(tokenizer, prefixes)
    sequences = _sequences(tokenizer, prefixes, choices, separator, end)
    tree = TitleTree.of(sequences)
    documents = []
    for row, head in enumerate(heads):
        tokens = np.array([*start, *head], dtype=np.int64)
        _require_fits(model, prefixes[row], len(tokens), max(map(len, sequences)))
        cut = np.array([len(tokens)])
        documents.append(TokenizedResume(tokens, range(row, row + 1), cut, cut))
    scorer = Scorer(model.eval())
    raw = scorer.titles(documents, tree, rows=len(prefixes), progress=progress)
    log_probabilities, log_mass = normalise(raw)
    return ChoiceScores(raw, log_probabilities, log_mass, f"{scorer.arithmetic}; {scorer.route}")


def _require_list(prefixes: Sequence[str], choices: Sequence[str]) -> None:
    if not choices or not prefixes:
        raise LaborLLMError(f"there are {len(prefixes)} prefixes and {len(choices)} choices; give at least one of each")
    seen: set[str] = set()
    for place, choice in enumerate(choices):
        if choice in seen:
            raise LaborLLMError(f"choice {place}, {choice!r}, stands twice in the list; remove one")
        seen.add(choice)


def _require_open_ends(prefixes: Sequence[str], separator: str) -> None:
    for place, prefix in enumerate(prefixes):
        if separator.isspace() and prefix != prefix.rstrip(" "):
            raise LaborLLMError(
                f"prefix {place} ends in a space ({prefix[-20:]!r}); end it before the space, which the separator adds"
            )


def _require_fits(model: Any, prefix: str, tokens: int, longest: int) -> None:
    context = context_length(model)
    if tokens + longest > context:
        raise LaborLLMError(
            f"the prefix that begins {prefix[:40]!r} takes {tokens} tokens and the longest choice {longest}, but the "
            f"model's context is {context}; shorten the prefix"
        )
    if tokens == 0:
        raise LaborLLMError("a prefix is empty and the tokenizer has no start token; give it at least one character")


def _sequences(
    tokenizer: Any, prefixes: Sequence[str], choices: Sequence[str], separator: str, end: str
) -> tuple[tuple[int, ...], ...]:
    """The tokens of each choice after a prefix, the same after every one."""
    found: tuple[tuple[int, ...], ...] = ()
    first_tail = ""
    for tail in dict.fromkeys(prefix[-TAIL:] for prefix in prefixes):
        sequences = _sequences_after(tokenizer, tail, [separator + choice + end for choice in choices])
        first_tail, found = (first_tail, found) if found else (tail, sequences)
        for choice, one, other in zip(choices, found, sequences, strict=True):
            if one != other:
                raise LaborLLMError(
                    f"choice {choice!r} has other tokens after {tail!r} than after {first_tail!r}; end all prefixes "
                    "alike"
                )
    require_prefix_free(found, choices)
    return found


def _sequences_after(tokenizer: Any, tail: str, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The tokens that each text adds to those of the tail."""
    head, *joined = _tokens(tokenizer, [tail, *(tail + text for text in texts)])
    sequences = []
    for text, tokens in zip(texts, joined, strict=True):
        if tokens[: len(head)] != head or len(tokens) == len(head):
            raise LaborLLMError(
                f"one token spans the end of the prefix and the beginning of {text!r}; end the prefix before the space"
            )
        sequence = tuple(tokens[len(head) :])
        require_unchanged(tokenizer, sequence, text)
        sequences.append(sequence)
    return tuple(sequences)


def _tokens(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    if not getattr(tokenizer, "is_fast", False):
        raise LaborLLMError(f"{type(tokenizer).__name__} is no fast tokenizer; convert it to a tokenizer.json first")
    coded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [list(ids) for ids in coded["input_ids"]]
