"""Checkpoints as users have them: broken, of another kind, somebody else's; each is refused in one line."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import transformers as hf
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from laborllm.errors import LaborLLMError
from laborllm.models.language.loading import load_checkpoint, read_config
from laborllm.models.language.scratch import tiny_llama, train_tokenizer
from laborllm.models.language.windows import fit_context
from laborllm.survey.careers import Careers
from laborllm.text.resume import ResumeSettings, write_resumes
from laborllm.text.titles import ResumeTokenizer

SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def tokenizer(few_careers: Careers) -> Any:
    written = write_resumes(few_careers, ResumeSettings())
    return train_tokenizer([resume.text for resume in written], few_careers.occupations.titles, 8192)


@pytest.fixture
def checkpoint(tokenizer: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    save(tiny_llama(tokenizer, seed=1), tokenizer, folder)
    return folder


def save(model: Any, tokenizer: Any, folder: Path, **given: Any) -> None:
    model.save_pretrained(folder, **given)
    tokenizer.save_pretrained(folder)


def change_config(folder: Path, **given: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | given))


def refused(folder: Path) -> str:
    with pytest.raises(LaborLLMError) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    return message


def test_a_whole_checkpoint_gives_back_its_weights(checkpoint: Path, tokenizer: Any) -> None:
    model, _ = load_checkpoint(checkpoint)
    expected = tiny_llama(tokenizer, seed=1).state_dict()
    assert all(torch.equal(expected[name], weight) for name, weight in model.state_dict().items())


def test_half_precision_is_loaded_in_float32(tokenizer: Any, tmp_path: Path) -> None:
    half = tiny_llama(tokenizer, seed=1).to(torch.bfloat16)
    save(half, tokenizer, tmp_path / "half")
    model, _ = load_checkpoint(tmp_path / "half")
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert torch.equal(model.lm_head.weight.bfloat16(), half.lm_head.weight)


def test_tied_weights_stay_tied(checkpoint: Path) -> None:
    assert "lm_head.weight" not in load_file(checkpoint / "model.safetensors")
    model, _ = load_checkpoint(checkpoint)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_weights_that_should_not_be_tied_must_be_there(checkpoint: Path) -> None:
    change_config(checkpoint, tie_word_embeddings=False)
    assert "the weights lack lm_head.weight" in refused(checkpoint)


def test_pickled_weights_are_refused_with_the_way_to_convert(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    assert "copy the whole checkpoint" in refused(checkpoint)
    torch.save({}, checkpoint / "pytorch_model.bin")
    message = refused(checkpoint)
    assert "pickled weights are refused (pytorch_model.bin can run code)" in message
    assert ".save_pretrained(new)" in message


def test_weights_cut_short_are_named(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "model.safetensors: is cut short or damaged" in refused(checkpoint)


def test_a_missing_shard_is_named(tokenizer: Any, tmp_path: Path) -> None:
    save(tiny_llama(tokenizer, seed=1), tokenizer, tmp_path, max_shard_size="300KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    load_checkpoint(tmp_path)
    shards[1].unlink()
    assert f"lacks {shards[1].name}, one of {len(shards)} files that model.safetensors.index.json" in refused(tmp_path)


def test_missing_and_surplus_tensors_are_named(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    tensors = load_file(file)
    taken = tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, file, metadata={"format": "pt"})
    assert "the weights lack model.layers.1.mlp.up_proj.weight (1 such tensors)" in refused(checkpoint)
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({**tensors, name: taken, "model.extra": taken.clone()}, file, metadata={"format": "pt"})
    assert "no place for model.extra" in refused(checkpoint)
    save_file({**tensors, name: taken[:4].clone()}, file, metadata={"format": "pt"})
    assert f"{name} has the shape (4, 128) and config.json says (256, 128)" in refused(checkpoint)


def test_code_of_the_checkpoints_own_is_never_run(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    (checkpoint / "configuration_own.py").write_text(f"open({str(checkpoint / 'ran')!r}, 'w')")
    change_config(checkpoint, auto_map=own)
    with caplog.at_level(logging.WARNING):
        load_checkpoint(checkpoint)  # transformers has the same class
    assert "code of its own, which is not run: transformers' own LlamaForCausalLM is used" in caplog.text
    change_config(checkpoint, architectures=["OwnForCausalLM"])
    assert "OwnForCausalLM needs code of the checkpoint's own" in refused(checkpoint)
    change_config(checkpoint, model_type="own")
    assert "OwnForCausalLM needs code of the checkpoint's own" in refused(checkpoint)
    assert not (checkpoint / "ran").exists()


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes"])
def test_quantised_weights_are_refused(checkpoint: Path, method: str) -> None:
    change_config(checkpoint, quantization_config={"quant_method": method, "bits": 4})
    assert f"the weights are quantised ({method})" in refused(checkpoint)


def test_an_adapter_alone_names_its_base(checkpoint: Path) -> None:
    (checkpoint / "config.json").unlink()
    (checkpoint / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base-1B"}))
    message = refused(checkpoint)
    assert "holds an adapter alone, of org/base-1B" in message
    assert "merge_and_unload" in message
    (checkpoint / "adapter_config.json").unlink()
    assert "holds no config.json" in refused(checkpoint)


@pytest.mark.parametrize("content", ["{cut", "[]", "{}"])
def test_a_broken_configuration(checkpoint: Path, content: str) -> None:
    (checkpoint / "config.json").write_text(content)
    assert "config.json" in refused(checkpoint)


def test_an_unknown_kind_is_named(checkpoint: Path) -> None:
    change_config(checkpoint, model_type="tomorrow")
    assert "model_type 'tomorrow', which the installed transformers does not know" in refused(checkpoint)


UNSUPPORTED = {
    "BertForMaskedLM": lambda: hf.BertConfig(**SMALL, architectures=["BertForMaskedLM"]),
    "BertLMHeadModel": lambda: hf.BertConfig(**SMALL, architectures=["BertLMHeadModel"]),
    "T5ForConditionalGeneration": lambda: hf.T5Config(architectures=["T5ForConditionalGeneration"]),
    "ModernBertForMaskedLM": lambda: hf.ModernBertConfig(**SMALL, architectures=["ModernBertForMaskedLM"]),
    "Gemma3ForConditionalGeneration": lambda: hf.Gemma3Config(architectures=["Gemma3ForConditionalGeneration"]),
    "LlamaForSequenceClassification": lambda: hf.LlamaConfig(architectures=["LlamaForSequenceClassification"]),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_predicts_no_next_token_says_so_by_name(name: str, tmp_path: Path) -> None:
    UNSUPPORTED[name]().save_pretrained(tmp_path)
    assert f"{name} is no language model that predicts the next token" in refused(tmp_path)


def test_what_cannot_be_scored_says_so_when_it_is_loaded(tokenizer: Any, tmp_path: Path) -> None:
    config = hf.MambaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, state_size=4)
    save(hf.MambaForCausalLM(config), tokenizer, tmp_path)
    assert "MambaForCausalLM takes no position_ids" in refused(tmp_path)


def test_a_tokenizer_of_another_checkpoint(checkpoint: Path, few_careers: Careers, tmp_path: Path) -> None:
    other = train_tokenizer(["1984: Cooks\n"], ("Cooks",), 300)
    save(tiny_llama(other, seed=1), other, tmp_path / "other")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "other" / name).write_bytes((checkpoint / name).read_bytes())
    assert "beyond the" in refused(tmp_path / "other")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("model",), None),
        (("model", "vocab"), {"a": "b"}),
        (("model", "merges"), [["qq", "zz"]]),
        (("pre_tokenizer",), {"type": "Nope"}),
        (("added_tokens",), [{"id": 0}]),
        (("added_tokens",), None),
        (("version",), "9.9"),
    ],
)
def test_a_tokenizer_that_is_json_and_damaged(checkpoint: Path, place: tuple[str, ...], value: object) -> None:
    file = checkpoint / "tokenizer.json"
    content = inside = json.loads(file.read_text())
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    file.write_text(json.dumps(content))
    assert "tokenizer.json cannot be used (" in refused(checkpoint)


def test_an_added_mark_beyond_the_embedding_is_harmless(checkpoint: Path, tokenizer: Any) -> None:
    """As of Gemma 3, whose text-only checkpoints have a mark for images and no embedding of it."""
    wider = hf.AutoTokenizer.from_pretrained(checkpoint)
    wider.add_special_tokens({"additional_special_tokens": ["<image>"]})
    wider.save_pretrained(checkpoint)
    model, loaded = load_checkpoint(checkpoint)
    assert len(loaded) == model.config.vocab_size + 1


@pytest.mark.parametrize("kind", ["words", "pieces"])
def test_a_character_that_the_tokenizer_lacks_names_the_title(kind: str) -> None:
    """Tokenizers of whole words, and of pieces without bytes to fall back on."""
    letters = {letter: place for place, letter in enumerate(["<unk>", *sorted({*"Cooks Mler:0123456789()\n"})])}
    whole = {word: place for place, word in enumerate(["<unk>", "Cooks", "\n", " "])}
    words = models.WordLevel(whole, unk_token="<unk>")
    plain = Tokenizer(words if kind == "words" else models.BPE(letters, [], unk_token="<unk>"))
    if kind == "words":
        plain.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s"), "isolated")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>")
    with pytest.raises(LaborLLMError, match="title 'Müller' has a character the tokenizer does not know"):
        ResumeTokenizer(wrapped, ("Müller",))


def test_a_context_too_short_for_the_header(checkpoint: Path, few_careers: Careers) -> None:
    change_config(checkpoint, max_position_embeddings=16)
    _, tokenizer = load_checkpoint(checkpoint)
    written = write_resumes(few_careers, ResumeSettings())
    with pytest.raises(LaborLLMError, match="header and one line take .* tokens, but the model's context is 16"):
        fit_context(ResumeTokenizer(tokenizer, few_careers.occupations.titles), written, 16)
    assert read_config(checkpoint).max_position_embeddings == 16
