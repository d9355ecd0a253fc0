"""Terms and the features they stand for: products, levels, missing values, levels never seen, and messages."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from laborllm.errors import LaborLLMError
from laborllm.models.regression.features import Histories
from laborllm.models.regression.terms import INTERCEPT, Design, row_products
from laborllm.survey.careers import Careers


@pytest.fixture
def histories(few_careers: Careers) -> Histories:
    return Histories(few_careers)


def column(design: Design, histories: Histories, term: str, level: str) -> np.ndarray:
    matrix, _ = design.matrix(histories)
    return matrix[:, [design.names.index((term, level))]].toarray()[:, 0]


def changed(histories: Histories, **columns: pl.Expr) -> Histories:
    careers = histories.careers
    return Histories(replace(careers, table=careers.table.with_columns(**columns)))


def test_row_products_are_those_of_dense_rows(rng: np.random.Generator) -> None:
    left, right = (rng.normal(size=(30, width)) * (rng.random((30, width)) < 0.4) for width in (4, 3))
    found = row_products(sparse.csr_array(left), sparse.csr_array(right))
    np.testing.assert_allclose(found.toarray(), (left[:, :, None] * right[:, None, :]).reshape(30, 12))


def test_levels_are_indicators_and_missing_is_one_of_them(histories: Histories) -> None:
    design = Design.of(["gender", "region", "previous"], histories)
    table = histories.careers.table
    assert [level for term, level in design.names if term == "region"] == ["south", "<missing>"]
    np.testing.assert_array_equal(column(design, histories, "region", "<missing>"), table["region"].is_null())
    np.testing.assert_array_equal(column(design, histories, "gender", "female"), table["gender"] == "female")
    np.testing.assert_array_equal(column(design, histories, "previous", "<none>"), histories.previous < 0)
    np.testing.assert_array_equal(column(design, histories, "previous", "433"), histories.previous == 2)
    np.testing.assert_array_equal(column(design, histories, INTERCEPT, ""), 1)


def test_numbers_are_scaled_and_taken_as_asked(histories: Histories) -> None:
    design = Design.of(["tenure", "log(index)", "factor(tenure)", "gender:tenure"], histories)
    scale = dict(zip(design.names, design.scales, strict=True))
    spread = histories.tenure.std()
    np.testing.assert_allclose(column(design, histories, "tenure", ""), histories.tenure / spread)
    np.testing.assert_allclose(
        column(design, histories, "log(index)", "") * scale["log(index)", ""], np.log1p(histories.index)
    )
    np.testing.assert_array_equal(column(design, histories, "factor(tenure)", "2"), histories.tenure == 2)
    women = histories.careers.table["gender"].to_numpy() == "female"
    np.testing.assert_allclose(column(design, histories, "gender:tenure", "female"), women * histories.tenure / spread)


def test_reference_levels_are_left_out(histories: Histories) -> None:
    design = Design.of(["gender", "gender:education", "tenure"], histories, reference=True)
    assert design.names == [
        (INTERCEPT, ""),
        ("gender", "male"),
        ("gender:education", "male:some college"),
        ("tenure", ""),
    ]


def test_a_missing_age_is_zero_beside_an_indicator(histories: Histories) -> None:
    some = changed(histories, birth_year=pl.when(pl.col("person") > 10).then("birth_year"))
    design = Design.of(["age"], some)
    missing = some.careers.table["birth_year"].is_null().to_numpy()
    np.testing.assert_array_equal(column(design, some, "age", "<missing>"), missing)
    np.testing.assert_array_equal(column(design, some, "age", "")[missing], 0)


def test_held_has_one_column_an_occupation(histories: Histories) -> None:
    matrix, _ = Design.of(["held"], histories).matrix(histories)
    np.testing.assert_array_equal(matrix.toarray()[:, 1:], histories.held.toarray() > 0)


def test_a_level_never_seen_has_no_effect_and_is_counted(histories: Histories) -> None:
    design = Design.of(["gender", "region:gender", "tenure"], histories)
    other = changed(histories, gender=pl.when(pl.col("person") == 1).then(pl.lit("other")).otherwise("gender"))
    matrix, unseen = design.matrix(other)
    rows = (other.careers.table["person"] == 1).to_numpy()
    assert unseen == {"gender": rows.sum(), "region:gender": rows.sum()}
    tenure = len(design.names) - 1
    assert matrix[np.flatnonzero(rows)][:, 1:tenure].nnz == 0
    whole, none = design.matrix(histories)
    assert none == {}
    assert (matrix[np.flatnonzero(~rows)] != whole[np.flatnonzero(~rows)]).nnz == 0


def test_a_term_that_does_not_vary_has_no_column(histories: Histories) -> None:
    alike = changed(histories, region=pl.lit("south"))
    design = Design.of(["region", "gender"], alike)
    assert design.constant == ["region"]
    assert [term for term, _ in design.names] == [INTERCEPT, "gender", "gender"]


def test_an_override_sets_every_row(histories: Histories) -> None:
    design = Design.of(["gender", "log(tenure)", "gender:education"], histories)
    all_men, _ = design.matrix(histories, {"gender": "male"})
    men = changed(histories, gender=pl.lit("male"))
    assert (all_men != design.matrix(men)[0]).nnz == 0
    more, _ = design.matrix(histories, {"tenure": 2.0})
    place = design.names.index(("log(tenure)", ""))
    np.testing.assert_allclose(more[:, [place]].toarray()[:, 0] * design.scales[place], np.log1p(histories.tenure + 2))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (["tenures"], r"term 'tenures': there is no variable 'tenures'; the variables are previous, before"),
        (["gender:log(gender)"], r"term 'gender:log\(gender\)': there is no variable 'log\(gender\)'"),
        (["gender", "gender"], "term 'gender' stands twice; keep one of them"),
    ],
)
def test_terms_that_cannot_be_read(terms: list[str], message: str, histories: Histories) -> None:
    with pytest.raises(LaborLLMError, match=message):
        Design.of(terms, histories)


def test_a_number_that_is_not_finite_is_an_error(few_careers: Careers) -> None:
    histories = Histories(few_careers)
    histories.__dict__["age"] = np.where(np.arange(len(few_careers)) == 4, np.inf, 30.0)
    with pytest.raises(
        LaborLLMError, match=r"careers, variable age, row 5: inf gives no finite number \(1 such rows\)"
    ):
        Design.of(["age"], histories)
    histories.__dict__["age"] = np.full(len(few_careers), -2.0)
    with pytest.raises(LaborLLMError, match=r"variable age, row 1: -2.0 gives no finite log"):
        Design.of(["log(age)"], histories)
