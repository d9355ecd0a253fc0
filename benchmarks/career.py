"""Training CAREER: packed batches against the same network on padded ones.

    python benchmarks/career.py --json FILE [--size small paper] [--updates 20] [--rounds 3] [--people 4000]

Careers are those of the simulated population; no file is needed. Both ways learn from the same people in the same
order with the same network, head, optimiser and dropout, in batches of about 4,000 person-years. Packed: people of
equal length side by side, no padding, as laborllm trains. Padded: every person of a batch, drawn at random, filled up
to the longest one, the filling left out of the loss. A round is packed, padded; the median over all rounds is given,
in person-years per CPU second of the process.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import machine
import numpy as np
import torch

from laborllm.models.networks.career_network import SIZES, CareerNetwork
from laborllm.models.networks.sequence_model import levels_seen, sequences
from laborllm.models.networks.sequence_training import nats
from laborllm.models.networks.sequences import LEVELS, Packed, Sequences
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate

ROWS_PER_BATCH = 4000


def packed_batch(careers: Sequences, people: np.ndarray) -> tuple[Packed, torch.Tensor]:
    """As laborllm trains: every row is real."""
    packed, row = careers.pack(people, torch.device("cpu"))
    return packed, torch.ones(len(row), dtype=torch.bool)


def padded_batch(careers: Sequences, people: np.ndarray) -> tuple[Packed, torch.Tensor]:
    """One block of the longest length; rows behind a career's end repeat its last one and are not real."""
    lengths = careers.lengths[people]
    longest = int(lengths.max())
    place = np.arange(longest)
    row = careers.starts[people][:, None] + np.minimum(place, lengths[:, None] - 1)  # (people, longest)
    previous, occupation, levels = (
        torch.from_numpy(each[row.ravel()]) for each in (careers.previous, careers.occupation, careers.levels)
    )
    real = torch.from_numpy((place < lengths[:, None]).ravel())
    return Packed(previous, occupation, levels, ((len(people), longest),)), real


WAYS = {"packed": packed_batch, "padded": padded_batch}


def train(
    way: str, careers: Sequences, size: str, occupations: int, levels: list[int], updates: int
) -> dict[str, float]:
    """Person-years per CPU second and per second, and the share of rows that are real."""
    torch.manual_seed(1)
    network = CareerNetwork(SIZES[size], occupations, levels, dropout=0.1).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4, betas=(0.9, 0.98))
    order = np.random.default_rng(1).permutation(len(careers))
    ends = np.cumsum(careers.lengths[order])
    groups = np.split(order, np.searchsorted(ends, np.arange(ROWS_PER_BATCH, ends[-1], ROWS_PER_BATCH)))
    learned = everything = 0
    cpu, wall = time.process_time(), time.perf_counter()
    for update in range(updates):
        packed, real = WAYS[way](careers, groups[update % (len(groups) - 1)])
        loss = nats(network, packed)[real].mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        learned, everything = learned + int(real.sum()), everything + len(real)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"per_cpu_second": learned / cpu, "per_second": learned / wall, "real": learned / everything}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--size", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--people", type=int, default=4000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    careers = simulate(SimulatedSettings(people=args.people, occupations=300))
    words = levels_seen([careers.table])
    given, levels = sequences(careers, words), [len(words[name]) for name in LEVELS]
    result = {"machine": machine.describe(), "measurements": []}
    for size in args.size:
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(args.rounds):
            for way in WAYS:
                runs[way].append(train(way, given, size, len(careers.occupations), levels, args.updates))
        medians = {
            way: {name: statistics.median(run[name] for run in each) for name in each[0]} for way, each in runs.items()
        }
        ratio = medians["packed"]["per_cpu_second"] / medians["padded"]["per_cpu_second"]
        result["measurements"].append({"size": size, "ratio": ratio, **medians})
        for way, figures in medians.items():
            print(
                f"{size:8}{way:8}{figures['per_cpu_second']:10.0f} person-years per CPU second, "
                f"{figures['real']:.0%} of the rows real"
            )
        print(f"{size:8}packed learns {ratio:.2f} times as many person-years per CPU second")
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
