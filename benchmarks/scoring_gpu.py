"""What a GPU gives: person-years per second of the full closed list, for the shapes of a 1B and a 7B model.

    python benchmarks/scoring_gpu.py --json FILE [--models 1B 7B] [--workers 8] [--arithmetic bfloat16 float32]

Random weights; the text, the list and the rival (a prefix's keys and values kept and expanded over batches of titles)
are those of scoring.py. Interleaved: laborllm, expanded cache, laborllm, expanded cache; medians. Operations are
2·in·out a row of every linear layer, the attention of nodes to prefix and ancestors, the careers themselves and the
head, as in scoring.py; the share of the peak is given where the device's peak is known.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import machine
import numpy as np
import peers
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from laborllm.models.scoring.precision import to_bfloat16_layers
from laborllm.models.scoring.scorer import Scorer

MODELS = {"1B": (2048, 16, 32, 8, 8192), "7B": (4096, 32, 32, 32, 11008)}
"""Name -> width, layers, heads, key heads, intermediate width."""
PEAK = {("H200", "bfloat16"): 989e12, ("H100", "bfloat16"): 989e12, ("A100", "bfloat16"): 312e12}
"""Dense peak, operations per second, from the makers' data sheets."""
PREFIX, BATCH, ROUNDS = 200, 128, 2
TOLERANCE = {"float32": 1e-2, "bfloat16": 2.0}


def build_model(name: str, arithmetic: str, device: str) -> LlamaForCausalLM:
    """A Llama with random weights, made on the device."""
    width, layers, heads, key_heads, intermediate = MODELS[name]
    config = LlamaConfig(
        vocab_size=machine.MODEL_VOCABULARY,
        hidden_size=width,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        max_position_embeddings=machine.WINDOW,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=1,
    )
    torch.manual_seed(1)
    with torch.device(device):
        model = LlamaForCausalLM(config).eval()
    return to_bfloat16_layers(model) if arithmetic == "bfloat16" else model


def operations(model: Any, text: machine.Text, work: machine.Work) -> float:
    """Floating-point operations of laborllm's way, per (worker, year)."""
    unit = dict.fromkeys([*machine.layer_shapes(model), machine.head_shape(model)], 1.0)
    return machine.floor(model, text.tree, work.careers, unit).total


def seconds(call: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Result and wall seconds; both ways end by bringing their numbers to the processor."""
    start = perf_counter()
    return call(), perf_counter() - start


def measure(name: str, arithmetic: str, text: machine.Text, workers: int, device: str) -> dict[str, Any]:
    """One model in one precision."""
    model, work = build_model(name, arithmetic, device), machine.build_work(text, PREFIX, workers)
    scorer, rival = Scorer(model), peers.ExpandedCache(model, text.tokenizer, text.titles)
    cases, everything = work.spread(4), range(len(text.titles.texts))
    ours, theirs = (
        lambda: scorer.titles(work.careers, text.tree, rows=work.years),
        lambda: rival.score(cases, everything, BATCH),
    )
    difference = float(np.abs(ours()[[case.row for case in cases]] - theirs()).max())
    if difference > TOLERANCE[arithmetic]:
        sys.exit(f"{name}, {arithmetic}: the two ways differ by {difference:.2g} nats")
    times = [(seconds(ours)[1] / work.years, seconds(theirs)[1] / len(cases)) for _ in range(ROUNDS)]
    own, other = (statistics.median(column) for column in zip(*times, strict=True))
    rate = operations(model, text, work) / own
    peak = next((peak for (card, kind), peak in PEAK.items() if card in _card(device) and kind == arithmetic), None)
    return {
        "model": name,
        "arithmetic": arithmetic,
        "scored_by": scorer.route,
        "person_years_per_second": 1 / own,
        "expanded_cache_person_years_per_second": 1 / other,
        "ratio": other / own,
        "tflop_per_second": rate / 1e12,
        "share_of_peak": None if peak is None else rate / peak,
        "largest_difference_nats": difference,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
    }


def _card(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--arithmetic", nargs="+", choices=TOLERANCE, default=["bfloat16", "float32"])
    parser.add_argument("--workers", type=int, default=8, help="whole careers that laborllm scores in a run")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no GPU here: not measured")
    text = machine.build_text()
    result: dict[str, Any] = {"machine": machine.describe() | {"gpu": _card("cuda")}, "measurements": []}
    for name in options.models:
        for arithmetic in options.arithmetic:
            result["measurements"].append(measure(name, arithmetic, text, options.workers, "cuda"))
            print(json.dumps(result["measurements"][-1], indent=1))
            torch.cuda.empty_cache()
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
