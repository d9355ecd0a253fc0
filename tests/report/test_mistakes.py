"""Confusions and losses against a plain loop over rows; standard errors against resampling of people."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from laborllm.models.probabilities import normalise
from laborllm.report import mistakes
from laborllm.report.mistakes import FIRST, confusions_table, expected_table, find_mistakes, losses_table
from laborllm.survey.careers import Careers
from laborllm.survey.occupations import Occupations

from .conftest import made_careers


@pytest.fixture(scope="module")
def test_part() -> Careers:
    return made_careers().part("test")


@pytest.fixture(scope="module")
def scores(test_part: Careers) -> np.ndarray:
    """Log-probabilities, shape (person_years, occupations)."""
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(len(test_part), len(test_part.occupations)))
    scores[np.arange(len(test_part)), test_part.occupation] += 1.0
    return normalise(scores)[0]


def test_confusions_are_those_of_a_loop(test_part: Careers, scores: np.ndarray) -> None:
    groups = test_part.occupations.groups
    counts: Counter = Counter()
    people: dict = {}
    for row in range(len(test_part)):
        by_group: Counter = Counter()
        for place, group in enumerate(groups):
            by_group[group] += float(np.exp(scores[row, place]))
        before = test_part.previous[row]
        predicted, realised = max(by_group, key=lambda g: by_group[g]), groups[test_part.occupation[row]]
        if predicted != realised:
            key = (groups[before] if before >= 0 else FIRST, realised, predicted)
            counts[key] += 1
            people.setdefault(key, set()).add(int(test_part.person_of_row[row]))
    found = find_mistakes(scores, test_part).confusions
    assert {row[:3]: row[3] for row in found.iter_rows()} == counts
    assert {row[:3]: row[4] for row in found.iter_rows()} == {key: len(who) for key, who in people.items()}
    assert found["person_years"].is_sorted(descending=True)
    assert found["share"].sum() == pytest.approx(sum(counts.values()) / len(test_part))


def test_losses_sum_to_the_loss(test_part: Careers, scores: np.ndarray) -> None:
    found = find_mistakes(scores, test_part).occupations
    nats = -scores[np.arange(len(test_part)), test_part.occupation].astype(float)
    assert found["nats"].sum() == pytest.approx(nats.sum())
    assert found["share_of_loss"].sum() == pytest.approx(1)
    assert found["person_years"].sum() == len(test_part) == pytest.approx(found["predicted"].sum())
    cooks = found.filter(occupation="436").row(0, named=True)
    of_cooks = test_part.occupation == test_part.occupations.position["436"]
    assert cooks["nats"] == pytest.approx(nats[of_cooks].sum())
    assert cooks["people"] == len(np.unique(test_part.person_of_row[of_cooks]))


def test_blocks_change_nothing(test_part: Careers, scores: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = find_mistakes(scores, test_part)
    for block in (1, 7, 100):
        monkeypatch.setattr(mistakes, "BLOCK", block)
        found = find_mistakes(scores, test_part)
        assert found.confusions.equals(whole.confusions)
        for name in ("predicted", "std_error", "nats"):
            assert found.occupations[name].to_list() == pytest.approx(whole.occupations[name].to_list())


def test_standard_error_is_that_of_resampled_people() -> None:
    test = made_careers(people=1200).part("test")
    rng = np.random.default_rng(4)
    scores = normalise(rng.normal(size=(len(test), len(test.occupations))))[0]
    found = find_mistakes(scores, test).occupations.sort("occupation")
    gaps = np.exp(scores.astype(float))
    gaps[np.arange(len(test)), test.occupation] -= 1
    by_person = np.add.reduceat(gaps, test.starts[:-1], axis=0)  # (people, occupations)
    weights = rng.multinomial(test.people, np.full(test.people, 1 / test.people), size=4000)
    drawn = (weights @ by_person).std(axis=0)
    order = np.argsort(test.occupations.codes)
    assert found["std_error"].to_list() == pytest.approx(drawn[order].tolist(), rel=0.05)


def test_tables_hold_the_largest(test_part: Careers, scores: np.ndarray) -> None:
    found = find_mistakes(scores, test_part)
    confusions, losses, expected = confusions_table(found), losses_table(found), expected_table(found)
    assert len(confusions.rows) <= mistakes.SHOWN
    assert all(row[4].value >= mistakes.FEWEST_PEOPLE for row in confusions.rows)
    assert losses.rows[0][0].text == found.occupations["title"][0]
    differences = [abs(row[3].value) for row in expected.rows]
    assert differences == sorted(differences, reverse=True)


def test_list_with_one_group_has_no_confusions(test_part: Careers, scores: np.ndarray) -> None:
    codes, titles = test_part.occupations.codes, test_part.occupations.titles
    alike = replace(test_part, occupations=Occupations(codes, titles, ("any",) * len(codes)))
    assert confusions_table(find_mistakes(scores, alike)) is None


def test_infinite_loss_has_no_shares(test_part: Careers, scores: np.ndarray) -> None:
    hopeless = scores.copy()
    hopeless[0, test_part.occupation[0]] = -np.inf
    found = find_mistakes(hopeless, test_part)
    assert losses_table(found) is None
    assert expected_table(found) is not None


def test_no_file_shows_a_confusion_of_few_people(test_part: Careers, scores: np.ndarray) -> None:
    found = find_mistakes(scores, test_part)
    assert found.confusions["people"].min() < mistakes.FEWEST_PEOPLE
    assert confusions_table(found).frame["people"].min() >= mistakes.FEWEST_PEOPLE
