"""A few made-up people of the PSID and their files in the survey's own layouts."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from laborllm.survey.psid.psid import psid_variables

Columns = Mapping[str, Sequence[object]]

WAVES = (1982, 1983, 1985, 1999, 2005, 2017)
A, B, C, D, E = 10001, 10002, 10003, 10170, 10171
INDIVIDUALS: dict[int, dict[int, tuple[int, int, int]]] = {
    A: {1982: (501, 1, 1), 1983: (601, 1, 10), 1985: (701, 1, 10), 1999: (801, 81, 10), 2005: (0, 0, 0)},
    B: {
        1982: (501, 2, 2),
        1983: (601, 2, 20),
        1985: (702, 1, 10),
        1999: (0, 0, 0),
        2005: (901, 1, 10),
        2017: (99, 71, 10),
    },
    C: {1982: (501, 3, 3), 1983: (602, 1, 10), 1985: (703, 51, 10), 1999: (802, 1, 10), 2005: (902, 1, 10)},
    D: {1983: (602, 2, 88), 1985: (703, 1, 10), 1999: (802, 2, 22), 2005: (902, 2, 20), 2017: (99, 2, 20)},
    E: {1999: (801, 1, 10)},
}
"""Person -> wave -> interview number, sequence, relation. C splits off in 1983 and is in an institution in 1985, where
D heads the family; A and B part in 1985; A dies before 1999 and E heads his family; B does not answer in 1999."""
INDIVIDUALS[C][2017] = (99, 1, 10)
GRADES = {A: {1982: 12, 1985: 99}, B: {1982: 16}, C: {1983: 11, 1999: 17}, D: {1985: 14}, E: {1999: 98}}
BORN = {A: {1983: 1940, 1985: 1941}, B: {1983: 9999, 1985: 1942}, C: {1983: 1960}, D: {1985: 1961}, E: {1999: 0}}
SEX = {A: 1, B: 2, C: 1, D: 2, E: 2}
WEIGHTS = {A: {1982: "12"}, B: {2005: "7.125"}}

FAMILIES: dict[int, dict[int, dict[str, object]]] = {
    1982: {
        501: {
            "head_status": 1,
            "head_occupation_1970": 401,
            "spouse_status": 6,
            "spouse_occupation_1970": 0,
            "head_race": 2,
            "region": 3,
            "head_wage": "12.50",
            "spouse_wage": "0.00",
            "head_labor_income": 21000,
            "spouse_labor_income": 900,
        }
    },
    1983: {
        601: {
            "head_status": 3,
            "head_occupation_1970": 0,
            "spouse_status": 1,
            "spouse_occupation_1970": 395,
            "head_labor_income": 99999,
            "spouse_labor_income": 99999,
        },
        602: {
            "head_status": 7,
            "head_occupation_1970": 0,
            "spouse_status": 0,
            "spouse_occupation_1970": 0,
            "region": 6,
        },
    },
    1985: {
        701: {"head_status": 2, "head_occupation_1970": 401, "head_race": 1, "head_hispanic": 0},
        702: {"head_status": 1, "head_occupation_1970": 999, "head_race": 1, "head_hispanic": 0},
        703: {"head_status": 5, "head_occupation_1970": 0, "head_race": 4, "head_hispanic": 0, "region": 4},
    },
    1999: {
        801: {"head_status": 1, "head_occupation_1970": 600, "head_race": 5, "region": 1},
        802: {
            "head_status": 6,
            "head_status_2": 3,
            "head_works_now": 5,
            "head_occupation_1970": 0,
            "spouse_status": 6,
            "spouse_works_now": 1,
            "spouse_occupation_1970": 245,
            "head_race": 1,
            "spouse_race": 4,
            "spouse_labor_income": 9999998,
        },
    },
    2005: {
        901: {"head_status": 4, "head_works_now": 5, "head_occupation_2000": 402, "head_race": 1, "head_hispanic": 0},
        902: {
            "head_status": 7,
            "head_works_now": 1,
            "head_occupation_2000": 402,
            "spouse_status": 2,
            "spouse_occupation_2000": 313,
            "head_race": 1,
            "head_hispanic": 2,
            "spouse_wage": "20.25",
            "head_labor_income": -400,
            "spouse_labor_income": 40500,
        },
    },
    2017: {
        99: {"head_status": 1, "head_occupation_2010": 9999, "spouse_status": 1, "spouse_occupation_2010": 4020},
    },
}


def name(concept: str, year: int | str) -> str:
    rows = psid_variables().rows
    found = rows.filter((rows["concept"] == concept) & (rows["year"] == str(year)))["reference"]
    assert found.len() == 1, (concept, year)
    return str(found[0])


def individual_columns() -> dict[str, list[object]]:
    """The cross-year individual file, a column per variable."""
    people = list(INDIVIDUALS)
    columns: dict[str, list[object]] = {
        "ER30000": [5] * len(people),
        "ER30001": [person // 1000 for person in people],
        "ER30002": [person % 1000 for person in people],
        "ER32000": [SEX[person] for person in people],
    }
    for year in WAVES:
        for place, concept in enumerate(("interview", "sequence", "relation")):
            columns[name(concept, year)] = [INDIVIDUALS[person].get(year, (0, 0, 0))[place] for person in people]
        columns[name("grades", year)] = [GRADES[person].get(year, 0) for person in people]
        columns[name("weight", year)] = [WEIGHTS.get(person, {}).get(year, "0.000") for person in people]
        if year >= 1983:
            columns[name("year_born", year)] = [BORN[person].get(year, 0) for person in people]
    return columns


def concepts_of(year: int) -> list[str]:
    rows = psid_variables().rows
    prefixes = ("head_", "spouse_", "region")
    return [
        concept
        for concept, y in rows.select("concept", "year").iter_rows()
        if y == str(year) and concept.startswith(prefixes)
    ]


def family_columns(year: int) -> dict[str, list[object]]:
    """A wave's family file, a column per variable, release number first and one variable that nobody asks for."""
    families = FAMILIES[year]
    columns: dict[str, list[object]] = {f"ER{year}1": [2] * len(families)}
    columns[name("family_interview", year)] = list(families)
    for concept in concepts_of(year):
        blank = "0.00" if concept.endswith("_wage") else 0
        columns[name(concept, year)] = [values.get(concept, blank) for values in families.values()]
    columns[f"ER{year}9"] = ["-3" if place else " 8" for place in range(len(families))]
    return columns


def extract_columns() -> dict[str, list[object]]:
    """A Data Center extract: the families of each wave beside the people in them."""
    columns = individual_columns()
    for year in WAVES:
        whose = [INDIVIDUALS[person].get(year, (0, 0, 0)) for person in INDIVIDUALS]
        family = family_columns(year)
        place = {number: row for row, number in enumerate(FAMILIES[year])}
        for variable, values in family.items():
            here = [place.get(number) if 1 <= sequence <= 20 else None for number, sequence, _ in whose]
            columns[variable] = ["" if row is None else values[row] for row in here]
    return columns


def places(columns: Columns) -> dict[str, tuple[int, int]]:
    found, end = {}, 0
    for variable, values in columns.items():
        width = max(len(str(value)) for value in values) or 1
        found[variable] = (end + 1, end + width)
        end += width
    return found


def text(columns: Columns, line_end: str = "\r\n") -> str:
    """The fixed-width text, values right-justified."""
    spots = places(columns)
    rows = zip(*columns.values(), strict=True)
    lines = [
        "".join(str(value).rjust(last - first + 1) for value, (first, last) in zip(row, spots.values(), strict=True))
        for row in rows
    ]
    return "".join(line + line_end for line in lines)


def setup(columns: Columns, stem: str, kind: str) -> str:
    """A set-up in the survey's layout: .sps, .do or .sas of a packaged file, or .job, the .do of a Data Center job."""
    spots = places(columns)
    items = [f"{variable:<12}{first:>8} - {last:<6}" for variable, (first, last) in spots.items()]
    width, rows = max(last for _, last in spots.values()), len(next(iter(columns.values())))
    stars = "*" * 74
    counts = f"   Rows            : {rows}\n   Columns         : {len(columns)}"
    head = f"{stars}\n   Label           : {stem}\n{counts}\n{stars}"
    three = "\n".join("      " + " ".join(items[place : place + 3]) for place in range(0, len(items), 3))
    match kind:
        case ".sps":
            labels = "\n".join(f'      {variable:<12} "A LABEL. WITH 1 - 2"' for variable in columns)
            return (
                f"\n{head}.\n\nFILE HANDLE PSID / NAME = '[PATH]\\{stem}.TXT' LRECL = {width} .\n"
                f"DATA LIST FILE = PSID FIXED /\n{three}\n   .\n   EXECUTE .\n   FORMATS\n      ER30019 (F7.3)\n   .\n"
                f"   VARIABLE LABELS\n{labels}\n   .\n"
            )
        case ".sas":
            labels = "\n".join(f'      {variable:<10} LABEL="A LABEL"   format=f4.2' for variable in columns)
            return (
                f"\n{head};\n\nDATA {stem} ;\n   ATTRIB\n{labels}\n   ;\n"
                f"   INFILE '[PATH]\\{stem}.txt' LRECL = {width} ;\n   INPUT\n{three}\n   ;\nRUN ;\n"
            )
        case ".do":
            labels = "\n".join(f'label variable  {variable:<10}  "A LABEL" ;' for variable in columns)
            typed = three.replace("      V", " long V", 1)
            return f"\n#delimit ;\n\n{head};\n\n\ninfix\n{typed}\nusing [path]\\{stem}.txt, clear\n;\n{labels}\n"
    job = (
        f"#delimit ;\n*  PSID DATA CENTER *****************************************************\n"
        f"   JOBID            : {stem[1:]}\n   N_OF_VARIABLES   : {len(columns)}\n   N_OF_OBSERVATIONS: {rows}\n"
        f"   MAX_REC_LENGTH   : {width}\n   DATE & TIME      : November 24, 2016 @ 21:54:36\n{stars}\n;\n\n"
    )
    return f"{job}infix\n{three}\nusing {stem}.txt, clear\n;\ndestring, replace ;\n\n"


def write_fixed(folder: Path, stem: str, columns: Columns, kind: str = ".sps", line_end: str = "\r\n") -> Path:
    """Write STEM.txt and its set-up; the path of the text."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.txt"
    path.write_bytes(text(columns, line_end).encode())
    suffix = ".do" if kind == ".job" else kind
    (folder / f"{stem}{suffix}").write_text(setup(columns, stem, kind))
    return path


def write_zip(folder: Path, stem: str, columns: Columns) -> Path:
    """Write STEM.zip as the survey packs it: text, three set-ups, a codebook and notes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem.lower()}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{stem}.txt", text(columns))
        for kind in (".sps", ".sas", ".do"):
            archive.writestr(f"{stem}{kind}", setup(columns, stem, kind))
        archive.writestr(f"{stem.lower()}_codebook.pdf", b"%PDF")
        archive.writestr("readme.txt", "Read me")
        archive.writestr(f"{stem}_formats.sas", "PROC FORMAT ;")
    return path


def write_csv(path: Path, columns: Columns) -> Path:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(str(value).strip() for value in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_waves(folder: Path, kind: str) -> list[Path]:
    """The individual file and the family files, in one kind of set-up or zipped."""
    tables = {"IND2021ER": individual_columns()} | {f"FAM{year}": family_columns(year) for year in WAVES}
    if kind == ".zip":
        return [write_zip(folder, stem, columns) for stem, columns in tables.items()]
    return [write_fixed(folder, stem, columns, kind) for stem, columns in tables.items()]


def mutated(raw: bytes, rng: np.random.Generator) -> bytes:
    """One to three random edits: cut, drop, double, overwrite, swap."""
    content = bytearray(raw)
    for _ in range(int(rng.integers(1, 4))):
        here, there = sorted(int(place) for place in rng.integers(0, len(content) + 1, 2))
        there = min(there, here + int(rng.integers(1, 30)))
        match int(rng.integers(6)):
            case 0:
                del content[here:]
            case 1:
                del content[here:there]
            case 2:
                content[here:here] = content[here:there]
            case 3:
                content[here : here + 1] = bytes(
                    rng.choice(list(b"0123456789 .-+x\x00\xff\r\n,;'\""), 1).astype(np.uint8)
                )
            case 4:
                piece = content[here:there]
                content[here:there] = piece[::-1]
            case 5:
                content[here:here] = bytes(rng.choice(list(b" 0\n\x00\xe9"), 1).astype(np.uint8))
        if not content:
            break
    return bytes(content)
