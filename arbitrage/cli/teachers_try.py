"""`arbitrage teachers try`: start each teacher where it would run, and see what it does."""

import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbitrage.cli.options import JsonOption
from arbitrage.cli.screen import say

if TYPE_CHECKING:
    from arbitrage.teachers.pool import TeacherConfig
    from arbitrage.teachers.trial import Trial, TrialSample

QUESTION = "Write three sentences about water, in {language}."

RayOption = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS", help="Ray cluster to start them on, such as `auto` (default: here)."),
]


def try_teachers(
    names: Annotated[list[str] | None, typer.Argument(help="Teachers to try (default: all).")] = None,
    pool: Annotated[Path, typer.Option("--pool", help="Pool file.")] = Path("teachers.yaml"),
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

    One teacher after the other, each in a process of its own with the resources that it would hold in a run. If one
    fails, the cause is printed in one line, and the next is tried. Exits with 4 if one fails.
    """
    from arbitrage.teachers.pool import load_pool

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


def _here(
    teachers: "Sequence[TeacherConfig]", max_tokens: int, question: str, show: "Callable[[Trial], None]"
) -> None:
    from arbitrage.errors import UserError
    from arbitrage.processes.pools import end_with_parent
    from arbitrage.teachers.trial import Trial, run_trial

    for teacher in teachers:
        try:
            teacher.engine.require(teacher.spec())
        except UserError as error:
            show(Trial(teacher.name, error=str(error)))
            continue
        with ProcessPoolExecutor(1, get_context("spawn"), end_with_parent) as process:
            try:
                show(process.submit(run_trial, teacher, max_tokens, question).result())
            except BrokenProcessPool:
                show(Trial(teacher.name, error="its process was killed, as happens where memory runs out"))


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
