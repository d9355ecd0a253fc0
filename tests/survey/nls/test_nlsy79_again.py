"""The careers of a real NLSY79 extract, told a second time by plain loops that share nothing with the package."""

import csv
import io
import re
import zipfile
from pathlib import Path

import pytest

from laborllm.survey.nls.nlsy79 import NLSY79Settings, read_nlsy79

LABELS = {
    "sex": r"SEX OF R",
    "race": r"RACL/ETHNIC COHORT /SCRNR",
    "born": r"DATE OF BIRTH - YR",
    "weight": r"SAMPLING WEIGHT(?= 79$)",
    "region": r"REGION OF (?:CURRENT )?RESIDENCE",
    "grade": r"HIGHEST GRADE COMPLTD \(REV\)",
    "enrolled": r"ENROLLMT STAT MAY 1 SURVEY YR \(REV\)",
}
GENDERS = {1: "male", 2: "female"}
ETHNICITIES = {1: "hispanic", 2: "black or african american", 3: "white"}
REGIONS = {1: "northeast", 2: "northcentral", 3: "south", 4: "west"}
LEVELS = dict.fromkeys((*range(12), 93, 94), "less than high school") | {12: "high school", 16: "college"}
LEVELS |= dict.fromkeys((13, 14, 15), "some college") | dict.fromkeys((17, 18, 19, 20), "graduate degree")
Facts = dict[int, dict[str, dict[int, int]]]
Rows = list[tuple[object, ...]]


def dictionary_facts(path: Path, facts: Facts) -> None:
    """Adds person -> fact -> year -> value, the facts known by their labels."""
    with zipfile.ZipFile(path) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    head, _, rows = text.partition("}")
    labels = re.findall(r'"(.*)"', head)
    wanted = {
        place: (fact, int(year) + (1900 if len(year) == 2 else 0))
        for place, label in enumerate(labels)
        for fact, words in LABELS.items()
        for year in re.findall(rf"^{words} (\d+)$", label)
    }
    person = next(place for place, label in enumerate(labels) if label.startswith("ID#"))
    for line in rows.strip().splitlines():
        values = line.split()
        known = facts.setdefault(int(values[person]), {fact: {} for fact in LABELS})
        for place, (fact, year) in wanted.items():
            known[fact][year] = int(values[place])


def career(jobs: dict[int, int], facts: dict[str, dict[int, int]], crosswalk: dict[int, str]) -> Rows:
    regions = [REGIONS[value] for _, value in sorted(facts["region"].items()) if value > 0] or [None]
    rows: Rows = []
    for year in sorted(jobs):
        state = "in_education" if facts["enrolled"].get(year) in (2, 3) else "not_working"
        occupation = state if jobs[year] == -4 else crosswalk.get(jobs[year])
        grades = [grade for asked, grade in sorted(facts["grade"].items()) if asked <= year and grade in LEVELS]
        fixed = GENDERS[facts["sex"][1979]], ETHNICITIES[facts["race"][1979]], regions[0], 1900 + facts["born"][1979]
        if occupation is not None:
            rows.append((year, occupation, LEVELS[grades[-1]] if grades else None, *fixed, facts["weight"][1979] / 100))
    return rows


@pytest.mark.real_data
def test_plain_loops_tell_the_same_careers(real_data: Path) -> None:
    folder = real_data / "data" / "nlsy79"
    files = tuple(folder / name for name in ("cpsocc80.csv", "y79_demographicsV2.dct.zip", "y79_schoolV2.dct.zip"))
    facts: Facts = {}
    for file in files[1:]:
        dictionary_facts(file, facts)
    pairs = csv.DictReader((real_data / "data" / "crosswalks" / "occ1980_occ1990dd.csv").read_text().splitlines())
    crosswalk = {int(pair["occ"]): pair["occ1990dd"] for pair in pairs if pair["occ1990dd"]}
    header, *lines = csv.reader(io.StringIO(files[0].read_text()))
    years = [int(name[-4:]) for name in header[1:]]
    expected = []
    for person, *codes in (list(map(int, line)) for line in lines):
        rows = career(dict(zip(years, codes, strict=True)), facts[person], crosswalk)
        expected += [(person, *row) for row in rows]
    names = ("person", "year", "occupation", "education", "gender", "ethnicity", "region", "birth_year", "weight")
    found = read_nlsy79(NLSY79Settings(files=files)).table.select(names)
    assert sorted(expected, key=lambda row: (row[0], row[1])) == found.rows()
