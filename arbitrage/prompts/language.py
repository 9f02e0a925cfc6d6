"""Decide the language of a prompt: the given tag, checked against the text, or the identified language."""

from dataclasses import dataclass
from typing import Any

from arbitrage.errors import did_you_mean
from arbitrage.inputs.rows import RowError, printable
from arbitrage.inputs.values import is_missing, shown
from arbitrage.languages import UNKNOWN, read_language, suggest_tag
from arbitrage.prompts.options import ReadOptions
from arbitrage.records import Message
from arbitrage.text.identify import IDENTIFIED_CHARS, identify, is_same_language


@dataclass(frozen=True, slots=True)
class LanguageDecision:
    """The language, the identifier's confidence if it ran, and the language that it found instead of a given tag."""

    language: str
    confidence: float | None = None
    contradicted_by: str | None = None


def decide_language(value: Any, column: str, messages: tuple[Message, ...], options: ReadOptions) -> LanguageDecision:
    """Decide on the language of a prompt.

    Args:
        value: value of the row's language column, MISSING if there is none.
        column: its name, for errors.
        messages: the prompt.
        options: how tags are read, and whether texts are identified.

    Raises:
        RowError: the value is no language.
    """
    given = _given(value, column, options) or options.language
    if given is None or given == UNKNOWN:
        return _identified(messages) if options.identify != "off" else LanguageDecision(UNKNOWN)
    if options.identify != "check":
        return LanguageDecision(given)
    found = identify(_user_text(messages))
    contradicts = found.is_reliable and found.language != UNKNOWN and not is_same_language(given, found.language)
    return LanguageDecision(given, contradicted_by=found.language if contradicts else None)


def _given(value: Any, column: str, options: ReadOptions) -> str | None:
    if is_missing(value):
        return None
    if isinstance(value, list) and len(value) == 1:  # the spelling in data set cards
        [value] = value
    if not isinstance(value, str):
        raise RowError("wrong_type", f"the language in column '{printable(column, 40)}' is {shown(value)}, not text")
    if value in options.language_names:
        return options.language_names[value]
    tag = read_language(value)
    if tag is None:
        hint = did_you_mean(suggest_tag(value))
        raise RowError(
            "unknown_language",
            f"'{printable(value, 40)}' in column '{printable(column, 40)}' is neither a BCP-47 tag nor the name of a "
            f"language{hint}",
        )
    return tag if tag != UNKNOWN else None


def _identified(messages: tuple[Message, ...]) -> LanguageDecision:
    found = identify(_user_text(messages))
    return LanguageDecision(found.language, found.confidence)


def _user_text(messages: tuple[Message, ...]) -> str:
    return "\n".join(m.content for m in messages if m.role == "user")[:IDENTIFIED_CHARS]
