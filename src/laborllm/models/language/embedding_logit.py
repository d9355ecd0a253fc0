"""Multinomial logit on embeddings: a language model reads the history, a softmax predicts the occupation."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from laborllm.errors import LaborLLMError
from laborllm.files import file_hash, whole_file
from laborllm.models.baselines import require_same_list
from laborllm.models.language.embedding import CausalEmbedding, Embedding, embed_careers, embed_last, load_embedding
from laborllm.models.language.embedding_settings import EmbeddingLogitSettings
from laborllm.models.probabilities import PhaseProgress, Probabilities
from laborllm.models.regression.dense_logit import Axes, DenseLogit, Rows, fit_dense
from laborllm.models.regression.logit import joined
from laborllm.models.regression.softmax import BLOCK
from laborllm.models.regression.stage import OUTCOMES, What, outcome, sample
from laborllm.models.training_state import full_disk_as_oserror
from laborllm.survey.careers import KEYS, Careers
from laborllm.survey.occupations import Occupations

FILE, ARRAYS = "embedding_logit.json", "coefficients.safetensors"


class EmbeddingLogit:
    """P(next occupation | history) = softmax of a linear function of a language model's state after the history.

    The state is that of the text up to the title to be predicted: header, earlier lines, the year and education of the
    row (LABOR-LLM, embeddings with a multinomial logit). The language model is not trained. States are standardised on
    the training rows, and the penalty is the best on the validation rows.

    Args:
        settings: which language model, and how its states are read and fitted.
        folder: where the coefficients are kept; a model that is there already is not fitted again.
        progress: called with ("embedding", done, total), in person-years.
        cache: folder of the states, shared by models and runs; ``folder / "embeddings"`` if not given.

    Attributes:
        facts: what the report says of the model.
    """

    def __init__(
        self,
        settings: EmbeddingLogitSettings,
        folder: Path,
        progress: PhaseProgress = lambda phase, done, total: None,
        cache: Path | None = None,
    ) -> None:
        self.settings, self.folder, self.progress = settings, folder, progress
        self.cache = cache or folder / "embeddings"
        self.facts: dict[str, str | int | float] = {}
        self.occupations: Occupations | None = None
        self.stages: dict[What, DenseLogit] = {}
        self.axes: Axes
        self.embedding: Embedding | None = None

    @property
    def description(self) -> str:
        how = "" if self.settings.stages == 1 else ", in two stages, stay or move and then where to"
        return f"Multinomial logit on the states of {self.settings.name} after each history, not trained further{how}."

    def fit(self, train: Careers, validation: Careers) -> None:
        """Embed both, fit on the training people for every penalty, keep the best on the validation people.

        Raises:
            LaborLLMError: the language model cannot be used, or the folder holds a model of other settings.
        """
        require_same_list(train.occupations, validation.occupations)
        if (self.folder / FILE).is_file():
            self._load(train.occupations)
            return
        self.occupations = train.occupations
        states, shortened = self._embed(train)
        self.axes = Axes.of(states, self.settings.pca)
        self._describe(train, shortened)
        features, held_out = self.axes(states), self.axes(self._embed(validation)[0])
        whats: tuple[What, ...] = ("all",) if self.settings.stages == 1 else ("stay", "move")
        for what in whats:
            self.stages[what] = fit_dense(
                _rows(what, train, features),
                _rows(what, validation, held_out),
                len(OUTCOMES) if what == "stay" else len(train.occupations),
                l2=self.settings.l2,
                tolerance=self.settings.tolerance,
            )
            self._describe_fit(what, self.stages[what])
        self._save(train.occupations)

    def predict(self, careers: Careers) -> Probabilities:
        """Probability of each occupation in every person-year.

        Raises:
            LaborLLMError: the model is not fitted, or was fitted on another list of occupations.
        """
        if self.occupations is None:
            raise LaborLLMError("the logit on embeddings is not fitted yet; call fit first")
        require_same_list(self.occupations, careers.occupations)
        states, shortened = self._embed(careers)
        if shortened:
            self.facts["rows predicted without their oldest history"] = shortened
        answer = np.empty((len(careers), len(careers.occupations)), dtype=np.float32)
        for first in range(0, len(careers), BLOCK):
            rows = slice(first, min(first + BLOCK, len(careers)))
            answer[rows] = self._log_probabilities(self.axes(states[rows]), careers.previous[rows])
        return Probabilities(rows=careers.table.select(KEYS), occupations=careers.occupations, log_probabilities=answer)

    def predict_last(self, careers: Careers) -> np.ndarray:
        """Log-probabilities in each person's last row, nats, shape (people, occupations); raises as ``predict``."""
        if self.occupations is None:
            raise LaborLLMError("the logit on embeddings is not fitted yet; call fit first")
        require_same_list(self.occupations, careers.occupations)
        if self.embedding is None:
            self.embedding = load_embedding(self.settings, careers.occupations)
        states = embed_last(self.embedding, careers, self.settings.text)
        return self._log_probabilities(self.axes(states), careers.previous[careers.starts[1:] - 1])

    def states(self, careers: Careers) -> np.ndarray:
        """The language model's state before each row's title, float16, shape (person_years, width)."""
        return self._embed(careers)[0]

    def _log_probabilities(self, features: np.ndarray, previous: np.ndarray) -> np.ndarray:
        """Nats, float64, shape (rows, occupations)."""
        free = np.full(len(features), -1)
        if "all" in self.stages:
            return self.stages["all"].log_probabilities(features, free)
        stay = self.stages["stay"].log_probabilities(features, free)  # (rows, 2)
        return joined(stay, self.stages["move"].log_probabilities(features, previous), previous)

    def _embed(self, careers: Careers) -> tuple[np.ndarray, int]:
        if self.embedding is None:
            self.embedding = load_embedding(self.settings, careers.occupations)
        progress = partial(self.progress, "embedding")
        return embed_careers(self.embedding, careers, self.settings.text, self.cache, progress)

    def _describe(self, train: Careers, shortened: int) -> None:
        if self.embedding is None:
            return
        model, causal = self.embedding.model, isinstance(self.embedding, CausalEmbedding)
        never = int((np.bincount(train.occupation, minlength=len(train.occupations)) == 0).sum())
        self.facts = {
            "architecture": type(model).__name__,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "a prefix is read": "with its career, in one pass" if causal else "on its own",
            "layer": self.embedding.layer,
            "state": {"last": "last token", "mean": "mean of the tokens", "first": "first token"}[self.embedding.pool],
            "width": len(self.axes.mean),
            "principal components": self.axes.turn.shape[1],
            "training rows": len(train),
            "occupations never seen in training": never,
        }
        if self.axes.constant:
            self.facts["numbers of the state that do not vary"] = self.axes.constant
        if shortened:
            self.facts["rows learned without their oldest history"] = shortened

    def _describe_fit(self, what: What, stage: DenseLogit) -> None:
        of = {"all": "", "stay": " of staying", "move": " of moves"}[what]
        self.facts |= {f"l2{of}": stage.l2, f"evaluations of the likelihood{of}": stage.evaluations}
        if stage.remaining > self.settings.tolerance:
            self.facts[f"nats per row that the fit{of} still lacks"] = float(f"{stage.remaining:.2g}")

    def _save(self, occupations: Occupations) -> None:
        """Write the arrays, then all else; the second file says that the model is whole."""
        arrays = {"mean": self.axes.mean, "turn": self.axes.turn}
        for what, stage in self.stages.items():
            arrays |= {f"{what}.{name}": getattr(stage, name) for name in ("coefficients", "seen", "never")}
        numbers = {what: [each.l2, each.evaluations, each.remaining] for what, each in self.stages.items()}
        content = {
            "settings": self.settings.learned(),
            "codes": occupations.codes,
            "checkpoint": _hashes(self.settings),
            "constant": self.axes.constant,
            "stages": numbers,
            "facts": self.facts,
        }
        with whole_file(self.folder / ARRAYS) as temporary, full_disk_as_oserror():
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
        with whole_file(self.folder / FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _load(self, occupations: Occupations) -> None:
        """Read what ``_save`` wrote.

        Raises:
            LaborLLMError: it was fitted with other settings, on another checkpoint or list, or cannot be read.
        """
        try:
            content: dict[str, Any] = json.loads((self.folder / FILE).read_text(encoding="utf-8"))
            arrays = load_file(self.folder / ARRAYS)
            known = [content["settings"], tuple(content["codes"]), content["checkpoint"]]
            axes = Axes(arrays["mean"], arrays["turn"], content["constant"])
            stages = {
                what: DenseLogit(
                    arrays[f"{what}.coefficients"], arrays[f"{what}.seen"], arrays[f"{what}.never"], *numbers
                )
                for what, numbers in content["stages"].items()
            }
            facts = content["facts"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise LaborLLMError(f"{self.folder / FILE}: cannot be read; remove the folder to fit again") from error
        if known != [self.settings.learned(), occupations.codes, _hashes(self.settings)]:
            raise LaborLLMError(f"{self.folder}: holds a model of another study; choose another folder")
        self.axes, self.stages, self.facts, self.occupations = axes, stages, facts, occupations


def _rows(what: What, careers: Careers, features: np.ndarray) -> Rows:
    """The rows that a stage is about."""
    kept = sample(what, careers)
    return Rows(
        features=features if len(kept) == len(features) else features[kept],
        chosen=outcome(what, careers)[kept],
        excluded=careers.previous[kept] if what == "move" else np.full(len(kept), -1),
    )


def _hashes(settings: EmbeddingLogitSettings) -> dict[str, str]:
    """Hash of every file of the checkpoint that the states depend on."""
    return {file.name: file_hash(file) for file in settings.files()}
