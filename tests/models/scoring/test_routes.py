"""Which forward pass scores which model: the faster one where it agrees, none where no one does."""

import contextlib
import logging
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from laborllm.errors import LaborLLMError
from laborllm.models.scoring import kernels, llama
from laborllm.models.scoring.hugging_face import HuggingFaceForward
from laborllm.models.scoring.llama import LlamaForward, why_not
from laborllm.models.scoring.routes import Probe, choose_forward
from laborllm.models.scoring.scorer import Scorer
from tests.models.scoring.brute_force import (
    GENERIC,
    LOCAL,
    OWN,
    STRETCHED,
    UNSUPPORTED,
    Case,
    brute_force,
    close,
    random_case,
    random_list,
    random_model,
    wide_llama,
)


@pytest.fixture
def case(rng: np.random.Generator) -> Case:
    return random_case(rng, random_list(rng, 7), [[1, 3], [90, 4], [30]])


@pytest.mark.parametrize("family", OWN)
def test_the_llama_family_goes_through_our_own_forward(family: str) -> None:
    model = random_model(family)
    assert why_not(model) is None
    forward, remark = choose_forward(model, Probe.of(model))
    assert isinstance(forward, LlamaForward)
    assert remark == LlamaForward.name


@pytest.mark.parametrize("family", GENERIC)
def test_every_other_family_goes_through_its_own(family: str) -> None:
    model = random_model(family)
    reason = why_not(model)
    forward, remark = choose_forward(model, Probe.of(model))
    assert isinstance(forward, HuggingFaceForward)
    assert reason is not None
    assert remark == f"{HuggingFaceForward.name} ({reason})"


@pytest.mark.parametrize("family", UNSUPPORTED)
def test_a_family_that_cannot_be_scored_is_refused(family: str) -> None:
    with pytest.raises(LaborLLMError) as raised:
        Scorer(random_model(family))
    assert "\n" not in str(raised.value)
    assert "ForCausalLM" in str(raised.value)


def right_or_refused(model: Any, case: Case) -> None:
    """Numbers equal brute force, or a message says that they cannot be had; never wrong numbers."""
    with contextlib.suppress(LaborLLMError):
        full = Scorer(model).titles(case.resumes, case.tree, rows=case.rows)
        assert close(full, brute_force(model, case.resumes, case.sequences, case.rows))


@pytest.mark.parametrize("family", LOCAL)
def test_local_attention_is_right_or_refused(family: str, case: Case) -> None:
    """The texts are longer than the window, the probe text is not."""
    right_or_refused(random_model(family), case)


@pytest.mark.parametrize("family", STRETCHED)
def test_rotary_embeddings_that_depend_on_the_length_are_right_or_refused(family: str, case: Case) -> None:
    """One career is longer than the length at which the angles change, some of its prefixes are not."""
    right_or_refused(random_model(family), case)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "mistral-window-16"])
def test_a_wrong_forward_is_left_with_a_warning(
    family: str, case: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rotated = llama._rotated
    monkeypatch.setattr(llama, "_rotated", lambda x, cosine, sine: rotated(x, cosine, -sine * 0.9))
    model = random_model(family)
    with caplog.at_level(logging.WARNING):
        scorer = Scorer(model)
    assert isinstance(scorer.forward, HuggingFaceForward)
    if family in OWN:
        (record,) = caplog.records
        assert "slower: our own differs from it by" in record.getMessage()
        assert "our own differs from it by" in scorer.route
    else:
        assert not caplog.records
    expected = brute_force(model, case.resumes, case.sequences, case.rows)
    assert close(scorer.titles(case.resumes, case.tree, rows=case.rows), expected)


def test_a_wrong_tree_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe looks at ancestors, not at prefixes alone."""
    monkeypatch.setattr(llama.LlamaForward, "_angles", _shifted(llama.LlamaForward._angles))
    assert isinstance(Scorer(random_model("llama")).forward, HuggingFaceForward)


def _shifted(angles: Any) -> Any:
    """Angles of nodes that stand one position too far."""
    return lambda self, positions: angles(self, positions + (np.diff(positions, prepend=-1) != 1).any())


def test_no_forward_that_agrees_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laborllm.models.scoring.routes._difference", lambda *given: 0.5)
    with pytest.raises(LaborLLMError, match=r"GPT2LMHeadModel cannot be scored exactly: .* differs by 0.5 nats"):
        Scorer(random_model("gpt2"))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN here")
def test_without_onednn_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    case = random_case(rng, random_list(rng, 60, letters=20, vocabulary=5000), [[30, 4], [1], [100]], vocabulary=5000)
    model = wide_llama()
    found = {}
    for serves in (True, False):
        monkeypatch.setattr(llama, "onednn_serves", lambda weight, serves=serves: serves)
        scorer = Scorer(model)
        assert isinstance(scorer.forward, LlamaForward)
        found[serves] = (
            scorer.titles(case.resumes, case.tree, rows=case.rows),
            scorer.realised(case.resumes, rows=case.rows),
        )
    for one, other in zip(found[True], found[False], strict=True):
        assert np.allclose(one, other, rtol=2e-7, atol=1e-5)


def test_a_private_operator_that_is_missing_is_survived(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    def missing(*given: object) -> Any:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(kernels, "_onednn", missing)
    model = random_model("llama")
    scorer = Scorer(model)
    assert isinstance(scorer.forward, LlamaForward)
    assert not scorer.forward.onednn
    expected = brute_force(model, case.resumes, case.sequences, case.rows)
    assert close(scorer.titles(case.resumes, case.tree, rows=case.rows), expected)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_weights_stay_as_they_are(family: str, case: Case) -> None:
    model = random_model(family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Scorer(model).titles(case.resumes, case.tree, rows=case.rows)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("vocabulary", [2, 3, 7, 7919])
def test_the_probe_takes_any_vocabulary(vocabulary: int) -> None:
    _, remark = choose_forward(model := wide_llama(vocabulary=vocabulary, width=16), Probe.of(model))
    assert remark == LlamaForward.name
