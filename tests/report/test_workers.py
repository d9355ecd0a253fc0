"""The worker explorer holds the chosen careers, what the models said, and nothing that tells who a person is."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from laborllm.report.folder import read_run
from laborllm.report.readings import read_models
from laborllm.report.workers import choose_people, rows_of, worker_data

from .conftest import made_careers


@pytest.mark.parametrize("wanted", [10, 20, 40])
def test_people_are_spread_and_of_every_sort(wanted: int) -> None:
    test = made_careers(people=600).part("test")
    people = choose_people(test, wanted)
    assert len(people) == len(set(people)) == wanted
    assert people == sorted(people) == choose_people(test, wanted)
    years = np.diff(test.starts)[people]
    moves = np.array([(test.transition[rows_of(test, [person])] == "move").sum() for person in people])
    assert (years == 1).sum() == wanted // 10
    assert ((moves == 0) & (years > 1)).sum() == wanted // 4
    assert (moves > 0).sum() == wanted - wanted // 10 - wanted // 4
    assert min(people) < test.people / 5 < 4 * test.people / 5 < max(people)


def test_all_are_shown_where_there_are_few() -> None:
    test = made_careers(people=20).part("test")
    assert choose_people(test, 100) == list(range(test.people))


def test_missing_sorts_of_people_are_made_up_by_others() -> None:
    careers = made_careers(people=300)
    moving = set(np.unique(careers.person_of_row[careers.transition == "move"]).tolist())
    kept = [person for person in range(careers.people) if person in moving]
    rows = rows_of(careers, kept)
    movers = type(careers)(careers.table[rows], careers.occupations).part("test")
    assert len(choose_people(movers, 12)) == 12


def test_page_holds_the_numbers_of_the_files(full_folder: Path) -> None:
    run = read_run(full_folder)
    test = run.careers.part("test")
    people = choose_people(test, 12)
    text = (full_folder / "workers.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="workers">(.*?)</script>', text, re.DOTALL)[1])
    rows = rows_of(test, people)
    assert data == json.loads(json.dumps(worker_data(test, people, read_models(run, test, rows, mistakes=False))))
    assert [len(person["rows"]) for person in data["people"]] == np.diff(test.starts)[people].tolist()
    for place, model in enumerate(data["models"]):
        probability = np.exp(run.probabilities(model).log_probabilities[rows])
        said = [year for person in data["people"] for year in person["said"][place]]
        realised = probability[np.arange(len(rows)), test.occupation[rows]]
        assert [year[0] for year in said] == pytest.approx(realised, rel=6e-3)
        assert [year[3] for year in said] == pytest.approx(probability.max(axis=1), rel=6e-3)
        assert [year[2] for year in said] == probability.argmax(axis=1).tolist()


def test_nothing_tells_who_a_person_is(full_folder: Path) -> None:
    text = (full_folder / "workers.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="workers">(.*?)</script>', text, re.DOTALL)[1])
    assert data.keys() == {"titles", "models", "people"}
    assert all(person.keys() == {"about", "rows", "said"} for person in data["people"])
    assert all(len(row) == 4 for person in data["people"] for row in person["rows"])


def test_words_in_the_data_cannot_end_the_script(tmp_path: Path, full_folder: Path) -> None:
    text = (full_folder / "workers.html").read_text(encoding="utf-8")
    data = re.search(r'id="workers">(.*?)</script>', text, re.DOTALL)[1]
    assert not set("<>&'") & set(data)
