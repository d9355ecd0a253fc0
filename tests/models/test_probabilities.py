"""The Probabilities table: shapes, raw and normalised, round trip, broken files."""

import resource
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.models import probabilities
from laborllm.models.probabilities import Probabilities, StoredProbabilities, normalise
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


def test_blocks_normalise_as_one_piece(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = rng.normal(scale=9, size=(101, 7)).astype(np.float32)
    whole = normalise(raw)
    for block in (1, 8, 100):
        monkeypatch.setattr(probabilities, "BLOCK", block)
        for found, expected in zip(normalise(raw), whole, strict=True):
            assert np.array_equal(found, expected)
            assert found.dtype == expected.dtype


def test_normalising_takes_little_more_than_its_result() -> None:
    raw = np.zeros((20 * probabilities.BLOCK, 50), dtype=np.float32)
    tracemalloc.start()
    normalise(raw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * raw.nbytes


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


@pytest.mark.parametrize("block", [1, 7, 64])
def test_rows_keep_their_order_in_several_blocks(
    full: Probabilities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    full.write(tmp_path / "whole.parquet")
    whole = Probabilities.read(tmp_path / "whole.parquet")
    monkeypatch.setattr(probabilities, "BLOCK", block)
    for name in ("a", "b"):
        full.write(tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    again = Probabilities.read(tmp_path / "a.parquet")
    assert again.rows.equals(whole.rows)
    assert np.array_equal(again.log_probabilities, full.log_probabilities)
    assert np.array_equal(again.log_mass, full.log_mass)
    assert pl.read_parquet(tmp_path / "a.parquet").equals(pl.read_parquet(tmp_path / "whole.parquet"))


def test_a_table_without_rows_round_trips(full: Probabilities, tmp_path: Path) -> None:
    none = Probabilities(full.rows[:0], full.occupations, log_probabilities=full.log_probabilities[:0])
    none.write(tmp_path / "a.parquet")
    again = Probabilities.read(tmp_path / "a.parquet")
    assert again.rows.equals(none.rows)
    assert again.log_probabilities.shape == (0, len(full.occupations))


def test_the_arithmetic_is_a_label_of_the_file(rows: pl.DataFrame, few_careers: Careers, tmp_path: Path) -> None:
    for arithmetic in (None, "bfloat16 layers, float32 head"):
        given = Probabilities(
            rows, few_careers.occupations, realised_raw=np.zeros(len(few_careers)), arithmetic=arithmetic
        )
        given.write(tmp_path / "a.parquet")
        assert Probabilities.read(tmp_path / "a.parquet").arithmetic == arithmetic
        metadata = pl.read_parquet_metadata(tmp_path / "a.parquet")
        assert (probabilities.ARITHMETIC in metadata) == (arithmetic is not None)


MEMORY = """
import sys
from pathlib import Path
import numpy as np, polars as pl
from laborllm.models.probabilities import Probabilities
from laborllm.record import Meter
from laborllm.survey.occupations import Occupations

rows, names = 200_000, tuple(f"c{place}" for place in range(200))
occupations = Occupations(names, names, names)
table = pl.DataFrame({"person": np.arange(rows), "year": 1990, "occupation": "c0"})
table = table.with_columns(pl.col("occupation").cast(occupations.dtype))
array = np.empty((rows, 200), dtype=np.float32)
for first in range(0, rows, 1000):
    array[first : first + 1000] = np.random.default_rng(first).normal(size=(1000, 200))
path = Path(sys.argv[1])
meter = Meter()
before = meter.peak_memory_mib()
Probabilities(table, occupations, log_probabilities=array).write(path)
print((meter.peak_memory_mib() - before) * 2**20 / array.nbytes)
total = float(array.sum(dtype=np.float64))
del array
meter = Meter()
before = meter.peak_memory_mib()
again = Probabilities.read(path)
print((meter.peak_memory_mib() - before) * 2**20 / again.log_probabilities.nbytes)
assert float(again.log_probabilities.sum(dtype=np.float64)) == total
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a stretch of work")
def test_stored_probabilities_are_read_when_asked_for_and_not_kept(full: Probabilities, tmp_path: Path) -> None:
    full.write(tmp_path / "b.parquet")
    stored = StoredProbabilities(tmp_path, ("b", "missing"))
    assert (list(stored), len(stored), "b" in stored, "c" in stored) == (["b", "missing"], 2, True, False)
    first, second = stored["b"], stored["b"]
    assert first.log_probabilities is not second.log_probabilities
    np.testing.assert_array_equal(first.log_probabilities, full.log_probabilities)
    with pytest.raises(KeyError):
        stored["c"]
    with pytest.raises(LaborLLMError, match="missing.parquet: cannot be read"):
        stored["missing"]


def test_the_array_is_never_held_twice(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "a.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    writing, reading = (float(line) for line in done.stdout.split())
    assert writing < 0.8  # 1.7 when the whole table is made first
    assert reading < 1.6  # 2.5 when the whole table is read first


def test_a_full_disk_leaves_no_half_table(full: Probabilities, tmp_path: Path) -> None:
    """The kernel refuses files above a size, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(LaborLLMError, match=r"a.parquet: cannot write \(") as raised:
            full.write(tmp_path / "a.parquet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_shape_is_refused(rows: pl.DataFrame, few_careers: Careers) -> None:
    with pytest.raises(ValueError, match="log_probabilities have shape"):
        Probabilities(rows, few_careers.occupations, log_probabilities=np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="give log_probabilities or"):
        Probabilities(rows, few_careers.occupations)


def test_a_file_cut_in_the_middle_names_itself(full: Probabilities, tmp_path: Path) -> None:
    full.write(tmp_path / "a.parquet")
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[20:400] = bytes(380)
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(LaborLLMError, match=r"a.parquet: cannot be read as Parquet; run the study again"):
        Probabilities.read(tmp_path / "a.parquet")


def test_broken_files_name_themselves(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")
    for name, message in (("none", "cannot be read"), ("broken", "cannot be read"), ("other", "holds no list")):
        with pytest.raises(LaborLLMError, match=f"{name}.parquet: {message}"):
            Probabilities.read(tmp_path / f"{name}.parquet")
