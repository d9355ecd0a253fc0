"""What the full evaluation costs: ``laborllm.evaluate`` and a straightforward loop over bootstrap samples.

    python benchmarks/evaluation.py --json FILE [--models 20] [--rows 60000] [--occupations 335] [--replicates 1000]

The careers are simulated. Each model is the transition frequencies of the very careers with noise of its own, made in
blocks and stored as a study stores it, one Parquet file a model; making them is not timed. Every way is a process of
its own: its CPU seconds (all threads, after the imports) and the most memory that the process held.

- laborllm: ``evaluate(StoredProbabilities(...))``: all tasks, five groupings, all pairs of models, both kinds of
  intervals; reading the files is in it, and also given apart. Once without survey weights and once with them, when
  every table of numbers and differences is made twice.
- loop: one model with pandas, scipy and scikit-learn. Its row scores are computed once; then, for every replicate,
  the rows of the drawn people are put together and every metric is computed anew from them. A few replicates are
  timed and the time is extrapolated, models x (scores + replicates x mean of those timed): nobody waits for all of
  them. Differences between models, intervals and bands are not charged to it. Its estimates in the sample itself are
  compared with those of laborllm before anything is extrapolated.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from laborllm.evaluation.evaluate import EvaluationSettings, evaluate
from laborllm.models.probabilities import BLOCK, Probabilities, StoredProbabilities, normalise
from laborllm.survey.careers import Careers
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate

STATES, ROWS_A_PERSON = 3, 11
BY = ("gender", "ethnicity", "education", "region", "cohort")
BINS, TOPS = 10, {"accuracy": 1, "top5": 5, "top10": 10}
OUTSIDE = ("not_in_labor_force", "in_education")
SAME = 1e-5
"""How far the two ways' estimates may differ: single precision."""


class Clocked(Mapping[str, Probabilities]):
    """Stored probabilities, and the CPU seconds spent on reading them."""

    def __init__(self, stored: StoredProbabilities) -> None:
        self.stored, self.seconds = stored, 0.0

    def __getitem__(self, name: str) -> Probabilities:
        start = time.process_time()
        found = self.stored[name]
        self.seconds += time.process_time() - start
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


def make(folder: Path, options: argparse.Namespace) -> None:
    """Careers, with and without weights, and every model's probabilities."""
    people = options.rows // ROWS_A_PERSON
    careers = simulate(SimulatedSettings(people=people, occupations=options.occupations - STATES))
    while len(careers) < options.rows:
        people = int(people * 1.1) + 1
        careers = simulate(SimulatedSettings(people=people, occupations=options.occupations - STATES))
    careers = careers.first_people(int(careers.person_of_row[options.rows - 1]) + 1)
    careers = replace(careers, table=careers.table.head(options.rows))
    careers.write(folder / "plain.parquet")
    weight = np.random.default_rng(1).lognormal(sigma=0.5, size=careers.people)[careers.person_of_row]
    replace(careers, table=careers.table.with_columns(weight=pl.Series(weight))).write(folder / "weighted.parquet")
    for number in range(options.models):
        store_model(careers, folder / f"{name_of(number)}.parquet", number)


def name_of(number: int) -> str:
    return f"model_{number + 1}"


def store_model(careers: Careers, path: Path, number: int) -> None:
    """Smoothed transition frequencies, and noise that grows with the model's number."""
    rng = np.random.default_rng(number)
    frequencies = np.full((len(careers.occupations) + 1, len(careers.occupations)), 0.05)
    np.add.at(frequencies, (careers.previous, careers.occupation), 1.0)  # the last row: before a first row
    scores = np.log(frequencies).astype(np.float32)
    log_probabilities = np.empty((len(careers), len(careers.occupations)), dtype=np.float32)
    for first in range(0, len(careers), BLOCK):
        block = scores[careers.previous[first : first + BLOCK]]
        noise = rng.standard_normal(block.shape, dtype=np.float32)
        log_probabilities[first : first + BLOCK] = normalise(block + (0.2 + 0.05 * number) * noise)[0]
    rows = careers.table.select("person", "year", "occupation")
    Probabilities(rows, careers.occupations, log_probabilities=log_probabilities).write(path)


def run_ours(folder: Path, careers: str, options: argparse.Namespace) -> dict[str, Any]:
    names = tuple(name_of(number) for number in range(options.models))
    predictions = Clocked(StoredProbabilities(folder, names))
    table = Careers.read(folder / f"{careers}.parquet")
    imported, start = peak_mb(), cpu_seconds()
    settings = EvaluationSettings(by=BY, bootstrap=options.replicates)
    result = evaluate(predictions, table, settings, baseline=names[-1], floor=names[0])
    figures = {"cpu": cpu_seconds() - start, "reading": predictions.seconds, "peak_mb": peak_mb(), "base_mb": imported}
    keys = result.evaluation.filter(model=names[0]).height
    first = result.evaluation.filter(model=names[0]).select("task", "metric", "subset", "group", "estimate")
    numbers = sum(frame.height for frame in result.frames.values())
    return figures | {"numbers_a_model": keys, "table_rows": numbers, "estimates": first.rows()}


def run_loop(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The first model: its scores, the sample itself, then a few replicates."""
    import pandas as pd

    careers = Careers.read(folder / "plain.parquet")
    prediction = Probabilities.read(folder / f"{name_of(0)}.parquet")
    start = time.process_time()
    frame = pd.DataFrame(loop_scores(careers, np.asarray(prediction.log_probabilities)))
    scores = time.process_time() - start
    estimates = loop_metrics(frame)
    rows_of = list(np.split(np.arange(len(careers)), careers.starts[1:-1]))
    rng, seconds = np.random.default_rng(1), []
    for _ in range(options.loop_replicates):
        start = time.process_time()
        drawn = rng.integers(careers.people, size=careers.people)
        loop_metrics(frame.iloc[np.concatenate([rows_of[person] for person in drawn])])
        seconds.append(time.process_time() - start)
    return {
        "scores": scores,
        "replicates": seconds,
        "peak_mb": peak_mb(),
        "estimates": [(*key, value) for key, value in estimates.items()],
    }


def loop_scores(careers: Careers, log_probabilities: np.ndarray) -> dict[str, Any]:
    """Columns of a frame with one row a person-year, as anyone would write them down."""
    share, row = np.exp(log_probabilities.astype(np.float64)), np.arange(len(careers))
    occupation, previous = careers.occupation, careers.previous
    own = share[row, occupation]
    groups = sorted(set(careers.occupations.groups))
    group_of = np.array([groups.index(group) for group in careers.occupations.groups])
    by_group = np.stack([share[:, group_of == place].sum(axis=1) for place in range(len(groups))], axis=1)
    own_group = by_group[row, group_of[occupation]]
    outside = np.isin(careers.occupations.codes, OUTSIDE)
    hits = {metric: (share > own[:, None]).sum(axis=1) < top for metric, top in TOPS.items()}
    group_hits = {metric: (by_group > own_group[:, None]).sum(axis=1) < top for metric, top in TOPS.items()}
    move = 1 - share[row, previous]
    return {
        "subset": careers.transition,
        **{name: group_column(careers, name) for name in BY},
        "occupation nats": -np.log(own),
        "occupation brier": (share**2).sum(axis=1) - 2 * own + 1,
        "occupation confidence": share.max(axis=1),
        **{f"occupation {metric}": values.astype(float) for metric, values in hits.items()},
        "broad_group nats": -np.log(own_group),
        "broad_group brier": (by_group**2).sum(axis=1) - 2 * own_group + 1,
        "broad_group confidence": by_group.max(axis=1),
        **{f"broad_group {metric}": values.astype(float) for metric, values in group_hits.items()},
        "destination nats": np.where(careers.transition == "move", np.log(move) - np.log(own), np.nan),
        "move": move,
        "move happened": np.where(previous >= 0, occupation != previous, np.nan),
        "leave_labor_force": share[:, outside].sum(axis=1),
        "leave_labor_force happened": np.where((previous >= 0) & ~outside[previous], outside[occupation], np.nan),
        "enter_labor_force": share[:, ~outside].sum(axis=1),
        "enter_labor_force happened": np.where((previous >= 0) & outside[previous], ~outside[occupation], np.nan),
    }


def group_column(careers: Careers, name: str) -> list[str]:
    if name != "cohort":
        return careers.table[name].to_list()
    return [f"{year // 5 * 5}-{year // 5 * 5 + 4}" for year in careers.table["birth_year"]]


def loop_metrics(frame: Any) -> dict[tuple[str, str, str, str], float]:
    """Every metric from the rows there are."""
    found = {("occupation", "perplexity", "all", "all"): np.exp(frame["occupation nats"].mean())}
    for subset, rows in frame.groupby("subset"):
        found["occupation", "perplexity", subset, "all"] = np.exp(rows["occupation nats"].mean())
    for name in BY:
        for value, rows in frame.groupby(name):
            found["occupation", "perplexity", "all", f"{name}={value}"] = np.exp(rows["occupation nats"].mean())
    found["broad_group", "perplexity", "all", "all"] = np.exp(frame["broad_group nats"].mean())
    found["destination", "perplexity", "all", "all"] = np.exp(frame["destination nats"].mean())
    for task in ("occupation", "broad_group"):
        for metric in ("brier", *TOPS):
            found[task, metric, "all", "all"] = frame[f"{task} {metric}"].mean()
        error, *_ = binned(frame[f"{task} confidence"], frame[f"{task} accuracy"])
        found[task, "calibration_error", "all", "all"] = error
    for task in ("move", "leave_labor_force", "enter_labor_force"):
        found |= loop_event(task, frame[frame[f"{task} happened"].notna()])
    return found


def loop_event(task: str, rows: Any) -> dict[tuple[str, str, str, str], float]:
    from sklearn.metrics import log_loss, roc_auc_score, roc_curve

    probability, happened = rows[task].clip(1e-300, 1 - 1e-16), rows[f"{task} happened"]
    values = {"perplexity": np.exp(log_loss(happened, probability)), "brier": ((probability - happened) ** 2).mean()}
    values["calibration_error"], reliability, resolution = binned(probability, happened)
    values |= {"brier_reliability": reliability, "brier_resolution": resolution}
    values["brier_uncertainty"] = happened.mean() * (1 - happened.mean())
    values["auc"] = roc_auc_score(happened, probability)
    alarms, hits, _ = roc_curve(happened, probability)
    np.interp(np.linspace(0, 1, 101), alarms, hits)
    found = {(task, metric, "all", "all"): value for metric, value in values.items()}
    for name in BY if task == "move" else ():
        for value, part in rows.groupby(name):
            event, score = part[f"{task} happened"], part[task]
            found[task, "auc", "all", f"{name}={value}"] = roc_auc_score(event, score)
            found[task, "calibration_error", "all", f"{name}={value}"] = binned(score, event)[0]
    return found


def binned(probability: Any, happened: Any) -> tuple[float, float, float]:
    """Calibration error, reliability and resolution by quantile bins."""
    import pandas as pd

    edges = np.unique(np.quantile(probability, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    bins = np.searchsorted(edges, probability, side="left")
    by_bin = pd.DataFrame({"bin": bins, "p": np.asarray(probability), "o": np.asarray(happened)}).groupby("bin")
    share = by_bin.size() / len(bins)
    mean = by_bin.mean()
    gap, lift = mean["p"] - mean["o"], mean["o"] - np.mean(happened)
    return (share * gap.abs()).sum(), (share * gap**2).sum(), (share * lift**2).sum()


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(way: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    sizes = [f"--{name}={getattr(options, name)}" for name in ("models", "rows", "occupations", "replicates")]
    command = [sys.executable, __file__, *sizes, f"--loop-replicates={options.loop_replicates}"]
    command += ["--child", way, str(folder)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def child(way: str, folder: Path, options: argparse.Namespace) -> None:
    found = run_loop(folder, options) if way == "loop" else run_ours(folder, way, options)
    print(json.dumps(found))


def require_same(ours: dict[str, Any], loop: dict[str, Any]) -> int:
    """How many estimates of the first model both ways computed; all of them agree."""
    found = {tuple(key): value for *key, value in ours.pop("estimates")}
    both = [(key, found[tuple(key)], value) for *key, value in loop.pop("estimates") if tuple(key) in found]
    for key, one, other in both:
        if abs(one - other) > SAME * max(abs(other), 1e-2):
            raise SystemExit(f"{key}: laborllm finds {one}, the loop {other}")
    return len(both)


def summary(results: dict[str, dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    loop = results["loop"]
    mean = statistics.mean(loop["replicates"])
    total = options.models * (loop["scores"] + options.replicates * mean)
    return {"loop_replicate": mean, "loop_total_extrapolated": total, "times": total / results["plain"]["cpu"]}


def print_table(results: dict[str, dict[str, Any]], found: dict[str, Any], options: argparse.Namespace) -> None:
    sizes = f"{options.models} models x {options.rows:,} person-years x {options.occupations} occupations"
    print(f"{sizes} x {options.replicates:,} replicates; {found['same_estimates']} estimates agree\n")
    print(f"{'way':34} {'CPU s':>9} {'of it reading':>14} {'peak MB':>8} {'rows of tables':>15}")
    for way, label in (("plain", "laborllm"), ("weighted", "laborllm, with survey weights too")):
        one = results[way]
        numbers = f"{one['cpu']:9.1f} {one['reading']:14.1f} {one['peak_mb']:8.0f} {one['table_rows']:15,}"
        print(f"{label:34} {numbers}")
    loop = results["loop"]
    print(f"{'loop, extrapolated linearly':34} {found['loop_total_extrapolated']:9.0f} {'':14} {loop['peak_mb']:8.0f}")
    scores, replicate = f"{loop['scores']:.1f} s for a model's scores", f"{found['loop_replicate']:.2f} s a replicate"
    print(f"\nThe loop: {scores}, {replicate} (mean of {len(loop['replicates'])}).")
    print(f"Extrapolated it takes {found['times']:.0f} times the CPU of laborllm.")


def machine() -> dict[str, Any]:
    from importlib.metadata import version

    packages = {name: version(name) for name in ("numpy", "scipy", "polars", "pandas", "scikit-learn")}
    return {"python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count()} | packages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--rows", type=int, default=60_000, help="person-years")
    parser.add_argument("--occupations", type=int, default=335)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--loop-replicates", type=int, default=5, help="replicates of the loop that are timed")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]), options)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, options)
        results = {way: measured(way, folder, options) for way in ("plain", "weighted", "loop")}
    results["weighted"].pop("estimates")
    same = require_same(results["plain"], results["loop"])
    found = {"same_estimates": same} | summary(results, options)
    print_table(results, found, options)
    if options.json:
        sizes = {name: getattr(options, name) for name in ("models", "rows", "occupations", "replicates")}
        figures = {"machine": machine(), "sizes": sizes, "results": results} | found
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
