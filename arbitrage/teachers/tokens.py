"""Tokens per character by teacher and language: the basis of all estimates of time and money.

Tokens per character differ by tokenizer and language (Burmese costs 3.5 times the bytes of English), so estimates
use the teacher's own tokenizer where it is on this machine, and a table by script where it is not.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from arbitrage.contracts.engines import SamplingParams
from arbitrage.errors import ArbitrageError, DataError
from arbitrage.languages import script_of
from arbitrage.models.chat import ChatTokenizer
from arbitrage.records import Message
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.pool import TeacherConfig
from arbitrage.text.reasoning_formats import format_of

TOKENS_PER_CHARACTER: Mapping[str, float] = {
    "Arab": 0.52,
    "Armn": 0.38,
    "Beng": 0.46,
    "Cyrl": 0.41,
    "Deva": 0.44,
    "Ethi": 2.33,
    "Geor": 0.46,
    "Grek": 0.38,
    "Gujr": 0.60,
    "Guru": 0.62,
    "Hans": 0.86,
    "Hant": 0.95,
    "Hebr": 0.46,
    "Jpan": 0.74,
    "Khmr": 2.67,
    "Knda": 0.45,
    "Kore": 0.54,
    "Laoo": 2.57,
    "Latn": 0.35,
    "Mlym": 0.48,
    "Mymr": 0.90,
    "Sinh": 2.60,
    "Taml": 0.41,
    "Telu": 0.48,
    "Thaa": 1.88,
    "Thai": 0.49,
    "Tibt": 2.27,
}
"""Measured on NTREX-128 with Mistral's Tekken (131k entries) by `benchmarks/tokens_per_character.py`: used for
teachers whose own tokenizer is not on this machine."""

OTHER_SCRIPTS = 1.0

TOKENS_PER_TURN = 5
"""Tokens of a ChatML turn besides its text: two marks, the role, two line breaks."""

TOKENS_BEFORE_ANSWER = 3
"""Tokens before the completion: a mark, the role, a line break."""


def tokens_per_character(
    teacher: TeacherConfig, samples: Mapping[str, Sequence[str]]
) -> tuple[dict[str, float], bool]:
    """Return language → tokens per character, and whether the teacher's own tokenizer was used.

    Args:
        teacher: whose tokenizer.
        samples: language → some texts in it.
    """
    tokenizer = _tokenizer(teacher)
    if tokenizer is None:
        return {tag: TOKENS_PER_CHARACTER.get(script_of(tag), OTHER_SCRIPTS) for tag in samples}, False
    found = {}
    for tag, texts in samples.items():
        tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        found[tag] = sum(len(ids) for ids in tokens) / max(1, sum(len(text) for text in texts))
    return found, True


def template_tokens(teacher: TeacherConfig, conversations: Sequence[Sequence[Message]]) -> float:
    """Return the mean number of tokens that the chat template adds to a prompt.

    A default system prompt is part of it; with short prompts it is most of what an engine reads. Where the teacher's
    tokenizer is not on this machine, TOKENS_PER_TURN and TOKENS_BEFORE_ANSWER stand in for it.

    Args:
        teacher: whose template.
        conversations: a sample of the prompts.
    """
    if not conversations or not teacher.engine.needs_model:
        return 0.0
    chat = _chat(teacher)
    rendered = [] if chat is None else [_written(chat, each) for each in conversations]
    known = [tokens for tokens in rendered if tokens is not None]
    if not known:
        turns = sum(map(len, conversations)) / len(conversations)
        return TOKENS_PER_TURN * turns + TOKENS_BEFORE_ANSWER
    return sum(known) / len(known)


def may_reason(teacher: TeacherConfig, sampling: SamplingParams) -> bool:
    """Tell whether a teacher is expected to reason before it answers.

    It is where its sampling parameters or its entry in the pool speak of reasoning, or where the chat template or the
    vocabulary has marks for it; an endpoint whose entry says nothing is not known to.
    """
    if sampling.reasoning_effort == "none" or teacher.reasoning_parser == "none":
        return False
    if sampling.reasoning_budget or sampling.reasoning_effort or teacher.reasoning_parser != "auto":
        return True
    chat = _chat(teacher)
    return chat is not None and format_of(chat.vocabulary, chat.template) is not None


def _written(chat: ChatTokenizer, conversation: Sequence[Message]) -> int | None:
    """Return the tokens of the template alone; None for a conversation that it refuses."""
    try:
        content_tokens = sum(chat.count(message.shown) for message in conversation)
        return max(0, len(chat.encode(conversation)) - content_tokens)
    except DataError:
        return None


def _chat(teacher: TeacherConfig) -> ChatTokenizer | None:
    tokenizer = _tokenizer(teacher)
    try:
        return None if tokenizer is None else teacher.spec().chat(tokenizer, local_files_only=True)
    except ArbitrageError:
        return None


def _tokenizer(teacher: TeacherConfig) -> Any:
    """Return the teacher's tokenizer if it is on this machine; never downloads it."""
    if not teacher.engine.loads_model:
        return None
    return _loaded(teacher.model, teacher.revision, teacher.adapter, teacher.adapter_revision)


@lru_cache(maxsize=8)
def _loaded(model: str, revision: str | None, adapter: str | None, adapter_revision: str | None) -> Any:
    spec = ModelSpec("tokenizer", model, revision, adapter=adapter, adapter_revision=adapter_revision)
    try:
        return spec.tokenizer(local_files_only=True)
    except ArbitrageError:
        return None
