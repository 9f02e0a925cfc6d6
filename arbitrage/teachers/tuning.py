"""`arbitrage teachers tune`: measure a teacher's throughput with a handful of engine settings, on given prompts."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from arbitrage.config import parse
from arbitrage.contracts.engines import Completion, SamplingParams
from arbitrage.errors import ArbitrageError, UserError, closest, did_you_mean
from arbitrage.models.loading import first_line
from arbitrage.records import Prompt
from arbitrage.teachers.generate import requests_for
from arbitrage.teachers.pool import TeacherConfig

Settings = Mapping[str, int]
"""Keys of the engine's config, and their values."""

TRIED: Final[Mapping[str, Mapping[str, tuple[int, ...]]]] = MappingProxyType(
    {
        "vllm": {"max_num_seqs": (64, 256, 1024), "max_num_batched_tokens": (2048, 8192, 32768)},
        "transformers": {"batch_size": (8, 32, 128)},
        "openai": {"max_in_flight": (16, 64, 256, 1024)},
        "fake": {"max_in_flight": (8, 64, 512)},
    }
)
"""Engine → settings that change its speed and no completion, and the values that are tried."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What one set of settings brought.

    Attributes:
        settings: what was changed; empty: the teacher's entry as it is.
        tokens_per_s: completion tokens a second, over all prompts.
        prompts_per_s: prompts a second.
        num_failures: prompts without a completion.
        start_s: seconds until the engine could take a request.
        error: why it could not be measured, in one line.
    """

    settings: Settings
    tokens_per_s: float = 0.0
    prompts_per_s: float = 0.0
    num_failures: int = 0
    start_s: float = 0.0
    error: str | None = None


def sweep(teacher: TeacherConfig, wanted: Mapping[str, Sequence[int]]) -> list[Settings]:
    """Return the settings to try: the entry as it is, then each value of each setting alone.

    Args:
        teacher: the teacher.
        wanted: setting → values; empty: those of TRIED for its engine.

    Raises:
        UserError: its engine has no such setting, or nothing is known to try.
    """
    kind = teacher.engine.kind
    values = wanted or TRIED.get(kind, {})
    if not values:
        raise UserError(f"teacher '{teacher.name}': engine '{kind}' has no settings that are tried; name some: --try")
    known = type(teacher.engine).model_fields
    for name in values:
        if name not in known:
            raise UserError(f"engine '{kind}' has no setting '{name}'{did_you_mean(closest(name, sorted(known)))}")
    now = {name: getattr(teacher.engine, name) for name in values}
    return [{}, *({name: value} for name, each in values.items() for value in each if value != now[name])]


def with_settings(teacher: TeacherConfig, settings: Settings) -> TeacherConfig:
    """Return the teacher with other engine settings.

    Raises:
        ConfigError: a value is not allowed.
    """
    raw = teacher.model_dump(mode="json")
    return parse(raw | {"engine": raw["engine"] | dict(settings)}, TeacherConfig, f"teacher '{teacher.name}'")


def measure(teacher: TeacherConfig, settings: Settings, prompts: Sequence[Prompt], max_tokens: int | None) -> Speed:
    """Start the engine with these settings, send all prompts, and end it. Every error becomes `Speed.error`."""
    try:
        return asyncio.run(_measure(with_settings(teacher, settings), settings, prompts, max_tokens))
    except Exception as error:  # noqa: BLE001 — of a model's code: the next settings are to be tried all the same
        cause = str(error) if isinstance(error, ArbitrageError) else first_line(error)
        return Speed(settings, error=(cause or type(error).__name__).splitlines()[0])


async def _measure(
    teacher: TeacherConfig, settings: Settings, prompts: Sequence[Prompt], max_tokens: int | None
) -> Speed:
    limit = {} if max_tokens is None else {"max_tokens": max_tokens}
    sampling = teacher.resolved_sampling(SamplingParams.model_validate(limit))
    requests = [request for prompt in prompts for request in requests_for(prompt, sampling, teacher.name)]
    started = time.monotonic()
    engine = teacher.engine.build(teacher.spec(sampling))
    start_s = time.monotonic() - started
    try:
        async for _ in engine.generate(requests[:1]):  # the first compiles and fills caches
            pass
        started = time.monotonic()
        results = [result async for result in engine.generate(requests)]
        seconds = max(time.monotonic() - started, 1e-9)
    finally:
        await engine.close()
    good = [result for result in results if isinstance(result, Completion)]
    return Speed(
        settings=settings,
        tokens_per_s=sum(result.completion_tokens or 0 for result in good) / seconds,
        prompts_per_s=len(prompts) / seconds,
        num_failures=len(results) - len(good),
        start_s=start_s,
    )


def best_of(speeds: Sequence[Speed]) -> Speed | None:
    """Return the fastest; the entry as it is wins ties. None: nothing could be measured, or nothing was completed."""
    usable = [speed for speed in speeds if speed.error is None and speed.tokens_per_s]
    return max(usable, key=lambda speed: speed.tokens_per_s, default=None)
