"""States of histories: against one prefix at a time, blind to the future, cached, refused in one line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from laborllm.errors import LaborLLMError
from laborllm.models.language.embedding import Embedding, embed_careers, load_embedding
from laborllm.models.language.embedding_settings import EmbeddingLogitSettings
from laborllm.survey.careers import Careers
from laborllm.text.resume import ResumeSettings, write_resumes
from tests.models.language.checkpoints import write_checkpoint


def settings(**given: Any) -> EmbeddingLogitSettings:
    return EmbeddingLogitSettings(**given)


@pytest.fixture(scope="module")
def causal(few_careers: Careers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(few_careers, tmp_path_factory.mktemp("causal"), vocabulary=512)


@pytest.fixture(scope="module")
def encoder(few_careers: Careers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with random weights, and a lower-casing tokenizer that truncates and pads unless told not to."""
    folder = tmp_path_factory.mktemp("encoder")
    words = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    texts = [resume.text for resume in write_resumes(few_careers, ResumeSettings())]
    words.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special))
    words.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    words.enable_truncation(16)
    words.enable_padding(length=16)
    PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=words.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=100,
        architectures=["BertModel"],
    )
    BertModel(config).save_pretrained(folder)
    return folder


def copied(folder: Path, to: Path, **config: Any) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    (to / "config.json").write_text(json.dumps(json.loads((to / "config.json").read_text()) | config))
    return to


def states_of(embedding: Embedding, careers: Careers, text: ResumeSettings | None = None) -> np.ndarray:
    prefixes = embedding.prefixes(write_resumes(careers, text or ResumeSettings()))
    return embedding.embed(prefixes, rows=len(careers))


@pytest.mark.parametrize("pool", ["last", "mean"])
@pytest.mark.parametrize(("layer", "last_rows"), [(0, None), (1, None), (-1, None), (-1, 2)])
def test_causal_states_are_those_of_every_prefix_by_itself(
    causal: Path, few_careers: Careers, layer: int, last_rows: int | None, pool: Any
) -> None:
    text = ResumeSettings(last_rows=last_rows)
    embedding = load_embedding(settings(checkpoint=causal, layer=layer, pool=pool), few_careers.occupations)
    found, rows = states_of(embedding, few_careers, text), []
    tokenizer, model = embedding.resumes.tokenizer, embedding.model
    for resume in write_resumes(few_careers, text):
        for row, cut in list(zip(resume.rows, resume.cuts, strict=True))[resume.first_scored :]:
            tokens = embedding.resumes.start + tokenizer(resume.text[:cut], add_special_tokens=False)["input_ids"]
            with torch.inference_mode():
                output = model(input_ids=torch.tensor([tokens]), output_hidden_states=True)
            states = output.hidden_states[layer][0, len(embedding.resumes.start) :]
            expected = states[-1] if pool == "last" else states.mean(0)
            assert np.abs(found[row] - expected.numpy()).max() < 1e-5
            rows.append(row)
    assert sorted(rows) == list(range(len(few_careers)))


@pytest.mark.parametrize("pool", ["first", "mean"])
@pytest.mark.parametrize("layer", [1, -1])
def test_encoder_states_are_those_of_every_prefix_by_itself(
    encoder: Path, few_careers: Careers, layer: int, pool: Any
) -> None:
    few = few_careers.first_people(12)
    embedding = load_embedding(settings(checkpoint=encoder, layer=layer, pool=pool), few.occupations)
    embedding.tokens_together = 500  # several batches
    found, row, cut_short = states_of(embedding, few), 0, 0
    for resume in write_resumes(few, ResumeSettings()):
        header, *lines = resume.text[: resume.text.rindex("\n")].split("\n")
        header, lines = "\n".join([header, *lines[:3]]) + "\n", lines[3:]
        for line, cut in enumerate(resume.cuts):
            start = lines[line][: lines[line].index(":") + 1]
            for first in range(line + 1):  # the longest that fits
                text = header + "".join(f"{each}\n" for each in lines[first:line]) + start
                tokens = embedding.tokenizer(text, truncation=False, padding=False)["input_ids"]
                if len(tokens) <= 100:
                    break
            assert first > 0 or text == resume.text[:cut]
            cut_short += first > 0
            with torch.inference_mode():
                output = embedding.model(input_ids=torch.tensor([tokens]), output_hidden_states=True)
            states = output.hidden_states[layer][0]
            expected = states[0] if pool == "first" else states.mean(0)
            assert np.abs(found[row] - expected.numpy()).max() < 1e-5
            row += 1
    assert row == len(few)
    assert cut_short > 0  # the context holds no whole career of these


def test_positions_that_begin_behind_padding_take_from_the_context(
    encoder: Path, few_careers: Careers, tmp_path: Path
) -> None:
    folder = copied(encoder, tmp_path / "roberta")
    bert = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    vocabulary = json.loads((encoder / "config.json").read_text())["vocab_size"]
    config = RobertaConfig(vocab_size=vocabulary, max_position_embeddings=104, pad_token_id=3, **bert)
    RobertaModel(config).save_pretrained(folder)
    embedding = load_embedding(settings(checkpoint=folder), few_careers.occupations)
    assert embedding.context == 100
    prefixes = embedding.prefixes(write_resumes(few_careers, ResumeSettings()))
    assert max(len(prefix.tokens) for prefix in prefixes) > 95
    assert np.isfinite(embedding.embed(prefixes, rows=len(few_careers))).all()


@pytest.mark.parametrize("which", ["causal", "encoder"])
def test_a_later_row_changes_nothing_earlier(which: str, few_careers: Careers, request: pytest.FixtureRequest) -> None:
    embedding = load_embedding(settings(checkpoint=request.getfixturevalue(which)), few_careers.occupations)
    last = few_careers.starts[1:] - 1
    codes = few_careers.table["occupation"].cast(pl.String).to_numpy().copy()
    codes[last] = np.where(codes[last] == "436", "313", "436")
    other = few_careers.table.with_columns(pl.Series("occupation", codes).cast(few_careers.occupations.dtype))
    before, after = (states_of(embedding, each) for each in (few_careers, replace(few_careers, table=other)))
    assert np.abs(before - after).max() < 1e-5  # not even those of the changed rows, whose own title comes later
    earlier = pl.Series("occupation", np.roll(codes, 1)).cast(few_careers.occupations.dtype)
    assert np.abs(states_of(embedding, replace(few_careers, table=other.with_columns(earlier))) - before).max() > 1e-3


def test_states_do_not_depend_on_who_else_is_embedded(causal: Path, few_careers: Careers) -> None:
    embedding = load_embedding(settings(checkpoint=causal, pool="mean"), few_careers.occupations)
    few = few_careers.first_people(5)
    assert np.abs(states_of(embedding, few_careers)[: len(few)] - states_of(embedding, few)).max() < 1e-5


def test_the_cache_is_read_where_all_is_the_same(causal: Path, few_careers: Careers, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def embed(text: ResumeSettings | None = None, **given: Any) -> np.ndarray:
        embedding = load_embedding(settings(checkpoint=causal, **given), few_careers.occupations)
        found, _ = embed_careers(
            embedding, few_careers, text or ResumeSettings(), tmp_path, lambda *done: seen.append(done)
        )
        assert found.dtype == np.float16
        assert isinstance(found, np.memmap)
        exact = states_of(embedding, few_careers, text)
        assert np.abs(np.asarray(found, dtype=float) - exact).max() < 1e-3 * np.abs(exact).max()
        return np.array(found)

    first = embed()
    assert seen
    seen.clear()
    assert np.array_equal(embed(layer=-1), first)
    assert not seen
    assert {path.suffix for path in tmp_path.rglob("*")} == {".npy"}  # no shards are left
    for given in ({"layer": 1}, {"pool": "mean"}, {"text": ResumeSettings(drop=("gender",))}):
        assert not np.array_equal(embed(**given), first)
        assert seen
        seen.clear()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_broken_cache_is_written_again(causal: Path, few_careers: Careers, tmp_path: Path, caplog: Any) -> None:
    embedding = load_embedding(settings(checkpoint=causal), few_careers.occupations)
    first = np.array(embed_careers(embedding, few_careers, ResumeSettings(), tmp_path)[0])
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    assert np.array_equal(embed_careers(embedding, few_careers, ResumeSettings(), tmp_path)[0], first)
    assert "computed again" in caplog.text


def test_a_killed_job_goes_on(
    causal: Path, few_careers: Careers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laborllm.models.scoring.shards.PERSON_YEARS", 40)
    monkeypatch.setattr("laborllm.models.scoring.shards.cut_into_shards.__defaults__", (40,))
    embedding = load_embedding(settings(checkpoint=causal), few_careers.occupations)
    whole = np.array(embed_careers(embedding, few_careers, ResumeSettings(), tmp_path / "whole")[0])

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_careers(embedding, few_careers, ResumeSettings(), tmp_path / "cut", stop)
    assert not list((tmp_path / "cut").glob("*.npy"))
    calls: list[tuple[int, int]] = []
    again, _ = embed_careers(
        embedding, few_careers, ResumeSettings(), tmp_path / "cut", lambda *done: calls.append(done)
    )
    assert calls[0][0] > 0
    assert np.array_equal(again, whole)


def test_a_state_too_large_for_float16_is_refused(encoder: Path, few_careers: Careers, tmp_path: Path) -> None:
    embedding = load_embedding(settings(checkpoint=encoder, layer=0), few_careers.occupations)
    with torch.no_grad():
        embedding.model.embeddings.LayerNorm.weight.mul_(1e6)
    with pytest.raises(LaborLLMError, match="largest number of float16 is 65504; choose another layer or pool"):
        embed_careers(embedding, few_careers, ResumeSettings(), tmp_path)
    assert not list(tmp_path.glob("*.npy"))


@pytest.mark.parametrize(
    ("which", "given", "message"),
    [
        ("causal", {"layer": 9}, "layer 9: the model has"),
        ("causal", {"pool": "first"}, r'pool = "first": LlamaForCausalLM is a causal language model; choose one of'),
        ("encoder", {"pool": "last"}, r'pool = "last": BertModel is an encoder; choose one of'),
    ],
)
def test_what_does_not_suit_the_model_is_refused(
    which: str, given: dict[str, Any], message: str, few_careers: Careers, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(LaborLLMError, match=message):
        load_embedding(settings(checkpoint=request.getfixturevalue(which), **given), few_careers.occupations)


def test_broken_checkpoints_are_refused(encoder: Path, few_careers: Careers, tmp_path: Path) -> None:
    def refused(folder: Path, message: str) -> None:
        with pytest.raises(LaborLLMError, match=message) as caught:
            states_of(load_embedding(settings(checkpoint=folder), few_careers.occupations), few_careers)
        assert "\n" not in str(caught.value)

    refused(tmp_path, "holds no readable config.json")
    for name, file, message in (
        ("a", "tokenizer.json", "has no tokenizer.json"),
        ("b", "model.safetensors", "holds no .safetensors weights"),
    ):
        folder = copied(encoder, tmp_path / name)
        (folder / file).unlink()
        refused(folder, message)
    refused(copied(encoder, tmp_path / "c", is_encoder_decoder=True), "encoder with a decoder; choose a causal")
    refused(copied(encoder, tmp_path / "d", num_hidden_layers=4), "the weights lack")
    folder = copied(encoder, tmp_path / "e")
    about = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(about | {"model_max_length": 30}))
    refused(folder, "header and one line take .* tokens, but the encoder's context is 30")


def test_settings_name_one_encoder() -> None:
    for given in ({}, {"checkpoint": "a", "packaged": "minilm"}):
        with pytest.raises(ValueError, match="one of the two"):
            settings(**given)
    with pytest.raises(ValueError, match="numbers above 0"):
        settings(checkpoint="a", l2=[0])
    assert settings(checkpoint="a", l2=[1, 10]).l2 == (10, 1)
