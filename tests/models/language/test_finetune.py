"""Fine-tuning: learns, keeps the best checkpoint, is repeatable, and goes on after a kill with the same result."""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file

from laborllm.errors import LaborLLMError
from laborllm.models.language.finetune import Run, add_dropout, finetune, occupation_perplexity, share_of_peak
from laborllm.models.language.language_model_settings import TrainingSettings
from laborllm.models.language.scratch import tiny_llama, train_tokenizer
from laborllm.models.training_state import History
from laborllm.survey.careers import Careers
from laborllm.text.resume import ResumeSettings, write_resumes
from laborllm.text.titles import ResumeTokenizer, TokenizedResume

SETTINGS = TrainingSettings(epochs=2, learning_rate=2e-3, batch=8, evaluations=2, dropout=0.1, weight_decay=0.1)


class Killed(Exception):
    """Stands for a kill in the middle of a run."""


@pytest.fixture(scope="module")
def tokenized(few_careers: Careers) -> list[TokenizedResume]:
    written = write_resumes(few_careers, ResumeSettings())
    tokenizer = train_tokenizer([resume.text for resume in written], few_careers.occupations.titles, 8192)
    return ResumeTokenizer(tokenizer, few_careers.occupations.titles).encode(written)


@pytest.fixture
def model(few_careers: Careers) -> Any:
    written = write_resumes(few_careers, ResumeSettings())
    return tiny_llama(
        train_tokenizer([resume.text for resume in written], few_careers.occupations.titles, 8192), seed=1
    )


def weights(model: Any) -> np.ndarray:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).numpy()


def train(model: Any, tokenized: Sequence[TokenizedResume], folder: Path, **other: Any) -> History:
    rows = sum(len(resume.rows) for resume in tokenized)
    validation = other.pop("validation", lambda model: occupation_perplexity(model, tokenized, rows))
    settings = SETTINGS.model_copy(update=other)
    return finetune(model, tokenized, validation, settings=settings, folder=folder, seed=1)


def test_learns_and_repeats_to_the_last_bit(model: Any, tokenized: list[TokenizedResume], tmp_path: Path) -> None:
    start = {name: value.clone() for name, value in model.state_dict().items()}
    first = train(model, tokenized, tmp_path / "a")
    assert first.legs[-1]["validation_perplexity"] < first.legs[0]["validation_perplexity"]
    learned = weights(model)
    model.load_state_dict(start)
    assert train(model, tokenized, tmp_path / "b").legs == first.legs
    assert np.array_equal(weights(model), learned)


def test_goes_on_after_a_kill_with_the_same_result(
    model: Any, tokenized: list[TokenizedResume], tmp_path: Path
) -> None:
    start = {name: value.clone() for name, value in model.state_dict().items()}
    undisturbed = train(model, tokenized, tmp_path / "a")
    learned = weights(model)
    rows = sum(len(resume.rows) for resume in tokenized)
    measured = []

    def killed_at_the_third_evaluation(model: Any) -> float:
        if len(measured) == 2:
            raise Killed
        measured.append(occupation_perplexity(model, tokenized, rows))
        return measured[-1]

    model.load_state_dict(start)
    with pytest.raises(Killed):
        train(model, tokenized, tmp_path / "b", validation=killed_at_the_third_evaluation)
    model.load_state_dict(start)  # a new process starts from the same random weights
    assert train(model, tokenized, tmp_path / "b").legs == undisturbed.legs
    assert np.array_equal(weights(model), learned)


def test_keeps_the_best_checkpoint_and_stops_early(
    model: Any, tokenized: list[TokenizedResume], tmp_path: Path
) -> None:
    answers = iter([5.0, 4.0, 6.0, 7.0, 3.0])
    seen: list[np.ndarray] = []

    def validation(model: Any) -> float:
        seen.append(weights(model))
        return next(answers)

    history = train(model, tokenized, tmp_path, validation=validation, epochs=9, patience=2)
    assert [leg["validation_perplexity"] for leg in history.legs] == [5.0, 4.0, 6.0, 7.0]
    assert history.best == 4.0
    assert np.array_equal(weights(model), seen[1])
    assert not model.training


def test_loss_does_not_depend_on_padding(model: Any, tokenized: list[TokenizedResume]) -> None:
    rows = sum(len(resume.rows) for resume in tokenized)
    whole = occupation_perplexity(model, tokenized, rows)
    nats = 0.0
    for resume in tokenized:
        moved = TokenizedResume(resume.tokens, range(len(resume.rows)), resume.cuts, resume.ends)
        nats += len(resume.rows) * math.log(occupation_perplexity(model, [moved], len(resume.rows)))
    assert math.exp(nats / rows) == pytest.approx(whole, rel=1e-5)


def test_dropout_acts_in_training_only_and_leaves_no_trace(model: Any, tokenized: list[TokenizedResume]) -> None:
    tokens = torch.from_numpy(tokenized[0].tokens)[None]
    with torch.no_grad():
        plain = model.eval()(tokens).logits
        handles = add_dropout(model, 0.5)
        assert torch.equal(model(tokens).logits, plain)
        assert not torch.equal(model.train()(tokens).logits, plain)
        for handle in handles:
            handle.remove()
        assert torch.equal(model(tokens).logits, plain)


def test_dropout_without_a_place_is_refused() -> None:
    with pytest.raises(LaborLLMError, match="set dropout = 0"):
        add_dropout(torch.nn.Linear(2, 2), 0.1)


def test_a_loss_that_is_not_finite_stops_and_names_the_step(
    model: Any, tokenized: list[TokenizedResume], tmp_path: Path
) -> None:
    with torch.no_grad():
        model.model.norm.weight.fill_(math.nan)
    with pytest.raises(LaborLLMError, match=r"the loss is nan at step 1; lower training.learning_rate"):
        train(model, tokenized, tmp_path)


def test_one_step_does_not_depend_on_how_the_batch_is_cut(
    model: Any, tokenized: list[TokenizedResume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = {name: value.clone() for name, value in model.state_dict().items()}
    whole = train(model, tokenized, tmp_path / "a", dropout=0.0)
    model.load_state_dict(start)
    monkeypatch.setattr("laborllm.models.language.resume_loss.TOKENS_PER_PACK", {"cpu": 1})
    pieces = train(model, tokenized, tmp_path / "b", dropout=0.0)
    for one, other in zip(whole.legs, pieces.legs, strict=True):
        assert one["training_loss"] == pytest.approx(other["training_loss"], rel=1e-4)


def test_every_line_is_learned_once_in_windows(few_careers: Careers) -> None:
    written = write_resumes(few_careers, ResumeSettings(last_rows=2))
    tokenizer = train_tokenizer([resume.text for resume in written], few_careers.occupations.titles, 8192)
    windows = ResumeTokenizer(tokenizer, few_careers.occupations.titles).encode(written)
    learned = [
        row
        for window in windows
        for row, cut in zip(window.rows, window.cuts, strict=True)
        if cut >= window.learned_from
    ]
    assert sorted(learned) == list(range(len(few_careers)))


def test_a_part_of_an_epoch(model: Any, tokenized: list[TokenizedResume], tmp_path: Path) -> None:
    history = train(model, tokenized, tmp_path, epochs=0.6, evaluations=1)
    assert [leg["step"] for leg in history.legs] == [3]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", lambda step: (100 - step) / 90),
        ("cosine", lambda step: 0.5 * (1 + math.cos(math.pi * (step - 10) / 90))),
        ("inverse_sqrt", lambda step: math.sqrt(11 / (step + 1))),
        ("constant", lambda step: 1.0),
    ],
)
def test_schedules(schedule: str, expected: Callable[[int], float]) -> None:
    settings = TrainingSettings(schedule=schedule, warmup=0.1)  # type: ignore[arg-type]
    shares = [share_of_peak(step, 100, settings) for step in range(100)]
    assert shares[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert shares[10:] == pytest.approx([expected(step) for step in range(10, 100)])
    assert max(shares) == pytest.approx(1.0)
    assert TrainingSettings(warmup=0.0).schedule == "linear"
    assert share_of_peak(0, 10, TrainingSettings(warmup=0.0, schedule=schedule)) == 1.0  # type: ignore[arg-type]


def test_a_lack_of_memory_halves_packs_and_changes_no_result(
    model: Any, tokenized: list[TokenizedResume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """The failure comes on the way back, when some gradients are there already."""
    start = {name: value.clone() for name, value in model.state_dict().items()}
    whole = train(model, tokenized, tmp_path / "a", dropout=0.0, epochs=1, learning_rate=1e-4)
    expected = weights(model)
    model.load_state_dict(start)
    backward, calls = torch.Tensor.backward, []

    def fails_at_first(tensor: Any, *given: Any) -> None:
        backward(tensor, *given)
        calls.append(tensor)
        if len(calls) in (1, 2):
            raise (
                torch.OutOfMemoryError("CUDA out of memory")
                if len(calls) == 1
                else RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: not enough memory")
            )

    monkeypatch.setattr(torch.Tensor, "backward", fails_at_first)
    with caplog.at_level(logging.WARNING, logger="laborllm"):
        pieces = train(model, tokenized, tmp_path / "b", dropout=0.0, epochs=1, learning_rate=1e-4)
    assert len(calls) > 2 * whole.legs[-1]["step"]
    assert np.abs(weights(model) - expected).max() < 1e-6
    assert pieces.legs[-1]["training_loss"] == pytest.approx(whole.legs[-1]["training_loss"], rel=1e-6)
    (record,) = caplog.records
    assert "steps are cut into smaller packs, which changes no result" in record.getMessage()


def test_too_little_memory_for_one_resume_says_what_to_do(
    model: Any, tokenized: list[TokenizedResume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.Tensor, "backward", fails)
    with pytest.raises(LaborLLMError, match=r"on one résumé of \d+ tokens; set training.checkpointing = true"):
        train(model, tokenized, tmp_path)


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    model: Any, tokenized: list[TokenizedResume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(torch.Tensor, "backward", fails)
    with pytest.raises(RuntimeError, match="something else"):
        train(model, tokenized, tmp_path)


def test_bfloat16_learns_and_keeps_float32(model: Any, tokenized: list[TokenizedResume], tmp_path: Path) -> None:
    start = {name: value.clone() for name, value in model.state_dict().items()}
    exact = train(model, tokenized, tmp_path / "a", dropout=0.0)
    model.load_state_dict(start)
    coarse = train(model, tokenized, tmp_path / "b", dropout=0.0, precision="bfloat16")
    assert model.dtype == torch.float32
    assert coarse.best == pytest.approx(exact.best, rel=0.05)
    assert coarse.legs != exact.legs
    for name in ("current", "optimizer"):
        kept = load_file(tmp_path / "b" / f"{name}.safetensors")
        assert {value.dtype for value in kept.values()} == {torch.float32}


def test_learning_titles_alone_is_another_loss(model: Any, tokenized: list[TokenizedResume], tmp_path: Path) -> None:
    """A model that learns nothing else ends with a lower perplexity on what it learns."""
    start = {name: value.clone() for name, value in model.state_dict().items()}
    every = train(model, tokenized, tmp_path / "a", dropout=0.0, learning_rate=5e-4, evaluations=1)
    model.load_state_dict(start)
    titles = train(model, tokenized, tmp_path / "b", dropout=0.0, learning_rate=5e-4, evaluations=1, loss="occupations")
    assert titles.best < every.best
    assert titles.how == "packed résumés"


def test_a_step_is_a_mean_over_all_of_its_tokens(model: Any, tokenized: list[TokenizedResume], tmp_path: Path) -> None:
    """Shares of a step, done apart with the count of all tokens, add up to its gradient."""
    run = Run(model, tokenized, SETTINGS, tmp_path, seed=1)
    batch, count = tokenized[:8], sum(len(resume.tokens) - 1 for resume in tokenized[:8])
    found = []
    with run.loss.ready():
        run._gradients(batch, count)
        found.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
        parts = {name: torch.zeros_like(value) for name, value in found[0].items()}
        for share in (batch[:3], batch[3:]):
            run._gradients(share, count)
            for name, parameter in model.named_parameters():
                parts[name] += parameter.grad
    for name, whole in found[0].items():
        assert torch.allclose(parts[name], whole, atol=1e-6), name
