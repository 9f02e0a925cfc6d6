"""`arbitrage plan`: steps, rows, tokens, placement and cost of a run, before anything starts."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from arbitrage.cli.naming import title
from arbitrage.cli.options import (
    JsonOption,
    PipelineArgument,
    RunDirOption,
    SetOption,
    ShardsOption,
    chosen_shards,
    run_directory,
)
from arbitrage.cli.screen import Screen

if TYPE_CHECKING:
    from arbitrage.execution.loads import ModelPlacement
    from arbitrage.execution.plan import ExecutionPlan
    from arbitrage.teachers.pool import TeacherConfig
    from pipelines.candidates import CandidatesConfig
    from pipelines.planning.estimate import RequestCounts, RunEstimate

TASKS = {"answer": "generation", "review": "reviews", "adjudicate": "adjudication", "fuse": "fusion"}
"""What teachers are asked to do → what stands over the table of it."""


def plan(
    pipeline: PipelineArgument,
    assignments: SetOption = None,
    shards: ShardsOption = None,
    run_dir: RunDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what `run` would do: steps, calls and tokens by teacher and language, placement, cost. Starts nothing.

    Reads the prompts, to count them and to route them; changes no file.
    """
    from arbitrage.execution.loads import model_placements
    from arbitrage.execution.plan import plan as plan_execution
    from pipelines.loading import load_pipeline
    from pipelines.planning.estimate import count_requests, estimate

    config = load_pipeline(pipeline, assignments or []).config
    directory = run_directory(run_dir, config.name)
    wanted = chosen_shards(config.num_shards, shards)
    execution = plan_execution(directory, config.build().targets, config.num_shards, wanted)
    teachers = config.select_teachers(config.load_pool())
    asks = count_requests(config, teachers, execution)
    estimates = estimate(config, teachers, asks, execution)
    if as_json:
        print(json.dumps(_as_json(execution, _everybody(config), asks, estimates), indent=1))
        return
    console = Screen()
    console.print(f"run directory: {directory}", highlight=False, soft_wrap=True)
    console.print(_step_table(execution))
    if found := model_placements(execution):
        console.print(_load_table(found))
    console.print(_language_table(asks))
    for table in _call_tables(estimates):
        console.print(table)
    for line in [*_remarks(asks, estimates), *_warnings(execution, _everybody(config))]:
        console.print(line, highlight=False, markup=False)


def _everybody(config: "CandidatesConfig") -> list["TeacherConfig"]:
    """Return all teachers that are asked, those who only review or fuse among them, each once."""
    return list({teacher.name: teacher for _, teacher in config.engines()}.values())


def _step_table(execution: "ExecutionPlan") -> Table:
    table = Table("step", "shards to do", "complete", "holds", title="steps")
    for step in execution.steps:
        missing = len(step.missing)
        table.add_row(title(step.step.facts), str(missing), str(len(step.outputs) - missing), _holds(step))
    return table


def _load_table(found: "Sequence[ModelPlacement]") -> Table:
    table = Table(title="models")
    for column in ("for", "engine", "model", "precision", "replicas", "runs on"):
        table.add_column(column, overflow="fold")
    for load in found:
        model, held = load.model, load.resources
        replicas = "–" if load.is_remote else f"{held.replicas} × ({held.each()})"
        table.add_row(load.pool, model.engine, model.model or "–", model.precision or "–", replicas, load.where)
    return table


def _holds(step: Any) -> str:
    wanted = step.step.resources
    if not wanted.cpus and not wanted.gpus:
        return "–"
    return f"{wanted.replicas} × ({wanted.each()})" if wanted.replicas > 1 else wanted.each()


def _language_table(asks: "RequestCounts") -> Table:
    table = Table("language", "prompts", title="prompts")
    for language, count in sorted(asks.num_prompts.items()):
        table.add_row(language, f"{count:,}")
    table.add_row("all", f"{asks.num_prompts.total():,}", style="bold")
    return table


def _call_tables(estimates: Sequence["RunEstimate"]) -> Iterator[Table]:
    """Yield a table of those who answer, then one of each task of those who read answers."""
    for task, heading in TASKS.items():
        if found := [e for e in estimates if e.task == task]:
            yield _call_table(heading, found)


def _call_table(heading: str, estimates: Sequence["RunEstimate"]) -> Table:
    table = Table(title=heading)
    for column in ("teacher", "language"):
        table.add_column(column, overflow="fold")
    for column in ("prompts", "calls", "prompt tokens", "answer tokens", "at most", "USD"):
        table.add_column(column, justify="right")
    for teacher in dict.fromkeys(e.teacher for e in estimates):
        mine = [e for e in estimates if e.teacher == teacher]
        for line in mine:
            table.add_row(teacher, line.language, *_figures([line]))
        table.add_row(teacher, "all", *_figures(mine), style="bold", end_section=True)
    table.add_row("all", "all", *_figures(estimates), style="bold")
    return table


def _figures(lines: Sequence["RunEstimate"]) -> list[str]:
    costs = [line.cost_usd for line in lines if line.cost_usd is not None]
    sums = (
        sum(line.prompts for line in lines),
        sum(line.generations for line in lines),
        sum(line.prompt_tokens for line in lines),
        sum(line.completion_tokens for line in lines),
        sum(line.max_completion_tokens for line in lines),
    )
    return [*(f"{value:,}" for value in sums), f"{sum(costs):,.2f}" if costs else "–"]


def _remarks(asks: "RequestCounts", estimates: Sequence["RunEstimate"]) -> list[str]:
    remarks = []
    if asks.rejected:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(asks.rejected.items()))
        remarks.append(f"rejected: {reasons}")
    if estimated := sorted({e.teacher for e in estimates if not e.is_counted}):
        remarks.append(f"prompt tokens estimated by script, tokenizer not on this machine: {', '.join(estimated)}")
    if guessed := sorted({e.teacher for e in estimates if not e.is_measured}):
        remarks.append(f"answer tokens guessed as half of max_tokens, none seen yet: {', '.join(guessed)}")
    if len({e.task for e in estimates}) > 1:
        *_, dollars = _figures(estimates)
        remarks.append(f"calls of all tasks: {sum(e.generations for e in estimates):,}, USD {dollars}")
    if upper := sorted({e.teacher for e in estimates if e.task in ("adjudicate", "fuse")}):
        remarks.append(f"calls at most, for only contested or differing answers are asked about: {', '.join(upper)}")
    if guessed:
        remarks.append("a pilot (`arbitrage run … --shards 1`) replaces the guesses by measurements")
    return remarks


def _warnings(execution: "ExecutionPlan", teachers: Sequence["TeacherConfig"]) -> list[str]:
    from arbitrage.contracts.steps import Resources
    from arbitrage.processes.pools import num_cpus

    unpinned = [t.name for t in teachers if not t.is_pinned]
    warnings = [f"warning: {name}: no revision; the same name may mean other weights tomorrow" for name in unpinned]
    wanted = [(step.job.pool, step.step.resources) for step in execution.steps if step.missing]
    here = f"this machine has {num_cpus()} CPUs"
    if gpus := max((resources.gpus for _, resources in wanted), default=0.0):
        names = ", ".join(dict.fromkeys(name for name, resources in wanted if resources.gpus == gpus))
        least = Resources(gpus=gpus).each().removeprefix("0 CPUs, ")
        warnings.append(f"placement: needs a node of {least}, on which these take turns: {names} ({here})")
    for name, resources in wanted:
        if not resources.gpus and resources.cpus > (num_cpus()):
            warnings.append(f"placement: {name} asks for {resources.each()}; {here}")
    return warnings


def _as_json(
    execution: "ExecutionPlan",
    teachers: Sequence["TeacherConfig"],
    asks: "RequestCounts",
    estimates: Sequence["RunEstimate"],
) -> dict[str, Any]:
    from arbitrage.execution.loads import model_placements

    return {
        "run_dir": str(execution.run_dir),
        "steps": [
            {"name": s.step.name, "missing": len(s.missing), "shards": len(s.outputs)} | s.step.resources.model_dump()
            for s in execution.steps
        ],
        "models": [
            asdict(load.model) | {"pool": load.pool, "runs_on": load.where} | load.resources.model_dump()
            for load in model_placements(execution)
        ],
        "prompts": dict(sorted(asks.num_prompts.items())),
        "rejected": dict(sorted(asks.rejected.items())),
        "generation": [asdict(e) for e in estimates],
        "warnings": _warnings(execution, teachers),
    }
