"""A closed list of one's own: a CSV of codes and titles, in which codes may be marked as states outside employment."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.survey.careers import Step
from laborllm.survey.flow import step
from laborllm.survey.occupations import NOT_EMPLOYED, STATES, Occupations
from laborllm.survey.tables.files import read_frame


@dataclass(frozen=True)
class OwnList:
    """A user's closed list.

    Attributes:
        occupations: codes, titles and groups; a code marked as a state bears the state's name, its title stays.
        states: the user's code -> the state it is, one of ``STATES``; codes that are so named already are left out.
    """

    occupations: Occupations
    states: dict[str, str]


def read_own_list(file: Path) -> OwnList:
    """Read a closed list of one's own: CSV with code, title and, if wanted, group and state.

    The column ``state`` says which codes are no jobs: unemployed, not_in_labor_force, in_education or not_working;
    blank for a job. Evaluation and the simulator know states by these names, so such a code is renamed.

    Raises:
        LaborLLMError: the file is missing, empty or ragged, lacks a column, an entry is blank or stands twice, a state
            is unknown, or two codes are one state.
    """
    if file.suffix.lower() != ".csv":
        raise LaborLLMError(
            f"{file}: a list of occupations is a .csv with the columns code, title and, if wanted, group and state"
        )
    frame = read_frame(file)
    for name in ("code", "title"):
        if name not in frame.columns:
            raise LaborLLMError(f"{file}: column {name!r} is missing; the columns are {', '.join(frame.columns)}")
    texts = [_text(frame, name) for name in ("code", "title", "group", "state")]
    listing = pl.DataFrame(texts)
    states = _states(listing, file)
    codes = tuple(states.get(code, code) for code in listing["code"])
    groups = tuple(
        group or (NOT_EMPLOYED if code in STATES else "") for code, group in zip(codes, listing["group"], strict=True)
    )
    try:
        occupations = Occupations(codes, tuple(listing["title"]), groups)
    except LaborLLMError as error:
        raise LaborLLMError(f"{file}: {error}") from error
    return OwnList(occupations, {code: state for code, state in states.items() if code != state})


def read_occupations(file: Path) -> Occupations:
    """The closed list alone; see ``read_own_list``."""
    return read_own_list(file).occupations


def write_occupations(occupations: Occupations, file: Path) -> None:
    """Write a closed list as the CSV that ``read_own_list`` reads.

    Raises:
        LaborLLMError: the file cannot be written.
    """
    listing = {"code": occupations.codes, "title": occupations.titles, "group": occupations.groups}
    with whole_file(file) as temporary:
        pl.DataFrame(listing, schema=dict.fromkeys(listing, pl.String)).write_csv(temporary)


def name_states(frame: pl.DataFrame, states: dict[str, str]) -> tuple[pl.DataFrame, list[Step]]:
    """The user's codes of states under our names.

    Args:
        frame: columns person and occupation.
        states: the user's code -> one of ``STATES``, as in ``OwnList``.

    Returns:
        The frame, and a step for every code that was renamed.

    Examples:
        >>> frame = pl.DataFrame({"person": [1, 1], "occupation": ["98", "2353"]})
        >>> named, steps = name_states(frame, {"98": "unemployed"})
        >>> named["occupation"].to_list(), steps[0].what
        (['unemployed', '2353'], 'recoded: occupation 98 is the state unemployed')
    """
    if not states:
        return frame, []
    codes = pl.col("occupation").cast(pl.String)
    text = frame.with_columns(codes)
    steps = []
    for code, state in states.items():
        rows = text.filter(codes == code)
        if rows.height:
            steps.append(step(f"recoded: occupation {code} is the state {state}", rows, "recoded"))
    return text.with_columns(codes.replace(states)), steps


def _text(frame: pl.DataFrame, name: str) -> pl.Series:
    """A column as text, blanks where it is absent or empty."""
    if name not in frame.columns:
        return pl.Series(name, [""] * frame.height)
    return frame[name].cast(pl.String).fill_null("")


def _states(listing: pl.DataFrame, file: Path) -> dict[str, str]:
    """Code -> state, of those that are marked."""
    states: dict[str, str] = {}
    for row, (code, state) in enumerate(listing.select("code", "state").rows(), start=1):
        if not state:
            continue
        if state not in STATES:
            raise LaborLLMError(
                f"{file}, column state, row {row}: {state!r} is none of {', '.join(STATES)}; leave it blank for a job"
            )
        if state in states.values():
            raise LaborLLMError(
                f"{file}, column state, row {row}: a second code is {state}; a list has every state once: "
                f"give both the same code in your table"
            )
        states[code] = state
    return states
