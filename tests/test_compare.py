"""Runs of different times set side by side: only where people, years, outcomes and list are the same."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import Evaluation, EvaluationSettings, evaluate
from laborllm.models.probabilities import Probabilities
from laborllm.report.folder import read_run
from laborllm.running.compare import compare_runs, people_hash
from laborllm.running.run import run_study
from laborllm.study import read_study
from laborllm.survey.careers import Careers

STUDY = """
[survey]
source = "table"
files = ["table.csv"]
occupations = "list.csv"

[models.transition]
kind = "transition"

[models.no_change]
kind = "no_change"

[evaluation]
by = ["gender"]
bootstrap = 40
confidence = 0.9
"""
OTHER = STUDY.replace("[models.no_change]", "weights = [1000.0]\n\n[models.no_change]")
LIST = "code,title,group\na,Cooks,x\nb,Carpenters,x\nc,Nurses,x\n"


def table(people: int = 100) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    rows = []
    for person in range(people):
        occupation = "abc"[rng.integers(3)]
        for year in range(1980, 1980 + int(rng.integers(2, 8))):
            occupation = "abc"[rng.integers(3)] if rng.random() < 0.3 else occupation
            split = "train" if person < 30 else "validation" if person < 40 else "test"
            rows.append((person, year, occupation, ("female", "male")[person % 2], split))
    return pl.DataFrame(rows, schema=["person", "year", "occupation", "gender", "split"], orient="row")


def run(folder: Path, name: str, study: str = STUDY, *, rows: pl.DataFrame | None = None, codes: str = LIST) -> Path:
    place = folder / f"{name}_data"
    place.mkdir(parents=True)
    (table() if rows is None else rows).write_csv(place / "table.csv")
    (place / "list.csv").write_text(codes)
    (place / "study.toml").write_text(study)
    run_study(read_study(place / "study.toml"), folder / name, command="laborllm run study.toml")
    return folder / name


def compare(out: Path, *runs: Path, common: bool = False) -> Evaluation:
    return compare_runs(runs, out, common=common, command="laborllm compare")


@pytest.fixture(scope="module", autouse=True)
def quick_report() -> Iterator[None]:
    """The page is tested elsewhere."""

    def written(out: Path) -> Path:
        read_run(out)
        (out / "report.html").write_text("a page")
        return out / "report.html"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("laborllm.running.run.write_report", written)
        patch.setattr("laborllm.running.compare.write_report", written)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs "first" and "second" of one survey, whose transition models differ."""
    made = tmp_path_factory.mktemp("compare")
    run(made, "first")
    run(made, "second", OTHER)
    return made


def test_models_are_evaluated_as_in_one_run(folder: Path, tmp_path: Path) -> None:
    found = compare(tmp_path / "both", folder / "first", folder / "second")
    names = ["first-transition", "no_change", "second-transition"]
    assert found.evaluation["model"].unique(maintain_order=True).to_list() == names
    careers = Careers.read(folder / "first" / "careers.parquet").part("test")
    predictions = {
        "first-transition": Probabilities.read(folder / "first" / "probabilities" / "transition.parquet"),
        "no_change": Probabilities.read(folder / "second" / "probabilities" / "no_change.parquet"),
        "second-transition": Probabilities.read(folder / "second" / "probabilities" / "transition.parquet"),
    }
    wanted = evaluate(predictions, careers, EvaluationSettings(by=("gender",), bootstrap=40, confidence=0.9))
    assert_frame_equal(found.comparisons, wanted.comparisons)
    assert_frame_equal(found.evaluation, wanted.evaluation)
    one = pl.read_csv(folder / "second" / "evaluation.csv").filter(model="transition", metric="perplexity")
    both = pl.read_csv(tmp_path / "both" / "evaluation.csv").filter(model="second-transition", metric="perplexity")
    of_all = ["model", "band_low", "band_high"]  # a band holds for all models together
    assert_frame_equal(one.drop(of_all), both.drop(of_all))


def test_the_folder_says_what_was_compared(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "both"
    compare(out, folder / "first", folder / "second")
    record = json.loads((out / "record.json").read_text())
    assert [each["label"] for each in record["runs"]] == ["first", "second"]
    test = Careers.read(folder / "first" / "careers.parquet").part("test")
    for each in record["runs"]:
        assert each["test_people_sha256"] == each["compared_sha256"] == people_hash(test)
        stages = json.loads((Path(each["run"]) / "record.json").read_text())["stages"]
        written = {file: digest for stage in stages for file, digest in stage["outputs"].items()}
        own = f"{each['label']}-transition"
        assert each["models"][own] == written["probabilities/transition.parquet"]
        assert record["models"][own]["kind"] == "transition"
        assert each["laborllm"] == record["laborllm"]
    assert record["baseline"] == "first-transition"
    assert record["split"]["test"] == {"people": test.people, "person_years": len(test)}
    read = read_run(out)
    assert read.confidence == 0.9
    assert len(read.careers) == len(test)
    compare(out, folder / "first", folder / "second")  # its own folder may be written again


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.col("occupation").replace("a", "b"), r"occupation '[bc]', in \S+first person"),
        (pl.col("year") + 1, r"test row 1 is person 40, 1981, .* in \S+first person 40, 1980"),
        (pl.col("person") + 1, r"of 60 test people 59 are in both, 1 taught the other's models"),
        (
            pl.when(pl.col("person") < 30).then(pl.lit("test")).when(pl.col("person") < 40).then(pl.lit("validation"))
            .otherwise(pl.lit("train")).alias("split"),
            r"test row 1 is person 0, 1980, .* of 60 test people 0 are in both, 60 taught the other's models",
        ),
    ],
)  # fmt: skip
def test_other_people_years_or_outcomes_are_refused(
    change: pl.Expr, message: str, folder: Path, tmp_path: Path
) -> None:
    other = run(tmp_path, "other", rows=table().with_columns(change))
    with pytest.raises(LaborLLMError, match=message):
        compare(tmp_path / "both", folder / "first", other)
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (LIST.replace("Nurses", "Physicians"), r"title 3 of its list is 'Physicians', in \S+first 'Nurses'"),
        (LIST + "d,Judges,x\n", r"code 4 of its list is 'd', in \S+first 'nothing' \(4 and 3 occupations\)"),
    ],
)
def test_another_list_is_refused(codes: str, message: str, folder: Path, tmp_path: Path) -> None:
    other = run(tmp_path, "other", codes=codes)
    for common in (False, True):
        with pytest.raises(LaborLLMError, match=message):
            compare(tmp_path / "both", folder / "first", other, common=common)


def test_in_common_are_the_years_whose_career_is_the_same(folder: Path, tmp_path: Path) -> None:
    """Person 41 lacks a year, person 42 has another outcome, person 43 another birth, 44 to 49 teach, 99 is longer."""
    person, year, number = pl.col("person"), pl.col("year"), pl.int_range(pl.len()).over("person")
    another = pl.col("occupation").replace_strict({"a": "b", "b": "c", "c": "a"})
    rows = table()
    lost = rows.filter(number == 1).filter(person == 41)["year"][0]
    longer = rows.filter(person == 99).tail(1).with_columns(year=pl.lit(1999, dtype=pl.Int64))
    other = pl.concat([rows.filter((person != 41) | (year != lost)), longer]).with_columns(
        occupation=pl.when((person == 42) & (number == 2)).then(another).otherwise(pl.col("occupation")),
        gender=pl.when(person == 43).then(pl.lit("female")).otherwise(pl.col("gender")),
        split=pl.when(person.is_between(44, 49)).then(pl.lit("train")).otherwise(pl.col("split")),
    )
    first_years = {41: 1, 42: 2, 43: 0, **dict.fromkeys(range(44, 50), 0)}
    kept = number < person.replace_strict(first_years, default=99)
    wanted = rows.filter(person >= 40).filter(kept).select("person", "year")
    run(tmp_path, "other", OTHER, rows=other)
    found = compare(tmp_path / "both", folder / "first", tmp_path / "other", common=True)
    careers = Careers.read(tmp_path / "both" / "careers.parquet")
    assert careers.table.select("person", pl.col("year").cast(pl.Int64)).rows() == wanted.rows()
    total = Careers.read(folder / "first" / "careers.parquet").part("test")
    assert f"first: {len(total) - wanted.height} of its {len(total)} test person-years are left out" in found.notes[0]
    assert "6 of its 60 test people taught the models of another" in found.notes[0]
    record = json.loads((tmp_path / "both" / "record.json").read_text())
    assert record["notes"][:2] == list(found.notes[:2])
    for name, path in {"first": folder / "first", "other": tmp_path / "other"}.items():
        prediction = Probabilities.read(path / "probabilities" / "transition.parquet")
        keys = list(zip(prediction.rows["person"], prediction.rows["year"], strict=True))
        assert prediction.realised is not None
        nats = [-prediction.realised[keys.index(key)] for key in wanted.rows()]
        row = found.evaluation.filter(model=f"{name}-transition", metric="perplexity", subset="all", group="all")
        assert row.filter(task="occupation")["estimate"][0] == pytest.approx(np.exp(np.mean(nats)), rel=1e-9)


def test_nobody_in_common_is_refused(folder: Path, tmp_path: Path) -> None:
    other = run(tmp_path, "other", rows=table().with_columns(pl.col("year") + 20))
    with pytest.raises(LaborLLMError, match="have no test person-year in common"):
        compare(tmp_path / "both", folder / "first", other, common=True)


def test_groups_are_those_of_the_first_run(folder: Path, tmp_path: Path) -> None:
    other = run(tmp_path, "other", rows=table().with_columns(gender=pl.lit("unknown")))
    found = compare(tmp_path / "both", folder / "first", other)
    assert any("gender differs in" in note and "groups are of first" in note for note in found.notes)
    assert "gender=unknown" not in found.evaluation["group"].to_list()


def test_folders_of_one_name_are_told_apart(folder: Path, tmp_path: Path) -> None:
    for name, study in (("a", STUDY), ("b", OTHER)):
        run(tmp_path / name, "my run", study)
    found = compare(tmp_path / "both", tmp_path / "a" / "my run", tmp_path / "b" / "my run")
    names = found.evaluation["model"].unique(maintain_order=True).to_list()
    assert names == ["my-run-1-transition", "no_change", "my-run-2-transition"]


def test_what_is_no_run_or_was_changed_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match="give at least two run folders"):
        compare(tmp_path / "both", folder / "first")
    with pytest.raises(LaborLLMError, match="is given twice"):
        compare(tmp_path / "both", folder / "first", folder / "first")
    with pytest.raises(LaborLLMError, match="holds no run of laborllm"):
        compare(tmp_path / "both", folder / "first", folder / "first_data")
    with pytest.raises(LaborLLMError, match=r"first: holds attainable.csv but no comparison"):
        compare(folder / "first", folder / "second", run(tmp_path, "other"))
    with pytest.raises(LaborLLMError, match="which is compared; choose another folder"):
        compare(folder, folder / "first", folder / "second")
    changed = tmp_path / "other" / "probabilities" / "no_change.parquet"
    changed.write_bytes((tmp_path / "other" / "probabilities" / "transition.parquet").read_bytes())
    with pytest.raises(LaborLLMError, match=r"probabilities/no_change.parquet is not as the run wrote it"):
        compare(tmp_path / "both", folder / "first", tmp_path / "other")
    changed.unlink()
    with pytest.raises(LaborLLMError, match=r"probabilities/no_change.parquet is missing"):
        compare(tmp_path / "both", folder / "first", tmp_path / "other")
