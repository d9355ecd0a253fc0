"""The tree splits where the growing rows say so, and looks at no other row."""

import numpy as np
import pytest

from laborllm.evaluation.groups.gain_tree import LEAST_PEOPLE, LEAST_ROWS, grow_partition
from laborllm.evaluation.groups.row_features import FIRST_ROW, RowFeature

PEOPLE, YEARS = 300, 10


@pytest.fixture
def person() -> np.ndarray:
    return np.repeat(np.arange(PEOPLE), YEARS)


@pytest.fixture
def features(person: np.ndarray) -> tuple[RowFeature, ...]:
    rng = np.random.default_rng(3)
    tenure = np.tile(np.arange(YEARS, dtype=float), PEOPLE)
    tenure[::YEARS] = np.nan
    region = rng.integers(0, 4, PEOPLE).astype(float)
    region[rng.random(PEOPLE) < 0.3] = np.nan
    words = ("north", "south", "west", "east")
    return (
        RowFeature("tenure", tenure, absent=FIRST_ROW),
        RowFeature("region", region[person], words, ordered=False),
    )


def test_rows_that_do_not_grow_it_change_nothing(person: np.ndarray, features: tuple[RowFeature, ...]) -> None:
    rng = np.random.default_rng(4)
    gain = rng.normal(size=len(person)) + 2.0 * (features[0].codes > 5)
    grows = person < PEOPLE // 2
    other = np.where(grows, gain, rng.normal(size=len(person)) - 9)
    one, two = (grow_partition(each, person, features, grows=grows, seed=1) for each in (gain, other))
    assert one.rules == two.rules == ("tenure ≤ 5 or first row", "tenure ≥ 6")
    np.testing.assert_array_equal(one.leaf, two.leaf)
    np.testing.assert_array_equal(one.leaf == 1, features[0].codes > 5)
    for leaf in (0, 1):
        assert one.averages[leaf] == pytest.approx(gain[grows & (one.leaf == leaf)].mean(), abs=1e-12)
    assert one.average == pytest.approx(gain[grows].mean())


def test_what_is_missing_is_a_level_like_any_other(person: np.ndarray, features: tuple[RowFeature, ...]) -> None:
    rng = np.random.default_rng(5)
    absent = np.isnan(features[1].codes)
    found = grow_partition(rng.normal(size=len(person)) + absent, person, features, grows=person % 2 == 0, seed=1)
    assert set(found.rules) == {"region = missing", "region ≠ missing"}
    np.testing.assert_array_equal(found.leaf == found.rules.index("region = missing"), absent)
    first = np.isnan(features[0].codes)
    found = grow_partition(rng.normal(size=len(person)) + 2 * first, person, features, grows=person >= 0, seed=1)
    assert set(found.rules) == {"first row", "not first row"}


def test_every_leaf_holds_enough_rows_and_people(person: np.ndarray, features: tuple[RowFeature, ...]) -> None:
    rng = np.random.default_rng(6)
    gain = 0.1 * rng.normal(size=len(person)) + np.nan_to_num(features[0].codes) ** 2 + 30 * (features[1].codes == 2)
    grows = person < PEOPLE // 2
    found = grow_partition(gain, person, features, grows=grows, seed=1)
    assert len(found.rules) > 3
    for leaf in range(len(found.rules)):
        inside = grows & (found.leaf == leaf)
        assert inside.sum() >= LEAST_ROWS
        assert len(np.unique(person[inside])) >= LEAST_PEOPLE


def test_too_few_rows_or_no_feature_leave_the_root(person: np.ndarray, features: tuple[RowFeature, ...]) -> None:
    gain = 5.0 * (features[0].codes > 5)
    for chosen, grows in (((), person < 150), (features, person < 20), (features, person < 0)):
        found = grow_partition(gain, person, chosen, grows=grows, seed=1)
        assert found.rules == ("everybody",)
        assert not found.leaf.any()
