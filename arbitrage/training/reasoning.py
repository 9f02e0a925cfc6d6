"""What becomes of reasoning in training rows: the key that the student's chat template reads, a part of the text, or
nothing.

Templates read `reasoning_content` (Qwen3, GLM, Nemotron), `thinking` (gpt-oss, LFM2.5) or none. One that reads none
drops reasoning silently; so the template is tried out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, Literal

from jinja2 import TemplateError

from arbitrage.errors import EngineStartError, MissingDependencyError
from arbitrage.export.reasoning import inline, is_reasoned
from arbitrage.models.loading import load_tokenizer

ReasoningUse = Literal["keep", "drop", "inline"]
KEYS: Final = ("reasoning_content", "thinking", "reasoning")
"""Keys of a message that hold reasoning, in published rows and in chat templates."""


@dataclass(frozen=True, slots=True)
class ReasoningRule:
    """How rows are given to a student.

    Attributes:
        form: a key of the message, or `inline`; None: without reasoning.
        has_switch: the template writes an empty chain of thought before an answer without reasoning, unless it is
            told `enable_thinking: false`; then the prompt holds it.
        is_ignored: reasoning was to be kept, and the template reads none.
        takes_tools: the template writes tools; one that does not drops them silently.
    """

    form: str | None = None
    has_switch: bool = False
    is_ignored: bool = False
    takes_tools: bool = field(default=True, compare=False)  # no part of what becomes of reasoning

    @property
    def is_key(self) -> bool:
        """Whether messages have another key."""
        return self.form is not None and self.form != "inline"

    def applied(self, messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
        """Return messages as the template reads them, and whether the last one has reasoning."""
        found = [self._applied(message, is_last=message is messages[-1]) for message in messages]
        return found, bool(messages) and _reasoning(messages[-1]) is not None

    def _applied(self, message: dict[str, Any], *, is_last: bool) -> dict[str, Any]:
        reasoning = _reasoning(message)
        rest = {key: value for key, value in message.items() if key not in KEYS or not isinstance(value, str)}
        if reasoning is None:
            return rest
        if self.form == "inline" and is_last:
            return rest | {"content": inline(reasoning, rest["content"] or "")}
        return rest | ({str(self.form): reasoning} if self.is_key else {})


def _reasoning(message: Mapping[str, Any]) -> str | None:
    if message["role"] != "assistant":
        return None
    found = (message.get(key) for key in KEYS)
    return next((value for value in found if isinstance(value, str) and is_reasoned(value)), None)


def rule_for(
    use: ReasoningUse, model: str, revision: str | None, template_path: str | None, owner: str
) -> ReasoningRule:
    """Decide by the student's chat template how rows with reasoning are given to it.

    Args:
        use: what was asked for.
        model: the student's base.
        revision: of a Hugging Face id.
        template_path: `arguments.chat_template_path`: another template than the base's, or None.
        owner: what an error begins with.
    """
    try:
        tokenizer = load_tokenizer(model, revision, owner)
        template = _other_template(template_path, owner) if template_path else tokenizer.chat_template
    except (EngineStartError, MissingDependencyError, OSError):
        return ReasoningRule()  # the trainer says what is wrong with it
    if not isinstance(template, str):
        template = template.get("default") if isinstance(template, Mapping) else None
    if template is None:
        return ReasoningRule("inline" if use == "inline" else None, is_ignored=use == "keep")
    reads = _Template(tokenizer, template)
    key = next((key for key in KEYS if reads.key(key)), None)
    has_switch, takes_tools = reads.has_switch(), reads.takes_tools()
    if use == "keep":
        return ReasoningRule(key, has_switch, is_ignored=key is None, takes_tools=takes_tools)
    return ReasoningRule("inline" if use == "inline" else None, has_switch, takes_tools=takes_tools)


def _other_template(path: str, owner: str) -> Any:
    if Path(path).is_file():
        return Path(path).read_text(encoding="utf-8")
    return load_tokenizer(path, None, owner).chat_template


_PROMPT: Final = {"role": "user", "content": "zq0qz"}
_ANSWER, _REASONING = "zq1qz", "zq2qz"
_TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "function": {"name": "zq3qz", "description": "Does.", "parameters": {"type": "object", "properties": {}}},
}


_REFUSALS: Final = (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError)
"""What a template raises that does not take a conversation."""


class _Template:
    """A chat template that is tried out."""

    def __init__(self, tokenizer: Any, template: str) -> None:
        self._tokenizer, self._template = tokenizer, template

    def key(self, name: str) -> bool:
        """Tell whether the template writes a key of the last message, before its content."""
        text = self._render({"role": "assistant", "content": _ANSWER, name: _REASONING})
        return -1 < text.find(_REASONING) < text.find(_ANSWER)

    def has_switch(self) -> bool:
        """Tell whether `enable_thinking: false` moves something from the answer into the prompt."""
        return len(self._before_answer(enable_thinking=False)) < len(self._before_answer())

    def takes_tools(self) -> bool:
        """Tell whether the template writes the name of a tool."""
        return _TOOL["function"]["name"] in self._render({"role": "assistant", "content": _ANSWER}, tools=[_TOOL])

    def _before_answer(self, **options: Any) -> str:
        """Return what a finished turn has before its text that a turn to be written has not."""
        whole = self._render({"role": "assistant", "content": _ANSWER}, **options)
        asked = self._render(None, **options)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(whole, asked, strict=False)))
        return whole[same : whole.find(_ANSWER)].strip()

    def _render(self, answer: dict[str, str] | None, **options: Any) -> str:
        """Render a conversation; empty where the template refuses it."""
        turns = [_PROMPT, *([answer] if answer else [])]
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    turns,
                    chat_template=self._template,
                    tokenize=False,
                    add_generation_prompt=answer is None,
                    **options,
                )
            )
        except _REFUSALS:
            return ""
