"""Text that is learned first: what is read, what is held out, what it is worth."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from laborllm.errors import LaborLLMError
from laborllm.models.language.language_model import LanguageModel
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.language.loading import load_checkpoint
from laborllm.models.language.pretraining import HELD_OUT, read_corpus
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.occupations import Occupations
from laborllm.survey.simulated.simulate import simulate
from laborllm.survey.simulated.world import SimulatedSettings
from laborllm.text.resume import ResumeSettings


def settings(**given: Any) -> LanguageModelSettings:
    return LanguageModelSettings(kind="language_model", scratch="tiny", **given)


def few_resumes(few_careers: Careers, path: Path) -> Path:
    """Careers without gender or ethnicity, over a list of their own."""
    codes = [f"r{code}" for code in few_careers.occupations.codes]
    titles = tuple(f"{title}, senior" for title in few_careers.occupations.titles)
    own = Occupations(codes=tuple(codes), titles=titles, groups=few_careers.occupations.groups)
    table = few_careers.table.with_columns(
        pl.Series("occupation", [codes[place] for place in few_careers.occupation], dtype=own.dtype),
        gender=pl.lit(None, pl.String),
        ethnicity=pl.lit(None, pl.String),
        survey=pl.lit("a résumé site"),
    )
    Careers(table, own).write(path)
    return path


def test_every_twentieth_person_of_all_files_is_held_out(few_careers: Careers, tmp_path: Path) -> None:
    files = [few_resumes(few_careers, tmp_path / "1.parquet"), few_resumes(few_careers, tmp_path / "2.parquet")]
    corpus = read_corpus(files, ResumeSettings(titles="permuted", drop=("education",), permute=("region",)))
    assert corpus.held_out.people == 2 * few_careers.people // HELD_OUT
    assert corpus.learned.people + corpus.held_out.people == 2 * few_careers.people  # equal ids, different people
    assert len(corpus.learned) + len(corpus.held_out) == 2 * len(few_careers)
    assert corpus.text == ResumeSettings(drop=("education",))
    assert all("senior" in resume.text and "(high school)" not in resume.text for resume in corpus.written())


def test_the_list_of_the_resumes_may_be_another(few_careers: Careers, tmp_path: Path) -> None:
    careers = split_by_person(few_careers, (0.6, 0.2, 0.2), np.random.default_rng(1))
    file = few_resumes(few_careers, tmp_path / "resumes.parquet")
    given = settings(pretrain=[file], pretraining={"epochs": 1}, training={"epochs": 1})
    model = LanguageModel(given, tmp_path / "model")
    model.fit(careers.part("train"), careers.part("validation"))
    predicted = model.predict(careers.part("test"))
    assert np.exp(predicted.log_probabilities.astype(float)).sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert model.facts["people of the résumés learned first"] == 38
    again = LanguageModel(given, tmp_path / "model")
    again.fit(careers.part("train"), careers.part("validation"))
    assert np.array_equal(again.predict(careers.part("test")).log_probabilities, predicted.log_probabilities)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["checkpoint", "shards", "training.json"]


def test_without_the_survey_it_is_a_checkpoint_for_others(few_careers: Careers, tmp_path: Path) -> None:
    careers = split_by_person(few_careers, (0.6, 0.2, 0.2), np.random.default_rng(1))
    file = few_resumes(few_careers, tmp_path / "resumes.parquet")
    model = LanguageModel(settings(use="off_the_shelf", pretrain=[file], pretraining={"epochs": 1}), tmp_path / "model")
    model.fit(careers.part("train"), careers.part("validation"))
    assert "never shown a training person" in model.description
    loaded, tokenizer = load_checkpoint(tmp_path / "model" / "checkpoint")
    for name, weight in loaded.named_parameters():
        assert torch.equal(weight, model.model.get_parameter(name))
    assert len(tokenizer) == loaded.config.vocab_size


def test_a_kill_between_the_phases_costs_nothing(few_careers: Careers, tmp_path: Path) -> None:
    careers = split_by_person(few_careers, (0.6, 0.2, 0.2), np.random.default_rng(1))
    file = few_resumes(few_careers, tmp_path / "resumes.parquet")
    given = settings(pretrain=[file], pretraining={"epochs": 2}, training={"epochs": 2, "batch": 8})

    class Killed(Exception):
        pass

    def kill(phase: str, done: int, total: int) -> None:
        if phase == "training":
            raise Killed

    parts = careers.part("train"), careers.part("validation")
    with pytest.raises(Killed):
        LanguageModel(given, tmp_path / "killed", kill).fit(*parts)
    phases = []
    gone_on = LanguageModel(given, tmp_path / "killed", lambda phase, done, total: phases.append(phase))
    gone_on.fit(*parts)
    assert set(phases) == {"training"}
    whole = LanguageModel(given, tmp_path / "whole")
    whole.fit(*parts)
    for name, weight in whole.model.named_parameters():
        assert torch.equal(weight, gone_on.model.get_parameter(name))


def test_bad_files(few_careers: Careers, tmp_path: Path) -> None:
    one = few_resumes(few_careers, tmp_path / "1.parquet")
    few_careers.write(tmp_path / "2.parquet")
    with pytest.raises(LaborLLMError, match=r"2\.parquet: has another list of occupations than .*1\.parquet"):
        read_corpus([one, tmp_path / "2.parquet"], ResumeSettings())
    replace(few_careers.first_people(5), flow=()).write(tmp_path / "few.parquet")
    with pytest.raises(LaborLLMError, match=r"few\.parquet: 5 people are too few to pre-train on; give 20"):
        read_corpus([tmp_path / "few.parquet"], ResumeSettings())
    (tmp_path / "torn.parquet").write_bytes(one.read_bytes()[:-100])
    with pytest.raises(LaborLLMError, match=r"torn\.parquet"):
        read_corpus([tmp_path / "torn.parquet"], ResumeSettings())
    with pytest.raises(ValueError, match="or give pretrain"):
        settings(use="off_the_shelf")


@pytest.mark.slow
def test_resumes_are_worth_people(tmp_path: Path) -> None:
    """Pre-trained on résumés of the same labor market, a model of few survey people predicts better."""
    resumes = tmp_path / "resumes.parquet"
    simulate(SimulatedSettings(source="simulated", people=1500, occupations=12, population="resume")).write(resumes)
    survey = simulate(SimulatedSettings(source="simulated", people=500, occupations=12))
    careers = split_by_person(survey, (0.2, 0.2, 0.6), np.random.default_rng(1))
    nats = []
    for name, given in {
        "without": settings(),
        "with": settings(pretrain=[resumes], pretraining={"epochs": 3}, training={"learning_rate": 1e-3, "epochs": 6}),
    }.items():
        model = LanguageModel(given, tmp_path / name)
        model.fit(careers.part("train"), careers.part("validation"))
        nats.append(model.predict(careers.part("test")).realised)
    test = careers.part("test")
    gain = np.bincount(test.person_of_row, weights=nats[1] - nats[0])  # (people,)
    assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))


def test_keys_that_are_not_given_suit_the_weights(tmp_path: Path) -> None:
    scratch = settings(pretrain=["a.parquet"], pretraining={"epochs": 3}, training={"epochs": 2})
    assert (scratch.pretraining.learning_rate, scratch.pretraining.epochs, scratch.pretraining.evaluations) == (
        2e-3,
        3,
        4,
    )
    loaded = LanguageModelSettings(kind="language_model", checkpoint=tmp_path, pretrain=["a.parquet"])
    assert (loaded.pretraining.learning_rate, loaded.pretraining.epochs, loaded.pretraining.evaluations) == (1e-5, 1, 4)
