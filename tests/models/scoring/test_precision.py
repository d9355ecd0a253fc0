"""Layers in bfloat16 under a float32 head: what is said of them, and how far they are off."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from laborllm.models.language.scratch import tiny_llama, train_tokenizer
from laborllm.models.scoring import llama
from laborllm.models.scoring.choices import score_choices
from laborllm.models.scoring.precision import BFLOAT16, arithmetic, to_bfloat16_layers
from laborllm.models.scoring.scorer import Scorer
from tests.models.scoring.brute_force import Case, brute_force, random_case, random_list, random_model

FAMILIES = pytest.mark.parametrize("family", ["llama", "llama-tied", "qwen3", "llama-biases", "gpt2", "phi", "opt"])


@pytest.fixture
def case(rng: np.random.Generator) -> Case:
    return random_case(rng, random_list(rng, 7), [[1, 3], [60, 4], [30]])


@FAMILIES
def test_layers_are_bfloat16_and_logits_float32(family: str) -> None:
    model = to_bfloat16_layers(random_model(family))
    assert model.dtype == torch.bfloat16
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16
    assert model.get_output_embeddings().weight.dtype == torch.float32
    with torch.inference_mode():
        assert model(input_ids=torch.tensor([[3, 4, 5]])).logits.dtype == torch.float32
    assert arithmetic(model) == BFLOAT16


@FAMILIES
def test_the_head_keeps_its_weights(family: str) -> None:
    model = random_model(family)
    before = copy.deepcopy(model.get_output_embeddings().state_dict())
    after = to_bfloat16_layers(model).get_output_embeddings().state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@FAMILIES
def test_scores_are_near_those_in_float32(family: str, case: Case) -> None:
    exact = Scorer(random_model(family)).titles(case.resumes, case.tree, rows=case.rows)
    model = to_bfloat16_layers(random_model(family))
    scorer = Scorer(model)
    assert scorer.arithmetic == BFLOAT16
    found = scorer.titles(case.resumes, case.tree, rows=case.rows)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < 1.0
    assert np.abs(found - exact).mean() < 0.15
    assert np.abs(found - brute_force(model, case.resumes, case.sequences, case.rows)).max() < 0.5
    assert np.abs(scorer.realised(case.resumes, rows=case.rows) - exact[np.arange(case.rows), case.realised]).max() < 1
    assert np.exp(found.astype(float)).sum(axis=1).max() <= 1 + 1e-6


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN here")
@pytest.mark.parametrize("family", ["llama", "llama-biases", "qwen3"])
def test_scores_are_near_those_in_float32_where_onednn_is_taken(
    family: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = Scorer(random_model(family)).titles(case.resumes, case.tree, rows=case.rows)
    monkeypatch.setattr(llama, "onednn_serves", lambda weight: weight.dtype == torch.float32)
    scorer = Scorer(to_bfloat16_layers(random_model(family)))
    assert scorer.route == "own forward pass"
    assert np.abs(scorer.titles(case.resumes, case.tree, rows=case.rows) - exact).mean() < 0.15


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_route_stays(family: str) -> None:
    assert Scorer(to_bfloat16_layers(random_model(family))).route == Scorer(random_model(family)).route


@pytest.mark.parametrize(
    ("dtype", "said"), [(torch.float32, "float32"), (torch.float64, "float64"), (torch.bfloat16, "bfloat16")]
)
def test_other_arithmetic_is_named(dtype: torch.dtype, said: str) -> None:
    assert arithmetic(random_model("llama").to(dtype)) == said
    assert Scorer(random_model("gpt2").to(dtype)).arithmetic == said


def test_score_choices_says_so() -> None:
    days = ["Monday", "Tuesday", "Wednesday"]
    tokenizer = train_tokenizer(["The day after Monday is Tuesday\n"], days, 300)
    exact, rough = (
        score_choices(model, tokenizer, ["The day after Monday is"], days)
        for model in (tiny_llama(tokenizer, seed=1), to_bfloat16_layers(tiny_llama(tokenizer, seed=1)))
    )
    assert exact.arithmetic == "float32; own forward pass"
    assert rough.arithmetic == f"{BFLOAT16}; own forward pass"
    assert 0 < np.abs(exact.raw - rough.raw).max() < 1
