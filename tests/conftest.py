"""Fixtures that several folders of tests share."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.survey.careers import Careers
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations

REAL_DATA = Path(os.environ.get("LABORLLM_REAL_DATA", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with data/, models/ and tokenizers/ that the project may not contain."""
    if not (REAL_DATA / "data" / "nlsy79").is_dir():
        pytest.skip(
            f"no survey files at {REAL_DATA}: draw an extract with the NLS Investigator (nlsinfo.org/investigator) "
            "and set LABORLLM_REAL_DATA to its folder"
        )
    return REAL_DATA


@pytest.fixture(scope="session", autouse=True)
def quick_fonts() -> None:
    """Fonts of PDF figures are not cut to their letters, which takes half of the time of a report."""
    from laborllm.report.drawing import STYLE

    STYLE["pdf.fonttype"] = 3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def five_occupations() -> Occupations:
    return Occupations(
        codes=("313", "436", "433", "unemployed", "in_education"),
        titles=("Secretaries", "Cooks", "Cooks, short order", "Unemployed", "In education"),
        groups=("Administrative support", "Food", "Food", "Not employed", "Not employed"),
    )


@pytest.fixture(scope="session")
def few_careers(five_occupations: Occupations) -> Careers:
    """Forty people over five occupations, with every covariate; some people have one row."""
    rng = np.random.default_rng(7)
    rows = []
    for person in range(1, 41):
        gender = ("female", "male")[person % 2]
        occupation = int(rng.integers(5))
        for year in sorted(rng.choice(np.arange(1980, 1995), size=int(rng.integers(1, 9)), replace=False)):
            if rng.random() < 0.4:
                occupation = int(rng.integers(5))
            rows.append((person, int(year), five_occupations.codes[occupation], gender))
    frame = pl.DataFrame(rows, schema=["person", "year", "occupation", "gender"], orient="row").with_columns(
        education=pl.when(pl.col("year") < 1988).then(pl.lit("high school")).otherwise(pl.lit("some college")),
        ethnicity=pl.when(pl.col("person") % 3 == 0).then(pl.lit("hispanic")).otherwise(pl.lit("white")),
        region=pl.when(pl.col("person") % 5 == 0).then(pl.lit(None)).otherwise(pl.lit("south")),
        birth_year=1960 + pl.col("person") % 5,
    )
    return careers_from_frame(frame, five_occupations, survey="a test survey")
