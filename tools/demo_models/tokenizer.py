"""The character-level tokenizer all models of the world share, as a plain `tokenizer.json` any reader loads.

A model that reasons has two tokens more, after those of the others: the marks of its reasoning.
"""

import unicodedata
from typing import Any

from arbitrage.demo.tasks import LANGUAGES, items
from arbitrage.text.reasoning_formats import FORMATS

SPECIAL_TOKENS: tuple[str, ...] = ("<pad>", "<bos>", "<eos>", "<unk>", "<|user|>", "<|assistant|>", "<|system|>")
"""In the order of their ids, from 0."""

REASONING_MARKS = FORMATS["think"]

MAX_POSITIONS = 256

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'assistant' -%}"
    "{{ '<|assistant|>' }}{%- generation -%}{{ message.content + eos_token }}{%- endgeneration -%}"
    "{%- else -%}"
    "{{ '<|' + message.role + '|>' + message.content }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)
"""`generation` marks what the model says itself, so that trainers can mask the loss to it."""

REASONING_TEMPLATE = (
    "{{ bos_token }}"
    "{%- set ns = namespace(question=-1) -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}{%- set ns.question = loop.index0 -%}{%- endif -%}"
    "{%- endfor -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'assistant' -%}"
    "{{ '<|assistant|>' }}{%- generation -%}"
    "{%- if loop.index0 > ns.question -%}"
    "{%- if message.reasoning_content -%}{{ '<think>' + message.reasoning_content + '</think>' }}{%- endif -%}"
    "{{ message.content + eos_token }}"
    "{%- else -%}"
    "{{ message.content.split('</think>')[-1] + eos_token }}"
    "{%- endif -%}"
    "{%- endgeneration -%}"
    "{%- else -%}"
    "{{ '<|' + message.role + '|>' + message.content }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)
"""As usual among models that reason, only the answer to the last question keeps its reasoning."""

_RANGES: tuple[tuple[int, int], ...] = (
    (0x20, 0x7E),  # printable ASCII, so that '<|user|>' in a text can be spelt out
    (0xA1, 0xFF),  # Latin-1
    (0x400, 0x45F),  # Cyrillic
    (0x621, 0x652),  # Arabic letters, tatweel and vowel signs
    (0x660, 0x669),  # Arabic-Indic digits
    (0x901, 0x96F),  # Devanagari
    (0xE01, 0xE5B),  # Thai
    (0x3041, 0x30FF),  # kana
    (0xFF10, 0xFF19),  # full-width digits
)

_MARKS = "\n\tĞğİıŞşŒœ–—‘’“”„…،؛؟、。「」『』！（），：；？～"


def alphabet() -> list[str]:
    """List every character the models know: basic ranges of each script, and whatever the lexicons write."""
    chars = {chr(code) for first, last in _RANGES for code in range(first, last + 1)}
    chars = {char for char in chars if unicodedata.category(char) not in {"Cn", "Cc", "Cf"}}
    chars.update(_MARKS)
    for language in LANGUAGES:
        for item in (*items("train", language), *items("heldout", language)):
            chars.update(unicodedata.normalize("NFC", item.question + item.answer))
    return sorted(chars)


def build_tokenizer(*, reasons: bool = False) -> Any:
    """Build the tokenizer: one token per character after NFC, no merges, no byte fallback.

    Args:
        reasons: whether it has the marks of reasoning and a template that takes reasoning.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *alphabet()))}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", fuse_unk=False))
    core.normalizer = normalizers.NFC()
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        extra_special_tokens=list(SPECIAL_TOKENS[4:]),
        model_max_length=MAX_POSITIONS,
        padding_side="left",  # what generation wants; trainers choose their own
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    if reasons:
        # Not special, as usual: the reasoning is part of the decoded text.
        tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in REASONING_MARKS.marks])
        tokenizer.chat_template = REASONING_TEMPLATE
    return tokenizer
