"""Other ways to score the closed list after one prefix, each written as its users would write it, at its best.

Every way takes the same (worker, year) pairs and the same token sequences, line end included, and gives the same
numbers. Prefixes of one call belong to one worker's career.
"""

import importlib.metadata
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


@dataclass(frozen=True)
class ClosedList:
    """The titles as they follow a prefix.

    Attributes:
        texts: a space, the title and the line end of each occupation.
        sequences: the tokens of each of them in context.
    """

    texts: tuple[str, ...]
    sequences: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Case:
    """One (worker, year): the prefix as text and as tokens, start token first, and its row in laborllm's answer."""

    text: str
    tokens: tuple[int, ...]
    row: int


class Way(Protocol):
    """A way to score titles.

    Attributes:
        name: what tables call it.
        batch_sizes: those worth trying, in titles.
        cases: how many (worker, year) pairs it scores each time it is measured.
        full_logits: whether it holds logits of every position of a batch, which bounds the batch size.
    """

    name: str
    batch_sizes: tuple[int, ...]
    cases: int
    full_logits: bool

    def __init__(self, model: Any, tokenizer: Any, titles: ClosedList) -> None: ...

    def score(self, cases: Sequence[Case], places: Sequence[int], batch: int) -> np.ndarray:
        """Log-probability of the titles at the given places after each case, shape (cases, places)."""
        ...


PACKAGES = {"lm-evaluation-harness": ("lm_eval", "0.4.13"), "minicons": ("minicons", "0.3.39")}
"""Way -> the package that it needs, and the version that was tried."""


def version_of(package: str) -> str | None:
    """The installed version of a package, None where it is not installed."""
    return importlib.metadata.version(package) if importlib.util.find_spec(package) else None


def install_command(way: str) -> str:
    """The pip command that would install what a way needs."""
    package, version = PACKAGES[way]
    return f"pip install {package}=={version} -c constraints.txt"


def by_length(titles: ClosedList, places: Sequence[int], batch: int) -> Iterator[list[int]]:
    """Positions in ``places``, longest titles first, a batch at a time."""
    order = sorted(range(len(places)), key=lambda index: -len(titles.sequences[places[index]]))
    return (order[first : first + batch] for first in range(0, len(order), batch))


class Harness:
    """EleutherAI lm-evaluation-harness: ``HFLM.loglikelihood`` of strings; it re-encodes the prefix for each title."""

    name, batch_sizes, cases, full_logits = "lm-evaluation-harness", (8, 16, 64), 1, True

    def __init__(self, model: Any, tokenizer: Any, titles: ClosedList) -> None:
        self.model, self.tokenizer, self.titles = model, tokenizer, titles
        self.scorers: dict[int, Any] = {}

    def scorer(self, batch: int) -> Any:
        """The harness's model with a batch size."""
        from lm_eval.models.huggingface import HFLM

        if batch not in self.scorers:
            logging.getLogger("lm_eval").setLevel(logging.ERROR)
            self.scorers[batch] = HFLM(pretrained=self.model, tokenizer=self.tokenizer, batch_size=batch)
        return self.scorers[batch]

    def score(self, cases: Sequence[Case], places: Sequence[int], batch: int) -> np.ndarray:
        """Log-probabilities of titles, shape (cases, places)."""
        from lm_eval.api.instance import Instance

        pairs = [(case.text, self.titles.texts[place]) for case in cases for place in places]
        requests = [
            Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=index)
            for index, pair in enumerate(pairs)
        ]
        with torch.inference_mode():
            answers = self.scorer(batch).loglikelihood(requests, disable_tqdm=True)
        return np.array([total for total, _ in answers]).reshape(len(cases), len(places))


class Minicons:
    """minicons: ``IncrementalLMScorer.conditional_score`` with a sum, on batches of titles of similar length."""

    name, batch_sizes, cases, full_logits = "minicons", (8, 16, 64), 1, True

    def __init__(self, model: Any, tokenizer: Any, titles: ClosedList) -> None:
        from minicons import scorer

        self.titles = titles
        self.scorer = scorer.IncrementalLMScorer(model, device="cpu", tokenizer=tokenizer)

    def score(self, cases: Sequence[Case], places: Sequence[int], batch: int) -> np.ndarray:
        """Log-probabilities of titles, shape (cases, places)."""
        scores = np.zeros((len(cases), len(places)))
        for row, case in enumerate(cases):
            for group in by_length(self.titles, places, batch):
                words = [self.titles.texts[places[index]].removeprefix(" ") for index in group]
                with torch.inference_mode():
                    scores[row, group] = self.scorer.conditional_score(
                        [case.text] * len(group), words, separator=" ", reduction=lambda steps: steps.sum().item()
                    )
        return scores


class PlainBatches:
    """The Hugging Face model on prefix and title together, batches of similar length, padded on the right."""

    name, batch_sizes, cases, full_logits = "Hugging Face, plain batches", (8, 16, 64), 1, True

    def __init__(self, model: Any, tokenizer: Any, titles: ClosedList) -> None:
        self.model, self.titles = model, titles

    def score(self, cases: Sequence[Case], places: Sequence[int], batch: int) -> np.ndarray:
        """Log-probabilities of titles, shape (cases, places)."""
        scores = np.zeros((len(cases), len(places)))
        for row, case in enumerate(cases):
            for group in by_length(self.titles, places, batch):
                scores[row, group] = self._score(case, [self.titles.sequences[places[index]] for index in group])
        return scores

    @torch.inference_mode()
    def _score(self, case: Case, sequences: Sequence[tuple[int, ...]]) -> np.ndarray:
        """Log-probability of each of the sequences after a prefix, shape (sequences,)."""
        tokens, attended = right_padded([(*case.tokens, *sequence[:-1]) for sequence in sequences])
        logits = self.model(input_ids=tokens, attention_mask=attended, use_cache=False).logits
        first = len(case.tokens) - 1
        rows, steps = real_places(sequences)
        chosen = logits[rows, first + steps]  # (title tokens, vocabulary)
        return summed(log_probability(chosen, sequences), sequences)


class ExpandedCache:
    """Keys and values of the prefix kept, expanded over batches of titles; only the titles' own tokens are fed.

    The longest prefix asked for is encoded once and serves every earlier year of the same worker. A title's last token
    is not fed, its first is read off the prefix, and logits are made at real tokens alone.
    """

    name, batch_sizes, cases, full_logits = "Hugging Face, expanded KV cache", (16, 32, 64, 128), 4, False

    def __init__(self, model: Any, tokenizer: Any, titles: ClosedList) -> None:
        self.model, self.titles = model, titles

    @torch.inference_mode()
    def score(self, cases: Sequence[Case], places: Sequence[int], batch: int) -> np.ndarray:
        """Log-probabilities of titles, shape (cases, places)."""
        longest = max((case.tokens for case in cases), key=len)
        if any(longest[: len(case.tokens)] != case.tokens for case in cases):
            raise ValueError("the prefixes are not of one career")
        cache = DynamicCache()
        text = torch.tensor([longest], device=self.model.device)
        document = self.model.model(input_ids=text, past_key_values=cache, use_cache=True)
        scores = np.zeros((len(cases), len(places)))
        for row, case in enumerate(cases):
            last = document.last_hidden_state[0, len(case.tokens) - 1]
            root = self.model.lm_head(last).float().log_softmax(0).cpu().numpy()  # (vocabulary,)
            for group in by_length(self.titles, places, batch):
                sequences = [self.titles.sequences[places[index]] for index in group]
                scores[row, group] = root[[sequence[0] for sequence in sequences]]
                scores[row, group] += self._score(cache, len(case.tokens), sequences)
        return scores

    def _score(self, cache: Any, length: int, sequences: Sequence[tuple[int, ...]]) -> np.ndarray:
        """Log-probability of each sequence after its first token, shape (sequences,)."""
        rests = [sequence[1:] for sequence in sequences]
        fed = [index for index, rest in enumerate(rests) if rest]
        scores = np.zeros(len(rests))
        if fed:
            tokens, _ = right_padded([sequences[index][:-1] for index in fed])
            behind = expanded(cache, length, len(fed))
            tokens = tokens.to(self.model.device)
            hidden = self.model.model(input_ids=tokens, past_key_values=behind, use_cache=True).last_hidden_state
            waiting = [rests[index] for index in fed]
            rows, steps = real_places(waiting)
            scores[fed] = summed(log_probability(self.model.lm_head(hidden[rows, steps]), waiting), waiting)
        return scores


def expanded(cache: Any, length: int, rows: int) -> Any:
    """A cache of the first ``length`` tokens for so many rows, without a copy: the forward pass makes the only one."""
    behind = DynamicCache()
    for layer in cache.layers:
        own = DynamicLayer()
        own.lazy_initialization(layer.keys, layer.values)
        own.keys = layer.keys[:, :, :length].expand(rows, -1, -1, -1)
        own.values = layer.values[:, :, :length].expand(rows, -1, -1, -1)
        behind.layers.append(own)
    return behind


def right_padded(sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and whether each is real, both of shape (sequences, longest)."""
    longest = max(len(sequence) for sequence in sequences)
    tokens = torch.tensor([[*sequence, *[0] * (longest - len(sequence))] for sequence in sequences])
    real = torch.tensor([[1] * len(sequence) + [0] * (longest - len(sequence)) for sequence in sequences])
    return tokens, real


def real_places(sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and step of every token of every sequence, shapes (tokens,)."""
    rows = [row for row, sequence in enumerate(sequences) for _ in sequence]
    steps = [step for sequence in sequences for step in range(len(sequence))]
    return torch.tensor(rows), torch.tensor(steps)


def log_probability(logits: torch.Tensor, sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Log-probability of every token of every sequence, float64; logits have shape (tokens, vocabulary)."""
    tokens = torch.tensor([token for sequence in sequences for token in sequence], device=logits.device)
    logits = logits.float()
    chosen = logits.gather(1, tokens[:, None])[:, 0]
    return (chosen - logits.logsumexp(1)).double().cpu().numpy()  # (tokens,)


def summed(steps: np.ndarray, sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Sum over each sequence's tokens, shape (sequences,)."""
    ends = np.cumsum([len(sequence) for sequence in sequences])
    return np.diff(np.append(0.0, np.append(0.0, np.cumsum(steps))[ends]))


WAYS: tuple[type[Way], ...] = (ExpandedCache, Harness, Minicons, PlainBatches)
"""In the order in which a round measures them."""
