"""What a run notes of itself."""

import json
from pathlib import Path

import numpy as np

from laborllm.record import Meter, Record, Stage, earlier_record, hardware, input_facts, installed


def test_round_trip(tmp_path: Path) -> None:
    record = Record(command="laborllm run x.toml", seed=3)
    record.put(Stage("careers", "abc", {"careers.parquet": "12"}, 1.5, 90.0))
    record.put(Stage("careers", "abd", {"careers.parquet": "13"}, 1.6, 91.0))
    record.write(tmp_path)
    again = earlier_record(tmp_path)
    assert again["stages"] == [Stage("careers", "abd", {"careers.parquet": "13"}, 1.6, 91.0)]
    assert again["seed"] == 3
    assert json.loads((tmp_path / "record.json").read_text())["laborllm"] == record.laborllm


def test_an_unreadable_record_counts_as_none(tmp_path: Path) -> None:
    assert earlier_record(tmp_path) == {}
    for content in ("{", "[]", "{}", '{"stages": [{"stage": 1}]}'):
        (tmp_path / "record.json").write_text(content)
        assert earlier_record(tmp_path) == {}


def test_inputs_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert input_facts([tmp_path / "a.csv"]) == [{"file": str(tmp_path / "a.csv"), "sha256": digest, "bytes": 1}]


def test_the_meter_sees_memory_of_its_own_time() -> None:
    block = np.ones(30_000_000)
    first = Meter()
    with_block = first.peak_memory_mib()
    del block
    assert with_block > 200
    assert first.seconds() >= 0
    assert Meter().peak_memory_mib() <= with_block


def test_the_machine_is_described() -> None:
    facts = hardware()
    assert facts["cores"] >= 1
    assert facts["memory_gib"] > 0
    assert "polars" in installed(("polars", "no-such-package"))
