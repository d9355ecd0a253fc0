"""Simulated careers of a study: its fitted models draw the test people's careers, which are counted and compared."""

from pathlib import Path

import numpy as np
import polars as pl

from laborllm.analysis.simulation.counterfactuals import DIFFERENCES, MEANING, Pair, contrast, notes_of
from laborllm.analysis.simulation.simulated_careers import summarise
from laborllm.analysis.simulation.simulation_settings import SimulateSettings
from laborllm.analysis.simulation.workers import Workers, beyond_training, factual_and_other, workers_to_simulate
from laborllm.errors import LaborLLMError
from laborllm.files import file_hash, sole_writer, whole_file
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.path_draws import draw_occupations
from laborllm.models.probabilities import Model
from laborllm.record import Meter, Record, Stage, earlier_record
from laborllm.report.numbers import interval_name
from laborllm.report.simulation import write_simulation_page
from laborllm.running.representations import chosen_models
from laborllm.running.run import fingerprint_of_model, run_study
from laborllm.running.stages import fingerprint
from laborllm.study import Progress, Study, build_model
from laborllm.survey.careers import Careers

FOLDER = "simulation"


def simulate_study(
    study: Study,
    settings: SimulateSettings,
    out: Path,
    *,
    command: str,
    progress: Progress = lambda stage, done, total: None,
) -> Path:
    """Draw careers forward from a study's models and write OUT/simulation; paths that are there already are kept.

    What of the run is missing is done first. The folder: MODEL/simulated.parquet, and for a counterfactual
    MODEL/NAME.parquet (after a layoff MODEL/NAME_factual.parquet too), each with person, path, year, occupation;
    summaries.csv (``analysis.simulated_careers.Summaries``), counterfactuals.csv (``analysis.counterfactuals``),
    record.json, tables, figures and simulation.html.

    Args:
        study: the study, its paths absolute.
        settings: its section [simulate].
        out: the run folder.
        command: the command line, for the record.
        progress: called with (stage, done, total).

    Returns:
        The page's path.

    Raises:
        LaborLLMError: a name is no model of the study, nobody has a row to draw, a counterfactual concerns nobody, or
            an input or the disk stands in the way; finished paths stay in the folder.
    """
    names = chosen_models(study, settings.models, "simulate")
    if not names:
        raise LaborLLMError('simulate: no model gives the whole list; set probabilities = "full" for one of them')
    run_study(study, out, command=command, progress=progress)
    with sole_writer(out / FOLDER):
        simulation = _Simulation(study, settings, out, command, progress)
        for name in names:
            simulation.draw(name)
        return simulation.write()


class _Simulation:
    """The careers of one run's test people, drawn from one model after the other."""

    def __init__(self, study: Study, settings: SimulateSettings, out: Path, command: str, progress: Progress) -> None:
        self.study, self.settings, self.out, self.progress = study, settings, out, progress
        self.folder = out / FOLDER
        careers = Careers.read(out / "careers.parquet")
        self.train, self.validation, self.test = (careers.part(part) for part in ("train", "validation", "test"))
        self.record = Record(command=command, seed=settings.seed)
        self.record.stages = earlier_record(self.folder).get("stages", [])
        self.data = [self.record.laborllm, file_hash(out / "careers.parquet")]
        self.workers = workers_to_simulate(self.test, settings, self.train)
        self.pairs = [
            Pair(name, *factual_and_other(self.test, settings, name, train=self.train))
            for name in settings.counterfactual
        ]
        self.drawn: dict[str, np.ndarray] = {}
        self.differences = [pl.DataFrame(schema=DIFFERENCES)]

    def draw(self, name: str) -> None:
        """All paths of one model."""
        self.fitted: Model | None = None
        self.drawn[name] = self._paths(name, "simulated", self.workers)
        for pair in self.pairs:
            if self.settings.counterfactual[pair.name].layoff is None:
                factual = self.drawn[name][_rows_of(pair.factual, self.workers)]
            else:
                factual = self._paths(name, f"{pair.name}_factual", pair.factual)
            other = self._paths(name, pair.name, pair.other, meaning=MEANING)
            self.differences.append(contrast(name, pair, factual, other, self.study.evaluation))

    def _paths(self, name: str, what: str, workers: Workers, *, meaning: str = "") -> np.ndarray:
        """Paths out of their file where that is of the same model, workers and settings; else drawn and kept."""
        file = self.folder / name / f"{what}.parquet"
        mark = self._mark(name, workers)
        stage = f"simulate/{name}/{what}"
        shape = int(workers.drawn.sum()), self.settings.paths
        if file.is_file() and pl.read_parquet_metadata(file).get("laborllm.paths") == mark:
            self.progress(f"{stage} (unchanged)", 1, 1)
            kept = pl.read_parquet(file, columns=["occupation"], glob=False)["occupation"].to_physical()
            return kept.to_numpy().astype(np.int16).reshape(shape)  # (drawn_rows, paths)
        meter = Meter()
        found = draw_occupations(
            self._fitted(name),
            workers.careers,
            workers.drawn,
            paths=self.settings.paths,
            seed=self.settings.seed,
            progress=lambda done, total: self.progress(stage, done, total),
        )
        metadata = {"laborllm.paths": mark} | ({"laborllm.meaning": meaning} if meaning else {})
        with whole_file(file) as temporary:
            paths_table(found, workers).write_parquet(temporary, metadata=metadata)
        outputs = {file.relative_to(self.folder).as_posix(): file_hash(file)}
        self.record.put(Stage(stage, mark, outputs, meter.seconds(), meter.peak_memory_mib()))
        return found

    def _mark(self, name: str, workers: Workers) -> str:
        """Hash of everything that the paths depend on."""
        settings = self.study.models[name]
        form = [settings.arithmetic] if isinstance(settings, LanguageModelSettings) else []
        rows = workers.careers.table.with_columns(drawn=workers.drawn).drop("split").write_csv()
        return fingerprint(
            [
                fingerprint_of_model(settings, self.study, self.data),
                *(settings.temperature, form, self.settings.paths, self.settings.seed),
                rows,
            ]
        )

    def _fitted(self, name: str) -> Model:
        """The model as the run left it: networks are read, what is fast is fitted again on the same people."""
        if self.fitted is None:
            self.fitted = build_model(name, self.study, folder=self.out / "models" / name, progress=self.progress)
            self.fitted.fit(self.train, self.validation)
        return self.fitted

    def write(self) -> Path:
        """Count the careers; write the tables and the page."""
        evaluation = self.study.evaluation
        summaries, differences = summarise(self.drawn, self.workers, evaluation), pl.concat(self.differences)
        notes = [*summaries.notes, *beyond_training(self.workers, self.train)]
        notes += [note for pair in self.pairs for note in notes_of(pair)]
        for name, frame in (("summaries", summaries.table), ("counterfactuals", differences)):
            if frame.height or name == "summaries":
                with whole_file(self.folder / f"{name}.csv") as temporary:
                    frame.write_csv(temporary)
            else:
                (self.folder / f"{name}.csv").unlink(missing_ok=True)
        self.record.put(Stage("simulate", "", {}, 0.0, 0.0, notes=notes))
        self.record.write(self.folder)
        return write_simulation_page(
            summaries.table,
            differences,
            self.folder / "simulation.html",
            notes=notes,
            lead=_lead(self.workers, self.settings, len(self.drawn)),
            ci=interval_name(evaluation.confidence),
            facts=self._facts(),
        )

    def _facts(self) -> dict[str, str]:
        evaluation = self.study.evaluation
        return {
            "Command": self.record.command,
            "laborllm": self.record.laborllm,
            "Started": self.record.started,
            "Study": str(self.out / "study.toml"),
            "Paths": f"{self.settings.paths} for each person, seed {self.settings.seed}",
            "Bootstrap": f"{evaluation.bootstrap} draws of test people, seed {evaluation.seed}",
        }


def paths_table(occupation: np.ndarray, workers: Workers) -> pl.DataFrame:
    """Paths as a table: person, path (1, 2, …), year, occupation; one row for each drawn row and path, in that order.

    Args:
        occupation: positions in the closed list, shape (drawn_rows, paths).
        workers: whose they are.
    """
    paths = occupation.shape[1]
    rows = workers.careers.table.select("person", "year")[np.flatnonzero(workers.drawn)]
    table = rows[np.repeat(np.arange(len(rows)), paths)]
    codes = pl.Series("occupation", workers.careers.occupations.codes, dtype=workers.careers.table.schema["occupation"])
    path = np.tile(np.arange(1, paths + 1, dtype=np.int16), len(rows))
    return table.with_columns(path=path, occupation=codes.gather(occupation.reshape(-1))).select(
        "person", "path", "year", "occupation"
    )


def _rows_of(some: Workers, all_of_them: Workers) -> np.ndarray:
    """Which drawn rows of all workers are those of some of them, bool, shape (drawn_rows,)."""
    people = some.careers.table["person"].unique()
    everyone = all_of_them.careers.table["person"].filter(pl.Series(all_of_them.drawn))
    return everyone.is_in(people.implode()).to_numpy()


def _lead(workers: Workers, settings: SimulateSettings, models: int) -> str:
    given = {"first": "their first row", "last": "all their rows"}.get(
        str(settings.start), f"their rows up to {settings.start}"
    )
    years, rows = workers.year[workers.drawn], int(workers.drawn.sum())
    how = {"observed": "as the survey has it", "carried": "as in the last given row", "modelled": "drawn once a person"}
    education = how["carried" if settings.start == "last" and settings.education == "observed" else settings.education]
    return (
        f"{models} model{'s' if models > 1 else ''} drew {settings.paths} careers each of "
        f"{workers.careers.people} test people, given {given}: {rows} person-years of {years.min()} to {years.max()}. "
        f"Education in these years is {education}; the other covariates stay. "
        "Intervals come from resampling test people; the fitted models are held fixed."
    )
