"""A random, tiny BERT with a word tokenizer over the toy outcomes' words, in Hugging Face format."""

from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, MT5Config, MT5Model, PreTrainedTokenizerFast

from tests.support.reward_matrices import LANGUAGES, WORDS

SPECIALS = ("[PAD]", "[UNK]")


def save_encoder(directory: Path, *, seed: int = 0, kind: Literal["bert", "mt5"] = "bert") -> Path:
    """Write the encoder and its tokenizer; "mt5" comes with a decoder."""
    words = [*SPECIALS, *LANGUAGES, "quiz", "essay", *(word for topic in WORDS.values() for word in topic)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        directory
    )
    small = MT5Config(vocab_size=len(words), d_model=32, d_kv=8, num_layers=1, num_heads=2, d_ff=32)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MT5Model(small) if kind == "mt5" else BertModel(config, add_pooling_layer=False)
        model.save_pretrained(directory)
    return directory
