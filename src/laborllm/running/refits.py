"""The training-set bootstrap of a study: training people drawn anew, every model fitted again, the same test people."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.evaluation.refits import REFITS, Fits, comparisons_table, mean_of, perplexity_of, refits_table
from laborllm.files import sole_writer, whole_file
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.oracle import OracleSettings
from laborllm.models.probabilities import Probabilities
from laborllm.models.ranks import ALONE
from laborllm.models.temperature import Tempering
from laborllm.running.run import StudyRun, require_run_folder
from laborllm.running.stages import clear_unless, fingerprint
from laborllm.study import Progress, Study, build_model
from laborllm.survey.careers import Careers

FOLDER = "refits"
TABLES = ("refits.csv", "refit_comparisons.csv")


@dataclass(frozen=True)
class Refits:
    """What the training-set bootstrap found.

    Attributes:
        models: model, metric, estimate and its variance in two parts; columns as in ``evaluation.refits.REFITS``.
        comparisons: of all pairs, a - b, paired; columns as in ``evaluation.refits.COMPARISONS``.
    """

    models: pl.DataFrame
    comparisons: pl.DataFrame


def bootstrap_study(
    study: Study,
    out: Path,
    *,
    refits: int,
    models: Sequence[str] = (),
    command: str,
    progress: Progress = lambda stage, done, total: None,
) -> Refits:
    """Fit models again on training people drawn with replacement; write refits.csv and refit_comparisons.csv.

    Whatever of the study's run is missing or changed is done first. Refit r draws the training people from the
    training people and the validation people from the validation people, as many as there are, both with the same
    draw for every model; the test people stay. A model's own randomness (``seed``) changes with r as well, so that
    the spread over refits is that of new people *and* of another start: what another team would meet. Each refit of
    each model is a stage: kept where unchanged, gone on with after a kill, more refits are added to those there.

    Args:
        study: the study, its paths absolute.
        out: its run folder.
        refits: how many, at least 2; about a dozen gives a standard error that is itself known to about a fifth.
        models: names of models to refit; all if empty.
        command: the command line, for the record.
        progress: called with (stage, done, total).

    Raises:
        LaborLLMError: a name is no model of the study, there are fewer than two refits, or an input, a setting or the
            disk stands in the way; finished refits stay in the folder.
    """
    names = _names(study, models)
    if refits < 2:
        raise LaborLLMError(f"{refits} refits have no spread; give at least 2 with --refits")
    require_run_folder(study, out)
    with sole_writer(out):
        run = StudyRun(study, out, command, progress, ALONE)
        run.models()
        bootstrap = _Bootstrap(run, names)
        for refit in range(1, refits + 1):
            bootstrap.refit(refit)
        found = bootstrap.tables(refits)
        run.numbers()
        run.report()
    return found


def _names(study: Study, models: Sequence[str]) -> tuple[str, ...]:
    """The models to refit, in the order of the study."""
    for name in models:
        if name not in study.models:
            raise LaborLLMError(f"--models names {name!r}; the models of this study are {', '.join(study.models)}")
    return tuple(name for name in study.models if not models or name in models)


class _Bootstrap:
    """The refits of a run whose models are fitted."""

    def __init__(self, run: StudyRun, names: tuple[str, ...]) -> None:
        self.run, self.names = run, names
        self.careers = Careers.read(run.out / "careers.parquet")

    def refit(self, refit: int) -> None:
        """Every model on the people of one draw."""
        folder = self.run.out / FOLDER / str(refit)
        for name in self.names:
            if not is_constant(self.run.study.models[name]):
                self.run.stages.do(
                    f"{FOLDER}/{refit}/{name}",
                    depends=self._depends(refit, name),
                    outputs=[_file(refit, name)],
                    work=partial(self._write, refit, name),
                )
        for left in ("models", "embeddings"):  # large, and of no use once all models are done
            shutil.rmtree(folder / left, ignore_errors=True)

    def tables(self, refits: int) -> Refits:
        """The two tables, from the per-person sums of every fit."""
        places = (f"{FOLDER}/{refit}" for refit in range(1, refits + 1))
        hashes = [[self.run.stages.hashes(f"{place}/{name}") for name in self.names] for place in ("models", *places)]
        confidence = self.run.study.evaluation.confidence
        self.run.stages.do(
            FOLDER,
            depends=[hashes, confidence, list(REFITS)],
            outputs=TABLES,
            work=lambda: self._write_tables(refits, confidence),
        )
        return Refits(*(pl.read_csv(self.run.out / name, glob=False) for name in TABLES))

    def _depends(self, refit: int, name: str) -> list[Any]:
        settings = self.run.study.models[name]
        return [refit, self.run.study.evaluation.seed, self.run.learned(settings), settings.temperature]

    def _write(self, refit: int, name: str) -> None:
        models = self.run.out / FOLDER / str(refit) / "models"
        for each in self.run.members(name):
            clear_unless(models / each, fingerprint(self._depends(refit, each)))
        study = with_seeds(self.run.study, refit)
        drawn = draw_careers(self.careers, np.random.default_rng([study.evaluation.seed, refit]))
        model = build_model(name, study, folder=models / name, progress=self._progress(refit))
        model.fit(drawn.part("train"), drawn.part("validation"))
        answer = model.predict(drawn.part("test"))
        with whole_file(self.run.out / _file(refit, name)) as temporary:
            person_sums(answer, self.careers.part("test")).write_parquet(temporary)

    def _write_tables(self, refits: int, confidence: float) -> list[str]:
        test, fits = self.careers.part("test"), {}
        for name in self.names:
            full = person_sums(Probabilities.read(self.run.out / "probabilities" / f"{name}.parquet"), test)
            files = [self.run.out / _file(refit, name) for refit in range(1, refits + 1)]
            constant = is_constant(self.run.study.models[name])
            fits[name] = fits_of([full, *([full] * refits if constant else map(pl.read_parquet, files))])
        for file, table in zip(TABLES, (refits_table, comparisons_table), strict=True):
            with whole_file(self.run.out / file) as temporary:
                table(fits, confidence=confidence).write_csv(temporary)
        return [
            "Intervals hold the fitted models fixed; those of refits.csv and refit_comparisons.csv alone add the "
            f"variance over training people, from {refits} refits of {', '.join(self.names)}."
        ]

    def _progress(self, refit: int) -> Progress:
        return lambda stage, done, total: self.run.progress(f"{FOLDER}/{refit}: {stage}", done, total)


def draw_careers(careers: Careers, rng: np.random.Generator) -> Careers:
    """Training and validation people drawn with replacement, within their part; the test people as they are.

    Everybody has a new number, 0 … people - 1 (a person drawn twice is two people): test people first, in their
    order, then the drawn.

    Args:
        careers: split by person.
        rng: the source of randomness.
    """
    parts, first = [], 0
    for name in ("test", "train", "validation"):
        part = careers.part(name)
        chosen = np.arange(part.people) if name == "test" else np.sort(rng.integers(part.people, size=part.people))
        parts.append(_people(part, chosen, first))
        first += len(chosen)
    return replace(careers, table=pl.concat(parts), flow=())


def _people(careers: Careers, chosen: np.ndarray, first: int) -> pl.DataFrame:
    """The rows of some people, by their positions, under numbers that begin at ``first``."""
    lengths = np.diff(careers.starts)[chosen]
    number = np.repeat(np.arange(len(chosen)), lengths)  # (rows,)
    within = np.arange(len(number)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows = careers.table[careers.starts[chosen][number] + within]
    return rows.with_columns(pl.Series("person", first + number, dtype=pl.Int64))


def with_seeds(study: Study, refit: int) -> Study:
    """The study with every model's seed changed to one of its own for this refit."""
    models = {
        name: settings.model_copy(update={"seed": _seed(settings.seed, refit)})  # type: ignore[union-attr]
        if "seed" in type(settings).model_fields
        else settings
        for name, settings in study.models.items()
    }
    return study.model_copy(update={"models": models})


def _seed(seed: int, refit: int) -> int:
    """Below 2^31, which every library takes; apart from the draw of people under the same numbers."""
    return int(np.random.default_rng([seed, refit, 1]).integers(2**31))


def is_constant(settings: Tempering) -> bool:
    """Whether a model learns nothing from the training people: the truth, and an untouched checkpoint."""
    untouched = (
        isinstance(settings, LanguageModelSettings)
        and settings.use == "off_the_shelf"
        and settings.checkpoint is not None
        and not settings.pretrain
    )
    return (isinstance(settings, OracleSettings) or untouched) and not settings.temperature


def person_sums(prediction: Probabilities, test: Careers) -> pl.DataFrame:
    """Person-years of each test person, and sums of the log-likelihood of what happened, nats.

    Args:
        prediction: of the test people, in their order, under any person numbers.
        test: the test people.

    Returns:
        One row a person: person_years, and log_score and log_score_raw where the prediction has them.
    """
    people = test.people
    sums: dict[str, Any] = {"person_years": np.bincount(test.person_of_row, minlength=people)}
    for name, values in (("log_score", prediction.realised), ("log_score_raw", prediction.raw)):
        if values is not None:
            sums[name] = np.bincount(test.person_of_row, weights=np.asarray(values, dtype=np.float64), minlength=people)
    return pl.DataFrame(sums)


def fits_of(sums: Sequence[pl.DataFrame]) -> dict[str, Fits]:
    """Metric -> its fits, from the per-person sums of the fit on the whole sample and of the refits."""
    years = sums[0]["person_years"].to_numpy()
    fits: dict[str, Fits] = {}
    for column, perplexity in (("log_score", "perplexity"), ("log_score_raw", "perplexity_raw")):
        if column in sums[0].columns:
            log_likelihood = np.stack([each[column].to_numpy() for each in sums])  # (refits + 1, people)
            fits |= {perplexity: perplexity_of(log_likelihood, years), column: mean_of(log_likelihood, years)}
    return fits


def _file(refit: int, name: str) -> str:
    return f"{FOLDER}/{refit}/{name}.parquet"
