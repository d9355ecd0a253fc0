"""A run folder as a study leaves it, with made-up numbers in the exact formats of the contract."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.models.probabilities import Probabilities, normalise
from laborllm.report import drawing
from laborllm.report.page import write_report
from laborllm.survey.careers import Careers, Step, split_by_person
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations

TITLES = (
    "Secretaries", "Cooks", "Cooks, short order", "Managers and administrators, n.e.c.", "Registered nurses",
    "Carpenters", "Truck, delivery, and tractor drivers", "Cashiers", "Primary school teachers",
    "Unemployed", "Not in labor force", "In education",
)  # fmt: skip
CODES = (
    "313",
    "436",
    "437",
    "22",
    "95",
    "567",
    "804",
    "276",
    "156",
    "unemployed",
    "not_in_labor_force",
    "in_education",
)
GROUPS = {
    "gender": ("female", "male"),
    "ethnicity": ("black or african american", "hispanic", "white", "missing"),
    "education": ("less than high school", "high school", "some college", "college", "graduate degree"),
}
FLOW = (
    Step("read: coded jobs in cpsocc80.csv", 12686, 171_234, "kept"),
    Step("dropped: code maps to no occupation (Census 1980: 999)", 104, 1_204, "dropped"),
    Step("recoded: Census 1980 codes 1-889 to occ1990dd", 12_045, 134_440, "recoded"),
    Step("people with at least one coded job", 12_045, 134_440, "kept"),
)


@dataclass(frozen=True)
class Made:
    """A made-up model: its perplexity, and whether it scores the whole list."""

    name: str
    level: float
    kind: str = "transition"
    mass: float | None = None
    full: bool = True


MODELS = (
    Made("transition", 9.87),
    Made("llm", 8.12, "language_model", mass=0.962),
    Made("oracle", 7.31, "oracle"),
    Made("no change", 14.9, "no_change"),
    Made("off_the_shelf", 212.4, "language_model", mass=0.031, full=False),
)


def made_careers(people: int = 150, seed: int = 3) -> Careers:
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(1, people + 1):
        occupation, schooling = int(rng.integers(len(CODES))), int(rng.integers(4))
        for year in range(1979, 1979 + int(rng.integers(1, 16))):
            if rng.random() < 0.3:
                occupation = int(rng.integers(len(CODES)))
            level = GROUPS["education"][schooling + (year > 1985)]
            rows.append((person, year, CODES[occupation], GROUPS["gender"][person % 2], level))
    frame = pl.DataFrame(rows, schema=["person", "year", "occupation", "gender", "education"], orient="row")
    frame = frame.with_columns(
        ethnicity=pl.when(pl.col("person") % 5 == 0)
        .then(None)
        .otherwise(pl.col("person").map_elements(lambda p: GROUPS["ethnicity"][p % 3], return_dtype=pl.String)),
        region=pl.when(pl.col("person") % 7 == 0).then(None).otherwise(pl.lit("south")),
        birth_year=1957 + pl.col("person") % 8,
    )
    groups = [
        group for group, size in (("Office", 4), ("Health", 1), ("Manual", 2), ("Service", 2)) for _ in range(size)
    ]
    occupations = Occupations(codes=CODES, titles=TITLES, groups=(*groups, *["Not employed"] * 3))
    careers = split_by_person(
        careers_from_frame(frame, occupations, survey="a test survey"), (0.6, 0.1, 0.3), np.random.default_rng(seed)
    )
    return replace(careers, flow=FLOW)


def evaluation_rows(model: Made, careers: Careers, rng: np.random.Generator) -> list[tuple]:
    """Rows of evaluation.csv of one model."""
    rows: list[tuple] = []
    cells = [("all", "all", 1.0), ("first", "all", 2.4), ("stay", "all", 0.21), ("move", "all", 6.5)]
    cells += [
        ("all", f"{name}={value}", 0.8 + 0.12 * n) for name, values in GROUPS.items() for n, value in enumerate(values)
    ]
    people, person_years = 45, len(careers.part("test"))
    for subset, group, factor in cells:
        level = max(model.level * factor * (1 + 0.02 * rng.standard_normal() * (group != "all")), 1.02)
        error = 0.012 * level if group == "all" else 0.04 * level
        size = (person_years, people) if group == "all" else (person_years // 3, people)
        spread = (error, level - 1.96 * error, level + 2 * error)
        if model.full:
            rows.append((model.name, "occupation", "perplexity", subset, group, level, *spread, *size))
        if model.mass is not None:
            raw = [end / model.mass for end in (level, *spread)] if model.full else [level, *spread]
            rows.append((model.name, "occupation", "perplexity_raw", subset, group, *raw, *size))
    if model.full:
        shares = {("occupation", "accuracy"): 0.6, ("occupation", "top5"): 0.8, ("occupation", "top10"): 0.9}
        shares |= {("move", "auc"): 0.78, ("move", "brier"): 0.171, ("move", "calibration_error"): 0.014}
        for (task, metric), share in shares.items():
            value = share + (0.001 if metric in ("brier", "calibration_error") else -0.005) * model.level
            size = (person_years, people)
            rows.append((model.name, task, metric, "all", "all", value, 0.004, value - 0.008, value + 0.008, *size))
    if model.full and model.mass is not None:
        mass = float(np.log(model.mass))
        rows.append((model.name, "occupation", "log_mass", "all", "all", mass, 0.001, mass - 0.002, mass + 0.002, 1, 1))
    return rows


def write_evaluation(out: Path, models: Sequence[Made], careers: Careers) -> None:
    rng = np.random.default_rng(5)
    rows = [row for model in models for row in evaluation_rows(model, careers, rng)]
    head = ["model", "task", "metric", "subset", "group", "estimate", "std_error", "ci_low", "ci_high"]
    frame = pl.DataFrame(rows, schema=[*head, "person_years", "people"], orient="row")
    frame.write_csv(out / "evaluation.csv")
    pairs = []
    for a, b in combinations(models, 2):
        if a.full and b.full:
            gap, error = a.level - b.level, 0.02 + 0.01 * abs(a.level - b.level)
            spread = (error, gap - 1.96 * error, gap + 1.96 * error)
            pairs.append((a.name, b.name, "occupation", "perplexity", "all", "all", gap, *spread, 400, 45))
    head = ["model_a", "model_b", "task", "metric", "subset", "group", "difference", "std_error", "ci_low", "ci_high"]
    if pairs:
        pl.DataFrame(pairs, schema=[*head, "person_years", "people"], orient="row").write_csv(out / "comparisons.csv")


def write_reliability(out: Path, models: Sequence[Made]) -> None:
    rows = []
    for n, model in enumerate(model for model in models if model.full):
        for place in range(1, 11):
            predicted = (place - 0.5) ** 1.5 / 34
            observed = min(max(predicted * (1 + 0.03 * n) + 0.015 * (-1) ** place, 0.002), 1)
            rows.append((model.name, "move", place, predicted, observed, observed * 0.88, min(observed * 1.1, 1), 40))
    head = ["model", "task", "bin", "predicted", "observed", "ci_low", "ci_high", "person_years"]
    if rows:
        pl.DataFrame(rows, schema=head, orient="row").write_csv(out / "reliability.csv")


def write_attainable(out: Path, models: Sequence[Made]) -> None:
    level = {model.name: np.log(model.level) for model in models if model.full}
    rows = []
    for name in level:
        if name not in ("transition", "oracle"):
            share = (level["transition"] - level[name]) / (level["transition"] - level["oracle"])
            rows.append((name, "transition", "oracle", share, 0.02, share - 0.04, share + 0.04))
    if rows:
        head = ["model", "baseline", "floor", "share", "std_error", "ci_low", "ci_high"]
        pl.DataFrame(rows, schema=head, orient="row").write_csv(out / "attainable.csv")


def write_probabilities(out: Path, models: Sequence[Made], careers: Careers) -> None:
    test = careers.part("test")
    rows = test.table.select("person", "year", "occupation")
    for n, model in enumerate(models):
        rng = np.random.default_rng(n)
        scores = rng.normal(size=(len(test), len(test.occupations)))
        scores[np.arange(len(test)), test.occupation] += 1.5
        later = test.previous >= 0
        scores[np.flatnonzero(later), test.previous[later]] += 2.5
        path = out / "probabilities" / f"{model.name}.parquet"
        if model.full:
            mass = None if model.mass is None else np.full(len(test), np.log(model.mass))
            Probabilities(rows, test.occupations, log_probabilities=normalise(scores)[0], log_mass=mass).write(path)
        else:
            Probabilities(rows, test.occupations, realised_raw=rng.normal(-5, 1, size=len(test))).write(path)


def record_of(models: Sequence[Made]) -> dict:
    names = {model.name for model in models}
    described = {
        model.name: {
            "kind": model.kind,
            "description": f"A made-up model of kind {model.kind}, for the tests of the report.",
            "facts": {"parameters": 963_456, "learning rate": 0.001, "epochs": 3, "pooled": True},
        }
        for model in models
    }
    stages = [("read", 1.9, 310.0, False), ("train llm", 231.4, 1840.2, False), ("evaluate", 12.3, 640.0, True)]
    return {
        "laborllm": "0.1.0",
        "python": "3.11.7",
        "packages": {"polars": "2.1.0", "numpy": "2.4.1", "torch": "2.13.0"},
        "command": "laborllm run examples/demo.toml --out demo",
        "started": "2026-01-31T12:00:00",
        "hardware": {"machine": "x86_64", "processor": "AMD EPYC", "cores": 2, "memory_gib": 7.8, "gpu": None},
        "seed": 1,
        "inputs": [{"file": "nlsy79/cpsocc80.csv", "sha256": "ab12" * 16, "bytes": 1_234_567}],
        "rows": [vars(step) for step in FLOW],
        "split": {"train": {"people": 90, "person_years": 700}},
        "stages": [dict(zip(("stage", "seconds", "peak_memory_mib", "skipped"), s, strict=True)) for s in stages],
        "models": described,
        "notes": ["3 of 45 test careers were longer than the model's context; their oldest rows were left out."],
        "baseline": "transition" if "transition" in names else None,
        "floor": "oracle" if "oracle" in names else None,
        "survey": {
            "source": "simulated",
            "title": "a simulated population",
            "description": "A made-up population of 150 people over 12 occupations, chosen to run in seconds.",
        },
    }


QUICK = "examples = true\nworkers = 0\nmodel_pages = false"
"""A section [report] that leaves out what takes time."""


def write_run(out: Path, models: Sequence[Made] = MODELS, *, attainable: bool = True, report: str = QUICK) -> Path:
    """Write a whole run folder."""
    out.mkdir(parents=True, exist_ok=True)
    careers = made_careers()
    careers.write(out / "careers.parquet")
    write_evaluation(out, models, careers)
    write_reliability(out, models)
    if attainable and {"transition", "oracle"} <= {model.name for model in models}:
        write_attainable(out, models)
    write_probabilities(out, models, careers)
    (out / "record.json").write_text(json.dumps(record_of(models), indent=1), encoding="utf-8")
    sections = "".join(f'[models.{model.name}]\nkind = "{model.kind}"\n\n' for model in models if model.name.isalnum())
    (out / "study.toml").write_text(
        f'[survey]\nsource = "simulated"\n\n{sections}[evaluation]\nconfidence = 0.95\n\n[report]\n{report}\n'
    )
    return out


def write_newer_tables(out: Path) -> None:
    """What newer evaluations leave beside the older tables: bands, more tasks, ROC curves, survey weights."""
    evaluation = pl.read_csv(out / "evaluation.csv")
    moves = evaluation.filter(pl.col("task") == "move")
    more = [moves.with_columns(task=pl.lit("enter_labor_force"))]
    whole = evaluation.filter(pl.col("metric") == "perplexity", pl.col("subset") == "all", pl.col("group") == "all")
    more += [whole.with_columns(task=pl.lit(task)) for task in ("broad_group", "destination")]
    more += [whole.with_columns(metric=pl.lit("log_score"), estimate=-pl.col("estimate").log())]
    level = evaluation.filter(pl.col("group").str.starts_with("education="))
    pairs_of = [pl.concat_str(pl.lit(f"gender={g} & "), pl.col("group")) for g in GROUPS["gender"]]
    more += [level.with_columns(group=pair) for pair in pairs_of]
    error = pl.col("std_error")
    bands = {"band_low": pl.col("estimate") - 3 * error, "band_high": pl.col("estimate") + 3 * error}
    evaluation = pl.concat([evaluation, *more])
    evaluation.with_columns(std_error_delta=error * 0.99, **bands).write_csv(out / "evaluation.csv")
    pairs = pl.read_csv(out / "comparisons.csv")
    bands = {"band_low": pl.col("difference") - 3 * error, "band_high": pl.col("difference") + 3 * error}
    pairs.with_columns(**bands).write_csv(out / "comparisons.csv")
    whole.with_columns(pl.col("estimate", "ci_low", "ci_high") * 1.1).write_csv(out / "evaluation_weighted.csv")
    reliability = pl.read_csv(out / "reliability.csv")
    again = reliability.with_columns(task=pl.lit("enter_labor_force"))
    pl.concat([reliability, again]).write_csv(out / "reliability.csv")
    rates = pl.DataFrame({"false_positive_rate": [step / 20 for step in range(21)]})
    rates = rates.with_columns(true_positive_rate=pl.col("false_positive_rate").sqrt())
    ends = {"ci_low": pl.col("true_positive_rate") * 0.95, "ci_high": pl.col("true_positive_rate").sqrt()}
    keys = reliability.select("model", "task").unique(maintain_order=True)
    keys.join(rates.with_columns(**ends), how="cross").write_csv(out / "roc.csv")


@pytest.fixture(scope="session", autouse=True)
def quick_fonts() -> None:
    """Embed fonts as Type 3: three times as fast as the Type 42 that journals want."""
    drawing.STYLE["pdf.fonttype"] = 3


@pytest.fixture(scope="session")
def report_folder(tmp_path_factory: pytest.TempPathFactory, quick_fonts: None) -> Path:
    """A run folder with its report, to be read only."""
    out = write_run(tmp_path_factory.mktemp("report") / "out")
    write_report(out)
    return out


@pytest.fixture(scope="session")
def full_folder(tmp_path_factory: pytest.TempPathFactory, quick_fonts: None) -> Path:
    """A run folder with every page and every optional table, to be read only."""
    out = write_run(tmp_path_factory.mktemp("report") / "full", MODELS[:3], report="workers = 12")
    write_newer_tables(out)
    write_report(out)
    return out


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "out")
