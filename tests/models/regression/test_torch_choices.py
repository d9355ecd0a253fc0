"""The likelihood with torch: the numbers of numpy, whatever the blocks, and the same fit."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from laborllm.errors import LaborLLMError
from laborllm.models.regression import fitted_stage, torch_choices
from laborllm.models.regression.features import Histories
from laborllm.models.regression.fitted_stage import stage_form
from laborllm.models.regression.logit import MultinomialLogit
from laborllm.models.regression.logit_settings import SIMILARITY, LogitSettings
from laborllm.models.regression.placement import Device
from laborllm.models.regression.softmax import Choices, Coefficients
from laborllm.models.regression.stage import What
from laborllm.models.regression.torch_choices import TorchChoices
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def careers() -> Careers:
    made_up = simulate(SimulatedSettings(people=200, occupations=8, seed=5))
    return split_by_person(made_up, [0.7, 0.2, 0.1], np.random.default_rng(0))


def stage_choices(what: What, careers: Careers) -> Choices:
    """Of a stage with every kind of variable of the alternatives."""
    similarity = (*SIMILARITY, "years_held", "same_group", "shared_words")
    settings = LogitSettings(stages=1 if what == "all" else 2, similarity=similarity)
    histories = Histories(careers)
    return stage_form(settings, what, histories).choices(histories)[0]


def require_same(choices: Choices, coefficients: Coefficients, device: torch.device, share: float) -> None:
    """Value, gradient and curvature, up to a share of the value and of the largest numbers."""
    moved = TorchChoices.of(choices, device)
    value, gradient = choices.loss(coefficients)
    other, theirs = moved.loss(coefficients)
    assert other == pytest.approx(value, rel=share)
    bends = choices.curvature(coefficients), moved.curvature(coefficients)
    for expected, found in ((gradient, theirs), bends):
        assert found.by_outcome.dtype == found.similarity.dtype == np.float64
        for ours, given in ((expected.by_outcome, found.by_outcome), (expected.similarity, found.similarity)):
            np.testing.assert_allclose(given, ours, rtol=0, atol=share * max(np.abs(ours).max(initial=0), 1))


def test_equals_numpy_in_float64(choices: Choices, coefficients: Coefficients) -> None:
    require_same(choices, coefficients, CPU, 1e-12)


@pytest.mark.parametrize("what", ["all", "stay", "move"])
def test_equals_numpy_in_float32(what: What, careers: Careers, rng: np.random.Generator) -> None:
    choices = stage_choices(what, careers)
    assert choices.features.dtype == np.float32
    assert (choices.columns > 0) == (what != "stay")
    assert (choices.excluded >= 0).any() == (what == "move")
    nudged = Coefficients(rng.normal(scale=0.3, size=choices.shape), rng.normal(scale=0.3, size=choices.columns))
    require_same(choices, nudged, CPU, 1e-6)


def test_blocks_change_nothing(choices: Choices, coefficients: Coefficients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_choices, "ROWS", 7)
    require_same(choices, coefficients, CPU, 1e-12)


def test_blocks_fit_the_memory_that_is_free(
    choices: Choices, coefficients: Coefficients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_choices, "free_memory", lambda _: 20_000)
    ends = [rows.stop for rows in TorchChoices.of(choices, CPU).blocks()]
    assert 5 < len(ends) < 240
    assert ends[-1] == 240
    monkeypatch.setattr(torch_choices, "free_memory", lambda _: 0)
    assert next(TorchChoices.of(choices, CPU).blocks()) == slice(0, 1)
    require_same(choices, coefficients, CPU, 1e-12)


def test_a_full_device_is_told(choices: Choices, coefficients: Coefficients, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch_choices.SparseRows, "dense", full)
    for call in (TorchChoices.of(choices, CPU).loss, TorchChoices.of(choices, CPU).curvature):
        with pytest.raises(LaborLLMError, match=r"does not fit into the memory of cpu, .* or set device = \"cpu\""):
            call(coefficients)


def test_entries_that_stand_twice_are_added(choices: Choices, coefficients: Coefficients) -> None:
    features = choices.features
    twice = features[[0, 0]]  # rows, of which the second is to be added to the first
    begins = np.append(0, np.full(1, twice.nnz))
    doubled = type(features)((twice.data, twice.indices, begins), shape=(1, features.shape[1]))
    dense = torch_choices.SparseRows.of(doubled, np.dtype(np.float64), CPU).dense(torch.tensor([0]))
    np.testing.assert_array_equal(dense.numpy(), 2 * features[[0]].toarray())
    assert doubled.nnz == twice.nnz  # the caller's matrix is left as it was


def fitted(careers: Careers, device: str, monkeypatch: pytest.MonkeyPatch, stages: int) -> MultinomialLogit:
    """With torch on a device, or without; in float64, so that the maximum itself can be compared."""

    def here(choices: Choices, _: Device) -> Choices:
        choices = replace(choices, features=choices.features.astype(np.float64))
        return TorchChoices.of(choices, torch.device(device)) if device != "numpy" else choices

    monkeypatch.setattr(fitted_stage, "placed", here)
    variables = {"terms": ("previous", "tenure", "education"), "similarity": ("stay", "stay:log(tenure)", "return")}
    settings = LogitSettings(stages=stages, l2=(10.0,), refine=False, tolerance=1e-10, **variables)
    model = MultinomialLogit(settings)
    model.fit(careers.part("train"), careers.part("validation"))
    return model


def require_same_fit(careers: Careers, device: str, monkeypatch: pytest.MonkeyPatch, stages: int) -> None:
    ours, theirs = (fitted(careers, each, monkeypatch, stages) for each in ("numpy", device))
    for one, other in zip(ours.stages, theirs.stages, strict=True):
        assert one.l2 == other.l2
        np.testing.assert_allclose(other.coefficients.flat(), one.coefficients.flat(), atol=1e-4)
    test = careers.part("test")
    answers = [model.predict(test).log_probabilities for model in (ours, theirs)]
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-4)


@pytest.mark.parametrize("stages", [1, 2])
def test_finds_the_coefficients_of_numpy(stages: int, careers: Careers, monkeypatch: pytest.MonkeyPatch) -> None:
    require_same_fit(careers, "cpu", monkeypatch, stages)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("what", ["all", "stay", "move"])
def test_a_gpu_gives_the_processors_numbers(what: What, careers: Careers, rng: np.random.Generator) -> None:
    choices = stage_choices(what, careers)
    nudged = Coefficients(rng.normal(scale=0.3, size=choices.shape), rng.normal(scale=0.3, size=choices.columns))
    cuda = torch.device("cuda")
    require_same(choices, nudged, cuda, 2e-6)
    require_same(replace(choices, features=choices.features.astype(np.float64)), nudged, cuda, 1e-12)
    once, again = (TorchChoices.of(choices, cuda).loss(nudged) for _ in range(2))
    assert once[0] == again[0]
    np.testing.assert_array_equal(once[1].flat(), again[1].flat())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_finds_the_processors_coefficients(careers: Careers, monkeypatch: pytest.MonkeyPatch) -> None:
    require_same_fit(careers, "cuda", monkeypatch, 2)
