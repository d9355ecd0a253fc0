"""A small Llama-architecture model with its own tokenizer, made from the training résumés alone."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from laborllm.text.resume import BORN, END_OF_DATA, FIELDS_WITHOUT_EDUCATION, FULL_FIELDS, INFORMATION, RECORDS

PIECES = "|".join(
    [
        r"<A worker from the [^>\n]* dataset>\n",
        re.escape(INFORMATION),
        re.escape(BORN),
        re.escape(RECORDS) + f" (?:{re.escape(FULL_FIELDS)}|{re.escape(FIELDS_WITHOUT_EDUCATION)})\\n",
        re.escape(END_OF_DATA),
        r" \([^()\n]*\):",  # an education level
        r"(?<=:) [^\n]*\n",  # a title with its space and its line end
        r" ?\d{4}",
        r"\.\n",
        r" ?[^\s:.]+",
        r"[\s\S]",
    ]
)
"""Where a résumé is cut. A title with its space and its line end is one piece."""
CONTEXT = 2048
EMBEDDING_SPREAD = 0.1
"""Standard deviation of embeddings at the start; the usual 0.02 learns a survey more slowly."""
START, PADDING = "<s>", "<pad>"


def train_tokenizer(texts: Iterable[str], titles: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the training résumés.

    Header phrases, years and education levels are one token each. Titles, with their space and line end, are cut by
    BPE: where the vocabulary is large every title becomes one token, a line of a résumé has three, and the whole list
    is read off one softmax; where it is small, rare titles keep pieces that they share with others.

    Args:
        texts: training résumés.
        titles: the closed list's words, each counted once beside its occurrences, so that every title has tokens.
        vocabulary: largest number of tokens for bytes and pieces of titles; those that no title needs are dropped.
    """
    split = pre_tokenizers.Split(Regex(PIECES), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    count = Counter(piece for text in texts for piece, _ in split.pre_tokenize_str(text))
    lines = {f" {title}\n" for title in titles}
    occurrences = Counter({piece: times for piece, times in count.items() if piece in lines}) + Counter(lines)
    pieces, merges = _train_bpe(occurrences, vocabulary)
    phrases = [byte_level.pre_tokenize_str(piece)[0][0] for piece, _ in count.most_common() if piece not in lines]
    words = dict.fromkeys([START, PADDING, *sorted(pre_tokenizers.ByteLevel.alphabet()), *pieces, *phrases])
    model = models.BPE(vocab={word: place for place, word in enumerate(words)}, merges=merges, ignore_merges=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=START, pad_token=PADDING)


def _train_bpe(occurrences: Counter[str], vocabulary: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Pieces into which BPE cuts the given texts, and the merges that lead to them, in the order of learning.

    A text that becomes one token needs no merge, because whole texts are looked up first. Merges that no other text
    uses are dropped: they would only widen the softmax.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(sorted(occurrences.elements()), trainer)
    parts = {left + right: (left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]}
    cut = [tokenizer.encode(text).tokens for text in sorted(occurrences)]
    whole = {tokens[0] for tokens in cut if len(tokens) == 1}
    waiting = [token for tokens in cut if len(tokens) > 1 for token in tokens]
    needed: set[str] = set()
    while waiting:
        token = waiting.pop()
        if token in parts and token not in needed:
            needed.add(token)
            waiting += parts[token]
    return sorted(whole | needed), [pair for token, pair in parts.items() if token in needed]


def tiny_llama(tokenizer: Any, seed: int) -> LlamaForCausalLM:
    """A Llama with random weights, small enough to be trained on two CPU cores in minutes.

    Args:
        tokenizer: its vocabulary sets the size of the embedding.
        seed: seed of the weights.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        torch.nn.init.normal_(model.model.embed_tokens.weight, std=EMBEDDING_SPREAD)
    return model
