"""Training CAREER: laborllm's batches against a padded loop written with PyTorch's own transformer.

    python benchmarks/career.py --json FILE [--size small paper] [--updates 15] [--rounds 3]

Two populations of 300 jobs, both simulated, so that no file is needed: careers as a survey has them (up to 18 rows,
most of them nearly as long), and résumés of varied length, simulated ones cut off after a log-normal number of rows
(median 8). The gain depends on how much of a padded batch is filling, so that share is printed too.

The peer is what a user would write: ``nn.Embedding``, ``nn.TransformerEncoder`` (pre-norm, GELU) with a causal and a
padding mask, people drawn at random and filled up to the longest of the batch, the two-stage loss by
``log_softmax``, the filling left out of it, AdamW. Both learn the same model from the same people in the same order,
about 4,000 person-years a batch, with the same dropout; before anything is timed, the peer is given laborllm's weights
and has to give the same loss. A round is laborllm, peer; the median over all rounds is given, in person-years per CPU
second of the process.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import machine
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from laborllm.models.networks.bins import in_bins
from laborllm.models.networks.career_network import SIZES, CareerNetwork, Shape
from laborllm.models.networks.sequence_model import levels_seen, sequences
from laborllm.models.networks.sequence_training import nats
from laborllm.models.networks.sequences import LEVELS, Sequences
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate

ROWS_PER_BATCH = 4000
DROPOUT = 0.1
CPU = torch.device("cpu")
Padded = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class PaddedCareer(nn.Module):
    """CAREER with PyTorch's own layers, on people filled up to the longest."""

    def __init__(self, shape: Shape, occupations: int, levels: list[int], dropout: float) -> None:
        super().__init__()
        self.job = nn.Embedding(occupations + 1, shape.width)
        self.covariates = nn.ModuleList(nn.Embedding(1 + each, shape.width, padding_idx=0) for each in levels)
        layer = nn.TransformerEncoderLayer(
            shape.width,
            shape.heads,
            shape.feed_forward,
            dropout,
            functional.gelu,
            batch_first=True,
            norm_first=True,
        )
        layer.dropout.p = 0.0  # CAREER has none inside the feed-forward block
        norm = nn.LayerNorm(shape.width)
        self.encoder = nn.TransformerEncoder(layer, shape.layers, norm, enable_nested_tensor=False)
        self.output = nn.Linear(shape.width, occupations + 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, previous: torch.Tensor, levels: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Outputs, shape (people, longest, occupations + 1)."""
        start = self.job.num_embeddings - 1
        x = math.sqrt(self.job.embedding_dim) * self.job(torch.where(previous < 0, start, previous))
        for number, embedding in enumerate(self.covariates):
            x = x + embedding(levels[:, :, number])
        half, longest = x.shape[2] // 2, x.shape[1]
        angles = (torch.arange(longest) + 2)[:, None] * torch.exp(
            torch.arange(half) * (-math.log(10000.0) / (half - 1))
        )
        x = self.dropout(x + torch.cat([angles.sin(), angles.cos()], dim=1))
        later = torch.ones(longest, longest, dtype=torch.bool).triu(1)
        return self.output(self.encoder(x, mask=later, src_key_padding_mask=~real, is_causal=True))

    def loss(self, batch: Padded) -> torch.Tensor:
        """Mean nats of the real rows."""
        previous, occupation, levels, real = batch
        outputs = self(previous, levels, real)
        stay, jobs = outputs[..., -1], outputs[..., :-1]
        later = previous >= 0
        held = functional.one_hot(previous.clamp(min=0), jobs.shape[2]).bool() & later[..., None]
        where = jobs.masked_fill(held, -torch.inf).log_softmax(2).gather(2, occupation[..., None])[..., 0]
        move = where + torch.where(later, functional.logsigmoid(-stay), 0.0)
        answer = torch.where(later & (occupation == previous), functional.logsigmoid(stay), move)
        return -answer[real].mean()

    @torch.no_grad()
    def take(self, ours: CareerNetwork) -> None:
        """The weights of laborllm's network."""
        self.job.load_state_dict(ours.rows.job.state_dict())
        self.covariates.load_state_dict(ours.rows.covariates.state_dict())
        self.output.load_state_dict(ours.output.state_dict())
        self.encoder.norm.load_state_dict(ours.norm.state_dict())
        for theirs, layer in zip(self.encoder.layers, ours.layers, strict=True):
            theirs.self_attn.in_proj_weight.copy_(layer.query_key_value.weight)
            theirs.self_attn.in_proj_bias.copy_(layer.query_key_value.bias)
            theirs.self_attn.out_proj.load_state_dict(layer.attention_out.state_dict())
            theirs.norm1.load_state_dict(layer.attention_norm.state_dict())
            theirs.norm2.load_state_dict(layer.feed_forward_norm.state_dict())
            theirs.linear1.load_state_dict(layer.feed_forward_in.state_dict())
            theirs.linear2.load_state_dict(layer.feed_forward_out.state_dict())


def padded(careers: Sequences, people: np.ndarray) -> Padded:
    """Previous and realised occupation, levels, and which rows are real, of people filled up to the longest one."""
    lengths = careers.lengths[people]
    place = np.arange(int(lengths.max()))
    row = careers.starts[people][:, None] + np.minimum(place, lengths[:, None] - 1)  # (people, longest)
    parts = (torch.from_numpy(each[row]) for each in (careers.previous, careers.occupation, careers.levels))
    previous, occupation, levels = parts
    return previous, occupation, levels, torch.from_numpy(place < lengths[:, None])


def our_loss(network: CareerNetwork, careers: Sequences, people: np.ndarray) -> torch.Tensor:
    """As laborllm trains."""
    return nats(network, careers.pack(people, CPU)[0]).mean()


def peer_loss(network: PaddedCareer, careers: Sequences, people: np.ndarray) -> torch.Tensor:
    """As the padded loop trains."""
    return network.loss(padded(careers, people))


def filled(careers: Sequences, groups: list[np.ndarray]) -> dict[str, float]:
    """Share of all places that hold no row."""
    rows = places = bins = 0
    for people in groups:
        lengths = careers.lengths[people]
        rows, places = rows + int(lengths.sum()), places + len(people) * int(lengths.max())
        bins += in_bins(careers.pack(people, CPU)[0].blocks, CPU).row.numel()
    return {"laborllm": 1 - rows / bins, "padded": 1 - rows / places}


def batches(careers: Sequences) -> list[np.ndarray]:
    """People in random order, about so many rows a batch."""
    order = np.random.default_rng(1).permutation(len(careers))
    ends = np.cumsum(careers.lengths[order])
    return np.split(order, np.searchsorted(ends, np.arange(ROWS_PER_BATCH, ends[-1], ROWS_PER_BATCH)))[:-1]


def train(
    network: nn.Module, loss_of: Callable[..., torch.Tensor], careers: Sequences, updates: int
) -> dict[str, float]:
    """Person-years per CPU second and per second."""
    network.train()
    if isinstance(network, CareerNetwork):
        optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4, betas=(0.9, 0.98), fused=True)
    else:
        optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4, betas=(0.9, 0.98))
    groups = batches(careers)
    learned = 0
    cpu, wall = time.process_time(), time.perf_counter()
    for update in range(updates):
        people = groups[update % len(groups)]
        loss = loss_of(network, careers, people)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        learned += int(careers.lengths[people].sum())
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"per_cpu_second": learned / cpu, "per_second": learned / wall}


def populations() -> dict[str, tuple[Sequences, int, list[int]]]:
    """Name -> careers, length of the list, levels of the covariates."""
    found = {}
    for name, settings in {
        "survey": SimulatedSettings(people=4000, occupations=300),
        "résumés": SimulatedSettings(
            people=6000, occupations=300, population="resume", first_year=1970, last_year=2019
        ),
    }.items():
        careers = simulate(settings)
        words = levels_seen([careers.table])
        given = sequences(careers, words)
        if name == "résumés":
            given = of_varied_length(given)
        found[name] = given, len(careers.occupations), [len(words[level]) for level in LEVELS]
    return found


def of_varied_length(careers: Sequences) -> Sequences:
    """The first rows of every career, as many as a log-normal draw (median 8, sigma 0.8) between 1 and 40 says."""
    rng = np.random.default_rng(1)
    drawn = np.exp(rng.normal(math.log(8), 0.8, len(careers))).round().clip(1, 40).astype(np.int64)
    lengths = np.minimum(drawn, careers.lengths)
    rows = np.concatenate(
        [np.arange(first, first + length) for first, length in zip(careers.starts, lengths, strict=False)]
    )
    starts = np.append(0, np.cumsum(lengths))
    return Sequences(starts, careers.previous[rows], careers.occupation[rows], careers.levels[rows])


def measure(
    size: str, careers: Sequences, occupations: int, levels: list[int], *, updates: int, rounds: int
) -> dict[str, object]:
    """Both ways in turn, once it is certain that they are one model."""
    runs: dict[str, list[dict[str, float]]] = {"laborllm": [], "padded": []}
    check(size, careers, occupations, levels)
    for _ in range(rounds):
        torch.manual_seed(1)
        ours = CareerNetwork(SIZES[size], occupations, levels, dropout=DROPOUT)
        theirs = PaddedCareer(SIZES[size], occupations, levels, DROPOUT)
        theirs.take(ours)
        runs["laborllm"].append(train(ours, our_loss, careers, updates))
        runs["padded"].append(train(theirs, peer_loss, careers, updates))
    medians = {
        way: {name: statistics.median(run[name] for run in each) for name in each[0]} for way, each in runs.items()
    }
    ratio = medians["laborllm"]["per_cpu_second"] / medians["padded"]["per_cpu_second"]
    return {"ratio": ratio, "filling": filled(careers, batches(careers)[:updates]), **medians}


def check(size: str, careers: Sequences, occupations: int, levels: list[int]) -> None:
    """Stop unless both, in training but without dropout, give one loss and one slope of the output weights."""
    people = batches(careers)[0]
    ours = CareerNetwork(SIZES[size], occupations, levels)
    theirs = PaddedCareer(SIZES[size], occupations, levels, 0.0)
    theirs.take(ours)
    losses = our_loss(ours, careers, people), peer_loss(theirs, careers, people)
    slopes = [
        torch.autograd.grad(loss, network.output.weight)[0]
        for loss, network in zip(losses, (ours, theirs), strict=True)
    ]
    torch.testing.assert_close(*losses, atol=1e-5, rtol=0)
    torch.testing.assert_close(*slopes, atol=1e-6, rtol=1e-3)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--size", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--updates", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = {"machine": machine.describe(), "measurements": []}
    for name, (careers, occupations, levels) in populations().items():
        lengths = careers.lengths
        moves = float((careers.occupation != careers.previous).mean())
        print(
            f"{name}: {len(careers)} people, {lengths.mean():.1f} rows on average, "
            f"5 % below {np.quantile(lengths, 0.05):.0f}, at most {lengths.max()}; {moves:.0%} of the rows are moves"
        )
        for size in args.size:
            found = measure(size, careers, occupations, levels, updates=args.updates, rounds=args.rounds)
            result["measurements"].append({"careers": name, "size": size, **found})
            for way in ("laborllm", "padded"):
                print(
                    f"{name:9}{size:7}{way:9}{found[way]['per_cpu_second']:9.0f} person-years per CPU second, "
                    f"{found['filling'][way]:4.0%} of the places filled up"
                )
            print(f"{name:9}{size:7}laborllm learns {found['ratio']:.2f} times as many person-years per CPU second")
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
