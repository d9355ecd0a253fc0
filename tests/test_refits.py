"""The training-set bootstrap of a study: its draws, its stages, what it writes."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from laborllm.errors import LaborLLMError
from laborllm.models.baselines import TransitionFrequencies
from laborllm.models.probabilities import Probabilities
from laborllm.running import refits
from laborllm.running.refits import Refits, bootstrap_study, draw_careers, fits_of, is_constant, person_sums, with_seeds
from laborllm.running.run import run_study
from laborllm.study import Study, read_study
from laborllm.survey.careers import Careers, split_by_person

STUDY = """
[survey]
source = "simulated"
people = 200
occupations = 12

[models.transition]
kind = "transition"

[models.second]
kind = "transition"
order = 2

[models.mix]
kind = "ensemble"
of = ["transition", "second"]

[models.oracle]
kind = "oracle"

[evaluation]
by = ["gender"]
bootstrap = 20
"""


def read(folder: Path, text: str = STUDY) -> Study:
    folder.mkdir(exist_ok=True)
    (folder / "study.toml").write_text(text)
    return read_study(folder / "study.toml")


def bootstrap(study: Study, out: Path, number: int, *models: str) -> Refits:
    return bootstrap_study(study, out, refits=number, models=models, command="test")


def skipped(out: Path) -> dict[str, bool]:
    return {stage["stage"]: stage["skipped"] for stage in json.loads((out / "record.json").read_text())["stages"]}


@pytest.fixture(scope="module", autouse=True)
def quick_report() -> Iterator[None]:
    """The page is tested elsewhere."""

    def written(out: Path) -> Path:
        (out / "report.html").write_text("a page")
        return out / "report.html"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("laborllm.running.run.write_report", written)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two refits, before and after which the evaluation is kept apart."""
    folder = tmp_path_factory.mktemp("refits")
    study, out = read(folder), folder / "out"
    run_study(study, out, command="test")
    (folder / "before.csv").write_bytes((out / "evaluation.csv").read_bytes())
    bootstrap(study, out, 2)
    return out


def test_draws_keep_whole_careers_of_their_own_part(few_careers: Careers, rng: np.random.Generator) -> None:
    careers = split_by_person(few_careers, (0.5, 0.25, 0.25), rng)
    drawn = draw_careers(careers, np.random.default_rng(8))
    assert_frame_equal(drawn.part("test").table.drop("person"), careers.part("test").table.drop("person"))
    assert drawn.table["person"].is_sorted()
    assert drawn.people == careers.people
    for name in ("train", "validation"):
        one, other = careers.part(name), drawn.part(name)
        assert other.people == one.people
        originals = {str(person.drop("person").rows()) for _, person in one.table.group_by("person")}
        copies = [str(person.drop("person").rows()) for _, person in other.table.group_by("person")]
        assert set(copies) < originals  # somebody is missing, hence somebody stands there twice
    again = draw_careers(careers, np.random.default_rng(8))
    assert_frame_equal(drawn.table, again.table)


def test_people_of_any_kind_of_name_are_drawn(few_careers: Careers, rng: np.random.Generator) -> None:
    careers = split_by_person(few_careers, (0.5, 0.25, 0.25), rng)
    plain = draw_careers(careers, np.random.default_rng(8)).table
    for kind in (pl.String, pl.Int8, pl.UInt64):
        named = Careers(careers.table.with_columns(pl.col("person").cast(kind)), careers.occupations)
        assert_frame_equal(draw_careers(named, np.random.default_rng(8)).table, plain)


def test_every_refit_has_seeds_of_its_own(tmp_path: Path) -> None:
    network = '\n[models.lstm]\nkind = "lstm"\n\n[models.trees]\nkind = "boosting"\nseed = 4\n'
    study = read(tmp_path, STUDY + network)
    seeds = {
        (name, refit): with_seeds(study, refit).models[name].seed  # type: ignore[union-attr]
        for name in ("lstm", "trees")
        for refit in (1, 2, 3)
    }
    assert len(set(seeds.values())) == 6
    assert with_seeds(study, 2) == with_seeds(study, 2)
    assert with_seeds(study, 2).models["transition"] == study.models["transition"]
    assert {name: is_constant(settings) for name, settings in study.models.items() if is_constant(settings)} == {
        "oracle": True
    }


def test_a_refit_is_the_model_fitted_on_the_drawn_people(done: Path) -> None:
    careers = Careers.read(done / "careers.parquet")
    drawn = draw_careers(careers, np.random.default_rng([1, 2]))
    model = TransitionFrequencies()
    model.fit(drawn.part("train"), drawn.part("validation"))
    answer = model.predict(careers.part("test"))
    assert answer.realised is not None
    sums = pl.read_parquet(done / "refits" / "2" / "transition.parquet")
    test = careers.part("test")
    for person in range(test.people):
        own = answer.realised[test.person_of_row == person]
        assert sums["log_score"][person] == pytest.approx(own.sum(), rel=1e-12)
        assert sums["person_years"][person] == len(own)


def test_the_tables_are_of_the_sums(done: Path) -> None:
    table = pl.read_csv(done / "refits.csv")
    assert table.columns[:4] == ["model", "metric", "estimate", "std_error_test"]
    evaluation = pl.read_csv(done / "evaluation.csv")
    for name in ("transition", "second", "mix", "oracle"):
        row = table.filter(model=name, metric="perplexity").row(0, named=True)
        other = evaluation.filter(model=name, metric="perplexity", task="occupation", subset="all", group="all")
        assert row["estimate"] == pytest.approx(other["estimate"][0], rel=1e-9)
        assert row["refits"] == 2
    oracle = table.filter(model="oracle", metric="perplexity").row(0, named=True)
    assert oracle["std_error_training"] == 0
    assert oracle["refit_mean"] == oracle["estimate"]
    full = Probabilities.read(done / "probabilities" / "transition.parquet")
    sums = [person_sums(full, Careers.read(done / "careers.parquet").part("test"))]
    sums += [pl.read_parquet(done / "refits" / str(refit) / "transition.parquet") for refit in (1, 2)]
    values = fits_of(sums)["perplexity"].values
    row = table.filter(model="transition", metric="perplexity").row(0, named=True)
    assert row["refit_mean"] == pytest.approx(values[1:].mean(), rel=1e-12)
    pairs = pl.read_csv(done / "refit_comparisons.csv").filter(metric="log_score")
    assert pairs.height == 6
    assert (pairs["std_error_total"] > 0).all()


def test_the_run_stays_as_it_was(done: Path) -> None:
    assert (done / "evaluation.csv").read_bytes() == (done.parent / "before.csv").read_bytes()
    assert (done / "report.html").is_file()
    assert all(kept for stage, kept in skipped(done).items() if stage.startswith("models/"))
    assert not list((done / "refits").rglob("models"))
    assert {path.suffix for path in (done / "refits").rglob("*") if path.is_file()} == {".parquet"}


def test_more_refits_are_added_and_are_the_same(done: Path, tmp_path: Path) -> None:
    study = read_study(done / "study.toml")
    three = bootstrap(study, done, 3)
    stages = skipped(done)
    assert stages["refits/1/transition"]
    assert stages["refits/2/mix"]
    assert not stages["refits/3/transition"]
    at_once = bootstrap(study, tmp_path / "at_once", 3)
    assert_frame_equal(three.models, at_once.models)
    assert_frame_equal(three.comparisons, at_once.comparisons)
    bootstrap(study, done, 3)
    assert all(kept for stage, kept in skipped(done).items() if stage.startswith("refits"))
    fewer = bootstrap(study, done, 2, "transition", "oracle")
    assert fewer.models["model"].unique(maintain_order=True).to_list() == ["transition", "oracle"]
    assert fewer.models["refits"].unique().to_list() == [2]


def test_a_killed_bootstrap_goes_on(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = read_study(done / "study.toml")
    wanted = bootstrap(study, done, 2)
    build = refits.build_model

    def killed(name: str, *arguments: object, **more: object) -> object:
        if Path(str(more["folder"])).parts[-3:] == ("2", "models", "second"):
            raise KeyboardInterrupt
        return build(name, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(refits, "build_model", killed)
    with pytest.raises(KeyboardInterrupt):
        bootstrap(study, tmp_path / "killed", 2)
    assert not (tmp_path / "killed" / "refits.csv").exists()
    monkeypatch.setattr(refits, "build_model", build)
    found = bootstrap(study, tmp_path / "killed", 2)
    assert skipped(tmp_path / "killed")["refits/2/transition"]
    assert not skipped(tmp_path / "killed")["refits/2/second"]
    assert_frame_equal(found.models, wanted.models)


def test_what_changed_is_refitted(tmp_path: Path) -> None:
    out = tmp_path / "out"
    bootstrap(read(tmp_path), out, 2)
    bootstrap(read(tmp_path, STUDY.replace("order = 2", "order = 2\nweights = [5.0]")), out, 2)
    stages = skipped(out)
    assert stages["refits/1/transition"]
    assert not stages["refits/1/second"]
    assert not stages["refits/1/mix"]
    bootstrap(read(tmp_path, STUDY.replace("people = 200", "people = 210")), out, 2)
    assert not any(kept for stage, kept in skipped(out).items() if stage.startswith("refits"))


def test_wrong_requests_are_one_line(tmp_path: Path) -> None:
    study = read(tmp_path)
    with pytest.raises(LaborLLMError, match=r"--models names 'logit'; the models of this study are transition, second"):
        bootstrap(study, tmp_path / "out", 2, "logit")
    with pytest.raises(LaborLLMError, match="1 refits have no spread; give at least 2"):
        bootstrap(study, tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()


def test_a_later_run_keeps_the_tables_or_removes_them(tmp_path: Path) -> None:
    out = tmp_path / "out"
    study = read(tmp_path)
    bootstrap(study, out, 2)
    run_study(study, out, command="test")
    assert skipped(out)["report"]
    run_study(read(tmp_path, STUDY.replace("bootstrap = 20", "bootstrap = 30")), out, command="test")
    assert "refits" in skipped(out)
    assert (out / "refits.csv").is_file()
    run_study(read(tmp_path, STUDY.replace("order = 2", "order = 2\nweights = [5.0]")), out, command="test")
    assert "refits" not in skipped(out)
    assert not (out / "refits.csv").exists()
    assert not (out / "refit_comparisons.csv").exists()
