"""Every use of a checkpoint that sees few tokens at once, on careers short enough for it, in one study.

    python benchmarks/short_context.py write --study STUDY.toml --checkpoint FOLDER --out FOLDER
    laborllm run FOLDER/study.toml --out FOLDER/run
    python benchmarks/short_context.py show --out FOLDER [--json FILE]

The first command reads the study's careers (coded jobs of the NLSY79) and writes those up to ``--last-year`` over a
closed list of ten broad groups with one short word each, without covariates: what a context of 512 tokens and a
vocabulary of 512 pieces have room for. It counts tokens, and says how many examples fit. Where five do not, it also
writes a copy of the checkpoint with a longer context (``--context``): the base of its rotary positions is raised so
that the slowest of them turns no further than before (Peng et al. 2023, YaRN, section 3.1, "NTK-aware"); no weight is
changed, but it is no longer the checkpoint as it was published.

The last command prints raw perplexity of the realised titles, with 95 % intervals by person (1,000 bootstrap draws),
the paired gains over off the shelf (the same copy of the checkpoint) in nats a person-year, perplexity over the list,
and how many examples were shown.
"""

import argparse
import json
import math
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import tomli_w
from in_context import mean_by_person

from laborllm.models.language.loading import load_tokenizer, read_config
from laborllm.models.language.windows import longest_title
from laborllm.study import read_careers, read_study
from laborllm.survey.careers import Careers
from laborllm.survey.occupations import Occupations
from laborllm.survey.own_list import write_occupations
from laborllm.survey.tables.tabular import TableSettings, read_table
from laborllm.text.resume import ResumeSettings, write_resumes
from laborllm.text.title_list import write_title_list
from laborllm.text.titles import ResumeTokenizer

WORDS = {
    "boss": ("Executives, administrators, and managers", "Management related occupations"),
    "expert": ("Professional specialties", "Technicians and related support"),
    "sales": ("Financial sales and related occupations", "Retail sales"),
    "office": ("Administrative support",),
    "help": (
        "Housekeeping, cleaning, and laundry",
        "Building and grounds cleaning and maintenance",
        "Child care",
        "Food preparation and service",
        "Health service",
        "Personal appearance",
        "Recreation and hospitality",
        "Other personal care and service",
        "Guards and their supervisors",
        "Fire fighting, police, and correctional institutions",
    ),
    "farm": ("Farm operators and managers", "Other agricultural occupations"),
    "build": ("Mechanics and repairers", "Construction trades", "Precision production", "Extractive occupations"),
    "make": ("Machine operators, assemblers, and inspectors",),
    "drive": ("Transportation and material moving",),
    "army": ("Military",),
}
"""The word that stands for broad groups of occ1990dd; most are two or three pieces of a small vocabulary."""
SURVEY = "US"
"""The survey's name in every résumé: a shorter one than NLSY79."""
DROP = ["education", "gender", "ethnicity", "region", "birth_year"]
COUNTS = (1, 3, 5)


def short_careers(careers: Careers, last_year: int, most: dict[str, int]) -> pl.DataFrame:
    """Person, year, group's word and split; of each part at most so many people, the first ones."""
    word = {group: word for word, groups in WORDS.items() for group in groups}
    of_code = dict(zip(careers.occupations.codes, (word[group] for group in careers.occupations.groups), strict=True))
    table = careers.table.select(
        "person",
        "year",
        pl.col("occupation").cast(pl.String).replace_strict(of_code),
        pl.col("split").cast(pl.String),
    ).filter(pl.col("year") <= last_year)
    people = table.unique("person", maintain_order=True).with_columns(
        number=pl.int_range(pl.len()).over("split"), most=pl.col("split").replace_strict(most)
    )
    return table.join(people.filter(pl.col("number") < pl.col("most")), on="person", how="semi", maintain_order="left")


def stretch(checkpoint: Path, folder: Path, context: int) -> None:
    """A copy of a Llama checkpoint that sees more tokens, its rotary positions slowed down; the weights as they are."""
    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    factor = (context / config["max_position_embeddings"]) ** (width / (width - 2))
    rope = config.setdefault("rope_parameters", {"rope_type": "default", "rope_theta": config.get("rope_theta", 1e4)})
    rope["rope_theta"] *= factor
    config |= {"max_position_embeddings": context, "rope_theta": rope["rope_theta"]}
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def study(
    checkpoint: Path, stretched: Path | None, fits: tuple[int, int], given: argparse.Namespace
) -> dict[str, object]:
    """The study: the same test people for every way; of the checkpoint as it is as many examples as fit."""
    text = {"drop": DROP}

    def model(folder: Path, **way: object) -> dict[str, object]:
        return {"kind": "language_model", "checkpoint": str(folder), "text": text, **way}

    models: dict[str, dict[str, object]] = {"transition": {"kind": "transition"}}
    for name, folder in (("", checkpoint), ("long_", stretched)):
        if folder is None:
            continue
        models[f"{name}off_the_shelf"] = model(folder, use="off_the_shelf")
        models[f"{name}title_list"] = model(folder, use="off_the_shelf", title_list=True)
        for titles, most in zip((False, True), (max(COUNTS),) * 2 if name else fits, strict=True):
            for count in sorted({*(each for each in COUNTS if each <= most), most} - {0}):
                models[f"{name}examples_{count}{'_and_list' if titles else ''}"] = model(
                    folder, use="in_context", examples={"count": count}, title_list=titles
                )
    for name, method, rate in (("fine_tuned", "full", given.rate), ("lora", "lora", given.lora_rate)):
        training = {"epochs": given.epochs, "learning_rate": rate, "batch": given.batch}
        models[name] = model(checkpoint, method=method, training=training)
    survey = {"source": "table", "files": ["careers.csv"], "survey": SURVEY, "occupations": "occupations.csv"}
    return {
        "description": "NLSY79, coded jobs up to a year, in ten broad groups of one word each.",
        "survey": survey,
        "models": models,
        "evaluation": {"by": []},
    }


def room(careers: Careers, checkpoint: Path, context: int) -> dict[str, float]:
    """Tokens of the parts of a prompt, and how many examples of the greatest length fit with and without the list."""
    text = ResumeSettings(drop=tuple(DROP))
    encoder = ResumeTokenizer(load_tokenizer(checkpoint, read_config(checkpoint)), careers.occupations.titles)
    resumes = encoder.encode(write_resumes(careers, text))
    examples = np.array([len(resume.tokens) for resume in resumes])
    head = len(encoder.tokenizer(write_title_list(careers.occupations, text), add_special_tokens=False)["input_ids"])
    own = max(int(resume.cuts[-1]) for resume in resumes) + longest_title(encoder)
    return {
        "context": context,
        "a title, mean": round(float(np.mean([len(each) for each in encoder.sequences])), 1),
        "the list": head,
        "an example, mean": round(float(examples.mean()), 1),
        "an example, longest": int(examples.max()),
        "the longest résumé up to its last title": own,
        "examples that fit": int((context - own) // examples.max()),
        "examples that fit behind the list": int((context - own - head) // examples.max()),
    }


def write(given: argparse.Namespace) -> None:
    given.out.mkdir(parents=True, exist_ok=True)
    most = {"train": given.train, "validation": given.validation, "test": given.test}
    table = short_careers(read_careers(read_study(given.study)), given.last_year, most)
    words = tuple(word for word in WORDS if word in table["occupation"].unique().to_list())
    files = given.out / "careers.csv", given.out / "occupations.csv"
    table.write_csv(files[0])
    write_occupations(Occupations(words, words, words), files[1])
    careers = read_table(TableSettings(files=(files[0],), occupations=files[1], survey=SURVEY))
    context = int(read_config(given.checkpoint).max_position_embeddings)
    counted = room(careers, given.checkpoint, context)
    print(table.group_by("split").agg(people=pl.col("person").n_unique(), person_years=pl.len()).sort("split"))
    print("tokens:", json.dumps(counted, ensure_ascii=False))
    fits = tuple(min(max(COUNTS), int(counted[f"examples that fit{where}"])) for where in ("", " behind the list"))
    stretched = given.out / "longer" if min(fits) < max(COUNTS) else None
    if stretched is not None:
        stretch(given.checkpoint, stretched, given.context)
    content = study(given.checkpoint.resolve(), stretched and Path(stretched.name), fits, given)
    (given.out / "study.toml").write_text(tomli_w.dumps(content))
    print(f"laborllm run {given.out / 'study.toml'} --out {given.out / 'run'}")


def show(given: argparse.Namespace) -> None:
    run = given.out / "run"
    record = json.loads((run / "record.json").read_text())
    lines, bases = [], {}
    for name in read_study(run / "study.toml").models:
        table = pl.read_parquet(run / "probabilities" / f"{name}.parquet")
        inside, person = realised(table), np.unique(table["person"].to_numpy(), return_inverse=True)[1]
        line: dict[str, object] = {"way": name, "perplexity": perplexity(inside, person)}
        if "log_mass" in table.columns:
            raw = inside + table["log_mass"].to_numpy()
            base = bases.setdefault("long" if name.startswith("long_") else "", raw)
            line["raw"], line["mass"] = perplexity(raw, person), float(np.exp(table["log_mass"].to_numpy()).mean())
            line["gain"] = mean_by_person(raw - base, person)
        facts = record["models"][name]["facts"]
        line |= {"shown": facts["examples shown, mean over person-years"]} if "examples asked for" in facts else {}
        lines.append(line)
        print(json.dumps(line), flush=True)
    if given.json:
        given.json.write_text(json.dumps(lines, indent=1))


def realised(table: pl.DataFrame) -> np.ndarray:
    """Log-probability of each realised title among those of the list, nats, shape (person_years,)."""
    codes = table["occupation"].cast(pl.String).to_list()
    return np.array([row[code] for row, code in zip(table.to_dicts(), codes, strict=True)], dtype=np.float64)


def perplexity(log_probability: np.ndarray, person: np.ndarray) -> list[float]:
    """Perplexity and its interval."""
    return [math.exp(nats) for nats in mean_by_person(-log_probability, person)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in {"write": write, "show": show}.items():
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--out", type=Path, required=True)
        if run is show:
            command.add_argument("--json", type=Path)
            continue
        command.add_argument("--study", type=Path, required=True)
        command.add_argument("--checkpoint", type=Path, required=True)
        command.add_argument("--last-year", type=int, default=1984)
        command.add_argument("--train", type=int, default=1500, help="training people")
        command.add_argument("--validation", type=int, default=100, help="validation people")
        command.add_argument("--test", type=int, default=300, help="test people")
        command.add_argument("--epochs", type=float, default=1)
        command.add_argument("--batch", type=int, default=16, help="résumés a step")
        command.add_argument("--rate", type=float, default=3e-3, help="learning rate of full fine-tuning")
        command.add_argument("--lora-rate", type=float, default=1e-2)
        command.add_argument("--context", type=int, default=1152, help="tokens of the copy with a longer context")
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
