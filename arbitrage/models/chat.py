"""Convert chat messages to token ids so that no text of a message can become a control token.

A message may hold the text `<|im_end|>`. Rendering the template and tokenising the result would turn it into the
control token, and the rest of the message into a turn of its own. Here every control token inside a message is cut
after its first character with a mark before the template runs; the rendered text is split at the marks, and the
pieces are tokenised one by one. Text without control tokens takes the ordinary way: its ids are those of
`apply_chat_template`.

What a template looks for in an assistant's turn, such as `</think>`, is not cut but renamed, there and in the
template's search alike, so that it strips old reasoning as its maker meant; a renamed token that comes out is text.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from arbitrage.errors import DataError, EngineStartError
from arbitrage.models.compiled_template import RESERVED, CompiledTemplate
from arbitrage.models.loading import first_line
from arbitrage.models.references import local_directory
from arbitrage.models.template_choice import TemplateError, choose_template, processor_template
from arbitrage.models.template_shapes import NoToolsError, Shape, Shapes, TurnKind, kind_of
from arbitrage.models.turns import Turn, turn_of
from arbitrage.records import Message

_PRIVATE_USE = range(0xE000, 0xF900)


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """Facts about a model's chat template, for `arbitrage teachers check`.

    Attributes:
        kind: `template`, `mistral` (mistral-common assembles the tokens), or `none`.
        system: how a system turn is written: as a turn, before the user's text, or not at all.
        takes_history: whether earlier assistant turns are supported.
        takes_parts: whether content is passed as a list of parts.
        writes_date: whether prompts contain the current date.
    """

    kind: str
    system: str
    takes_history: bool
    takes_parts: bool
    writes_date: bool


class ChatTokenizer:
    """A tokenizer with its chat template. Safe to call from several threads.

    A model without a chat template gets plain text: the messages' contents, a blank line between them, framed by the
    special tokens that the tokenizer itself puts around a text: `[CLS] … [SEP]`, `<s> …`. Where an answer is to
    follow, the text ends in a blank line and has no closing token. A template that knows no system role gets the
    system message in front of the first user message; one that reads content as a list of parts gets parts.

    Args:
        tokenizer: a transformers tokenizer.
        options: passed to the template, such as {"enable_thinking": False}; `chat_template` names one of several.
        owner: beginning of error messages, such as "teacher 'x'".
        model: source of the tokenizer, where a processor's template is searched.
        revision: commit of a Hugging Face id.
        local_files_only: never download.
        judges_answers: conversations end with a response to be judged.
        effort: `sampling.reasoning_effort`, handed to the template.
        template: source of a template in place of the model's. What it renders begins with the special tokens that
            the tokenizer puts before a text, whether it writes them or not.

    Raises:
        EngineStartError: the template cannot be used: it does not render the messages' text, or takes no effort.
    """

    def __init__(
        self,
        tokenizer: Any,
        options: Mapping[str, Any] | None = None,
        *,
        owner: str = "",
        model: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        judges_answers: bool = False,
        effort: str | None = None,
        template: str | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._last: tuple[object, list[int]] | None = None
        self._where = f"{owner}: {model}: " if owner and model else f"{owner or model}: " if owner or model else ""
        self._options = dict(options or {})
        is_mistral = any(base.__name__ == "MistralCommonBackend" for base in type(tokenizer).__mro__)
        self._is_mistral = is_mistral and template is None
        self.is_own_template = template is not None
        self._template: CompiledTemplate | None = None
        self._opening, self._closing = _NO_FRAME
        self.template = ""
        if self._is_mistral:
            if effort is not None:
                raise EngineStartError(f"{self._where}{NO_EFFORT}")
            self._require_usable(judges_answers=judges_answers)
            return
        files = _Files(model, revision, local_files_only)
        try:
            source = template or self._source(files)
            self.template = source or ""
            self._options |= effort_options(effort, self.template)
            variables = {k: v for k, v in self._options.items() if k != "chat_template"}
            controls = _control_tokens(tokenizer, source or "")
            self._controls = _pattern(controls)
            self._starts = _proper_prefixes(controls)
            self._longest_start = max(map(len, self._starts), default=0)
            self._replaced = _unsayable(tokenizer)
            self._used = set(source or "")
            if source:
                self._template = CompiledTemplate(source, tokenizer.special_tokens_map | variables, controls)
                self._shapes = Shapes(self._template)
        except TemplateError as error:
            raise EngineStartError(f"{self._where}{error}") from error
        if self._template is None:
            self._opening, self._closing = _frame(tokenizer)
        elif self.is_own_template:
            self._opening = _frame(tokenizer)[0]  # a template of examples is a text: few write the token into it
        self._require_usable(judges_answers=judges_answers)

    @property
    def has_template(self) -> bool:
        """Whether conversations use the model's own template; otherwise they are plain text."""
        return self._is_mistral or self._template is not None

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Token → id."""
        found: Mapping[str, int] = self._tokenizer.get_vocab()
        return found

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the texts of tokens of the vocabulary."""
        return [str(token) for token in self._tokenizer.convert_ids_to_tokens(list(ids))]

    @property
    def closing(self) -> tuple[int, ...]:
        """Special tokens that the tokenizer, not a template, appends to a complete conversation."""
        return self._closing

    def format(self) -> ChatFormat:
        """Describe the template's features, by testing it."""
        if self._template is None:
            return ChatFormat("mistral" if self._is_mistral else "none", "as such", True, False, False)
        user, with_system = self._shape("user"), self._shape("system", "user")
        folds = with_system is not None and with_system.folding != "none"
        return ChatFormat(
            kind="template",
            system="not at all" if with_system is None else "in front of the user's turn" if folds else "as such",
            takes_history=self._shape("user", "assistant", "user") is not None,
            takes_parts=bool(user and user.parts),
            writes_date=self._template.writes_date,
        )

    def encode(
        self, messages: Sequence[Message], *, is_complete: bool = False, tools: str | None = None
    ) -> list[int]:
        """Return the ids of the rendered conversation.

        Args:
            messages: the turns.
            is_complete: the last turn is a response to be judged; otherwise the ids end where a completion begins.
            tools: tools that may be called, as a prompt holds them.

        Raises:
            NoToolsError: the template leaves out tools or their calls.
            DataError: the template refuses the conversation, such as two user turns in a row, or leaves out a turn.
        """
        key = (tuple((m.role, m.content, m.tool_calls) for m in messages), is_complete, tools)
        with self._lock:
            if self._last is None or self._last[0] != key:  # samples of a prompt follow each other
                self._last = (key, self._encoded(messages, tools, is_complete=is_complete))
            return list(self._last[1])

    def _encoded(self, messages: Sequence[Message], tools: str | None, *, is_complete: bool) -> list[int]:
        try:
            return self._encode(messages, is_complete, None if tools is None else json.loads(tools))
        except DataError:
            raise
        except Exception as error:  # any error of a tokenizer rejects only this row
            raise DataError(f"the tokenizer refuses the conversation: {first_line(error)}") from error

    def count(self, text: str) -> int:
        """Return the number of tokens of a text alone."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int], kept: frozenset[int] = frozenset()) -> str:
        """Return the text of ids, without control tokens, with unchanged white space.

        An answer cut off in the middle of a character loses that half: some tokens are bytes of UTF-8.
        """
        text, start = "", 0
        for place in [*(i for i, token in enumerate(ids) if token in kept), len(ids)]:
            text += self._text(ids[start:place])
            if place < len(ids):
                text += self.tokens([ids[place]])[0]
            start = place + 1
        return text.rstrip("\ufffd")

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _encode(self, messages: Sequence[Message], is_complete: bool, tools: list[Any] | None) -> list[int]:
        if self._is_mistral:
            return self._encode_mistral(messages, is_complete, tools)
        searched = self._template.searched if self._template else ()
        mark, *others = self._free_characters(messages, tools, 1 + len(searched))
        stand_ins = {token: other * len(token) for token, other in zip(searched, others, strict=True)}
        turns = [self._cut_turn(turn_of(m), mark, stand_ins if m.role == "assistant" else {}) for m in messages]
        declared = None if tools is None else self._cut_all(tools, mark)
        rendered = self._render(turns, declared, stand_ins, is_complete=is_complete)
        for token, other in stand_ins.items():
            rendered = rendered.replace(other, f"{token[0]}{mark}{token[1:]}")
        ids: list[int] = []
        for piece in rendered.split(mark):
            ids += self._tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else []
        opening = list(self._opening)
        if self._template is None or ids[: len(opening)] != opening:
            ids = opening + ids
        return [*ids, *self._closing] if is_complete else ids

    def _encode_mistral(self, messages: Sequence[Message], is_complete: bool, tools: list[Any] | None) -> list[int]:
        """Let mistral-common assemble the ids: it never reads control tokens from a message."""
        turns = [turn_of(m, arguments_as_text=True) for m in messages]
        options = self._options | ({"continue_final_message": True} if is_complete else {})
        options |= {} if tools is None else {"tools": tools}
        ids = list(self._tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False, **options))
        return [*ids, self._tokenizer.eos_token_id] if is_complete else ids

    def _render(
        self, turns: list[Turn], tools: list[Any] | None, stand_ins: Mapping[str, str], *, is_complete: bool
    ) -> str:
        if self._template is None:
            if tools is not None or any(turn.get("tool_calls") for turn in turns):
                raise NoToolsError("the model has no chat template, so it cannot be told of tools")
            text = "\n\n".join(str(turn["content"]) for turn in turns)
            return text if is_complete else f"{text}\n\n"
        kinds = tuple(map(kind_of, turns))
        shape = self._shapes.shape_of(kinds, is_complete=is_complete, has_tools=tools is not None)
        return self._template.render(shape.apply(turns), is_complete=is_complete, stand_ins=stand_ins, tools=tools)

    def _shape(self, *roles: str) -> Shape | None:
        try:
            return self._shapes.shape_of(tuple(map(TurnKind, roles)), is_complete=False)
        except DataError:
            return None

    def _source(self, files: "_Files") -> str | None:
        if reserved := sorted(RESERVED & self._options.keys()):
            raise TemplateError(f"template_options.{reserved[0]} cannot be set: the renderer sets it itself")
        found = getattr(self._tokenizer, "chat_template", None) or processor_template(files.find)
        return choose_template(found, self._options.get("chat_template"))

    def _require_usable(self, *, judges_answers: bool) -> None:
        """Refuse a template that drops a user turn, alone or after a system turn."""
        turns = [Message(role="user", content="zq0qz")]
        if judges_answers:
            turns.append(Message(role="assistant", content="zq1qz"))
        try:
            self.encode(turns, is_complete=judges_answers)
        except DataError as error:
            try:
                self.encode([Message(role="system", content="zq2qz"), *turns], is_complete=judges_answers)
            except DataError:
                raise EngineStartError(f"{self._where}{error}") from error

    def _free_characters(self, messages: Sequence[Message], tools: list[Any] | None, number: int) -> list[str]:
        called = (text for m in messages for call in m.tool_calls for text in (call.name, call.arguments))
        used = self._used.union(*(m.content for m in messages), *called, *_texts_in(tools))
        free = list(islice((chr(c) for c in _PRIVATE_USE if chr(c) not in used), number))
        if len(free) < number:
            raise DataError("the conversation uses every private-use character of Unicode")
        return free

    def _cut_turn(self, turn: Turn, mark: str, stand_ins: Mapping[str, str]) -> Turn:
        """Cut the control tokens in a turn: those of its text, and of its calls."""
        rest = {key: self._cut_all(value, mark) for key, value in turn.items() if key not in ("role", "content")}
        return {"role": turn["role"], "content": self._cut(turn["content"], mark, stand_ins), **rest}

    def _cut_all(self, value: Any, mark: str) -> Any:
        """Cut the control tokens in all texts of a JSON value."""
        if isinstance(value, str):
            return self._cut(value, mark, {})
        if isinstance(value, list):
            return [self._cut_all(each, mark) for each in value]
        if isinstance(value, dict):
            return {self._cut(key, mark, {}): self._cut_all(inner, mark) for key, inner in value.items()}
        return value

    def _cut(self, content: str, mark: str, stand_ins: Mapping[str, str]) -> str:
        content = content.translate(self._replaced)
        if self._controls is None:
            return content
        cut, start = "", 0
        for match in self._controls.finditer(content):
            token = match.group(1)
            if match.start() < start:
                continue  # inside of a token that was renamed
            if token in stand_ins:
                cut += self._cut_end(content[start : match.start()], mark) + stand_ins[token]
                start = match.end(1)
            else:
                cut += content[start : match.start() + 1] + mark
                start = match.start() + 1
        cut += self._cut_end(content[start:], mark)
        if self._controls.search(self._normalised(cut)):
            return mark.join(content)  # another spelling of a control token: separate all characters
        return cut

    def _cut_end(self, text: str, mark: str) -> str:
        """Cut a text's end where a control token could begin: a message's text may be written right after it."""
        for size in range(min(len(text), self._longest_start), 0, -1):
            if text[-size:] in self._starts:
                return f"{text[: len(text) - size + 1]}{mark}{text[len(text) - size + 1 :]}"
        return text

    def _normalised(self, content: str) -> str:
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        normaliser = getattr(backend, "normalizer", None)
        return str(normaliser.normalize_str(content)) if normaliser else content


def _texts_in(value: Any) -> Iterator[str]:
    """Yield all texts of a JSON value."""
    if isinstance(value, str):
        yield value
    for each in value if isinstance(value, list | dict) else ():
        yield from _texts_in(each)
        if isinstance(value, dict):
            yield from _texts_in(value[each])


NO_EFFORT = "its chat template takes no reasoning_effort; leave sampling.reasoning_effort out"

_SWITCHES = ("enable_thinking", "thinking")
"""Options by which templates switch reasoning on and off."""


def effort_options(effort: str | None, template: str) -> dict[str, Any]:
    """Return the template's options for a reasoning effort.

    Raises:
        TemplateError: the template cannot express it.
    """
    if effort is None:
        return {}
    switches = [name for name in _SWITCHES if re.search(rf"\b{name}\b", template)]
    if re.search(r"\breasoning_effort\b", template):
        return {"reasoning_effort": effort} | (dict.fromkeys(switches, False) if effort == "none" else {})
    if not switches:
        raise TemplateError(NO_EFFORT)
    if effort != "none":
        raise TemplateError(
            f"its chat template can switch reasoning off ({switches[0]}) and knows no reasoning_effort '{effort}'; "
            "say none, or leave sampling.reasoning_effort out"
        )
    return dict.fromkeys(switches, False)


@dataclass(frozen=True, slots=True)
class _Files:
    """A model's files besides those that a tokenizer reads."""

    model: str | None
    revision: str | None
    local_files_only: bool

    def find(self, name: str) -> Path | None:
        if self.model is None:
            return None
        directory = local_directory(self.model)
        if directory is not None:
            return directory / name if (directory / name).is_file() else None
        from transformers.utils import cached_file

        found = cached_file(
            self.model,
            name,
            revision=self.revision,
            local_files_only=self.local_files_only,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return Path(found) if found else None


def _control_tokens(tokenizer: Any, template: str) -> list[str]:
    """Return the texts of tokens that are special or that the template names, longest first.

    Added tokens that are neither (Gemma's runs of newlines, its HTML tags) are ordinary text.
    """
    controls = _special_tokens(tokenizer) | {
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.content.strip() and token.content in template
    }
    return sorted((text for text in controls if len(text) > 1), key=lambda text: (-len(text), text))


def _pattern(controls: Sequence[str]) -> re.Pattern[str] | None:
    """Match a control token at its first character, so that overlapping ones are all found."""
    return re.compile("(?=(" + "|".join(map(re.escape, controls)) + "))") if controls else None


def _proper_prefixes(controls: Sequence[str]) -> frozenset[str]:
    return frozenset(text[:size] for text in controls for size in range(1, len(text)))


def _unsayable(tokenizer: Any) -> dict[int, str]:
    """Map special tokens of one character, which cannot be cut, to the replacement character."""
    return {ord(text): "\ufffd" for text in sorted(_special_tokens(tokenizer)) if len(text) == 1}


def _special_tokens(tokenizer: Any) -> set[str]:
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | {str(text) for text in tokenizer.all_special_tokens}


_NO_FRAME: tuple[tuple[int, ...], tuple[int, ...]] = (), ()


def _frame(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the special tokens that a tokenizer puts before and after a text."""
    bare, whole = (tuple(tokenizer("x", add_special_tokens=adds)["input_ids"]) for adds in (False, True))
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    return _NO_FRAME
