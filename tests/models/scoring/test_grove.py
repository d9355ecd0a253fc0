"""Trees fed step by step give what trees fed at once give, on both routes."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from laborllm.models.scoring import grove, hugging_face
from laborllm.models.scoring.routes import choose_forward, plant, read_edges
from laborllm.text.titles import TitleTree
from tests.models.scoring.brute_force import LINE_END, Case, brute_force, close, random_case, random_list, random_model

ROUTES = pytest.mark.parametrize("family", ["llama", "smollm3", "gpt2", "gemma3"])


@pytest.fixture
def case(rng: np.random.Generator) -> Case:
    return random_case(rng, random_list(rng, 20), [[40, 5, 5], [3], [17, 2]])


def planted(family: str, case: Case) -> tuple[Any, Any, np.ndarray]:
    """A forward pass, a tree behind every line, and the edges with those that leave the roots filled in."""
    forward, _ = choose_forward(random_model(family))
    with torch.inference_mode():
        encoded = forward.encode([each.tokens for each in case.resumes], [each.cuts - 1 for each in case.resumes])
        edges = np.full((case.rows, len(case.tree.token)), np.nan)
        lines = np.arange(case.rows)
        read_edges(forward, encoded.states, lines, np.zeros_like(lines), case.tree, edges)
    document = np.repeat(np.arange(len(case.resumes)), [len(each.rows) for each in case.resumes])
    cut = np.concatenate([each.cuts for each in case.resumes])
    return forward, plant(forward, encoded, document, cut, case.tree), edges


@torch.inference_mode()
def at_once(family: str, case: Case) -> np.ndarray:
    forward, trees, edges = planted(family, case)
    for fed in trees.feed_all(range(case.rows)):
        read_edges(forward, fed.states, fed.line, fed.node + 1, case.tree, edges)
    return edges


@ROUTES
@torch.inference_mode()
def test_step_by_step_equals_at_once(family: str, case: Case, rng: np.random.Generator) -> None:
    forward, trees, edges = planted(family, case)
    inner = len(case.tree.inner)
    fed_so_far = np.zeros((case.rows, inner), dtype=bool)
    above = case.tree.ancestors & ~np.eye(inner, dtype=bool)
    while not fed_so_far.all():
        ready = ~fed_so_far & ((fed_so_far[:, None, :] | ~above).all(axis=2))
        line, node = np.nonzero(ready & (rng.random(ready.shape) < 0.5))
        if not len(line):
            continue
        for fed in trees.feed(line, node):
            read_edges(forward, fed.states, fed.line, fed.node + 1, case.tree, edges)
        fed_so_far[line, node] = True
    assert np.allclose(edges, at_once(family, case), rtol=0, atol=2e-5)


@ROUTES
@torch.inference_mode()
def test_whole_paths_may_come_together(family: str, case: Case) -> None:
    forward, trees, edges = planted(family, case)
    deepest = case.tree.lineage[np.argmax(case.tree.depth[case.tree.inner])]
    path = deepest[deepest >= 0]
    lines = np.array([0, 2, case.rows - 1])
    for fed in trees.feed(np.repeat(lines, len(path)), np.tile(path, len(lines))):
        read_edges(forward, fed.states, fed.line, fed.node + 1, case.tree, edges)
    expected = at_once(family, case)
    known = ~np.isnan(edges)
    assert known.sum() > len(lines) * len(path)
    assert np.allclose(edges[known], expected[known], rtol=0, atol=2e-5)


@pytest.mark.parametrize("nodes", [1, 31, 32, 33, 100])
def test_trees_of_every_size(nodes: int, rng: np.random.Generator) -> None:
    """One more or one less than a group of queries."""
    sequences = tuple((*[7] * depth, LINE_END) for depth in range(1, nodes + 1))
    case = random_case(rng, sequences, [[5, 3]])
    assert len(case.tree.inner) == nodes
    model = random_model("llama")
    edges = at_once("llama", case)
    found = case.tree.title_log_probabilities(edges)
    assert close(found, brute_force(model, case.resumes, case.sequences, case.rows))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_groups_and_chunks_of_any_size(size: int, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {family: at_once(family, case) for family in ("llama", "gpt2")}
    monkeypatch.setattr(grove, "QUERIES_PER_GROUP", size)
    monkeypatch.setattr(hugging_face, "NODES_PER_CHUNK", size)
    for family, edges in expected.items():
        assert np.allclose(at_once(family, case), edges, rtol=0, atol=2e-5)


def test_a_chunk_never_spans_two_documents(case: Case) -> None:
    _, trees, _ = planted("gpt2", case)
    inner = len(case.tree.inner)
    line, node = np.repeat(np.arange(case.rows), inner), np.tile(np.arange(inner), case.rows)
    chunks = list(trees._chunks(line, node))
    assert [chunk.start for chunk in chunks[1:]] == [chunk.stop for chunk in chunks[:-1]]
    assert (chunks[0].start, chunks[-1].stop) == (0, len(line))
    for chunk in chunks:
        assert len(set(trees.document[line[chunk]].tolist())) == 1
        assert case.tree.depth[case.tree.inner[node[chunk.start]]] == 0


def test_a_tree_knows_its_inner_nodes(case: Case) -> None:
    tree: TitleTree = case.tree
    assert len(tree.inner) == len({sequence[:end] for sequence in case.sequences for end in range(1, len(sequence))})
