"""The order in which theory puts the models, in a made-up population whose memory can be switched off.

Where the last occupation is all that matters, its transition frequencies are the truth but for what estimating costs,
and nothing that knows more of the past does better. Where more of the past matters, models that know more do better.
Every comparison is of the same rows, with a standard error clustered by person.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.networks.sequence_settings import CareerSettings, LSTMSettings, SequenceTraining
from laborllm.models.oracle import Oracle
from laborllm.models.probabilities import Model
from laborllm.models.regression.logit import MultinomialLogit
from laborllm.models.regression.logit_settings import LogitSettings
from laborllm.models.temperature import Tempered
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.simulated.simulate import Mechanisms, SimulatedSettings, simulate

FEW = 3.5
"""Standard errors: by chance beyond, on one side, in one comparison of 4,000."""
RICH: dict[str, Callable[[], Model]] = {
    "second order": lambda: TransitionFrequencies(TransitionSettings(order=2)),
    "by gender": lambda: TransitionFrequencies(TransitionSettings(by=("gender",))),
    "logit, one stage": lambda: MultinomialLogit(LogitSettings(stages=1, l2=(12.0, 3.0), refine=False)),
    "logit, two stages": lambda: MultinomialLogit(LogitSettings(stages=2, l2=(12.0, 3.0), refine=False)),
    "tempered": lambda: Tempered(TransitionFrequencies()),
}
QUICK = SequenceTraining(
    updates=50, warmup=5, learning_rate=3e-3, schedule="cosine", rows_per_batch=2000, evaluations=3
)
NETWORKS = {
    "LSTM": LSTMSettings(width=32, training=QUICK.model_copy(update={"learning_rate": 2e-2})),
    "CAREER": CareerSettings(training=QUICK),
}


class Population:
    """People of one world, split, and what each model says of the test people."""

    def __init__(self, mechanisms: Mechanisms, people: int) -> None:
        self.settings = SimulatedSettings(people=people, occupations=6, seed=21, mechanisms=mechanisms)
        self.careers = split_by_person(simulate(self.settings), [0.5, 0.1, 0.4], np.random.default_rng(0))
        self.test = self.careers.part("test")
        self.nats: dict[str, np.ndarray] = {}
        self.realised("oracle", Oracle(self.settings))
        self.realised("first order", TransitionFrequencies())

    def realised(self, name: str, model: Model) -> np.ndarray:
        """Log-probability of what happened, nats, shape (test rows,)."""
        if name not in self.nats:
            model.fit(self.careers.part("train"), self.careers.part("validation"))
            found = model.predict(self.test).realised
            assert found is not None
            self.nats[name] = found
        return self.nats[name]

    def gain(self, name: str, over: str) -> tuple[float, float]:
        """Nats per row that one model is better than another, and the standard error."""
        return clustered(self.nats[name] - self.nats[over], self.test)


def clustered(values: np.ndarray, careers: Careers) -> tuple[float, float]:
    """Mean over rows, and its standard error over people."""
    mean = values.mean()
    of_person = np.add.reduceat(values - mean, careers.starts[:-1])
    return float(mean), float(np.sqrt((of_person**2).sum()) / len(values))


@pytest.fixture(scope="module")
def first_order() -> Population:
    return Population(Mechanisms.first_order(), people=3000)


@pytest.fixture(scope="module")
def with_memory() -> Population:
    """History alone: no covariate has an effect."""
    memory = ("similarity", "duration", "former_occupations", "types")
    return Population(Mechanisms(**{name: name in memory for name in Mechanisms.model_fields}), people=3000)


def test_without_memory_transition_frequencies_are_the_truth_but_for_estimation(first_order: Population) -> None:
    """A maximum-likelihood estimate of p numbers from n rows costs p / 2n nats a row (Akaike 1973)."""
    cost, error = first_order.gain("oracle", over="first order")
    outcomes = len(first_order.careers.occupations)
    expected = (outcomes + 1) * (outcomes - 1) / 2 / len(first_order.careers.part("train"))
    assert expected < 0.003  # or it says little
    assert abs(cost) < expected + FEW * error
    assert error < 0.001


@pytest.mark.parametrize("name", RICH)
def test_without_memory_nothing_is_better(name: str, first_order: Population) -> None:
    first_order.realised(name, RICH[name]())
    for simple in ("first order", "oracle"):
        gain, error = first_order.gain(name, over=simple)
        assert gain < FEW * error
    assert (
        first_order.gain(name, over="first order")[0] > -0.02
    )  # and nothing is much worse: it finds this simple truth


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads that share products this small mostly wait for one another."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(name: str, folder: Path) -> Model:
    """A small network that learns for a few seconds."""
    from laborllm.models.networks.sequence_model import SequenceModel

    return SequenceModel(NETWORKS[name], folder / name)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", NETWORKS)
def test_without_memory_no_network_is_better(name: str, first_order: Population, tmp_path: Path) -> None:
    first_order.realised(name, network(name, tmp_path))
    for simple in ("first order", "oracle"):
        gain, error = first_order.gain(name, over=simple)
        assert gain < FEW * error
    assert first_order.gain(name, over="first order")[0] > -0.02


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", NETWORKS)
def test_with_memory_networks_beat_two_occupations_and_stay_below_the_truth(
    name: str, with_memory: Population, tmp_path: Path
) -> None:
    """They are told of no tenure and no return: they have to find both."""
    with_memory.realised("second order", RICH["second order"]())
    with_memory.realised(name, network(name, tmp_path))
    for simple in ("first order", "second order"):
        gain, error = with_memory.gain(name, over=simple)
        assert gain > FEW * error
    left, error = with_memory.gain("oracle", over=name)
    assert left > FEW * error


@pytest.mark.parametrize("name", ["second order", "logit, one stage", "logit, two stages"])
def test_with_memory_models_that_know_more_are_better(name: str, with_memory: Population) -> None:
    with_memory.realised(name, RICH[name]())
    gain, error = with_memory.gain(name, over="first order")
    assert gain > FEW * error
    left, error = with_memory.gain("oracle", over=name)
    assert left > FEW * error


def test_with_memory_a_logit_that_knows_tenure_and_returns_is_better_than_two_occupations(
    with_memory: Population,
) -> None:
    for name in ("second order", "logit, two stages"):
        with_memory.realised(name, RICH[name]())
    gain, error = with_memory.gain("logit, two stages", over="second order")
    assert gain > FEW * error


def test_a_temperature_changes_little_where_the_model_is_right(first_order: Population) -> None:
    model = Tempered(TransitionFrequencies())
    first_order.realised("temperature", model)
    assert model.temperature == pytest.approx(1, abs=0.05)
