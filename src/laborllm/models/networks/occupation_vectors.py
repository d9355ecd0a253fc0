"""The vectors that a fitted network holds of occupations."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from laborllm.errors import LaborLLMError

INPUTS = ("rows.job.weight", "job.weight")
"""What CAREER and the LSTM, and the bag of jobs, read of the previous job; shape (occupations + 1, width)."""


def read_occupation_vectors(folder: Path, occupations: int) -> np.ndarray:
    """What a network of a run reads of each occupation as the previous one.

    Args:
        folder: of the fitted network, e.g. OUT/models/career.
        occupations: length of the closed list.

    Returns:
        float32, shape (occupations, width).

    Raises:
        LaborLLMError: no fitted network lies there.
    """
    path = folder / "weights.safetensors"
    if not path.is_file():
        raise LaborLLMError(f"{path}: is not there; run the study again to fit the network")
    weights = load_file(path)
    found = next((weights[name] for name in INPUTS if name in weights), None)
    if found is None:
        raise LaborLLMError(f"{path}: holds no vectors of occupations; run the study again to fit the network")
    return found[:occupations]
