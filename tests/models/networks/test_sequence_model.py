"""CAREER as a model of careers: fitted, predicted, kept, pre-trained; what it was never shown is counted."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from laborllm.errors import LaborLLMError
from laborllm.models.networks.sequence_model import SequenceModel, levels_seen, sequences
from laborllm.models.networks.sequence_settings import BagOfJobsSettings, CareerSettings, LSTMSettings, SequenceTraining
from laborllm.models.networks.sequence_training import log_probabilities
from laborllm.survey.careers import Careers
from laborllm.survey.door import careers_from_frame

QUICK = SequenceTraining(updates=6, warmup=2, rows_per_batch=80, evaluations=2)
SETTINGS = CareerSettings(training=QUICK, pretraining=QUICK)


@pytest.fixture(
    scope="module",
    params=[
        SETTINGS,
        BagOfJobsSettings(width=16, training=QUICK),
        LSTMSettings(width=16, training=QUICK),
    ],
    ids=lambda settings: settings.kind,
)
def fitted(
    few_careers: Careers, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> SequenceModel:
    model = SequenceModel(request.param, tmp_path_factory.mktemp("career") / "model")
    model.fit(few_careers, few_careers)
    return model


def test_rows_sum_to_one(fitted: SequenceModel, few_careers: Careers) -> None:
    answer = fitted.predict(few_careers).log_probabilities
    assert answer is not None
    np.testing.assert_allclose(np.exp(answer.astype(np.float64)).sum(axis=1), 1, atol=1e-5)


def test_a_finished_model_is_taken_as_it_is(fitted: SequenceModel, few_careers: Careers) -> None:
    again = SequenceModel(fitted.settings, fitted.folder)
    again.fit(few_careers, few_careers)
    first, second = (model.predict(few_careers).log_probabilities for model in (fitted, again))
    np.testing.assert_array_equal(first, second)
    assert sorted(path.name for path in fitted.folder.iterdir()) == ["model.json", "weights.safetensors"]


def test_a_model_of_other_settings_is_refused(fitted: SequenceModel, few_careers: Careers) -> None:
    other = SequenceModel(fitted.settings.model_copy(update={"seed": 2}), fitted.folder)
    with pytest.raises(LaborLLMError, match="holds a model of another study"):
        other.fit(few_careers, few_careers)


def test_unseen_levels_are_counted_and_the_nearest_year_is_taken(fitted: SequenceModel, few_careers: Careers) -> None:
    table = few_careers.table.head(3).with_columns(year=pl.lit(2031, pl.Int32), gender=pl.lit("unheard of"))
    later = Careers(table.head(1), few_careers.occupations)
    fitted.predict(later)
    assert fitted.facts["rows with an unseen year"] == 1
    assert fitted.facts["rows with an unseen gender"] == 1
    words = levels_seen([few_careers.table])
    assert sequences(later, words).levels[0, 0] == len(words["year"])
    assert sequences(later, words).levels[0, 2] == 0


def test_another_list_is_refused(fitted: SequenceModel, few_careers: Careers) -> None:
    fewer = few_careers.occupations.restrict({"313", "436"})
    frame = few_careers.table.filter(pl.col("occupation").is_in(["313", "436"]))
    with pytest.raises(LaborLLMError, match="was fitted on another list of 5"):
        fitted.predict(careers_from_frame(frame.with_columns(pl.col("occupation").cast(pl.String)), fewer))


def test_resumes_are_learned_first_and_what_is_not_on_the_list_is_counted(few_careers: Careers, tmp_path: Path) -> None:
    resumes = few_careers.table.drop("gender", "ethnicity", "birth_year")
    for number in (1, 2):
        Careers(resumes, few_careers.occupations).write(tmp_path / f"{number}.parquet")
    fewer = few_careers.occupations.restrict({"313", "436", "433", "unemployed"})
    frame = few_careers.table.filter(pl.col("occupation") != "in_education")
    survey = careers_from_frame(frame.with_columns(pl.col("occupation").cast(pl.String)), fewer)
    settings = SETTINGS.model_copy(update={"pretrain": (tmp_path / "1.parquet", tmp_path / "2.parquet")})
    model = SequenceModel(settings, tmp_path / "model")
    model.fit(survey, survey)
    off = int((few_careers.table["occupation"] == "in_education").sum())
    assert model.facts["résumé rows whose occupation is not on the list"] == 2 * off
    assert "résumé validation perplexity" in model.facts
    assert "pre-trained on résumés" in model.description


def test_resumes_that_end_early_are_refused(few_careers: Careers, tmp_path: Path) -> None:
    few_careers.write(tmp_path / "whole.parquet")
    data = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[: len(data) // 2])
    settings = SETTINGS.model_copy(update={"pretrain": (tmp_path / "cut.parquet",)})
    with pytest.raises(LaborLLMError, match=r"cut\.parquet: cannot be read as Parquet"):
        SequenceModel(settings, tmp_path / "model").fit(few_careers, few_careers)


def test_resumes_of_too_few_people_are_refused(few_careers: Careers, tmp_path: Path) -> None:
    rows = int(few_careers.starts[19])
    Careers(few_careers.table.head(rows), few_careers.occupations).write(tmp_path / "few.parquet")
    settings = SETTINGS.model_copy(update={"pretrain": (tmp_path / "few.parquet",)})
    with pytest.raises(LaborLLMError, match=r"few\.parquet: needs 20 people or more"):
        SequenceModel(settings, tmp_path / "model").fit(few_careers, few_careers)


def test_the_published_head_is_normalised_and_says_what_it_lost(few_careers: Careers, tmp_path: Path) -> None:
    model = SequenceModel(SETTINGS.model_copy(update={"published": True}), tmp_path / "model")
    model.fit(few_careers, few_careers)
    answer = model.predict(few_careers).log_probabilities
    assert answer is not None
    np.testing.assert_allclose(np.exp(answer.astype(np.float64)).sum(axis=1), 1, atol=1e-5)
    assert 0 < float(model.facts["mass on symbols that are no occupation"]) < 1


def test_one_person_of_one_row_is_predicted(fitted: SequenceModel, few_careers: Careers) -> None:
    one = Careers(few_careers.table.head(1), few_careers.occupations)
    assert fitted.network is not None
    assert log_probabilities(fitted.network, sequences(one, fitted.words)).shape == (1, 5)


def test_not_fitted_is_said(few_careers: Careers, tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match="call fit first"):
        SequenceModel(SETTINGS, tmp_path).predict(few_careers)
