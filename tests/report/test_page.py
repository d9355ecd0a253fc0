"""The page: whole, self-contained, escaped, and there for every shape of run."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.report import page as page_module
from laborllm.report.folder import read_run
from laborllm.report.page import render, write_report
from laborllm.report.sample import repeat_tables, sample_tables

from .conftest import MODELS, Made, write_run
from .test_figures import luminance
from .test_findings import gaps


class Page(HTMLParser):
    """Collects what a browser would fetch, the figures' alt texts and all visible text."""

    void = ("meta", "link", "br", "hr", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.alts: dict[str, str] = {}
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.scripts = 0
        self.words: list[str] = []
        self.open: list[str] = []
        self.figure = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.scripts += tag == "script"
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
        if self.open and self.open[-1] not in ("style", "title", "script"):
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
    assert not page.tags & {"iframe", "object", "embed", "img", "form"}
    assert all(re.match(r"#|data:|tables/|figures/", address) for address in page.addresses)
    assert "http://" not in text
    assert "https://" not in text
    assert not re.search(r"@import|url\((?!#)", text)
    assert len(page.ids) == len(set(page.ids))
    inside = {address[1:] for address in page.addresses if address.startswith("#")}
    assert inside <= set(page.ids)


def test_policy_lets_only_the_own_script_run(full_folder: Path) -> None:
    for path in (full_folder / "report.html", full_folder / "workers.html", *(full_folder / "pages").iterdir()):
        text = path.read_text(encoding="utf-8")
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
        assert "default-src 'none'" in policy
        script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert re.search(r"script-src '([^']*)'", policy)[1] == f"sha256-{digest}"
        assert not re.search(r"\beval\b|innerHTML|fetch\(|XMLHttpRequest|localStorage| on[a-z]+=\"", text)
        assert "http://" not in text
        assert "https://" not in text


def test_pages_link_to_one_another_and_to_their_files(full_folder: Path) -> None:
    for path in (full_folder / "report.html", full_folder / "workers.html", *(full_folder / "pages").iterdir()):
        page = Page(path.read_text(encoding="utf-8"))
        inside = {address[1:] for address in page.addresses if address.startswith("#")}
        assert inside <= set(page.ids)
        assert len(page.ids) == len(set(page.ids))
        outside = [address for address in page.addresses if not address.startswith(("#", "data:"))]
        assert outside
        for address in outside:
            assert (path.parent / address).resolve().is_relative_to(full_folder.resolve())
            assert (path.parent / address).is_file(), (path, address)


def test_every_written_table_and_figure_is_linked(full_folder: Path) -> None:
    pages = (full_folder / "report.html", *(full_folder / "pages").iterdir())
    linked = {
        (path.parent / address).resolve()
        for path in pages
        for address in Page(path.read_text(encoding="utf-8")).addresses
        if not address.startswith(("#", "data:"))
    }
    written = {path.resolve() for kind in ("tables", "figures") for path in (full_folder / kind).rglob("*.*")}
    assert written <= linked
    assert {path.suffix for path in written} == {".csv", ".md", ".tex", ".pdf", ".png"}


def colours_of(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """The page's variables on light and on dark ground."""
    light, dark, *_ = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    return tuple(dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part)) for part in (light, dark))  # type: ignore[return-value]


def test_text_stands_out_from_its_ground(full_folder: Path) -> None:
    for colours in colours_of((full_folder / "report.html").read_text(encoding="utf-8")):
        series = [name for name in colours if name.startswith("series-")]
        assert len(series) == 6
        pairs = [(word, ground) for word in ("ink", "muted", "accent") for ground in ("paper", "card")]
        pairs += [(name, "paper") for name in series]
        pairs += [("ink", "mark"), ("muted", "mark"), ("paper", "ink")]
        for word, ground in pairs:
            light, dark = sorted((luminance(colours[word]), luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (word, ground)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without the main page's figures, which take most of the time."""
    monkeypatch.setattr(page_module, "find_plots", lambda run: [])


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("report", "pages", "workers", "examples"),
    [
        ("examples = false", True, False, False),
        ("workers = 0\nmodel_pages = false", False, False, True),
        ("model_pages = false\nworkers = 3", False, True, True),
    ],
)
def test_settings_leave_out_what_they_say(
    tmp_path: Path, report: str, pages: bool, workers: bool, examples: bool
) -> None:
    out = write_run(tmp_path / "out", MODELS[:2], report=report)
    page = read_page(out)
    assert (out / "pages").is_dir() == pages
    assert any(address.startswith("pages/") for address in page.addresses) == pages
    assert (out / "workers.html").is_file() == workers
    assert ("workers.html" in page.addresses) == workers
    assert ("examples" in page.ids) == examples == (out / "tables" / "examples.csv").is_file()


@pytest.mark.usefixtures("no_figures")
def test_pages_of_an_earlier_report_do_not_outlive_their_setting(tmp_path: Path) -> None:
    out = write_run(tmp_path / "out", MODELS[:2], report="workers = 3")
    write_report(out)
    assert (out / "workers.html").is_file()
    (out / "study.toml").write_text("[report]\nexamples = false\nmodel_pages = false\n")
    write_report(out)
    assert not (out / "workers.html").exists()
    assert not (out / "pages").exists()
    assert not (out / "tables" / "examples.csv").exists()


@pytest.mark.usefixtures("no_figures")
def test_real_respondents_are_said_to_be_real(tmp_path: Path) -> None:
    out = write_run(tmp_path / "out", MODELS[:1], report="workers = 2\nmodel_pages = false")
    record = json.loads((out / "record.json").read_text())
    assert "real respondents" not in read_page(out).text
    record["survey"]["source"] = "nlsy79"
    (out / "record.json").write_text(json.dumps(record))
    assert "records of real respondents" in read_page(out).text
    assert "records of real respondents" in Page((out / "workers.html").read_text()).text


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
    assert "Of 3 models llm has the lowest test perplexity, 8.12" in text
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
    page = Page(write_report(out).read_text(encoding="utf-8"))
    others = {path: Page(path.read_text()) for path in (out / "workers.html", *(out / "pages").iterdir())}
    assert len(others) == 4
    for path, one in others.items():
        assert one.scripts == (2 if path.name == "workers.html" else 1), path
        assert one.open == []
        assert "img" not in one.tags
        assert "alert" in one.text or path.name in ("transition.html", "workers.html")
    assert page.scripts == 1
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
    assert "Of 4 models oracle has the lowest test perplexity" in page.text


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
        ("evaluation.csv", None, "holds no finished run of laborllm (evaluation.csv is missing"),
        ("evaluation.csv", "model,task\nllm,occupation\n", "evaluation.csv: column metric is missing"),
        ("record.json", "{", "record.json: is no JSON"),
        ("study.toml", "[", "study.toml: is no TOML"),
        ("study.toml", "[report]\nworkers = -1\n", "study.toml: report.workers: Input should be greater"),
        ("study.toml", "[report]\nworker = 1\n", "study.toml: report.worker: Extra inputs are not permitted"),
        ("careers.parquet", None, "holds no finished run of laborllm (careers.parquet is missing"),
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


@pytest.mark.usefixtures("no_figures")
def test_section_is_there_where_its_table_is(run_folder: Path) -> None:
    assert not {"right", "gains", "time", "published"} & set(read_page(run_folder).ids)
    gaps(1).write_csv(run_folder / "representativeness.csv")
    page = read_page(run_folder)
    assert {"right", "table-representativeness", "figure-representativeness"} <= set(page.ids)
    assert "#right" in page.addresses
    assert (run_folder / "tables" / "representativeness.tex").is_file()
