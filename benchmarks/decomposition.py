"""Do the objectives find the history-adjusted gap? Made-up groups and outcomes over given careers, the truth known.

    python benchmarks/decomposition.py [--replications 200] [--people 3000] [--occupations 30] [--json FILE]

Careers of the simulated population are drawn once. Outcomes depend strongly on the broad groups in which a career was
spent, and a little on z: which occupations inside them. z decides the group (``analysis/wages/semi_simulated.py``).
Each replication draws people, groups and outcomes anew and estimates the gap among equals with every objective, on the
same folds. Networks are small and penalised, so that one that learns for outcomes alone drops z. Printed for each
objective: bias, standard deviation of the estimates, mean standard error, share of 95 % intervals that hold the truth,
with Monte-Carlo standard errors; and the same of an estimator that is told both nuisances ("known").
"""

import argparse
import json
import platform
import time
from pathlib import Path

import polars as pl
import torch

from laborllm.analysis.wages.gap_settings import NAMES, GapNetworkSettings, GapSettings
from laborllm.analysis.wages.semi_simulated import KNOWN, gap_truth, replicate
from laborllm.survey.simulated.simulate import simulate
from laborllm.survey.simulated.world import SimulatedSettings

NETWORK = GapNetworkSettings(
    width=4,
    hidden=8,
    updates=80,
    learning_rate=0.03,
    rows_per_batch=4096,
    weight_decay=0.06,
    group_weight=20.0,
    projection_weight=5.0,
)
CAREERS = SimulatedSettings(people=30_000, occupations=30, first_year=1979, last_year=1994)


def table(found: pl.DataFrame, truth: float) -> list[dict[str, float | str]]:
    """One line an objective."""
    lines: list[dict[str, float | str]] = []
    for method, of in found.group_by("method", maintain_order=True):
        estimates, covered = of["estimate"].to_numpy(), float(of["covered"].mean())
        deviation = float(estimates.std(ddof=1)) if len(estimates) > 1 else float("nan")
        lines.append(
            {
                "method": {KNOWN: "Both nuisances known", **NAMES}[method[0]],
                "bias": float(estimates.mean() - truth),
                "bias_error": deviation / len(estimates) ** 0.5,
                "deviation": deviation,
                "std_error": float(of["std_error"].mean()),
                "coverage": covered,
                "coverage_error": (covered * (1 - covered) / len(estimates)) ** 0.5,
                "trimmed": float(of["trimmed"].mean()),
            }
        )
    return lines


def show(lines: list[dict[str, float | str]]) -> None:
    for line in lines:
        print(
            f"{line['method']:26s} bias {line['bias']:+.4f} ({line['bias_error']:.4f})  sd {line['deviation']:.4f}  "
            f"mean s.e. {line['std_error']:.4f}  coverage {line['coverage']:.3f} ({line['coverage_error']:.3f})",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--people", type=int, default=3000)
    parser.add_argument("--occupations", type=int, default=CAREERS.occupations, help="the more, the harder")
    parser.add_argument("--seed", type=int, default=1000, help="of the first replication; the others follow")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    truth = gap_truth(simulate(CAREERS.model_copy(update={"occupations": given.occupations})))
    print(f"truth: gap {truth.gap:+.3f}, among equals {truth.tau:+.3f}; {given.people} people a replication")
    start = time.process_time()
    found = pl.DataFrame()
    for first in range(0, given.replications, 25):
        seeds = range(given.seed + first, given.seed + min(first + 25, given.replications))
        some = replicate(truth, GapSettings(folds=2, network=NETWORK), people=given.people, seeds=seeds)
        found = some if found.is_empty() else pl.concat([found, some])
        seconds = time.process_time() - start
        print(f"\n{first + len(seeds)} replications, {seconds / 60:.1f} CPU minutes", flush=True)
        show(table(found, truth.tau))
    if given.json:
        result = {
            "truth": truth.tau,
            "gap": truth.gap,
            "people": given.people,
            "replications": given.replications,
            "occupations": given.occupations,
            "seed": given.seed,
            "cpu_minutes": seconds / 60,
            "network": NETWORK.model_dump(),
            "lines": table(found, truth.tau),
            "machine": platform.processor() or platform.machine(),
        }
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
