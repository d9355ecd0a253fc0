"""Which training people's résumés stand ahead of a person's, for learning in context.

The rule against leaks: what is chosen for a row depends on what is known at that row. Every row of a person is
predicted, the first one too, so "overlap" and "nearest" choose anew as the history grows: at the person's first,
second, fourth, eighth, … row. The examples chosen at a row serve up to the next choice, and they rest on the rows
before it (and, for "nearest", on the year and the education of that row itself, which are conditioned on). A later
occupation changes no earlier choice. "random" and "stratified" read no occupations and choose once.

An example is never a person whose rows are predicted, nor one of the validation or test part.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.models.language.language_model_settings import ExampleSettings
from laborllm.survey.careers import Careers
from laborllm.text.resume import Resume, ResumeSettings, write_resumes

States = Callable[[Careers], np.ndarray]
"""A vector for every person-year that depends on its prefix alone, shape (person_years, width)."""
PEOPLE_AT_ONCE = 500
"""People whose states are held together."""
SETS_AT_ONCE = 256
TIE_DECIMALS = 6
"""Similarities that agree to so many decimals are ties, which the seed breaks."""


@dataclass(frozen=True)
class Examples:
    """Which training people stand ahead of which rows.

    Attributes:
        people: positions of people in the pool, the one that stands next to the résumé last, shape (sets, examples).
        set_of_row: the set behind which each person-year is predicted, shape (person_years,).
        shared: whether a set serves many people, so that it is encoded once.
        less_alike: people whose examples are alike in fewer covariates than wanted, because too few were.
    """

    people: np.ndarray
    set_of_row: np.ndarray
    shared: bool
    less_alike: int = 0

    @classmethod
    def none(cls, careers: Careers) -> "Examples":
        """Nobody stands ahead of anybody."""
        return cls(np.zeros((1, 0), dtype=np.int64), np.zeros(len(careers), dtype=np.int64), shared=True)


def choose_examples(
    careers: Careers, pool: Careers, settings: ExampleSettings, *, states: States | None = None
) -> Examples:
    """Choose examples for careers that are to be predicted.

    - "random": the same for everybody (``shared``) or drawn for each person.
    - "stratified": the same, among training people alike in the covariates ``by``, one set for each combination of
      them if ``shared``. Where fewer than ``count`` are alike, covariates are given up from the last one on.
    - "overlap": those whose years were spent in the same occupations: cosine of years in each occupation, of the
      person's rows before the choice and of the training person's whole career. Before a first row all tie.
    - "nearest": cosine of ``states``, standardised over the pool, at the row of the choice and at the training
      person's row of the same number (the last one if the career is shorter).

    Ties are broken at random. A draw depends on the seed and the person alone, not on who else is predicted; a larger
    ``count`` adds examples to those of a smaller one.

    Args:
        careers: whose rows are to be predicted.
        pool: the training people.
        settings: how many and how.
        states: of "nearest": a vector for every person-year, from its prefix alone.

    Raises:
        LaborLLMError: the pool has too few people, shares one with ``careers``, or holds validation or test people.
    """
    require_apart(careers, pool)
    if pool.people < settings.count:
        raise LaborLLMError(
            f"examples.count is {settings.count}, but there are {pool.people} training people; lower the count"
        )
    if settings.choose in ("random", "stratified"):
        return _drawn(careers, pool, settings)
    if settings.choose == "overlap":
        ahead = _years_in_occupations(careers, *_choices(careers))
        whole = _years_in_occupations(pool, pool.starts[:-1], pool.starts[1:])
        return _closest(careers, settings, ahead, lambda line: whole)
    if states is None:
        raise LaborLLMError('examples.choose = "nearest" needs an embedding: pass states')
    return _nearest(careers, pool, settings, states)


def require_apart(careers: Careers, pool: Careers) -> None:
    """Refuse a pool of examples with people whose rows are predicted, or with validation or test people.

    Raises:
        LaborLLMError: there is such a person; the message names the first.
    """
    shared = pool.table["person"].unique().sort()
    shared = shared.filter(shared.is_in(careers.table["person"].unique().implode()))
    if len(shared):
        raise LaborLLMError(
            f"person {shared[0]} ({len(shared)} people) is among the examples and among those to be predicted; "
            "take examples from training people and predict others"
        )
    if "split" in pool.table.columns:
        others = pool.table.filter(pool.table["split"].cast(str) != "train")
        if others.height:
            raise LaborLLMError(
                f"person {others['person'][0]} of the {others['split'][0]} part is among the examples; take examples "
                'from careers.part("train")'
            )


def example_resumes(pool: Careers, text: ResumeSettings) -> list[Resume]:
    """The résumé of each person as an example: complete, a line end behind its end line, shape (people,).

    Where the text shows only the last rows of a history, an example has as many.
    """
    last_row = (pool.starts[1:] - 1).tolist()
    whole = {resume.rows[-1]: resume for resume in write_resumes(pool, text)}
    return [replace(whole[row], text=whole[row].text + "\n") for row in last_row]


def _drawn(careers: Careers, pool: Careers, settings: ExampleSettings) -> Examples:
    """Random examples among people alike in some covariates, possibly in none."""
    by = settings.by if settings.choose == "stratified" else ()
    wanted, offered = _covariates(careers, by), _covariates(pool, by)
    alike = {cell: _alike(cell, offered, settings.count) for cell in dict.fromkeys(wanted)}
    keys = [repr(cell) for cell in wanted] if settings.shared else _names(careers)
    sets: dict[str, np.ndarray] = {}
    for key, cell in zip(keys, wanted, strict=True):
        if key not in sets:
            candidates, _ = alike[cell]
            sets[key] = _generator(settings.seed, key).permutation(candidates)[: settings.count][::-1]
    place = {key: number for number, key in enumerate(sets)}
    return Examples(
        people=np.stack(list(sets.values())),
        set_of_row=np.array([place[key] for key in keys])[careers.person_of_row],
        shared=settings.shared,
        less_alike=sum(alike[cell][1] < len(by) for cell in wanted),
    )


def _alike(cell: tuple[object, ...], offered: Sequence[tuple[object, ...]], count: int) -> tuple[np.ndarray, int]:
    """People of the pool alike in as many covariates as leaves enough of them, and how many that are."""
    for kept in range(len(cell), -1, -1):
        candidates = np.array([place for place, other in enumerate(offered) if other[:kept] == cell[:kept]], dtype=int)
        if len(candidates) >= count:
            break
    return candidates, kept


def _covariates(careers: Careers, names: Sequence[str]) -> list[tuple[object, ...]]:
    """The values of covariates that are fixed in a person, shape (people,)."""
    if not names:
        return [()] * careers.people
    return careers.table.select(names)[careers.starts[:-1].tolist()].rows()


def _names(careers: Careers) -> list[str]:
    return [str(person) for person in careers.table["person"].gather(careers.starts[:-1].tolist()).to_list()]


def _generator(seed: int, key: str) -> np.random.Generator:
    """Randomness that depends on the seed and a name alone."""
    return np.random.default_rng([seed, *hashlib.sha256(key.encode()).digest()[:8]])


def _choices(careers: Careers) -> tuple[np.ndarray, np.ndarray]:
    """First row of the person, and the row, of every choice: a person's rows 1, 2, 4, 8, …, shapes (sets,)."""
    first = careers.starts[:-1][careers.person_of_row]
    number = np.arange(len(careers)) - first + 1  # (person_years,): 1, 2, 3, …
    chosen = (number & (number - 1)) == 0
    return first[chosen], np.flatnonzero(chosen)


def _years_in_occupations(careers: Careers, first: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Rows of each occupation in stretches of the table, shape (stretches, occupations)."""
    occupations = len(careers.occupations)
    counted = [
        np.bincount(careers.occupation[begin:end], minlength=occupations)
        for begin, end in zip(first.tolist(), after.tolist(), strict=True)
    ]
    return np.array(counted, dtype=np.float64)


def _nearest(careers: Careers, pool: Careers, settings: ExampleSettings, states: States) -> Examples:
    first, row = _choices(careers)
    own = _states_at(careers, row, states)
    line = row - first  # (sets,)
    wanted = np.unique(line)
    rows = np.minimum(pool.starts[:-1, None] + wanted, pool.starts[1:, None] - 1)  # (people, choices)
    offered = _states_at(pool, rows.ravel(), states).reshape(*rows.shape, -1)  # (people, choices, width)
    center, spread = offered.mean(axis=0), offered.std(axis=0)  # (choices, width)
    spread = np.where(spread > 0, spread, 1.0)
    at = {int(value): place for place, value in enumerate(wanted)}
    place = np.searchsorted(wanted, line)
    standardised = (own - center[place]) / spread[place]
    return _closest(
        careers, settings, standardised, lambda line: (offered[:, at[line]] - center[at[line]]) / spread[at[line]]
    )


def _states_at(careers: Careers, rows: np.ndarray, states: States) -> np.ndarray:
    """States of some rows, in any order, a few hundred people at a time; float32, shape (rows, width)."""
    found: np.ndarray | None = None
    for begin, end, some in _some_people(careers):
        inside = np.flatnonzero((rows >= begin) & (rows < end))
        if not len(inside):
            continue
        here = states(some)[rows[inside] - begin]
        found = np.zeros((len(rows), here.shape[1]), dtype=np.float32) if found is None else found
        found[inside] = here
    return np.zeros((0, 0), dtype=np.float32) if found is None else found


def _some_people(careers: Careers) -> Iterator[tuple[int, int, Careers]]:
    for person in range(0, careers.people, PEOPLE_AT_ONCE):
        begin = int(careers.starts[person])
        end = int(careers.starts[min(person + PEOPLE_AT_ONCE, careers.people)])
        yield begin, end, replace(careers, table=careers.table.slice(begin, end - begin))


def _closest(
    careers: Careers, settings: ExampleSettings, own: np.ndarray, offered: Callable[[int], np.ndarray]
) -> Examples:
    """The people of the pool closest to each choice's vector.

    Args:
        careers: whose rows are to be predicted.
        settings: how many.
        own: a vector for each choice, shape (sets, width).
        offered: the pool's vectors for choices at a person's row of the given number, from 0, shape (people, width).
    """
    first, row = _choices(careers)
    names, person, line = _names(careers), careers.person_of_row[row], row - first
    people = np.zeros((len(row), settings.count), dtype=np.int64)
    for number in np.unique(line).tolist():
        other = _unit(offered(number))
        members = np.flatnonzero(line == number)
        for begin in range(0, len(members), SETS_AT_ONCE):
            some = members[begin : begin + SETS_AT_ONCE]
            for place, similarity in zip(some.tolist(), _unit(own[some]) @ other.T, strict=True):
                generator = _generator(settings.seed, f"{names[person[place]]} {number}")
                people[place] = _most_similar(similarity, settings.count, generator)
    set_of_row = np.searchsorted(row, np.arange(len(careers)), side="right") - 1
    return Examples(people=people, set_of_row=set_of_row, shared=False)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """The same vectors with length one; zeros stay."""
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)


def _most_similar(similarity: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Positions of the largest similarities, the largest last; ties in random order."""
    score = similarity.round(TIE_DECIMALS) + generator.random(len(similarity)) * 10.0 ** -(TIE_DECIMALS + 1)
    return np.argsort(-score, kind="stable")[:count][::-1]
