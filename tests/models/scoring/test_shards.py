"""Shards: a killed job goes on where it stopped and ends with the same bits; broken and foreign shards are redone."""

import io
import logging
import resource
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Queue
from threading import Barrier, BrokenBarrierError, Lock, Thread
from typing import Any

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("safetensors")

from laborllm import cli
from laborllm.errors import LaborLLMError
from laborllm.models.ranks import Ranks
from laborllm.models.scoring import shards as shards_module
from laborllm.models.scoring.shards import FOLDER, Progress, Score, cut_into_shards, discard_shards, score_in_shards
from laborllm.running.run import run_study
from laborllm.study import read_study
from laborllm.survey.careers import Careers
from laborllm.text.titles import TokenizedResume

OCCUPATIONS = 7


def no_progress(done: int, total: int) -> None:
    """Say nothing."""


def resumes_of(careers: Careers, rng: np.random.Generator, window: int | None = None) -> list[TokenizedResume]:
    """Random tokens, one résumé per person or, with ``window``, per so many lines; later windows come last."""
    first, later = [], []
    for start, end in zip(careers.starts[:-1].tolist(), careers.starts[1:].tolist(), strict=True):
        for place, begin in enumerate(range(start, end, window or end - start)):
            rows = range(begin, min(end, begin + (window or end - start)))
            edges = np.cumsum(rng.integers(2, 9, size=2 * len(rows) + 1))
            resume = TokenizedResume(rng.integers(0, 99, size=edges[-1]), rows, edges[:-1:2], edges[1::2])
            (later if place else first).append(resume)
    return first + later


class Scorer:
    """Scores that follow from the tokens; counts its calls and dies at one of them.

    Args:
        dies_at: the call at which it raises; never if not given.
    """

    def __init__(self, dies_at: int | None = None) -> None:
        self.dies_at, self.calls = dies_at, 0

    def __call__(self, resumes: Sequence[TokenizedResume], *, rows: int, progress: Progress) -> np.ndarray:
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        self.calls += 1
        scores = np.full((rows, OCCUPATIONS), np.nan, dtype=np.float32)
        for done, resume in enumerate(resumes, start=1):
            for line, row in enumerate(resume.rows):
                seed = np.append(resume.tokens[: resume.cuts[line]], line)
                scores[row] = np.random.default_rng(seed).normal(size=OCCUPATIONS)
            progress(done, len(resumes))
        return scores


class Job:
    """The same résumés, cut the same way, scored into one folder."""

    def __init__(self, careers: Careers, folder: Path, *, model: str = "a", person_years: int = 20) -> None:
        self.careers, self.folder, self.model = careers, folder, model
        self.resumes = resumes_of(careers, np.random.default_rng(3), window=4)
        self.shards = cut_into_shards(self.resumes, careers.starts, person_years)
        self.seen: list[tuple[int, int]] = []

    def run(self, score: Score, ranks: Ranks | None = None) -> np.ndarray:
        self.seen.clear()
        answer = np.full((len(self.careers), OCCUPATIONS), np.nan, dtype=np.float32)
        found = score_in_shards(
            self.shards,
            self.folder,
            score=score,
            model=self.model,
            progress=lambda *call: self.seen.append(call),
            ranks=ranks or Ranks(),
        )
        for rows, scores in found:
            answer[rows] = scores
        return answer

    def files(self) -> list[Path]:
        return sorted((self.folder / FOLDER).iterdir())


class Meeting:
    """Where threads that stand for ranks meet: what torch.distributed does between processes.

    Args:
        size: number of ranks.
    """

    def __init__(self, size: int) -> None:
        self.size, self.barrier, self.lock = size, Barrier(size, timeout=30), Lock()
        self.value: Any = None
        self.turn = 0


class Threaded(Ranks):
    """A rank that is a thread."""

    def at(self, meeting: Meeting) -> "Threaded":
        object.__setattr__(self, "meeting", meeting)
        return self

    def barrier(self) -> None:
        self.meeting.barrier.wait()  # type: ignore[attr-defined]

    def shared(self, value: Any = None) -> Any:
        meeting = self.meeting  # type: ignore[attr-defined]
        if self.first:
            meeting.value, meeting.turn = value, 0
        self.barrier()
        answer = meeting.value
        self.barrier()
        return answer

    def turns(self, count: int) -> Iterator[int]:
        meeting = self.meeting  # type: ignore[attr-defined]
        while True:
            with meeting.lock:
                turn, meeting.turn = meeting.turn, meeting.turn + 1
            if turn >= count:
                return
            yield turn


def together(jobs: Sequence[Job], scores: Sequence[Score]) -> list[np.ndarray | BaseException]:
    """What each rank's job gives, or what it raises; a rank that raises ends the others."""
    meeting, answers = Meeting(len(jobs)), Queue[tuple[int, Any]]()

    def run(rank: int) -> None:
        try:
            ranks = Threaded(rank, len(jobs), rank).at(meeting)
            answers.put((rank, jobs[rank].run(scores[rank], ranks)))
        except (LaborLLMError, KeyboardInterrupt, BrokenBarrierError) as error:
            meeting.barrier.abort()
            answers.put((rank, error))

    threads = [Thread(target=run, args=(rank,)) for rank in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answer for _, answer in sorted((answers.get() for _ in jobs), key=lambda pair: pair[0])]


@pytest.fixture
def job(few_careers: Careers, tmp_path: Path) -> Job:
    return Job(few_careers, tmp_path)


@pytest.mark.parametrize("person_years", [1, 5, 20, 1000])
def test_every_row_is_in_one_shard_with_its_own_resumes(few_careers: Careers, person_years: int) -> None:
    resumes = resumes_of(few_careers, np.random.default_rng(3), window=2)
    shards = cut_into_shards(resumes, few_careers.starts, person_years)
    rows = [row for shard in shards for row in range(shard.rows.start, shard.rows.stop)]
    assert rows == list(range(len(few_careers)))
    longest = int(np.diff(few_careers.starts).max())
    assert all(0 < shard.person_years < person_years + longest for shard in shards)
    assert {shard.rows.start for shard in shards} <= set(few_careers.starts.tolist())
    for shard in shards:
        scored = sorted(row for resume in shard.resumes for row in resume.rows)
        assert scored == list(range(shard.person_years))
    again = {resume.tokens.tobytes() for shard in shards for resume in shard.resumes}
    assert again == {resume.tokens.tobytes() for resume in resumes}


def test_shards_score_as_one_piece(few_careers: Careers, tmp_path: Path, job: Job) -> None:
    whole = Job(few_careers, tmp_path / "whole", person_years=10**6)
    assert len(whole.shards) == 1
    assert len(job.shards) > 4
    answer = job.run(Scorer())
    assert np.isfinite(answer).all()
    assert np.array_equal(answer, whole.run(Scorer()))


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_job_ends_like_an_undisturbed_one(few_careers: Careers, tmp_path: Path, seed: int) -> None:
    undisturbed = Job(few_careers, tmp_path / "undisturbed").run(Scorer())
    job = Job(few_careers, tmp_path / "killed")
    kill = int(np.random.default_rng(seed).integers(len(job.shards)))
    with pytest.raises(KeyboardInterrupt):
        job.run(Scorer(dies_at=kill))
    rest = Scorer()
    assert np.array_equal(job.run(rest), undisturbed)
    assert rest.calls == len(job.shards) - kill
    nothing = Scorer()
    assert np.array_equal(job.run(nothing), undisturbed)
    assert nothing.calls == 0


def test_what_was_there_is_reported_first(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt):
        job.run(Scorer(dies_at=2))
    assert job.seen[0] == (0, len(job.careers))
    job.run(Scorer())
    kept = sum(shard.person_years for shard in job.shards[:2])
    done = [call[0] for call in job.seen]
    assert done[0] == kept
    assert done == sorted(done)
    assert {call[1] for call in job.seen} == {len(job.careers)} == {done[-1]}
    job.run(Scorer())
    assert job.seen == [(len(job.careers), len(job.careers))]


def test_another_model_or_other_tokens_are_scored_again(few_careers: Careers, tmp_path: Path, job: Job) -> None:
    job.run(Scorer())
    other = Scorer()
    Job(few_careers, tmp_path, model="b").run(other)
    assert other.calls == len(job.shards)
    changed = Job(few_careers, tmp_path, model="b")
    resume = changed.shards[1].resumes[0]
    tokens = resume.tokens.copy()
    tokens[0] += 1
    changed.shards[1].resumes[0] = replace(resume, tokens=tokens)
    once = Scorer()
    answer = changed.run(once)
    assert once.calls == 1
    assert np.array_equal(answer[changed.shards[0].rows], job.run(Scorer())[job.shards[0].rows])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [cut, empty, flip])
def test_a_broken_shard_is_scored_again_with_a_warning(
    job: Job, harm: type[cut], caplog: pytest.LogCaptureFixture
) -> None:
    whole = job.run(Scorer())
    broken = job.files()[1]
    harm(broken)
    once = Scorer()
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(job.run(once), whole)
    assert once.calls == 1
    assert len(caplog.messages) == 1
    assert str(broken) in caplog.messages[0]
    assert "scored again" in caplog.messages[0]


def test_numbers_come_back_in_their_own_precision(job: Job) -> None:
    def realised(resumes: Sequence[TokenizedResume], *, rows: int, progress: Progress) -> np.ndarray:
        return np.linspace(-1 / 3, -9, rows)

    for _ in range(2):
        found = list(score_in_shards(job.shards, job.folder, score=realised, model="r", progress=no_progress))
        for (rows, scores), shard in zip(found, job.shards, strict=True):
            assert rows == shard.rows
            assert scores.dtype == np.float64
            assert np.array_equal(scores, np.linspace(-1 / 3, -9, shard.person_years))


def test_nothing_stays_after_discarding(job: Job) -> None:
    job.run(Scorer())
    assert {file.suffix for file in job.files()} == {".safetensors"}
    discard_shards(job.folder)
    discard_shards(job.folder)
    assert list(job.folder.iterdir()) == []


def test_a_full_disk_is_one_line_and_keeps_finished_shards(job: Job) -> None:
    """The kernel refuses files above a size, as a full disk does."""
    whole = job.run(Scorer())
    sizes = [file.stat().st_size for file in job.files()]
    discard_shards(job.folder)
    too_large = int(np.argmax(sizes))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(sizes) - 1, limits[1]))
    try:
        with pytest.raises(LaborLLMError, match=r"\d+.safetensors: cannot write \(File too large\)") as raised:
            job.run(Scorer())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "\n" not in str(raised.value)
    assert len(job.files()) == too_large
    rest = Scorer()
    assert np.array_equal(job.run(rest), whole)
    assert rest.calls == len(job.shards) - too_large


def test_time_left_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=120, get_time=lambda: clock["now"])
    monkeypatch.setattr(cli, "messages", console)
    with cli.stage_bars() as show:
        for clock["now"], done in ((0.0, 900), (100.0, 910), (200.0, 920), (300.0, 930)):
            show("models/llm: scoring", done, 1000)
    last = [line for line in terminal.getvalue().splitlines() if "scoring" in line][-1]
    assert "0:11:40" in last  # 70 left at 10 in 100 s


@pytest.mark.parametrize("size", [2, 3, 20])
def test_ranks_share_the_shards_and_each_has_all_scores(few_careers: Careers, tmp_path: Path, size: int) -> None:
    alone = Job(few_careers, tmp_path / "alone")
    expected = alone.run(Scorer())
    scores = [Scorer() for _ in range(size)]
    answers = together([Job(few_careers, tmp_path / "shared") for _ in range(size)], scores)
    assert all(np.array_equal(answer, expected) for answer in answers)
    assert sum(score.calls for score in scores) == len(alone.shards)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 3), (3, 2)])
def test_shards_of_a_killed_rank_are_done_by_another_number_of_ranks(
    few_careers: Careers, tmp_path: Path, before: int, after: int
) -> None:
    alone = Job(few_careers, tmp_path / "alone")
    expected = alone.run(Scorer())
    scores = [Scorer(dies_at=1) for _ in range(before)]
    answers = together([Job(few_careers, tmp_path / "shared") for _ in range(before)], scores)
    assert {type(answer) for answer in answers} <= {KeyboardInterrupt, BrokenBarrierError}
    left = len(Job(few_careers, tmp_path / "shared").files())
    assert 0 < left < len(alone.shards)
    rest = [Scorer() for _ in range(after)]
    answers = together([Job(few_careers, tmp_path / "shared") for _ in range(after)], rest)
    assert all(np.array_equal(answer, expected) for answer in answers)
    assert sum(score.calls for score in rest) == len(alone.shards) - left


def test_a_rank_with_another_model_is_refused(few_careers: Careers, tmp_path: Path) -> None:
    jobs = [Job(few_careers, tmp_path, model=model) for model in "ab"]
    scores = [Scorer(), Scorer()]
    answers = together(jobs, scores)
    assert "process 1 of 2 has another model than the first one" in str(answers[1])
    assert not (tmp_path / FOLDER).exists() or not list((tmp_path / FOLDER).glob("*"))


def test_a_folder_that_machines_do_not_share_is_named(
    few_careers: Careers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "SECONDS_TO_APPEAR", 0.1)
    jobs = [Job(few_careers, tmp_path / machine) for machine in "ab"]
    answers = together(jobs, [Scorer(), Scorer()])
    told = [str(answer) for answer in answers if isinstance(answer, LaborLLMError)]
    assert told
    assert all("put the run folder on a drive that all machines share" in each for each in told)


STUDY = """
[survey]
source = "simulated"
people = 150
occupations = 12
[models.llm]
kind = "language_model"
scratch = "tiny"
training = { epochs = 1, batch = 32 }
[evaluation]
bootstrap = 10
"""


def test_a_run_killed_while_scoring_goes_on_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from laborllm.models.language import language_model

    (tmp_path / "study.toml").write_text(STUDY)
    calls: list[int] = []

    def run(out: str, dies_at: int) -> int:
        """Run the study, counting scored shards."""
        calls.clear()

        def counted(score: Score, *given: Any, **named: Any) -> np.ndarray:
            if len(calls) == dies_at:
                raise KeyboardInterrupt
            calls.append(named["rows"])
            return score(*given, **named)

        def counting(*given: Any, score: Score, **named: Any) -> Iterator[tuple[slice, np.ndarray]]:
            return score_in_shards(*given, score=partial(counted, score), **named)

        monkeypatch.setattr(language_model, "score_in_shards", counting)
        monkeypatch.setattr(language_model, "cut_into_shards", partial(cut_into_shards, person_years=100))
        run_study(read_study(tmp_path / "study.toml"), tmp_path / out, command="test")
        return len(calls)

    everything = run("undisturbed", dies_at=-1)
    shards = tmp_path / "killed" / "models" / "llm" / FOLDER
    with pytest.raises(KeyboardInterrupt):
        run("killed", dies_at=2)
    assert len(list(shards.glob("*.safetensors"))) == 2
    assert run("killed", dies_at=-1) == everything - 2 > 0
    written = Path("probabilities") / "llm.parquet"
    assert (tmp_path / "killed" / written).read_bytes() == (tmp_path / "undisturbed" / written).read_bytes()
    assert not shards.exists()
    assert FOLDER not in (tmp_path / "killed" / "record.json").read_text()


def test_the_fingerprint_of_a_model_survives_saving_and_sees_every_weight(few_careers: Careers, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from laborllm.models.language.loading import load_checkpoint
    from laborllm.models.language.scratch import tiny_llama, train_tokenizer
    from laborllm.models.scoring.fingerprint import model_fingerprint

    tokenizer = train_tokenizer(["1980: Cooks"], few_careers.occupations.titles, 512)
    model = tiny_llama(tokenizer, seed=1)
    sequences = [(1, 2), (3,)]
    before = model_fingerprint(model, sequences)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert model_fingerprint(load_checkpoint(tmp_path)[0], sequences) == before
    assert model_fingerprint(model, [(1, 2), (4,)]) != before
    assert model_fingerprint(tiny_llama(tokenizer, seed=2), sequences) != before
    for parameter in model.parameters():
        with torch.no_grad():
            value = parameter.view(-1)[-1].item()
            parameter.view(-1)[-1] = float(np.nextafter(np.float32(value), np.float32(9)))
            assert model_fingerprint(model, sequences) != before
            parameter.view(-1)[-1] = value
    assert model_fingerprint(model, sequences) == before
