"""A model's chat template: found in its files, chosen by name, and tried out before a row is rendered with it.

A template is a program out of a stranger's repository. Some read `content` as a list of parts and print nothing for a
text, some know no system role, some only the first turn, some raise whatever Python raises. So each sequence of roles
is rendered once with placeholders before the first conversation of that kind: every placeholder must come out.

Some templates look for a token in what the assistant said, such as `content.split('</think>')`, which strips old
reasoning. What a template looks for can be told from what it writes by the place of the string in its syntax tree:
`CompiledTemplate` renames the former, so that messages can hold it without holding a control token.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from jinja2 import nodes
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.visitor import NodeTransformer

from arbitrage.errors import DataError
from arbitrage.models.loading import first_line

Turn = dict[str, Any]
"""`role`, and `content`: a text, or a list of parts."""

PROCESSOR_FILES = ("chat_template.jinja", "chat_template.json", "processor_config.json")
"""Files that transformers reads for a processor, and partly not for a tokenizer."""

RESERVED = frozenset(
    [
        "conversation",
        "messages",
        "tools",
        "documents",
        "tokenize",
        "add_generation_prompt",
        "continue_final_message",
        "padding",
        "truncation",
        "max_length",
        "return_tensors",
        "return_dict",
        "return_assistant_tokens_mask",
        "tokenizer_kwargs",
    ]
)
"""Names that `template_options` cannot give: they are the renderer's own."""

_SEARCHING_METHODS = frozenset(
    [
        "split",
        "rsplit",
        "partition",
        "rpartition",
        "find",
        "rfind",
        "index",
        "rindex",
        "count",
        "startswith",
        "endswith",
        "removeprefix",
        "removesuffix",
        "strip",
        "lstrip",
        "rstrip",
    ]
)
_MAX_SHAPES = 4096
_PART_AS_TEXT = re.compile(r"""['"]type['"]\s*:\s*['"]text['"]""")
_PLACEHOLDER = re.compile(r"zq(\d+)qz")


class TemplateError(Exception):
    """The template cannot be used; says why in one sentence."""


# --- Found and chosen ---------------------------------------------------------------------------------------------


def choose_template(found: object, wanted: object) -> str | None:
    """Return the template's source, or None where the model has none.

    Args:
        found: a source, or name → source, as a tokenizer's `chat_template` holds them.
        wanted: `template_options.chat_template`: the name of one of several, or a source of one's own.

    Raises:
        TemplateError: there are several and none is the default, or no such name.
    """
    if isinstance(wanted, str) and ("{{" in wanted or "{%" in wanted):
        return wanted
    named = _named(found)
    if wanted is not None and (named is None or wanted not in named):
        has = f"has {_listed(named)}" if named else "has one template without a name" if found else "has none"
        raise TemplateError(f"template_options.chat_template is {wanted!r}, but the model {has}")
    if named is None:
        if found is not None and not isinstance(found, str):
            raise TemplateError(f"the chat template is of type {type(found).__name__}, not a text")
        return found or None
    source = named.get("default") if wanted is None else named[str(wanted)]
    if source is None:
        raise TemplateError(
            f"the model has {_listed(named)} and no 'default': choose one by template_options.chat_template"
        )
    return source


def _named(found: object) -> dict[str, str] | None:
    if isinstance(found, list | tuple):
        try:
            found = {each["name"]: each["template"] for each in found}
        except (TypeError, KeyError):
            raise TemplateError("the list of chat templates is not one of {name, template}") from None
    if not isinstance(found, Mapping):
        return None
    if wrong := [name for name, source in found.items() if not isinstance(source, str)]:
        raise TemplateError(f"the chat template '{wrong[0]}' is of type {type(found[wrong[0]]).__name__}, not a text")
    return {str(name): source for name, source in found.items()}


def _listed(named: Mapping[str, str]) -> str:
    return f"the chat templates {', '.join(sorted(named))}"


def processor_template(open_file: Callable[[str], Path | None]) -> object:
    """Return the template out of a processor's files, where the tokenizer's own files hold none.

    Args:
        open_file: name of a file of the model → its place on this machine, or None.

    Raises:
        TemplateError: such a file is there and cannot be read.
    """
    for name in PROCESSOR_FILES:
        path = open_file(name)
        if path is None:
            continue
        try:
            text = path.read_text(encoding="utf-8")
            found = text if path.suffix == ".jinja" else json.loads(text).get("chat_template")
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise TemplateError(f"{path}: cannot be read: {first_line(error)}") from error
        if found:
            return found
    return None


# --- Compiled -----------------------------------------------------------------------------------------------------


class CompiledTemplate:
    """A template with its variables.

    Attributes:
        searched: the control tokens that it looks for in messages.
        writes_date: whether it writes the date of today, so that prompts differ from day to day.
    """

    def __init__(self, source: str, variables: Mapping[str, Any], controls: Sequence[str]) -> None:
        """Compile.

        Args:
            source: Jinja.
            variables: what it may name beside the messages: special tokens and options.
            controls: texts of control tokens.

        Raises:
            TemplateError: it is not Jinja.
        """
        from transformers.utils.chat_template_utils import _compile_jinja_template

        self._source, self._variables = source, dict(variables)
        try:
            compiled = _compile_jinja_template(source)
            self._environment = compiled.environment
            operands = _operands(self._environment.parse(source))
        except Exception as error:  # of a stranger's template: also RecursionError, SyntaxError
            raise TemplateError(f"the chat template is not valid: {first_line(error)}") from error
        self.searched = tuple(token for token in controls if any(token in text for text in operands))
        self.writes_date = "strftime_now" in source
        self._by_stand_ins: dict[tuple[str, ...], Any] = {(): compiled}

    def render(self, turns: Sequence[Turn], *, is_complete: bool, stand_ins: Mapping[str, str] | None = None) -> str:
        """Return the conversation as text.

        Args:
            turns: with what the template looks for renamed.
            is_complete: no answer is to follow.
            stand_ins: token that is looked for → what stands for it in the turns.

        Raises:
            DataError: the template raises, whatever it is.
        """
        try:
            text = self._compiled(stand_ins or {}).render(
                messages=list(turns),
                tools=None,
                documents=None,
                add_generation_prompt=not is_complete,
                **self._variables,
            )
        except Exception as error:  # TemplateError, TypeError, RecursionError, …: all are the template's refusal
            why = str(error) if isinstance(error, JinjaError) and str(error) else first_line(error)
            raise DataError(f"the chat template refuses the conversation: {why}") from error
        return str(text)

    def _compiled(self, stand_ins: Mapping[str, str]) -> Any:
        key = tuple(f"{token}\0{other}" for token, other in stand_ins.items())
        if key not in self._by_stand_ins:
            if len(self._by_stand_ins) > 16:  # private-use characters of a row in the way, time and again
                self._by_stand_ins = {(): self._by_stand_ins[()]}
            self._by_stand_ins[key] = self._renamed(stand_ins)
        return self._by_stand_ins[key]

    def _renamed(self, stand_ins: Mapping[str, str]) -> Any:
        environment = self._environment
        tree = _Renamer(_constants(environment.parse(self._source)), stand_ins).visit(environment.parse(self._source))
        return environment.template_class.from_code(
            environment, environment.compile(tree), environment.make_globals(None)
        )


class _Renamer(NodeTransformer):
    """Renames tokens in the strings that a template searches for, not in those that it writes."""

    def __init__(self, constants: Mapping[str, str], stand_ins: Mapping[str, str]) -> None:
        self._constants, self._stand_ins = constants, stand_ins
        self.operands: list[str] = []

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = self._operand(node.expr)
        for each in node.ops:
            each.expr = self._operand(each.expr)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        self.generic_visit(node)
        node.node = self._operand(node.node)
        node.args = [self._operand(arg) for arg in node.args]
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        self.generic_visit(node)
        method = node.node.attr if isinstance(node.node, nodes.Getattr) else None
        if method in _SEARCHING_METHODS:
            node.args = [self._operand(arg) for arg in node.args]
        elif method == "replace" and node.args:
            node.args[0] = self._operand(node.args[0])
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        self.generic_visit(node)
        if node.name == "replace" and node.args:
            node.args[0] = self._operand(node.args[0])
        return node

    def _operand(self, node: Any) -> Any:
        if isinstance(node, nodes.List | nodes.Tuple):
            node.items = [self._operand(item) for item in node.items]
            return node
        text = node.value if isinstance(node, nodes.Const) else None
        if isinstance(node, nodes.Name):
            text = self._constants.get(node.name)
        if not isinstance(text, str):
            return node
        self.operands.append(text)
        for token, other in self._stand_ins.items():
            text = text.replace(token, other)
        return nodes.Const(text, lineno=node.lineno, environment=node.environment)


def _constants(tree: nodes.Template) -> dict[str, str]:
    """Return the names that the template sets once, to a text."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for assignment in tree.find_all(nodes.Assign):
        name = assignment.target.name if isinstance(assignment.target, nodes.Name) else None
        if name is None:
            continue
        value = assignment.node
        if name not in seen and isinstance(value, nodes.Const) and isinstance(value.value, str):
            found[name] = value.value
        else:
            found.pop(name, None)
        seen.add(name)
    return found


def _operands(tree: nodes.Template) -> list[str]:
    renamer = _Renamer(_constants(tree), {})
    renamer.visit(tree)
    return renamer.operands


# --- Tried out ----------------------------------------------------------------------------------------------------

Folding = Literal["none", "later", "all"]
"""Which system turns are put in front of the user turn that follows: none, those after the first turn, all."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the turns of a conversation are handed to the template.

    Attributes:
        folding: of system turns.
        parts: roles whose content goes as a list of parts.
    """

    folding: Folding = "none"
    parts: frozenset[str] = frozenset()

    def apply(self, turns: Sequence[Turn]) -> list[Turn]:
        """Bring turns with texts into this shape."""
        return [
            {**turn, "content": [{"type": "text", "text": turn["content"]}]} if turn["role"] in self.parts else turn
            for turn in fold_system(turns, self.folding)
        ]


class Shapes:
    """Which shape each sequence of roles needs, found by rendering placeholders."""

    def __init__(self, template: CompiledTemplate) -> None:
        self._template = template
        self._known: dict[tuple[tuple[str, ...], bool], Shape | str] = {}

    def shape_of(self, roles: tuple[str, ...], *, is_complete: bool) -> Shape:
        """Return the shape in which the template writes every turn's text.

        Raises:
            DataError: there is none: it refuses these roles, or leaves out a turn.
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
    """Put system turns in front of the user turn that follows them, a blank line between."""
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
