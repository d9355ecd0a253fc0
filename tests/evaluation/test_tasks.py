import numpy as np
import polars as pl
import pytest

from laborllm.evaluation.tasks import event_scores, find_events, occupation_scores, realised_rank
from laborllm.models.probabilities import Probabilities, normalise
from laborllm.survey.careers import Careers
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations
from tests.evaluation.conftest import noisy, prediction_of


def _careers(codes: list[str], states: tuple[str, ...]) -> Careers:
    """One person, one row a year."""
    listing = ("313", "436", *states)
    occupations = Occupations(codes=listing, titles=listing, groups=listing)
    return careers_from_frame(
        pl.DataFrame({"person": 1, "year": range(1980, 1980 + len(codes)), "occupation": codes}), occupations
    )


def test_events_equal_a_loop_over_persons(few_careers: Careers) -> None:
    move, leave = find_events(few_careers)[0]
    moved, left = {}, {}
    for rows in few_careers.table.with_row_index("row").partition_by("person"):
        pairs = zip(rows["row"][1:], rows["occupation"], rows["occupation"][1:], strict=False)
        for row, before, now in pairs:
            moved[row] = before != now
            if before != "in_education":
                left[row] = now == "in_education"
    assert dict(zip(move.rows.tolist(), move.happened.tolist(), strict=True)) == moved
    assert dict(zip(leave.rows.tolist(), leave.happened.tolist(), strict=True)) == left


def test_event_scores_equal_summing_probabilities_by_hand(few_careers: Careers) -> None:
    prediction = noisy(few_careers, 2)
    assert prediction.log_probabilities is not None
    shares = np.exp(prediction.log_probabilities.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    move, leave = find_events(few_careers)[0]
    expected = [1 - shares[row, few_careers.previous[row]] for row in move.rows]
    np.testing.assert_allclose(event_scores(prediction.log_probabilities, move).probability, expected, rtol=1e-12)
    scores = event_scores(prediction.log_probabilities, leave)
    expected = shares[leave.rows, few_careers.occupations.position["in_education"]]
    np.testing.assert_allclose(scores.probability, expected, rtol=1e-12)
    np.testing.assert_allclose(scores.nats, -np.log(np.where(leave.happened, expected, 1 - expected)), rtol=1e-12)


def test_a_move_that_was_all_but_excluded_keeps_its_nats() -> None:
    careers = _careers(["313", "436"], ())
    log_probabilities = np.log(np.array([[0.5, 0.5], [1.0, 1e-30]])).astype(np.float32)
    move = find_events(careers)[0][0]
    assert event_scores(log_probabilities, move).nats[0] == pytest.approx(30 * np.log(10), rel=1e-6)


@pytest.mark.parametrize(
    ("codes", "states", "note"),
    [
        (["313", "not_working"], ("not_working", "in_education"), "mixes"),
        (["313", "436"], ("unemployed",), "the list has none"),
        (["313", "436"], ("in_education",), "nobody leaves"),
    ],
)
def test_leaving_the_labor_force_is_left_out_with_a_note(codes: list[str], states: tuple[str, ...], note: str) -> None:
    events, notes = find_events(_careers(codes, states))
    assert [event.task for event in events] == ["move"]
    assert len(notes) == 1
    assert note in notes[0]


def test_leaving_starts_from_a_job_or_unemployment_only() -> None:
    states = ("unemployed", "not_in_labor_force", "in_education")
    careers = _careers(["in_education", "313", "unemployed", "not_in_labor_force", "in_education", "436"], states)
    leave = find_events(careers)[0][1]
    assert leave.rows.tolist() == [2, 3]
    assert leave.happened.tolist() == [False, True]


def test_no_second_row_leaves_moving_out() -> None:
    events, notes = find_events(_careers(["313"], ()))
    assert events == ()
    assert "no person has two rows" in notes[0]


def test_realised_rank_equals_sorting(rng: np.random.Generator) -> None:
    log_probabilities = rng.integers(5, size=(200, 8)).astype(np.float32)
    place = rng.integers(8, size=200)
    greater, tied = realised_rank(log_probabilities, place)
    for row in range(200):
        own = log_probabilities[row, place[row]]
        assert (greater[row], tied[row]) == (sum(log_probabilities[row] > own), sum(log_probabilities[row] == own))


def test_a_uniform_model_hits_by_chance_and_a_perfect_one_always(few_careers: Careers) -> None:
    shape = (len(few_careers), 5)
    uniform = occupation_scores(prediction_of(few_careers, normalise(np.zeros(shape))[0]))
    np.testing.assert_allclose(uniform["accuracy"], 1 / 5)
    np.testing.assert_allclose(uniform["top5"], 1.0)
    certain = np.full(shape, -200.0)
    certain[np.arange(shape[0]), few_careers.occupation] = 0.0
    assert (occupation_scores(prediction_of(few_careers, normalise(certain)[0]))["accuracy"] == 1).all()


def test_only_what_a_prediction_defines_is_scored(models: dict[str, Probabilities]) -> None:
    found = {model: set(occupation_scores(prediction)) for model, prediction in models.items()}
    full = {"perplexity", "accuracy", "top5", "top10"}
    assert found == {
        "language": full | {"perplexity_raw", "log_mass"},
        "relative": full,
        "realised": {"perplexity_raw"},
    }
