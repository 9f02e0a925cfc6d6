"""Turn a raw row into a Prompt, or say why it is rejected."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from arbitrage.inputs.columns import HISTORY, MEDIA_NAMES, PromptRole, find, pick
from arbitrage.inputs.messages import Conversation, chat_conversation, conversation
from arbitrage.inputs.rows import InputRow, RowError, count_note, printable
from arbitrage.inputs.tools import read_response_format, read_tools
from arbitrage.inputs.values import MISSING, id_text, is_missing, label_text, sound, type_name
from arbitrage.prompts.language import decide_language
from arbitrage.prompts.options import ReadOptions
from arbitrage.records import Message, Prompt, prompt_id_of


@dataclass
class PromptBuilder:
    """Builds the prompts of one source; `notes` counts what is unusual but no reason for a reject.

    An optional column never causes a reject: a value of a wrong type is left out and counted.
    """

    options: ReadOptions
    notes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._columns = self.options.columns.mapping()
        names = self._columns.names
        # `instruction` and `question` come last: beside messages they are only a part of them.
        self._prompt_names = (*names["prompt"][:1], *names["messages"], *names["prompt"][1:])
        self._media = MEDIA_NAMES - set(self._prompt_names)
        self._unread = ({HISTORY} | self._media) - {name for each in names.values() for name in each}
        self._beside = {n.split(".")[0] for role in ("tools", "response_format") for n in names[role]}
        self._system, self._context = ({n.split(".")[0] for n in names[role]} for role in ("system", "context"))

    def build(self, row: InputRow, source: str) -> tuple[Prompt, str | None]:
        """Return the prompt of a row, and the row's own id.

        Raises:
            RowError: the row cannot be a prompt.
        """
        values = row.values
        found = self._conversation(values)
        tools, response_format = self._tools(values)
        if tools is not None and len(tools) > self.options.max_chars:
            raise RowError("prompt_too_long", f"tools of {len(tools)} characters, at most {self.options.max_chars}")
        column, tag = self._columns.find(values, "language")
        decision = decide_language(tag, column, found.messages, self.options)
        given_id = self._id(values)
        if decision.contradicted_by is not None:
            self._note(f"language_disagreement:{decision.language}>{decision.contradicted_by}")
        prompt = Prompt(
            prompt_id=prompt_id_of(decision.language, found.messages, tools, response_format),
            language=decision.language,
            language_confidence=decision.confidence,
            messages=found.messages,
            source=self.options.source or source,
            source_id=given_id or row.position,
            licence=self._label(values, "licence") or self.options.licence,
            task=self._label(values, "task"),
            reference=self._reference(values),
            tools=tools,
            response_format=response_format,
        )
        self._note_unread(values)
        return prompt, given_id

    def _conversation(self, values: Mapping[str, Any]) -> Conversation:
        column, value = find(values, self._prompt_names)
        if value is MISSING:
            is_blank = any(isinstance(pick(values, name), str) for name in self._prompt_names)
            reason, detail = ("empty_prompt", "nothing but blanks") if is_blank else ("missing_value", "no prompt")
            raise RowError(reason, f"{detail} in {_listed(self._prompt_names)}")  # type: ignore[arg-type]
        try:
            is_chat = column in self._columns.names["messages"]
            found = chat_conversation(value) if is_chat else conversation(value)
        except RowError as error:
            raise RowError(error.reason, f"column '{printable(column, 40)}': {error.detail}") from error
        messages = found.messages
        if not self._context.isdisjoint(values):
            messages = self._with_context(found, column, values)
        if not self._system.isdisjoint(values):
            messages = self._with_system(messages, values)
        num_chars = sum(len(message.shown) for message in messages)
        if num_chars > self.options.max_chars:
            raise RowError("prompt_too_long", f"{num_chars} characters, at most {self.options.max_chars}")
        if found.num_cut and self.options.trailing_answer == "reject":
            raise RowError("broken_messages", "the last message is an answer")
        if found.num_cut:
            self._note("trailing_answer_cut")
        for note in dict.fromkeys(found.notes):
            self._note(note)
        return Conversation(messages)

    def _tools(self, values: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """Return the tools and the response format of a row."""
        if self._beside.isdisjoint(values):
            return None, None
        return self._parsed(values, "tools", read_tools), self._parsed(
            values, "response_format", read_response_format
        )

    def _parsed(self, values: Mapping[str, Any], role: PromptRole, read: Callable[[Any], str | None]) -> str | None:
        column, value = self._columns.find(values, role)
        if value is MISSING:
            return None
        try:
            return read(value)
        except RowError as error:
            raise RowError(error.reason, f"column '{printable(column, 40)}': {error.detail}") from error

    def _with_system(self, messages: tuple[Message, ...], values: Mapping[str, Any]) -> tuple[Message, ...]:
        """Put the text of a system column before messages that have no system message of their own."""
        column, value = self._columns.find(values, "system")
        if value is MISSING:
            return messages
        if not isinstance(value, str):
            self._note(f"value_not_read:{printable(column, 40)}:{type_name(value)}")
        elif messages[0].role != "system":
            return (Message(role="system", content=sound(value)), *messages)
        elif messages[0].content.strip() != value.strip():
            self._note(f"column_not_read:{printable(column, 40)}")
        return messages

    def _with_context(self, found: Conversation, column: str, values: Mapping[str, Any]) -> tuple[Message, ...]:
        """Append the context of an instruction, such as Alpaca's `input` and Dolly's `context`."""
        name, value = self._columns.find(values, "context")
        if value is MISSING or name == column:
            return found.messages
        is_meant = "context" in self._columns.given or column.rpartition(".")[2] == "instruction"
        [*earlier, last] = found.messages
        if not is_meant or earlier or not isinstance(value, str):
            self._note(f"column_not_read:{printable(name, 40)}")
            return found.messages
        return (Message(role="user", content=f"{last.content}\n\n{sound(value)}"),)

    def _id(self, values: Mapping[str, Any]) -> str | None:
        column, value = self._columns.find(values, "id")
        return None if value is MISSING else self._checked(column, value, id_text(value))

    def _label(self, values: Mapping[str, Any], role: PromptRole) -> str | None:
        column, value = self._columns.find(values, role)
        if value is MISSING:
            return None
        text = label_text(value)
        if text is not None and isinstance(value, list | tuple):
            self._note(f"values_joined:{printable(column, 40)}")
        return self._checked(column, value, text)

    def _reference(self, values: Mapping[str, Any]) -> str | None:
        """Return the reference answer. Several references cannot be compared: they are left out and counted."""
        column, value = self._columns.find(values, "reference")
        if value is MISSING:
            return None
        if isinstance(value, list | tuple) and len(value) == 1:
            [value] = value
        return self._checked(column, value, id_text(value))

    def _checked(self, column: str, value: Any, text: str | None) -> str | None:
        """Return text that can be stored; a value that is not text is left out and counted."""
        if text is not None:
            return text if text.isascii() else sound(text)
        if not is_missing(value) and value not in ([], {}):
            self._note(f"value_not_read:{printable(column, 40)}:{type_name(value)}")
        return None

    def _note_unread(self, values: Mapping[str, Any]) -> None:
        if self._unread.isdisjoint(values):
            return
        for name in sorted(self._unread & values.keys()):
            if not _says_nothing(values[name]):
                self._note(f"column_not_read:{name}")

    def _note(self, note: str) -> None:
        count_note(self.notes, note)


def _says_nothing(value: Any) -> bool:
    return is_missing(value) or value in ([], {}, "[]", "{}", False)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{printable(name, 40)}'" for name in names)
