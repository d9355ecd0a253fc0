"""Ranks: one process does nothing, several find each other, and when one fails one line tells why."""

import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from laborllm.errors import LaborLLMError
from laborllm.models.ranks import ALONE, VARIABLES, Ranks, _joined


def start_ranks(code: str, folder: Path, size: int = 2) -> list[tuple[int, str]]:
    """Run a program in several processes that a launcher would have started; exit code and output of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = folder / "program.py"
    program.write_text(code)
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, str(program)],
            env=os.environ | where | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]
    output = [process.communicate(timeout=300)[0] for process in started]
    return [(process.returncode, said) for process, said in zip(started, output, strict=True)]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What a launcher sets, before any of it is spoilt."""
    values = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_a_single_process_gives_back_what_it_is_given() -> None:
    assert ALONE.first
    assert ALONE.sum(1.5) == 1.5
    assert ALONE.shared([1, "a"]) == [1, "a"]
    assert list(ALONE.turns(3)) == [0, 1, 2]
    assert ALONE.sum_arrays(np.arange(3)).tolist() == [0, 1, 2]
    ALONE.barrier()
    with pytest.raises(LaborLLMError, match="^as it is$"), ALONE:
        raise LaborLLMError("as it is")


@pytest.mark.parametrize("value", [None, "1"])
def test_without_a_launcher_there_is_one_process_and_no_torch(value: str | None) -> None:
    code = (
        "import sys; from laborllm.models.ranks import Ranks\n"
        "assert Ranks.of_environment() == Ranks(0, 1, 0); assert 'torch' not in sys.modules"
    )
    environment = {name: content for name, content in os.environ.items() if name not in VARIABLES}
    if value is not None:
        environment["WORLD_SIZE"] = value
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.parametrize("name", [name for name in VARIABLES if name != "WORLD_SIZE"])
def test_a_missing_variable_is_named(launched: pytest.MonkeyPatch, name: str) -> None:
    launched.delenv(name)
    with pytest.raises(LaborLLMError, match=f"WORLD_SIZE is 2 and {name} is not set; start with torchrun"):
        Ranks.of_environment()


def test_a_variable_that_is_no_number_is_named(launched: pytest.MonkeyPatch) -> None:
    launched.setenv("RANK", "first")
    with pytest.raises(LaborLLMError, match=r"RANK is 'first'; it must be a whole number"):
        Ranks.of_environment()


def test_accelerate_may_not_change_how_a_model_is_loaded(launched: pytest.MonkeyPatch) -> None:
    launched.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(LaborLLMError, match=r"ACCELERATE_USE_FSDP.*training.sharded = true"):
        Ranks.of_environment()


def test_a_rank_that_finds_nobody_says_where_it_looked(launched: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    launched.setattr("laborllm.models.ranks.TO_START", timedelta(seconds=1))
    launched.setenv("RANK", "1")
    _joined.cache_clear()
    with pytest.raises(LaborLLMError, match=r"rank 1 of 2 cannot reach the others at 127.0.0.1:1 ") as raised:
        Ranks.of_environment()
    assert "\n" not in str(raised.value)


TOGETHER = """
import numpy as np
from laborllm.models.ranks import Ranks
with Ranks.of_environment() as ranks:
    assert (ranks.size, ranks.local, ranks.first) == (3, ranks.rank, ranks.rank == 0)
    assert Ranks.of_environment() is ranks
    assert ranks.sum(0.1 + ranks.rank) == sum(0.1 + rank for rank in range(3))
    ones = np.zeros(3)
    ones[ranks.rank] = 1 / 3
    assert ranks.sum_arrays(ones).tolist() == [1 / 3] * 3
    assert ranks.shared({"städte": [1, None]} if ranks.first else "not looked at") == {"städte": [1, None]}
    for count in (7, 0, 2):
        mine = np.zeros(count)
        mine[list(ranks.turns(count))] = 1
        assert ranks.sum_arrays(mine).tolist() == [1] * count
    tensor = __import__("torch").full((2, 2), float(ranks.rank + 5))
    ranks.spread(tensor)
    assert tensor.tolist() == [[5, 5], [5, 5]]
    ranks.barrier()
print("whole")
"""

FAILING = """
import os, signal, sys
from laborllm.errors import LaborLLMError
from laborllm.models.ranks import Ranks
try:
    with Ranks.of_environment() as ranks:
        ranks.barrier()
        if ranks.rank == {rank}:
            {fails}
        ranks.barrier()
except LaborLLMError as error:
    print("error:", error)
    sys.exit(1)
"""


@pytest.mark.slow
def test_ranks_speak_with_each_other(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    assert start_ranks(TOGETHER, tmp_path, size=3) == [(0, "whole\n")] * 3


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_on_one_rank_ends_all_with_one_line(tmp_path: Path, rank: int) -> None:
    pytest.importorskip("torch")
    ended = start_ranks(FAILING.format(rank=rank, fails="raise LaborLLMError('the disk is full')"), tmp_path)
    assert [code for code, _ in ended] == [1, 1]
    assert ended[rank][1] == "error: the disk is full\n"
    assert ended[1 - rank][1] == ""


@pytest.mark.slow
def test_a_killed_rank_ends_all_and_the_other_says_so(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    ended = start_ranks(FAILING.format(rank=1, fails="os.kill(os.getpid(), signal.SIGKILL)"), tmp_path)
    assert [code for code, _ in ended] == [1, -9]
    assert ended[0][1].startswith("error: another process of this run ended without a word")
    assert ended[0][1].count("\n") == 1
