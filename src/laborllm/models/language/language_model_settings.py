"""The settings of a language model, apart from it so that a study is read without torch."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from laborllm.models.temperature import Tempering
from laborllm.settings import Settings
from laborllm.text.resume import ResumeSettings


class TrainingSettings(Settings):
    """How a language model is fine-tuned.

    Attributes:
        preset: keys that are not given take the values of the paper's schedule of three or of five epochs.
        epochs: passes over the training people; 0.1 is a tenth of one.
        learning_rate: the peak of the schedule.
        batch: résumés a step.
        schedule: what the learning rate does after warming up: falls to zero along a cosine or a line, falls with the
            root of the step, or stays.
        warmup: share of the steps in which the learning rate rises.
        weight_decay: decoupled decay of matrices (AdamW).
        dropout: share of activations dropped after the embedding and in every attention and feed-forward output.
        clip: largest norm of the gradient.
        loss: over "all_tokens" of a résumé (the paper's), or over "occupations", the tokens of titles alone.
        precision: "bfloat16" multiplies in bfloat16 and keeps float32 weights, gradients and moments; "float32" does
            not; by default bfloat16 on a GPU.
        checkpointing: activations are computed again on the way back: less memory, a third more time.
        sharded: of several processes each keeps a part of weights, gradients and moments (FSDP2), so that a model is
            trained that one GPU cannot hold with them; otherwise each has them whole (DDP). No result depends on it.
        evaluations: how many times an epoch the validation perplexity is measured and the state saved.
        patience: training stops after this many evaluations without a new best.
    """

    preset: Literal["labor_llm_3_epochs", "labor_llm_5_epochs"] | None = None
    epochs: float = Field(default=3, gt=0, allow_inf_nan=False)
    learning_rate: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    batch: int = Field(default=32, ge=1)
    schedule: Literal["cosine", "linear", "inverse_sqrt", "constant"] = "linear"
    warmup: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    clip: float = Field(default=1.0, gt=0)
    loss: Literal["all_tokens", "occupations"] = "all_tokens"
    precision: Literal["float32", "bfloat16"] | None = None
    checkpointing: bool = False
    sharded: bool = False
    evaluations: int = Field(default=1, ge=1)
    patience: int = Field(default=5, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("preset") in PRESETS:
            return PRESETS[given["preset"]] | given
        return given


PRESETS: dict[str, dict[str, Any]] = {
    f"labor_llm_{epochs}_epochs": {
        "epochs": epochs,
        "learning_rate": 1e-5,
        "batch": 32,
        "schedule": "linear",
        "loss": "all_tokens",
    }
    for epochs in (3, 5)
}
"""The schedules of LABOR-LLM; what they leave open is as in ``TrainingSettings``."""

SCRATCH_TRAINING = TrainingSettings(
    epochs=8,
    learning_rate=2e-3,
    batch=32,
    schedule="cosine",
    warmup=0.05,
    weight_decay=0.1,
    dropout=0.1,
    patience=3,
)
"""What a model with random weights is trained with, unless the study says otherwise."""


SCRATCH_PRETRAINING = SCRATCH_TRAINING.model_copy(update={"epochs": 1.0, "dropout": 0.0, "evaluations": 4})
"""How a model with random weights learns from résumés before it learns from the survey."""


class LoraSettings(Settings):
    """Low-rank adapters (LoRA), in place of training every weight.

    Attributes:
        rank: of the two factors of each update.
        alpha: the update is scaled by alpha / rank.
        dropout: share of an adapter's inputs dropped.
        targets: names of the linear layers that get adapters; all but the output layer if not given.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: tuple[str, ...] = ()


class ExampleSettings(Settings):
    """Complete résumés of training people that stand ahead of the one to be predicted.

    Attributes:
        count: how many; fewer where the context window is too short, and that is said.
        choose: "random"; "stratified": random among those alike in ``by``; "overlap": those whose occupations overlap
            most with the person's so far; "nearest": nearest in an embedding of the career so far. Both choose anew at
            a person's rows 1, 2, 4, 8, …, from what is known there.
        by: covariates of "stratified".
        shared: one set for everybody ("stratified": for each combination of ``by``), encoded once; otherwise one for
            each person. Not of "overlap" and "nearest".
        embed: folder of the encoder of "nearest"; the model itself if not given.
        seed: of the draw.
    """

    count: int = Field(default=3, ge=1)
    choose: Literal["random", "stratified", "overlap", "nearest"] = "random"
    by: tuple[Literal["gender", "ethnicity", "region", "birth_year"], ...] = ("gender", "ethnicity")
    shared: bool = True
    embed: Path | None = None
    seed: int = Field(default=1, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _own_sets(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("choose") in ("overlap", "nearest"):
            return {"shared": False} | given
        return given

    @model_validator(mode="after")
    def _shared_where_it_can_be(self) -> "ExampleSettings":
        if self.shared and self.choose in ("overlap", "nearest"):
            raise ValueError(f'choose = "{self.choose}" chooses for each person; take shared = true out')
        if self.embed is not None and self.choose != "nearest":
            raise ValueError('embed is for choose = "nearest"; take it out')
        return self


class LanguageModelSettings(Tempering):
    """A causal language model in a study.

    Attributes:
        checkpoint: folder of a Hugging Face checkpoint (config, safetensors, tokenizer.json); or
        scratch: "tiny", a small model with random weights and a tokenizer made from the training résumés.
        vocabulary: of a model from scratch: size of the BPE that cuts titles. Large: one token a title, fast and
            blind to words that titles share. Small (1024, say): rare titles are spelled in pieces that they share.
        use: "off_the_shelf" (untouched), "in_context" (untouched, after résumés of training people) or "finetune".
        title_list: the closed list stands at the head of the prompt; of models that are not fine-tuned.
        chat: the prompt is a user's message in the checkpoint's chat template, and the résumé begins its answer.
        examples: which résumés stand ahead of the one to be predicted, for "in_context".
        method: "full": every weight is trained; "lora": adapters; "qlora": adapters on weights kept in 4 bits (CUDA).
        lora: of the adapters.
        pretrain: Parquet files of careers, such as résumés, whose text the model learns first.
        pretraining: how it learns from them.
        text: how careers are worded.
        training: how it is fine-tuned; by default as the paper does, or as suits random weights.
        probabilities: "full" (the whole list) or "realised" (one number a row: only raw perplexity).
        arithmetic: of scoring: "float32", or "bfloat16" layers under a float32 head, labelled in every output.
        memory_gib: memory that scoring's activations may take; half of what is free if not given.
        seed: seed of random weights, of the order of people and of dropout.
    """

    kind: Literal["language_model"]
    checkpoint: Path | None = None
    scratch: Literal["tiny"] | None = None
    vocabulary: int = Field(default=8192, ge=256)
    use: Literal["off_the_shelf", "in_context", "finetune"] = "finetune"
    title_list: bool = False
    chat: bool = False
    examples: ExampleSettings = ExampleSettings()
    method: Literal["full", "lora", "qlora"] = "full"
    lora: LoraSettings = LoraSettings()
    pretrain: tuple[Path, ...] = ()
    pretraining: TrainingSettings = TrainingSettings(epochs=1, evaluations=4)
    text: ResumeSettings = ResumeSettings()
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    probabilities: Literal["full", "realised"] = "full"
    arithmetic: Literal["float32", "bfloat16"] = "float32"
    memory_gib: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    seed: int = Field(default=1, ge=0)

    def learned(self) -> dict[str, Any]:
        """What the fitted model depends on: not where its files lie, nor in which form it answers."""
        elsewhere = {"checkpoint", "pretrain", "probabilities", "arithmetic", "memory_gib", "temperature"}
        left_out: dict[str, Any] = dict.fromkeys(elsewhere, True)
        left_out |= {phase: {"sharded"} for phase in ("training", "pretraining")}
        return self.model_dump(mode="json", exclude=left_out)

    @model_validator(mode="before")
    @classmethod
    def _training_of_scratch(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not given.get("scratch"):
            return given
        for name, defaults in {"training": SCRATCH_TRAINING, "pretraining": SCRATCH_PRETRAINING}.items():
            own = given.get(name, {})
            if isinstance(own, dict) and not own.get("preset"):
                given = {**given, name: defaults.model_dump() | own}
        return given

    @model_validator(mode="after")
    def _one_source(self) -> "LanguageModelSettings":
        if (self.checkpoint is None) == (self.scratch is None):
            raise ValueError('give checkpoint = "FOLDER" or scratch = "tiny", one of the two')
        if self.scratch and self.use != "finetune" and not self.pretrain:
            raise ValueError('scratch = "tiny" has random weights; use = "finetune", or give pretrain = [FILES]')
        if self.scratch and self.method != "full":
            raise ValueError('scratch = "tiny" has random weights; adapters need a checkpoint: method = "full"')
        if self.temperature and self.probabilities == "realised":
            raise ValueError('temperature = true needs the whole list: probabilities = "full"')
        if self.use == "finetune" and (self.title_list or self.chat):
            raise ValueError('title_list and chat are for use = "off_the_shelf" and "in_context"; take them out')
        return self
