"""Terms of a regression, written as in a formula, and the sparse features they stand for.

A term is one variable, or several joined by colons (their product): ``"previous"``, ``"log(tenure)"``,
``"gender:education"``. Variables are those of ``features.Histories``:

- levels: ``previous``, ``before``, ``year``, ``birth_year``, ``education``, ``gender``, ``ethnicity``, ``region``,
  ``survey``, and ``factor(NUMBER)`` for any number: one indicator per level that training has; a first row has the
  level ``<none>`` of ``previous``, a missing covariate the level ``<missing>``;
- numbers: ``tenure``, ``tenure_years``, ``index``, ``years_observed``, ``distinct``, ``age``, ``gap``,
  ``education_changed``, and ``log(NUMBER)``, the log of one plus the number; a missing age is 0 beside an indicator;
- ``held``: an indicator of every occupation that was held in an earlier row.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import polars as pl
from scipy import sparse

from laborllm.errors import LaborLLMError
from laborllm.models.regression.features import WORDS, Histories

OCCUPATIONS = ("previous", "before")
LEVELS = (*OCCUPATIONS, "year", "birth_year", *WORDS)
NUMBERS = ("tenure", "tenure_years", "index", "years_observed", "distinct", "age", "gap", "education_changed")
HELD = "held"
NONE, MISSING = "<none>", "<missing>"
INTERCEPT = "intercept"
_CALL = re.compile(r"(?P<how>factor|log)\((?P<name>[a-z_]+)\)")

Override = Mapping[str, str | float]
"""Variable -> the level it is set to in every row, or what is added to the number: for marginal effects."""


@dataclass(frozen=True)
class Variable:
    """One variable as training saw it.

    Attributes:
        name: as it is written, e.g. "log(tenure)".
        levels: what its columns stand for, shape (columns,); for a number "" and, where some are missing, "<missing>".
        scale: what a number is divided by, its standard deviation in training; 1 for the others.
    """

    name: str
    levels: tuple[str, ...]
    scale: float = 1.0

    @classmethod
    def of(cls, name: str, histories: Histories) -> "Variable":
        """Read levels or scale off the training rows.

        Raises:
            LaborLLMError: there is no such variable, or a number of it is not finite.
        """
        how, base = _parse(name)
        if base == HELD:
            return cls(name, histories.careers.occupations.codes)
        if how == "factor" or base in LEVELS:
            present = set(_words(base, histories).to_list())
            return cls(name, tuple(sorted(present, key=_by_number)))
        values, missing = _numbers(how, base, histories)
        spread = float(values[~missing].std()) if not missing.all() else 0.0
        return cls(name, ("", MISSING) if missing.any() else ("",), spread or 1.0)

    @property
    def is_number(self) -> bool:
        """Whether it is a number rather than levels."""
        how, base = _parse(self.name)
        return base in NUMBERS and how != "factor"

    def columns(self, histories: Histories, override: Override) -> sparse.csr_array:
        """Its columns, shape (person_years, columns); a level that training did not have is zero everywhere."""
        how, base = _parse(self.name)
        rows = len(histories.careers)
        if base == HELD:
            return histories.held.sign()
        if self.is_number:
            values, missing = _numbers(how, base, histories, plus=float(override.get(base, 0)))
            dense = np.column_stack([np.where(missing, 0, values / self.scale), missing])[:, : len(self.levels)]
            return sparse.csr_array(dense.astype(np.float64))
        words = _words(base, histories)
        if base in override:
            words = pl.Series([str(override[base])]).extend_constant(str(override[base]), rows - 1)
        place = words.replace_strict(self.levels, range(len(self.levels)), default=-1, return_dtype=pl.Int64).to_numpy()
        seen = place >= 0
        return sparse.csr_array(
            (np.ones(seen.sum()), place[seen], np.append(0, np.cumsum(seen))), shape=(rows, len(self.levels))
        )


@dataclass(frozen=True)
class Term:
    """A product of variables.

    Attributes:
        name: as it is written.
        variables: those it multiplies.
        kept: the columns of the whole product that are used, shape (columns,).
        seen: the columns of the whole product that some training row has.
    """

    name: str
    variables: tuple[Variable, ...]
    kept: tuple[int, ...]
    seen: tuple[int, ...]

    @classmethod
    def of(cls, name: str, histories: Histories, *, reference: bool) -> "Term":
        """A term whose columns vary over the training rows.

        Args:
            name: as it is written.
            histories: the training rows.
            reference: leave out the first level of every variable in levels, against which the others are measured.
        """
        whole = cls(name, tuple(Variable.of(part, histories) for part in name.split(":")), kept=(), seen=())
        columns = whole._product(histories, {})
        mean = np.asarray(columns.mean(axis=0)).ravel()
        square = np.asarray(columns.power(2).mean(axis=0)).ravel()
        varies = square - mean**2 > 1e-12 * square
        if reference:
            varies &= ~whole._first_levels()
        return cls(
            name, whole.variables, tuple(np.flatnonzero(varies).tolist()), tuple(np.flatnonzero(square).tolist())
        )

    @property
    def levels(self) -> list[str]:
        """What each column stands for, e.g. "female:college", shape (columns,)."""
        names = [""]
        for variable in self.variables:
            names = [f"{name}:{level}".strip(":") for name in names for level in variable.levels]
        return [names[column] for column in self.kept]

    @property
    def scale(self) -> float:
        """What numbers are divided by."""
        return float(np.prod([variable.scale for variable in self.variables]))

    @property
    def has_levels_alone(self) -> bool:
        """Whether each row of training has exactly one column of it, before columns are left out."""
        return not any(variable.is_number or variable.name == HELD for variable in self.variables)

    def columns(self, histories: Histories, override: Override) -> tuple[sparse.csr_array, int]:
        """Its columns, shape (person_years, columns), and the number of rows with a level that training had not."""
        product = self._product(histories, override)
        unseen = 0
        if self.has_levels_alone:
            unseen = len(histories.careers) - int(np.isin(product.indices, self.seen).sum())
        return product[:, list(self.kept)], unseen

    def _first_levels(self) -> np.ndarray:
        """Columns of the whole product in which some variable is at its first level, bool, shape (columns,)."""
        first = np.zeros(1, dtype=bool)
        for variable in self.variables:
            own = np.zeros(len(variable.levels), dtype=bool)
            own[0] = not (variable.is_number or variable.name == HELD)
            first = (first[:, None] | own).ravel()
        return first

    def _product(self, histories: Histories, override: Override) -> sparse.csr_array:
        return reduce(row_products, (variable.columns(histories, override) for variable in self.variables))


@dataclass(frozen=True)
class Design:
    """The features of a regression: an intercept and the columns of its terms, as training had them.

    Attributes:
        terms: in the order of the columns.
    """

    terms: tuple[Term, ...]

    @classmethod
    def of(cls, terms: Sequence[str], histories: Histories, *, reference: bool = False) -> "Design":
        """Read levels and scales off the training rows.

        Raises:
            LaborLLMError: a term names a variable that there is not, or stands twice.
        """
        require_terms(terms)
        return cls(tuple(Term.of(name, histories, reference=reference) for name in terms))

    @property
    def names(self) -> list[tuple[str, str]]:
        """Term and level of each column, shape (features, 2)."""
        return [(INTERCEPT, ""), *((term.name, level) for term in self.terms for level in term.levels)]

    @property
    def scales(self) -> np.ndarray:
        """What each column was divided by, shape (features,)."""
        return np.concatenate([[1.0], *(np.full(len(term.kept), term.scale) for term in self.terms)])

    @property
    def constant(self) -> list[str]:
        """Terms that do not vary over the training rows and so have no column."""
        return [term.name for term in self.terms if not term.kept]

    def matrix(self, histories: Histories, override: Override | None = None) -> tuple[sparse.csr_array, dict[str, int]]:
        """The features of careers.

        Args:
            histories: of the careers.
            override: variables set to one level, or moved, in every row.

        Returns:
            float64, shape (person_years, features), and term -> rows with a level that training did not have.
        """
        blocks = [term.columns(histories, override or {}) for term in self.terms]
        ones = sparse.csr_array(np.ones((len(histories.careers), 1)))
        matrix = sparse.csr_array(sparse.hstack([ones, *(block for block, _ in blocks)], format="csr"))
        unseen = {term.name: rows for term, (_, rows) in zip(self.terms, blocks, strict=True) if rows}
        return matrix, unseen


def require_terms(terms: Sequence[str]) -> None:
    """Refuse terms that cannot be read.

    Raises:
        LaborLLMError: a term names a variable that there is not, or stands twice.

    Examples:
        >>> require_terms(["previous", "log(tenure)", "gender:education"])
    """
    for place, term in enumerate(terms):
        for part in term.split(":"):
            how, base = _parse(part)
            if base not in (*LEVELS, *NUMBERS, HELD) or (how and base not in NUMBERS):
                raise LaborLLMError(
                    f"term {term!r}: there is no variable {part!r}; the variables are {', '.join((*LEVELS, HELD))}, "
                    f"the numbers {', '.join(NUMBERS)}, and log(NUMBER) and factor(NUMBER)"
                )
        if term in terms[:place]:
            raise LaborLLMError(f"term {term!r} stands twice; keep one of them")


def row_products(left: sparse.csr_array, right: sparse.csr_array) -> sparse.csr_array:
    """Every product of a column on the left and one on the right, row by row.

    Args:
        left: shape (rows, a).
        right: shape (rows, b).

    Returns:
        shape (rows, a · b); the right column runs fastest.
    """
    of_left, of_right = np.diff(left.indptr), np.diff(right.indptr)
    row = np.repeat(np.arange(left.shape[0]), of_left)  # of each entry on the left
    often = of_right[row]
    pair = np.repeat(np.arange(len(row)), often)  # (pairs,): the entry on the left
    within = np.arange(len(pair)) - np.repeat(np.cumsum(often) - often, often)
    other = right.indptr[row[pair]] + within  # (pairs,): the entry on the right
    column = left.indices[pair].astype(np.int64) * right.shape[1] + right.indices[other]
    data = left.data[pair] * right.data[other]
    indptr = np.append(0, np.cumsum(of_left * of_right))
    return sparse.csr_array((data, column, indptr), shape=(left.shape[0], left.shape[1] * right.shape[1]))


def base_name(variable: str) -> str:
    """The variable that is taken, e.g. tenure of log(tenure)."""
    return _parse(variable)[1]


def _parse(name: str) -> tuple[str, str]:
    """How a variable is taken ("", "log" or "factor") and its own name."""
    call = _CALL.fullmatch(name)
    return (call["how"], call["name"]) if call else ("", name)


def _words(base: str, histories: Histories) -> pl.Series:
    """Levels in words, shape (person_years,)."""
    if base in OCCUPATIONS:
        codes = np.array([*histories.careers.occupations.codes, NONE], dtype=object)
        return pl.Series(codes[getattr(histories, base)].tolist(), dtype=pl.String)
    if base in WORDS:
        return histories.words(base).cast(pl.String).fill_null(MISSING)
    numbers = pl.Series(np.asarray(getattr(histories, base)).astype(np.float64), nan_to_null=True)
    words = numbers.cast(pl.Int64).cast(pl.String).fill_null(MISSING)
    return words.replace("-1", MISSING) if base == "birth_year" else words


def _numbers(how: str, base: str, histories: Histories, *, plus: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A number with 0 where it is missing, and whether it is, each (person_years,).

    Raises:
        LaborLLMError: a number is not finite, or has no logarithm.
    """
    raw = np.asarray(getattr(histories, base)).astype(np.float64) + plus
    missing = np.isnan(raw)
    values = np.where(missing, 0, raw)
    if how == "log":
        values = np.log1p(np.where(values > -1, values, np.nan))
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise LaborLLMError(
            f"careers, variable {base}, row {bad[0] + 1}: {raw[bad[0]]} gives no finite {how or 'number'} "
            f"({len(bad)} such rows); mend the row or leave the term out"
        )
    return values, missing


def _by_number(level: str) -> tuple[int, float, str]:
    """Order of levels: <none> and <missing> last, numbers by size."""
    number = float(level) if re.fullmatch(r"-?[0-9]+", level) else 0.0
    return (level in (NONE, MISSING), number, level)
