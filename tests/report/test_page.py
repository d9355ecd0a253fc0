"""The page: whole, self-contained, escaped, and there for every shape of run."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.report.folder import read_run
from laborllm.report.page import render, write_report
from laborllm.report.sample import repeat_tables, sample_tables

from .conftest import MODELS, Made, write_run


class Page(HTMLParser):
    """Collects what a browser would fetch, the figures' alt texts and all visible text."""

    void = ("meta", "link", "br", "hr", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.alts: dict[str, str] = {}
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.open: list[str] = []
        self.figure = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.addresses += [found[key] or "" for key in ("src", "href", "action", "data") if key in found]
        if tag == "figure":
            self.figure = found.get("id") or ""
        if found.get("role") == "img":
            self.alts[self.figure] = found.get("aria-label") or ""
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def read_page(out: Path) -> Page:
    return Page(write_report(out).read_text(encoding="utf-8"))


def test_page_asks_nothing_from_outside(report_folder: Path) -> None:
    text = (report_folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not page.tags & {"script", "iframe", "object", "embed", "img"}
    assert all(re.match(r"#|data:|tables/|figures/", address) for address in page.addresses)
    assert "http://" not in text
    assert "https://" not in text
    assert not re.search(r"@import|url\((?!#)", text)
    assert len(page.ids) == len(set(page.ids))
    inside = {address[1:] for address in page.addresses if address.startswith("#")}
    assert inside <= set(page.ids)


def test_every_figure_is_there_with_its_alt_text_and_files(report_folder: Path) -> None:
    page = Page((report_folder / "report.html").read_text(encoding="utf-8"))
    names = {path.stem for path in (report_folder / "figures").iterdir()}
    expected = {"perplexity", "attainable", "differences", "by_transition", "reliability_move"}
    assert names == expected | {f"by_group_{name}" for name in ("gender", "ethnicity", "education")}
    for name in names:
        assert len(page.alts[f"figure-{name}"]) > 40
        for suffix in ("pdf", "png", "csv"):
            assert (report_folder / "figures" / f"{name}.{suffix}").stat().st_size > 50
    linked = [address for address in page.addresses if re.match("tables/|figures/", address)]
    assert all((report_folder / address).is_file() for address in linked)
    written = {
        f"{path.parent.name}/{path.name}" for kind in ("tables", "figures") for path in (report_folder / kind).iterdir()
    }
    assert written == set(linked)


def test_summary_tells_the_numbers(report_folder: Path) -> None:
    text = Page((report_folder / "report.html").read_text(encoding="utf-8")).text
    assert "The best of 3 models is llm, with a test perplexity of 8.12" in text
    assert "lower than that of the baseline transition, an interval that excludes zero" in text
    assert "the floor below which no model gets but by luck; llm realises 65% (95% CI 61 to 69)" in text
    assert "dropped: code maps to no occupation (Census 1980: 999)" in text
    assert "3 of 45 test careers were longer" in text
    assert "laborllm run OUT/study.toml" in text
    assert "ab12" * 16 in text
    assert "Perplexities of different samples" in text


def test_same_run_gives_the_same_files(report_folder: Path, tmp_path: Path) -> None:
    first, second = report_folder, write_run(tmp_path / "another place")
    write_report(second)
    files = [p.relative_to(first) for p in first.rglob("*") if p.is_file() and p.suffix != ".parquet"]
    assert len(files) > 50
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_words_of_the_user_are_escaped(tmp_path: Path) -> None:
    bad = '<script>alert("1")</script> & $x_1$ %'
    out = write_run(tmp_path / "out", [*MODELS[:2], Made(bad.replace("/", ""), 9.1)])
    record = json.loads((out / "record.json").read_text())
    record["survey"]["title"] = record["notes"][0] = record["survey"]["description"] = bad
    record["models"]["llm"] = {"description": bad, "facts": {bad: bad}}
    (out / "record.json").write_text(json.dumps(record))
    (out / "study.toml").write_text("# <img src=x>\n")
    text = write_report(out).read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert bad in page.text
    assert r"\textless{}script\textgreater{}" in (out / "tables" / "main.tex").read_text()


@pytest.mark.parametrize(
    "models",
    [
        MODELS[:2],
        MODELS[:1],
        MODELS[1:2],
        MODELS[4:],
        (MODELS[0], MODELS[4]),
        (MODELS[2], MODELS[1]),
    ],
    ids=["no oracle", "baseline alone", "one language model", "realised-only alone", "realised-only", "no baseline"],
)
def test_any_set_of_models_makes_a_page(tmp_path: Path, models: tuple[Made, ...]) -> None:
    page = read_page(write_run(tmp_path / "out", models))
    for model in models:
        assert model.name in page.text
    assert "figure-perplexity" in page.alts
    assert ("figure-attainable" in page.alts) is False


def test_realised_only_model_is_last_and_has_raw_numbers_only(report_folder: Path) -> None:
    main = pl.read_csv(report_folder / "tables" / "main.csv")
    assert main["model"].to_list() == ["oracle", "llm", "transition", "no change", "off_the_shelf"]
    last = main.row(-1, named=True)
    assert last["perplexity"] is None
    assert last["perplexity_raw"] == pytest.approx(212.4)


def test_page_lives_on_the_least_that_a_run_leaves(run_folder: Path) -> None:
    for name in ("record.json", "study.toml", "comparisons.csv", "reliability.csv", "attainable.csv"):
        (run_folder / name).unlink()
    for path in (run_folder / "probabilities").iterdir():
        path.unlink()
    evaluation = pl.read_csv(run_folder / "evaluation.csv")
    blank = evaluation.with_columns(pl.lit(None).alias(name) for name in ("std_error", "ci_low", "ci_high"))
    blank.write_csv(run_folder / "evaluation.csv")
    page = read_page(run_folder)
    assert set(page.alts) >= {"figure-perplexity", "figure-by_transition", "figure-by_group_gender"}
    assert "The best of 4 models is oracle" in page.text


def test_every_key_of_the_record_may_be_missing(run_folder: Path) -> None:
    run = read_run(run_folder)
    records = [{k: v for k, v in run.record.items() if k != key} for key in run.record]
    records += [{}, {key: [{}] for key in run.record}, {key: {} for key in run.record}, dict.fromkeys(run.record)]
    for record in records:
        poorer = replace(run, record=record)
        tables = {table.name: table for table in [*sample_tables(poorer), *repeat_tables(poorer)]}
        assert "llm" in Page(render(poorer, tables=tables, plots={}, examples=())).text


def test_infinite_and_undefined_numbers_are_shown_as_such(run_folder: Path) -> None:
    evaluation = pl.read_csv(run_folder / "evaluation.csv")
    hopeless = pl.col("model").eq("no change") & pl.col("metric").eq("perplexity")
    evaluation.with_columns(
        pl.when(hopeless).then(float("inf")).otherwise(pl.col("estimate")).alias("estimate"),
        *(pl.when(hopeless).then(None).otherwise(pl.col(name)).alias(name) for name in ("ci_low", "ci_high")),
    ).write_csv(run_folder / "evaluation.csv")
    assert "∞" in read_page(run_folder).text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("evaluation.csv", None, "evaluation.csv: cannot be read as CSV"),
        ("evaluation.csv", "model,task\nllm,occupation\n", "evaluation.csv: column metric is missing"),
        ("record.json", "{", "record.json: is no JSON"),
        ("study.toml", "[", "study.toml: is no TOML"),
        ("careers.parquet", None, "careers.parquet: cannot be read as Parquet"),
        ("attainable.csv", "model,baseline,floor,share,std_error,ci_low,ci_high\na,b,c,x,1,1,1\n", "row 1: 'x' is no"),
    ],
)
def test_broken_run_folder_is_named_and_leaves_no_page(
    run_folder: Path, name: str, content: str | None, message: str
) -> None:
    (run_folder / name).unlink()
    if content is not None:
        (run_folder / name).write_text(content)
    with pytest.raises(LaborLLMError, match=re.escape(message)):
        write_report(run_folder)
    assert not (run_folder / "report.html").exists()


def test_probabilities_of_other_people_are_refused(run_folder: Path, tmp_path: Path) -> None:
    path = run_folder / "probabilities" / "llm.parquet"
    metadata = pl.read_parquet_metadata(path)
    kept = {key: value for key, value in metadata.items() if key.startswith("laborllm")}
    pl.read_parquet(path).reverse().write_parquet(path, metadata=kept)
    with pytest.raises(LaborLLMError, match=r"probabilities/llm.parquet, row \d+: is not person"):
        write_report(run_folder)
