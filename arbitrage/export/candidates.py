"""The candidate table as a data set: every answer beside its prompt, its scores and the ensemble's verdict."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pyarrow as pa

from arbitrage.export.origin import TeacherFacts, origin_of
from arbitrage.records import Candidate, Message, Metric, Prompt, Record, Score
from arbitrage.tables import concat, from_table


class CandidateRow(Record):
    """One answer of one teacher and everything known of it."""

    prompt: tuple[Message, ...]
    text: str
    prompt_id: str
    candidate_id: str
    language: str
    task: str | None
    reference: str | None
    teacher: str
    revision: str
    sample_index: int
    seed: int
    reasoning: str | None
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    cumulative_logprob: float | None
    cost_usd: float | None
    error: str | None
    score: float | None  # the ensemble's; null with a reason
    score_error: str | None
    rewards: tuple[Metric, ...]  # name@version → raw value, null where there is none
    licences: tuple[str, ...]
    source: str
    source_id: str


def candidate_rows(
    prompts: pa.Table,
    drafts: Sequence[pa.Table],
    scores: Sequence[pa.Table],
    final: Sequence[pa.Table],
    teachers: Mapping[str, TeacherFacts],
) -> list[CandidateRow]:
    """Join one shard by id, in order of prompt, teacher and sample."""
    by_id = {p.prompt_id: p for p in from_table(prompts, Prompt)}
    opinions: dict[str, list[Score]] = defaultdict(list)
    for score in from_table(concat(scores, Score), Score):
        opinions[score.candidate_id].append(score)
    verdicts = {s.candidate_id: s for s in from_table(concat(final, Score), Score)}
    answers = from_table(concat(drafts, Candidate), Candidate)
    answers.sort(key=lambda c: (c.prompt_id, c.teacher, c.sample_index, c.candidate_id))
    return [
        _row(by_id[c.prompt_id], c, opinions[c.candidate_id], verdicts.get(c.candidate_id), teachers) for c in answers
    ]


def _row(
    prompt: Prompt,
    candidate: Candidate,
    opinions: Sequence[Score],
    verdict: Score | None,
    teachers: Mapping[str, TeacherFacts],
) -> CandidateRow:
    return CandidateRow(
        prompt=prompt.messages,
        language=prompt.language,
        task=prompt.task,
        reference=prompt.reference,
        score=verdict.value if verdict else None,
        score_error=verdict.error if verdict else "unscored",
        rewards=tuple(Metric(name=s.reward, value=s.value) for s in sorted(opinions, key=lambda s: s.reward)),
        licences=origin_of(prompt, teachers).licences(candidate.teacher),
        source=prompt.source,
        source_id=prompt.source_id,
        **candidate.model_dump(),
    )
