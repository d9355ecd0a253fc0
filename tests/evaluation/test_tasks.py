import polars as pl
import pytest

from laborllm.evaluation.tasks import find_events, find_tasks
from laborllm.survey.careers import Careers
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations


def _careers(codes: list[str], states: tuple[str, ...]) -> Careers:
    """One person, one row a year."""
    listing = ("313", "436", *states)
    occupations = Occupations(codes=listing, titles=listing, groups=listing)
    return careers_from_frame(
        pl.DataFrame({"person": 1, "year": range(1980, 1980 + len(codes)), "occupation": codes}), occupations
    )


def test_events_equal_a_loop_over_persons(few_careers: Careers) -> None:
    expected: dict[str, dict[int, bool]] = {"move": {}, "leave_labor_force": {}, "enter_labor_force": {}}
    for rows in few_careers.table.with_row_index("row").partition_by("person"):
        pairs = zip(rows["row"][1:], rows["occupation"], rows["occupation"][1:], strict=False)
        for row, before, now in pairs:
            expected["move"][row] = before != now
            if before == "in_education":
                expected["enter_labor_force"][row] = now != "in_education"
            else:
                expected["leave_labor_force"][row] = now == "in_education"
    found = {
        event.task: dict(zip(event.rows.tolist(), event.happened.tolist(), strict=True))
        for event in find_events(few_careers)[0]
    }
    assert found == expected


@pytest.mark.parametrize(
    ("codes", "states", "leaving", "entering"),
    [
        (["313", "not_working"], ("not_working", "in_education"), "mixes", "mixes"),
        (["313", "436"], ("unemployed",), "the list has none", "the list has none"),
        (["313", "436"], ("in_education",), "nobody leaves", "nobody enters"),
    ],
)
def test_leaving_and_entering_the_labor_force_are_left_out_with_a_note(
    codes: list[str], states: tuple[str, ...], leaving: str, entering: str
) -> None:
    events, notes = find_events(_careers(codes, states))
    assert [event.task for event in events] == ["move"]
    assert len(notes) == 2
    assert notes[0].startswith("leave_labor_force: left out, ")
    assert leaving in notes[0]
    assert notes[1].startswith("enter_labor_force: left out, ")
    assert entering in notes[1]


def test_leaving_starts_from_a_job_or_unemployment_and_entering_from_the_other_states() -> None:
    states = ("unemployed", "not_in_labor_force", "in_education")
    careers = _careers(["in_education", "313", "unemployed", "not_in_labor_force", "in_education", "436"], states)
    _, leave, enter = find_events(careers)[0]
    assert leave.rows.tolist() == [2, 3]
    assert leave.happened.tolist() == [False, True]
    assert enter.rows.tolist() == [1, 4, 5]
    assert enter.happened.tolist() == [True, False, True]


def test_no_second_row_leaves_moving_out() -> None:
    tasks, notes = find_tasks(_careers(["313"], ()))
    assert tasks.events == ()
    assert list(tasks.rows) == ["occupation", "broad_group"]
    assert "no person has two rows" in notes[0]


def test_states_are_a_broad_group_of_their_own_whatever_the_list_says() -> None:
    listing = ("313", "in_education", "436", "unemployed")
    occupations = Occupations(codes=listing, titles=listing, groups=("office", "office", "food", "food"))
    frame = pl.DataFrame({"person": 1, "year": [1980, 1981], "occupation": ["313", "436"]})
    tasks, _ = find_tasks(careers_from_frame(frame, occupations))
    assert tasks.group.tolist() == [0, 1, 2, 1]


def test_one_broad_group_alone_is_no_task() -> None:
    occupations = Occupations(codes=("313", "436"), titles=("313", "436"), groups=("jobs", "jobs"))
    frame = pl.DataFrame({"person": 1, "year": [1980, 1981], "occupation": ["313", "436"]})
    tasks, notes = find_tasks(careers_from_frame(frame, occupations))
    assert list(tasks.rows) == ["occupation", "move", "destination"]
    assert "broad_group: left out, all occupations are of one broad group" in notes
