"""The Probabilities table: shapes, raw and normalised, round trip, broken files."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.models.probabilities import Probabilities, normalise
from laborllm.survey.careers import KEYS, Careers


@pytest.fixture
def rows(few_careers: Careers) -> pl.DataFrame:
    return few_careers.table.select(KEYS)


@pytest.fixture
def full(few_careers: Careers, rows: pl.DataFrame, rng: np.random.Generator) -> Probabilities:
    scores = normalise(rng.normal(size=(len(few_careers), len(few_careers.occupations))))[0]
    mass = -rng.exponential(size=len(few_careers))
    return Probabilities(rows, few_careers.occupations, log_probabilities=scores, log_mass=mass)


def test_rows_sum_to_one_whatever_the_scale(rng: np.random.Generator) -> None:
    for scale in (1.0, 1e4):
        scores = normalise(scale * rng.normal(size=(50, 7)))[0]
        assert np.exp(scores.astype(float)).sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert normalise(np.array([[0.0, -np.inf]]))[0].tolist() == [[0.0, -np.inf]]


def test_raw_is_normalised_plus_mass(full: Probabilities, few_careers: Careers) -> None:
    picked = full.log_probabilities[np.arange(len(few_careers)), few_careers.occupation]
    assert full.realised == pytest.approx(picked)
    assert full.raw == pytest.approx(picked + full.log_mass)


def test_round_trip(full: Probabilities, tmp_path: Path) -> None:
    full.write(tmp_path / "a.parquet")
    again = Probabilities.read(tmp_path / "a.parquet")
    assert again.rows.equals(full.rows)
    assert again.occupations == full.occupations
    assert np.array_equal(again.log_probabilities, full.log_probabilities)
    assert np.array_equal(again.log_mass, full.log_mass)
    schema = pl.read_parquet_schema(tmp_path / "a.parquet")
    assert all(schema[code] == pl.Float32 for code in full.occupations.codes)


def test_round_trip_of_the_realised_form(rows: pl.DataFrame, few_careers: Careers, tmp_path: Path) -> None:
    raw = np.linspace(-9, -1, len(few_careers))
    Probabilities(rows, few_careers.occupations, realised_raw=raw).write(tmp_path / "a.parquet")
    again = Probabilities.read(tmp_path / "a.parquet")
    assert again.log_probabilities is None
    assert again.realised is None
    assert np.array_equal(again.raw, raw)


def test_a_wrong_shape_is_refused(rows: pl.DataFrame, few_careers: Careers) -> None:
    with pytest.raises(ValueError, match="log_probabilities have shape"):
        Probabilities(rows, few_careers.occupations, log_probabilities=np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="give log_probabilities or"):
        Probabilities(rows, few_careers.occupations)


def test_broken_files_name_themselves(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")
    for name, message in (("none", "cannot be read"), ("broken", "cannot be read"), ("other", "holds no list")):
        with pytest.raises(LaborLLMError, match=f"{name}.parquet: {message}"):
            Probabilities.read(tmp_path / f"{name}.parquet")
