"""The next row's probabilities, and what a model may offer so that they come without those of all rows before."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.models.probabilities import Model
from laborllm.survey.careers import Careers

WHOLE_LIST = 'the model gives the realised occupation alone, of which no path is drawn; set probabilities = "full"'


@runtime_checkable
class LastRow(Protocol):
    """A model that predicts last rows alone."""

    def predict_last(self, careers: Careers) -> np.ndarray:
        """Log-probabilities in each person's last row, as ``predict`` has them, nats, shape (people, occupations)."""


@runtime_checkable
class ShortMemory(Protocol):
    """A model that forgets, so that histories that end alike are one.

    Attributes:
        memory: how many rows before a row its prediction depends on, 0 or more; None where it depends on all.
    """

    @property
    def memory(self) -> int | None: ...


class Reader(Protocol):
    """Reads histories on, a row at a time; histories that part share what was read before."""

    def first(self) -> np.ndarray:
        """Log-probabilities of each person's first row to predict, nats, shape (people, occupations)."""

    def following(self, parent: np.ndarray, occupation: np.ndarray) -> np.ndarray:
        """Log-probabilities of the rows behind those predicted last.

        Args:
            parent: position, among the histories read last, of the one that each history goes on from, (histories,).
            occupation: position of what the row predicted last turned out to be, shape (histories,).

        Returns:
            Nats, shape (histories, occupations).
        """


@runtime_checkable
class ReadsOn(Protocol):
    """A model that keeps what it has read."""

    def reader(self, careers: Careers, observed: np.ndarray) -> Reader | None:
        """Reads these careers on; None where the model cannot.

        Args:
            careers: rows observed and, behind them, rows to predict, whose occupations are not read.
            observed: how many rows of each person are observed, shape (people,).
        """


@runtime_checkable
class DrawsLast(Protocol):
    """A model that draws last rows at less cost than it gives their probabilities."""

    def draw_last(self, careers: Careers, history: np.ndarray, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """Occupations drawn from the probabilities of each person's last row.

        Args:
            careers: a history each, the row to draw last; its occupation is not read.
            history: index of the person that each draw is of, ascending, shape (draws,).
            generators: the randomness of each draw, shape (draws,).

        Returns:
            Positions in the closed list, shape (draws,).
        """


class Drawer(Protocol):
    """Draws rows and reads histories on; those that part share what was read before.

    Attributes:
        together: how many people may be drawn at once; 0 where memory does not suffice for one.
    """

    together: int

    def begin(self, people: np.ndarray) -> None:
        """Read what is observed of some people, shape (people,): they are the first histories."""

    def draw(self, history: np.ndarray, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """Occupations of the row behind the histories, as ``DrawsLast``; each history is drawn from at least once."""

    def follow(self, parent: np.ndarray, occupation: np.ndarray) -> None:
        """Read on behind the row drawn last.

        Args:
            parent: the history that each new one goes on from, ascending, shape (histories,).
            occupation: position of one that was drawn there, shape (histories,).
        """


@runtime_checkable
class DrawsOn(Protocol):
    """A model that draws row by row and keeps what it has read."""

    def drawer(self, careers: Careers, observed: np.ndarray, *, paths: int) -> Drawer | None:
        """Draws these careers; None where the model cannot keep what it has read.

        Args:
            careers: rows observed and, behind them, rows to draw, whose occupations are not read.
            observed: how many rows of each person are observed, shape (people,).
            paths: of each person.
        """


def memory_of(model: Model) -> int | None:
    """How many rows before a row its prediction depends on; None where it depends on all."""
    return model.memory if isinstance(model, ShortMemory) else None


def last_rows(model: Model, careers: Careers) -> np.ndarray:
    """A model's log-probabilities in each person's last row, nats, shape (people, occupations).

    Raises:
        LaborLLMError: the model gives no probabilities of the whole list.
    """
    if isinstance(model, LastRow):
        return model.predict_last(careers)
    answer = model.predict(careers).log_probabilities
    if answer is None:
        raise LaborLLMError(WHOLE_LIST)
    return answer[careers.starts[1:] - 1]
