"""What it costs to read NLS files: laborllm and pandas on the same files, in turn.

    python benchmarks/reading.py [FOLDER] --json FILE [--rounds N]

FOLDER holds ``nlsy79/y79_schoolV2.dct.zip`` (12,686 people, 1,342 variables, 50 MB) and ``nlsy79/original.cdb`` (1,852
variables); by default it is the folder of the tests on real data (LABORLLM_REAL_DATA). Every reading is a process of
its own, so that nothing is warm: CPU seconds of all its threads, once of the reading alone and once of the whole
process with its imports, and the most memory that it held, with and without what it held after the imports. A round is
every way once, in one order and in the other in turn; the medians over the rounds are given, and the least and most.

The ways read the same 17 million numbers; the sum of all of them is compared before anything is timed:

- laborllm: ``read_extract``, which checks every row and value and finds the codebook beside the extract, but here there
  is none. Beside it, ``read_extract`` and the int64 table, which is made when it is asked for.
- pandas, any blanks: ``read_csv`` of the lines after the dictionary with ``sep=r"\\s+"``, the straightforward way.
- pandas, one blank: the same with ``sep=" "``, for those who know that a single blank parts the values.

Both read the file unzipped and out of its zip. The codebook is read by laborllm alone: pandas has no such reader.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

DEFAULT = Path(os.environ.get("LABORLLM_REAL_DATA", Path(__file__).parents[2] / "shared")) / "data"
EXTRACT, CODEBOOK = Path("nlsy79/y79_schoolV2.dct.zip"), Path("nlsy79/original.cdb")
OURS, OUR_TABLE, BLANKS, BLANK = "laborllm", "laborllm, int64 table", "pandas, any blanks", "pandas, one blank"
WAYS = (OURS, OUR_TABLE, BLANKS, BLANK)
CODEBOOK_WAY = "laborllm, codebook"
FIGURES = ("reading", "process", "peak_mb", "added_mb")
"""CPU seconds of the reading and of the process with imports; most memory, and how much more than after the imports."""


def read_ours(path: Path) -> Any:
    from laborllm.survey.nls.extracts import read_extract

    return read_extract(path).values


def read_our_table(path: Path) -> Any:
    from laborllm.survey.nls.extracts import read_extract

    return read_extract(path).table


def read_pandas(path: Path, separator: str) -> Any:
    import pandas

    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as stream:
            return pandas.read_csv(stream, sep=separator, header=None, names=dictionary(stream))
    with path.open("rb") as stream:
        return pandas.read_csv(stream, sep=separator, header=None, names=dictionary(stream))


def dictionary(stream: IO[bytes]) -> list[str]:
    """Names of the columns; the stream is left at the first row."""
    names = []
    for line in iter(stream.readline, b""):
        if line.strip() == b"}":
            break
        if not line.startswith(b"infile"):
            names.append(line.split()[0].decode())
    return names


def read_cdb(path: Path) -> Any:
    from laborllm.survey.nls.codebook import read_codebook

    return read_codebook(path)


def counted(result: Any) -> tuple[int, int]:
    """Numbers and their sum; of a codebook variables and printed lines."""
    if hasattr(result, "entries"):
        return len(result), sum(len(entry.values) for entry in result.values())
    return result.shape[0] * result.shape[1], sum(int(result[name].sum()) for name in result.columns)


READERS: dict[str, Callable[[Path], Any]] = {
    OURS: read_ours,
    OUR_TABLE: read_our_table,
    BLANKS: lambda path: read_pandas(path, r"\s+"),
    BLANK: lambda path: read_pandas(path, " "),
    CODEBOOK_WAY: read_cdb,
}


def child(way: str, path: Path) -> None:
    """One reading; what it took goes to standard output."""
    __import__("pandas" if way in (BLANKS, BLANK) else "laborllm.survey.nls.extracts")
    imported, base = cpu_seconds(), peak_mb()
    result = READERS[way](path)
    whole = cpu_seconds()
    peak = peak_mb()
    count, total = counted(result)
    figures = {"reading": whole - imported, "process": whole, "peak_mb": peak, "added_mb": peak - base}
    print(json.dumps({"count": count, "sum": total} | figures))


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(way: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", way, str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def rounds(jobs: list[tuple[str, str, Path]], number: int) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Every job once a round: file and way -> runs."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {(file, way): [] for file, way, _ in jobs}
    for place in range(number):
        for file, way, path in jobs if place % 2 == 0 else reversed(jobs):
            runs[file, way].append(measured(way, path))
    return runs


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Median, least and most of each figure."""
    figures: dict[str, Any] = {"runs": len(runs), "count": runs[0]["count"], "sum": runs[0]["sum"]}
    for name in FIGURES:
        values = [run[name] for run in runs]
        figures[name] = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return figures


def require_same(jobs: list[tuple[str, str, Path]]) -> None:
    """Every way reads the same numbers out of a file; the int64 table too."""
    sums = {(file, way): measured(way, path) for file, way, path in jobs if way != CODEBOOK_WAY}
    results = {(found["count"], found["sum"]) for found in sums.values()}
    if len(results) != 1:
        raise SystemExit(f"the ways read different numbers: {sums}")


def ratios(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times laborllm is cheaper than each other way, file by file."""
    found = []
    for file, ways in results.items():
        for way in (BLANKS, BLANK):
            if way in ways:
                row: dict[str, Any] = {"file": file, "rival": way}
                for name in FIGURES:
                    row[name] = ways[way][name]["median"] / ways[OURS][name]["median"]
                found.append(row)
    return found


def machine() -> dict[str, Any]:
    from importlib.metadata import version

    packages = {name: version(name) for name in ("numpy", "polars", "pandas")}
    return {"python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count()} | packages


def print_table(results: dict[str, dict[str, Any]], found: list[dict[str, Any]]) -> None:
    print(f"{'file':18} {'way':24} {'CPU s reading':>20} {'CPU s process':>20} {'peak MB':>9} {'added MB':>9}")
    for file, ways in results.items():
        for way, figures in ways.items():
            spans = [f"{figures[n]['median']:.2f} ({figures[n]['least']:.2f}-{figures[n]['most']:.2f})" for n in TIMES]
            memory = f"{figures['peak_mb']['median']:9.0f} {figures['added_mb']['median']:9.0f}"
            print(f"{file:18} {way:24} {spans[0]:>20} {spans[1]:>20} {memory}")
    for row in found:
        print(
            f"{row['file']}: {row['rival']} takes {row['reading']:.1f} times the CPU of laborllm (with imports "
            f"{row['process']:.1f}) and {row['peak_mb']:.1f} times its memory (without imports {row['added_mb']:.1f})"
        )


TIMES = ("reading", "process")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT, help="holds nlsy79/")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        zipped = options.folder / EXTRACT
        with zipfile.ZipFile(zipped) as archive:
            plain = Path(archive.extract(archive.namelist()[0], folder))
        alone = Path(folder) / zipped.name  # without the codebook beside it
        alone.write_bytes(zipped.read_bytes())
        jobs = [(file, way, path) for file, path in (("dct", plain), ("dct in a zip", alone)) for way in WAYS]
        jobs.append(("codebook", CODEBOOK_WAY, options.folder / CODEBOOK))
        require_same(jobs)
        runs = rounds(jobs, options.rounds)
    results: dict[str, dict[str, Any]] = {}
    for (file, way), each in runs.items():
        results.setdefault(file, {})[way] = summary(each)
    found = ratios(results)
    print_table(results, found)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": results, "ratios": found}, indent=2))


if __name__ == "__main__":
    main()
