"""Scores of a long job, kept shard by shard: a killed job goes on without scoring a finished shard again.

A shard is some people, one after the other, with the résumés that score their rows. Its scores are one safetensors
file that is whole or absent and bears the fingerprint of all that they depend on: the model, and the tokens of those
résumés. The boundaries depend on the careers alone, so a job that was killed ends with the same bits as one that was
not. The files stay until ``discard_shards``: who calls it has written down what was made of them.
"""

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.models.ranks import ALONE, Ranks
from laborllm.text.titles import TokenizedResume

PERSON_YEARS = 2000
"""Person-years of a shard, about: what a kill may cost. Fewer would leave batches half empty."""

FOLDER = "shards"
"""Where a model's folder keeps them."""

SECONDS_TO_APPEAR = 120.0
"""A network drive may show another machine's file only after its cache of names has expired (NFS: 60 s)."""

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

logger = logging.getLogger(__name__)


class Score(Protocol):
    """Scores of some résumés, the first axis being their person-years: shape (rows,) or (rows, occupations)."""

    def __call__(self, resumes: Sequence[TokenizedResume], *, rows: int, progress: Progress) -> np.ndarray: ...


@dataclass(frozen=True)
class Shard:
    """Some people, one after the other.

    Attributes:
        rows: their person-years in the Careers table.
        resumes: their résumés, whose rows are counted from the shard's first.
    """

    rows: slice
    resumes: list[TokenizedResume]

    @property
    def person_years(self) -> int:
        return int(self.rows.stop - self.rows.start)

    def fingerprint(self, model: str) -> str:
        """Hash of what the scores depend on: the model, by its own fingerprint, and the résumés' tokens."""
        digest = hashlib.sha256(model.encode())
        for resume in self.resumes:
            digest.update(repr((resume.rows, resume.first_scored, len(resume.tokens))).encode())
            for numbers in (resume.tokens, resume.cuts, resume.ends):
                digest.update(np.asarray(numbers, dtype=np.int64).tobytes())
        return digest.hexdigest()


def cut_into_shards(
    resumes: Sequence[TokenizedResume], starts: np.ndarray, person_years: int = PERSON_YEARS
) -> list[Shard]:
    """Whole people whose first rows fall into the same stretch of so many rows.

    Args:
        resumes: tokenized résumés that together score every row once, in any order.
        starts: first row of each person, then the number of rows, shape (people + 1,).
        person_years: rows of a stretch.
    """
    first = starts[:-1][np.diff(starts[:-1] // person_years, prepend=-1) > 0]  # (shards,)
    members: list[list[TokenizedResume]] = [[] for _ in first]
    for resume in resumes:
        place = int(np.searchsorted(first, resume.rows.start, side="right")) - 1
        begin = int(first[place])
        rows = range(resume.rows.start - begin, resume.rows.stop - begin)
        members[place].append(replace(resume, rows=rows))
    last = [*first[1:].tolist(), int(starts[-1])]
    return [Shard(slice(begin, end), part) for begin, end, part in zip(first.tolist(), last, members, strict=True)]


def score_in_shards(
    shards: Sequence[Shard], folder: Path, *, score: Score, model: str, progress: Progress, ranks: Ranks = ALONE
) -> Iterator[tuple[slice, np.ndarray]]:
    """Scores of every shard: first those that an earlier run left in the folder, then the others as they are done.

    Several ranks score together: each takes the next shard that nobody has taken, writes it, and in the end reads
    what the others wrote, so that every rank has all scores. All of them must iterate to the end. An earlier run may
    have had another number of ranks.

    Args:
        shards: the shards, the same on every rank.
        folder: the model's folder, the same on every rank.
        score: scores the résumés of one shard.
        model: fingerprint of all else that the scores depend on.
        progress: called with (person-years done, all person-years); the first call tells what was there already.
        ranks: the processes that score together.

    Yields:
        The rows of a shard and its scores, as ``score`` gave them.

    Raises:
        LaborLLMError: the disk is full, the folder cannot be written, a rank has another model, or cannot see
            another's files; finished shards stay.
    """
    if ranks.shared(model) != model:
        raise LaborLLMError(
            f"{folder}: process {ranks.rank} of {ranks.size} has another model than the first one; give all of them "
            "the same software, kind of device and files"
        )
    total = sum(shard.person_years for shard in shards)
    unread = dict(enumerate(shards))
    for place, shard in enumerate(shards):
        scores = _read(_file(folder, shard), shard.fingerprint(model))
        if scores is not None:
            del unread[place]
            yield shard.rows, scores
    places: list[int] = ranks.shared(list(unread))
    missing = [shards[place] for place in places]
    before = np.cumsum([total - sum(shard.person_years for shard in missing), *(each.person_years for each in missing)])
    progress(int(before[0]), total)
    for turn in ranks.turns(len(missing)):
        shard = missing[turn]
        report = partial(_report_within, progress, int(before[turn]), shard.person_years, total)
        scores = score(shard.resumes, rows=shard.person_years, progress=report)
        _write(_file(folder, shard), shard.fingerprint(model), scores)
        unread.pop(places[turn], None)
        yield shard.rows, scores
        progress(int(before[turn + 1]), total)
    ranks.barrier()
    for shard in unread.values():
        yield shard.rows, _read_of_other(_file(folder, shard), shard.fingerprint(model))
    ranks.barrier()  # nobody overwrites or discards a file that another rank has yet to read


def discard_shards(folder: Path) -> None:
    """Remove the shards of a model's folder, once a whole file holds what was made of them."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _file(folder: Path, shard: Shard) -> Path:
    return folder / FOLDER / f"{shard.rows.start:09d}.safetensors"


def _report_within(progress: Progress, before: int, person_years: int, total: int, done: int, whole: int) -> None:
    """Progress inside a shard, in person-years, whatever its score counts."""
    progress(before + person_years * done // whole, total)


def _write(path: Path, fingerprint: str, scores: np.ndarray) -> None:
    about = {"fingerprint": fingerprint, "sha256": _hash(scores)}
    with whole_file(path) as temporary:
        temporary.write_bytes(save({"scores": scores}, metadata=about))


def _read(path: Path, fingerprint: str) -> np.ndarray | None:
    """The scores of a file; None if it is missing, of another fingerprint, or (logged) broken."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as shard:
            about, scores = shard.metadata() or {}, shard.get_tensor("scores")
    except (OSError, SafetensorError) as error:
        logger.warning("%s: cannot be read (%s); its person-years are scored again", path, error)
        return None
    if about.get("fingerprint") != fingerprint:
        return None
    if about.get("sha256") != _hash(scores):
        logger.warning("%s: is not as it was written; its person-years are scored again", path)
        return None
    return np.asarray(scores)


def _read_of_other(path: Path, fingerprint: str) -> np.ndarray:
    """The scores that another rank has written; a network drive may show them late."""
    give_up = monotonic() + SECONDS_TO_APPEAR
    while True:
        scores = _read(path, fingerprint)
        if scores is not None:
            return scores
        if monotonic() > give_up:
            raise LaborLLMError(
                f"{path}: another process wrote it and this one cannot read it; put the run folder on a drive that "
                "all machines share"
            )
        sleep(0.2)


def _hash(scores: np.ndarray) -> str:
    return hashlib.sha256(scores.tobytes()).hexdigest()
