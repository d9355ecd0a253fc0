"""The closed list: facts that must hold, the crosswalks, error messages."""

from pathlib import Path

import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.occupations import (
    CENSUSES,
    NOT_EMPLOYED,
    STATES,
    Occupations,
    crosswalk,
    map_codes,
    occ1990dd,
)


def test_the_list_has_346_jobs_then_the_states() -> None:
    occupations = occ1990dd()
    assert len(occupations) == 346 + len(STATES)
    assert occupations.codes[-len(STATES) :] == tuple(STATES)
    jobs = [int(code) for code in occupations.codes[: -len(STATES)]]
    assert jobs == sorted(jobs)
    assert sum(occupations.is_state) == len(STATES)


def test_titles_are_unique_trimmed_lines_without_known_misspellings() -> None:
    titles = occ1990dd().titles
    assert len(set(titles)) == len(titles)
    assert all(title == " ".join(title.split()) for title in titles)
    text = " ".join(titles)
    for misspelt in ("Miscellanious", "Surveryors", "exluding", "applicance", "machne", "Furnance", "equipement"):
        assert misspelt not in text
    assert not any(character in text for character in "=\n\t")


def test_groups_are_25_broad_groups_the_military_and_the_states() -> None:
    occupations = occ1990dd()
    groups = dict(zip(occupations.codes, occupations.groups, strict=True))
    assert len(set(occupations.groups)) == 25 + 2
    assert [code for code, group in groups.items() if group == "Military"] == ["905"]
    assert [code for code, group in groups.items() if group == NOT_EMPLOYED] == list(STATES)
    assert groups["436"] == groups["435"] == "Food preparation and service"


@pytest.mark.parametrize("census", CENSUSES)
def test_every_crosswalk_leads_to_the_list(census: int) -> None:
    assert set(crosswalk(census).values()) <= set(occ1990dd().codes)


@pytest.mark.parametrize(
    ("census", "code", "job"),
    [
        (1970, 1, "23"),
        (1980, 404, "436"),
        (1990, 873, "873"),
        (2000, 402, "436"),
        (2002, 4020, "436"),
        (2010, 4020, "436"),
        (2002, 9810, "905"),
    ],
)
def test_known_codes(census: int, code: int, job: str) -> None:
    assert map_codes(pl.Series([code]), census).to_list() == [job]


def test_census_1980_reaches_330_occupations() -> None:
    assert len(set(crosswalk(1980).values())) == 330


def test_codes_of_2002_are_those_of_2000_times_ten() -> None:
    assert crosswalk(2002) == {10 * code: job for code, job in crosswalk(2000).items()}


def test_a_code_that_maps_nowhere_is_null_and_text_codes_count_as_numbers() -> None:
    codes = pl.Series("job", ["0360", "9990", None, "x"])
    assert map_codes(codes, 2002).to_list() == [crosswalk(2002)[360], None, None, None]
    assert map_codes(codes, 2002).name == "job"


def test_unclassified_and_unemployed_map_nowhere() -> None:
    assert map_codes(pl.Series([0, 991]), 1970).to_list() == [None, None]
    assert map_codes(pl.Series([0, 9920]), 2010).to_list() == [None, None]


def test_restrict_keeps_the_order() -> None:
    assert occ1990dd().restrict({"unemployed", "436", "4"}).codes == ("4", "436", "unemployed")


def test_an_unknown_census_is_refused() -> None:
    with pytest.raises(LaborLLMError, match=r"no crosswalk for Census 1950; choose out of 1970, 1980"):
        crosswalk(1950)


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(LaborLLMError, match=r"state 'retired' is unknown; choose out of unemployed, "):
        occ1990dd(["retired"])


@pytest.mark.parametrize(
    ("codes", "titles", "groups", "message"),
    [
        ((), (), (), "the list of occupations is empty"),
        (("1",), ("Cooks", "Clerks"), ("food",), "1 codes, 2 titles and 1 groups"),
        (("1", "1"), ("Cooks", "Clerks"), ("a", "b"), "row 2: code '1' stands twice"),
        (("1", "2"), ("Cooks", "Cooks"), ("a", "b"), "row 2: title 'Cooks' stands twice"),
        (("1",), ("Cooks ",), ("a",), "row 1: title 'Cooks ' is blank, padded or spans lines"),
        (("",), ("Cooks",), ("a",), "row 1: code '' is blank"),
    ],
)
def test_a_bad_list_is_refused(
    codes: tuple[str, ...], titles: tuple[str, ...], groups: tuple[str, ...], message: str
) -> None:
    with pytest.raises(LaborLLMError, match=message):
        Occupations(codes=codes, titles=titles, groups=groups)


@pytest.mark.real_data
@pytest.mark.parametrize(("census", "file"), [(1970, "1970"), (1980, "1980"), (2000, "2000"), (2010, "2010")])
def test_crosswalks_agree_with_the_published_ones(real_data: Path, census: int, file: str) -> None:
    published = pl.read_csv(real_data / "data" / "crosswalks" / f"occ{file}_occ1990dd.csv").rename(str.lower)
    ours = crosswalk(census)
    codes = {str(code) for code in occ1990dd().codes}
    for code, job in published.iter_rows():
        assert ours.get(int(code)) == (str(job) if str(job) in codes else None)
    added = set(ours) - {int(code) for code in published[published.columns[0]]}
    assert {ours[code] for code in added} <= {"905"}
