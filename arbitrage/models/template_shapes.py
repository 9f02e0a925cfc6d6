"""Find the message format in which a chat template renders every turn, by rendering placeholders.

A template is a program from a repository. Some read `content` as a list of parts and print nothing for a text, some
have no system role, some render only the first turn, some raise any Python error. So each sequence of roles is
rendered once with placeholders before the first conversation of that kind: every placeholder must come out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from arbitrage.errors import DataError
from arbitrage.models.compiled_template import CompiledTemplate, Turn

_MAX_SHAPES = 4096
_PART_AS_TEXT = re.compile(r"""['"]type['"]\s*:\s*['"]text['"]""")
_PLACEHOLDER = re.compile(r"zq(\d+)qz")

Folding = Literal["none", "later", "all"]
"""Which system turns are merged into the next user turn: none, those after the first turn, all."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of messages for the template.

    Attributes:
        folding: which system turns are merged into user turns.
        parts: roles whose content is passed as a list of parts.
    """

    folding: Folding = "none"
    parts: frozenset[str] = frozenset()

    def apply(self, turns: Sequence[Turn]) -> list[Turn]:
        """Convert messages to this shape."""
        return [
            {**turn, "content": [{"type": "text", "text": turn["content"]}]} if turn["role"] in self.parts else turn
            for turn in fold_system(turns, self.folding)
        ]


class Shapes:
    """The shape for each sequence of roles, found by rendering placeholders."""

    def __init__(self, template: CompiledTemplate) -> None:
        self._template = template
        self._known: dict[tuple[tuple[str, ...], bool], Shape | str] = {}

    def shape_of(self, roles: tuple[str, ...], *, is_complete: bool) -> Shape:
        """Return the shape in which the template renders every turn's text.

        Raises:
            DataError: there is none: the template refuses these roles, or drops a turn.
        """
        key = roles, is_complete
        if key not in self._known:
            if len(self._known) >= _MAX_SHAPES:
                self._known.clear()
            self._known[key] = self._find(roles, is_complete)
        found = self._known[key]
        if isinstance(found, str):
            raise DataError(found)
        return found

    def _find(self, roles: tuple[str, ...], is_complete: bool) -> Shape | str:
        turns: list[Turn] = [{"role": role, "content": f"zq{i}qz"} for i, role in enumerate(roles)]
        why = None
        for folding in _foldings(roles):
            for parts in _subsets(frozenset(roles)):
                shape = Shape(folding, parts)
                problem = self._problem(shape.apply(turns), roles, is_complete)
                if problem is None:
                    return shape
                why = why or problem
        return why or "the conversation has no turns"

    def _problem(self, turns: Sequence[Turn], roles: Sequence[str], is_complete: bool) -> str | None:
        try:
            rendered = self._template.render(turns, is_complete=is_complete)
        except DataError as error:
            return str(error)
        if _PART_AS_TEXT.search(rendered):
            return "the chat template prints a list of parts as it stands"
        seen = {int(number) for number in _PLACEHOLDER.findall(rendered.casefold())}
        missing = next((i for i in range(len(roles)) if i not in seen), None)
        if missing is None:
            return None
        return f"the chat template leaves out the text of turn {missing + 1} of {len(roles)} ({roles[missing]})"


def _foldings(roles: Sequence[str]) -> Sequence[Folding]:
    if "system" in roles[1:]:
        return ("none", "later", "all")
    return ("none", "all") if "system" in roles else ("none",)


def _subsets(roles: frozenset[str]) -> list[frozenset[str]]:
    """Return none, all, and the sets between, smaller ones first."""
    ordered = sorted(roles)
    between = [frozenset(some) for size in range(1, len(ordered)) for some in combinations(ordered, size)]
    return [frozenset(), roles, *between]


def fold_system(turns: Sequence[Turn], folding: Folding = "all") -> list[Turn]:
    """Merge system turns into the user turn that follows them, separated by a blank line."""
    if folding == "none":
        return list(turns)
    kept = list(turns[:1]) if folding == "later" else []
    folded: list[Turn] = kept
    pending: list[str] = []
    for turn in turns[len(kept) :]:
        if turn["role"] == "system":
            pending.append(turn["content"])
        elif pending and turn["role"] == "user":
            folded.append({"role": "user", "content": "\n\n".join([*pending, turn["content"]])})
            pending = []
        else:
            folded.append(turn)
    return [*folded, {"role": "user", "content": "\n\n".join(pending)}] if pending else folded
