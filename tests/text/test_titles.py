"""Titles as tokens: the boundary rule and the tree."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers")
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from laborllm.errors import LaborLLMError
from laborllm.models.language.scratch import train_tokenizer
from laborllm.survey.careers import Careers
from laborllm.survey.occupations import occ1990dd
from laborllm.text.resume import ResumeSettings, write_resumes
from laborllm.text.titles import ResumeTokenizer, TitleTree

FAMILIES = ["tokenizers/gpt2", "tokenizers/gpt-neox", "models/stories260K"]


def characters(*, merges: list[tuple[str, str]] = (), unknown: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer of single characters, with some pairs merged."""
    letters = [chr(code) for code in range(32, 127)] + ["\n", "é"]
    if unknown:
        letters = [letter for letter in letters if letter != unknown]
    words = ["<unk>", *letters, *(a + b for a, b in merges)]
    vocabulary = {word: place for place, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.real_data
@pytest.mark.parametrize("family", FAMILIES)
def test_every_title_of_the_list_under_real_tokenizers(real_data: Path, family: str) -> None:
    listed = occ1990dd()
    tokenizer = AutoTokenizer.from_pretrained(real_data / family)
    sequences = ResumeTokenizer(tokenizer, listed.titles).sequences
    for title, sequence in zip(listed.titles, sequences, strict=True):
        assert tokenizer.decode(sequence).strip(" ") == f"{title}\n"


@pytest.mark.real_data
@pytest.mark.parametrize("family", FAMILIES)
def test_cuts_and_ends_agree_with_the_list(real_data: Path, family: str, few_careers: Careers) -> None:
    tokenizer = AutoTokenizer.from_pretrained(real_data / family)
    resumes = ResumeTokenizer(tokenizer, few_careers.occupations.titles)
    for written, tokenized in zip(*both(resumes, few_careers), strict=True):
        assert list(tokenized.tokens).count(tokenizer.bos_token_id) == 1
        for line, row in enumerate(written.rows):
            own = tokenized.tokens[tokenized.cuts[line] : tokenized.ends[line]]
            assert tuple(own) == resumes.sequences[few_careers.occupation[row]]


def both(resumes: ResumeTokenizer, careers: Careers):
    written = write_resumes(careers, ResumeSettings())
    return written, resumes.encode(written)


def test_own_tokenizer_makes_each_title_one_token(few_careers: Careers) -> None:
    written = write_resumes(few_careers, ResumeSettings())
    tokenizer = train_tokenizer([resume.text for resume in written], few_careers.occupations.titles, 8192)
    resumes = ResumeTokenizer(tokenizer, few_careers.occupations.titles)
    assert all(len(sequence) == 1 for sequence in resumes.sequences)
    for resume, tokenized in zip(written, resumes.encode(written), strict=True):
        assert tokenizer.decode(tokenized.tokens[1:]) == resume.text
        assert (tokenized.ends - tokenized.cuts == 1).all()
    unseen = "1999 (école): Ödland\n"
    assert tokenizer.decode(tokenizer(unseen, add_special_tokens=False)["input_ids"]) == unseen


def test_a_token_across_the_join_is_refused_by_name() -> None:
    with pytest.raises(LaborLLMError, match=r"title 'Cooks': one token spans the edge of a title"):
        ResumeTokenizer(characters(merges=[(":", " ")]), ["Cooks"])
    with pytest.raises(LaborLLMError, match=r"title 'Cooks': one token spans"):
        ResumeTokenizer(characters(merges=[("\n", "1")]), ["Cooks"])


def test_an_unknown_character_is_refused_by_title() -> None:
    with pytest.raises(LaborLLMError, match="title 'Quiz makers' has a character the tokenizer does not know"):
        ResumeTokenizer(characters(unknown="z"), ["Cooks", "Quiz makers"])


def test_a_title_that_the_tokenizer_changes_is_refused_by_name() -> None:
    lower = characters()
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(LaborLLMError, match="'Cooks' becomes .* under the tokenizer; rename it or choose another"):
        ResumeTokenizer(lower, ["cooks", "Cooks"])


def test_titles_with_the_same_tokens_are_refused_by_name() -> None:
    with pytest.raises(LaborLLMError, match="titles 'Cooks' and 'Cooks' begin with the same tokens"):
        ResumeTokenizer(characters(), ["Cooks", "Cooks"])


lists = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=12, unique=True)


@settings(deadline=None, max_examples=60)
@given(lists)
def test_the_tree_holds_every_path(words: list[str]) -> None:
    sequences = [tuple(ord(letter) for letter in word + "\n") for word in words]
    tree = TitleTree.of(sequences)
    assert len(tree.token) == len({seq[: n + 1] for seq in sequences for n in range(len(seq))})
    for place, sequence in enumerate(sequences):
        path, edge = [], int(tree.leaf[place])
        while edge >= 0:
            path.append(int(tree.token[edge]))
            edge = int(tree.parent[edge])
        assert tuple(reversed(path)) == sequence
    assert len(tree.inner) == len(tree.token) - len(words)


@settings(deadline=None, max_examples=60)
@given(lists, st.randoms())
def test_title_sums_do_not_depend_on_the_order_of_titles(words: list[str], random) -> None:
    sequences = [tuple(ord(letter) for letter in word + "\n") for word in words]
    price = np.log(np.linspace(0.1, 0.9, 128))
    tree = TitleTree.of(sequences)
    total = tree.title_log_probabilities(price[tree.token][None] * (1 + tree.depth))[0]
    expected = [sum(price[token] * (1 + depth) for depth, token in enumerate(sequence)) for sequence in sequences]
    assert total == pytest.approx(expected, abs=1e-12)
    order = random.sample(range(len(words)), len(words))
    again = TitleTree.of([sequences[place] for place in order])
    shuffled = again.title_log_probabilities(price[again.token][None] * (1 + again.depth))[0]
    assert shuffled == pytest.approx(total[order], abs=1e-12)


def test_leaving_lists_each_edge_at_its_source() -> None:
    tree = TitleTree.of([(1, 9), (1, 2, 9), (3, 9)])
    node, edge = tree.leaving(np.arange(len(tree.inner) + 1))
    assert sorted(edge) == list(range(len(tree.token)))
    assert (tree.source[edge] == node).all()
    node, edge = tree.leaving(np.array([0, 0]))
    assert sorted(tree.token[edge[node == 0]]) == sorted(tree.token[edge[node == 1]]) == [1, 3]


@settings(deadline=None, max_examples=60)
@given(lists)
def test_only_names_the_single_inner_node_below_an_edge(words: list[str]) -> None:
    tree = TitleTree.of([tuple(ord(letter) for letter in word + "\n") for word in words])
    for edge, below in enumerate(tree.only.tolist()):
        children = np.flatnonzero(tree.parent == edge).tolist()
        alone = len(children) == 1 and children[0] in tree.inner.tolist()
        assert below == (children[0] if alone else -1)
