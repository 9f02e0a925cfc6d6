"""A few prompts of each language with all their candidates, for people to read side by side."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from arbitrage.candidates.table import CandidateShard

PER_LANGUAGE = 10
MAX_CHARACTERS = 2000
"""Longer texts are cut for display."""

MAX_CANDIDATES = 24
"""More candidates of one prompt are counted, not shown."""

MAX_TOTAL_CHARACTERS = 3_000_000
"""Fewer prompts of each language are shown where the whole would be longer: a report stays under about 10 MB."""


@dataclass(frozen=True, slots=True)
class GalleryScore:
    """One opinion: a value, or the reason why there is none."""

    reward: str
    value: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class GalleryCandidate:
    """One answer as shown."""

    candidate_id: str
    teacher: str
    sample_index: int
    finish_reason: str
    text: str
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
    """Keeps, of each language, the answered prompts with the smallest ids: content hashes, so a fair sample."""

    def __init__(self, per_language: int = PER_LANGUAGE) -> None:
        self._per_language = per_language
        self._kept: dict[str, dict[str, GalleryPrompt]] = {}

    def add(self, shard: CandidateShard) -> None:
        """Take in one shard."""
        wanted = self._wanted(shard)
        prompts = shard.prompts.filter(pc.is_in(shard.prompts["prompt_id"], pa.array(wanted, pa.string())))
        candidates = _candidates(shard, wanted)
        for row in prompts.to_pylist():
            own = candidates[row["prompt_id"]]
            self._kept.setdefault(row["language"], {})[row["prompt_id"]] = _prompt(row, own)
        for language, kept in self._kept.items():
            self._kept[language] = dict(sorted(kept.items())[: self._per_language])

    def build(self) -> tuple[GalleryPrompt, ...]:
        """Return the sample, by language and id."""
        kept = {language: list(prompts.values()) for language, prompts in sorted(self._kept.items())}
        size = sum(_size(prompt) for prompts in kept.values() for prompt in prompts)
        most = self._per_language
        if size > MAX_TOTAL_CHARACTERS:
            most = max(1, most * MAX_TOTAL_CHARACTERS // size)
        return tuple(prompt for prompts in kept.values() for prompt in prompts[:most])

    def _wanted(self, shard: CandidateShard) -> list[str]:
        """Return the ids that may still displace a kept prompt: fewer and fewer with every shard."""
        has_answer = pc.is_in(shard.prompts["prompt_id"], shard.drafts["prompt_id"].combine_chunks())
        answered = shard.prompts.select(["prompt_id", "language"]).filter(has_answer).sort_by("prompt_id")
        found: dict[str, list[str]] = {}
        for prompt_id, language in zip(*(c.to_pylist() for c in answered.columns), strict=True):
            ids, kept = found.setdefault(language, []), self._kept.get(language, {})
            is_full = len(kept) >= self._per_language
            if len(ids) < self._per_language and not (is_full and prompt_id > max(kept)):
                ids.append(prompt_id)
        return [prompt_id for ids in found.values() for prompt_id in ids]


def _candidates(shard: CandidateShard, prompt_ids: list[str]) -> dict[str, list[GalleryCandidate]]:
    wanted = pa.array(prompt_ids, pa.string())
    chosen = set(shard.sft["candidate_id"].to_pylist())
    final = {row["candidate_id"]: row for row in _of_prompts(shard.final, wanted)}
    opinions: dict[str, list[GalleryScore]] = {}
    for row in (*_of_prompts(shard.rewards, wanted), *_of_prompts(shard.checks, wanted)):
        opinions.setdefault(row["candidate_id"], []).append(_score(row))
    found: dict[str, list[GalleryCandidate]] = {prompt_id: [] for prompt_id in prompt_ids}
    for row in _of_prompts(shard.drafts, wanted):
        own = row["candidate_id"]
        found[row["prompt_id"]].append(
            GalleryCandidate(
                candidate_id=own,
                teacher=row["teacher"],
                sample_index=row["sample_index"],
                finish_reason=row["finish_reason"],
                text=shorten(row["text"]),
                final=_score(final[own]) if own in final else None,
                scores=tuple(opinions.get(own, ())),
                is_chosen=own in chosen,
            )
        )
    return found


def shorten(text: str) -> str:
    """Cut a text to what is shown, saying how much is missing."""
    missing = len(text) - MAX_CHARACTERS
    return text if missing <= 0 else f"{text[:MAX_CHARACTERS]}… [+{missing:,} characters]"


def _of_prompts(table: pa.Table, prompt_ids: pa.Array) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.filter(pc.is_in(table["prompt_id"], prompt_ids)).to_pylist()
    return rows


def _size(prompt: GalleryPrompt) -> int:
    return sum(len(text) for _, text in prompt.turns) + sum(len(c.text) for c in prompt.candidates)


def _score(row: dict[str, Any]) -> GalleryScore:
    return GalleryScore(row["reward"], row["value"], row["error"])


def _prompt(row: dict[str, Any], candidates: list[GalleryCandidate]) -> GalleryPrompt:
    ranked = sorted(candidates, key=_best_first)
    return GalleryPrompt(
        prompt_id=row["prompt_id"],
        language=row["language"],
        task=row["task"],
        turns=tuple((turn["role"], shorten(turn["content"])) for turn in row["messages"]),
        reference=row["reference"],
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
