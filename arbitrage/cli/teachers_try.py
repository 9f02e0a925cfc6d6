"""`arbitrage teachers try`: start each teacher where it would run, and see what it does."""

import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from arbitrage.cli.options import JsonOption
from arbitrage.cli.screen import say

if TYPE_CHECKING:
    from arbitrage.rewards.trial import RewardTrial
    from arbitrage.teachers.pool import TeacherConfig
    from arbitrage.teachers.trial import Trial, TrialSample

T = TypeVar("T")

QUESTION = "Write three sentences about water, in {language}."

RayOption = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS", help="Ray cluster to start them on, such as `auto` (default: here)."),
]


def try_teachers(
    names: Annotated[list[str] | None, typer.Argument(help="Teachers to try (default: all).")] = None,
    pool: Annotated[Path, typer.Option("--pool", help="Pool file.")] = Path("teachers.yaml"),
    rewards: Annotated[
        Path | None,
        typer.Option("--rewards", metavar="PIPELINE.yaml", help="Try this pipeline's reward models, not the pool."),
    ] = None,
    ray: RayOption = None,
    question: Annotated[
        str, typer.Option("--prompt", help="Prompt to send; `{language}` stands for the language's name.")
    ] = QUESTION,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Limit of each completion.")] = 256,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds after which a teacher on the cluster is given up.")
    ] = 1800.0,
    as_json: JsonOption = False,
) -> None:
    """Start each teacher, send it a prompt in three of its languages, and print speed, memory and completions.

    With --rewards, each reward model of a pipeline instead: it scores a right and a nonsensical answer.

    One teacher after the other, each in a process of its own with the resources that it would hold in a run. If one
    fails, the cause is printed in one line, and the next is tried. Exits with 4 if one fails.
    """
    from arbitrage.teachers.pool import load_pool

    if rewards is not None:
        _try_rewards(rewards, names or [], ray, timeout_s, as_json)
    found = load_pool(pool)
    chosen = found.select(names) if names else found.teachers
    trials: list[Trial] = []

    def show(trial: "Trial") -> None:
        trials.append(trial)
        if not as_json:
            say("\n".join(_lines(trial)))

    if ray:
        _on_cluster(ray, chosen, max_tokens, question, timeout_s, show)
    else:
        _here(chosen, max_tokens, question, show)
    if as_json:
        print(json.dumps([asdict(trial) for trial in trials]))
    sys.exit(4 if any(trial.error or all(s.failure for s in trial.samples) for trial in trials) else 0)


def _try_rewards(
    pipeline: Path, names: "Sequence[str]", address: str | None, timeout_s: float, as_json: bool
) -> NoReturn:
    """Try the reward models of a pipeline, print what they did, and exit."""
    from arbitrage.errors import ExecutionError, UserError
    from arbitrage.execution.progress import NoProgress
    from arbitrage.execution.ray.call import cluster_calls
    from arbitrage.rewards.trial import RewardTrial, run_reward_trial
    from pipelines.loading import load_pipeline

    given = getattr(load_pipeline(pipeline, []).config, "rewards", ())
    models = {reward.name: reward for reward in given if reward.kind == "classifier"}
    if unknown := [name for name in names if name not in models]:
        raise UserError(f"{pipeline}: no reward model is named '{unknown[0]}'; it has {', '.join(models) or 'none'}")
    if not models:
        raise UserError(f"{pipeline}: has no reward model among its rewards")
    chosen = [models[name] for name in names or models]
    trials: list[RewardTrial] = []

    def show(trial: RewardTrial) -> None:
        trials.append(trial)
        if not as_json:
            say("\n".join(_reward_lines(trial)))

    if address is None:
        for reward in chosen:
            lost = RewardTrial(reward.name, error=KILLED)
            show(in_process(run_reward_trial, reward, lost=lost))
    else:
        with cluster_calls(address, NoProgress()) as calls:
            for reward in chosen:
                try:
                    found = calls.call(run_reward_trial, reward, resources=reward.resources, timeout_s=timeout_s)
                except ExecutionError as error:
                    found = RewardTrial(reward.name, error=str(error))
                show(found)
    if as_json:
        print(json.dumps([asdict(trial) for trial in trials]))
    sys.exit(4 if any(trial.error for trial in trials) else 0)


KILLED = "its process was killed, as happens where memory runs out"


def in_process(function: "Callable[..., T]", *arguments: object, lost: "T") -> "T":
    """Run a function in a process of its own; return `lost` if that is killed."""
    from arbitrage.processes.pools import end_with_parent

    with ProcessPoolExecutor(1, get_context("spawn"), end_with_parent) as process:
        try:
            return process.submit(function, *arguments).result()
        except BrokenProcessPool:
            return lost


def _reward_lines(trial: "RewardTrial") -> list[str]:
    if trial.error:
        return [f"✗ {trial.reward}: {trial.error}"]
    figures = [
        f"started in {trial.start_s:.1f} s",
        f"{trial.scores_per_s:,.0f} scores/s",
        *([f"weights {trial.weights_gb:,.3g} GB"] if trial.weights_gb is not None else []),
        f"memory {trial.memory_gb:,.1f} GB",
        *([trial.gpu] if trial.gpu else []),
    ]
    lines = [f"✓ {trial.reward} on {trial.host}: {', '.join(figures)}"]
    for pair in trial.pairs:
        right, wrong = ("no score" if value is None else f"{value:.3g}" for value in (pair.right, pair.wrong))
        is_odd = pair.right is not None and pair.wrong is not None and pair.right <= pair.wrong
        odd = "  ! it prefers the nonsensical one" if is_odd else ""
        lines.append(f"    {pair.language}: right answer {right}, nonsensical one {wrong}{odd}")
    return lines


def _here(
    teachers: "Sequence[TeacherConfig]", max_tokens: int, question: str, show: "Callable[[Trial], None]"
) -> None:
    from arbitrage.errors import UserError
    from arbitrage.teachers.trial import Trial, run_trial

    for teacher in teachers:
        try:
            teacher.engine.require(teacher.spec())
        except UserError as error:
            show(Trial(teacher.name, error=str(error)))
            continue
        show(in_process(run_trial, teacher, max_tokens, question, lost=Trial(teacher.name, error=KILLED)))


def _on_cluster(
    address: str,
    teachers: "Sequence[TeacherConfig]",
    max_tokens: int,
    question: str,
    timeout_s: float,
    show: "Callable[[Trial], None]",
) -> None:
    from arbitrage.errors import ExecutionError
    from arbitrage.execution.progress import NoProgress
    from arbitrage.execution.ray.call import cluster_calls
    from arbitrage.teachers.trial import Trial, run_trial

    with cluster_calls(address, NoProgress()) as calls:
        for teacher in teachers:
            held = teacher.held_resources()
            try:
                show(calls.call(run_trial, teacher, max_tokens, question, resources=held, timeout_s=timeout_s))
            except ExecutionError as error:
                show(Trial(teacher.name, error=str(error)))


def _lines(trial: "Trial") -> list[str]:
    if trial.error:
        return [f"✗ {trial.teacher}: {trial.error}"]
    figures = [
        f"started in {trial.start_s:.1f} s",
        *([f"{trial.tokens_per_s:,.0f} tokens/s"] if trial.tokens_per_s else []),
        *([f"weights {trial.weights_gb:,.3g} GB"] if trial.weights_gb is not None else []),
        *([f"memory {trial.memory_gb:,.1f} GB"] if trial.memory_gb is not None else []),
        *([trial.gpu] if trial.gpu else []),
        *([f"key-value cache of {trial.kv_cache_tokens:,} tokens"] if trial.kv_cache_tokens else []),
    ]
    mark = "✗" if all(sample.failure for sample in trial.samples) else "✓"
    return [f"{mark} {trial.teacher} on {trial.host}: {', '.join(figures)}", *map(_line, trial.samples)]


def _line(sample: "TrialSample") -> str:
    from arbitrage.languages import name_of

    if sample.failure:
        return f"    {sample.language}: ✗ {sample.failure}"
    language = {True: "", False: f" (written in {name_of(sample.written_in)})", None: ""}[sample.is_in_language]
    reasoning = f" after {sample.reasoning_tokens:,} tokens of reasoning" if sample.reasoning_tokens else ""
    text = " ".join(sample.text.split())
    return f"    {sample.language}{language}{reasoning}: {text[:160]}{'…' if len(text) > 160 else ''}"
