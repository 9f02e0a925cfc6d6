"""The candidate table as a data set: every candidate with its prompt, its scores and its final score."""

from collections.abc import Mapping

from arbitrage.candidates.table import CandidateShard, JoinedCandidate
from arbitrage.export.origin import TeacherFacts, origin_of
from arbitrage.records import Metric, Record, TextMessage, ToolCall


class CandidateRow(Record):
    """One candidate and everything known of it."""

    prompt: tuple[TextMessage, ...]  # calls of tools in it are text
    tools: str | None
    response_format: str | None
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
    tool_calls: tuple[ToolCall, ...] | None
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


def candidate_rows(shard: CandidateShard, teachers: Mapping[str, TeacherFacts]) -> list[CandidateRow]:
    """Return the rows of one shard, in order of prompt, teacher and sample."""
    found = [_row(joined, teachers) for joined in shard.joined()]
    return sorted(found, key=lambda row: (row.prompt_id, row.teacher, row.sample_index, row.candidate_id))


def _row(joined: JoinedCandidate, teachers: Mapping[str, TeacherFacts]) -> CandidateRow:
    prompt, candidate, final = joined.prompt, joined.candidate, joined.final
    return CandidateRow(
        prompt=tuple(TextMessage(role=turn.role, content=turn.shown) for turn in prompt.messages),
        tools=prompt.tools,
        response_format=prompt.response_format,
        language=prompt.language,
        task=prompt.task,
        reference=prompt.reference,
        score=final.value if final else None,
        score_error=final.error if final else "unscored",
        rewards=tuple(Metric(name=s.reward, value=s.value) for s in sorted(joined.scores, key=lambda s: s.reward)),
        licences=origin_of(prompt, teachers).licences(candidate.teacher),
        source=prompt.source,
        source_id=prompt.source_id,
        **candidate.model_dump(),
    )
