"""Turns one raw row into a Prompt, or says why not."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from arbitrage.prompts.columns import MISSING, Role, pick
from arbitrage.prompts.language import judge
from arbitrage.prompts.messages import Conversation, chat_conversation, encodable, text_conversation
from arbitrage.prompts.options import ReadOptions
from arbitrage.prompts.rows import Row, RowError
from arbitrage.records import Prompt, prompt_id_of


@dataclass
class PromptBuilder:
    """Builds the prompts of one source, counting in `notes` what is worth knowing but no reason to refuse a row."""

    options: ReadOptions
    notes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        roles: tuple[Role, ...] = ("prompt", "messages", "language", "id", "reference", "task", "licence")
        self._names = {role: self.options.columns.candidates(role) for role in roles}

    def build(self, row: Row, source: str) -> tuple[Prompt, str | None]:
        """Return the prompt of a row, and the id that the row gives itself.

        Raises:
            RowError: the row cannot be a prompt.
        """
        conversation = self._conversation(row.values)
        judgement = judge(self._value(row.values, "language"), conversation.messages, self.options)
        given_id = self._text(row.values, "id", numbers=True)
        if judgement.contradicted_by is not None:
            self.notes[f"language_disagreement:{judgement.language}>{judgement.contradicted_by}"] += 1
        prompt = Prompt(
            prompt_id=prompt_id_of(judgement.language, conversation.messages),
            language=judgement.language,
            language_confidence=judgement.confidence,
            messages=conversation.messages,
            source=self.options.source or source,
            source_id=given_id or row.position,
            licence=self._text(row.values, "licence") or self.options.licence,
            task=self._text(row.values, "task"),
            reference=self._text(row.values, "reference", numbers=True),
        )
        return prompt, given_id

    def _conversation(self, values: Mapping[str, Any]) -> Conversation:
        found = self._read_conversation(values)
        num_chars = sum(len(message.content) for message in found.messages)
        if num_chars > self.options.max_chars:
            raise RowError("prompt_too_long", f"{num_chars} characters, at most {self.options.max_chars}")
        if found.num_cut and self.options.trailing_answer == "reject":
            raise RowError("broken_messages", "the last message is an answer")
        if found.num_cut:
            self.notes["trailing_answer_cut"] += 1
        return found

    def _read_conversation(self, values: Mapping[str, Any]) -> Conversation:
        value = self._value(values, "prompt")
        if isinstance(value, str):
            return text_conversation(value)
        if value is None or value is MISSING:
            value = self._value(values, "messages")
        if value is None or value is MISSING:
            raise RowError("missing_value", "the row holds no prompt")
        return chat_conversation(value)

    def _text(self, values: Mapping[str, Any], role: Role, *, numbers: bool = False) -> str | None:
        value = self._value(values, role)
        if value is MISSING or value is None or value == "" or value != value:  # NaN is pandas for missing
            return None
        if isinstance(value, str):
            return encodable(value)
        if numbers and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        raise RowError("wrong_type", f"{role} is {type(value).__name__}, not text")

    def _value(self, values: Mapping[str, Any], role: Role) -> Any:
        return pick(values, self._names[role])
