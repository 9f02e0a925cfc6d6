"""Find reasoning in the text of a response: tags and channels that the server's parser should have removed.

The forms are those of the models that write them: `<think>` (DeepSeek, Qwen, Nemotron), `[THINK]` (Magistral),
`<|channel|>analysis` (gpt-oss), `<|START_THINKING|>` (Command A), `◁think▷` (Kimi), `<|begin_of_thought|>`,
`<seed:think>`, `<unused94>thought` (Gemma), and elements that prompts request: `<reasoning>`, `<thought>`.
This module finds reasoning; it does not split it off.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from arbitrage.text.prose import without_code

MIN_LETTERS: Final = 12
"""Minimum letters between a pair of tags in the middle of a text; 'wrap it in <think>…</think>' has fewer."""

_OWN = "think|thinking|seed:think|longcat_think|thinking_mode"
"""Elements that models write unprompted, and that do not occur in documents."""

_REQUESTED = (
    "thought|thoughts|reasoning|reflection|scratchpad|analysis|rationale|inner_monologue|chain_of_thought|cot"
)
"""Elements that prompts request; an XML document may contain them, too."""

_MARKS: Final = re.compile(
    rf"<(?P<close>/)?(?:(?P<own>{_OWN})|(?P<requested>{_REQUESTED}))(?:\s[^<>\n]{{0,100}})?>"
    r"|(?P<open_like>\[THINK\]|◁think▷|<\|(?:begin_of_thought|start_thought|START_THINKING|think|thinking)\|>)"
    r"|(?P<close_like>\[/THINK\]|◁/think▷|<\|(?:end_of_thought|end_thought|END_THINKING|/think|/thinking)\|>)",
    re.IGNORECASE,
)

_NAMES: Final = re.compile(f"{_OWN}|{_REQUESTED}", re.IGNORECASE)
_ROOT: Final = re.compile(r"<([A-Za-z][\w.:-]{0,100})[\s>]")
_SENTENCE_ENDS: Final = (".", "!", "?", "。", "！", "？", "…", ":", "।", "؟")

_CHANNELS: Final = re.compile(r"<\|channel\|>\s{0,8}(?:analysis|commentary|thought)|<\|?channel>thought|<unused94>")
"""Control tokens that occur nowhere else: gpt-oss, Gemma."""

GLUED: Final = ("analysis", "assistantfinal")
"""gpt-oss with its control tokens skipped: 'analysisThe user asks …assistantfinalHello'."""

_BEFORE_TEXT: Final = re.compile(r"(?:\s++|\ufeff|<\|[\w ]{1,40}\|>){0,40}+")
"""Text allowed before the first word of a response: blanks and control tokens."""

_QUOTES: Final = frozenset("\"'«»“”„‘’‚‹›「」『』（）()《》〈〉*_~")
"""Quotation marks: a tag between two of these is mentioned, not used."""

_LOOK: Final = 40
"""Number of characters searched on each side of a tag for the line's beginning or end."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A tag.

    Attributes:
        is_own: whether models write it unprompted.
        forms: spellings in a prompt that names it.
        text_to_next: text between it and the next mark, or the end.
    """

    start: int
    end: int
    is_own: bool
    is_close: bool
    forms: tuple[str, ...]
    text_to_next: str


def find_reasoning(text: str, prompt: str = "") -> str | None:
    """Return the tag of reasoning left in a response, or None.

    Code is ignored, and so is a tag in quotation marks or in the middle of a sentence: such text is about reasoning.
    A response that is one XML or HTML element is a document. If the prompt names the same tag, the response may
    mention it, too, and only reasoning of some length between two tags counts; an element such as `<reasoning>` is
    then the requested format.

    Args:
        text: text of the response.
        prompt: its prompt.
    """
    if not any(sign in text for sign in ("<", "[THINK]", "[/THINK]", "[think]", "[/think]", "◁", GLUED[1])):
        return None
    rest = without_code(text)
    if found := _CHANNELS.search(rest):
        return found.group()
    if GLUED[1] in rest and rest.lstrip().startswith(GLUED[0]):
        return GLUED[1]
    marks = [mark for mark in _marks(rest) if not _is_quoted(rest, mark)]
    left = _left(rest, marks, prompt.casefold()) if marks else None
    return rest[left.start : left.end] if left else None


def _marks(text: str) -> Iterator[_Mark]:
    found = list(_MARKS.finditer(text))
    for match, following in zip_longest(found, found[1:]):
        name = (match["own"] or match["requested"] or match.group()).casefold()
        yield _Mark(
            start=match.start(),
            end=match.end(),
            is_own=not match["requested"],
            is_close=bool(match["close"] or match["close_like"]),
            forms=(f"<{name}", f"</{name}") if match["own"] or match["requested"] else (name,),
            text_to_next=text[match.end() : following.start() if following else len(text)],
        )


def _left(text: str, marks: Sequence[_Mark], prompt: str) -> _Mark | None:
    """Return the first mark that belongs to reasoning."""
    closes = {is_own: any(m.is_close for m in marks if m.is_own == is_own) for is_own in (True, False)}
    first, before = marks[0], _BEFORE_TEXT.match(text)
    if not first.is_close and before and first.start <= before.end():
        is_closed = closes[first.is_own] or closes[True]
        if _is_left_at_start(text, first, is_closed, any(form in prompt for form in first.forms)):
            return first
    if _is_document(text):
        return None
    opened: set[bool] = set()
    for mark in marks:
        is_named = any(form in prompt for form in mark.forms)
        if not mark.is_close:
            if mark.is_own and _begins_line(text, mark) and _holds_reasoning(text, mark, closes[True]):
                return mark
            opened.add(mark.is_own)
        elif mark.is_own not in opened and _ends_reasoning(text, mark, is_named):
            return mark
    return None


def _is_left_at_start(text: str, first: _Mark, is_closed: bool, is_named: bool) -> bool:
    """Tell whether a tag at the very beginning opens reasoning; a response may also begin by naming the tag."""
    if not first.is_own:
        return not is_named and (is_closed or _ends_line(text, first))
    return _holds_reasoning(text, first, is_closed) if is_named else True


def _holds_reasoning(text: str, mark: _Mark, is_closed: bool) -> bool:
    """Tell whether more follows an opening tag than would after a mention."""
    return _num_letters(mark.text_to_next) >= MIN_LETTERS if is_closed else _ends_line(text, mark)


def _ends_reasoning(text: str, mark: _Mark, is_named: bool) -> bool:
    """Tell whether a closing tag without an opening one ends reasoning that the chat template opened."""
    is_alone = _begins_line(text, mark) or _ends_line(text, mark)
    if is_alone or is_named:
        return is_alone
    before = text[max(0, mark.start - _LOOK) : mark.start]
    return before == before.rstrip() or before.rstrip().endswith(_SENTENCE_ENDS)


def _num_letters(text: str) -> int:
    return sum(map(str.isalpha, text[: 50 * MIN_LETTERS]))


def _begins_line(text: str, mark: _Mark) -> bool:
    before = text[max(0, mark.start - _LOOK) : mark.start]
    line = before[before.rfind("\n") + 1 :]
    return not line.strip(" \t*_") and (len(line) < _LOOK or mark.start == _LOOK)


def _ends_line(text: str, mark: _Mark) -> bool:
    line = text[mark.end : mark.end + _LOOK].partition("\n")[0]
    return not line.strip(" \t*_\r") and len(line) < _LOOK


def _is_quoted(text: str, mark: _Mark) -> bool:
    return text[mark.start - 1 : mark.start] in _QUOTES and text[mark.end : mark.end + 1] in _QUOTES


def _is_document(text: str) -> bool:
    """Tell whether a text is one XML or HTML element from its first to its last character."""
    text = text.strip()
    if text[:5].lower() in ("<?xml", "<!doc", "<html"):
        return True
    root = _ROOT.match(text)
    return root is not None and text.endswith(f"</{root[1]}>") and not _NAMES.fullmatch(root[1])
