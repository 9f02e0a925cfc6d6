"""Find the message format in which a chat template renders every turn, by rendering placeholders.

A template is a program from a repository. Some read `content` as a list of parts and print nothing for a text, some
have no system role, some render only the first turn, some raise any Python error. So each sequence of roles is
rendered once with placeholders before the first conversation of that kind: every placeholder must come out, those of
tools and of their calls, too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from arbitrage.errors import DataError
from arbitrage.models.compiled_template import CompiledTemplate
from arbitrage.models.turns import Turn

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


class NoToolsError(DataError):
    """The template leaves out tools, or their calls."""


@dataclass(frozen=True, slots=True)
class TurnKind:
    """What a template may treat differently.

    Attributes:
        role: of the turn.
        num_calls: number of its calls of tools.
        is_silent: it has no text beside them.
    """

    role: str
    num_calls: int = 0
    is_silent: bool = False


def kind_of(turn: Turn) -> TurnKind:
    """Return the kind of a turn."""
    calls = turn.get("tool_calls")
    return TurnKind(turn["role"], len(calls), not turn["content"]) if calls else TurnKind(turn["role"])


class Shapes:
    """The shape for each sequence of kinds of turns, found by rendering placeholders."""

    def __init__(self, template: CompiledTemplate) -> None:
        self._template = template
        self._known: dict[tuple[tuple[TurnKind, ...], bool, bool], Shape | DataError] = {}

    def shape_of(self, kinds: tuple[TurnKind, ...], *, is_complete: bool, has_tools: bool = False) -> Shape:
        """Return the shape in which the template renders every turn's text, and its calls.

        Raises:
            NoToolsError: the template leaves out tools or calls.
            DataError: there is none: the template refuses these roles, or drops a turn.
        """
        key = kinds, is_complete, has_tools
        if key not in self._known:
            if len(self._known) >= _MAX_SHAPES:
                self._known.clear()
            self._known[key] = self._find(kinds, is_complete=is_complete, has_tools=has_tools)
        found = self._known[key]
        if isinstance(found, DataError):
            raise type(found)(str(found))
        return found

    def _find(self, kinds: tuple[TurnKind, ...], *, is_complete: bool, has_tools: bool) -> Shape | DataError:
        trial = _Trial(kinds, has_tools=has_tools)
        roles = tuple(kind.role for kind in kinds)
        why: DataError | None = None
        for folding in _foldings(roles):
            for parts in _subsets(frozenset(roles)):
                shape = Shape(folding, parts)
                problem = self._problem(shape.apply(trial.turns), trial, is_complete)
                if problem is None:
                    return shape
                why = why or problem
        return why or DataError("the conversation has no turns")

    def _problem(self, turns: Sequence[Turn], trial: "_Trial", is_complete: bool) -> DataError | None:
        try:
            rendered = self._template.render(turns, is_complete=is_complete, tools=trial.tools)
        except DataError as error:
            return error
        if _PART_AS_TEXT.search(rendered):
            return DataError("the chat template prints a list of parts as it stands")
        seen = {int(number) for number in _PLACEHOLDER.findall(rendered.casefold())}
        missing = [trial.errors[i] for i in range(len(trial.errors)) if i not in seen]
        return next((each for each in missing if isinstance(each, NoToolsError)), missing[0]) if missing else None


class _Trial:
    """A conversation of placeholders; `errors` has one for each, that it does not come out."""

    def __init__(self, kinds: Sequence[TurnKind], *, has_tools: bool) -> None:
        self.errors: list[DataError] = []
        self._calls: list[str] = []
        self.turns = [self._turn(kind, i, f"turn {i + 1} of {len(kinds)}") for i, kind in enumerate(kinds)]
        self.tools = [self._tool()] if has_tools else None

    def _turn(self, kind: TurnKind, number: int, where: str) -> Turn:
        turn: Turn = {"role": kind.role, "content": ""}
        if not kind.is_silent:
            turn["content"] = self._text(DataError(f"the chat template leaves out the text of {where} ({kind.role})"))
        if kind.num_calls:
            turn["tool_calls"] = [self._call(number, i, where) for i in range(kind.num_calls)]
        if kind.role == "tool":
            turn |= {"tool_call_id": self._calls.pop(0) if self._calls else "call00000", "name": "f"}
        return turn

    def _call(self, number: int, place: int, where: str) -> Turn:
        self._calls.append(f"call{number:03d}{place:02d}")
        name, value = (
            self._text(NoToolsError(f"the chat template leaves out the {part} of calls of tools ({where})"))
            for part in ("names", "arguments")
        )
        return {
            "id": self._calls[-1],
            "type": "function",
            "function": {"name": name, "arguments": {"key": value}},
        }

    def _tool(self) -> Turn:
        name = self._text(NoToolsError("the chat template ignores tools: it renders the same without them"))
        schema = {"type": "object", "properties": {"key": {"type": "string", "description": "A key."}}}
        return {"type": "function", "function": {"name": name, "description": "Does.", "parameters": schema}}

    def _text(self, error: DataError) -> str:
        self.errors.append(error)
        return f"zq{len(self.errors) - 1}qz"


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
