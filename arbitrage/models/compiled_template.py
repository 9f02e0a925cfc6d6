"""A chat template compiled by Jinja, and rendered without letting messages act as control tokens.

Some templates search what the assistant wrote for a token, such as `content.split('</think>')`, which strips old
reasoning. The strings that a template searches for differ from those it writes by their position in its syntax tree:
`CompiledTemplate` renames the former, so that messages can hold them without holding a control token.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.visitor import NodeTransformer

from arbitrage.errors import DataError
from arbitrage.models.loading import first_line
from arbitrage.models.template_choice import TemplateError
from arbitrage.models.turns import Turn

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
"""Names that `template_options` cannot set, because the renderer sets them."""

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


class CompiledTemplate:
    """A template with its variables.

    Attributes:
        searched: control tokens that it searches for in messages.
        writes_date: whether it writes the current date, so that prompts differ from day to day.
    """

    def __init__(self, source: str, variables: Mapping[str, Any], controls: Sequence[str]) -> None:
        """Compile.

        Args:
            source: Jinja.
            variables: variables besides the messages: special tokens and options.
            controls: texts of control tokens.

        Raises:
            TemplateError: it is not valid Jinja.
        """
        from transformers.utils.chat_template_utils import _compile_jinja_template

        self._source, self._variables = source, dict(variables)
        try:
            compiled = _compile_jinja_template(source)
            self._environment = compiled.environment
            operands = _operands(self._environment.parse(source))
        except Exception as error:  # untrusted templates also raise RecursionError, SyntaxError
            raise TemplateError(f"the chat template is not valid: {first_line(error)}") from error
        self.searched = tuple(token for token in controls if any(token in text for text in operands))
        self.writes_date = "strftime_now" in source
        self._by_stand_ins: dict[tuple[str, ...], Any] = {(): compiled}

    def render(
        self,
        turns: Sequence[Turn],
        *,
        is_complete: bool,
        stand_ins: Mapping[str, str] | None = None,
        tools: list[Any] | None = None,
    ) -> str:
        """Return the conversation as text.

        Args:
            turns: messages, with the searched tokens renamed.
            is_complete: no completion is to follow.
            stand_ins: searched token → its replacement in the messages.
            tools: tools that may be called.

        Raises:
            DataError: the template raises any error.
        """
        try:
            text = self._compiled(stand_ins or {}).render(
                messages=list(turns),
                tools=tools,
                documents=None,
                add_generation_prompt=not is_complete,
                **self._variables,
            )
        except Exception as error:  # TemplateError, TypeError, RecursionError, …: all mean that the template refuses
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
