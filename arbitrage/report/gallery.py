"""Sample prompts of each language with all their candidates side by side."""

from collections import defaultdict
from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arbitrage.candidates.table import CandidateShard, CandidateTable, JoinedCandidate
from arbitrage.records import Prompt, Score, SftExample

PER_LANGUAGE = 10
MAX_CHARACTERS = 2000
"""Maximum number of characters shown of a text."""

MAX_CANDIDATES = 24
"""Maximum number of candidates shown for a prompt; the others are counted."""

MAX_TOTAL_CHARACTERS = 3_000_000
"""Maximum number of characters in total; if needed, fewer prompts are shown, so that a report stays below 10 MB."""


@dataclass(frozen=True, slots=True)
class GalleryScore:
    """One score: a value, or the reason why there is none."""

    reward: str
    value: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class GalleryCandidate:
    """One candidate as shown."""

    candidate_id: str
    teacher: str
    sample_index: int
    finish_reason: str
    text: str
    reasoning: str | None
    final: GalleryScore | None
    scores: tuple[GalleryScore, ...]
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class GalleryPrompt:
    """One prompt as shown, its candidates best first."""

    prompt_id: str
    language: str
    task: str | None
    turns: tuple[tuple[str, str], ...]  # role, text
    reference: str | None
    candidates: tuple[GalleryCandidate, ...]
    num_hidden: int


class GalleryBuilder:
    """Keeps the prompts of each language with the smallest ids: content hashes, so a random sample."""

    def __init__(self, table: CandidateTable, per_language: int = PER_LANGUAGE) -> None:
        self._table = table
        self._per_language = per_language
        self._ids: dict[str, list[str]] = {}  # language → ids of its prompts, rising
        self._shards: list[CandidateShard] = []  # rows of prompts that were among them, joined when all are known
        self._chosen: set[str] = set()

    def add(self, shard: CandidateShard) -> None:
        """Add one shard."""
        part = shard.of_prompts(self._add_prompts(shard))
        self._shards.append(part)
        if self._table.sft is not None:
            chosen = shard.inputs.table(self._table.sft, SftExample)["candidate_id"]
            self._chosen.update(
                chosen.filter(pc.is_in(chosen, part.candidates["candidate_id"].combine_chunks())).to_pylist()
            )

    def build(self) -> tuple[GalleryPrompt, ...]:
        """Return the sample, by language and id."""
        ids = [prompt_id for kept in self._ids.values() for prompt_id in kept]
        found = {
            prompt.prompt_id: _prompt(prompt, [_candidate(row, self._chosen) for row in rows])
            for shard in self._shards
            for prompt, rows in shard.of_prompts(ids).by_prompt()
        }
        size = sum(map(_size, found.values()))
        most = self._per_language
        if size > MAX_TOTAL_CHARACTERS:
            most = max(1, most * MAX_TOTAL_CHARACTERS // size)
        return tuple(found[prompt_id] for _, kept in sorted(self._ids.items()) for prompt_id in kept[:most])

    def _add_prompts(self, shard: CandidateShard) -> list[str]:
        """Return the ids in a shard that are among the smallest so far: fewer and fewer with every shard."""
        with_candidates = pa.array(np.unique(shard.prompt_rows(shard.candidates)))
        prompts = shard.prompts.select(["prompt_id", "language"]).take(with_candidates)
        new: defaultdict[str, list[str]] = defaultdict(list)
        for prompt_id, language in zip(*(column.to_pylist() for column in prompts.columns), strict=True):
            new[language].append(prompt_id)
        for language, ids in new.items():
            self._ids[language] = sorted([*self._ids.get(language, ()), *ids])[: self._per_language]
        return [
            prompt_id for language, ids in new.items() for prompt_id in set(ids).intersection(self._ids[language])
        ]


def _candidate(row: JoinedCandidate, chosen: Set[str]) -> GalleryCandidate:
    return GalleryCandidate(
        candidate_id=row.candidate.candidate_id,
        teacher=row.candidate.teacher,
        sample_index=row.candidate.sample_index,
        finish_reason=row.candidate.finish_reason,
        text=shorten(row.candidate.shown),
        reasoning=shorten(row.candidate.reasoning) if row.candidate.reasoning else None,
        final=None if row.final is None else _score(row.final),
        scores=tuple(map(_score, row.scores)),
        is_chosen=row.candidate.candidate_id in chosen,
    )


def shorten(text: str) -> str:
    """Cut a text to its display length, with the number of omitted characters."""
    missing = len(text) - MAX_CHARACTERS
    return text if missing <= 0 else f"{text[:MAX_CHARACTERS]}… [+{missing:,} characters]"


def _size(prompt: GalleryPrompt) -> int:
    return sum(len(text) for _, text in prompt.turns) + sum(
        len(c.text) + len(c.reasoning or "") for c in prompt.candidates
    )


def _score(score: Score) -> GalleryScore:
    return GalleryScore(score.reward, score.value, score.error)


def _prompt(prompt: Prompt, candidates: list[GalleryCandidate]) -> GalleryPrompt:
    ranked = sorted(candidates, key=_best_first)
    return GalleryPrompt(
        prompt_id=prompt.prompt_id,
        language=prompt.language,
        task=prompt.task,
        turns=tuple((message.role, shorten(message.shown)) for message in prompt.messages),
        reference=prompt.reference,
        candidates=tuple(ranked[:MAX_CANDIDATES]),
        num_hidden=max(0, len(ranked) - MAX_CANDIDATES),
    )


def _best_first(candidate: GalleryCandidate) -> tuple[bool, float, str, int]:
    value = candidate.final.value if candidate.final else None
    return (
        not candidate.is_chosen,
        -(value if value is not None else float("-inf")),
        candidate.teacher,
        candidate.sample_index,
    )
