"""CAREER's network: agrees with the published code, sums to one, sees no later row, and does not depend on packing."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file
from torch.nn import functional

from laborllm.models.networks import sequence_training
from laborllm.models.networks.career_network import SIZES, CareerNetwork
from laborllm.models.networks.sequence_training import every_occupation, nats
from laborllm.models.networks.sequences import Sequences
from laborllm.models.networks.two_stage import PUBLISHED_SYMBOLS as SYMBOLS
from laborllm.models.networks.two_stage import as_published, two_stage

COVARIATES = ("year", "education", "gender", "ethnicity", "location")
LEVELS = [5, 3, 2, 4, 4, 6]
OCCUPATIONS = 7
CPU = torch.device("cpu")


def careers(rng: np.random.Generator, people: int = 9) -> Sequences:
    lengths = rng.integers(1, 8, people)
    starts = np.append(0, np.cumsum(lengths))
    occupation = rng.integers(OCCUPATIONS, size=starts[-1])
    previous = np.append(-1, occupation[:-1])
    previous[starts[:-1]] = -1
    levels = np.stack([rng.integers(0, number + 1, starts[-1]) for number in LEVELS], axis=1)
    return Sequences(starts, previous, occupation, levels)


@pytest.fixture
def network() -> CareerNetwork:
    torch.manual_seed(3)
    return CareerNetwork(SIZES["small"], OCCUPATIONS, LEVELS).eval()


@torch.inference_mode()
def scores(network: CareerNetwork, given: Sequences, people: np.ndarray | None = None) -> np.ndarray:
    """Log-probabilities in the order of the careers' rows; not a number in rows that were not asked for."""
    people = np.arange(len(given)) if people is None else people
    packed, row = given.pack(people, CPU)
    answer = np.full((len(given.occupation), OCCUPATIONS), np.nan, dtype=np.float32)
    answer[row] = every_occupation(network, packed).numpy()
    return answer


def test_rows_sum_to_one(network: CareerNetwork, rng: np.random.Generator) -> None:
    given = careers(rng)
    np.testing.assert_allclose(np.exp(scores(network, given)).sum(axis=1), 1, atol=1e-6)


def test_the_two_stages_make_one_likelihood(network: CareerNetwork, rng: np.random.Generator) -> None:
    given = careers(rng)
    packed, row = given.pack(np.arange(len(given)), CPU)
    with torch.inference_mode():
        logits = network(packed)
    stay, jobs = logits[:, -1].sigmoid().numpy(), logits[:, :-1]
    answer = np.exp(scores(network, given))[row]
    later = given.previous[row] >= 0
    held = given.previous[row][later]
    np.testing.assert_allclose(answer[later, held], stay[later], atol=1e-6)
    moves = jobs[torch.from_numpy(later)].clone()
    moves[torch.arange(len(held)), torch.from_numpy(held)] = -torch.inf
    expected = (1 - stay[later])[:, None] * moves.softmax(1).numpy()
    expected[np.arange(len(held)), held] = stay[later]
    np.testing.assert_allclose(answer[later], expected, atol=1e-6)
    np.testing.assert_allclose(answer[~later], jobs[torch.from_numpy(~later)].softmax(1).numpy(), atol=1e-6)


def test_packing_changes_nothing(network: CareerNetwork, rng: np.random.Generator) -> None:
    given = careers(rng)
    together = scores(network, given)
    for person in range(len(given)):
        alone = scores(network, given, np.array([person]))
        rows = slice(given.starts[person], given.starts[person + 1])
        np.testing.assert_allclose(alone[rows], together[rows], atol=1e-5)


def test_no_row_sees_a_later_one_but_its_own_year_counts(network: CareerNetwork, rng: np.random.Generator) -> None:
    given = careers(rng, people=1)
    while len(given.occupation) < 5:
        given = careers(rng, people=1)
    before = scores(network, given)
    changed = Sequences(given.starts, given.previous.copy(), given.occupation.copy(), given.levels.copy())
    changed.occupation[3] = (given.occupation[3] + 1) % OCCUPATIONS
    changed.previous[4] = changed.occupation[3]
    changed.levels[3, 0] = given.levels[3, 0] % LEVELS[0] + 1
    after = scores(network, changed)
    np.testing.assert_allclose(after[:3], before[:3], atol=1e-6)
    assert np.abs(after[3] - before[3]).max() > 1e-3


def test_a_missing_covariate_adds_nothing(network: CareerNetwork, rng: np.random.Generator) -> None:
    given = careers(rng)
    given.levels[:, 2] = 0
    before = scores(network, given)
    with torch.no_grad():
        network.rows.covariates[2].weight[1:] += 1
    np.testing.assert_array_equal(scores(network, given), before)


def test_brute_force_attention_gives_the_same(network: CareerNetwork, rng: np.random.Generator) -> None:
    given = careers(rng)
    packed, row = given.pack(np.arange(len(given)), CPU)
    with torch.inference_mode():
        states = network.states(packed)
        for person in range(len(given)):
            rows = slice(given.starts[person], given.starts[person + 1])
            expected = _states_of_one(network, given, rows)
            order = np.argsort(row)[rows]
            torch.testing.assert_close(states[torch.from_numpy(order)], expected, atol=2e-5, rtol=1e-5)


def test_bfloat16_layers_leave_the_head_in_float32(
    network: CareerNetwork, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = careers(rng, people=60)
    packed, _ = given.pack(np.arange(len(given)), CPU)
    exact = nats(network, packed)
    monkeypatch.setattr(sequence_training, "BFLOAT16_ON", ("cpu",))
    rounded = nats(network, packed)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().max() > 0  # it is another path
    assert ((-rounded).exp() - (-exact).exp()).abs().max() < 2e-2
    with torch.no_grad():
        network.output.weight.mul_(1e4)
    extreme = nats(network, packed)
    assert torch.isfinite(extreme).all()
    assert extreme.max() > 1e3
    slopes = torch.autograd.grad(extreme.mean(), list(network.parameters()))
    assert all(torch.isfinite(slope).all() for slope in slopes)


def test_dropout_is_of_learning_alone(network: CareerNetwork, rng: np.random.Generator) -> None:
    given = careers(rng)
    dropping = CareerNetwork(SIZES["small"], OCCUPATIONS, LEVELS, dropout=0.5)
    dropping.load_state_dict(network.state_dict())
    np.testing.assert_array_equal(scores(dropping.eval(), given), scores(network, given))
    assert np.abs(scores(dropping.train(), given) - scores(network, given)).max() > 1e-3


def _states_of_one(network: CareerNetwork, given: Sequences, rows: slice) -> torch.Tensor:
    """The network written out for one career, shape (length, width)."""
    length = rows.stop - rows.start
    width = network.output.in_features
    previous = torch.from_numpy(given.previous[rows])
    x = width**0.5 * network.rows.job.weight[torch.where(previous < 0, OCCUPATIONS, previous)]
    for number, embedding in enumerate(network.rows.covariates):
        level = torch.from_numpy(given.levels[rows, number])
        x = x + embedding.weight[level] * (level > 0)[:, None]
    rates = 10000.0 ** (-torch.arange(width // 2) / (width // 2 - 1))
    angles = (torch.arange(length) + 2)[:, None] * rates
    x = x + torch.cat([angles.sin(), angles.cos()], dim=1)
    for layer in network.layers:
        parts = layer.query_key_value(layer.attention_norm(x)).chunk(3, dim=1)
        mixed = []
        for query, key, value in zip(*(part.chunk(layer.heads, dim=1) for part in parts), strict=True):
            scores = query @ key.T / query.shape[1] ** 0.5
            mixed.append(scores.masked_fill(torch.ones(length, length).triu(1) > 0, -torch.inf).softmax(1) @ value)
        x = x + layer.attention_out(torch.cat(mixed, dim=1))
        x = x + layer.feed_forward_out(functional.gelu(layer.feed_forward_in(layer.feed_forward_norm(x))))
    return network.norm(x)


@pytest.mark.real_data
def test_the_published_code_is_reproduced(real_data: Path) -> None:
    folder = real_data / "data" / "career_reference"
    dictionary = json.loads((folder / "reference" / "dictionary.json").read_text())
    given = _reference_careers(folder / "survey", dictionary)
    network = _reference_network(load_file(folder / "reference" / "weights.safetensors"), dictionary)
    expected = np.load(folder / "reference" / "expected_test.npz")
    packed, row = given.pack(np.arange(len(given)), CPU)
    with torch.inference_mode():
        answer = np.empty(expected["log_prob"].shape, dtype=np.float32)
        answer[row] = two_stage(*as_published(network(packed), packed.previous)).numpy()
    assert np.abs(answer - expected["log_prob"]).max() <= 2e-5
    realised = answer[np.arange(len(answer)), given.occupation + SYMBOLS]
    assert np.exp(-realised.mean()) == pytest.approx(4.6203, abs=5e-5)


def _reference_careers(folder: Path, dictionary: dict[str, list[str]]) -> Sequences:
    words = {
        name: [line.split() for line in (folder / f"test.{name}").read_text().splitlines()]
        for name in ("job", *COVARIATES)
    }
    lengths = np.array([len(line) for line in words["job"]])
    starts = np.append(0, np.cumsum(lengths))
    occupation = np.array([dictionary["job"].index(word) for line in words["job"] for word in line])
    previous = np.append(-1, occupation[:-1])
    previous[starts[:-1]] = -1
    levels = np.zeros((len(occupation), len(COVARIATES) + 1), dtype=np.int64)
    for place, name in enumerate(COVARIATES):
        lines = [line if len(line) > 1 else line * length for line, length in zip(words[name], lengths, strict=True)]
        levels[:, place] = [dictionary[name].index(word) + 1 for line in lines for word in line]
    return Sequences(starts, previous, occupation, levels)


def _reference_network(weights: dict[str, torch.Tensor], dictionary: dict[str, list[str]]) -> CareerNetwork:
    """Their embeddings begin with four symbols; ours with a missing level, and the start stands behind the jobs."""
    levels = [len(dictionary[name]) for name in COVARIATES]
    network = CareerNetwork(SIZES["small"], len(dictionary["job"]), [*levels, 0], published=True).eval()
    state = network.state_dict()
    jobs = weights["job_embedding"]
    state["rows.job.weight"] = torch.cat([jobs[SYMBOLS:], jobs[2:3]])
    for place, name in enumerate(COVARIATES):
        known = weights[f"{name}_embedding"][SYMBOLS : SYMBOLS + levels[place]]
        state[f"rows.covariates.{place}.weight"] = functional.pad(known, (0, 0, 1, 0))
    names = {"attention_norm": "attention_norm", "feed_forward_norm": "feedforward_norm"}
    names |= {"attention_out": "attention_out", "feed_forward_in": "feedforward_in"}
    names |= {"feed_forward_out": "feedforward_out"}
    for layer in range(SIZES["small"].layers):
        for kind in ("weight", "bias"):
            for ours, theirs in names.items():
                state[f"layers.{layer}.{ours}.{kind}"] = weights[f"layer.{layer}.{theirs}.{kind}"]
            parts = [weights[f"layer.{layer}.{name}.{kind}"] for name in ("query", "key", "value")]
            state[f"layers.{layer}.query_key_value.{kind}"] = torch.cat(parts)
    state |= {"norm.weight": weights["final_norm.weight"], "norm.bias": weights["final_norm.bias"]}
    state["output.weight"] = weights["output"]
    network.load_state_dict(state)
    return network
