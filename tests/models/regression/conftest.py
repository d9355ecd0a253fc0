"""Rows of a softmax with all that one may have."""

import numpy as np
import pytest
from scipy import sparse

from laborllm.models.regression.softmax import Choices, Coefficients, Similarity

ROWS, FEATURES, OUTCOMES = 240, 6, 4


@pytest.fixture
def choices(rng: np.random.Generator) -> Choices:
    """Sparse features, one similarity variable with one alternative a row, one with several, some rows barred."""
    features = rng.normal(size=(ROWS, FEATURES)) * (rng.random((ROWS, FEATURES)) < 0.6)
    features[:, 0] = 1
    origin = rng.integers(OUTCOMES + 1, size=ROWS)
    stay = np.vstack([np.zeros(OUTCOMES), np.eye(OUTCOMES)])
    near = rng.random((OUTCOMES + 1, OUTCOMES)) * (rng.random((OUTCOMES + 1, OUTCOMES)) < 0.5)
    varies = sparse.csr_array(np.column_stack([np.ones(ROWS), rng.normal(size=ROWS)]))
    excluded = np.where(rng.random(ROWS) < 0.3, origin - 1, -1)
    chosen = rng.integers(OUTCOMES, size=ROWS)
    return Choices(
        features=sparse.csr_array(features),
        offset=np.log([0.1, 0.2, 0.3, 0.4]),
        similarities=(
            Similarity(sparse.csr_array(stay), origin, varies),
            Similarity(sparse.csr_array(near), origin, sparse.csr_array(np.ones((ROWS, 1)))),
        ),
        excluded=excluded,
        chosen=np.where(chosen == excluded, (chosen + 1) % OUTCOMES, chosen),
    )


@pytest.fixture
def coefficients(rng: np.random.Generator) -> Coefficients:
    return Coefficients(rng.normal(size=(FEATURES, OUTCOMES)), rng.normal(size=3))
