"""What it costs to score the full closed list of titles for one (worker, year): laborllm and other ways.

    python benchmarks/scoring.py --json FILE [--threads 1 2] [--models 15M 110M] [--prefixes 50 200 600] [--quick]

Models are Llamas with random weights in float32. The text is made here and needs no file: careers of the simulated
population over 335 titles, and a byte-level BPE tokenizer trained on them. A prefix of about 200 tokens is a career of
17 rows under its header; longer ones have lines of other workers before it; shorter ones lose header, education and
rows. Every way scores the same tokens, line end included, behind the same prefixes, in inference mode, at the same
number of threads. laborllm scores whole careers (all years); the slow ways score one year of the same career each time,
at the mean prefix, and the expanded cache four years, which share one encoded prefix. Costs are per (worker, year):
CPU seconds of the process over all its threads, and seconds.

Before timing, each way is warmed up on the titles on which its batch size is chosen (fewest seconds), and their
numbers are compared: where two ways differ by more than 1e-3 nats the benchmark stops. Every timed result is compared
again. A round is laborllm, expanded cache, the slow ways, expanded cache, laborllm; the median over all rounds is
given. Prefixes other than 200 are measured at the first number of threads, for one round, without minicons and plain
batches.

The floor is the time that the multiplications alone would take at the best rate measured here for each layer's own
shape, with D the tokens up to the last cut of a career of Y years, N inner nodes, a node's ancestors counted with
itself, h the width of attention, L the layers, and 2·in·out operations a row of a linear layer:

    N · linear layers + Σ_nodes (prefix + ancestors) · 4hL + (D · linear layers + D(D + 1)/2 · 4hL) / Y + (N + 1) · head

Attention is given the best rate of all shapes. The share reached is floor / laborllm. The kernels tried are torch's
linear, torch's mm into a kept buffer, and oneDNN's. Rates are measured once for each model and number of threads.

Peak memory is that of a process of its own from the start of scoring: laborllm on whole careers, the harness on two
batches of the longest titles, which is where it peaks.

Peers are no dependencies of the project; they go into an environment of their own, which leaves torch as it is:

    python -m venv bench-venv && . bench-venv/bin/activate
    pip install -e ".[llm]" -c constraints.txt
    pip install lm_eval==0.4.13 minicons==0.3.39 -c constraints.txt
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

import machine
import numpy as np
import peers
import psutil
import torch
from machine import Text, Work

from laborllm.models.scoring.scorer import Scorer

MAIN_PREFIX = 200
TOLERANCE = 1e-3
OURS = "laborllm"
SHORT_LIST = ("Hugging Face, expanded KV cache", "lm-evaluation-harness")
"""What prefixes other than the main one are measured with."""
IN_MEMORY = (OURS, "lm-evaluation-harness")
"""Ways whose peak memory is measured, each in a process of its own."""


@dataclass
class Measured:
    """One way's runs: CPU seconds and seconds per (worker, year), and the largest difference from laborllm in nats."""

    batch: int | None = None
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    difference: float = 0.0


def make_ours(model: Any, text: Text) -> Callable[[Work], np.ndarray]:
    """laborllm's scoring of whole careers, shape (years, titles); what it prepares from the weights is made once."""
    score = Scorer(model).titles
    return lambda work: score(work.careers, text.tree, rows=work.years)


class Bench:
    """Measures every way on one model, number of threads and length of prefix."""

    def __init__(self, model: Any, text: Text, work: Work, ways: Sequence[peers.Way]) -> None:
        self.text, self.work, self.ways = text, work, ways
        self.everything = range(len(text.titles.texts))
        self.ours, self.setup_cpu, self.setup_wall = machine.timed(lambda: make_ours(model, text))
        self.reference = self.ours(work)  # (years, titles); the warm-up too
        self.measured = {name: Measured() for name in (OURS, *(way.name for way in ways))}

    def choose_batches(self, known: dict[str, int], quick: bool) -> dict[str, int]:
        """The batch size of each way that takes the fewest seconds on a sample of titles; the check of agreement."""
        for way in self.ways:
            places = self.everything[:: 5 if way.full_logits else 1]
            sizes = [known[way.name]] if way.name in known else self._sizes(way, quick)
            runs = {size: machine.timed(self._call(way, places, size, 1)) for size in sizes}
            for scores, _, _ in runs.values():
                self._compare(way, scores, places, 1)
            self.measured[way.name].batch = min(sizes, key=lambda size: runs[size][2])
        return {way.name: self.measured[way.name].batch or 1 for way in self.ways}

    def _sizes(self, way: peers.Way, quick: bool) -> list[int]:
        """Batch sizes to try, without those whose logits would not leave half of the free memory."""
        tokens = self.work.mean_prefix + max(len(sequence) for sequence in self.text.titles.sequences)
        room = psutil.virtual_memory().available / 2 / (2.5 * 4 * tokens * machine.MODEL_VOCABULARY)
        sizes = [size for size in way.batch_sizes if not way.full_logits or size <= room] or [1]
        return [sizes[len(sizes) // 2]] if quick else sizes

    def _call(self, way: peers.Way, places: Sequence[int], batch: int, cases: int) -> Callable[[], np.ndarray]:
        """The way's work, ready to be timed."""
        return lambda: way.score(self.work.spread(cases), places, batch)

    def round(self) -> None:
        """laborllm and the expanded cache before and after the slow ways."""
        fast = [way for way in self.ways if not way.full_logits]
        self._time_ours()
        for way in (*fast, *(way for way in self.ways if way.full_logits), *fast):
            self._time(way)
        self._time_ours()

    def _time_ours(self) -> None:
        """Time laborllm on whole careers."""
        scores, cpu, wall = machine.timed(lambda: self.ours(self.work))
        self._note(OURS, cpu, wall, self.work.years, float(np.abs(scores - self.reference).max()))

    def _time(self, way: peers.Way) -> None:
        """Time another way on its years, and compare."""
        call = self._call(way, self.everything, self.measured[way.name].batch or 1, way.cases)
        scores, cpu, wall = machine.timed(call)
        self._note(way.name, cpu, wall, len(scores), self._compare(way, scores, self.everything, way.cases))

    def _note(self, name: str, cpu: float, wall: float, years: int, difference: float) -> None:
        """Keep a run."""
        kept = self.measured[name]
        kept.cpu.append(cpu / years)
        kept.wall.append(wall / years)
        kept.difference = max(kept.difference, difference)

    def _compare(self, way: peers.Way, scores: np.ndarray, places: Sequence[int], cases: int) -> float:
        """The largest difference from laborllm; stop where it is beyond the tolerance."""
        rows = [case.row for case in self.work.spread(cases)]
        difference = float(np.abs(scores - self.reference[np.ix_(rows, list(places))]).max())
        kept = self.measured[way.name]
        kept.difference = max(kept.difference, difference)
        if not difference <= TOLERANCE:
            sys.exit(f"{way.name} differs from laborllm by {difference:.2e} nats; nothing is timed")
        return difference

    def between_years(self) -> float:
        """How far two years of the worker lie apart: what a wrong prefix would show, in nats."""
        return float(np.abs(self.reference[0] - self.reference[len(self.work.cases) - 1]).max())


def measure(
    args: argparse.Namespace, model: Any, text: Text, setting: dict[str, Any], batches: dict[str, int], rates: Any
) -> dict[str, Any]:
    """Every way under one setting: a record of what was measured; ``batches`` keeps the sizes chosen."""
    prefix, main = setting["prefix_wanted"], setting["prefix_wanted"] == main_prefix(args)
    classes = [way for way in peers.WAYS if (main or way.name in SHORT_LIST) and way.name in args.ways]
    present = [way for way in classes if installed(way.name)]
    work = machine.build_work(text, prefix, args.workers)
    bench = Bench(model, text, work, [way(model, text.tokenizer, text.titles) for way in present])
    batches |= bench.choose_batches(batches, args.quick)
    for _ in range(args.rounds if main else 1):
        bench.round()
    ours = median(bench.measured[OURS])
    record = setting | {
        "prefix_tokens": work.mean_prefix,
        "years_of_laborllm": work.years,
        "between_years": bench.between_years(),
        "setup_of_laborllm": {"cpu": bench.setup_cpu, "wall": bench.setup_wall},
        "rows": [row(name, kept, ours) for name, kept in bench.measured.items()],
        "rates": machine.as_json(rates),
        "floor": {},
    }
    record["rows"] += [missing(way.name) for way in classes if way not in present]
    for clock, floor in machine.floors(model, text.tree, work.careers, rates).items():
        record["floor"][clock] = asdict(floor) | {"total": floor.total, "share": floor.total / ours[clock]}
    return record


def main_prefix(args: argparse.Namespace) -> int:
    """The prefix that every way is measured at, round after round."""
    return min(args.prefixes, key=lambda prefix: abs(prefix - MAIN_PREFIX))


def installed(way: str) -> bool:
    """Whether what a way needs is there."""
    return way not in peers.PACKAGES or peers.version_of(peers.PACKAGES[way][0]) is not None


def median(kept: Measured) -> dict[str, float]:
    """Median CPU seconds and seconds per (worker, year)."""
    return {"cpu": statistics.median(kept.cpu), "wall": statistics.median(kept.wall)}


def row(name: str, kept: Measured, ours: dict[str, float]) -> dict[str, Any]:
    """A way's line in the table."""
    own = median(kept)
    ratios = {f"ratio_{clock}": own[clock] / ours[clock] for clock in own}
    return {"way": name, **own, **ratios, "runs": len(kept.cpu)} | {
        "batch": kept.batch,
        "max_abs_difference": kept.difference,
        "cpu_runs": kept.cpu,
        "wall_runs": kept.wall,
    }


def missing(name: str) -> dict[str, Any]:
    """The line of a way that is not installed."""
    return {"way": name, "not_installed": peers.install_command(name)}


def show(record: dict[str, Any]) -> None:
    """Print one setting's table, floor and share."""
    print(
        f"\n{record['model']}, {record['threads']} thread(s), mean prefix {record['prefix_tokens']:.0f} tokens, "
        f"laborllm on {record['years_of_laborllm']} (worker, year) pairs\n"
        f"{'per (worker, year)':34}{'CPU s':>9}{'wall s':>9}{'× CPU':>8}{'× wall':>8}"
        f"{'batch':>7}{'runs':>6}{'differs':>10}"
    )
    for line in record["rows"]:
        if "not_installed" in line:
            print(f"{line['way']:34}not installed: {line['not_installed']}")
            continue
        print(
            f"{line['way']:34}{line['cpu']:9.3f}{line['wall']:9.3f}{line['ratio_cpu']:8.2f}{line['ratio_wall']:8.2f}"
            f"{line['batch'] or '':>7}{line['runs']:6d}{line['max_abs_difference']:10.1e}"
        )
    print(f"laborllm prepares a model once, in {record['setup_of_laborllm']['cpu']:.2f} CPU s, not counted above")
    print(f"two years of one worker differ by {record['between_years']:.2f} nats, so a wrong prefix would show")
    for clock, floor in record["floor"].items():
        parts = ", ".join(f"{part} {floor[part]:.3f}" for part in ("linear", "attention", "document", "head"))
        print(f"floor, {clock}: {floor['total']:.3f} s ({parts}); laborllm reaches {floor['share']:.0%} of it")
    for rate in record["rates"]:
        print(
            f"  {rate['inputs']:5d} -> {rate['outputs']:5d}: {rate['cpu'] / 1e9:6.1f} GFLOP per CPU second, "
            f"{rate['wall'] / 1e9:6.1f} per second ({rate['kernel']}, {rate['rows']} rows)"
        )


def show_prefixes(records: Sequence[dict[str, Any]]) -> None:
    """Print how cost and ratios depend on the length of the prefix, at the first number of threads."""
    print(f"\n{'model':8}{'prefix':>8}{'laborllm':>10}  CPU s per (worker, year), then other ways' ratios to it")
    for record in records:
        if record["threads"] == records[0]["threads"]:
            lines = {line["way"]: line for line in record["rows"] if "cpu" in line}
            others = ", ".join(f"{name} {lines[name]['ratio_cpu']:.1f}" for name in SHORT_LIST if name in lines)
            print(f"{record['model']:8}{record['prefix_tokens']:8.0f}{lines[OURS]['cpu']:10.3f}  {others}")


def measure_memory(args: argparse.Namespace, model: str, batches: dict[str, int]) -> list[dict[str, Any]]:
    """Peak memory of laborllm and of the harness on the main prefix, each in a process of its own."""
    records = []
    for way in IN_MEMORY:
        if way in batches or way == OURS:
            size, threads = str(batches.get(way, 0)), str(args.threads[0])
            own = ["--peak", way, "--models", model, "--threads", threads, "--prefixes", str(main_prefix(args))]
            command = [sys.executable, __file__, *own, "--batch", size, "--workers", str(args.workers)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            records.append({"model": model, "way": way, "batch": batches.get(way)} | json.loads(answer))
            before, peak = (records[-1][key] / 2**20 for key in ("before_bytes", "peak_bytes"))
            print(f"memory, {model}, {way}: {before:.0f} MiB before scoring, peak {peak:.0f} MiB")
    return records


def peak_in_this_process(args: argparse.Namespace) -> None:
    """Print the memory of one way: laborllm on whole careers; the harness on two batches of the longest titles."""
    torch.set_num_threads(args.threads[0])
    text = machine.build_text()
    work, model = machine.build_work(text, args.prefixes[0], args.workers), machine.build_model(args.models[0])
    machine.forget_peak()
    before = machine.peak_memory()
    if args.peak == OURS:
        make_ours(model, text)(work)
    else:
        way = next(way for way in peers.WAYS if way.name == args.peak)(model, text.tokenizer, text.titles)
        lengths = [-len(sequence) for sequence in text.titles.sequences]
        way.score(work.spread(1), np.argsort(lengths, kind="stable")[: 2 * args.batch].tolist(), args.batch)
    print(json.dumps({"before_bytes": before, "peak_bytes": machine.peak_memory()}))


def run(args: argparse.Namespace) -> None:
    """All models, numbers of threads and prefixes; the file is written anew after each."""
    text = machine.build_text()
    settings = {name: getattr(args, name) for name in ("threads", "models", "prefixes", "ways", "rounds", "workers")}
    result: dict[str, Any] = {"machine": machine.describe(), "text": machine.describe_text(text), "settings": settings}
    result |= {"measurements": [], "memory": []}
    print(json.dumps({name: result[name] for name in ("machine", "text")}, indent=1))
    for name in args.models:
        model = machine.build_model(name)
        batches: dict[int, dict[str, int]] = {prefix: {} for prefix in args.prefixes}
        for threads in args.threads:
            torch.set_num_threads(threads)
            rates = machine.measure_rates(model)
            for prefix in args.prefixes if threads == args.threads[0] else [main_prefix(args)]:
                setting = {"model": name, "threads": threads, "prefix_wanted": prefix}
                result["measurements"].append(measure(args, model, text, setting, batches[prefix], rates))
                show(result["measurements"][-1])
                write(args.json, result)
        result["memory"] += measure_memory(args, name, batches[main_prefix(args)])
        write(args.json, result)
    show_prefixes(result["measurements"])


def write(path: Path | None, result: dict[str, Any]) -> None:
    """Write what there is so far."""
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--models", nargs="+", choices=machine.MODELS, default=list(machine.MODELS))
    parser.add_argument("--prefixes", type=int, nargs="+", default=[50, 200, 600])
    parser.add_argument("--ways", nargs="*", default=[way.name for way in peers.WAYS], help="other ways to measure")
    parser.add_argument("--rounds", type=int, default=3, help="rounds at the main prefix")
    parser.add_argument("--workers", type=int, default=1, help="whole careers that laborllm scores in a run")
    parser.add_argument("--quick", action="store_true", help="15M, one thread, one round, one prefix: a smoke test")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.models, args.threads, args.prefixes, args.rounds = ["15M"], [1], [MAIN_PREFIX], 1
    return args


if __name__ == "__main__":
    options = arguments()
    if options.peak:
        peak_in_this_process(options)
    else:
        run(options)
