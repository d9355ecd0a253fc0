"""Do the objectives find the history-adjusted gap? Made-up groups and outcomes over given careers, the truth known.

    python benchmarks/decomposition.py [--replications 200] [--people 3000] [--json FILE]

Careers of the simulated population are drawn once. Outcomes depend strongly on the broad groups in which a career was
spent, and a little on z: which occupations inside them. z decides the group (``analysis/semi_simulated.gap_truth``).
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

import numpy as np
import torch

from laborllm.analysis.gap import AdjustedGap, Nuisances, adjusted_gap
from laborllm.analysis.gap_learning import decompose
from laborllm.analysis.gap_settings import NAMES, GapNetworkSettings, GapSettings
from laborllm.analysis.semi_simulated import GapTruth, gap_truth
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


def replication(truth: GapTruth, people: int, seed: int) -> dict[str, AdjustedGap]:
    """The estimates of one draw of people."""
    sample, who = truth.draw(people, np.random.default_rng(seed))
    known = Nuisances(truth.second[who], truth.propensity[who])
    found = {"known": adjusted_gap(sample.outcome, sample.first, known, sample.person)}
    return found | decompose(sample, GapSettings(seed=seed, network=NETWORK))


def table(found: list[dict[str, AdjustedGap]], truth: float) -> list[dict[str, float | str]]:
    """One line an objective."""
    lines: list[dict[str, float | str]] = []
    count = len(found)
    for name in found[0]:
        estimates = np.array([each[name].unexplained for each in found])
        errors = np.array([each[name].unexplained_error for each in found])
        covered = np.array(
            [low <= truth <= high for low, high in (each[name].interval("unexplained") for each in found)]
        )
        deviation = float(estimates.std(ddof=1))
        lines.append(
            {
                "method": {"known": "Both nuisances known", **NAMES}[name],
                "bias": float(estimates.mean() - truth),
                "bias_error": deviation / count**0.5,
                "deviation": deviation,
                "std_error": float(errors.mean()),
                "coverage": float(covered.mean()),
                "coverage_error": float((covered.mean() * (1 - covered.mean()) / count) ** 0.5),
                "trimmed": float(np.mean([each[name].trimmed for each in found])),
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--people", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1000, help="of the first replication; the others follow")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    truth = gap_truth(simulate(CAREERS))
    print(f"truth: gap {truth.gap:+.3f}, among equals {truth.tau:+.3f}; {given.people} people a replication")
    start = time.process_time()
    found = []
    for number in range(given.replications):
        found.append(replication(truth, given.people, given.seed + number))
        if (number + 1) % 25 == 0 or number + 1 == given.replications:
            seconds = time.process_time() - start
            print(f"\n{number + 1} replications, {seconds / 60:.1f} CPU minutes", flush=True)
            for line in table(found, truth.tau):
                print(
                    f"{line['method']:26s} bias {line['bias']:+.4f} ({line['bias_error']:.4f})  "
                    f"sd {line['deviation']:.4f}  mean s.e. {line['std_error']:.4f}  "
                    f"coverage {line['coverage']:.3f} ({line['coverage_error']:.3f})",
                    flush=True,
                )
    if given.json:
        result = {
            "truth": truth.tau,
            "gap": truth.gap,
            "people": given.people,
            "replications": given.replications,
            "cpu_minutes": seconds / 60,
            "network": NETWORK.model_dump(),
            "lines": table(found, truth.tau),
            "machine": platform.processor() or platform.machine(),
        }
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
