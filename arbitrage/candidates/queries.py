"""What a router knows of a prompt before anything is generated: its text, language and task.

Prompts that translate or reword each other form a cluster: a cluster is never split over folds, and counts once.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from arbitrage.records import Prompt

D = TypeVar("D")
Rows = NDArray[np.int64]

NO_TASK = ""
"""The task of a prompt that names none."""


class Queries:
    """Prompts as routers see them. Slices share their parent's texts, and whatever was derived from those.

    In multilingual data one text is often asked in many languages ("translate this into …"): texts are kept once.

    Args:
        texts: one for each prompt, as `text_of` gives them.
        languages: BCP-47 tags, same order.
        tasks: same order; `NO_TASK` where there is none.
    """

    def __init__(self, texts: Sequence[str], languages: Sequence[str], tasks: Sequence[str] | None = None) -> None:
        codes: dict[str, int] = {}
        self.text_P: Rows = np.fromiter((codes.setdefault(text, len(codes)) for text in texts), np.int64, len(texts))
        self.texts: tuple[str, ...] = tuple(codes)
        self.languages = np.asarray(languages, dtype=object)
        self.tasks = np.asarray(tasks if tasks is not None else [NO_TASK] * len(texts), dtype=object)
        self._derived: dict[str, Any] = {}

    def __len__(self) -> int:
        """Return the number of prompts, P."""
        return len(self.text_P)

    def take(self, rows: Rows) -> Self:
        """Return some of the prompts, in the order of `rows`."""
        part = object.__new__(type(self))
        part.texts, part._derived = self.texts, self._derived
        part.text_P, part.languages, part.tasks = self.text_P[rows], self.languages[rows], self.tasks[rows]
        return part

    def derive(self, name: str, compute: Callable[[Sequence[str]], D]) -> D:
        """Return what `compute` makes of `texts`, a row for each; computed once for all slices."""
        if name not in self._derived:
            self._derived[name] = compute(self.texts)
        found: D = self._derived[name]
        return found


def text_of(prompt: Prompt) -> str:
    """Return what a router reads of a prompt: its turns, one after the other, without system instructions."""
    return "\n".join(message.shown for message in prompt.messages if message.role != "system")


def queries_of(prompts: Sequence[Prompt]) -> Queries:
    """Return prompts as routers see them."""
    return Queries(
        [text_of(prompt) for prompt in prompts],
        [prompt.language for prompt in prompts],
        [prompt.task or NO_TASK for prompt in prompts],
    )


def cluster_key(prompt_id: str, source_id: str, language: str) -> str:
    """Return what a prompt shares with its translations and rewordings: the id its source knows it by.

    Parallel sets number their questions alike in every language; an id that ends in the prompt's own language
    (`17/de`) is taken without it. Prompts without a source id stand alone.
    """
    if not source_id:
        return f"prompt {prompt_id}"
    group, _, member = source_id.rpartition("/")
    return group if group and member == language else source_id
