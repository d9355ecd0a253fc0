"""No change: the formula, the share, the corners."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.models.no_change import NoChange, likeliest_share
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations


@pytest.fixture
def split(few_careers: Careers, rng: np.random.Generator) -> Careers:
    return split_by_person(few_careers, [0.5, 0.25, 0.25], rng)


@pytest.fixture
def fitted(split: Careers) -> NoChange:
    model = NoChange()
    model.fit(split.part("train"), split.part("validation"))
    return model


def test_equals_the_formula(split: Careers, fitted: NoChange) -> None:
    test, train = split.part("test"), split.part("train")
    marginal = (np.bincount(train.occupation, minlength=5) + 0.5) / (len(train) + 2.5)
    answer = np.exp(fitted.predict(test).log_probabilities)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
    for row, previous in enumerate(test.previous):
        expected = (
            marginal * (1 - fitted.share) + fitted.share * (np.arange(5) == previous) if previous >= 0 else marginal
        )
        np.testing.assert_allclose(answer[row], expected, rtol=1e-6)


def test_the_share_is_the_likeliest(split: Careers, fitted: NoChange) -> None:
    validation = split.part("validation")
    later, stays = validation.previous >= 0, validation.transition == "stay"
    best = fitted.predict(validation).realised[later].sum() + 0.5 * np.log1p(-fitted.share)
    for share in (fitted.share - 0.01, fitted.share + 0.01):
        other = NoChange()
        other.occupations, other.counts, other.share = fitted.occupations, fitted.counts, share
        assert other.predict(validation).realised[later].sum() + 0.5 * np.log1p(-share) < best
    assert 0 < fitted.share < stays[later].mean()


def test_all_stays_leave_something_for_moves_and_none_leave_the_marginal() -> None:
    assert likeliest_share(np.full(99, 0.01), 0) == pytest.approx(1 - 0.5 / 99.5 / 0.99, abs=1e-4)
    assert likeliest_share(np.zeros(0), 7) == 0
    assert likeliest_share(np.full(5, 0.9), 50) == pytest.approx(0, abs=1e-6)


def test_one_year_and_occupations_never_seen(five_occupations: Occupations) -> None:
    frame = pl.DataFrame({"person": [1, 2, 3], "year": 1990, "occupation": ["313", "313", "433"]})
    careers = careers_from_frame(frame, five_occupations)
    model = NoChange()
    model.fit(careers, careers)
    assert model.facts["share of the last occupation"] == 0
    other = careers_from_frame(frame.with_columns(occupation=pl.lit("unemployed")), five_occupations)
    np.testing.assert_allclose(np.exp(model.predict(other).realised), 0.5 / 5.5, rtol=1e-6)
    assert model.facts["predicted rows in an occupation never seen in training"] == 3


def test_saved_and_loaded_it_says_the_same(split: Careers, fitted: NoChange, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    again = NoChange.load(tmp_path)
    assert again.facts == fitted.facts
    np.testing.assert_array_equal(again.predict(split).log_probabilities, fitted.predict(split).log_probabilities)


def test_errors_name_what_is_wrong(few_careers: Careers, fitted: NoChange, tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match="not fitted yet; call fit first"):
        NoChange().predict(few_careers)
    with pytest.raises(LaborLLMError, match="not fitted yet; call fit first"):
        NoChange().save(tmp_path)
    with pytest.raises(LaborLLMError, match=r"no_change.json: cannot be read as a no-change model; run the study"):
        NoChange.load(tmp_path)
    other = few_careers.occupations.restrict({"313"})
    frame = pl.DataFrame({"person": [1], "year": [1990], "occupation": ["313"]})
    with pytest.raises(LaborLLMError, match="1 occupations, the model was fitted on another list of 5"):
        fitted.predict(careers_from_frame(frame, other))
    assert NoChange().facts == {}
