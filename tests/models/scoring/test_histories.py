"""Texts that go on token by token give what the whole texts give, encoded anew."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from laborllm.models.scoring.histories import Histories
from laborllm.models.scoring.scorer import Lines, Scorer
from laborllm.text.titles import TitleTree, TokenizedResume
from tests.models.scoring.brute_force import VOCABULARY, random_case, random_list, random_model, wide_llama

STEPS = 4


def fed(histories: Histories, rows: int) -> np.ndarray:
    """Every title behind every history, all nodes fed, shape (histories, titles)."""
    lines = Lines(histories.forward, histories.states, histories.grove, rows)
    edges, inner = lines.roots(), len(lines.tree.inner)
    line, node = np.repeat(np.arange(lines.count), inner), np.tile(np.arange(inner), lines.count)
    lines.feed(line, node, edges)
    return lines.tree.title_log_probabilities(edges)


def anew(scorer: Scorer, texts: list[np.ndarray], tree: TitleTree) -> np.ndarray:
    resumes = [
        TokenizedResume(text, range(row, row + 1), np.array([len(text)]), np.array([len(text)]))
        for row, text in enumerate(texts)
    ]
    return scorer.titles(resumes, tree, rows=len(texts))


@torch.inference_mode()
def goes_on(scorer: Scorer, sequences: tuple[tuple[int, ...], ...], rng: np.random.Generator) -> None:
    tree = TitleTree.of(sequences)
    texts = [rng.integers(2, VOCABULARY, size=size) for size in (5, 30, 1)]
    histories = scorer.histories(texts, tree)
    for _ in range(STEPS):
        assert np.allclose(fed(histories, scorer.rows), anew(scorer, texts, tree), rtol=0, atol=2e-5)
        parent = np.sort(np.concatenate([np.arange(1, len(texts)), rng.integers(1, len(texts), size=4)]))  # one ends
        title = rng.integers(len(sequences), size=len(parent))
        lines = [rng.integers(2, VOCABULARY, size=int(size)) for size in rng.integers(1, 6, size=len(parent))]
        texts = [
            np.concatenate([texts[one], sequences[place], line])
            for one, place, line in zip(parent.tolist(), title.tolist(), lines, strict=True)
        ]
        histories.follow(parent, title, lines)
        assert [len(text) for text in texts] == histories.grove.cut.tolist()
    assert np.allclose(fed(histories, scorer.rows), anew(scorer, texts, tree), rtol=0, atol=2e-5)


@pytest.mark.parametrize("family", ["llama", "mistral-window-80", "qwen2", "qwen3", "smollm3"])
@pytest.mark.parametrize("rows", [7, 4096])
def test_a_text_that_goes_on_equals_the_whole_text(family: str, rows: int, rng: np.random.Generator) -> None:
    scorer = Scorer(random_model(family))
    goes_on(scorer, random_list(rng, 20), rng)
    scorer.rows = rows
    goes_on(scorer, random_list(rng, 20), rng)


def test_behind_a_prompt(rng: np.random.Generator) -> None:
    goes_on(Scorer(random_model("llama"), prompt=rng.integers(2, VOCABULARY, size=30)), random_list(rng, 20), rng)


def test_titles_of_one_token(rng: np.random.Generator) -> None:
    goes_on(Scorer(random_model("llama")), tuple((token,) for token in range(2, 30)), rng)


def test_a_wide_model(rng: np.random.Generator) -> None:
    goes_on(Scorer(wide_llama()), random_list(rng, 20), rng)


@torch.inference_mode()
def test_histories_that_part_share_what_came_before(rng: np.random.Generator) -> None:
    """No token is fed twice: one title's nodes, its last token and the line behind it are all that a step feeds."""
    case = random_case(rng, random_list(rng, 20), [[12]])
    scorer = Scorer(random_model("llama"))
    histories = scorer.histories(case.resumes[0].tokens[:12][None], case.tree)
    run, counted = histories.forward.run, []
    histories.forward.run = lambda tokens, *rest: counted.append(len(tokens)) or run(tokens, *rest)  # type: ignore
    fed(histories, scorer.rows)
    histories.follow(np.zeros(3, dtype=np.int64), np.array([1, 5, 7]), [np.array([4, 5])] * 3)
    assert counted == [len(case.tree.inner), 3 * 3]
