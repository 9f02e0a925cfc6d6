"""Estimate a run before it starts: requests, tokens and cost by teacher and language."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import pyarrow as pa
import pyarrow.compute as pc

from arbitrage.contracts.engines import SamplingParams
from arbitrage.contracts.steps import Step
from arbitrage.execution.plan import ExecutionPlan
from arbitrage.languages import script_of
from arbitrage.records import Message, Prompt
from arbitrage.runs.layout import shard_of, shard_path, shards_in
from arbitrage.runs.store import read_table
from arbitrage.teachers.generate import GenerateConfig
from arbitrage.teachers.pool import TeacherConfig, pool_members
from arbitrage.teachers.tokens import (
    OTHER_SCRIPTS,
    TOKENS_PER_CHARACTER,
    may_reason,
    template_tokens,
    tokens_per_character,
)
from pipelines.candidates import CandidatesConfig, sent_text
from pipelines.planning.reviewer_calls import Readings, Task, readers

SAMPLES_PER_LANGUAGE = 200
CONVERSATIONS_PER_LANGUAGE = 20
"""A prompt rendered with each teacher's chat template, to count the template's tokens."""

GUESSED_SHARE = 0.5
"""Share of max_tokens that a completion is assumed to use if there are none yet."""

GUESSED_REASONING = 0.75
"""Share of its tokens that is guessed to be reasoning, up to the budget, where a teacher reasons."""


@dataclass(frozen=True, slots=True)
class SeenTokens:
    """Mean tokens of the completions that earlier runs left of a step.

    Attributes:
        completion: of reasoning and response.
        reasoning: of the reasoning; where they are not known, by its part of the characters.
    """

    completion: float
    reasoning: float


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """One teacher in one language, at one task.

    Attributes:
        generations: calls; for adjudicators and fusing teachers an upper bound, because the calls depend on the
            completions.
        completion_tokens: expected; the bound is `max_completion_tokens`.
        reasoning_tokens: how many of the expected ones are reasoning.
        reasoning_cost_usd: the part of `cost_usd` that is paid for them.
        is_measured: the expectation comes from existing completions of this step.
        is_by_length: the expectation comes from the lengths of the texts, because nothing is measured yet.
        is_counted: prompt tokens are counted with the teacher's own tokenizer and chat template, not with a table.
    """

    task: Task
    teacher: str
    language: str
    prompts: int
    generations: int
    prompt_tokens: int
    completion_tokens: int
    max_completion_tokens: int
    reasoning_tokens: int
    cost_usd: float | None
    reasoning_cost_usd: float | None
    is_measured: bool
    is_counted: bool
    is_by_length: bool = False


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests of the router, over the shards of the run."""

    num_prompts: Counter[str]  # by language
    rejected: Counter[str]  # by reason
    num_requests: Counter[tuple[str, str]]  # (teacher, language) → prompts
    characters: Counter[tuple[str, str]]
    responses: dict[tuple[str, str], float]  # (teacher, language) → expected characters, where something tells
    samples: dict[str, list[str]]
    conversations: list[tuple[Message, ...]]
    readings: Readings


def count_requests(
    config: CandidatesConfig, teachers: Sequence[TeacherConfig], execution: ExecutionPlan
) -> RequestCounts:
    """Read the prompts and route them, keeping only counts and a few samples of each language.

    Prompts are those of the run's shards; counted are those without a completion by the teacher.
    """
    members, shards = pool_members(teachers), set(execution.shards)
    routers = [(span, router.build(members)) for span, router in config.routers()]
    by_name = {t.name: t for t in teachers}
    missing = {t.name: execution.shards_left(f"generate-{t.name}") for t in teachers}
    requests = RequestCounts(Counter(), Counter(), Counter(), Counter(), {}, defaultdict(list), [], Readings())
    num_answers = {t.name: t.resolved_sampling(config.sampling).n for t in teachers}
    reading = readers(execution, lambda step: _length(execution, step))
    for batch in config.prompts.build().read():
        requests.rejected.update(r.reason for r in batch.rejects if shard_of(r.item_id, config.num_shards) in shards)
        found = [(p, k) for p in batch.prompts if (k := shard_of(p.prompt_id, config.num_shards)) in shards]
        dealt = [(prompt, k) for source, k in found for prompt in config.sampled_prompts(source)]
        for span, router in routers:
            mine = [(p, k) for p, k in dealt if k in span]
            for (prompt, shard), route in zip(mine, router.route([p for p, _ in mine]), strict=True):
                asked = [by_name[t] for t in route.teachers if shard in missing[t]] if route else None
                _count(requests, config, prompt, asked)
                requests.readings.count(
                    reading, prompt, shard, {t: num_answers[t] for t in (route.teachers if route else ())}
                )
    return requests


def estimate(
    config: CandidatesConfig, teachers: Sequence[TeacherConfig], requests: RequestCounts, execution: ExecutionPlan
) -> list[RunEstimate]:
    """Estimate tokens and cost by teacher and language: generation first, then calls that read candidates."""
    found: list[RunEstimate] = []
    for teacher in teachers:
        ratios, is_counted = tokens_per_character(teacher, requests.samples)
        frame = template_tokens(teacher, requests.conversations)
        sampling = teacher.resolved_sampling(config.sampling)
        seen = seen_tokens(execution, f"generate-{teacher.name}")
        found += [
            _estimate(teacher, language, requests, sampling, ratios[language], frame, is_counted, seen)
            for language in sorted(requests.num_prompts)
            if requests.num_requests[teacher.name, language]
        ]
    return found + [_estimate_reading(requests, key, execution) for key in sorted(requests.readings.calls)]


def seen_tokens(execution: ExecutionPlan, step: str) -> SeenTokens | None:
    """Return the mean length, in tokens, of a step's completions that earlier runs left in this directory."""
    planned = execution.step(step)
    found: list[SeenTokens] = []
    for shard in sorted(shards_in(planned.job.directory))[:4]:
        path = shard_path(planned.job.directory, shard)
        table = read_table(path, columns=["completion_tokens", "reasoning_tokens", "reasoning", "text"])
        mean = pc.mean(table["completion_tokens"]).as_py()
        if mean is not None:
            found.append(SeenTokens(mean, mean * _reasoning_share(table)))
    if not found:
        return None
    return SeenTokens(fmean(each.completion for each in found), fmean(each.reasoning for each in found))


def _reasoning_share(table: pa.Table) -> float:
    """Return the part of all tokens that is reasoning; of characters where tokens of reasoning are not known."""
    if pc.all(pc.is_null(table["reasoning"])).as_py() is not False:
        return 0.0
    is_counted = pc.and_(pc.is_valid(table["completion_tokens"]), pc.is_valid(table["reasoning_tokens"]))
    is_plain = pc.and_(pc.is_valid(table["completion_tokens"]), pc.is_null(table["reasoning"]))
    counted = table.filter(pc.or_(is_counted, is_plain))
    if pc.any(is_counted).as_py():
        whole, reasoning = (pc.sum(counted[name]).as_py() or 0 for name in ("completion_tokens", "reasoning_tokens"))
        return min(1.0, reasoning / whole) if whole else 0.0
    text, thought = (pc.sum(pc.utf8_length(table[name])).as_py() or 0 for name in ("text", "reasoning"))
    return float(thought / (text + thought)) if thought else 0.0


def expected_tokens(teacher: TeacherConfig, sampling: SamplingParams, seen: SeenTokens | None) -> SeenTokens:
    """Return what one completion is expected to have: as seen, else guessed."""
    if seen is not None:
        return seen
    completion = sampling.max_tokens * GUESSED_SHARE
    if not may_reason(teacher, sampling):
        return SeenTokens(completion, 0.0)
    return SeenTokens(completion, min(completion * GUESSED_REASONING, sampling.reasoning_budget or completion))


def _count(
    requests: RequestCounts, config: CandidatesConfig, prompt: Prompt, teachers: Sequence[TeacherConfig] | None
) -> None:
    text = sent_text(prompt)
    requests.num_prompts[prompt.language] += 1
    if len(requests.samples[prompt.language]) < SAMPLES_PER_LANGUAGE:
        if len(requests.samples[prompt.language]) < CONVERSATIONS_PER_LANGUAGE:
            requests.conversations.append(prompt.messages)
        requests.samples[prompt.language].append(text)
    for teacher in teachers or ():
        key, sent = (teacher.name, prompt.language), config.sampled(teacher, prompt)
        requests.num_requests[key] += sent.requests
        requests.characters[key] += sent.characters
        if sent.response_characters is not None:
            requests.responses[key] = requests.responses.get(key, 0.0) + sent.response_characters
    if teachers is None:
        requests.rejected["no_teacher"] += 1


def _estimate(
    teacher: TeacherConfig,
    language: str,
    requests: RequestCounts,
    sampling: SamplingParams,
    ratio: float,
    frame: float,
    is_counted: bool,
    seen: SeenTokens | None,
) -> RunEstimate:
    num_prompts = requests.num_requests[teacher.name, language]
    generations = num_prompts * sampling.n
    prompt_tokens = round(requests.characters[teacher.name, language] * ratio + num_prompts * frame) * sampling.n
    most = generations * sampling.max_tokens
    expected = expected_tokens(teacher, sampling, seen)
    characters = requests.responses.get((teacher.name, language))
    is_by_length = characters is not None and seen is None
    if characters is not None and is_by_length:
        tokens = TOKENS_PER_CHARACTER.get(script_of(language), OTHER_SCRIPTS) * characters / num_prompts
        expected = SeenTokens(tokens + expected.reasoning, expected.reasoning)
    completion_tokens, reasoning_tokens = (round(generations * n) for n in (expected.completion, expected.reasoning))
    return RunEstimate(
        task="answer",
        teacher=teacher.name,
        language=language,
        prompts=requests.num_requests[teacher.name, language],
        generations=generations,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        max_completion_tokens=most,
        reasoning_tokens=reasoning_tokens,
        cost_usd=teacher.usd(prompt_tokens, completion_tokens),
        reasoning_cost_usd=teacher.usd(0, reasoning_tokens),
        is_measured=seen is not None,
        is_counted=is_counted,
        is_by_length=is_by_length,
    )


def _estimate_reading(requests: RequestCounts, key: tuple[Task, str, str], execution: ExecutionPlan) -> RunEstimate:
    """Estimate the calls of a teacher that reads candidates, in one language."""
    task, name, language = key
    found, config = requests.readings, requests.readings.configs[task, name]
    teacher, calls = config.teacher, requests.readings.calls[key]
    ratios, is_counted = tokens_per_character(teacher, {language: requests.samples[language]})
    frame = template_tokens(teacher, [(Message(role="user", content="x"),)])
    prompt_tokens = round(found.characters[key] * ratios[language] + calls * frame) + found.quoted[key]
    steps = [s.step for s in execution.steps if s.step.config == config]
    seen = [tokens for step in steps if (tokens := seen_tokens(execution, step.name)) is not None]
    known = SeenTokens(fmean(t.completion for t in seen), fmean(t.reasoning for t in seen)) if seen else None
    expected = expected_tokens(teacher, config.sampling, known)
    most = calls * config.sampling.max_tokens
    completion_tokens, reasoning_tokens = (round(calls * n) for n in (expected.completion, expected.reasoning))
    return RunEstimate(
        task=task,
        teacher=name,
        language=language,
        prompts=found.prompts[key],
        generations=calls,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        max_completion_tokens=most,
        reasoning_tokens=reasoning_tokens,
        cost_usd=teacher.usd(prompt_tokens, completion_tokens),
        reasoning_cost_usd=teacher.usd(0, reasoning_tokens),
        is_measured=bool(seen),
        is_counted=is_counted,
    )


def _length(execution: ExecutionPlan, step: Step) -> float:
    """Return the tokens that an answer of a step is expected to have, without its reasoning, which is not scored."""
    if not isinstance(step.config, GenerateConfig):
        return 0.0
    expected = expected_tokens(step.config.teacher, step.config.sampling, seen_tokens(execution, step.name))
    return expected.completion - expected.reasoning
