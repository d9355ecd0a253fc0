"""Distances out of a file: read as they stand, used by hand and in a fit, and refused with a line."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from laborllm.errors import LaborLLMError
from laborllm.models.regression.distances import read_distances
from laborllm.models.regression.features import Histories
from laborllm.models.regression.logit import MultinomialLogit
from laborllm.models.regression.logit_inference import tidy
from laborllm.models.regression.logit_settings import LogitSettings
from laborllm.models.regression.similarity import by_origin, coded_similarities
from laborllm.survey.careers import Careers
from laborllm.survey.occupations import Occupations

SETTINGS = {"terms": ("tenure",), "stages": 1, "l2": (0.0,)}


def written(folder: Path, occupations: Occupations, values: np.ndarray, more: str = "") -> Path:
    """One direction of every pair."""
    lines = [f"{a},{b},{values[i, j]}" for i, a in enumerate(occupations.codes) for j, b in enumerate(occupations.codes)
             if i < j]  # fmt: skip
    file = folder / "distances.csv"
    file.write_text("\n".join(["a,b,distance", *lines]) + "\n" + more)
    return file


@pytest.fixture
def values(rng: np.random.Generator) -> np.ndarray:
    drawn = rng.uniform(1, 9, (5, 5)).round(3)
    return np.triu(drawn, 1) + np.triu(drawn, 1).T


def test_one_direction_holds_in_both(tmp_path: Path, five_occupations: Occupations, values: np.ndarray) -> None:
    file = written(tmp_path, five_occupations, values, "313,313,0\nunknown,313,4\n")
    np.testing.assert_array_equal(read_distances(file, five_occupations), values)


def test_both_directions_are_kept_apart(tmp_path: Path, five_occupations: Occupations, values: np.ndarray) -> None:
    found = read_distances(written(tmp_path, five_occupations, values, "436,313,50\n"), five_occupations)
    assert (found[1, 0], found[0, 1]) == (50, values[0, 1])
    assert np.count_nonzero(found != values) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("313,436,1\n", r"distances.csv, row 11: the pair '313', '436' stands twice; keep one of the two"),
        ("313,313,2\n", r"column distance, row 11: '313' is 2 away from itself; give 0 or leave the row out"),
        ("436,313,-1\n", r"column distance, row 11: '?-1.*'? is no number of at least 0 \(1 such rows\); mend"),
        ("436,313,far\n", r"column distance, row 11: 'far' is no number of at least 0"),
        ("436,313,\n", r"column distance, row 11: None is no number of at least 0"),
        ("436,313,inf\n", r"column distance, row 11: 'inf' is no number of at least 0"),
    ],
)
def test_rows_that_are_refused(
    more: str, message: str, tmp_path: Path, five_occupations: Occupations, values: np.ndarray
) -> None:
    with pytest.raises(LaborLLMError, match=message):
        read_distances(written(tmp_path, five_occupations, values, more), five_occupations)


def test_files_that_are_refused(tmp_path: Path, five_occupations: Occupations) -> None:
    file = tmp_path / "few.csv"
    file.write_text("a,b,distance\n313,436,1\n")
    with pytest.raises(
        LaborLLMError, match=r"few.csv: 9 of 10 pairs of occupations have no distance, the first is '313', '433'; give"
    ):
        read_distances(file, five_occupations)
    file.write_text("a,b,far\n313,436,1\n")
    with pytest.raises(LaborLLMError, match="few.csv: column 'distance' is missing; the columns are a, b, far, those"):
        read_distances(file, five_occupations)


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(ValidationError, match='distances = "FILE.csv" and "distance" among similarity belong together'):
        LogitSettings(similarity=("distance",))
    with pytest.raises(ValidationError, match="belong together; give both or neither"):
        LogitSettings(distances=Path("d.csv"))


def test_the_variable_by_hand(few_careers: Careers, values: np.ndarray) -> None:
    histories = Histories(few_careers)
    one, two = coded_similarities(["distance", "distance:log(tenure)"], histories, distances=values)
    unit = values[~np.eye(5, dtype=bool)].std()
    expected = np.where(histories.previous[:, None] >= 0, values[histories.previous], 0)
    for coded, by_row in ((one, np.ones(len(few_careers))), (two, np.log1p(histories.tenure))):
        variable = coded.variable(histories)
        dense = variable.table[variable.origin].toarray() * (variable.design.toarray() * coded.scales)
        np.testing.assert_allclose(dense, expected * by_row[:, None])
    assert one.scales == pytest.approx([unit])


@pytest.fixture
def told(few_careers: Careers) -> np.ndarray:
    """Distances that say whether titles share a word, as ``shared_words`` does."""
    shared = by_origin("shared_words", few_careers.occupations).toarray()[1:]
    return (1 - shared) * (1 - np.eye(5))


@pytest.mark.parametrize("factor", [1, 1000])
def test_a_fit_finds_the_coefficient_in_the_unit_of_the_file(
    factor: float, few_careers: Careers, told: np.ndarray, tmp_path: Path
) -> None:
    """One less the shared words, and a dummy for staying, span what the shared words and the dummy span."""
    file = written(tmp_path, few_careers.occupations, told * factor)
    fits = []
    for settings in ({"similarity": ("stay", "shared_words")}, {"similarity": ("stay", "distance"), "distances": file}):
        model = MultinomialLogit(LogitSettings(**{**SETTINGS, **settings}))
        model.fit(few_careers, few_careers)
        fits.append(model)
    shared, distance = (tidy(model).tail(1) for model in fits)
    assert distance["term"].item() == "distance"
    assert distance["estimate"].item() * factor == pytest.approx(-shared["estimate"].item(), rel=1e-5)
    assert distance["std_error"].item() * factor == pytest.approx(shared["std_error"].item(), rel=1e-5)
    answers = [model.predict(few_careers).log_probabilities for model in fits]
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)


@pytest.mark.parametrize("stages", [1, 2])
def test_saved_and_loaded_without_the_file(
    stages: int, few_careers: Careers, values: np.ndarray, tmp_path: Path
) -> None:
    file = written(tmp_path, few_careers.occupations, values)
    settings = {"terms": ("previous",), "similarity": ("stay", "distance", "distance:gender"), "distances": file}
    model = MultinomialLogit(LogitSettings(**settings, stages=stages, l2=(1.0,), refine=False))
    model.fit(few_careers, few_careers)
    model.save(tmp_path / "model")
    file.unlink()
    again = MultinomialLogit.load(tmp_path / "model")
    np.testing.assert_array_equal(
        again.predict(few_careers).log_probabilities, model.predict(few_careers).log_probabilities
    )
    assert tidy(again).equals(tidy(model))
    assert "distance" in tidy(again).filter(pl.col("outcome").is_null())["term"].to_list()
