"""Packs give the loss and the gradients that their résumés give alone, or are left with a reason."""

import inspect
import itertools
import logging
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional

from laborllm.models.language.batches import groups
from laborllm.models.language.language_model_settings import TrainingSettings
from laborllm.models.language.packing import (
    Layout,
    Rule,
    _in_one_kernel,
    _varlen_kernel,
    attention_within_resumes,
    learned_tokens,
    pack,
)
from laborllm.models.language.resume_loss import PACKED, ResumeLoss
from laborllm.models.language.token_loss import summed_nats
from laborllm.text.titles import TokenizedResume
from tests.models.scoring.brute_force import FAMILIES, VOCABULARY, random_model

LENGTHS = (101, 5, 30, 47, 30, 60)
"""Some are equal, some longer than the windows of 16 and of 80 tokens."""
PADDED = {"gpt-oss", "gptj", "falcon-rotary", "bloom", "falcon-alibi", "mpt", "mamba", "gpt-neo", "llama4"}
PADDED |= {"phi3-longrope", "llama-dynamic-rope"}
PACKS = sorted(set(FAMILIES) - PADDED)


@pytest.fixture
def resumes(rng: np.random.Generator) -> list[TokenizedResume]:
    return [resume(rng.integers(2, VOCABULARY, length)) for length in LENGTHS]


def resume(tokens: np.ndarray, first_scored: int = 0) -> TokenizedResume:
    """Two lines whose titles are the last two tokens but three, and the last two."""
    ends = np.array([len(tokens) - 2, len(tokens)])
    return TokenizedResume(tokens, range(2), ends - 2 + (ends == len(tokens) - 2), ends, first_scored)


def plain_nats(model: Any, resumes: list[TokenizedResume], loss: str = "all_tokens") -> torch.Tensor:
    """Every résumé alone through the model's own forward pass, and torch's own cross-entropy."""
    total = torch.zeros(())
    for each in resumes:
        tokens = torch.from_numpy(each.tokens)
        logits = model(input_ids=tokens[None], use_cache=False).logits[0]
        learned = learned_tokens(each, loss)
        total = total + functional.cross_entropy(logits[learned - 1], tokens[learned], reduction="sum")
    return total


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def packed_loss(model: Any, resumes: list[TokenizedResume], **settings: Any) -> ResumeLoss:
    loss = ResumeLoss(model, TrainingSettings(**settings))
    loss.choose(resumes)
    return loss


@pytest.mark.parametrize("family", PACKS)
def test_a_pack_equals_its_resumes_alone(family: str, resumes: list[TokenizedResume]) -> None:
    model = random_model(family)
    loss = packed_loss(model, resumes)
    assert loss.how == PACKED
    with loss.ready():
        together = loss(resumes)
        together.backward()
    packed = gradients(model)
    alone = plain_nats(model, resumes)
    alone.backward()
    assert together.item() == pytest.approx(alone.item(), rel=1e-6)
    largest = max(float(each.abs().max()) for each in packed.values())
    for name, gradient in gradients(model).items():
        assert float((gradient - packed[name]).abs().max()) < 1e-5 * largest, name


@pytest.mark.parametrize("family", ["llama", "mistral-window-16", "gemma2", "gpt2"])
def test_no_resume_moves_another(family: str, resumes: list[TokenizedResume], rng: np.random.Generator) -> None:
    loss = packed_loss(random_model(family), resumes)
    for place in range(len(resumes)):
        changed = list(resumes)
        changed[place] = resume(rng.integers(2, VOCABULARY, LENGTHS[place]))
        order = np.argsort(LENGTHS, kind="stable").tolist()  # of the pack
        with loss.ready(), torch.no_grad():
            before, after = (loss._by_resume(pack(each, "all_tokens", loss.device)) for each in (resumes, changed))
        moved = [order[at] for at in np.flatnonzero((before - after).abs().numpy() > 1e-6 * before.numpy())]
        assert moved == [place]


@pytest.mark.parametrize("family", sorted(PADDED - {"mpt", "mamba"}))
def test_what_takes_no_packs_is_padded_and_said(
    family: str, resumes: list[TokenizedResume], caplog: pytest.LogCaptureFixture
) -> None:
    model = random_model(family)
    with caplog.at_level(logging.WARNING, logger="laborllm"):
        loss = packed_loss(model, resumes)
    (record,) = [each for each in caplog.records if each.name.startswith("laborllm")]
    assert loss.how.startswith("padded batches (")
    assert "slower than packs" in record.getMessage()
    with loss.ready(), torch.no_grad():
        same = [each for each in resumes if len(each.tokens) == 30]  # lengths matter to some of these
        assert loss(same).item() == pytest.approx(plain_nats(model, same).item(), rel=1e-5)


def test_a_leak_between_resumes_is_noticed(
    resumes: list[TokenizedResume], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Layout, "runs", property(lambda self: [(1, sum(self.lengths))]))
    for precision in ("float32", "bfloat16"):
        loss = packed_loss(random_model("llama"), resumes, precision=precision)
        assert "a résumé moves another's loss" in loss.how


def test_positions_that_do_not_restart_are_noticed(
    resumes: list[TokenizedResume], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laborllm.models.language.packing.np.arange", lambda *given: np.ones(given[-1], dtype=np.int64))
    assert "differs from that of its résumés" in packed_loss(random_model("gpt2"), resumes).how


@pytest.mark.parametrize("window", [None, 16])
def test_what_the_kernel_of_a_gpu_is_asked_for(window: int | None, resumes: list[TokenizedResume]) -> None:
    """The kernel runs on CUDA alone: here another takes its place that reads the same arguments."""
    torch.manual_seed(0)
    layout, tokens = pack(resumes, "all_tokens", torch.device("cpu")).layout, sum(LENGTHS)
    query, key, value = (torch.randn(1, heads, tokens, 8) for heads in (4, 2, 2))

    def kernel(q: Any, k: Any, v: Any, edges: Any, edges_k: Any, longest: int, longest_k: int, **given: Any) -> Any:
        answers = []
        assert (longest, longest_k, given["enable_gqa"]) == (max(LENGTHS), max(LENGTHS), True)
        left, right = given["window_size"]
        for first, after in itertools.pairwise(edges.tolist()):
            one, other, third = (each[first:after].transpose(0, 1) for each in (q, k, v))
            place = torch.arange(after - first)
            back = place[:, None] - place[None, :]
            seen = (back >= -right) & ((back <= left) if left >= 0 else torch.ones_like(back, dtype=torch.bool))
            scores = one @ other.repeat_interleave(2, 0).transpose(1, 2) * given["scale"]
            weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
            answers.append((weights @ third.repeat_interleave(2, 0)).transpose(0, 1))
        return torch.cat(answers)

    module = torch.nn.Identity()
    expected, _ = attention_within_resumes(
        module, query, key, value, None, layout=layout, scaling=0.3, sliding_window=window
    )
    found = _in_one_kernel(kernel, [query[0], key[0], value[0]], Rule(0.3, window, None, 0.0), layout)
    assert torch.allclose(found, expected[0], atol=1e-6)


def test_the_kernel_of_a_gpu_takes_these_arguments() -> None:
    kernel = _varlen_kernel()
    if kernel is None:
        pytest.skip("this torch has no attention over many lengths that takes a window")
    given = {"scale": 0.3, "window_size": (15, 0), "enable_gqa": True}
    inspect.signature(kernel).bind(*(torch.zeros(1) for _ in range(5)), 7, 7, **given)


def test_attention_is_as_before_afterwards(resumes: list[TokenizedResume]) -> None:
    model = random_model("llama")
    tokens = torch.from_numpy(resumes[0].tokens)[None]
    before = model(tokens).logits
    loss = packed_loss(model, resumes)
    with loss.ready():
        loss(resumes)
    assert torch.equal(model(tokens).logits, before)
    assert model.config._attn_implementation == "sdpa"


def test_which_tokens_are_learned() -> None:
    tokens = np.arange(10)
    whole = resume(tokens)
    later = resume(tokens, first_scored=1)
    assert learned_tokens(whole, "all_tokens").tolist() == list(range(1, 10))
    assert learned_tokens(later, "all_tokens").tolist() == [8, 9]
    assert learned_tokens(whole, "occupations").tolist() == [7, 8, 9]
    assert learned_tokens(later, "occupations").tolist() == [8, 9]


def test_titles_alone_are_learned(resumes: list[TokenizedResume]) -> None:
    model = random_model("qwen3")
    loss = packed_loss(model, resumes, loss="occupations")
    with loss.ready(), torch.no_grad():
        found = loss(resumes).item()
    assert found == pytest.approx(plain_nats(model, resumes, "occupations").item(), rel=1e-6)
    assert found < plain_nats(model, resumes).item() / 5


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("biased", [False, True])
def test_nats_and_gradients_equal_torch(softcap: float | None, biased: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laborllm.models.language.token_loss.LOGIT_BYTES", {"cpu": 4 * 50 * 7})
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50, bias=biased)
    states, target = torch.randn(23, 16, requires_grad=True), torch.randint(50, (23,))
    found = summed_nats(states, head, target, softcap=softcap)
    got = torch.autograd.grad(found * 0.3, [states, *head.parameters()])
    logits = head(states)
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    expected = functional.cross_entropy(logits, target, reduction="sum")
    wanted = torch.autograd.grad(expected * 0.3, [states, *head.parameters()])
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for one, other in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_bfloat16_is_near_float32(resumes: list[TokenizedResume]) -> None:
    model = random_model("llama")
    losses = {}
    for precision in ("float32", "bfloat16"):
        loss = packed_loss(model, resumes, precision=precision)
        assert loss.how == PACKED
        with loss.ready():
            nats = loss(resumes)
            nats.backward()
        assert nats.dtype == torch.float32
        assert all(each.dtype == torch.float32 for each in gradients(model).values())
        losses[precision] = nats.item()
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=5e-3)
    assert losses["bfloat16"] != losses["float32"]
    assert model.dtype == torch.float32


def test_checkpointing_changes_nothing_but_memory(resumes: list[TokenizedResume]) -> None:
    model = random_model("llama").train()
    layer = model.model.layers[0]
    found = []
    for checkpointing in (False, True):
        loss = packed_loss(model, resumes, checkpointing=checkpointing)
        with loss.ready():
            assert layer.gradient_checkpointing == checkpointing
            loss(resumes).backward()
        found.append(gradients(model))
        assert not layer.gradient_checkpointing
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], atol=1e-6)


@pytest.mark.parametrize("packed", [True, False])
def test_groups_hold_everything_within_bounds(packed: bool, resumes: list[TokenizedResume]) -> None:
    found = list(groups(resumes, 100, packed=packed))
    assert sorted(len(each.tokens) for group in found for each in group) == sorted(LENGTHS)
    for group in found:
        lengths = [len(each.tokens) for each in group]
        assert len(group) == 1 or (sum(lengths) if packed else max(lengths) * len(lengths)) <= 100
    assert len(found) == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("family", ["llama", "mistral-window-16", "gemma2"])
def test_packs_on_a_gpu_equal_a_processor(family: str, resumes: list[TokenizedResume]) -> None:
    exact = plain_nats(random_model(family), resumes).item()
    model = random_model(family).cuda()
    loss = packed_loss(model, resumes)
    assert (loss.how, loss.dtype) == (PACKED, torch.bfloat16)
    with loss.ready():
        nats = loss(resumes)
        nats.backward()
    assert nats.item() == pytest.approx(exact, rel=2e-2)
    assert all(bool(torch.isfinite(each).all()) for each in gradients(model).values())
