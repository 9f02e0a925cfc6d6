"""`arbitrage teachers try --rewards`: start a reward model where it would run, score a few answers, and measure.

Runs in a process of its own, which ends with its engine.
"""

import asyncio
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from arbitrage.contracts.rewards import Scorable
from arbitrage.errors import ArbitrageError
from arbitrage.models.loading import first_line
from arbitrage.models.measured import gpu_memory, memory_warning, peak_gb, weights_gb
from arbitrage.records import Candidate, FinishReason, Message, Prompt, prompt_id_of
from arbitrage.rewards.classifier import RewardModelConfig

ANSWERS = (
    ("en", "What is the capital of France?", "The capital of France is Paris.", "France is a kind of bicycle, no."),
    (
        "de",
        "Was ist die Hauptstadt von Frankreich?",
        "Die Hauptstadt ist Paris.",
        "Frankreich ist ein Fahrrad, nein.",
    ),
    ("es", "¿Cuál es la capital de Francia?", "La capital de Francia es París.", "Francia es una bicicleta, no."),
)
"""Language, question, a right answer, a nonsensical one."""

NUM_TIMED = 64


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """Scores of a right and of a nonsensical answer; None where the model gave none."""

    language: str
    right: float | None
    wrong: float | None


@dataclass(frozen=True, slots=True)
class RewardTrial:
    """What a reward model did.

    Attributes:
        reward: its name.
        error: why it could not be tried, in one line.
        warning: about memory, before it started.
        host: the machine it ran on.
        start_s: seconds until it could score.
        scores_per_s: conversations scored a second.
        weights_gb: size of the weights' files, where they are on this machine.
        memory_gb: peak memory of the process; of a GPU, what was in use at the end.
        gpu: name and memory of the GPU, where there is one.
        pairs: a right and a nonsensical answer in each language.
    """

    reward: str
    error: str | None = None
    warning: str | None = None
    host: str = ""
    start_s: float | None = None
    scores_per_s: float | None = None
    weights_gb: float | None = None
    memory_gb: float | None = None
    gpu: str | None = None
    pairs: tuple[ScoredPair, ...] = ()


def run_reward_trial(reward: RewardModelConfig) -> RewardTrial:
    """Load a reward model, score a right and a nonsensical answer in each language, and end it."""
    host, warning = socket.gethostname(), None
    try:
        card = gpu_memory()
        size = weights_gb(reward.model, reward.revision)
        share = reward.gpu_memory_utilization if reward.engine == "vllm" else 1.0
        warning = memory_warning(size, card[1] if card else None, reward.resources.gpus, share)
        if warning:
            print(f"! {reward.name}: {warning}", file=sys.stderr, flush=True)
        return asyncio.run(_run(reward, host, warning, size))
    except Exception as error:  # noqa: BLE001 — of a model's code: the next one is to be tried all the same
        cause = str(error) if isinstance(error, ArbitrageError) else f"{type(error).__name__}: {first_line(error)}"
        return RewardTrial(reward.name, error=cause.splitlines()[0] if cause else "", warning=warning, host=host)


async def _run(reward: RewardModelConfig, host: str, warning: str | None, size: float | None) -> RewardTrial:
    started = time.monotonic()
    model = reward.build()
    start_s = time.monotonic() - started
    try:
        items = [_item(tag, question, answer) for tag, question, *answers in ANSWERS for answer in answers]
        values = [score.value for score in await model.score(items)]
        many = (items * NUM_TIMED)[:NUM_TIMED]
        started = time.monotonic()
        await model.score(many)
        seconds = max(time.monotonic() - started, 1e-9)
        card = gpu_memory()
        return RewardTrial(
            reward=reward.name,
            warning=warning,
            host=host,
            start_s=start_s,
            scores_per_s=len(many) / seconds,
            weights_gb=size,
            memory_gb=card[2] if card else peak_gb(),
            gpu=f"{card[0]} ({card[1]:.0f} GB)" if card else None,
            pairs=_pairs(values),
        )
    finally:
        await model.close()


def _pairs(values: Sequence[float | None]) -> tuple[ScoredPair, ...]:
    return tuple(ScoredPair(row[0], values[2 * i], values[2 * i + 1]) for i, row in enumerate(ANSWERS))


def _item(language: str, question: str, answer: str) -> Scorable:
    messages = (Message(role="user", content=question),)
    key = prompt_id_of(language, messages)
    prompt = Prompt(prompt_id=key, language=language, messages=messages, source="try", source_id=key)
    candidate = Candidate(
        candidate_id=f"{key}-{answer}",
        prompt_id=key,
        teacher="try",
        revision="",
        sample_index=0,
        seed=0,
        text=answer,
        finish_reason=FinishReason.STOP,
    )
    return Scorable(prompt, candidate)
