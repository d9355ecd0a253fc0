"""The replication package: what stands in it, what never does, and that what it names is there."""

import hashlib
import json
import re
import tomllib
from pathlib import Path

import polars as pl
import pytest
import tomli_w
from markdown_it import MarkdownIt

from laborllm.errors import LaborLLMError
from laborllm.files import file_hash
from laborllm.report.replication import TODO, Package, code, confidential, plain, portable, write_replication
from laborllm.report.tables import Table, text_rows, write_table
from laborllm.survey.sources import SOURCES
from tests.report.conftest import write_run

HOSTILE = "50 % of <b>us</b> | *all* _of_ [us](http://x) `here` $x$ & ~~gone~~ \\ #1"
RENDER = MarkdownIt("commonmark").enable("table")


def written(out: Path, *, source: str = "nlsy79") -> Package:
    """The package of a small run that read two files and a checkpoint somewhere on the author's disk."""
    write_run(out)
    record = json.loads((out / "record.json").read_text())
    files = [f"/home/me/a survey/nlsy79/{name}" for name in ("jobs.csv", "jobs.cdb", "more/school.dct.zip")]
    record["inputs"] = [
        {"file": file, "sha256": hashlib.sha256(file.encode()).hexdigest(), "bytes": 5_400_000} for file in files
    ]
    record["survey"] = {"source": source, "title": "A survey", "description": HOSTILE}
    record["seeds"] = {"split": 3, "evaluation": 1, "models.llm": 7}
    record["models"]["llm"]["description"] = HOSTILE
    record["stages"] += [{"stage": f"refits/{refit}/transition", "seconds": 60.0} for refit in (1, 2, 3)]
    (out / "record.json").write_text(json.dumps(record))
    checkpoint = {
        "kind": "language_model",
        "checkpoint": "/opt/models/Llama-3.2-1B",
        "pretrain": ["/home/me/cv.parquet"],
    }
    study = {
        "description": "/not/a/path",
        "survey": {"source": source, "files": [files[0], files[2]]},
        "models": {"transition": {"kind": "transition"}, "llm": checkpoint},
    }
    (out / "study.toml").write_text(tomli_w.dumps(study))
    main, people = pl.DataFrame({"model": ["a"], "estimate": [1.0]}), pl.DataFrame({"person": [7], "year": [1980]})
    for name, frame in {"main": main, "people": people}.items():
        rows = text_rows([[str(value) for value in row] for row in frame.rows()])
        table = Table(name, f"Title of {HOSTILE}", "A caption.", tuple(frame.columns), rows, frame)
        write_table(table, out / "tables")
    (out / "figures").mkdir()
    (out / "figures" / "by_group.png").write_bytes(b"picture")
    (out / "report.html").write_text("page")
    (out / "models" / "llm").mkdir(parents=True)
    (out / "models" / "llm" / "weights.safetensors").write_bytes(b"weights")
    return write_replication(out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("replication") / "out"
    written(out)
    return out


@pytest.fixture(scope="module")
def readme(folder: Path) -> str:
    return (folder / "replication" / "README.md").read_text()


def test_the_sections_are_those_of_the_template(readme: str) -> None:
    sections = re.findall(r"^## (.+)$", readme, re.MULTILINE)
    assert sections == [
        "Overview",
        "Data Availability and Provenance Statements",
        "Dataset list",
        "Computational requirements",
        "Description of programs/code",
        "Instructions to Replicators",
        "List of tables and programs",
        "References",
    ]
    assert {"Statement about Rights", "Summary of Availability", "Details on each Data Source"} <= set(
        re.findall(r"^### (.+)$", readme, re.MULTILINE)
    )


def test_nothing_of_the_data_is_in_it(folder: Path) -> None:
    files = {file.relative_to(folder / "replication").as_posix() for file in (folder / "replication").rglob("*")}
    assert files == {"README.md", "study.toml", "inputs.sha256", "outputs.sha256"}
    text = "".join((folder / "replication" / file).read_text() for file in files)
    assert "/home/me" not in text
    assert "/opt/models" not in text


def test_paths_are_relative_to_the_package(folder: Path) -> None:
    study = tomllib.loads((folder / "replication" / "study.toml").read_text())
    assert study["survey"]["files"] == ["data/a survey/nlsy79/jobs.csv", "data/a survey/nlsy79/more/school.dct.zip"]
    assert study["models"]["llm"]["checkpoint"] == "checkpoints/Llama-3.2-1B"
    assert study["models"]["llm"]["pretrain"] == ["data/cv.parquet"]
    assert study["description"] == "/not/a/path"


def test_every_output_is_hashed_and_every_input_as_it_was_read(folder: Path, readme: str) -> None:
    sums = dict(line.split("  ")[::-1] for line in (folder / "replication/outputs.sha256").read_text().splitlines())
    assert {"evaluation.csv", "tables/main.tex", "models/llm/weights.safetensors", "careers.parquet"} <= sums.keys()
    for name, digest in sums.items():
        assert file_hash(folder / name) == digest
    own = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert own - sums.keys() == {f"replication/{name}" for name in (
        "README.md", "study.toml", "inputs.sha256", "outputs.sha256")} | {"record.json", "study.toml"}  # fmt: skip
    inputs = (folder / "replication/inputs.sha256").read_text().splitlines()
    wanted = hashlib.sha256(b"/home/me/a survey/nlsy79/jobs.cdb").hexdigest()
    assert f"{wanted}  data/a survey/nlsy79/jobs.cdb" in inputs
    for line in inputs:
        assert f"`{line.split('  ')[1]}`" in readme


def test_every_table_and_figure_is_listed_and_is_there(folder: Path, readme: str) -> None:
    listed = re.findall(r"`((?:tables|figures)/[^`]+\.\w+)`", readme)
    there = [
        file.relative_to(folder).as_posix() for kind in ("tables", "figures") for file in (folder / kind).rglob("*")
    ]
    assert set(listed) == set(there)
    command = {line.rsplit("|", 3)[1].strip() for line in readme.splitlines() if line.startswith("| Title of")}
    assert command == {"`laborllm report run`"}


def test_what_shows_single_people_is_named(folder: Path, readme: str, tmp_path: Path) -> None:
    package = written(tmp_path / "again")
    hidden = set(package.confidential)
    assert {"careers.parquet", "report.html", "models/llm/weights.safetensors", "probabilities/llm.parquet"} <= hidden
    assert {"tables/people.csv", "tables/people.md", "tables/people.tex"} <= hidden
    assert not hidden & {"tables/main.csv", "evaluation.csv", "figures/by_group.png"}
    for name in ("careers.parquet", "models/", "probabilities/", "report.html", "tables/people.tex"):
        assert f"| `{name}` |" in readme
    assert "**They are not to be deposited:**" in readme
    assert readme.count("| not to be deposited |") == 1
    assert confidential("tables/examples.tex", folder / "tables" / "examples.tex") == "shows single people"
    assert confidential("stray.bin", folder / "stray.bin")


def test_words_of_the_user_are_shown_as_they_stand(readme: str) -> None:
    html = RENDER.render(readme)
    shown = RENDER.render(f"x {plain(HOSTILE)} x")
    for mark in ("<b>", "<em>", "<a ", "<code>", "<strong>"):
        assert mark not in shown
    words = "50 % of &lt;b&gt;us&lt;/b&gt; | *all* _of_ [us](http://x) `here` $x$ &amp; ~~gone~~ \\ #1"
    assert words in shown
    assert html.count(words) == 4  # the survey, a model, two tables
    assert html.count("<h2>") == 8
    assert [row.count("<td") for row in html.split("<tr>") if "Title of" in row] == [4, 4]
    cell = RENDER.render(f"| head |\n|---|\n| {code('a`b | c')} |")
    assert "<td><code>a`b | c</code></td>" in cell


def test_the_record_is_filled_in(readme: str) -> None:
    for words in (
        "polars 2.1.0",
        "| `[split] seed` | 3 |",
        "| `[models.llm] seed` | 7 |",
        "| `refits` | 3 min |",
        "`laborllm bootstrap study.toml --refits 3 --out run`",
        "AMD EPYC, 2 cores, 7.8 GiB of memory",
        "| `data/a survey/nlsy79/jobs.csv` | A survey | 5.1 MiB | no |",
        "`checkpoints/Llama-3.2-1B`",
        "nlsinfo.org/investigator",
    ):
        assert words in readme
    assert "None" not in readme
    assert "\n\n\n" not in readme


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_has_its_statement(source: str, tmp_path: Path) -> None:
    package = written(tmp_path / "out", source=source)
    text = package.readme.read_text()
    assert package.todos == text.count(TODO) > 5
    statement = {
        "nlsy79": "National Longitudinal Survey of Youth 1979.",
        "nlsy97": "National Longitudinal Survey of Youth 1997.",
        "psid": "may not be passed on to third parties",
        "simulated": "[x] No external data are used",
    }
    assert statement.get(source, "who collected these data, when and how; where they can be obtained.") in text
    assert ("[x] No external data are used" in text) == (source == "simulated")
    assert "survey.source" not in text


def test_the_words_of_the_author_are_not_written_over(folder: Path) -> None:
    with pytest.raises(LaborLLMError, match="is there already, perhaps with your words; move it away"):
        write_replication(folder)


def test_what_is_no_run_of_one_study_is_refused(tmp_path: Path) -> None:
    out = write_run(tmp_path / "out")
    record = json.loads((out / "record.json").read_text())
    (out / "record.json").write_text(json.dumps(record | {"runs": []}))
    with pytest.raises(LaborLLMError, match="is a comparison; write the packages of the runs"):
        write_replication(out)
    (out / "record.json").write_text(json.dumps({key: value for key, value in record.items() if key != "models"}))
    with pytest.raises(LaborLLMError, match="record.json lacks 'models'"):
        write_replication(out)
    (out / "record.json").write_text(json.dumps(record))
    (out / "study.toml").unlink()
    with pytest.raises(LaborLLMError, match="study.toml is missing"):
        write_replication(out)
    assert not (out / "replication").exists()


def test_one_file_and_none_have_places() -> None:
    assert portable({"survey": {"source": "simulated"}}, []) == ({"survey": {"source": "simulated"}}, {})
    study, places = portable({"survey": {"folder": "/a/b"}}, ["/a/b/train.job", "/a/b/train.year"])
    assert study == {"survey": {"folder": "data/b"}}
    assert places == {"/a/b/train.job": "data/b/train.job", "/a/b/train.year": "data/b/train.year"}
