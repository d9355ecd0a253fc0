"""Example résumés are chosen by their rule and show what the models said."""

import numpy as np
import pytest

from laborllm.report.examples import EARLIER, choose_rows, find_examples
from laborllm.report.folder import read_run
from laborllm.report.readings import read_models

from .conftest import made_careers


def test_chosen_rows_follow_the_rule() -> None:
    test = made_careers().part("test")
    rows = choose_rows(test)
    place = np.arange(len(test)) - test.starts[test.person_of_row]
    assert [test.transition[row] for row in rows] == ["move", "move", "move", "stay"]
    assert all(place[row] >= EARLIER for row in rows)
    assert len({test.person_of_row[row] for row in rows}) == 4
    assert rows == choose_rows(test)


@pytest.mark.parametrize("people", [12, 15, 20, 30])
def test_few_people_give_fewer_examples(people: int) -> None:
    test = made_careers(people).part("test")
    assert len(choose_rows(test)) <= 4


def test_predictions_are_those_of_the_file(run_folder) -> None:
    run = read_run(run_folder)
    test = run.careers.part("test")
    rows = choose_rows(test)
    examples = find_examples(test, rows, read_models(run, test, rows, mistakes=False))
    for row, example in zip(rows, examples, strict=True):
        assert [prediction.model for prediction in example.predictions] == ["oracle", "llm", "transition", "no change"]
        assert example.title == test.occupations.titles[test.occupation[row]]
        assert len(example.history) >= EARLIER
        assert [year for year, _, _ in example.history] == sorted(year for year, _, _ in example.history)
        for prediction in example.predictions:
            probability = np.exp(run.probabilities(prediction.model).log_probabilities[row])
            shown = [guess.probability for guess in prediction.top]
            assert shown == pytest.approx(np.sort(probability)[::-1][:5])
            assert prediction.realised == pytest.approx(probability[test.occupation[row]])
            assert prediction.rank == 1 + (probability > probability[test.occupation[row]]).sum()
            assert sum(guess.realised for guess in prediction.top) == (prediction.rank <= 5)
