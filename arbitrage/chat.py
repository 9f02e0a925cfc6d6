"""Chat messages to token ids, such that nothing a message says can act as a control token.

A message may hold the text `<|im_end|>`. Rendering the template and tokenising the result would turn it into the
control token, and the rest of the message into a turn of its own. Here every control token inside a message is cut
after its first character with a mark before the template runs; the rendered text is split at the marks, and the
pieces are tokenised one by one. Text without control tokens takes the ordinary way: its ids are those of
`apply_chat_template`.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from jinja2.exceptions import TemplateError

from arbitrage.errors import DataError
from arbitrage.records import Message

Turn = dict[str, str]

_PRIVATE_USE = range(0xE000, 0xF900)


class ChatTokenizer:
    """A tokenizer with its chat template. Safe to call from several threads.

    A model without a chat template gets plain text: the messages' contents, each followed by a blank line, after
    the beginning-of-sequence token if the tokenizer puts one. A template that knows no system role gets the system
    message in front of the first user message.

    Args:
        tokenizer: a transformers tokenizer.
        options: passed to the template, such as {"enable_thinking": False}.
    """

    def __init__(self, tokenizer: Any, options: Mapping[str, Any] | None = None) -> None:
        self._tokenizer = tokenizer
        self._options = dict(options or {})
        self._template = str(tokenizer.chat_template or "")
        self._controls = _control_pattern(tokenizer, self._template)
        self._replaced = _unsayable(tokenizer)
        self._folds_system = bool(self._template) and not self._takes_system()
        self._prefix = [] if self._template else _automatic_prefix(tokenizer)
        self._lock = threading.Lock()

    def encode(self, messages: Sequence[Message], *, is_complete: bool = False) -> list[int]:
        """Return the ids of the rendered conversation.

        Args:
            messages: the turns.
            is_complete: the last turn is an answer to be judged; otherwise the ids end where an answer begins.

        Raises:
            DataError: the template refuses the conversation, such as two user turns in a row.
        """
        with self._lock:
            mark = self._free_mark(messages)
            turns = [{"role": m.role, "content": self._cut(m.content, mark)} for m in messages]
            folded = fold_system(turns) if self._folds_system else turns
            rendered = self._render(folded, is_complete=is_complete)
            ids = list(self._prefix)
            for piece in rendered.split(mark):
                ids += self._tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else []
            return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, control tokens left out, white space kept.

        An answer cut off in the middle of a character loses that half: some tokens are bytes of UTF-8.
        """
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text).rstrip("\ufffd")

    def _render(self, turns: list[Turn], *, is_complete: bool) -> str:
        if not self._template:
            return "".join(f"{turn['content']}\n\n" for turn in turns)
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=not is_complete, **self._options
                )
            )
        except TemplateError as error:
            raise DataError(f"the chat template refuses the conversation: {error}") from error

    def _takes_system(self) -> bool:
        probe = "\ue000system\ue001"
        try:
            rendered = self._render(
                [{"role": "system", "content": probe}, {"role": "user", "content": "x"}], is_complete=False
            )
        except DataError:
            return False
        return probe in rendered

    def _free_mark(self, messages: Sequence[Message]) -> str:
        used = set(self._template).union(*(m.content for m in messages))
        mark = next((chr(c) for c in _PRIVATE_USE if chr(c) not in used), None)
        if mark is None:
            raise DataError("the conversation uses every private-use character of Unicode")
        return mark

    def _cut(self, content: str, mark: str) -> str:
        content = content.translate(self._replaced)
        if self._controls is None:
            return content
        starts = [match.start() for match in self._controls.finditer(content)]
        edges = [0, *(start + 1 for start in starts), len(content)]
        cut = mark.join(content[i:j] for i, j in pairwise(edges))
        if self._controls.search(self._normalised(cut)):
            return mark.join(content)  # another spelling of a control token: let no two characters touch
        return cut

    def _normalised(self, content: str) -> str:
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        normaliser = getattr(backend, "normalizer", None)
        return str(normaliser.normalize_str(content)) if normaliser else content


def fold_system(turns: Sequence[Turn]) -> list[Turn]:
    """Put system turns in front of the user turn that follows them, a blank line between."""
    folded: list[Turn] = []
    pending: list[str] = []
    for turn in turns:
        if turn["role"] == "system":
            pending.append(turn["content"])
        elif pending and turn["role"] == "user":
            folded.append({"role": "user", "content": "\n\n".join([*pending, turn["content"]])})
            pending = []
        else:
            folded.append(turn)
    return [*folded, {"role": "user", "content": "\n\n".join(pending)}] if pending else folded


def _control_pattern(tokenizer: Any, template: str) -> re.Pattern[str] | None:
    """Match, at its first character, every token that is special or that the template writes.

    Added tokens that are neither (Gemma's runs of newlines, its HTML tags) are ordinary text.
    """
    controls = _special_tokens(tokenizer) | {
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.content.strip() and token.content in template
    }
    controls = {text for text in controls if len(text) > 1}
    if not controls:
        return None
    longest_first = sorted(controls, key=lambda text: (-len(text), text))
    return re.compile("(?=" + "|".join(re.escape(text) for text in longest_first) + ")")


def _unsayable(tokenizer: Any) -> dict[int, str]:
    """Map special tokens of one character, which cannot be cut, to the replacement character."""
    return {ord(text): "\ufffd" for text in sorted(_special_tokens(tokenizer)) if len(text) == 1}


def _special_tokens(tokenizer: Any) -> set[str]:
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | {str(text) for text in tokenizer.all_special_tokens}


def _automatic_prefix(tokenizer: Any) -> list[int]:
    """Return the beginning-of-sequence token where the tokenizer puts one by itself."""
    begin = tokenizer.bos_token_id
    found = tokenizer("x")["input_ids"]
    return [begin] if begin is not None and found[:1] == [begin] else []
