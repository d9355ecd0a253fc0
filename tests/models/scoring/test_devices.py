"""Models that are spread over devices, and models on a GPU: the same numbers."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from accelerate import disk_offload

from laborllm.models.scoring.hugging_face import HuggingFaceForward
from laborllm.models.scoring.llama import LlamaForward
from laborllm.models.scoring.scorer import Scorer
from laborllm.models.scoring.walks import sample_titles, top_titles
from tests.models.scoring.brute_force import Case, brute_force, close, random_case, random_list, random_model


@pytest.fixture
def case(rng: np.random.Generator) -> Case:
    return random_case(rng, random_list(rng, 12), [[3, 9], [40, 7], [20]])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_model_whose_weights_lie_elsewhere_goes_through_its_own_forward(
    family: str, case: Case, tmp_path: Path
) -> None:
    """Weights that are brought in layer by layer, here from disk: only the model's own forward knows when."""
    model = random_model(family)
    expected = brute_force(model, case.resumes, case.sequences, case.rows)
    disk_offload(model, tmp_path, execution_device=torch.device("cpu"))
    model.hf_device_map = {"model": "cpu", "lm_head": "disk"}
    scorer = Scorer(model)
    assert isinstance(scorer.forward, HuggingFaceForward)
    assert close(scorer.titles(case.resumes, case.tree, rows=case.rows), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_a_gpu_gives_the_processors_numbers(family: str, case: Case) -> None:
    model = random_model(family)
    expected = brute_force(model, case.resumes, case.sequences, case.rows)
    scorer = Scorer(model.to("cuda"))
    assert isinstance(scorer.forward, LlamaForward) == (family != "gpt2")
    full = scorer.titles(case.resumes, case.tree, rows=case.rows)
    assert np.abs(full - expected).max() < 1e-3
    top = top_titles(scorer, case.resumes, case.tree, rows=case.rows, most=3)
    assert np.abs(np.take_along_axis(full, top.title, axis=1) - top.raw).max() < 1e-3
    draw = sample_titles(scorer, case.resumes, case.tree, [np.random.default_rng(row) for row in range(case.rows)])
    assert ((draw >= 0) & (draw < len(case.sequences))).all()
