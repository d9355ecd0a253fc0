from dataclasses import replace
from pathlib import Path

from laborllm.report.folder import read_run
from laborllm.report.sample import stages_table


def test_all_refits_are_one_line_and_none_of_their_time_is_lost(run_folder: Path) -> None:
    run = read_run(run_folder)
    refits = [{"stage": f"refits/{n}/a", "seconds": 2.0, "peak_memory_mib": 100.0 + n} for n in (1, 2, 3)]
    last = {"stage": "refits", "seconds": 1.0, "peak_memory_mib": 50.0}
    stages = [{"stage": "models/a", "seconds": 4.0, "peak_memory_mib": 90.0}, *refits, last]
    table = stages_table(replace(run, record={**run.record, "stages": stages}))
    assert table is not None
    rows = [tuple(cell.text for cell in row[:3]) for row in table.rows]
    assert [row[0] for row in rows] == ["models/a", "refits (3)", "refits", "All stages"]
    assert rows[1][1:] == ("6.0 s", "103 MiB")
    assert rows[-1][1:] == ("11 s", "103 MiB")
    assert table.frame["stage"].to_list() == [stage["stage"] for stage in stages]
