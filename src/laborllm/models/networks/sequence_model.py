"""CAREER, bag of jobs and the LSTM as models of careers: pre-trained on résumés or not, learned, kept, predicted."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import load_file, save_file

from laborllm.errors import LaborLLMError
from laborllm.files import whole_folder
from laborllm.models.baselines import require_same_list
from laborllm.models.networks.bag_network import BagNetwork
from laborllm.models.networks.career_network import SIZES, CareerNetwork
from laborllm.models.networks.career_reader import CareerReader
from laborllm.models.networks.lstm_network import LSTMNetwork
from laborllm.models.networks.resume_files import Block, blocks, count, read_block, scan
from laborllm.models.networks.sequence_settings import BagOfJobsSettings, CareerSettings, LSTMSettings
from laborllm.models.networks.sequence_training import (
    Network,
    Shard,
    hidden_states,
    last_log_probabilities,
    learn,
    log_probabilities,
)
from laborllm.models.networks.sequences import LEVELS, LinearHead, Sequences
from laborllm.models.probabilities import PhaseProgress, Probabilities, normalise
from laborllm.models.training_state import HELD_OUT, History, full_disk_as_oserror
from laborllm.survey.careers import KEYS, Careers
from laborllm.survey.occupations import Occupations

ORDERED = ("year", "birth_year")
"""Covariates whose levels have an order: a level that was never seen is read as the nearest that was."""
FILE = "model.json"
AnySettings = CareerSettings | BagOfJobsSettings | LSTMSettings
Words = Mapping[str, tuple[str | int, ...]]
"""Covariate -> the levels that were seen; level k + 1 is the k-th."""


class SequenceModel:
    """P(next occupation | history) from a network that reads whole careers: CAREER, bag of jobs or an LSTM.

    Args:
        settings: which network, its pre-training and training.
        folder: where the trained network is kept; one that is there already is not trained again.
        progress: called with ("pre-training" or "training", done, total).

    Attributes:
        facts: what the report says of the model.
    """

    def __init__(
        self,
        settings: AnySettings,
        folder: Path,
        progress: PhaseProgress = lambda phase, done, total: None,
    ) -> None:
        self.settings, self.folder, self.progress = settings, folder, progress
        self.facts: dict[str, str | int | float] = {}
        self.network: Network | None = None
        self.occupations: Occupations | None = None
        self.words: Words = {}

    @property
    def description(self) -> str:
        how = "pre-trained on résumés, then on the survey" if self.settings.pretrain else "trained from scratch"
        match self.settings:
            case CareerSettings(size=size):
                what = f"CAREER, a transformer over jobs ({SIZES[size].layers} layers, width {SIZES[size].width})"
            case BagOfJobsSettings(width=width):
                what = f"Bag of jobs: the previous job and the average of all jobs so far (width {width})"
            case LSTMSettings(width=width):
                what = f"An LSTM over jobs (width {width})"
        return f"{what}, {how}."

    def fit(self, train: Careers, validation: Careers) -> None:
        """Learn from the résumés, if there are any, then from the training people.

        Raises:
            LaborLLMError: a file of résumés cannot be read or shares no occupation with the survey, or the loss is
                not finite.
        """
        self.occupations = train.occupations
        if (self.folder / FILE).is_file():
            self._load(train.occupations)
            return
        self.words = levels_seen([train.table, *map(scan, self.settings.pretrain)])
        network = self._network(len(train.occupations))
        self.facts = {"parameters": sum(weight.numel() for weight in network.parameters())}
        if self.settings.pretrain:
            self._pretrain(network, train.occupations)
        people = sequences(train, self.words)
        history = self._learn(network, "training", [lambda: people], sequences(validation, self.words))
        self.facts |= {"validation perplexity": history.best, "updates": history.best_step}
        self.network = network
        self._save(network, train.occupations)

    def predict(self, careers: Careers) -> Probabilities:
        """Probability of each occupation in every row.

        Raises:
            LaborLLMError: the model is not fitted, or was fitted on another list of occupations.
        """
        if self.network is None or self.occupations is None:
            raise LaborLLMError(f"{self.settings.kind} is not fitted yet; call fit first")
        require_same_list(self.occupations, careers.occupations)
        answer, log_mass = normalise(log_probabilities(self.network, sequences(careers, self.words)))
        if isinstance(self.settings, CareerSettings) and self.settings.published:
            self.facts["mass on symbols that are no occupation"] = float(1 - np.exp(log_mass).mean())
        self.facts |= unseen(careers, self.words)
        return Probabilities(rows=careers.table.select(KEYS), occupations=careers.occupations, log_probabilities=answer)

    def predict_last(self, careers: Careers) -> np.ndarray:
        """Log-probabilities in each person's last row, nats, shape (people, occupations); raises as ``predict``."""
        if self.network is None or self.occupations is None:
            raise LaborLLMError(f"{self.settings.kind} is not fitted yet; call fit first")
        require_same_list(self.occupations, careers.occupations)
        return normalise(last_log_probabilities(self.network, sequences(careers, self.words)))[0]

    def states(self, careers: Careers) -> np.ndarray | None:
        """The hidden state from which each row is predicted, before its occupation is known.

        Returns:
            float32, shape (person_years, width); None for a network without a linear head. Raises as ``predict``.
        """
        if self.network is None or self.occupations is None:
            raise LaborLLMError(f"{self.settings.kind} is not fitted yet; call fit first")
        require_same_list(self.occupations, careers.occupations)
        if not isinstance(self.network, LinearHead):
            return None
        return hidden_states(self.network, sequences(careers, self.words))

    def reader(self, careers: Careers, observed: np.ndarray) -> CareerReader | None:
        """Reads careers on row by row (``next_row.ReadsOn``); None for a network other than CAREER."""
        if not isinstance(self.network, CareerNetwork):
            return None
        return CareerReader(self.network, sequences(careers, self.words), observed)

    def _pretrain(self, network: Network, occupations: Occupations) -> None:
        """Learn from the résumés, a block of a file at a time."""
        counted = [count(path, occupations) for path in self.settings.pretrain]
        rows, kept = (sum(column) for column in zip(*counted, strict=True))
        self.facts |= {"résumé rows": kept, "résumé rows whose occupation is not on the list": rows - kept}
        found = [block for path in self.settings.pretrain for block in blocks(path)]
        read = partial(_read, occupations=occupations, words=self.words)
        held_out = read(found[0], held_out=True)
        if not len(held_out):
            raise LaborLLMError(f"{found[0][0]}: needs {HELD_OUT} people or more; every twentieth chooses the weights")
        shards: list[Shard] = [partial(read, block, held_out=False) for block in found]
        history = self._learn(network, "pre-training", shards, held_out)
        self.facts["résumé validation perplexity"] = history.best

    def _learn(self, network: Network, phase: str, shards: list[Shard], validation: Sequences) -> History:
        training = self.settings.pretraining if phase == "pre-training" else self.settings.training
        return learn(
            network,
            shards,
            validation,
            settings=training,
            folder=self.folder / phase,
            seed=self.settings.seed,
            progress=partial(self.progress, phase),
        )

    def _network(self, occupations: int) -> Network:
        """A network with random weights."""
        levels = [len(self.words[name]) for name in LEVELS]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)
            network = self._with_random_weights(occupations, levels)
        return network.to(_device())

    def _with_random_weights(self, occupations: int, levels: list[int]) -> Network:
        match self.settings:
            case CareerSettings(size=size, dropout=dropout, published=published):
                return CareerNetwork(SIZES[size], occupations, levels, dropout=dropout, published=published)
            case BagOfJobsSettings(width=width):
                return BagNetwork(width, occupations, levels)
            case LSTMSettings(width=width, layers=layers, dropout=dropout):
                return LSTMNetwork(width, layers, occupations, levels, dropout)

    def _save(self, network: Network, occupations: Occupations) -> None:
        """Write weights, levels and facts; the states of training go with the folder they replace."""
        content = {
            "settings": self.settings.learned(),
            "codes": occupations.codes,
            "words": self.words,
            "facts": self.facts,
        }
        mark = self.folder / "fingerprint.json"
        kept = mark.read_text() if mark.is_file() else None
        with whole_folder(self.folder) as temporary, full_disk_as_oserror():
            save_file(network.state_dict(), temporary / "weights.safetensors")
            (temporary / FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")
            if kept is not None:
                (temporary / mark.name).write_text(kept)

    def _load(self, occupations: Occupations) -> None:
        """Read what ``_save`` wrote.

        Raises:
            LaborLLMError: it was trained with other settings or on another list.
        """
        path = self.folder / FILE
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        same = content["settings"] == self.settings.learned()
        if not same or tuple(content["codes"]) != occupations.codes:
            raise LaborLLMError(f"{self.folder}: holds a model of another study; choose another folder")
        self.words = {name: tuple(words) for name, words in content["words"].items()}
        self.facts = content["facts"]
        self.network = self._network(len(occupations))
        self.network.load_state_dict(load_file(self.folder / "weights.safetensors"))


def sequences(careers: Careers, words: Words) -> Sequences:
    """Careers as whole numbers; a missing covariate is level 0."""
    levels = np.stack([_level(careers.table, name, words[name]) for name in LEVELS], axis=1)  # (person_years, 6)
    return Sequences(careers.starts, careers.previous, careers.occupation, levels)


def _read(block: Block, *, occupations: Occupations, words: Words, held_out: bool) -> Sequences:
    """The résumés of a block on the survey's list: every twentieth person, or the others."""
    return sequences(read_block(block, occupations, held_out), words)


def levels_seen(tables: list[pl.DataFrame | pl.LazyFrame]) -> Words:
    """The levels of every covariate that any of the tables has, in order."""
    found: dict[str, tuple[str | int, ...]] = {}
    for name in LEVELS:
        columns = [table.lazy().select(name) for table in tables if name in table.lazy().collect_schema()]
        values = pl.concat(columns or [pl.LazyFrame({name: []}, {name: pl.String})])
        found[name] = tuple(values.unique().drop_nulls().collect(engine="streaming")[name].sort().to_list())
    return found


def unseen(careers: Careers, words: Words) -> dict[str, int]:
    """Rows whose covariate has a level that was never learned from, by covariate."""
    counts = {
        name: int((~careers.table[name].drop_nulls().is_in(list(words[name]))).sum())
        for name in LEVELS
        if name in careers.table.columns
    }
    return {f"rows with an unseen {name}": count for name, count in counts.items() if count}


def _level(table: pl.DataFrame, name: str, words: tuple[str | int, ...]) -> np.ndarray:
    """Place of each row's level among the words, from 1; 0 where it is missing or unseen, shape (rows,)."""
    if name not in table.columns or not words:
        return np.zeros(table.height, dtype=np.int64)
    values = table[name]
    if name in ORDERED:
        return _nearest(values, np.array(words, dtype=np.int64))
    places = values.cast(pl.String).replace_strict(
        list(words), list(range(1, len(words) + 1)), default=0, return_dtype=pl.Int64
    )
    return places.fill_null(0).to_numpy()


def _nearest(values: pl.Series, known: np.ndarray) -> np.ndarray:
    """Place of the nearest known number, from 1, the earlier one of two; 0 where there is none, shape (rows,)."""
    numbers = values.cast(pl.Int64).fill_null(known[0]).to_numpy()
    right = np.searchsorted(known, numbers).clip(1, len(known) - 1) if len(known) > 1 else np.zeros(len(numbers), int)
    left = np.maximum(right - 1, 0)
    place = np.where(np.abs(numbers - known[left]) <= np.abs(known[right] - numbers), left, right)
    return np.where(values.is_null().to_numpy(), 0, place + 1).astype(np.int64)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
