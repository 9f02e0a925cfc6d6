"""Reasoning of models that run in this process: found by token ids, so that both parts can be counted.

Endpoints send reasoning in a field of its own (`engines/openai/protocol.py`); the marks are those of
`arbitrage.text.reasoning_formats`.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from arbitrage.contracts.engines import Completion, Failure, GenerationRequest
from arbitrage.errors import EngineStartError
from arbitrage.models.chat import ChatTokenizer
from arbitrage.records import FinishReason
from arbitrage.teachers.tools import ToolParser, unfinished_call
from arbitrage.text.reasoning_formats import HARMONY, ReasoningFormat, format_named, format_of, split_text
from arbitrage.text.tool_formats import ParsedCalls

_TAIL = 64
"""Tokens at the end of a prompt that are searched for an opening mark."""


@dataclass(frozen=True, slots=True)
class SplitTokens:
    """A completion's parts.

    Attributes:
        text: the answer.
        reasoning: what stands before it; None where there is none.
        num_reasoning_tokens: marks included; None where there is no reasoning.
        is_open: the completion ends inside the reasoning.
    """

    text: str
    reasoning: str | None = None
    num_reasoning_tokens: int | None = None
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class BudgetMarks:
    """Token ids by which an engine ends reasoning that is over its budget."""

    start: int
    end: int


class ReasoningSplitter:
    """Takes the reasoning out of completions of one model.

    Args:
        chat: the model's tokenizer.
        parser: a format's name, `auto` (by the marks in the model's own files), or `none` (nothing is split).
        owner: what an error begins with.

    Raises:
        EngineStartError: the model does not have the marks that the parser looks for.
    """

    def __init__(self, chat: ChatTokenizer, parser: str = "auto", owner: str = "") -> None:
        self._chat = chat
        vocabulary = chat.vocabulary
        self.marks = _marks(chat, parser)
        marks = self.marks.marks if self.marks else ()
        if self.marks is HARMONY:
            marks = ("<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|return|>", "<|call|>", "<|constrain|>")
        self._kept = frozenset(vocabulary[mark] for mark in marks if mark in vocabulary)
        start, end = (vocabulary.get(mark) for mark in (marks[:2] or ("", "")))
        is_by_ids = self.marks not in (None, HARMONY) and start is not None and end is not None
        self._ids = BudgetMarks(start, end) if is_by_ids and start is not None and end is not None else None
        if parser not in ("auto", "none") and not self._has_marks():
            raise EngineStartError(
                f"{owner}: reasoning_parser is '{parser}', but neither the vocabulary nor the chat template of its "
                f"model has {marks[0]}; say auto, none, or the parser of its family"
            )

    def _has_marks(self) -> bool:
        if self.marks is None or self._ids is not None:
            return self.marks is not None
        first = "<|channel|>" if self.marks is HARMONY else self.marks.start
        return first in self._chat.vocabulary or first in self._chat.template or not self._chat.has_template

    @property
    def is_chat_model(self) -> bool:
        """Whether the model has a chat template of its own; white space around a base model's text means nothing."""
        return self._chat.has_template and not self._chat.is_own_template

    def budget_marks(self, owner: str) -> BudgetMarks:
        """Return the ids that end reasoning.

        Raises:
            EngineStartError: this model's reasoning is not marked by tokens of its own.
        """
        if self._ids is None:
            raise EngineStartError(
                f"{owner}: sampling.reasoning_budget needs a model whose reasoning stands between two tokens of its "
                "vocabulary, such as <think> and </think>; this one has none (reasoning_parser in teachers.yaml)"
            )
        return self._ids

    def num_inside(self, prompt_ids: Sequence[int]) -> int | None:
        """Return how many tokens of a prompt stand behind an opening mark that its template has written."""
        if self._ids is None or not self.begins_inside(prompt_ids):
            return None
        return list(reversed(prompt_ids)).index(self._ids.start)

    def begins_inside(self, prompt_ids: Sequence[int]) -> bool:
        """Tell whether a prompt ends with an opening mark that its template has written."""
        if self.marks is None:
            return False
        tail = prompt_ids[-_TAIL:]
        if self._ids is not None:
            last = next((i for i in reversed(tail) if i in (self._ids.start, self._ids.end)), None)
            return last == self._ids.start
        text = self._chat.decode(tail, self._kept)
        return text.rfind(self.marks.start) > text.rfind(self.marks.end)

    def split(self, ids: Sequence[int], *, begins_inside: bool, kept: frozenset[int] = frozenset()) -> SplitTokens:
        """Return the parts of a completion.

        Args:
            ids: its tokens, without the one that ended it.
            begins_inside: as told by `begins_inside` of its prompt.
            kept: control tokens that stay in the answer.
        """
        if self.marks is None:
            return SplitTokens(self._chat.decode(ids, kept))
        if self._ids is not None:
            return self._split_ids(ids, self._ids, kept, begins_inside=begins_inside)
        kept_all = self._kept | kept
        whole = self._chat.decode(ids, kept_all)
        found = split_text(whole, self.marks, begins_inside=begins_inside)
        if found.reasoning is None and not found.is_open:
            return SplitTokens(found.text if self.marks is HARMONY else self._chat.decode(ids, kept))
        num_tokens = len(ids)
        if found.text and not found.is_open:
            place = whole.rfind(found.text)
            num_tokens = bisect_left(
                range(len(ids)), place + 1, key=lambda k: len(self._chat.decode(ids[: k + 1], kept_all))
            )
        return SplitTokens(found.text, found.reasoning, num_tokens, found.is_open)

    def _split_ids(
        self, ids: Sequence[int], marks: BudgetMarks, kept: frozenset[int], *, begins_inside: bool
    ) -> SplitTokens:
        begin = 0
        if marks.start in ids and not self._chat.decode(ids[: (at := ids.index(marks.start))]).strip():
            begin = at + 1
        elif not begins_inside:
            return SplitTokens(self._chat.decode(ids, kept))
        if marks.end not in ids[begin:]:
            return SplitTokens("", self._chat.decode(ids[begin:]).strip() or None, len(ids), is_open=True)
        end = ids.index(marks.end, begin)
        reasoning = self._chat.decode(ids[begin:end]).strip()
        answer = self._chat.decode(ids[end + 1 :], self._kept | kept)
        for mark in self.marks.around if self.marks else ():
            answer = answer.strip().removeprefix(mark).removesuffix(mark)
        return SplitTokens(answer.lstrip("\n"), reasoning or None, end + 1)


def completion_of(
    request: GenerationRequest,
    splitter: ReasoningSplitter,
    tools: ToolParser,
    prompt_ids: Sequence[int],
    ids: Sequence[int],
    *,
    num_kept: int,
    finish: FinishReason,
    logprob: float | None,
) -> Completion | Failure:
    """Return the completion of tokens.

    Args:
        request: the request.
        splitter: of the model.
        tools: of the model; calls are read only where the prompt has tools.
        prompt_ids: tokens of the prompt.
        ids: tokens sampled.
        num_kept: how many of them are text: not the one that ended the completion.
        finish: why it ended.
        logprob: of all tokens sampled.
    """
    has_tools = request.tools is not None
    kept = tools.kept if has_tools else frozenset[int]()
    found = splitter.split(ids[:num_kept], begins_inside=splitter.begins_inside(prompt_ids), kept=kept)
    text = _until(found.text, request.options.stop)
    parsed = tools.parse(text) if has_tools else ParsedCalls(text)
    if parsed.is_open:
        return unfinished_call(request.candidate_id, finish)
    text = parsed.text
    if found.is_open or (found.reasoning and not parsed.calls and not text.strip()):
        return unfinished(request.candidate_id, finish, len(ids))
    return Completion(
        candidate_id=request.candidate_id,
        tool_calls=parsed.calls,
        text=text if splitter.is_chat_model else text.strip(),
        finish_reason=finish,
        prompt_tokens=len(prompt_ids),
        completion_tokens=len(ids),
        cumulative_logprob=logprob,
        reasoning=found.reasoning,
        reasoning_tokens=found.num_reasoning_tokens,
    )


def _until(text: str, stops: Sequence[str]) -> str:
    """Return a text up to the first text that ends it."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def unfinished(candidate_id: str, finish: FinishReason, num_tokens: int | None = None) -> Failure:
    """Return the Failure of a completion whose reasoning is not followed by an answer."""
    tokens = "" if num_tokens is None else f" after {num_tokens:,} tokens"
    if finish is FinishReason.LENGTH:
        why = f"max_tokens ended the reasoning{tokens}; raise it, or set sampling.reasoning_budget"
    else:
        why = f"the model stopped{tokens} without an answer after its reasoning"
    return Failure(candidate_id, "reasoning_unfinished", why)


def _marks(chat: ChatTokenizer, parser: str) -> ReasoningFormat | None:
    if parser == "none":
        return None
    if parser == "auto":
        return format_of(chat.vocabulary, chat.template)
    return format_named(parser)
