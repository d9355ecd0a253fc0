"""A closed list of one's own: codes as they stand, states marked by the user, written and read again."""

from pathlib import Path

import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.occupations import NOT_EMPLOYED, Occupations
from laborllm.survey.own_list import name_states, read_own_list, write_occupations

TEXT = """code,title,group,state
0110,Offiziere,Militär,
2353,"Lehrkräfte, Sprachen",,
98,Arbeitslos,,unemployed
99,Im Ruhestand,Ohne Arbeit,not_in_labor_force
in_education,In Ausbildung,,in_education
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_marked_codes_become_states_and_keep_their_titles(tmp_path: Path) -> None:
    own = read_own_list(write(tmp_path / "list.csv", TEXT))
    assert own.occupations == Occupations(
        codes=("0110", "2353", "unemployed", "not_in_labor_force", "in_education"),
        titles=("Offiziere", "Lehrkräfte, Sprachen", "Arbeitslos", "Im Ruhestand", "In Ausbildung"),
        groups=("Militär", "", NOT_EMPLOYED, "Ohne Arbeit", NOT_EMPLOYED),
    )
    assert own.states == {"98": "unemployed", "99": "not_in_labor_force"}
    assert own.occupations.is_state == (False, False, True, True, True)


def test_renaming_is_counted() -> None:
    frame = pl.DataFrame({"person": [1, 1, 2], "occupation": [98, 99, 98]})
    named, steps = name_states(frame, {"98": "unemployed", "97": "in_education"})
    assert named["occupation"].to_list() == ["unemployed", "99", "unemployed"]
    assert [(step.what, step.people, step.person_years, step.kind) for step in steps] == [
        ("recoded: occupation 98 is the state unemployed", 2, 2, "recoded")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("code,title,state\n1,a,idle\n", ", column state, row 1: 'idle' is none of unemployed, not_in_labor_force"),
        ("code,title,state\n1,a,unemployed\n2,b,unemployed\n", ", column state, row 2: a second code is unemployed"),
        ("code,title,state\nunemployed,a,\n2,b,unemployed\n", ": occupations, row 2: code 'unemployed' stands twice"),
    ],
)
def test_states_without_sense(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", text)
    with pytest.raises(LaborLLMError) as caught:
        read_own_list(path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_numbers_are_codes_and_a_written_list_is_read_again(tmp_path: Path, five_occupations: Occupations) -> None:
    assert read_own_list(write(tmp_path / "list.csv", "code,title\n436,12\n313,7\n")).occupations.codes == (
        "436",
        "313",
    )
    write_occupations(five_occupations, tmp_path / "five.csv")
    assert read_own_list(tmp_path / "five.csv").occupations == five_occupations
