"""A causal language model as a model of careers: loaded or made from scratch, off the shelf or fine-tuned."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file, whole_folder
from laborllm.models.language.adapters import add_adapters, load_adapters, load_in_four_bits, save_adapters
from laborllm.models.language.career_reader import CareerReader, careers_ahead, may_be_read_on, read_on
from laborllm.models.language.embedding import load_embedding
from laborllm.models.language.embedding_settings import EmbeddingLogitSettings
from laborllm.models.language.examples import States, choose_examples, example_resumes
from laborllm.models.language.finetune import finetune, occupation_perplexity
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.language.loading import load_checkpoint, load_tokenizer, read_config
from laborllm.models.language.model_card import Card, base_licence, model_card, split_hash
from laborllm.models.language.pretraining import TextCorpus, read_corpus
from laborllm.models.language.prompted_scorer import PromptedScorer, prompts_fingerprint
from laborllm.models.language.prompts import PromptedResume, make_frame, prompt_careers
from laborllm.models.language.scratch import tiny_llama, train_tokenizer
from laborllm.models.language.title_draws import draw_titles
from laborllm.models.language.windows import fit_context, last_lines, lines_without_oldest
from laborllm.models.next_row import WHOLE_LIST
from laborllm.models.probabilities import PhaseProgress, Probabilities, normalise
from laborllm.models.ranks import ALONE, Ranks
from laborllm.models.scoring.fingerprint import model_fingerprint
from laborllm.models.scoring.precision import BFLOAT16, to_bfloat16_layers
from laborllm.models.scoring.routes import context_length
from laborllm.models.scoring.scorer import Scorer
from laborllm.models.scoring.shards import cut_into_shards, score_in_shards
from laborllm.models.training_state import History, full_disk_as_oserror
from laborllm.survey.careers import KEYS, Careers
from laborllm.text.resume import resume_titles, write_resumes
from laborllm.text.title_list import write_title_list
from laborllm.text.titles import ResumeTokenizer, TitleTree, TokenizedResume

FINISHED = "training.json"
"""Written last: the model beside it is whole."""
PHASES = ("pre-training", "training")


class LanguageModel:
    """P(next occupation | résumé so far) from a causal language model.

    Args:
        settings: which model, which use.
        folder: where the fine-tuned model is kept; a model that is there already is not trained again.
        progress: called with ("pre-training", "training" or "scoring", done, total).
        ranks: the processes that fit and predict together: each calls both with the same careers and gets the whole
            answer, the first one writes.

    Attributes:
        facts: what the report says of the model.
    """

    def __init__(
        self,
        settings: LanguageModelSettings,
        folder: Path,
        progress: PhaseProgress = lambda phase, done, total: None,
        *,
        ranks: Ranks = ALONE,
    ) -> None:
        self.settings, self.folder = settings, folder
        self.progress, self.ranks = progress, ranks
        self.facts: dict[str, str | int | float] = {}
        self.model: Any = None
        self.tokenizer: Any = None
        self.resumes: ResumeTokenizer
        self.pool: Careers
        self.corpus: TextCorpus | None = None

    @property
    def description(self) -> str:
        return self._what + ("" if self.settings.arithmetic == "float32" else f" Computed with {BFLOAT16}.")

    @property
    def _what(self) -> str:
        if self.settings.scratch:
            return self._from_scratch
        name = Path(str(self.settings.checkpoint)).name
        behind = ", behind the list of titles" if self.settings.title_list else ""
        chat = " as a chat" if self.settings.chat else ""
        if self.settings.use == "off_the_shelf":
            return f"The language model {name} as it is{chat}, never shown a training résumé{behind}."
        if self.settings.use == "in_context":
            shown = self.settings.examples
            people = "a training résumé" if shown.count == 1 else f"{shown.count} training résumés"
            titles = " and the list of titles" if self.settings.title_list else ""
            return f"The language model {name} as it is{chat}, behind {people} ({shown.choose}){titles}."
        how = {
            "full": "fine-tuned",
            "lora": "fine-tuned by adapters (LoRA)",
            "qlora": "fine-tuned by adapters on 4 bits",
        }
        return f"The language model {name}, {how[self.settings.method]} on the training résumés."

    @property
    def _from_scratch(self) -> str:
        what = "A small Llama-architecture language model, from random weights"
        if self.settings.use == "off_the_shelf":
            return f"{what} trained on résumés and never shown a training person of the survey."
        how = "pre-trained on résumés, then trained on" if self.settings.pretrain else "trained on"
        return (
            f"{what} {how} the training résumés; where frequent titles are one token each it hardly sees the words "
            "that titles share."
        )

    def fit(self, train: Careers, validation: Careers) -> None:
        """Load or make the model, fine-tune it if the study says so, keep the checkpoint best on validation.

        Raises:
            LaborLLMError: the checkpoint or its tokenizer cannot be used, or the loss is not finite.
        """
        self.pool = train
        if self.ranks.shared((self.folder / FINISHED).is_file()):
            self._load(resume_titles(train.occupations, self.settings.text))
            return
        self.prepare(train)
        history = None if self.corpus is None else self._pretrain(self.corpus)
        if self.settings.use == "finetune":
            if self._adapted:
                self.model = add_adapters(self.model, self.settings.lora, seed=self.settings.seed)
                self.facts["parameters trained"] = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
            history = self._finetune(train, validation)
        if history is not None and self.ranks.first:
            self._keep(history, train, validation)

    @property
    def _adapted(self) -> bool:
        """Whether adapters are trained in place of the weights."""
        return self.settings.use == "finetune" and self.settings.method != "full"

    def _load(self, titles: Sequence[str]) -> None:
        """What an earlier ``fit`` kept in the folder."""
        record = json.loads((self.folder / FINISHED).read_text())
        if record["settings"] != self.settings.learned():
            raise LaborLLMError(f"{self.folder}: holds a model trained with other settings; choose another folder")
        if self._adapted:
            model, tokenizer = self._base()
            self._use(load_adapters(model, self.folder / "adapters"), tokenizer, titles)
        else:
            self._use(*load_checkpoint(self.folder / "checkpoint"), titles)
        self.facts = record["facts"]

    def _base(self) -> tuple[Any, Any]:
        """The checkpoint that the settings name; its weights in 4 bits for QLoRA."""
        folder = Path(str(self.settings.checkpoint))
        if self.settings.method == "qlora" and self._adapted:
            return load_in_four_bits(folder), load_tokenizer(folder, read_config(folder))
        return load_checkpoint(folder)

    def prepare(self, train: Careers) -> None:
        """Load or make the model and its tokenizer; check every title."""
        self.pool = train
        titles = resume_titles(train.occupations, self.settings.text)
        if self.settings.pretrain:
            self.corpus = read_corpus(self.settings.pretrain, self.settings.text)
        if self.settings.scratch:
            written, words = write_resumes(train, self.settings.text), titles
            if self.corpus is not None:
                written = [*self.corpus.written(), *written]
                words = tuple(dict.fromkeys([*titles, *self.corpus.titles]))
            tokenizer = train_tokenizer((resume.text for resume in written), words, self.settings.vocabulary)
            self._use(tiny_llama(tokenizer, self.settings.seed), tokenizer, titles)
        else:
            self._use(*self._base(), titles)
        self._describe()

    def tokenized(self, careers: Careers) -> list[TokenizedResume]:
        """Résumés as tokens, in windows where a career is longer than the context."""
        return fit_context(self.resumes, write_resumes(careers, self.settings.text), context_length(self.model))

    def predict(self, careers: Careers) -> Probabilities:
        """Probabilities of every title, or of the realised one, as the settings say.

        Finished shards of people stay in the folder, so that a killed job goes on there, until ``discard_shards``.

        Raises:
            LaborLLMError: a title or a line does not fit the tokenizer or the context, or the disk is full.
        """
        tokenized = self._behind_prompts(careers)
        if self.settings.text.last_rows is None:
            self.facts["lines predicted without their oldest history"] = lines_without_oldest(tokenized, careers)
        form = self.settings.probabilities
        scorer = self._scorer(tokenized)
        score: Callable[..., np.ndarray] = scorer.realised
        if form == "full":
            score = partial(scorer.titles, tree=TitleTree.of(self.resumes.sequences))
        shards = score_in_shards(
            cut_into_shards(tokenized, careers.starts),
            self.folder,
            score=score,
            model=" ".join(
                [
                    form,
                    scorer.route,
                    model_fingerprint(self.model, self.resumes.sequences),
                    prompts_fingerprint(tokenized),
                ]
            ),
            progress=partial(self.progress, "scoring"),
            ranks=self.ranks,
        )
        rows, occupations = careers.table.select(KEYS), careers.occupations
        label = BFLOAT16 if scorer.arithmetic == BFLOAT16 else None
        if form == "realised":
            realised_raw = np.empty(len(careers))
            for place, raw in shards:
                realised_raw[place] = raw
            return Probabilities(rows, occupations, realised_raw=realised_raw, arithmetic=label)
        log_probabilities = np.empty((len(careers), len(occupations)), dtype=np.float32)
        log_mass = np.empty(len(careers))
        for place, raw in shards:
            log_probabilities[place], log_mass[place] = normalise(raw)
        self.facts["mean mass on the closed list"] = round(float(np.exp(log_mass).mean()), 4)
        return Probabilities(
            rows, occupations, log_probabilities=log_probabilities, log_mass=log_mass, arithmetic=label
        )

    def predict_last(self, careers: Careers) -> np.ndarray:
        """Log-probabilities of every title in each person's last row, nats, shape (people, occupations).

        This process does it alone and leaves nothing in the folder.

        Raises:
            LaborLLMError: as ``predict``; or the settings ask for the realised title alone.
        """
        if self.settings.probabilities != "full":
            raise LaborLLMError(WHOLE_LIST)
        resumes = last_lines(self._behind_prompts(careers), careers)
        tree = TitleTree.of(self.resumes.sequences)
        raw = self._scorer(resumes).titles(resumes, tree, rows=len(careers))
        return normalise(raw[careers.starts[1:] - 1])[0]

    _drawing: PromptedScorer | None = None
    """What draws titles, kept from row to row."""

    def draw_last(self, careers: Careers, history: np.ndarray, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """Titles of each person's last row, drawn at random, as ``next_row.DrawsLast``; raises as ``predict_last``."""
        if self.settings.probabilities != "full":
            raise LaborLLMError(WHOLE_LIST)
        resumes = last_lines(self._behind_prompts(careers), careers)
        if self._drawing is None:
            self._drawing = self._scorer(resumes)
        self._drawing.check(resumes)
        return draw_titles(self._drawing, resumes, TitleTree.of(self.resumes.sequences), history, generators)

    def drawer(self, careers: Careers, observed: np.ndarray, *, paths: int) -> CareerReader | None:
        """Draws titles and reads careers on, as ``next_row.DrawsOn``."""
        if not may_be_read_on(self.settings):
            return None
        resumes = careers_ahead(careers, observed, self.resumes.sequences, self._behind_prompts)
        gib, tree = self.settings.memory_gib, TitleTree.of(self.resumes.sequences)
        return read_on(self._scorer(resumes), resumes, observed, tree, paths=paths, gib=gib)

    def _behind_prompts(self, careers: Careers) -> list[PromptedResume]:
        """Tokens of careers that are to be predicted, behind what the settings put ahead of them."""
        text, chosen, shown = self.settings.text, None, []
        if self.settings.use == "in_context":
            chosen = choose_examples(careers, self.pool, self.settings.examples, states=self._states())
            shown = example_resumes(self.pool, text)
        prompted = prompt_careers(
            careers,
            self.resumes,
            text,
            context=context_length(self.model),
            frame=make_frame(
                self.tokenizer,
                write_title_list(careers.occupations, text) if self.settings.title_list else "",
                chat=self.settings.chat,
            ),
            examples=chosen,
            shown=shown,
        )
        self.facts |= prompted.facts
        return prompted.resumes

    def _states(self) -> States | None:
        """Vectors by which "nearest" finds its examples: of an encoder, or of the model itself."""
        given, text = self.settings.examples, self.settings.text
        if given.choose != "nearest":
            return None
        if given.embed is not None:
            other = load_embedding(EmbeddingLogitSettings(checkpoint=given.embed, text=text), self.pool.occupations)
            return lambda some: other.embed(other.prefixes(write_resumes(some, text)), rows=len(some))
        scorer = Scorer(self.model)
        return lambda some: scorer.hidden(self.tokenized(some), rows=len(some))

    def _scorer(self, resumes: Sequence[PromptedResume]) -> PromptedScorer:
        if self.settings.arithmetic == "bfloat16" and self.model.dtype == torch.float32:
            to_bfloat16_layers(self.model)
        memory = None if self.settings.memory_gib is None else self.settings.memory_gib * 2**30
        scorer = PromptedScorer(self.model, memory=memory)
        scorer.check(resumes)
        self.facts |= {"scored by": scorer.route, "arithmetic": scorer.arithmetic}
        return scorer

    def _use(self, model: Any, tokenizer: Any, titles: Sequence[str]) -> None:
        self.model, self.tokenizer = model.to(self.ranks.device).eval(), tokenizer
        self._drawing = None
        self.resumes = ResumeTokenizer(tokenizer, titles)

    def _describe(self) -> None:
        config = self.model.config
        self.facts |= {
            "architecture": type(self.model).__name__,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "vocabulary": config.get_text_config().vocab_size,
            "context (tokens)": context_length(self.model),
            "tokens a title, line end included": round(float(np.mean([len(s) for s in self.resumes.sequences])), 1),
        }

    def _pretrain(self, corpus: TextCorpus) -> History:
        """Learn the text of the corpus; its held-out people choose the weights."""
        resumes, context = ResumeTokenizer(self.tokenizer, corpus.titles), context_length(self.model)
        learned, held_out = (
            fit_context(resumes, written, context) for written in (corpus.written(), corpus.written_held_out())
        )
        history = self._learn("pre-training", learned, held_out, len(corpus.held_out))
        self.facts |= {
            "people of the résumés learned first": corpus.learned.people,
            "tokens of the résumés learned first": int(sum(len(resume.tokens) for resume in learned)),
            "résumé perplexity": round(history.best, 3),
        }
        return history

    def _finetune(self, train: Careers, validation: Careers) -> History:
        """Learn the résumés of the training people; the validation people choose the weights."""
        tokenized = self.tokenized(train)
        if self.settings.text.last_rows is None:
            self.facts["lines learned without their oldest history"] = lines_without_oldest(tokenized, train)
        self.facts["tokens of training résumés"] = int(sum(len(resume.tokens) for resume in tokenized))
        history = self._learn("training", tokenized, self.tokenized(validation), len(validation))
        best = next(leg for leg in history.legs if leg["step"] == history.best_step)
        self.facts |= {
            "epochs until the best checkpoint": round(best["epoch"], 2),
            "raw validation perplexity of the best checkpoint": round(history.best, 3),
            "epochs trained": round(history.legs[-1]["epoch"], 2),
            "learned from": history.how,
        }
        return history

    def _learn(self, phase: str, learned: list[TokenizedResume], held_out: list[TokenizedResume], rows: int) -> History:
        return finetune(
            self.model,
            learned,
            lambda model: occupation_perplexity(model, held_out, rows, ranks=self.ranks),
            settings=self.settings.training if phase == "training" else self.settings.pretraining,
            folder=self.folder / phase,
            seed=self.settings.seed,
            progress=partial(self.progress, phase),
            ranks=self.ranks,
        )

    def _keep(self, history: History, train: Careers, validation: Careers) -> None:
        """Write the checkpoint or the adapters, then what is known of them; what a killed training needs goes."""
        name = "adapters" if self._adapted else "checkpoint"
        with whole_folder(self.folder / name) as temporary, full_disk_as_oserror():
            if self._adapted:
                save_adapters(self.model, temporary, Path(str(self.settings.checkpoint)))
            else:
                self.model.save_pretrained(temporary)
            self.tokenizer.save_pretrained(temporary)
            card = self._card(history, {"train": train, "validation": validation})
            (temporary / "README.md").write_text(card, encoding="utf-8")
        record = {"settings": self.settings.learned(), "facts": self.facts, "history": asdict(history)}
        with whole_file(self.folder / FINISHED) as temporary:
            temporary.write_text(json.dumps(record, indent=1))
        for phase in PHASES:
            shutil.rmtree(self.folder / phase, ignore_errors=True)

    def _card(self, history: History, learned: Mapping[str, Careers]) -> str:
        """What is said of the model beside its weights."""
        base = self.settings.checkpoint
        return model_card(
            Card(
                architecture=str(self.facts["architecture"]),
                parameters=int(self.facts["parameters"]),
                base=None if base is None else base.name,
                licence="" if base is None else base_licence(base),
                method=self.settings.method,
                survey=", ".join(learned["train"].table["survey"].unique().sort().to_list()),
                people={name: careers.people for name, careers in learned.items()},
                person_years={name: len(careers) for name, careers in learned.items()},
                occupations=len(learned["train"].occupations),
                split=split_hash(learned["train"], learned["validation"]),
                text=self.settings.text.model_dump(mode="json"),
                training=self.settings.training.model_dump(mode="json"),
                metrics={"raw perplexity of occupations, people who chose the weights": history.best},
            )
        )
