"""What the scores of a language model depend on, as a hash."""

import hashlib
import json
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import torch

NOT_SCORED = {"_name_or_path", "architectures", "dtype", "transformers_version"}
"""Entries of a configuration that change by saving and loading alone."""

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers as wide as a number of so many bytes."""


def model_fingerprint(model: Any, sequences: Sequence[Sequence[int]]) -> str:
    """Hash of the weights, the configuration, the closed list's tokens, the device and the software.

    The same for a model in memory and for one that was saved and loaded. Of every row of a tensor, the sum of its
    bits taken as integers goes in: exact in any order of summation, so that neither device nor number of threads
    matters, and as fast as memory, so that an estimate of scoring time does not measure the hash.

    Args:
        model: a Hugging Face causal language model.
        sequences: the tokens of each title.
    """
    config = {name: value for name, value in model.config.to_dict().items() if name not in NOT_SCORED}
    software = {name: metadata.version(name) for name in ("laborllm", "torch", "transformers")}
    facts = [software, type(model).__name__, config, model.device.type, [list(each) for each in sequences]]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        bits = tensor.detach().contiguous().view(INTEGERS[tensor.element_size()])
        digest.update(bits.sum(-1, dtype=bits.dtype).cpu().numpy().tobytes())  # wraps around, as meant
    return digest.hexdigest()
