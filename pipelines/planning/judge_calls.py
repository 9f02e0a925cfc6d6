"""Calls of a judge run, before it starts, and their maximum cost."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from arbitrage.judging.answers import ResponseFiles, load_responses
from arbitrage.judging.pairwise import DEFAULT_CRITERIA
from arbitrage.judging.prompts import JudgePromptReader
from arbitrage.judging.teacher import TeacherJudge
from arbitrage.languages import speaks
from arbitrage.records import Prompt, nfc
from arbitrage.teachers.pool import TeacherConfig, TeacherPool, usable_languages
from arbitrage.teachers.quoting import greedy
from arbitrage.teachers.tokens import tokens_per_character
from pipelines.judge import JudgeRunConfig, Side
from pipelines.planning.estimate import SAMPLES_PER_LANGUAGE
from pipelines.planning.reviewer_calls import FRAME_TOKENS

Texts = Callable[[Prompt], Sequence[str | None]]
"""Prompt → a side's responses; None for one that is not generated yet."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls to one teacher in one language, in a new run.

    Attributes:
        calls: for a judge, two for each match whose responses are not known to be equal.
        prompt_tokens: prompt tokens of all calls; for responses not generated yet, at most.
        max_completion_tokens: maximum tokens of all replies together.
        max_cost_usd: maximum cost; None if the pool file has no prices.
    """

    task: Literal["answer", "judge"]
    teacher: str
    language: str
    calls: int
    prompt_tokens: int
    max_completion_tokens: int
    max_cost_usd: float | None


@dataclass(slots=True)
class _Load:
    """Texts to read in one language: calls, total characters, and responses not generated yet."""

    calls: int = 0
    characters: int = 0
    unwritten: int = 0
    references: int = 0  # characters of references, for judges that see them

    def add(self, calls: int, characters: int, unwritten: int = 0) -> None:
        self.calls += calls
        self.characters += calls * characters
        self.unwritten += calls * unwritten


@dataclass(frozen=True, slots=True)
class _Survey:
    """What the prompts require of each side and of any judge."""

    sides: Mapping[str, tuple[_Load, _Load]]
    judged: Mapping[str, _Load]
    samples: Mapping[str, Sequence[str]]


def count_calls(config: JudgeRunConfig) -> list[Calls]:
    """Count calls by task, teacher and language. Reads the prompts and the data sets; sends no requests.

    Raises:
        UserError: a teacher is not in the pool, or a path matches nothing.
        DataError: a file cannot be read.
    """
    pool = config.pool()
    survey = _survey(config, pool)
    return [*_answers(config, pool, survey), *_judgements(config, pool, survey)]


def _survey(config: JudgeRunConfig, pool: TeacherPool) -> _Survey:
    a, b = (_texts(side, config, pool) for side in (config.a, config.b))
    sides: defaultdict[str, tuple[_Load, _Load]] = defaultdict(lambda: (_Load(), _Load()))
    judged: defaultdict[str, _Load] = defaultdict(_Load)
    samples: defaultdict[str, list[str]] = defaultdict(list)
    for prompt in _prompts(config):
        prompt_text = "\n".join(message.shown for message in prompt.messages)
        if len(samples[prompt.language]) < SAMPLES_PER_LANGUAGE:
            samples[prompt.language].append(prompt_text)
        ours, theirs = a(prompt), b(prompt)
        for load, texts in zip(sides[prompt.language], (ours, theirs), strict=True):
            load.add(len(texts), len(prompt_text))
        for match in zip(ours, theirs, strict=False):
            if not _is_equal(*match):
                load = judged[prompt.language]
                load.add(2, len(prompt_text) + sum(map(len, filter(None, match))), match.count(None))
                load.references += 2 * len(prompt.reference or "")
    return _Survey(sides, judged, samples)


def _answers(config: JudgeRunConfig, pool: TeacherPool, survey: _Survey) -> Iterator[Calls]:
    for place, side in enumerate((config.a, config.b)):
        if not isinstance(side, ResponseFiles):
            [teacher] = pool.select([side.teacher])
            most = teacher.resolved_sampling(config.sampling).max_tokens
            loads = {tag: both[place] for tag, both in survey.sides.items()}
            yield from _calls("answer", teacher, most, loads, survey.samples)


def _judgements(config: JudgeRunConfig, pool: TeacherPool, survey: _Survey) -> Iterator[Calls]:
    models = [pool.select([name])[0] for name in config.models()]
    longest = max((model.resolved_sampling(config.sampling).max_tokens for model in models), default=0)
    for judge in config.judges:
        if isinstance(judge, TeacherJudge):
            [teacher] = pool.select([judge.teacher])
            most = greedy(teacher, judge.max_tokens).max_tokens
            more = len(judge.criteria) if judge.criteria != DEFAULT_CRITERIA else 0
            loads = {
                tag: replace(
                    load, characters=load.characters + load.calls * more + load.references * judge.with_reference
                )
                for tag, load in survey.judged.items()
            }
            yield from _calls("judge", teacher, most, loads, survey.samples, FRAME_TOKENS, longest)


def _calls(
    task: Literal["answer", "judge"],
    teacher: TeacherConfig,
    max_tokens: int,
    loads: Mapping[str, _Load],
    samples: Mapping[str, Sequence[str]],
    frame: int = 0,
    longest: int = 0,
) -> Iterator[Calls]:
    """Yield the calls of a teacher, by language; `frame`: tokens around quoted texts; `longest`: of a response."""
    ratios, _ = tokens_per_character(teacher, samples)
    for language, load in sorted(loads.items()):
        if load.calls:
            read = round(load.characters * ratios[language]) + load.calls * frame + load.unwritten * longest
            most = load.calls * max_tokens
            cost = teacher.usd(read, most)
            yield Calls(task, teacher.name, language, load.calls, read, most, cost)


def _prompts(config: JudgeRunConfig) -> Iterator[Prompt]:
    data = [side for side in (config.a, config.b) if isinstance(side, ResponseFiles)]
    reader = JudgePromptReader(data) if config.prompts is None else config.prompts.build()
    return (prompt for batch in reader.read() for prompt in batch.prompts)


def _texts(side: Side, config: JudgeRunConfig, pool: TeacherPool) -> Texts:
    if isinstance(side, ResponseFiles):
        return load_responses(side, side.label).to
    [teacher] = pool.select([side.teacher])
    tags, number = usable_languages(teacher), teacher.resolved_sampling(config.sampling).n
    return lambda prompt: [None] * number if any(speaks(tag, prompt.language) for tag in tags) else []


def _is_equal(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and nfc(one).strip() == nfc(other).strip()
