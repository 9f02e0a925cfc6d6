"""How models mark their reasoning, and the one way to take it out of a completion's text.

    <think>The user asks …</think>The answer.       →  reasoning, text

Some chat templates write the opening mark themselves, so that a completion begins inside the reasoning; a
completion that ends before the closing mark is open and has no answer. Marks count at the beginning of a completion
alone: an answer may speak of them, in code or in prose.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from arbitrage.errors import closest, did_you_mean
from arbitrage.text.prose import without_code
from arbitrage.text.reasoning import GLUED, find_reasoning


@dataclass(frozen=True, slots=True)
class ReasoningFormat:
    """The marks of a family of models.

    Attributes:
        name: as configs name it.
        start: begins the reasoning.
        end: ends it.
        around: marks that may stand around the answer, such as `<answer>`; they are removed.
    """

    name: str
    start: str
    end: str
    around: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """All marks."""
        return (self.start, self.end, *self.around)


@dataclass(frozen=True, slots=True)
class SplitText:
    """A completion's parts.

    Attributes:
        text: the answer.
        reasoning: what stands before it; None where there is no reasoning.
        is_open: the completion ends inside the reasoning.
    """

    text: str
    reasoning: str | None = None
    is_open: bool = False


HARMONY: Final = ReasoningFormat(
    "harmony",
    "<|channel|>analysis<|message|>",
    "<|end|>",
    ("<|start|>assistant", "<|channel|>final<|message|>", "<|channel|>commentary", "<|return|>", "<|call|>"),
)
"""gpt-oss: a completion is a row of messages, each in a channel."""

_FORMATS: Final = (
    ReasoningFormat("think", "<think>", "</think>"),
    ReasoningFormat("mistral", "[THINK]", "[/THINK]"),
    HARMONY,
    ReasoningFormat("gemma", "<|channel>thought", "<channel|>"),
    ReasoningFormat("cohere", "<|START_THINKING|>", "<|END_THINKING|>", ("<|START_RESPONSE|>", "<|END_RESPONSE|>")),
    ReasoningFormat("seed", "<seed:think>", "</seed:think>"),
    ReasoningFormat("kimi", "◁think▷", "◁/think▷"),
    ReasoningFormat("minimax", "<mm:think>", "</mm:think>"),
    ReasoningFormat("hunyuan", "<think>", "</think>", ("<answer>", "</answer>")),
    ReasoningFormat("thinking", "<thinking>", "</thinking>"),
    ReasoningFormat("reasoning", "<reasoning>", "</reasoning>", ("<answer>", "</answer>")),
    ReasoningFormat(
        "thought",
        "<|begin_of_thought|>",
        "<|end_of_thought|>",
        ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ),
)

FORMATS: Final[Mapping[str, ReasoningFormat]] = {each.name: each for each in _FORMATS}

_OF_VLLM: Final = {
    "think": """
        deepseek_r1 deepseek_v3 deepseek_v4 deepseek_v41 ernie45 glm45 glm47 granite_thinking_parser holo2 kimi_k2
        k2_horizon ling3 mimo minicpmv minimax_m2 minimax_m2_append_think nemotron_v3 olmo3 plamo3 poolside_v1 qwen3
        step3 step3p5""",
    "harmony": "openai_gptoss gpt_oss gptoss",
    "gemma": "gemma4",
    "cohere": "cohere_command3 cohere_command4",
    "seed": "seed_oss",
    "minimax": "minimax_m3",
    "hunyuan": "hunyuan_a13b",
}
_ALIASES: Final = {alias: name for name, aliases in _OF_VLLM.items() for alias in aliases.split()}


def format_named(name: str) -> ReasoningFormat:
    """Return a format by its name, or by the name of vLLM's `--reasoning-parser`.

    Raises:
        ValueError: there is none of that name.
    """
    found = FORMATS.get(_ALIASES.get(name, name))
    if found is None:
        hint = did_you_mean(closest(name, [*FORMATS, *_ALIASES]))
        raise ValueError(f"'{name}' is no reasoning format{hint}; there are auto, none, {', '.join(FORMATS)}")
    return found


def vllm_parser(given: str, marks: ReasoningFormat) -> str | None:
    """Return vLLM's parser for a teacher's `reasoning_parser` and its format; None where vLLM has none."""
    if given in _ALIASES:
        return given
    return next(iter(_OF_VLLM.get(marks.name, "").split()), "mistral" if marks.name == "mistral" else None)


def format_of(vocabulary: Mapping[str, int], template: str) -> ReasoningFormat | None:
    """Return the format of a model by its own files: the marks that its vocabulary has or its template writes.

    Args:
        vocabulary: token → id.
        template: the chat template; empty where there is none.
    """
    for each in _FORMATS:
        pieces = re.findall(r"<\|[^|]+\|>", each.start + each.end) if each is HARMONY else (each.start, each.end)
        if each.name not in _BY_NAME_ALONE and all(p in vocabulary or p in template for p in pieces):
            return each
    return None


_BY_NAME_ALONE: Final = frozenset(("hunyuan", "thinking", "reasoning", "thought"))
"""Elements that prompts request, and marks of several formats: used only if the format is named explicitly."""


_BY_LONGEST_START: Final = sorted(
    (each for each in _FORMATS if each.name not in ("think", "harmony")),  # `hunyuan` has the marks of `think`
    key=lambda each: -len(each.start),
)


def split_text(text: str, marks: ReasoningFormat, *, begins_inside: bool | None = None) -> SplitText:
    """Take the reasoning out of a text.

    Args:
        text: of a completion, its marks kept.
        marks: how its model marks reasoning.
        begins_inside: whether the prompt ended with the opening mark; None where that is not known: then a closing
            mark without an opening one ends reasoning, unless it stands in code.
    """
    if marks is HARMONY:
        return _split_harmony(text, begins_inside=begins_inside)
    rest = text.lstrip()
    if rest.startswith(marks.start):
        rest = rest.removeprefix(marks.start)
    elif begins_inside is False or (begins_inside is None and marks.end not in without_code(text)):
        return SplitText(_bare(text, marks))
    else:
        rest = text
    reasoning, end, answer = rest.partition(marks.end)
    if not end:
        return SplitText("", reasoning.strip(), is_open=True)
    return SplitText(_bare(answer, marks).lstrip("\n"), reasoning.strip() or None)


def split_foreign_text(text: str) -> tuple[SplitText, ReasoningFormat | None]:
    """Take the reasoning out of a text of a data set, whose model is not known.

    Only what `find_reasoning` takes for reasoning is taken out: a text may speak of the marks.

    Returns:
        The parts, and the format; None where nothing was taken out.
    """
    if find_reasoning(text) is None:
        return SplitText(text), None
    rest = text.lstrip()
    if rest.startswith(GLUED[0]):  # Harmony's marks without their control tokens
        reasoning, _, answer = rest.removeprefix(GLUED[0]).partition(GLUED[1])
        return SplitText(answer, reasoning.strip() or None), HARMONY
    begun = [each for each in _BY_LONGEST_START if rest.startswith(each.start)]
    for each in begun or [HARMONY, *_BY_LONGEST_START]:
        if begun or each is HARMONY or (each.end in text and each.start not in text):
            found = split_text(text, each)
            if found.reasoning is not None or found.is_open:
                return found, each
    return SplitText(text), None


def _bare(answer: str, marks: ReasoningFormat) -> str:
    """Return an answer without the marks around it."""
    for mark in marks.around:
        stripped = answer.strip()
        if stripped.startswith(mark):
            answer = stripped.removeprefix(mark).lstrip("\n")
        elif stripped.endswith(mark):
            answer = stripped.removesuffix(mark).rstrip("\n")
    return answer


_MESSAGE: Final = re.compile(
    r"<\|channel\|>(?P<channel>analysis|commentary|final)(?P<header>[^<]*(?:<\|constrain\|>[^<]*)?)<\|message\|>"
)
_MESSAGE_END: Final = re.compile(r"<\|(?:end|return|call|start)\|>")


def _split_harmony(text: str, *, begins_inside: bool | None) -> SplitText:
    """Split the messages of a completion: reasoning is the channel `analysis`, the answer is `final`."""
    starts = list(_MESSAGE.finditer(text))
    if not starts:
        return SplitText("", text.strip(), is_open=True) if begins_inside else SplitText(text)
    parts: dict[str, list[str]] = {"analysis": [], "commentary": [], "final": []}
    if begins_inside:
        parts["analysis"].append(_until_end(text[: starts[0].start()])[0])
    is_open = False
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        body, is_closed = _until_end(text[start.end() : following.start() if following else len(text)])
        parts[start["channel"]].append(body)
        is_open = start["channel"] == "analysis" and not is_closed
    reasoning = "\n\n".join(filter(None, (part.strip() for part in parts["analysis"] + parts["commentary"])))
    answer = "".join(parts["final"])
    return SplitText(answer, reasoning or None, is_open=is_open or not parts["final"])


def _until_end(text: str) -> tuple[str, bool]:
    found = _MESSAGE_END.search(text)
    return (text[: found.start()], True) if found else (text, False)
