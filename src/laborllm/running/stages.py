"""Stages of a run folder: each is done unless its fingerprint and its outputs are as an earlier run left them."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from laborllm.files import file_hash, whole_file
from laborllm.record import Meter, Record, Stage

LATER = {name: ["report"] for name in ("refits", "evaluation", "forecast", "report")}
"""Stage -> those whose outputs no longer belong to the run once it is done again."""
ALL_LATER = ["refits", "evaluation", "forecast", "report"]
"""The same for a stage that is not in ``LATER``."""


class Stages:
    """The stages of one run.

    Args:
        out: the run folder.
        record: what was run; it is rewritten whole after every stage.
        progress: called with (stage, done, total).
    """

    def __init__(self, out: Path, record: Record, progress: Callable[[str, int, int], None]) -> None:
        self.out, self.record, self.progress = out, record, progress

    def do(
        self, name: str, *, depends: Sequence[Any], outputs: Sequence[str], work: Callable[[], Sequence[str] | None]
    ) -> None:
        """Do a stage, unless it is done.

        Args:
            name: e.g. "models/transition"; what stands before the slash is its kind.
            depends: all that its outputs depend on, the version of laborllm apart.
            outputs: patterns of the files it writes.
            work: does it; what it returns are the notes that a reader needs.
        """
        mark = fingerprint([self.record.laborllm, name, *depends])
        earlier = self.record.stage(name)
        if earlier is not None and earlier.fingerprint == mark and not self.changed(earlier):
            earlier.skipped = True
            self.progress(f"{name} (unchanged)", 1, 1)
            return
        for later in LATER.get(name.partition("/")[0], ALL_LATER):
            self.forget(later)
        before = {} if name.startswith("models/") else self._files(outputs)  # a model may be whole since an earlier run
        self.progress(name, 0, 1)
        meter = Meter()
        notes = list(work() or ())
        after = self._files(outputs)
        written = {file: file_hash(self.out / file) for file in sorted(after) if after[file] != before.get(file)}
        self.record.put(Stage(name, mark, written, meter.seconds(), meter.peak_memory_mib(), notes=notes))
        self.record.write(self.out)
        self.progress(name, 1, 1)

    def hashes(self, name: str) -> dict[str, str]:
        """Path in the run folder -> SHA-256 of each file that a stage wrote."""
        stage = self.record.stage(name)
        return {} if stage is None else stage.outputs

    def changed(self, stage: Stage) -> list[str]:
        """The outputs of a stage that are gone or not as it wrote them."""
        files = {output: self.out / output for output in stage.outputs}
        return [
            output for output, file in files.items() if not file.is_file() or file_hash(file) != stage.outputs[output]
        ]

    def forget(self, name: str) -> None:
        """Remove what a stage wrote, models apart: it no longer belongs to the inputs and settings of this run."""
        for output in self.hashes(name):
            if not output.startswith("models/"):
                (self.out / output).unlink(missing_ok=True)
        self.record.stages = [stage for stage in self.record.stages if stage.stage != name]

    def _files(self, patterns: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Files in the run folder that match a pattern -> inode and time, new whenever the file is written."""
        found = {file for pattern in patterns for file in self.out.glob(pattern) if file.is_file()}
        marks = {file.relative_to(self.out).as_posix(): file.stat() for file in found}
        return {file: (mark.st_ino, mark.st_mtime_ns) for file, mark in marks.items()}


def fingerprint(parts: Sequence[Any]) -> str:
    """SHA-256 of anything that JSON or ``str`` can tell apart."""
    return hashlib.sha256(json.dumps(list(parts), sort_keys=True, default=str).encode()).hexdigest()


def clear_unless(folder: Path, learned: str, *, touched: bool = False) -> None:
    """Clear the folder of a trained or half-trained model, unless it was made under the very same settings and data.

    Args:
        folder: of the model.
        learned: fingerprint of all that it depends on.
        touched: whether somebody else has changed its files.
    """
    mark = folder / "fingerprint.json"
    if touched or not mark.is_file() or json.loads(mark.read_text()) != {"fingerprint": learned}:
        shutil.rmtree(folder, ignore_errors=True)
        with whole_file(mark) as temporary:
            temporary.write_text(json.dumps({"fingerprint": learned}))
