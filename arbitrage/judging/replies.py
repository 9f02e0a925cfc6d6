"""Parse the verdict in the output of a judge, a reviewer or an adjudicator.

A reply ends in a line with a code and the verdict: `Verdict laruteku: 2`. The code is derived from the judged texts
and occurs in none of them (`teachers.quoting.code_for`), so that a quotation cannot be read as a verdict. Only the
last line counts, and only text after the reasoning.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Literal, TypeVar

from arbitrage.records import Candidate, FinishReason
from arbitrage.teachers.quoting import repeats

T = TypeVar("T")

Fault = Literal["empty", "truncated", "no_verdict", "contradictory", "echo", "out_of_range"]
"""Why a reply has no verdict. `echo`: it repeats the instruction."""

LONGEST_REPLY = 200_000
"""Number of characters, at the end of a reply, that are read."""

_LONGEST_LINE = 200
_THOUGHTS_END = re.compile(
    r"</(?:think|thinking|thought|reasoning)>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|assistantfinal"
    r"|<\|channel\|>final(?:<\|message\|>)?",
    re.IGNORECASE,
)
_THOUGHTS_BEGIN = re.compile(
    r"\s*(?:<(?:think|thinking|thought|reasoning)>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>analysis)",
    re.IGNORECASE,
)
_ENDS_OF_LINE = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_NO_CONTENT = re.compile(r"(?:```\w*|~~~\w*|-{3,}|\*{3,}|</s>|<\|\w+\|>|<end_of_turn>)?")

# allowed around the parts of the last line: markup, and up to three words before; bounded by _LONGEST_LINE
_IN_FRONT = (
    r"[\s*_`#>\"'“”„«\[({|【「『《〈-]*(?:\d{1,2}[.)]\s*)?(?:[^\W\d_]+[\s*_`\"':\[({|【「『《〈-]+){0,3}"
    r"(?:[^\W\d_]+)?"  # scripts without spaces between words: '判定laruteku: 2'
)
_AROUND = " \t*_`\"'“”„«»:=[](){}|→【】「」『』《》〈〉–—-"
_BETWEEN = f"[\\s{re.escape(_AROUND)}]{{1,20}}?"
_BEHIND = r"[\s*_`\"'“”’»\])}|】」』》〉.。।॥۔!]*(?:</s>|<\|\w+\|>)*"
_BEGINS = r"(?<![-−–—+.,/<≤>≥≈~±%\w])"  # no sign, no fraction: '-7' is not 7
_ENDS = r"(?![\w%])"
_PLACEHOLDER = re.compile(r"<([^<>|/\n]{1,30})>")
_TAG = re.compile(r"</?(?:b|strong|i|em|u|p|br|mark|code)\s?/?>|\$", re.IGNORECASE)
_TEX = re.compile(r"\\(?:boxed|text|textbf|mathbf)\s?\{([^{}]{0,60})\}")
_CODE = "\ue000"
_ARABIC_POINT = "\u066b"
_VALUE_KEYS = frozenset({"verdict", "score", "choice", "winner", "rating", "better"})


@dataclass(frozen=True, slots=True)
class Scale(Generic[T]):
    """The allowed verdicts.

    Attributes:
        pattern: pattern of a verdict's text in lower case, without groups; digits are ASCII.
        value: meaning of the text; None if it is outside the scale.
    """

    pattern: str
    value: Callable[[str], T | None]


@dataclass(frozen=True, slots=True)
class ParsedReply(Generic[T]):
    """The content of a reply.

    Attributes:
        value: the verdict; None if there is none.
        fault: why there is none.
        reason: the words before the verdict, without reasoning; all words if there is no verdict.
    """

    value: T | None
    fault: Fault | None
    reason: str


def read_reply(reply: Candidate, code: str, instruction: str, scale: Scale[T]) -> ParsedReply[T]:
    """Read the verdict of a reply.

    Args:
        reply: the judge's output.
        code: code of the request.
        instruction: the instruction on how to reply: text that repeats it is not a verdict.
        scale: the allowed verdicts.
    """
    said = without_reasoning(reply.text[-LONGEST_REPLY:])
    is_whole = reply.finish_reason is FinishReason.STOP
    pairs = [(line, _plain(line).strip()) for line in _ENDS_OF_LINE.split(said or "")]
    shown, lines = ([pair[i] for pair in pairs if not _NO_CONTENT.fullmatch(pair[1])] for i in (0, 1))
    if said is None or not lines:
        return ParsedReply(None, "truncated" if said is None or not is_whole else "empty", "")
    text, words = "\n".join(lines).strip(), "\n".join(shown).strip()
    structured = _structured(text, code)
    if structured is not None:
        return _judged(scale, structured, words)
    last = _last_line([_coded(line, code) for line in lines[-2:]], scale)
    is_cut = not is_whole and not _ENDS_OF_LINE.match(said[-1])  # '1' may be the beginning of '10'
    if last is None or is_cut:
        fault: Fault = "truncated" if not is_whole else "echo" if repeats(text, instruction, code) else "no_verdict"
        return ParsedReply(None, fault, words)
    if repeats("\n".join(lines[:-1]), instruction, code):
        return ParsedReply(None, "echo", words)
    if len({scale.value(each.casefold()) for each in _patterns(scale.pattern)[1].findall(_coded(text, code))}) > 1:
        return ParsedReply(None, "contradictory", words)
    return _judged(scale, last, "\n".join(shown[:-1]).strip())


def without_reasoning(text: str) -> str | None:
    """Return the text after the reasoning; None if the reasoning has no end."""
    ends = [match.end() for match in _THOUGHTS_END.finditer(text)]
    said = text[ends[-1] :] if ends else text
    return None if _THOUGHTS_BEGIN.match(said) else said


def _plain(line: str) -> str:
    """Return a line with ASCII digits and brackets, without combining marks and invisible characters.

    Some characters expand to eighteen, so a line is cut at the maximum length of a reply.
    """
    if line.isascii():
        return line
    return "".join(map(_plain_character, unicodedata.normalize("NFKC", line)[-LONGEST_REPLY:]))


def _plain_character(character: str) -> str:
    if unicodedata.category(character) in ("Cf", "Mn", "Mc", "Me"):
        return ""
    if character == _CODE:
        return ""
    if character == _ARABIC_POINT:
        return "."
    digit = unicodedata.decimal(character, None)
    return character if digit is None else str(digit)


def _coded(text: str, code: str) -> str:
    """Return a text with one character instead of the code, without markup and the angle brackets of the form."""
    for spelled in (code, code.upper(), code.capitalize()):
        text = text.replace(spelled, _CODE)
    return _PLACEHOLDER.sub(r"\1", _TEX.sub(r"\1", _TAG.sub("", text)))


def _judged(scale: Scale[T], text: str, reason: str) -> ParsedReply[T]:
    if not re.fullmatch(scale.pattern, text.strip().casefold()):
        return ParsedReply(None, "no_verdict", reason)
    value = scale.value(text.strip().casefold())
    return ParsedReply(value, "out_of_range" if value is None else None, reason)


def _last_line(lines: Sequence[str], scale: Scale[T]) -> str | None:
    """Return the verdict's text if the last line holds only the code and the verdict.

    The verdict may be in its own line after the code's.
    """
    ends_in_code = _CODE not in lines[-1] and lines[0].rstrip(_AROUND).endswith(_CODE)
    line = " ".join(lines) if ends_in_code else lines[-1]
    if len(line) > _LONGEST_LINE:
        return None
    match = _patterns(scale.pattern)[0].fullmatch(line)
    return match[1] if match else None


@cache
def _patterns(verdict: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the pattern of the last line, and the pattern of every verdict with the code, anywhere.

    `_CODE` replaces the code in the text: otherwise patterns would be compiled for every reply, at 1 ms each.
    """
    marked = f"{_CODE}{_BETWEEN}{_BEGINS}({verdict}){_ENDS}"
    return re.compile(f"{_IN_FRONT}{marked}{_BEHIND}", re.IGNORECASE), re.compile(marked, re.IGNORECASE)


def _structured(text: str, code: str) -> str | None:
    """Return the verdict's text of a reply that is one JSON object with the code; None for other replies.

    Either a key contains the code, `{"reason": "…", "Score laruteku": 8}`, or a value is the code:
    `{"code": "laruteku", "score": 8}`.
    """
    if not (text.startswith("{") and text.endswith("}")):
        return None
    try:
        pairs = json.loads(text, object_pairs_hook=lambda found: found)
    except (ValueError, RecursionError):
        return None
    if not isinstance(pairs, list):
        return None
    with_code = [value for key, value in pairs if code in key.casefold()]
    if not with_code and any(isinstance(value, str) and value.strip().casefold() == code for _, value in pairs):
        with_code = [value for key, value in pairs if key.casefold() in _VALUE_KEYS]
    return _text_of(with_code[0]) if len(with_code) == 1 else None


def _text_of(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return f"{value:g}" if isinstance(value, float) else str(value)[:_LONGEST_LINE]
