"""Where the likelihood of a logit is computed: on a GPU where there is one, else on the processor with numpy."""

from importlib.util import find_spec
from typing import Literal

from laborllm.errors import LaborLLMError
from laborllm.models.regression.softmax import Choices

Device = Literal["auto", "cpu", "gpu"]
"""A GPU where there is one, the processor, or a GPU and nothing else."""
NEEDED = ("torch", "psutil")


def placed(choices: Choices, device: Device) -> Choices:
    """The same choices, with their likelihood computed on a device.

    Raises:
        LaborLLMError: a GPU is asked for and there is none, or torch is not installed.
    """
    absent = [name for name in NEEDED if find_spec(name) is None]
    if device == "gpu" and absent:
        raise LaborLLMError(
            f'device = "gpu" needs {" and ".join(absent)}, not installed here: pip install "laborllm[llm]", or set '
            f'device = "cpu"'
        )
    if device == "cpu" or absent:
        return choices
    import torch

    if torch.cuda.is_available():
        from laborllm.models.regression.torch_choices import TorchChoices

        return TorchChoices.of(choices, torch.device("cuda"))
    if device == "gpu":
        raise LaborLLMError('device = "gpu" needs a CUDA GPU, and there is none here; set device = "cpu"')
    return choices
