"""What was run: versions, seeds, hashes of inputs, row counts, hardware, time and peak memory of every stage."""

import json
import os
import platform
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

from laborllm.files import file_hash, whole_file
from laborllm.survey.careers import PARTS, Careers

FILE = "record.json"
PACKAGES = ("polars", "numpy", "scipy", "scikit-learn", "torch", "transformers", "tokenizers", "safetensors")
MEBIBYTE = 2**20


@dataclass
class Stage:
    """One stage of a run.

    Attributes:
        stage: its name, e.g. "models/transition".
        fingerprint: hash of everything its output depends on.
        outputs: path in the run folder -> SHA-256 of each file it wrote.
        seconds: wall time.
        peak_memory_mib: largest resident memory of the process while it ran, MiB.
        skipped: whether the last run found it unchanged; seconds and memory are then those of the run that did it.
        notes: what a reader must know of what it wrote, one sentence each.
    """

    stage: str
    fingerprint: str
    outputs: dict[str, str]
    seconds: float
    peak_memory_mib: float
    skipped: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass
class Record:
    """The content of record.json; rewritten whole after every stage."""

    laborllm: str = field(default_factory=lambda: metadata.version("laborllm"))
    python: str = field(default_factory=platform.python_version)
    packages: dict[str, str] = field(default_factory=lambda: installed(PACKAGES))
    command: str = ""
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    hardware: dict[str, Any] = field(default_factory=lambda: hardware())
    seed: int = 0
    seeds: dict[str, int] = field(default_factory=dict)
    survey: dict[str, str] = field(default_factory=dict)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    split: dict[str, dict[str, int]] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    baseline: str | None = None
    floor: str | None = None
    notes: list[str] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)

    def stage(self, name: str) -> Stage | None:
        """The stage of that name, if it was ever run."""
        return next((stage for stage in self.stages if stage.stage == name), None)

    def put(self, stage: Stage) -> None:
        """Add a stage, or replace the one of the same name."""
        self.stages = [other for other in self.stages if other.stage != stage.stage] + [stage]

    def write(self, out: Path) -> None:
        """Write record.json into the run folder; its notes are those of its stages."""
        self.notes = [note for stage in self.stages for note in stage.notes]
        with whole_file(out / FILE) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def earlier_record(out: Path) -> dict[str, Any]:
    """The record that an earlier run left in a run folder; empty where there is none that can be read."""
    try:
        content = json.loads((out / FILE).read_text(encoding="utf-8"))
        content["stages"] = [Stage(**stage) for stage in content["stages"]]
        content["models"] = dict(content["models"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(content)


def input_facts(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Name, SHA-256 and size in bytes of each input file."""
    return [{"file": str(file), "sha256": file_hash(file), "bytes": file.stat().st_size} for file in files]


def split_facts(careers: Careers) -> dict[str, dict[str, int]]:
    """People and person-years in each part of the split."""
    parts = {name: careers.part(name) for name in PARTS}
    return {name: {"people": part.people, "person_years": len(part)} for name, part in parts.items()}


def installed(names: Sequence[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Machine, processor, cores this process may use, memory in GiB, GPU if torch is loaded and sees one."""
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "gpu": gpu,
    }


class Meter:
    """Wall time and peak memory since it was made."""

    def __init__(self) -> None:
        self.start = perf_counter()
        self.own_peak = _reset_peak()

    def seconds(self) -> float:
        return round(perf_counter() - self.start, 2)

    def peak_memory_mib(self) -> float:
        """Largest resident memory since the start, MiB (of the whole process so far where it cannot be reset)."""
        if self.own_peak:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return round(int(line.split()[1]) * 1024 / MEBIBYTE, 1)
        unit = 1 if sys.platform == "darwin" else 1024
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEBIBYTE, 1)


def _reset_peak() -> bool:
    """Ask Linux to forget the peak so far; whether it did."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
