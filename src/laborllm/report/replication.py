"""The replication package of a run: a README in the structure of the Social Science Data Editors' template."""

import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from os.path import commonpath
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl
import tomli_w
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from laborllm.errors import LaborLLMError
from laborllm.files import file_hash, is_temporary, whole_folder
from laborllm.report.folder import RunFolder, read_run
from laborllm.report.sample import mapping, mappings
from laborllm.report.template import TEMPLATES

FOLDER, README = "replication", "README.md"
TODO = "**TODO (author):**"
"""How each line begins, after a list's dash, that only the author can fill in."""
OPEN = {".csv", ".md", ".tex", ".pdf", ".png"}
"""Kinds of files that hold aggregates, unless their columns say otherwise."""
RECORDED = ("laborllm", "python", "packages", "hardware", "survey", "split", "inputs", "models", "stages")
"""What a README is made from."""
NOT_OUTPUTS = {"record.json", "study.toml"}
SEEDS = {
    "split": ("[split] seed", "who teaches and who tests"),
    "evaluation": ("[evaluation] seed", "draws of test people, and of training people in `laborllm bootstrap`"),
    "survey": ("[survey] seed", "the made-up population"),
}
"""Seed in the record -> where it is set, and what it fixes; any other is a model's."""


@dataclass(frozen=True)
class Package:
    """A replication package.

    Attributes:
        readme: its README.
        todos: lines of it that are left to the author.
        confidential: files of the run, relative to it, that hold data on single people and are not to be deposited.
    """

    readme: Path
    todos: int
    confidential: tuple[str, ...]


@dataclass(frozen=True)
class Input:
    """A file or folder that the study reads.

    Attributes:
        place: where the package's study looks for it.
        sha256: of the file as the run read it.
        size: bytes.
    """

    place: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Exhibit:
    """A table or figure in all its formats.

    Attributes:
        title: in words.
        files: relative to the run folder.
        command: what makes it again, in the folder of the package.
        withheld: whether it is not to be deposited.
    """

    title: str
    files: tuple[str, ...]
    command: str
    withheld: bool


def write_replication(out: Path) -> Package:
    """Write ``out/replication``: README.md, study.toml with relative paths, checksums of inputs and outputs.

    Nothing of the data is copied. What the record does not know is a line that begins with ``TODO``. All paths in the
    README's lists and in outputs.sha256 are relative to the run folder; those in inputs.sha256 to the package.

    Args:
        out: the folder of a finished run.

    Raises:
        LaborLLMError: it is no run, is a comparison of runs, or has a replication/README.md already, which may hold
            the author's words.
    """
    readme = out / FOLDER / README
    if readme.exists():
        raise LaborLLMError(f"{readme}: is there already, perhaps with your words; move it away to write a new one")
    run = read_run(out)
    _require_one_study(run)
    outputs = _outputs(out)
    study, places = portable(tomllib.loads(run.study), [str(each["file"]) for each in _inputs(run)])
    inputs = [Input(places[str(each["file"])], each["sha256"], each["bytes"]) for each in _inputs(run)]
    text = _render(run, study, inputs, outputs)
    with whole_folder(out / FOLDER) as folder:
        (folder / README).write_text(text, encoding="utf-8")
        (folder / "study.toml").write_text(tomli_w.dumps(study), encoding="utf-8")
        sums = {"inputs": {each.place: each.sha256 for each in inputs}}
        sums["outputs"] = {name: file_hash(out / name) for name in outputs}
        for name, digests in sums.items():
            lines = "".join(f"{digest}  {file}\n" for file, digest in digests.items())
            (folder / f"{name}.sha256").write_text(lines, encoding="utf-8")
    return Package(readme, text.count(TODO), tuple(name for name, why in outputs.items() if why))


def _require_one_study(run: RunFolder) -> None:
    if "runs" in run.record:
        raise LaborLLMError(f"{run.path}: is a comparison; write the packages of the runs that it compares")
    lacking = [key for key in RECORDED if key not in run.record]
    if lacking or not run.study:
        what = "study.toml is missing" if not run.study else f"record.json lacks {lacking[0]!r}"
        raise LaborLLMError(f"{run.path}: {what}; run the study again to write it")


def portable(study: Mapping[str, Any], inputs: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """A study whose absolute paths are relative to the package, and where each input file goes there.

    Checkpoints go to checkpoints/NAME, everything else to data/, under the folder that all have in common.

    Args:
        study: as TOML has it.
        inputs: absolute paths of the files that the run read.

    Returns:
        The study, and path -> place of the inputs.

    Examples:
        >>> found, places = portable({"survey": {"files": ["/home/me/psid/ind.zip"]}}, ["/home/me/psid/ind.zip"])
        >>> found, places
        ({'survey': {'files': ['data/ind.zip']}}, {'/home/me/psid/ind.zip': 'data/ind.zip'})
    """
    paths = [Path(value).as_posix() for key, value in _strings(study) if key != "checkpoint" and _is_path(key, value)]
    paths += [Path(file).as_posix() for file in inputs if _is_path("files", file)]
    root = commonpath([str(PurePosixPath(path).parent) for path in paths]) if paths else ""

    def place(key: str, value: str) -> str:
        if not _is_path(key, value):
            return value
        if key == "checkpoint":
            return f"checkpoints/{Path(value).name}"
        return f"data/{PurePosixPath(Path(value).as_posix()).relative_to(root)}"

    return _replaced(study, place), {file: place("files", file) for file in inputs}


def _is_path(key: str, value: str) -> bool:
    """Whether a word of a study is an absolute path, as a run writes every path of it."""
    return key != "description" and Path(value).is_absolute()


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every (key, text) of a study; entries of a list bear the list's key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, below in value.items():
            yield from _strings(below, name)
    elif isinstance(value, list):
        for below in value:
            yield from _strings(below, key)


def _replaced(value: Any, place: Any, key: str = "") -> Any:
    """The same with every text replaced by ``place(key, text)``."""
    if isinstance(value, str):
        return place(key, value)
    if isinstance(value, Mapping):
        return {name: _replaced(below, place, name) for name, below in value.items()}
    return [_replaced(below, place, key) for below in value] if isinstance(value, list) else value


def _inputs(run: RunFolder) -> list[Mapping[str, Any]]:
    return mappings(run.record.get("inputs"))


def _outputs(out: Path) -> dict[str, str]:
    """File of the run -> why it is not to be deposited, empty where it may be."""
    files = sorted(file for file in out.rglob("*") if file.is_file() and not is_temporary(file))
    names = {file.relative_to(out).as_posix(): file for file in files}
    return {
        name: confidential(name, file)
        for name, file in names.items()
        if name not in NOT_OUTPUTS and not name.startswith(f"{FOLDER}/")
    }


def confidential(name: str, file: Path) -> str:
    """Why a file of a run is not to be deposited; empty where it holds aggregates alone.

    Args:
        name: relative to the run folder.
        file: its path.
    """
    top, suffix = name.split("/")[0], Path(name).suffix
    if top == "models":
        return "learned from single people's careers"
    if name == "careers.parquet":
        return "the microdata"
    if suffix == ".parquet":
        return "a number or more for each person or person-year"
    if suffix == ".html":
        return "shows single people's careers"
    if suffix not in OPEN:
        return "of a kind that may hold data on single people"
    table = file.with_suffix(".csv")
    shows = table.stem == "examples" or (
        table.is_file() and "person" in pl.read_csv(table, n_rows=0, glob=False).columns
    )
    return "shows single people" if shows else ""


def _render(run: RunFolder, study: Mapping[str, Any], inputs: Sequence[Input], outputs: Mapping[str, str]) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # Markdown: words of the user's go through ``plain`` or ``code``
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"plain": plain, "code": code, "size": size, "duration": duration}
    survey, models = mapping(run.record.get("survey")), mapping(study.get("models"))
    text = environment.get_template("replication.md.j2").render(
        todo=TODO,
        record=run.record,
        survey=survey,
        source=str(survey.get("source") or mapping(study.get("survey")).get("source") or ""),
        split=mapping(run.record.get("split")),
        hardware=mapping(run.record.get("hardware")),
        packages=mapping(run.record.get("packages")),
        models=mapping(run.record.get("models")),
        inputs=inputs,
        outputs=outputs,
        checkpoints={name: each["checkpoint"] for name, each in models.items() if each.get("checkpoint")},
        pretrain=sorted({file for each in models.values() for file in each.get("pretrain") or ()}),
        seeds=seeds(run.record),
        stages=stages(run),
        exhibits=exhibits(run.path, outputs),
        results=[name for name in outputs if "/" not in name and name.endswith(".csv")],
        withheld=withheld(outputs),
        refits=_refits(run.record),
        people=run.careers.people,
        person_years=len(run.careers),
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def seeds(record: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """(where it is set, the seed, what it fixes) of every seed of a run."""
    found = []
    for name, seed in mapping(record.get("seeds")).items():
        where, what = SEEDS.get(name, (f"[{name}] seed", "random weights, order of people, dropout or folds"))
        found.append((where, int(seed), what))
    return found


def stages(run: RunFolder) -> list[tuple[str, float, float, int]]:
    """(stage, seconds, peak MiB, bytes written) in the order of the run; the refits are one."""
    found = []
    rows = mappings(run.record.get("stages"))
    for name, group in groupby(rows, key=lambda row: "refits" if row["stage"].startswith("refits") else row["stage"]):
        each = list(group)
        files = [run.path / file for row in each for file in mapping(row.get("outputs"))]
        written = sum(file.stat().st_size for file in files if file.is_file())
        seconds = sum(float(row.get("seconds") or 0) for row in each)
        found.append((name, seconds, max(float(row.get("peak_memory_mib") or 0) for row in each), written))
    return found


def _refits(record: Mapping[str, Any]) -> int:
    """Refits of the training-set bootstrap, 0 without one."""
    names = [str(row.get("stage")).split("/") for row in mappings(record.get("stages"))]
    return max((int(parts[1]) for parts in names if parts[0] == "refits" and len(parts) == 3), default=0)


def exhibits(out: Path, outputs: Mapping[str, str]) -> dict[str, list[Exhibit]]:
    """Kind ("tables", "figures") -> its exhibits, each in all its formats; outputs as ``confidential`` tells."""
    found: dict[str, list[Exhibit]] = {}
    for kind in ("tables", "figures"):
        names = sorted((name for name in outputs if name.startswith(f"{kind}/")), key=lambda name: (_stem(name), name))
        found[kind] = [
            Exhibit(_title(out, stem), tuple(files), "laborllm report run", any(outputs[file] for file in files))
            for stem, files in ((stem, list(group)) for stem, group in groupby(names, key=_stem))
        ]
    return found


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _title(out: Path, stem: str) -> str:
    """The title that a table's Markdown file begins with, else its name in words; and whose it is, if a model's."""
    file, (_, *folders, name) = out / f"{stem}.md", stem.split("/")
    first = file.read_text(encoding="utf-8").partition("\n")[0] if file.is_file() else ""
    return ": ".join([*folders, first.strip("*").strip() or name.replace("_", " ")])


def withheld(outputs: Mapping[str, str]) -> list[tuple[str, int, str]]:
    """(file or folder, files in it, why) of what is not to be deposited; folders below the first level are one."""
    found = []
    for (name, why), group in groupby(outputs.items(), key=lambda item: (_place(item[0]), item[1])):
        if why:
            found.append((name, len(list(group)), why))
    return found


def _place(name: str) -> str:
    """What stands for a file in the list: tables and figures by name, whole folders otherwise."""
    parts = name.split("/")
    return name if len(parts) == 1 or parts[0] in ("tables", "figures") else f"{parts[0]}/"


MARKS = re.compile(r"([\\`*_\[\]<>|~$&])")
"""What Markdown may read as more than a letter inside a line."""


def plain(text: Any) -> str:
    """Words of a user's that Markdown shows as they stand, on one line.

    Examples:
        >>> print(plain("a_b|c <i>"))
        a\\_b\\|c \\<i\\>
    """
    return MARKS.sub(r"\\\1", " ".join(str(text).split()))


def code(text: Any) -> str:
    """A name or path as code, also in a cell of a table.

    Examples:
        >>> print(code("models/a"), code("a`b"))
        `models/a` ``a`b``
    """
    words = " ".join(str(text).split())
    ticks = "`" * (max((len(run) for run in re.findall("`+", words)), default=0) + 1)
    edge = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{ticks}{edge}{words}{edge}{ticks}".replace("|", "\\|")


def size(count: float) -> str:
    """Bytes in the unit that suits them.

    Examples:
        >>> size(10), size(5_400_000)
        ('10 bytes', '5.1 MiB')
    """
    power = min(int(math.log2(max(count, 1)) // 10), 3)
    return f"{count / 1024**power:.{1 if power else 0}f} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them.

    Examples:
        >>> duration(0.31), duration(31), duration(600), duration(9000)
        ('0.3 s', '31 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
