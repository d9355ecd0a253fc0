"""Greedy rationales find the rows that matter, and rows are left out as if nobody had observed them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from laborllm.errors import LaborLLMError
from laborllm.models.networks.rationales import greedy_rationale
from laborllm.models.networks.sequence_model import SequenceModel, levels_seen, sequences
from laborllm.models.networks.sequence_settings import CareerSettings, SequenceTraining
from laborllm.models.networks.sequences import thinned, with_rows
from laborllm.survey.careers import Careers
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations

OCCUPATIONS = Occupations(codes=("1", "2", "3", "4", "5"), titles=("a", "b", "c", "d", "e"), groups=("",) * 5)
TRAINING = SequenceTraining(
    updates=150, warmup=15, learning_rate=3e-3, rows_per_batch=600, evaluations=3, row_dropout=0.3
)


def returning(people: int, seed: int) -> Careers:
    """Two years in 1 or 2, three in 3, then back to the first occupation: only an early row tells which."""
    first = np.random.default_rng(seed).integers(1, 3, people)
    rows = [
        (person, 1990 + year, code)
        for person, code in enumerate(first.tolist())
        for year, code in enumerate([code, code, 3, 3, 3, code])
    ]
    frame = pl.DataFrame(rows, schema=["person", "year", "occupation"], orient="row")
    return careers_from_frame(frame, OCCUPATIONS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SequenceModel:
    made = SequenceModel(CareerSettings(training=TRAINING), tmp_path_factory.mktemp("rationales") / "model")
    made.fit(returning(300, 1), returning(60, 2))
    return made


def test_the_row_that_tells_is_chosen(model: SequenceModel) -> None:
    careers = returning(8, 3)
    for person in range(careers.people):
        last = 6 * person + 5
        found = greedy_rationale(model, careers, last)
        if found.occupation != careers.occupation[last]:
            pytest.fail("the model has not learned to return")
        early = set(found.chosen.tolist()) & {6 * person, 6 * person + 1}
        assert found.enough
        assert early or not len(found.chosen)
        assert len(found.chosen) <= 2
        assert len(found.probability) == len(found.chosen) + 1


def test_rows_left_out_are_as_if_never_observed(few_careers: Careers) -> None:
    given = sequences(few_careers, levels_seen([few_careers.table]))
    person = int(np.argmax(given.lengths))
    rows = np.arange(given.starts[person], given.starts[person + 1])[[0, 2, 3]]
    kept = with_rows([rows], given)
    fewer = Careers(few_careers.table[rows.tolist()], few_careers.occupations)
    expected = sequences(fewer, levels_seen([few_careers.table]))
    for name in ("starts", "previous", "occupation", "levels"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(expected, name))


def test_half_of_the_people_keep_every_row(few_careers: Careers, rng: np.random.Generator) -> None:
    given = sequences(few_careers, levels_seen([few_careers.table]))
    people = np.repeat(np.arange(len(given)), 50)
    left = thinned(given, people, 0.4, rng).lengths / given.lengths[people]
    assert 0.5 < (left == 1).mean() < 0.75
    assert left.min() > 0
    assert 0.7 < left.mean() < 0.95


def test_a_model_without_row_dropout_is_refused(few_careers: Careers, tmp_path: Path) -> None:
    quick = SequenceTraining(updates=2, warmup=1, evaluations=1)
    made = SequenceModel(CareerSettings(training=quick), tmp_path / "model")
    made.fit(few_careers, few_careers)
    with pytest.raises(LaborLLMError, match=r"set training\.row_dropout"):
        greedy_rationale(made, few_careers, 0)


def test_a_row_that_is_not_there_is_refused(model: SequenceModel) -> None:
    with pytest.raises(LaborLLMError, match="row 12 is none of the 12 rows"):
        greedy_rationale(model, returning(2, 1), 12)
