"""Prompts as tokens: those of the whole text, every row once, room for the résumé."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from laborllm.errors import LaborLLMError
from laborllm.models.language.examples import choose_examples, example_resumes
from laborllm.models.language.language_model_settings import ExampleSettings
from laborllm.models.language.prompts import (
    INSTRUCTIONS,
    LINES_KEPT,
    REQUEST,
    Frame,
    Prompted,
    make_frame,
    prompt_careers,
)
from laborllm.models.language.scratch import train_tokenizer
from laborllm.models.language.windows import fit_context
from laborllm.survey.careers import Careers, split_by_person
from laborllm.text.resume import ResumeSettings, resume_titles, write_resumes
from laborllm.text.title_list import write_title_list
from laborllm.text.titles import ResumeTokenizer

CHAT = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] | trim }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
TEXT = ResumeSettings()
RANDOM, OWN, OVERLAP = {}, {"shared": False}, {"choose": "overlap", "shared": False}


@pytest.fixture(scope="module")
def careers(few_careers: Careers) -> Careers:
    return split_by_person(few_careers, (0.6, 0.1, 0.3), np.random.default_rng(1))


def scratch_tokenizer(careers: Careers) -> Any:
    texts = [resume.text for resume in write_resumes(careers, TEXT)]
    tokenizer = train_tokenizer(texts, careers.occupations.titles, 400)
    tokenizer.chat_template = CHAT
    return tokenizer


@pytest.fixture(scope="module")
def tokenizer(careers: Careers) -> Any:
    return scratch_tokenizer(careers)


def prompted(
    careers: Careers,
    tokenizer: Any,
    *,
    given: dict[str, Any] | None = None,
    text: ResumeSettings = TEXT,
    context: int = 4096,
    title_list: bool = False,
    chat: bool = False,
) -> Prompted:
    test, train = careers.part("test"), careers.part("train")
    words = write_title_list(careers.occupations, text) if title_list else ""
    return prompt_careers(
        test,
        ResumeTokenizer(tokenizer, resume_titles(careers.occupations, text)),
        text,
        context=context,
        frame=make_frame(tokenizer, words, chat=chat),
        examples=None if given is None else choose_examples(test, train, ExampleSettings(**given)),
        shown=example_resumes(train, text),
    )


def require_tokens_of_the_whole_text(careers: Careers, tokenizer: Any, found: Prompted, *, chat: bool) -> None:
    """Each document must be what the tokenizer makes of its text, and the text must hold what it should."""
    start = [] if chat or tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    by_row = {}
    for resume in found.resumes:
        tokens = [*resume.prompt.tolist(), *resume.tokens.tolist()]
        text = tokenizer.decode(tokens[len(start) :], clean_up_tokenization_spaces=False)
        again = [*start, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        assert tokens == again
        for line in range(resume.first_scored, len(resume.rows)):
            assert resume.rows[line] not in by_row
            by_row[resume.rows[line]] = tokenizer.decode(resume.tokens[resume.cuts[line] : resume.ends[line]])
    titles = careers.part("test").occupations.titles
    realised = [f" {titles[place]}\n" for place in careers.part("test").occupation]
    assert [by_row[row] for row in range(len(realised))] == realised


@pytest.mark.parametrize("given", [None, RANDOM, OWN, OVERLAP], ids=["none", "shared", "own", "overlap"])
@pytest.mark.parametrize("title_list", [False, True], ids=["bare", "list"])
@pytest.mark.parametrize("chat", [False, True], ids=["base", "chat"])
@pytest.mark.parametrize("last_rows", [None, 2], ids=["whole", "last"])
def test_tokens_are_those_of_the_whole_text(
    careers: Careers, tokenizer: Any, given: dict[str, Any] | None, title_list: bool, chat: bool, last_rows: int | None
) -> None:
    text = ResumeSettings(last_rows=last_rows)
    found = prompted(careers, tokenizer, given=given, text=text, title_list=title_list, chat=chat)
    require_tokens_of_the_whole_text(careers, tokenizer, found, chat=chat)
    shared = {id(resume.prompt) for resume in found.resumes}
    assert len(shared) == 1 or all(not len(resume.prompt) for resume in found.resumes)
    whole = [tokenizer.decode([*resume.prompt, *resume.tokens]) for resume in found.resumes]
    examples = 0 if given is None else 3
    ended = text.last_rows is None and given is not OVERLAP  # otherwise a window may end before the career does
    for words in whole:
        assert words.count("<A worker from") == examples + 1
        assert words.count("<END OF DATA>") >= examples + ended
        assert words.count("<END OF LIST>") == title_list
        assert words.count(INSTRUCTIONS) == words.count(REQUEST) == chat


@pytest.mark.parametrize("context", [4096, 60])
def test_without_a_prompt_a_resume_is_what_it_is(careers: Careers, tokenizer: Any, context: int) -> None:
    test = careers.part("test")
    alone = fit_context(ResumeTokenizer(tokenizer, careers.occupations.titles), write_resumes(test, TEXT), context)
    found = prompted(careers, tokenizer, context=context)
    assert not found.facts
    for one, other in zip(found.resumes, alone, strict=True):
        assert not len(one.prompt)
        assert np.array_equal(one.tokens, other.tokens)
        assert np.array_equal(one.cuts, other.cuts)
        assert np.array_equal(one.ends, other.ends)
        assert (one.rows, one.first_scored) == (other.rows, other.first_scored)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["tokenizers/gpt2", "tokenizers/gpt-neox", "models/stories260K"])
def test_tokens_are_those_of_the_whole_text_under_real_tokenizers(careers: Careers, real_data: Path, name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(real_data / name, local_files_only=True)
    encoder = ResumeTokenizer(tokenizer, careers.occupations.titles)
    test, train = careers.part("test"), careers.part("train")
    for given in (RANDOM, OWN, OVERLAP):
        for words in ("", write_title_list(careers.occupations, TEXT)):
            frame = make_frame(tokenizer, words)
            chosen = choose_examples(test, train, ExampleSettings(**given))
            shown = example_resumes(train, TEXT)
            found = prompt_careers(
                test, encoder, ResumeSettings(), context=8000, frame=frame, examples=chosen, shown=shown
            )
            for resume, written in zip(found.resumes, write_resumes(test, TEXT), strict=False):
                people = chosen.people[chosen.set_of_row[resume.rows[resume.first_scored]]]
                text = words + "".join(shown[person].text for person in people)
                text += written.text if given is not OVERLAP else ""
                whole = [*encoder.start, *tokenizer(text, add_special_tokens=False)["input_ids"]]
                tokens = [*resume.prompt.tolist(), *resume.tokens.tolist()]
                assert tokens[: len(whole)] == whole


def test_a_chat_prompt_is_what_the_template_makes_of_the_message(careers: Careers, tokenizer: Any) -> None:
    found = prompted(careers, tokenizer, given=RANDOM, title_list=True, chat=True)
    train, test = careers.part("train"), careers.part("test")
    chosen = choose_examples(test, train, ExampleSettings())
    shown = example_resumes(train, TEXT)
    message = f"{INSTRUCTIONS}\n{write_title_list(careers.occupations, TEXT)}"
    message += "".join(shown[person].text for person in chosen.people[0]) + REQUEST
    said = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert said[0] == tokenizer.bos_token_id != said[1]
    for resume in found.resumes:
        assert resume.prompt.tolist() == said
        assert tokenizer.decode(resume.tokens).startswith("<A worker from")


def test_a_tokenizer_without_a_chat_template_is_said(careers: Careers) -> None:
    tokenizer = scratch_tokenizer(careers)
    tokenizer.chat_template = None
    with pytest.raises(LaborLLMError, match="no chat template; take chat out"):
        make_frame(tokenizer, chat=True)
    tokenizer.chat_template = "{{ raise_exception('only the system may speak') }}"
    with pytest.raises(LaborLLMError, match=r"chat template fails \(only the system may speak\)"):
        make_frame(tokenizer, chat=True)
    tokenizer.chat_template = "nothing is repeated"
    with pytest.raises(LaborLLMError, match="takes no plain message"):
        make_frame(tokenizer, chat=True)


@pytest.mark.parametrize("given", [RANDOM, OWN, OVERLAP], ids=["shared", "own", "overlap"])
def test_a_short_context_shows_fewer_complete_examples_and_says_so(
    careers: Careers, tokenizer: Any, given: dict[str, Any]
) -> None:
    whole = prompted(careers, tokenizer, given=given)
    assert whole.facts["examples shown, mean over person-years"] == whole.facts["examples asked for"] == 3
    assert whole.facts["people shown fewer examples than asked for"] == 0
    longest = max(len(resume.prompt) + len(resume.tokens) for resume in whole.resumes)
    short = prompted(careers, tokenizer, given=given, context=longest - 30)
    require_tokens_of_the_whole_text(careers, tokenizer, short, chat=False)
    examples = {}
    for resume in short.resumes:
        text = tokenizer.decode([*resume.prompt, *resume.tokens])
        assert len(resume.prompt) + len(resume.tokens) <= longest - 30
        for row in resume.rows[resume.first_scored :]:
            examples[row] = text.count("<A worker from") - 1
    assert short.facts["examples shown, mean over person-years"] == round(float(np.mean(list(examples.values()))), 2)
    person_of_row = careers.part("test").person_of_row
    fewer = {int(person_of_row[row]) for row, count in examples.items() if count < 3}
    assert short.facts["people shown fewer examples than asked for"] == len(fewer) > 0


def test_examples_leave_room_for_the_lines_that_are_kept(careers: Careers, tokenizer: Any) -> None:
    """A career longer than what is kept loses its oldest rows before it takes an example's place."""
    lines = 4 * LINES_KEPT
    person = careers.part("test").table.head(1)
    long = pl.concat([person] * lines).with_columns(
        pl.Series("year", np.arange(1950, 1950 + lines), dtype=person.schema["year"]), person=pl.col("person") + 9000
    )
    grown = pl.concat([careers.table, long])
    with_long = replace(careers, table=grown)
    plain = prompted(with_long, tokenizer)
    longest = max(len(resume.tokens) for resume in plain.resumes)
    found = prompted(with_long, tokenizer, given=RANDOM, context=longest)
    assert found.facts["examples shown, mean over person-years"] >= 1
    windows = [resume for resume in found.resumes if len(resume.rows) - resume.first_scored < len(resume.rows)]
    assert windows
    assert min(len(resume.rows) for resume in windows) >= LINES_KEPT


def test_a_prompt_that_leaves_no_room_names_its_tokens(careers: Careers, tokenizer: Any) -> None:
    with pytest.raises(LaborLLMError, match=r"no example fits: the shortest takes \d+ tokens"):
        prompted(careers, tokenizer, given=RANDOM, context=70)
    with pytest.raises(LaborLLMError, match=r"a prompt of \d+ tokens.*leave out title_list"):
        prompted(careers, tokenizer, title_list=True, context=70)


def test_a_token_across_a_join_is_refused(careers: Careers) -> None:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: place for place, word in enumerate([*letters, "x<"])}
    bytes_alone = Tokenizer(models.BPE(vocab=words, merges=[("x", "<")]))
    bytes_alone.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_alone.decoder = decoders.ByteLevel()
    encoder = ResumeTokenizer(PreTrainedTokenizerFast(tokenizer_object=bytes_alone), careers.occupations.titles)
    test = careers.part("test")
    assert prompt_careers(test, encoder, TEXT, context=4096, frame=Frame(head="y")).resumes
    with pytest.raises(LaborLLMError, match="a token spans the end of 'x'"):
        prompt_careers(test, encoder, TEXT, context=4096, frame=Frame(head="x"))
