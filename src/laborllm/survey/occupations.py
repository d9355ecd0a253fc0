"""The closed list of occupations: codes, titles, broad groups, and the states outside employment."""

from dataclasses import dataclass
from functools import cached_property

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

    def restrict(self, codes: set[str]) -> "Occupations":
        """The sub-list of the given codes, in this list's order."""
        kept = [place for place, code in enumerate(self.codes) if code in codes]
        return Occupations(
            codes=tuple(self.codes[i] for i in kept),
            titles=tuple(self.titles[i] for i in kept),
            groups=tuple(self.groups[i] for i in kept),
        )
