"""Sums of one pass over the array against the same sums taken one row and one occupation at a time."""

import math

import numpy as np
import polars as pl
import pytest

from laborllm.evaluation.row_sums import BLOCK, RowSums, row_sums
from laborllm.evaluation.tasks import Tasks, find_tasks
from laborllm.models.probabilities import normalise
from laborllm.survey.careers import Careers
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations
from tests.evaluation.conftest import noisy


def _by_hand(log_probabilities: np.ndarray, tasks: Tasks) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in RowSums.__annotations__}
    for row, (before, now) in enumerate(zip(tasks.previous, tasks.occupation, strict=True)):
        share = [math.exp(value) for value in log_probabilities[row].astype(float)]
        groups = [
            sum(p for p, g in zip(share, tasks.group, strict=True) if g == k) for k in range(tasks.group.max() + 1)
        ]
        own, own_group = share[now], groups[tasks.group[now]]
        values = {
            "previous": share[before] if before >= 0 else 0.0,
            "other": sum(p for place, p in enumerate(share) if place != before),
            "outside": sum(p for p, out in zip(share, tasks.outside, strict=True) if out),
            "inside": sum(p for p, out in zip(share, tasks.outside, strict=True) if not out),
            "squares": sum(p**2 for p in share),
            "highest": max(share),
            "greater": sum(p > own for p in share),
            "tied": sum(p == own for p in share),
            "group": own_group,
            "group_squares": sum(p**2 for p in groups),
            "group_highest": max(groups),
            "group_greater": sum(p > own_group + 1e-9 for p in groups),
            "group_tied": sum(abs(p - own_group) <= 1e-9 for p in groups),
        }
        for name, value in values.items():
            found[name].append(value)
    return found


def test_one_pass_equals_sums_by_hand_whatever_the_block(few_careers: Careers, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, _ = find_tasks(few_careers)
    log_probabilities = np.asarray(noisy(few_careers, 2).log_probabilities)
    expected = _by_hand(log_probabilities, tasks)
    for block in (BLOCK, 7):
        monkeypatch.setattr("laborllm.evaluation.row_sums.BLOCK", block)
        found = row_sums(log_probabilities, tasks)
        for name, values in expected.items():
            np.testing.assert_allclose(getattr(found, name), values, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(found.total, 1, atol=1e-6)


def test_ties_are_counted_and_a_uniform_models_broad_groups_of_one_size_tie(few_careers: Careers) -> None:
    tasks, _ = find_tasks(few_careers)
    found = row_sums(normalise(np.zeros((len(few_careers), 5)))[0], tasks)
    assert (found.greater == 0).all()
    assert (found.tied == 5).all()
    sizes = np.bincount(tasks.group)[tasks.group[tasks.occupation]]  # 1, 2, 2
    np.testing.assert_array_equal(found.group_tied, np.where(sizes == 1, 1, 2))
    np.testing.assert_array_equal(found.group_greater, np.where(sizes == 1, 2, 0))


@pytest.mark.parametrize("nats", [30.0, 95.0, 300.0])
def test_a_side_that_is_all_but_excluded_keeps_its_digits(nats: float) -> None:
    """In single precision 1e-42 has three digits and 1e-130 is zero."""
    codes = ("313", "436", "in_education")
    occupations = Occupations(codes=codes, titles=codes, groups=("a", "b", "c"))
    frame = pl.DataFrame({"person": 1, "year": [1980, 1981, 1982], "occupation": ["313", "436", "in_education"]})
    tasks, _ = find_tasks(careers_from_frame(frame, occupations))
    log_probabilities = np.array([[0.0, -nats, -nats - 1]] * 3, dtype=np.float32)
    found = row_sums(log_probabilities, tasks)
    expected = [math.exp(-nats) + math.exp(-nats - 1), 1 + math.exp(-nats - 1)]
    np.testing.assert_allclose(found.other[1:], expected, rtol=1e-6)
    np.testing.assert_allclose(np.log(found.outside), -nats - 1, rtol=1e-6)
    np.testing.assert_allclose(np.log(found.group), [0, -nats, -nats - 1], rtol=1e-6, atol=1e-12)


def test_equal_rows_have_equal_sums_wherever_they_stand(
    few_careers: Careers, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tie between two rows is a tie in every task, whatever the block they fall into."""
    tasks, _ = find_tasks(few_careers)
    monkeypatch.setattr("laborllm.evaluation.row_sums.BLOCK", 7)
    log_probabilities = np.tile(normalise(rng.normal(size=(1, 5)))[0], (len(few_careers), 1))
    found = row_sums(log_probabilities, tasks)
    for before in range(5):
        rows = np.flatnonzero(tasks.previous == before)
        for name in ("other", "previous", "outside", "inside", "highest"):
            assert len(np.unique(getattr(found, name)[rows])) == 1
