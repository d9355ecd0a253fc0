"""Scores behind prompts: those of the whole text, shared or not, and blind to what comes later."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from laborllm.models.language.examples import choose_examples, example_resumes
from laborllm.models.language.language_model_settings import ExampleSettings
from laborllm.models.language.loading import load_checkpoint
from laborllm.models.language.prompted_scorer import PromptedScorer, prompts_fingerprint
from laborllm.models.language.prompts import Prompted, make_frame, prompt_careers
from laborllm.models.language.scratch import tiny_llama, train_tokenizer
from laborllm.models.scoring.routes import context_length
from laborllm.models.scoring.scorer import Scorer
from laborllm.survey.careers import Careers, split_by_person
from laborllm.text.resume import ResumeSettings, write_resumes
from laborllm.text.title_list import write_title_list
from laborllm.text.titles import ResumeTokenizer, TitleTree, TokenizedResume
from tests.models.scoring.brute_force import brute_force

TEXT = ResumeSettings()
SETS = {
    "none": None,
    "shared": {},
    "cells": {"choose": "stratified"},
    "own": {"shared": False},
    "overlap": {"choose": "overlap", "shared": False},
}


@pytest.fixture(scope="module")
def careers(few_careers: Careers) -> Careers:
    return split_by_person(few_careers, (0.6, 0.2, 0.2), np.random.default_rng(1))


@pytest.fixture(scope="module")
def encoder(careers: Careers) -> ResumeTokenizer:
    texts = [resume.text for resume in write_resumes(careers, TEXT)]
    return ResumeTokenizer(train_tokenizer(texts, careers.occupations.titles, 290), careers.occupations.titles)


@pytest.fixture(scope="module")
def model(encoder: ResumeTokenizer) -> Any:
    return tiny_llama(encoder.tokenizer, seed=3).double().eval()


def prompted(test: Careers, train: Careers, encoder: ResumeTokenizer, given: dict[str, Any] | None) -> Prompted:
    frame = make_frame(encoder.tokenizer, write_title_list(test.occupations, TEXT))
    chosen = None if given is None else choose_examples(test, train, ExampleSettings(**given))
    shown = example_resumes(train, TEXT)
    return prompt_careers(test, encoder, TEXT, context=2048, frame=frame, examples=chosen, shown=shown)


def unshared(found: Prompted) -> list[TokenizedResume]:
    """The same documents, each with its whole prompt inside."""
    return [
        TokenizedResume(
            np.concatenate([one.prompt, one.tokens]),
            one.rows,
            one.cuts + len(one.prompt),
            one.ends + len(one.prompt),
            one.first_scored,
        )
        for one in found.resumes
    ]


@pytest.mark.parametrize("name", SETS)
def test_probabilities_are_those_of_the_whole_text(
    careers: Careers, encoder: ResumeTokenizer, model: Any, name: str
) -> None:
    test = careers.part("test").first_people(3)
    found = prompted(test, careers.part("train"), encoder, SETS[name])
    expected = brute_force(model, unshared(found), encoder.sequences, len(test))
    scorer = PromptedScorer(model)
    scorer.check(found.resumes)
    tree = TitleTree.of(encoder.sequences)
    titles = scorer.titles(found.resumes, tree, rows=len(test))
    assert np.abs(titles - expected).max() < 1e-8
    realised = scorer.realised(found.resumes, rows=len(test))
    assert np.abs(realised - expected[np.arange(len(test)), test.occupation]).max() < 1e-8
    apart = Scorer(model).titles(unshared(found), tree, rows=len(test))
    assert np.abs(titles - apart).max() < 1e-8
    again = PromptedScorer(model).titles(found.resumes, tree, rows=len(test))
    assert np.array_equal(titles, again)


def test_a_later_occupation_changes_no_earlier_probability(
    careers: Careers, encoder: ResumeTokenizer, model: Any
) -> None:
    test, train = careers.part("test"), careers.part("train")
    tree = TitleTree.of(encoder.sequences)

    def titles(some: Careers) -> np.ndarray:
        resumes = prompted(some, train, encoder, SETS["overlap"]).resumes
        return PromptedScorer(model).titles(resumes, tree, rows=len(some))

    before = titles(test)
    longest = int(np.diff(test.starts).argmax())
    for row in range(int(test.starts[longest]), int(test.starts[longest + 1]), 3):
        place = test.occupation.copy()
        place[row] = (place[row] + 1) % len(test.occupations)
        codes = pl.Series("occupation", [test.occupations.codes[each] for each in place])
        table = test.table.with_columns(codes.cast(test.table.schema["occupation"]))
        after = titles(replace(test, table=table))
        others = np.arange(len(test)) >= test.starts[longest + 1]
        same = others | (np.arange(len(test)) <= row)
        assert np.abs(before - after)[same].max() < 1e-9
        assert row + 1 == test.starts[longest + 1] or np.abs(before - after)[row + 1].max() > 1e-6


def test_progress_counts_person_years_over_all_prompts(careers: Careers, encoder: ResumeTokenizer, model: Any) -> None:
    test = careers.part("test")
    found = prompted(test, careers.part("train"), encoder, SETS["cells"])
    assert len({id(resume.prompt) for resume in found.resumes}) > 1
    said: list[tuple[int, int]] = []
    PromptedScorer(model).realised(found.resumes, rows=len(test), progress=lambda *each: said.append(each))
    done = [each for each, _ in said]
    assert done == sorted(done)
    assert said[-1] == (len(test), len(test))


def test_the_fingerprint_knows_the_prompts(careers: Careers, encoder: ResumeTokenizer) -> None:
    test, train = careers.part("test"), careers.part("train")
    some = [prompts_fingerprint(prompted(test, train, encoder, SETS[name]).resumes) for name in ("shared", "shared")]
    assert some[0] == some[1]
    other = prompts_fingerprint(prompted(test, train, encoder, {"seed": 2}).resumes)
    assert len({other, some[0], prompts_fingerprint(prompted(test, train, encoder, None).resumes)}) == 3


@pytest.mark.real_data
@pytest.mark.parametrize("shared", [True, False])
def test_stories_behind_examples_score_as_the_whole_text(careers: Careers, real_data: Path, shared: bool) -> None:
    model, tokenizer = load_checkpoint(real_data / "models" / "stories260K")
    model.eval()
    text = ResumeSettings(drop=("ethnicity", "region", "birth_year"), last_rows=1)
    encoder = ResumeTokenizer(tokenizer, careers.occupations.titles)
    test, train = careers.part("test").first_people(2), careers.part("train")
    chosen = choose_examples(test, train, ExampleSettings(count=1, shared=shared))
    found = prompt_careers(
        test,
        encoder,
        text,
        context=context_length(model),
        frame=make_frame(tokenizer),
        examples=chosen,
        shown=example_resumes(train, text),
    )
    assert found.facts["examples shown, mean over person-years"] == 1
    expected = brute_force(model, unshared(found), encoder.sequences, len(test))
    titles = PromptedScorer(model).titles(found.resumes, TitleTree.of(encoder.sequences), rows=len(test))
    assert np.abs(titles - expected).max() < 1e-4
    assert np.abs(titles / expected - 1).max() < 1e-5
