"""The plan of the house: who may import whom, how long things may be, what stays unloaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "laborllm"
FOLDERS = ("survey", "text", "models", "evaluation", "analysis", "report")
"""In the order of the flow: a module imports from its own folder or from those before it."""
FOUNDATION = {"errors", "files", "settings"}
MODULES = sorted(SOURCE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The part of laborllm that each import of a module names: a folder or a module at the top."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found |= {name.split(".")[1] for name in names if name.startswith("laborllm.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_follow_the_flow(path: Path) -> None:
    place = path.relative_to(SOURCE).parts
    if place[0] in FOLDERS:
        allowed = FOUNDATION | set(FOLDERS[: FOLDERS.index(place[0]) + 1])
        assert imported(path) <= allowed
    elif path.stem in FOUNDATION:
        assert imported(path) <= FOUNDATION


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_functions_and_modules_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert lines <= 40, f"{node.name} has {lines} lines"
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            assert len([a for a in arguments if a.arg not in ("self", "cls")]) <= 8, node.name


def test_the_evaluation_knows_no_language_model() -> None:
    for path in (SOURCE / "evaluation").rglob("*.py"):
        assert not any(word in path.read_text() for word in ("torch", "transformers", "token", "scoring"))


@pytest.mark.parametrize("arguments", [["-c", "import laborllm"], ["-m", "laborllm", "--help"]])
def test_torch_stays_unloaded(arguments: list[str]) -> None:
    code = ["-X", "importtime", *arguments]
    done = subprocess.run([sys.executable, *code], capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "laborllm" in loaded
    assert not loaded & {"torch", "transformers", "matplotlib", "pandas"}
