"""Histories as vectors: a hidden state of a causal language model or of an encoder, kept on disk as float16."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModel

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.models.language.batches import groups, padded
from laborllm.models.language.embedding_settings import EmbeddingLogitSettings
from laborllm.models.language.loading import load_checkpoint, load_tokenizer
from laborllm.models.language.windows import fit_context, last_lines, lines_without_oldest
from laborllm.models.room import free_memory, row_bytes
from laborllm.models.scoring.fingerprint import model_fingerprint
from laborllm.models.scoring.routes import context_length
from laborllm.models.scoring.scorer import Pack, Progress, Scorer, no_progress
from laborllm.models.scoring.shards import cut_into_shards, score_in_shards
from laborllm.survey.careers import Careers
from laborllm.survey.occupations import Occupations
from laborllm.text.resume import Resume, ResumeSettings, resume_titles, write_resumes
from laborllm.text.titles import ResumeTokenizer, TokenizedResume

LARGEST = float(np.finfo(np.float16).max)
CAUSAL = ("ForCausalLM", "LMHeadModel")
"""Endings of the names of architectures in which a token sees those before it alone."""
MOST_TOKENS = 8192
"""Tokens that go through an encoder together when memory is plenty."""
FEWEST_TOKENS = 512

logger = logging.getLogger(__name__)


class CausalEmbedding:
    """States of a causal model: a career goes through once, and every row's state is read off its prefix.

    Args:
        settings: which checkpoint, which layer and pool.
        occupations: the closed list.

    Raises:
        LaborLLMError: the checkpoint or its tokenizer cannot be used, or layer or pool do not suit it.
    """

    pools = ("last", "mean")

    def __init__(self, settings: EmbeddingLogitSettings, occupations: Occupations) -> None:
        self.model, tokenizer = load_checkpoint(settings.folder)
        self.model = self.model.to(_device()).eval()
        self.resumes = ResumeTokenizer(tokenizer, resume_titles(occupations, settings.text))
        self.layer, self.pool = _layer(self.model, settings.layer), _pool(self.model, settings.pool, self.pools)
        memory = None if settings.memory_gib is None else settings.memory_gib * 2**30
        self.scorer = Scorer(self.model, memory=memory)

    def prefixes(self, written: Sequence[Resume]) -> list[TokenizedResume]:
        """Résumés as tokens, in windows where a career is longer than the context."""
        resumes = fit_context(self.resumes, written, context_length(self.model))
        self.scorer.check(resumes)
        return resumes

    @property
    def route(self) -> str:
        """What computes the states."""
        return self.scorer.route

    def embed(self, resumes: Sequence[TokenizedResume], *, rows: int, progress: Progress = no_progress) -> np.ndarray:
        """The state of every row, float32, shape (rows, width).

        Args:
            resumes: tokenized résumés that together cover every row once.
            rows: number of person-years.
            progress: called with (person-years done, all person-years).
        """
        if self.pool == "last":
            return self.scorer.hidden(resumes, rows=rows, layer=self.layer, progress=progress)
        states = np.full((rows, int(self.model.config.get_text_config().hidden_size)), np.nan, dtype=np.float32)
        self.scorer.over_packs(resumes, partial(self._average, states), rows=rows, progress=progress, share=1)
        return states

    @torch.inference_mode()
    def _average(self, states: np.ndarray, pack: Pack) -> None:
        """Write the mean state of every prefix of a pack; the start token, the same in all texts, is left out."""
        documents, skipped = pack.documents, len(self.resumes.start)
        every = [np.arange(skipped, len(document)) for document in documents]
        found = self.scorer.forward.hidden(documents, every, self.layer).double().cpu().numpy()  # (tokens, width)
        lengths = np.array([len(document) - skipped for document in documents])
        begin = (np.cumsum(lengths) - lengths)[pack.document]  # (lines,): where each line's document begins
        sums = np.concatenate([np.zeros((1, found.shape[1])), found.cumsum(axis=0)])
        length = pack.cut - skipped
        states[pack.row] = (sums[begin + length] - sums[begin]) / length[:, None]


class EncoderEmbedding:
    """States of an encoder, whose tokens see one another: every prefix goes through on its own, or it saw the future.

    Where a prefix is longer than the context its oldest rows leave and the header stays.

    Args:
        settings: which checkpoint, which layer and pool.

    Raises:
        LaborLLMError: the checkpoint or its tokenizer cannot be used, or layer or pool do not suit it.
    """

    pools = ("mean", "first")
    route = "encoder, one prefix at a time"

    def __init__(self, settings: EmbeddingLogitSettings) -> None:
        self.model, self.tokenizer = _load_encoder(settings.folder)
        self.model = self.model.to(_device()).eval()
        self.layer, self.pool = _layer(self.model, settings.layer), _pool(self.model, settings.pool, self.pools)
        self.context = _encoder_context(self.model, self.tokenizer)
        given = settings.memory_gib
        room = free_memory(self.model.device) / 2 if given is None else given * 2**30
        config = self.model.config.get_text_config()
        self.width = int(config.hidden_size)
        self.tokens_together = int(np.clip(room // row_bytes(config, 4), FEWEST_TOKENS, MOST_TOKENS))

    def prefixes(self, written: Sequence[Resume]) -> list[TokenizedResume]:
        """Every row's prefix as tokens of its own: a résumé of which the last line alone is scored.

        Raises:
            LaborLLMError: a header and one line do not fit the context.
        """
        return [prefix for resume in written for prefix in self._prefixes_of(resume)]

    @torch.inference_mode()
    def embed(self, resumes: Sequence[TokenizedResume], *, rows: int, progress: Progress = no_progress) -> np.ndarray:
        """The state of every row, float32, shape (rows, width); arguments as of ``CausalEmbedding.embed``."""
        states, done = np.full((rows, self.width), np.nan, dtype=np.float32), 0
        for together in groups(resumes, self.tokens_together, packed=False):
            batch = padded(together, self.model.device)
            found = self._pooled(batch.tokens, batch.attended).float().cpu().numpy()  # (prefixes, width)
            states[[resume.rows[-1] for resume in together]] = found
            progress(done := done + len(found), rows)
        return states

    def _pooled(self, tokens: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """One state for each prefix; padding is not attended to and not averaged."""
        output = self.model(input_ids=tokens, attention_mask=attended, output_hidden_states=True)
        states = output.hidden_states[self.layer]  # (prefixes, tokens, width)
        if self.pool == "first":
            return states[:, 0]
        weight = (attended / attended.sum(1, keepdim=True)).to(states.dtype)[:, None]  # (prefixes, 1, tokens)
        return (weight @ states)[:, 0]  # (prefixes, width)

    def _prefixes_of(self, resume: Resume) -> list[TokenizedResume]:
        starts = np.concatenate([[resume.text.rindex("\n", 0, int(resume.cuts[0])) + 1], resume.ends[:-1]])  # (lines,)
        found: dict[int, TokenizedResume] = {}
        waiting = dict.fromkeys(range(resume.first_scored, len(resume.rows)), 0)  # line -> oldest line that is kept
        while waiting:
            texts = [
                resume.text[: starts[0]] + resume.text[starts[first] : resume.cuts[line]]
                for line, first in waiting.items()
            ]
            # Truncation and padding are off, whatever the tokenizer.json bears.
            coded = self.tokenizer(texts, padding=False, truncation=False, return_offsets_mapping=True, verbose=False)
            longer, tokens = {}, zip(coded["input_ids"], coded["offset_mapping"], strict=True)
            for (line, first), (ids, offsets) in zip(waiting.items(), tokens, strict=True):
                if len(ids) > self.context:
                    longer[line] = self._newer(starts - starts[first] + starts[0], line, first, offsets)
                else:
                    found[line] = _prefix(ids, range(resume.rows[first], resume.rows[line] + 1))
            waiting = longer
        return [found[line] for line in sorted(found)]

    def _newer(self, starts: np.ndarray, line: int, first: int, offsets: list[tuple[int, int]]) -> int:
        """The oldest line to keep so that a prefix that is too long fits, by the tokens of the lines that leave.

        Args:
            starts: the character of the prefix at which each line begins, shape (lines,).
            line: the line whose prefix it is.
            first: the oldest line that it has.
            offsets: where each of its tokens begins and ends.
        """
        if first == line:
            raise LaborLLMError(
                f"a résumé's header and one line take {len(offsets)} tokens, but the encoder's context is "
                f"{self.context}; choose one with a longer context or drop covariates from the text"
            )
        begins = np.sort([begin for begin, _ in offsets])
        left = np.searchsorted(begins, starts[first + 1 : line + 1]) - np.searchsorted(begins, starts[first])
        enough = np.flatnonzero(len(offsets) - left <= self.context)
        return first + 1 + (int(enough[0]) if len(enough) else line - first - 1)


Embedding = CausalEmbedding | EncoderEmbedding


def load_embedding(settings: EmbeddingLogitSettings, occupations: Occupations) -> Embedding:
    """The language model of some settings: causal if the name of its architecture says so, otherwise an encoder.

    Raises:
        LaborLLMError: the checkpoint or its tokenizer cannot be used, or layer or pool do not suit it.
    """
    architecture = _architecture(settings.folder)
    if architecture.endswith(CAUSAL):
        return CausalEmbedding(settings, occupations)
    return EncoderEmbedding(settings)


def embed_careers(
    embedding: Embedding, careers: Careers, text: ResumeSettings, cache: Path, progress: Progress = no_progress
) -> tuple[np.ndarray, int]:
    """The state of every person-year's prefix, from the cache where it is there.

    The file bears a hash of all that the states depend on: weights, software, device, layer, pool and every token. It
    is whole or absent; a killed job goes on from the shards that it left beside it.

    Args:
        embedding: what makes the states.
        careers: any careers.
        text: how careers are worded.
        cache: folder of the files.
        progress: called with (person-years done, all person-years).

    Returns:
        float16 memory map, shape (person_years, width), and how many rows lost their oldest history to the context.

    Raises:
        LaborLLMError: a state is not finite or too large for float16, or the disk is full.
    """
    prefixes = embedding.prefixes(write_resumes(careers, text))
    shortened = lines_without_oldest(prefixes, careers) if text.last_rows is None else 0
    shards = cut_into_shards(prefixes, careers.starts)
    model = f"{embedding.layer} {embedding.pool} {embedding.route} {model_fingerprint(embedding.model, [])}"
    digest = hashlib.sha256("".join(shard.fingerprint(model) for shard in shards).encode())
    path = cache / f"{digest.hexdigest()[:32]}.npy"
    states = _read(path, len(careers))
    if states is None:
        pieces = score_in_shards(shards, path.with_suffix(""), score=_Half(embedding), model=model, progress=progress)
        _write(path, pieces, len(careers))
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        states = _read(path, len(careers))
    if states is None:
        raise LaborLLMError(f"{path}: cannot be read right after it was written; choose another folder")
    return states, shortened


def embed_last(embedding: Embedding, careers: Careers, text: ResumeSettings) -> np.ndarray:
    """The state of each person's last prefix, float16, shape (people, width); nothing is kept.

    Raises:
        LaborLLMError: a state is not finite or too large for float16.
    """
    prefixes = last_lines(embedding.prefixes(write_resumes(careers, text)), careers)
    last = np.array([prefix.rows[-1] for prefix in prefixes])
    alone = [
        replace(prefix, rows=range(place - len(prefix.rows) + 1, place + 1)) for place, prefix in enumerate(prefixes)
    ]
    return _Half(embedding)(alone, rows=len(alone), progress=no_progress)[np.argsort(last)]


@dataclass(frozen=True)
class _Half:
    """Scores shards with states as float16."""

    embedding: Embedding

    def __call__(self, resumes: Sequence[TokenizedResume], *, rows: int, progress: Progress) -> np.ndarray:
        states = self.embedding.embed(resumes, rows=rows, progress=progress)
        largest = float(np.abs(states).max(initial=0))
        if not largest <= LARGEST:  # NaN is not either
            raise LaborLLMError(
                f"layer {self.embedding.layer} of {type(self.embedding.model).__name__} has a state of {largest:.3g}, "
                f"but the largest number of float16 is {LARGEST:.0f}; choose another layer or pool"
            )
        return states.astype(np.float16)


def _write(path: Path, pieces: Iterator[tuple[slice, np.ndarray]], rows: int) -> None:
    """Write pieces in any order as one array; through a stream, for a memory map dies of a full disk."""
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        begin = 0
        for some, states in pieces:
            width = states.shape[1]
            if begin == 0:
                about = {"descr": "<f2", "fortran_order": False, "shape": (rows, width)}
                np.lib.format.write_array_header_1_0(stream, about)
                begin = stream.tell()
            stream.seek(begin + some.start * width * 2)
            stream.write(states.astype("<f2").tobytes())


def _read(path: Path, rows: int) -> np.ndarray | None:
    """The array of a file; None if it is missing or (logged) broken."""
    if not path.is_file():
        return None
    try:
        states = np.load(path, mmap_mode="r", allow_pickle=False)
        if states.ndim == 2 and len(states) == rows and states.dtype == np.float16:
            return np.asanyarray(states)
    except (OSError, ValueError, EOFError) as error:
        logger.warning("%s: cannot be read (%s); its states are computed again", path, error)
        return None
    logger.warning("%s: is not as it was written; its states are computed again", path)
    return None


def _prefix(ids: list[int], rows: range) -> TokenizedResume:
    """A résumé of some rows of which the last one is scored."""
    cuts = np.full(len(rows), len(ids))
    return TokenizedResume(np.array(ids, dtype=np.int64), rows, cuts, cuts, len(rows) - 1)


def _architecture(folder: Path) -> str:
    """The name of a checkpoint's architecture; empty if it has none."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        encoder_decoder, named = content.get("is_encoder_decoder"), content.get("architectures") or [""]
    except (OSError, ValueError, AttributeError) as error:
        raise LaborLLMError(
            f"{folder}: holds no readable config.json; checkpoint must name the folder of a Hugging Face model"
        ) from error
    if encoder_decoder:
        raise LaborLLMError(
            f"{folder}: {named[0]} is an encoder with a decoder; choose a causal language model or an encoder"
        )
    return str(named[0])


def _load_encoder(folder: Path) -> tuple[Any, Any]:
    """An encoder and its tokenizer from a local folder, in float32; heads that a checkpoint has on top are left out.

    Raises:
        LaborLLMError: weights or tokenizer are missing or broken.
    """
    if not list(folder.glob("*.safetensors")):
        raise LaborLLMError(
            f"{folder}: holds no .safetensors weights; convert the checkpoint with save_pretrained "
            "(pickled weights are refused)"
        )
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    model: Any
    loading: dict[str, Any]
    try:
        model, loading = AutoModel.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **local
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LaborLLMError(f"{folder}: cannot be loaded as an encoder ({reason})") from error
    missing = sorted(key for key in loading["missing_keys"] if "pooler" not in key)  # no state goes through a pooler
    if missing or loading["mismatched_keys"]:
        names = missing or sorted(map(str, loading["mismatched_keys"]))
        raise LaborLLMError(f"{folder}: the weights lack {names[0]} ({len(names)} such tensors); copy it whole")
    tokenizer = load_tokenizer(folder, model.config)
    if not tokenizer.is_fast:
        raise LaborLLMError(f"{type(tokenizer).__name__} is no fast tokenizer; convert it to a tokenizer.json first")
    return model, tokenizer


def _encoder_context(model: Any, tokenizer: Any) -> int:
    """Tokens that an encoder sees at once. RoBERTa's positions begin behind the one that padding has."""
    tables = [module for name, module in model.named_modules() if name.endswith("position_embeddings")]
    padding = [getattr(table, "padding_idx", None) for table in tables]
    taken = max((place + 1 for place in padding if place is not None), default=0)
    return min(context_length(model) - taken, int(tokenizer.model_max_length))


def _layer(model: Any, layer: int) -> int:
    """The layer counted from the first one."""
    layers = int(model.config.get_text_config().num_hidden_layers)
    if not -layers - 1 <= layer <= layers:
        raise LaborLLMError(f"layer {layer}: the model has {layers}; choose from {-layers - 1} to {layers}")
    return layer % (layers + 1)


def _pool(model: Any, pool: str | None, allowed: tuple[str, ...]) -> str:
    """How states become one; by default the first way that suits the model."""
    if pool is not None and pool not in allowed:
        kind = "an encoder" if "first" in allowed else "a causal language model"
        raise LaborLLMError(f'pool = "{pool}": {type(model).__name__} is {kind}; choose one of {list(allowed)}')
    return pool or allowed[0]


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
