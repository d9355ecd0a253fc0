"""The pages in a real browser: nothing overflows, nothing fails, nothing is fetched, and what can be used works."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (1280, 390)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--allow-file-access-from-files",
    "--window-size=1400,1000",
    "--enable-logging=stderr",
    "--virtual-time-budget=60000",
)


def run_browser(folder: Path, address: str) -> tuple[str, list[str], set[str]]:
    """The page's document after its scripts, console messages, and addresses that pages (not the browser) asked for."""
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser is installed; the test looks for {', '.join(NAMES)}")
    places = [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={folder / 'net.json'}", "--dump-dom"]
    done = subprocess.run([browser, *FLAGS, *places, address], capture_output=True, text=True, timeout=180)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    events = json.loads((folder / "net.json").read_text(encoding="utf-8"))["events"]
    requests = [event["params"] for event in events if "url" in event.get("params", {})]
    ours = {one["url"] for one in requests if one.get("initiator", "not an origin") != "not an origin"}
    return done.stdout, console, {url for url in ours if not url.startswith(("file:", "data:"))}


@pytest.fixture(scope="module")
def seen(full_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one run of the browser found on every page at every width."""
    folder = tmp_path_factory.mktemp("browser")
    pages = [full_folder / "report.html", full_folder / "workers.html", *sorted((full_folder / "pages").iterdir())]
    script = Path(__file__).with_name("browser.js").read_text(encoding="utf-8")
    known = f"const pages = {json.dumps([page.as_uri() for page in pages])}, widths = {list(WIDTHS)};"
    harness = folder / "harness.html"
    harness.write_text(f'<!DOCTYPE html><body><pre id="result"></pre><script>{known}\n{script}</script>')
    document, console, requests = run_browser(folder, harness.as_uri())
    result = re.search(r'<pre id="result">(.*?)</pre>', document, re.DOTALL)
    found = json.loads(html.unescape(result[1])) if result else document
    assert isinstance(found, list), found
    return {"pages": found, "console": console, "requests": requests, "expected": len(pages) * len(WIDTHS)}


def test_every_page_fits_telephone_and_desk(seen: dict[str, Any]) -> None:
    assert len(seen["pages"]) == seen["expected"] == 10
    for page in seen["pages"]:
        assert page["width"] == page["asked"]
        assert page["words"] > 400
        assert (page["overflow"], page["outside"]) == (0, []), page["page"]
        assert page["after"] == 0, page["page"]


def test_no_console_message_and_no_request(seen: dict[str, Any]) -> None:
    assert seen["console"] == []
    assert seen["requests"] == set()
    assert [name for page in seen["pages"] for name in page["requests"]] == []


def test_a_request_and_an_error_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<!DOCTYPE html><img src="http://elsewhere.example/a.png"><script>undefined.x</script>')
    _, console, requests = run_browser(tmp_path, page.as_uri())
    assert any("TypeError" in line for line in console)
    assert requests == {"http://elsewhere.example/a.png"}


def test_all_figures_are_drawn(seen: dict[str, Any], full_folder: Path) -> None:
    for page in seen["pages"]:
        place = Path(page["page"])
        folder = full_folder / "figures" / (place.stem if place.parent.name == "pages" else "")
        expected = set() if place.name == "workers.html" else {f"figure-{one.stem}" for one in folder.glob("*.png")}
        assert {name for name, _, _ in page["figures"]} == expected
        assert all(width > 100 and height > 40 for _, width, height in page["figures"])


def test_tables_sort_by_number_and_go_back(seen: dict[str, Any]) -> None:
    tables = [table for page in seen["pages"] for table in page["sorted"]]
    assert {"table-main", "table-differences", "table-by_group", "table-metrics"} <= {t["table"] for t in tables}
    for table in tables:
        orders = [order for order, _ in table["seen"]]
        assert orders == [None, "ascending", "descending", None]
        as_came, up, down, back = (column for _, column in table["seen"])
        assert as_came == back
        assert sorted(up) == sorted(down) == sorted(as_came)
        if table["numeric"]:
            numbers = [float(entry) for entry in up if entry != "–"]
            assert numbers == sorted(numbers)
            assert [float(entry) for entry in down if entry != "–"] == numbers[::-1]
            assert "–" not in up[: len(numbers)]
            assert "–" not in down[: len(numbers)]


def test_figures_tell_their_numbers_to_pointer_and_keyboard(seen: dict[str, Any]) -> None:
    figures = [one for page in seen["pages"] for one in page["tips"]["told"]]
    assert len(figures) >= 20
    for by_key, by_pointer, figure in figures:
        assert by_key == by_pointer, figure
        assert re.search(r"\d", by_key), figure
    perplexity = [by_key for by_key, _, figure in figures if figure == "figure-perplexity"]
    assert perplexity == ["oracle: 7.31 [7.14, 7.49]"] * 2
    assert all(page["tips"]["hidden"] for page in seen["pages"])


def test_long_table_is_filtered(seen: dict[str, Any]) -> None:
    filtered = [page["filter"] for page in seen["pages"] if page["filter"]]
    assert filtered
    assert all(0 < one["shown"] < one["rows"] and one["right"] for one in filtered)


def test_contents_stand_open_where_there_is_room(seen: dict[str, Any]) -> None:
    for page in seen["pages"]:
        assert page["open"] in (page["asked"] == 1280, None)


def test_explorer_shows_the_chosen_person_and_year(seen: dict[str, Any], full_folder: Path) -> None:
    explorers = [page["workers"] for page in seen["pages"] if page["workers"]]
    assert len(explorers) == len(WIDTHS)
    text = (full_folder / "workers.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="workers">(.*?)</script>', text, re.DOTALL)[1])
    person = data["people"][2]
    year, education, place, _ = person["rows"][0]
    for shown in explorers:
        assert shown["none"] == 0
        assert shown["people"] >= 1
        assert shown["label"].startswith(f"Worker 3: {person['about']}")
        assert shown["happened"] == f"{year}, the first year on record: {data['titles'][place]}"
        assert education in shown["career"]
        assert len(re.findall(r"^\d{4}$", shown["career"], re.MULTILINE)) == len(person["rows"])
        for model, said in zip(data["models"], person["said"], strict=True):
            assert model in shown["guesses"]
            assert data["titles"][said[0][2]] in shown["guesses"]
            assert f"{100 * said[0][0]:.1f}%, place {said[0][1]}" in shown["guesses"]
