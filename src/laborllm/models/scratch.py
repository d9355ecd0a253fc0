"""A small Llama-architecture model with its own tokenizer, made from the training résumés alone."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
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


def piece_tokenizer(texts: Iterable[str], titles: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the pieces of the training résumés, and single bytes for anything else.

    Each title of the closed list is one token, so a line of a résumé has three: year, education level, title. A
    small model learns careers several times faster this way than from sub-words, and the whole list is read off one
    softmax; words that titles share are not seen.

    Args:
        texts: training résumés.
        titles: the closed list's words.
    """
    split = pre_tokenizers.Split(Regex(PIECES), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    count = Counter(piece for text in texts for piece, _ in split.pre_tokenize_str(text))
    pieces = [*(f" {title}\n" for title in titles), *(piece for piece, _ in count.most_common())]
    words = [START, PADDING, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words += [byte_level.pre_tokenize_str(piece)[0][0] for piece in pieces]
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=START, pad_token=PADDING)


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
