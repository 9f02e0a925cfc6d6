"""What a run that judges asks of teachers, before anything starts."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from arbitrage.judging.answers import DataSide, read_answers
from arbitrage.judging.prompts import AnsweredReader
from arbitrage.judging.teacher import TeacherJudge
from arbitrage.languages import speaks
from arbitrage.records import Prompt, nfc
from arbitrage.teachers.asking import greedy
from arbitrage.teachers.pool import TeacherPool, askable_languages
from pipelines.judge import JudgeRunConfig, Side

Texts = Callable[[Prompt], Sequence[str | None]]
"""Prompt → a side's answers to it; None stands for one that is not written yet."""


@dataclass(frozen=True, slots=True)
class Calls:
    """What one teacher is asked in one language, if nothing is there yet.

    Attributes:
        calls: of a judge, two for each match whose answers are not known to be equal.
        max_completion_tokens: of all replies together.
    """

    task: Literal["answer", "judge"]
    teacher: str
    language: str
    calls: int
    max_completion_tokens: int


def count_calls(config: JudgeRunConfig) -> list[Calls]:
    """Count calls by task, teacher and language. Reads the prompts and the data sets; asks nobody.

    Raises:
        UserError: a teacher is not in the pool, or a path matches nothing.
        DataError: a file cannot be read.
    """
    pool, sides = config.pool(), (config.a, config.b)
    a, b = (_texts(side, config, pool) for side in sides)
    written: Counter[tuple[int, str]] = Counter()
    judged: Counter[str] = Counter()
    for prompt in _prompts(config):
        for place, texts in enumerate((a, b)):
            written[place, prompt.language] += len(texts(prompt))
        judged[prompt.language] += sum(not _is_equal(*match) for match in zip(a(prompt), b(prompt), strict=False))
    return [*_answers(config, pool, written), *_judgements(config, pool, judged)]


def _answers(config: JudgeRunConfig, pool: TeacherPool, written: Counter[tuple[int, str]]) -> Iterator[Calls]:
    for place, side in enumerate((config.a, config.b)):
        if not isinstance(side, DataSide):
            [teacher] = pool.select([side.teacher])
            most = teacher.resolved_sampling(config.sampling).max_tokens
            for language in sorted(tag for at, tag in written if at == place and written[at, tag]):
                calls = written[place, language]
                yield Calls("answer", teacher.name, language, calls, calls * most)


def _judgements(config: JudgeRunConfig, pool: TeacherPool, judged: Counter[str]) -> Iterator[Calls]:
    for judge in config.judges:
        if isinstance(judge, TeacherJudge):
            [teacher] = pool.select([judge.teacher])
            most = greedy(teacher, judge.max_tokens).max_tokens
            for language in sorted(tag for tag in judged if judged[tag]):
                yield Calls("judge", teacher.name, language, 2 * judged[language], 2 * judged[language] * most)


def _prompts(config: JudgeRunConfig) -> Iterator[Prompt]:
    data = [side for side in (config.a, config.b) if isinstance(side, DataSide)]
    reader = AnsweredReader(data) if config.prompts is None else config.prompts.build()
    return (prompt for batch in reader.read() for prompt in batch.prompts)


def _texts(side: Side, config: JudgeRunConfig, pool: TeacherPool) -> Texts:
    if isinstance(side, DataSide):
        return read_answers(side, side.label).to
    [teacher] = pool.select([side.teacher])
    tags, number = askable_languages(teacher), teacher.resolved_sampling(config.sampling).n
    return lambda prompt: [None] * number if any(speaks(tag, prompt.language) for tag in tags) else []


def _is_equal(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and nfc(one).strip() == nfc(other).strip()
