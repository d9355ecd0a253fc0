"""What is known of a person-year before its occupation: by what gains are broken down, and on what trees split.

Nothing here looks at the occupation that is predicted: a group that is formed by what happened says nothing about whom
a model serves. A row's own year and education are known, as everywhere (LABOR-LLM, arXiv 2406.17972).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from laborllm.models.regression.features import Histories
from laborllm.survey.careers import EDUCATION, Careers

FIRST_ROW = "first row"
"""The level of a row that has no earlier one."""
MISSING = "missing"


@dataclass(frozen=True)
class RowFeature:
    """One feature of every person-year.

    Attributes:
        name: e.g. "tenure" or "education".
        codes: the number itself, or the position in ``levels``; not a number where it is absent; float64, shape
            (person_years,).
        levels: what the codes stand for; empty for numbers.
        ordered: whether larger codes are more of it.
        absent: what it means that there is no code, "first row" or "missing".
    """

    name: str
    codes: np.ndarray
    levels: tuple[str, ...] = ()
    ordered: bool = True
    absent: str = MISSING

    @cached_property
    def distinct(self) -> np.ndarray:
        """Every code that occurs, ascending, not a number last, shape (codes,)."""
        return np.unique(self.codes)

    def label(self, code: float) -> str:
        """A code in words."""
        if np.isnan(code):
            return self.absent
        return self.levels[int(code)] if self.levels else f"{code:.0f}"

    def rows(self, chosen: np.ndarray) -> "RowFeature":
        """The same feature of some person-years."""
        return RowFeature(self.name, self.codes[chosen], self.levels, self.ordered, self.absent)


def row_features(careers: Careers, training: Careers) -> tuple[RowFeature, ...]:
    """Every feature, those that are the same in all rows left out.

    - tenure: calendar years since the spell in the previous occupation began; absent in a first row.
    - title_length: characters of the previous occupation's title; absent in a first row.
    - occupation_frequency: training rows in the previous occupation; absent in a first row.
    - previous: whether the previous occupation is a job or a state outside employment; absent in a first row.
    - history_length: earlier rows of the person.
    - year: calendar year of the row.
    - gap: calendar years since the previous row; absent in a first row.
    - education (ordered where its words are the built-in ones), gender, ethnicity, region, birth_year, survey.

    Args:
        careers: whole careers of the people to describe, whose order of rows it keeps.
        training: careers of the training people, over the same list.
    """
    histories = Histories(careers)
    previous, first = careers.previous, careers.previous < 0
    frequency = np.bincount(training.occupation, minlength=len(careers.occupations))
    lengths = np.array([len(title) for title in careers.occupations.titles])
    states = np.array(careers.occupations.is_state)
    gap = np.diff(histories.year, prepend=histories.year[:1])
    numbers = {
        "tenure": histories.tenure_years,
        "title_length": lengths[previous],
        "occupation_frequency": frequency[previous],
        "gap": gap,
    }
    found = [RowFeature(name, np.where(first, np.nan, codes), absent=FIRST_ROW) for name, codes in numbers.items()]
    kind = np.where(first, np.nan, states[previous])
    found.append(RowFeature("previous", kind, ("a job", "a state"), ordered=False, absent=FIRST_ROW))
    found.append(RowFeature("history_length", histories.index.astype(np.float64)))
    found.append(RowFeature("year", histories.year.astype(np.float64)))
    found.append(RowFeature("birth_year", np.where(histories.birth_year < 0, np.nan, histories.birth_year)))
    found += [_words(careers.table[name]) for name in ("education", "gender", "ethnicity", "region", "survey")]
    return tuple(feature for feature in found if len(feature.distinct) > 1)


def _words(values: pl.Series) -> RowFeature:
    """A covariate in words: in the order of schooling where it is that, else in the order of the alphabet."""
    known = set(values.drop_nulls().unique())
    ordered = values.name == "education" and known <= set(EDUCATION)
    levels = EDUCATION if ordered else tuple(sorted(known))
    codes = values.replace_strict(list(levels), range(len(levels)), default=None, return_dtype=pl.Float64)
    return RowFeature(values.name, codes.fill_null(np.nan).to_numpy(), levels, ordered)


def rule_in_words(features: Sequence[RowFeature], allowed: Sequence[np.ndarray]) -> str:
    """Who a group holds, "everybody" where nothing is asked.

    Args:
        features: what the group may be defined by.
        allowed: for each, which of its ``distinct`` codes belong, bool, shape (codes,).

    Examples:
        >>> tenure = RowFeature("tenure", np.array([1.0, 2.0, 3.0, 7.0, np.nan]), absent=FIRST_ROW)
        >>> gender = RowFeature("gender", np.array([0.0, 1.0, np.nan]), ("female", "male"), ordered=False)
        >>> rule_in_words([tenure, gender], [np.array([1, 1, 0, 0, 1]) > 0, np.array([1, 0, 1]) > 0])
        '(tenure ≤ 2 or first row) and gender ≠ male'
        >>> rule_in_words([tenure, gender], [np.array([0, 1, 1, 0, 0]) > 0, np.array([0, 0, 1]) > 0])
        '2 ≤ tenure ≤ 3 and gender = missing'
    """
    pairs = list(zip(features, allowed, strict=True))
    parts = _history_parts([pair for pair in pairs if pair[0].absent == FIRST_ROW])
    parts += [_part(feature, each) for feature, each in pairs if feature.absent != FIRST_ROW and not each.all()]
    return " and ".join(parts) if len(parts) > 1 else "".join(parts).strip("()") or "everybody"


def _history_parts(pairs: Sequence[tuple[RowFeature, np.ndarray]]) -> list[str]:
    """What is asked of the rows before; that there are none, or that there are some, is said once."""
    known = [~np.isnan(feature.distinct) for feature, _ in pairs]
    first = [allowed[~there] for (_, allowed), there in zip(pairs, known, strict=True)]
    later = [allowed[there] for (_, allowed), there in zip(pairs, known, strict=True)]
    if any(each.all() and not rest.any() for each, rest in zip(first, later, strict=True)):
        return [FIRST_ROW]
    if all(each.all() for each in first):
        return [_part(feature, allowed) for feature, allowed in pairs if not allowed.all()]
    asked = [(pair, there) for pair, there, rest in zip(pairs, known, later, strict=True) if not rest.all()]
    return [_part(feature, allowed & there) for (feature, allowed), there in asked] or [f"not {FIRST_ROW}"]


def _part(feature: RowFeature, allowed: np.ndarray) -> str:
    """What a group asks of one feature."""
    name, words = feature.name.replace("_", " "), [feature.label(code) for code in feature.distinct]
    if not feature.ordered:
        chosen, others = ([w for w, yes in zip(words, allowed, strict=True) if yes == side] for side in (True, False))
        return f"{name} = {chosen[0]}" if len(chosen) == 1 else f"{name} ≠ {', '.join(others)}"
    absent = np.isnan(feature.distinct)
    inside = np.flatnonzero(allowed & ~absent)
    if not len(inside):
        return f"{name}: {feature.absent}"
    text = _range(feature, int(inside[0]), int(inside[-1]), last=int((~absent).sum()) - 1)
    return f"({text} or {feature.absent})" if (allowed & absent).any() else text


def _range(feature: RowFeature, low: int, high: int, *, last: int) -> str:
    """The codes from ``low`` to ``high``, places in ``distinct``, of which ``last`` is the greatest."""
    name, least, most = feature.name.replace("_", " "), *(feature.label(feature.distinct[i]) for i in (low, high))
    if low == 0 and high == last:
        return f"{name} known"
    if low == high and (feature.levels or 0 < low < last):
        return f"{name} = {least}"
    if low == 0:
        return f"{name} ≤ {most}"
    return f"{name} ≥ {least}" if high == last else f"{least} ≤ {name} ≤ {most}"
