"""Whole careers drawn from any model, row by row (LABOR-LLM, forecasts out of time; CAREER's public code draws 1,000).

The occupation of each row to come is drawn from the model's own distribution given the rows observed and those drawn
before it, over the whole list. A history that several paths of a person share is predicted once. Beside the paths
stands the mean over them of the model's distribution in each row: the probability of the row given the observed rows
alone, more exact than the shares of the occupations drawn (Rao-Blackwell), and exact in the first row.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.models.next_row import Reader, ReadsOn, last_rows, memory_of
from laborllm.models.probabilities import Model
from laborllm.survey.careers import COVARIATES, KEYS, Careers
from laborllm.survey.occupations import Occupations

SEEN = (*KEYS, *COVARIATES, "survey")
"""The columns that a model sees; what else is known of a row to come stays out."""
PATHS_AT_A_TIME, PATHS_READ_ON = 16_384, 4_096
"""Paths that are drawn together, about: whole people; fewer where a model keeps what it has read of each."""
CELLS_AT_A_TIME = 2**24
"""Rows × occupations that a model is asked for at once, about: 64 MiB of probabilities."""
STAND_IN = 2**62
"""Histories bear negative numbers below it in place of people, so that none is taken for a training person."""


@dataclass(frozen=True)
class Paths:
    """Careers drawn forward.

    Attributes:
        careers: the careers as they were given; the occupations of drawn rows have not been read.
        row: position of each drawn row in them, ascending, shape (drawn_rows,).
        occupation: position of the occupation drawn, int16, shape (drawn_rows, paths). Column p is one path: whole
            careers, independent over p.
        log_probabilities: log of the mean over paths of the model's probability, float32, nats, shape (drawn_rows,
            occupations); in a person's first drawn row the model's own prediction.
        monte_carlo_error: standard error of ``log_probabilities`` that is due to the number of paths, float32, nats,
            shape (drawn_rows, occupations); 0 in a person's first drawn row, not a number with a single path
            elsewhere. The log of a mean is too low by about half its square.
    """

    careers: Careers
    row: np.ndarray
    occupation: np.ndarray
    log_probabilities: np.ndarray
    monte_carlo_error: np.ndarray

    @property
    def occupations(self) -> Occupations:
        """The closed list."""
        return self.careers.occupations

    @property
    def person(self) -> np.ndarray:
        """Index of each drawn row's person in the careers, shape (drawn_rows,)."""
        return self.careers.person_of_row[self.row]

    @cached_property
    def year(self) -> np.ndarray:
        """Calendar year of each drawn row, int64, shape (drawn_rows,)."""
        return self.careers.table["year"].to_numpy().astype(np.int64)[self.row]

    def one(self, path: int) -> Careers:
        """The careers with the occupations of one path in the drawn rows."""
        occupation = self.careers.occupation.copy()
        occupation[self.row] = self.occupation[:, path]
        return replace(
            self.careers, table=_with_occupation(self.careers.table, self.occupations.codes, occupation), flow=()
        )


def with_years(
    starts: Careers, years: Sequence[int], *, education: pl.DataFrame | None = None
) -> tuple[Careers, np.ndarray]:
    """Careers with rows to draw behind each person's last one.

    Args:
        starts: the careers observed.
        years: calendar years; each person gets those after the last row.
        education: person, year, education of rows to come; where it has none, and by default, education stays as it
            was in the last row, as the other covariates and the weight do. Wages and incomes are left missing.

    Returns:
        The careers with the rows to come, whose occupation means nothing, and whether each row is to be drawn, shape
        (person_years,).

    Raises:
        LaborLLMError: nobody's last row lies before the last of the years, or ``education`` has a person-year twice.
    """
    if not len(starts) or max(years, default=0) <= int(starts.table["year"].to_numpy()[starts.starts[1:] - 1].min()):
        raise LaborLLMError(f"years {_listed(years)}: nobody has a row before the last of them; give later years")
    last = starts.table[(starts.starts[1:] - 1).tolist()]
    to_come = pl.DataFrame({"year": sorted(set(years))}, schema={"year": starts.table.schema["year"]})
    rows = last.rename({"year": "last"}).join(to_come, how="cross").filter(pl.col("year") > pl.col("last"))
    if education is not None:
        given = education.select(
            pl.col("person").cast(rows.schema["person"]), pl.col("year").cast(rows.schema["year"]), given="education"
        )
        twice = given.filter(given.select("person", "year").is_duplicated())
        if twice.height:
            raise LaborLLMError(
                f"education: person {twice['person'][0]}, {twice['year'][0]} stands twice; give it once"
            )
        rows = rows.join(given, on=["person", "year"], how="left", maintain_order="left").with_columns(
            education=pl.coalesce(pl.col("given").cast(rows.schema["education"]), "education")
        )
    unknown = [pl.lit(None).alias(name) for name in ("wage", "labor_income") if name in rows.columns]
    rows = rows.with_columns(unknown).select(starts.table.columns).cast(dict(starts.table.schema))
    both = pl.concat([starts.table.with_columns(drawn=False), rows.with_columns(drawn=True)])
    both = both.sort("person", "year", maintain_order=True)
    return replace(starts, table=both.drop("drawn"), flow=()), both["drawn"].to_numpy()


def draw_paths(
    model: Model,
    careers: Careers,
    drawn: np.ndarray,
    *,
    paths: int = 1000,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Paths:
    """Draw the occupations of some rows, path by path, by repeated prediction of the next row.

    Draw p of a person in a year depends on the seed, the person, the year and p alone: not on who else is drawn, in
    what order or how many, and all models and all counterfactuals of a person meet the same luck. (A network's last
    bits may depend on the batch, and with them a draw on the edge.)

    Args:
        model: fitted.
        careers: observed rows and rows to draw, whose covariates count and whose occupations are not read.
        drawn: whether a row is drawn, bool, shape (person_years,); in a person all rows after the first drawn one.
            A person with no observed row begins with the model's first row.
        paths: for each person.
        seed: of the draws.
        progress: called with (people done, all people with rows to draw).

    Raises:
        LaborLLMError: there is nothing to draw, an observed row follows a drawn one, or the model gives no
            probabilities of the whole list.
    """
    who = _people_to_draw(careers, drawn, paths)
    future = _Future(model, careers, drawn, paths, seed)
    row = np.flatnonzero(drawn)
    occupation = np.empty((len(row), paths), dtype=np.int16)
    mean, error = np.empty((2, len(row), len(careers.occupations)), dtype=np.float32)
    together = max(1, (PATHS_READ_ON if isinstance(model, ReadsOn) else PATHS_AT_A_TIME) // paths)
    for begin in range(0, len(who), together):
        for step in future.steps(who[begin : begin + together]):
            place = np.searchsorted(row, step.row)
            occupation[place], mean[place], error[place] = step.occupation, step.log_mean, step.error
        progress(min(begin + together, len(who)), len(who))
    return Paths(careers, row, occupation, mean, error)


def _people_to_draw(careers: Careers, drawn: np.ndarray, paths: int) -> np.ndarray:
    """Indices of the people with a row to draw, shape (people to draw,).

    Raises:
        LaborLLMError: as ``draw_paths``.
    """
    if paths < 1:
        raise LaborLLMError(f"paths is {paths}; draw at least 1")
    if drawn.shape != (len(careers),) or not drawn.any():
        raise LaborLLMError(f"drawn marks no row of {len(careers)}; mark the rows to draw")
    same = careers.person_of_row[1:] == careers.person_of_row[:-1]
    late = np.flatnonzero(same & drawn[:-1] & ~drawn[1:])
    if len(late):
        person, year = careers.table.select("person", "year").row(int(late[0]) + 1)
        raise LaborLLMError(f"person {person}, {year}: an observed row follows a drawn one; draw all later rows too")
    return np.unique(careers.person_of_row[drawn])


@dataclass(frozen=True)
class _Step:
    """One row of several people, drawn.

    Attributes:
        row: position in the careers, shape (people,).
        occupation: as drawn, shape (people, paths).
        log_mean: log of the mean probability, nats, shape (people, occupations).
        error: its standard error, nats, shape (people, occupations).
    """

    row: np.ndarray
    occupation: np.ndarray
    log_mean: np.ndarray
    error: np.ndarray


class _Future:
    """The rows to come of careers under a model."""

    def __init__(self, model: Model, careers: Careers, drawn: np.ndarray, paths: int, seed: int) -> None:
        self.model, self.paths, self.seed = model, paths, seed
        self.occupations, self.occupation = careers.occupations, careers.occupation
        self.table = careers.table.select(name for name in SEEN if name in careers.table.columns)
        self.begin, self.after = careers.starts[:-1], careers.starts[1:]
        observed = np.bincount(careers.person_of_row[~drawn], minlength=careers.people)
        self.first = self.begin + observed  # (people,): the first row to draw
        self.memory = memory_of(model)

    def steps(self, people: np.ndarray) -> Iterator[_Step]:
        """Draw the first row of every one of some people, then the second, …"""
        lengths = (self.after - self.first)[people]
        people = people[np.argsort(-lengths, kind="stable")]  # whoever ends first stands last
        lengths = -np.sort(-lengths)
        draws = np.zeros((len(people), self.paths, int(lengths[0])), dtype=np.int16)
        node = np.repeat(np.arange(len(people)), self.paths)  # (people × paths,): the history that a path has
        reader = self._reader(people)
        for step in range(draws.shape[2]):
            left = int((lengths > step).sum())
            before, (node, example) = node, self._histories(node[: left * self.paths], draws[:left], step)
            owner, so_far = example // self.paths, draws.reshape(-1, draws.shape[2])[example, :step]
            if reader is None:
                shares = self._shares(people[owner], so_far)
            else:
                shares = _exp(
                    reader.following(before[example], so_far[:, -1].astype(np.int64)) if step else reader.first()
                )
            luck = np.stack([self._luck(self.first[person] + step) for person in people[:left]])
            draws[:left, :, step] = drawn_places(np.cumsum(shares, axis=1), node, luck.ravel()).reshape(left, -1)
            log_mean, error = mean_over_paths(shares, np.bincount(node), owner, self.paths)
            yield _Step(self.first[people[:left]] + step, draws[:left, :, step], log_mean, error)

    def _histories(self, node: np.ndarray, draws: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Paths told apart by what the model remembers of them: each path's history, and one path of each history.

        Histories are in the order of the people. ``node`` tells apart what was drawn before the last row.
        """
        if self.memory is None:
            recent = draws[:, :, max(0, step - 1) : step]
        else:
            node = np.repeat(np.arange(len(draws)), self.paths)
            recent = draws[:, :, max(0, step - self.memory) : step]
        example = np.unique(node, return_index=True)[1]
        for place in range(recent.shape[2]):
            code = node * len(self.occupations) + recent[:, :, place].ravel()
            _, example, node = np.unique(code, return_index=True, return_inverse=True)
        return node, example

    def _shares(self, person: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """The next row's probabilities behind some histories.

        Args:
            person: whose history each is, shape (histories,).
            drawn: the occupations drawn so far, shape (histories, rows).

        Returns:
            float64, shape (histories, occupations).
        """
        target = self.first[person] + drawn.shape[1]
        begin = self.begin[person] if self.memory is None else np.maximum(self.begin[person], target - self.memory)
        lengths = target + 1 - begin  # (histories,)
        answer = np.empty((len(person), len(self.occupations)))
        for some in _runs(lengths, max(1, CELLS_AT_A_TIME // len(self.occupations))):
            careers = self._careers(begin[some], lengths[some], self.first[person[some]], drawn[some])
            answer[some] = _exp(last_rows(self.model, careers))
        return answer

    def _reader(self, people: np.ndarray) -> Reader | None:
        """What reads these people's careers on, if the model offers it."""
        if not isinstance(self.model, ReadsOn):
            return None
        rows = np.concatenate([np.arange(self.begin[person], self.after[person]) for person in people])
        observed = (self.first - self.begin)[people]
        occupation = np.where(
            rows < np.repeat(self.first[people], (self.after - self.begin)[people]), self.occupation[rows], 0
        )
        table = _with_occupation(self.table[rows], self.occupations.codes, occupation)
        return self.model.reader(Careers(table, self.occupations), observed)

    def _careers(self, begin: np.ndarray, lengths: np.ndarray, first: np.ndarray, drawn: np.ndarray) -> Careers:
        """Each history as a person of its own, the row to predict last."""
        history = np.repeat(np.arange(len(begin)), lengths)  # (rows,)
        within = np.arange(len(history)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        row = begin[history] + within
        ahead = row - first[history]  # (rows,): from 0 on, the rows to come
        occupation = self.occupation[row]
        known = (ahead >= 0) & (ahead < drawn.shape[1])
        occupation[known] = drawn[history[known], ahead[known]]
        occupation[ahead == drawn.shape[1]] = 0  # the row to predict: whatever stands there is not read
        table = _with_occupation(self.table[row], self.occupations.codes, occupation)
        numbers = history - STAND_IN
        name = pl.Series("person", numbers if self.table.schema["person"].is_integer() else numbers.astype(str))
        return Careers(table.with_columns(name), self.occupations)

    def _luck(self, row: int) -> np.ndarray:
        """One number in [0, 1) for each path, shape (paths,)."""
        person, year = self.table.row(int(row))[:2]
        key = int.from_bytes(hashlib.sha256(str(person).encode()).digest()[:8], "big")
        return np.random.default_rng(np.random.SeedSequence([self.seed, key, year])).random(self.paths)


def _exp(log_probabilities: np.ndarray) -> np.ndarray:
    """Probabilities, float64.

    Raises:
        LaborLLMError: they are no numbers.
    """
    if not np.isfinite(log_probabilities.max(axis=1)).all():
        raise LaborLLMError("the model gives probabilities that are no numbers, of which no path is drawn; fit it anew")
    return np.exp(log_probabilities, dtype=np.float64)


def drawn_places(cumulative: np.ndarray, row: np.ndarray, luck: np.ndarray) -> np.ndarray:
    """The inverse of distribution functions at some points, by bisection; what has no probability is never drawn.

    Args:
        cumulative: float64, cumulative sums of probabilities, shape (rows, occupations).
        row: which function each draw is from, shape (draws,).
        luck: in [0, 1), shape (draws,).

    Returns:
        Positions, shape (draws,).

    Examples:
        >>> drawn_places(np.array([[0.0, 0.25, 0.25, 1.0]]), np.zeros(4, int), np.array([0.0, 0.2499, 0.25, 0.9999]))
        array([1, 1, 3, 3])
    """
    total = cumulative[:, -1][row]
    reached = np.minimum(luck * total, np.nextafter(total, 0))  # rounding may not lift it to the end
    low, high = np.zeros(len(row), dtype=np.int64), np.full(len(row), cumulative.shape[1] - 1)
    for _ in range((cumulative.shape[1] - 1).bit_length()):
        middle = (low + high) // 2
        passed = cumulative[row, middle] <= reached
        low, high = np.where(passed, middle + 1, low), np.where(passed, high, middle)
    return high


def mean_over_paths(
    shares: np.ndarray, count: np.ndarray, owner: np.ndarray, paths: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log of the mean probability over each person's paths, and its Monte-Carlo standard error by the delta method.

    Args:
        shares: probabilities behind each history, float64, shape (histories, occupations).
        count: how many paths have that history, shape (histories,).
        owner: index of each history's person, ascending from 0 without a gap, shape (histories,).
        paths: of each person.

    Returns:
        Two arrays in nats, each of shape (people, occupations); the error is 0 where all paths agree.
    """
    begins = np.flatnonzero(np.diff(owner, prepend=-1))
    mean = np.add.reduceat(shares * count[:, None], begins, axis=0) / paths  # (people, occupations)
    away = count[:, None] * (shares - mean[owner]) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):  # a probability of 0, or a single path
        error = np.sqrt(np.add.reduceat(away, begins, axis=0) / (paths - 1) / paths) / mean
        log_mean = np.log(mean)
    error[np.isneginf(log_mean)] = 0.0
    alone = np.diff(np.append(begins, len(owner))) == 1
    if paths > 1 or not begins.size:
        error[alone] = 0.0
    return log_mean, error


def _with_occupation(table: pl.DataFrame, codes: Sequence[str], occupation: np.ndarray) -> pl.DataFrame:
    """The table with other occupations, given by their positions, shape (rows,)."""
    listed = pl.Series("occupation", codes, dtype=table.schema["occupation"])
    return table.with_columns(listed.gather(occupation))


def _runs(lengths: np.ndarray, most: int) -> Iterator[slice]:
    """Stretches of histories that have at most so many rows together; one at least."""
    begin, ends = 0, np.cumsum(lengths)
    while begin < len(lengths):
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield slice(begin, end)
        begin = end


def _listed(years: Sequence[int]) -> str:
    return f"{min(years)} to {max(years)}" if years else "(none)"
