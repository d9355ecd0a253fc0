"""The structure of occupations as the models of a run see it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from laborllm.analysis.structure import Vectors, explained_by_groups, flat_map, neighbours, prediction_vectors
from laborllm.errors import LaborLLMError
from laborllm.files import write_tables
from laborllm.models.language.embedding_settings import EmbeddingLogitSettings
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.networks.sequence_settings import SequenceSettings
from laborllm.models.probabilities import StoredProbabilities
from laborllm.record import earlier_record
from laborllm.report.structure import write_structure_page
from laborllm.running.run import NOT_RUNS
from laborllm.study import Study, needs_torch, read_study
from laborllm.survey.careers import Careers

SEED = 1


def find_structure(run: Path, out: Path, *, command: str) -> Path:
    """Write vectors' neighbours, maps and what broad groups explain of them, for every model of a run.

    Of every model: where its predictions lead. Of networks also the vectors of their input, of language models and
    embeddings the state of a résumé that holds the occupation alone. The folder: neighbours.csv, map.csv,
    structure.csv, tables, figures and structure.html.

    Args:
        run: a run folder, with the fitted models.
        out: the folder.
        command: the command line, for the page.

    Raises:
        LaborLLMError: the folder is no run, or no model has vectors.
    """
    study = _finished(run)
    test = Careers.read(run / "careers.parquet").part("test")
    found = list(_vectors(study, run, test))
    if not found:
        raise LaborLLMError(f"{run}: no model of this run gives the whole list a probability; add one that does")
    groups = test.occupations.groups
    explained = [explained_by_groups(each, groups, np.random.default_rng(SEED)) for each in found]
    frames = {
        "structure": pl.DataFrame([_names(v) | vars(e) for v, e in zip(found, explained, strict=True)]),
        "neighbours": pl.concat([_named(v, neighbours(v, test.occupations)) for v in found]),
        "map": pl.concat([_map(v, test) for v in found]),
    }
    write_tables(out, frames)
    return write_structure_page(frames, out / "structure.html", facts={"Run": str(run), "Command": command})


def _finished(run: Path) -> Study:
    """The study of a run whose models have all answered."""
    record = earlier_record(run)
    if "laborllm" not in record or record.keys() & NOT_RUNS.keys():
        raise LaborLLMError(f"{run}: holds no run of a study; give the folder of a finished run")
    study = read_study(run / "study.toml")
    for name in study.models:
        if not (run / "probabilities" / f"{name}.parquet").is_file():
            raise LaborLLMError(f"{run}: probabilities/{name}.parquet is missing; run the study again to write it")
    return study


def _vectors(study: Study, run: Path, test: Careers) -> Iterator[Vectors]:
    predictions = StoredProbabilities(run / "probabilities", tuple(study.models))
    for name, settings in study.models.items():
        prediction = predictions[name]
        if prediction.log_probabilities is not None:
            yield prediction_vectors(name, prediction, test)
        folder = run / "models" / name
        if isinstance(settings, SequenceSettings):
            with needs_torch(name):
                from laborllm.models.networks.occupation_vectors import read_occupation_vectors
            values = read_occupation_vectors(folder, len(test.occupations))
            yield Vectors(name, "what it reads of an occupation", np.arange(len(values)), values)
        embedded = _embedded(settings, folder)
        if embedded is not None:
            yield _read(name, embedded, test)


def _embedded(settings: object, folder: Path) -> EmbeddingLogitSettings | None:
    """How the states of a language model, as it was kept or as it is, are read."""
    if isinstance(settings, EmbeddingLogitSettings):
        return settings
    if isinstance(settings, LanguageModelSettings):
        kept = folder / "checkpoint"
        checkpoint = kept if kept.is_dir() else settings.checkpoint
        if checkpoint is not None and settings.method == "full":
            return EmbeddingLogitSettings(kind="embedding_logit", checkpoint=checkpoint, text=settings.text)
    return None


def _read(name: str, settings: EmbeddingLogitSettings, test: Careers) -> Vectors:
    """The state after a résumé of one row, which holds the occupation; everything else is the same for all."""
    with needs_torch(name):
        from laborllm.models.language.embedding import embed_last, load_embedding
    count = len(test.occupations)
    year = int(np.median(test.table["year"].to_numpy()))
    first = test.table.head(1)
    rows = pl.concat([first] * (2 * count)).with_columns(
        person=pl.Series(np.repeat(np.arange(count), 2)),
        year=pl.Series(np.tile([year, year + 1], count), dtype=test.table.schema["year"]),
        occupation=pl.Series(np.repeat(np.array(test.occupations.codes), 2)).cast(test.occupations.dtype),
    )
    states = embed_last(load_embedding(settings, test.occupations), replace(test, table=rows), settings.text)
    return Vectors(name, "what it reads of a résumé of one row", np.arange(count), states.astype(np.float64))


def _names(vectors: Vectors) -> dict[str, str]:
    return {"model": vectors.model, "source": vectors.source}


def _named(vectors: Vectors, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.lit(vectors.model).alias("model"), pl.lit(vectors.source).alias("source"), pl.all())


def _map(vectors: Vectors, test: Careers) -> pl.DataFrame:
    places, shares = flat_map(vectors)
    titles, groups = test.occupations.titles, test.occupations.groups
    return _named(
        vectors,
        pl.DataFrame(
            {
                "occupation": [titles[place] for place in vectors.position],
                "group": [groups[place] for place in vectors.position],
                "first": places[:, 0],
                "second": places[:, 1],
                "first_share": np.full(len(places), shares[0]),
                "second_share": np.full(len(places), shares[1]),
            }
        ),
    )
