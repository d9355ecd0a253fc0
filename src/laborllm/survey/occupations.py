"""The closed list of occupations: codes, titles, broad groups, and the states outside employment.

The list is the project's own statement of published facts, in ``data/occ1990dd.csv`` and ``data/crosswalks.csv``:

- Codes and the way from each census to them: David Dorn's occ1990dd, a balanced panel of 1990 Census occupations
  (Autor & Dorn, "The Growth of Low-Skill Service Jobs and the Polarization of the US Labor Market", American
  Economic Review 103(5), 2013; ddorn.net/data). Census 2002 codes are the 2000 codes times ten.
- Titles: those published with occ1990dd, spelling and shortened words mended; codes 225, 346, 475, 679 and 905 have
  the titles of IPUMS' OCC1990.
- Groups: Dorn's ranges of occ1990dd. Five codes lie between his ranges and are placed by us: 269, 270 and 285 in
  retail sales, 413 and 414 in fire fighting, police and correctional institutions.

Two departures from the published crosswalks. Census 1990 code 873 leads there to 874, which is no occ1990dd code;
here it leads to 873, production helpers, as in 1980. The published crosswalks cover civilians, except for Census
1970 code 580; the military codes of the 2000, 2002 and 2010 lists (980-984, 9800-9840) lead here to 905, Military, as
in IPUMS' OCC1990, because later surveys code service members' jobs so. Unclassified, never worked and unemployed
(999, 991) are no occupations: they map nowhere, and a reader counts them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError

STATES = {
    "unemployed": "Unemployed",
    "not_in_labor_force": "Not in labor force",
    "in_education": "In education",
    "not_working": "Not working",
}
"""Code -> title of the states outside employment. ``not_working`` is declared where a survey's extract
cannot tell the unemployed from those out of the labor force."""

NOT_EMPLOYED = "Not employed"
"""The broad group of the states."""

CENSUSES = (1970, 1980, 1990, 2000, 2002, 2010)
"""The classifications that ``map_codes`` knows."""

METADATA = "laborllm.occupations"
"""The key under which a Parquet file carries its closed list."""

RESERVED = {"person", "year", "occupation", "log_mass", "realised_raw"}
"""Names of other columns of a probabilities file; no code may bear one."""

_DATA = Path(__file__).with_name("data")


@dataclass(frozen=True)
class Occupations:
    """A closed list over which every model gives one probability per entry.

    Attributes:
        codes: one code per occupation, in the order of every probability array, shape (occupations,).
        titles: the words that stand in a résumé, unique, shape (occupations,).
        groups: broad group of each occupation, shape (occupations,).

    Raises:
        LaborLLMError: the list is empty, or a code or a title stands twice or is blank.
    """

    codes: tuple[str, ...]
    titles: tuple[str, ...]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.codes:
            raise LaborLLMError("the list of occupations is empty; give at least one code with a title")
        if not len(self.codes) == len(self.titles) == len(self.groups):
            raise LaborLLMError(
                f"the list of occupations has {len(self.codes)} codes, {len(self.titles)} titles and "
                f"{len(self.groups)} groups; give one of each per occupation"
            )
        for row, code in enumerate(self.codes, start=1):
            if code in RESERVED:
                raise LaborLLMError(f"occupations, row {row}: code {code!r} is the name of a column; choose another")
        for what, entries in (("code", self.codes), ("title", self.titles)):
            seen: set[str] = set()
            for row, entry in enumerate(entries, start=1):
                if not entry.strip() or entry != entry.strip() or "\n" in entry:
                    raise LaborLLMError(f"occupations, row {row}: {what} {entry!r} is blank, padded or spans lines")
                if entry in seen:
                    raise LaborLLMError(f"occupations, row {row}: {what} {entry!r} stands twice; keep one of them")
                seen.add(entry)

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def dtype(self) -> pl.Enum:
        """The polars type of an occupation column: its physical value is the position in this list."""
        return pl.Enum(self.codes)

    @cached_property
    def position(self) -> dict[str, int]:
        """Code -> position in this list."""
        return {code: place for place, code in enumerate(self.codes)}

    @cached_property
    def is_state(self) -> tuple[bool, ...]:
        """Whether each entry is a state outside employment rather than a job, shape (occupations,)."""
        return tuple(code in STATES for code in self.codes)

    def to_json(self) -> str:
        """The list as text, for a file's metadata."""
        return json.dumps({"codes": self.codes, "titles": self.titles, "groups": self.groups})

    @classmethod
    def from_json(cls, text: str) -> "Occupations":
        """Read what ``to_json`` wrote."""
        return cls(**{name: tuple(entries) for name, entries in json.loads(text).items()})

    def restrict(self, codes: set[str]) -> "Occupations":
        """The sub-list of the given codes, in this list's order."""
        kept = [place for place, code in enumerate(self.codes) if code in codes]
        return Occupations(
            codes=tuple(self.codes[i] for i in kept),
            titles=tuple(self.titles[i] for i in kept),
            groups=tuple(self.groups[i] for i in kept),
        )


def read_listed(path: Path, remedy: str) -> tuple[pl.DataFrame, Occupations, dict[str, str]]:
    """The table, closed list and metadata of a Parquet file that carries its list.

    Raises:
        LaborLLMError: the file is missing, no Parquet file, or carries no list; the message ends in the remedy.
    """
    try:
        with path.open("rb") as stream:
            metadata = pl.read_parquet_metadata(stream)
        table = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LaborLLMError(f"{path}: cannot be read as Parquet; {remedy}") from error
    if METADATA not in metadata:
        raise LaborLLMError(f"{path}: holds no list of occupations; {remedy}")
    return table, Occupations.from_json(metadata[METADATA]), metadata


def occ1990dd(states: Sequence[str] = tuple(STATES)) -> Occupations:
    """The 346 occ1990dd occupations in the order of their codes, then the given states.

    Args:
        states: codes out of ``STATES``; the states that the survey's extract can tell apart.

    Raises:
        LaborLLMError: a state is unknown.

    Examples:
        >>> occupations = occ1990dd(states=["unemployed"])
        >>> len(occupations), occupations.titles[occupations.position["436"]], occupations.codes[-1]
        (347, 'Cooks', 'unemployed')
    """
    unknown = [state for state in states if state not in STATES]
    if unknown:
        raise LaborLLMError(f"state {unknown[0]!r} is unknown; choose out of {', '.join(STATES)}")
    jobs = _jobs()
    return Occupations(
        codes=(*jobs["code"], *states),
        titles=(*jobs["title"], *(STATES[state] for state in states)),
        groups=(*jobs["group"], *(NOT_EMPLOYED for _ in states)),
    )


def crosswalk(census: int) -> dict[int, str]:
    """Census code -> occ1990dd code for one classification.

    Args:
        census: the classification's year, one of ``CENSUSES``; 2000 has 3-digit codes, 2002 and 2010 have 4 digits.

    Raises:
        LaborLLMError: there is no crosswalk for that year.

    Examples:
        >>> crosswalk(1980)[404], crosswalk(2002)[4020]
        ('436', '436')
    """
    if census not in CENSUSES:
        raise LaborLLMError(f"no crosswalk for Census {census}; choose out of {', '.join(map(str, CENSUSES))}")
    pairs = _pairs().filter(pl.col("census") == census)
    return dict(zip(pairs["code"].to_list(), pairs["occ1990dd"].to_list(), strict=True))


def map_codes(codes: pl.Series, census: int) -> pl.Series:
    """The occ1990dd code of each census code, null where it maps nowhere; the caller counts those.

    Args:
        codes: census codes, numbers or text ("0360" is 360), shape (rows,).
        census: the classification's year, one of ``CENSUSES``.

    Returns:
        occ1990dd codes as text, under the same name, shape (rows,).

    Raises:
        LaborLLMError: there is no crosswalk for that year.

    Examples:
        >>> map_codes(pl.Series("job", [404, 999, None]), 1980).to_list()
        ['436', None, None]
    """
    pairs = crosswalk(census)
    numbers = codes.cast(pl.Int64, strict=False)
    return numbers.replace_strict(list(pairs), list(pairs.values()), default=None, return_dtype=pl.String)


@cache
def _jobs() -> pl.DataFrame:
    """The columns code, title and group of ``data/occ1990dd.csv``, all text."""
    return pl.read_csv(_DATA / "occ1990dd.csv", infer_schema=False)


@cache
def _pairs() -> pl.DataFrame:
    """The columns census and code (int64) and occ1990dd (text) of ``data/crosswalks.csv``."""
    return pl.read_csv(_DATA / "crosswalks.csv", schema_overrides={"occ1990dd": pl.String})
