"""`arbitrage plan`: steps, rows, tokens, placement and cost of a run, before anything starts."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

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
    from rich.table import Table

    from arbitrage.execution.loads import ModelPlacement
    from arbitrage.execution.plan import ExecutionPlan
    from arbitrage.teachers.pool import TeacherConfig
    from pipelines.candidates import CandidatesConfig
    from pipelines.planning.estimate import RequestCounts, RunEstimate

TASKS = {"answer": "generation", "review": "reviews", "adjudicate": "adjudication", "fuse": "fusion"}
"""Task of a teacher → title of its table."""

REASONING, COST = "reas. tokens", "USD"
CALL_COLUMNS = ("prompts", "calls", "prompt tokens", "output tokens", REASONING, "at most", COST)


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
    requests = count_requests(config, teachers, execution)
    estimates = estimate(config, teachers, requests, execution)
    if as_json:
        print(json.dumps(_as_json(execution, _all_teachers(config), requests, estimates), indent=1))
        return
    console = Screen()
    console.print(f"run directory: {directory}", highlight=False, soft_wrap=True)
    console.print(_step_table(execution))
    if found := model_placements(execution):
        console.print(_load_table(found))
    console.print(_language_table(requests))
    for table in _call_tables(estimates):
        console.print(table)
    for line in [*_remarks(requests, estimates), *_warnings(execution, _all_teachers(config))]:
        console.print(line, highlight=False, markup=False)


def _all_teachers(config: "CandidatesConfig") -> list["TeacherConfig"]:
    """Return every teacher that the run samples, including reviewers and fusing teachers, each once."""
    return list({teacher.name: teacher for _, teacher in config.engines()}.values())


def _step_table(execution: "ExecutionPlan") -> "Table":
    from arbitrage.report.rendering import TextRow, text_table

    rows = [
        TextRow((title(s.step.facts), str(len(s.missing)), str(len(s.outputs) - len(s.missing)), _holds(s)))
        for s in execution.steps
    ]
    return text_table(("step", "shards to do", "complete", "holds"), rows, title="steps")


def _load_table(found: "Sequence[ModelPlacement]") -> "Table":
    from arbitrage.report.rendering import TextRow, text_table

    rows = []
    for load in found:
        model, held = load.model, load.resources
        replicas = "–" if load.is_remote else held.all()
        rows.append(
            TextRow((load.pool, model.engine, model.model or "–", model.precision or "–", replicas, load.where))
        )
    return text_table(("for", "engine", "model", "precision", "replicas", "runs on"), rows, title="models")


def _holds(step: Any) -> str:
    wanted = step.step.resources
    if not wanted.cpus and not wanted.gpus:
        return "–"
    return str(wanted.each() if wanted.max_replicas == 1 else wanted.all())


def _language_table(requests: "RequestCounts") -> "Table":
    from arbitrage.report.rendering import TextRow, text_table

    rows = [TextRow((language, f"{count:,}")) for language, count in sorted(requests.num_prompts.items())]
    rows.append(TextRow(("all", f"{requests.num_prompts.total():,}"), style="bold"))
    return text_table(("language", "prompts"), rows, title="prompts")


def _call_tables(estimates: Sequence["RunEstimate"]) -> Iterator["Table"]:
    """Yield a table of the calls that generate, then one for each task whose calls read candidates."""
    for task, heading in TASKS.items():
        if found := [e for e in estimates if e.task == task]:
            yield _call_table(heading, found)


def _call_table(heading: str, estimates: Sequence["RunEstimate"]) -> "Table":
    from arbitrage.report.rendering import TextRow, text_table

    has_reasoning = any(e.reasoning_tokens for e in estimates)
    has_cost = any(e.cost_usd is not None for e in estimates)
    absent = {name for name, is_there in ((REASONING, has_reasoning), (COST, has_cost)) if not is_there}
    columns = [name for name in CALL_COLUMNS if name not in absent]
    figures = partial(_figures, has_reasoning=has_reasoning, has_cost=has_cost)
    rows = []
    for teacher in dict.fromkeys(e.teacher for e in estimates):
        mine = [e for e in estimates if e.teacher == teacher]
        rows += [TextRow((teacher, line.language, *figures([line]))) for line in mine]
        rows.append(TextRow((teacher, "all", *figures(mine)), style="bold", ends_section=True))
    rows.append(TextRow(("all", "all", *figures(estimates)), style="bold"))
    return text_table(("teacher", "lang."), rows, numbers=columns, title=heading)


def _figures(lines: Sequence["RunEstimate"], *, has_reasoning: bool, has_cost: bool) -> list[str]:
    costs = [line.cost_usd for line in lines if line.cost_usd is not None]
    sums = (
        sum(line.prompts for line in lines),
        sum(line.generations for line in lines),
        sum(line.prompt_tokens for line in lines),
        sum(line.completion_tokens for line in lines),
        *([sum(line.reasoning_tokens for line in lines)] if has_reasoning else []),
        sum(line.max_completion_tokens for line in lines),
    )
    cost = [f"{sum(costs):,.2f}" if costs else "–"] if has_cost else []
    return [*(f"{value:,}" for value in sums), *cost]


def _remarks(requests: "RequestCounts", estimates: Sequence["RunEstimate"]) -> list[str]:
    remarks = []
    if requests.rejected:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(requests.rejected.items()))
        remarks.append(f"rejected: {reasons}")
    if estimated := sorted({e.teacher for e in estimates if not e.is_counted}):
        remarks.append(f"prompt tokens estimated by script, tokenizer not on this machine: {', '.join(estimated)}")
    if by_length := sorted({e.teacher for e in estimates if e.is_by_length}):
        remarks.append(f"completion tokens estimated by the length of the texts: {', '.join(by_length)}")
    if guessed := sorted({e.teacher for e in estimates if not e.is_measured and not e.is_by_length}):
        remarks.append(
            f"completion tokens guessed as half of max_tokens, because none are known yet: {', '.join(guessed)}"
        )
    remarks += _about_reasoning(estimates)
    if len({e.task for e in estimates}) > 1:
        *_, dollars = _figures(estimates, has_reasoning=False, has_cost=True)
        remarks.append(f"calls of all tasks: {sum(e.generations for e in estimates):,}, USD {dollars}")
    if upper := sorted({e.teacher for e in estimates if e.task in ("adjudicate", "fuse")}):
        remarks.append(
            f"upper bounds, because only contested or differing candidates need a call: {', '.join(upper)}"
        )
    if guessed:
        remarks.append("a pilot (`arbitrage run … --shards 1`) replaces the guesses by measurements")
    return remarks


def _about_reasoning(estimates: Sequence["RunEstimate"]) -> Iterator[str]:
    """Say how much of the completions is reasoning, and where that is a guess."""
    from pipelines.planning.estimate import GUESSED_REASONING

    reasoning = sum(e.reasoning_tokens for e in estimates)
    if not reasoning:
        return
    whole = sum(e.completion_tokens for e in estimates)
    costs = [e.reasoning_cost_usd for e in estimates if e.reasoning_cost_usd is not None]
    dollars = f", USD {sum(costs):,.2f}" if costs else ""
    yield f"reasoning: {reasoning:,} of {whole:,} expected completion tokens ({reasoning / whole:.0%}){dollars}"
    if guessed := sorted({e.teacher for e in estimates if e.reasoning_tokens and not e.is_measured}):
        share = f"{GUESSED_REASONING:.0%} of the completion tokens, at most the budget"
        yield f"reasoning tokens are a guess ({share}), no completion seen yet: {', '.join(guessed)}"


def _warnings(execution: "ExecutionPlan", teachers: Sequence["TeacherConfig"]) -> list[str]:
    from arbitrage.contracts.steps import Resources
    from arbitrage.processes.pools import num_cpus

    unpinned = [t.name for t in teachers if not t.is_pinned]
    warnings = [f"warning: {name}: no revision; the weights under this name may change" for name in unpinned]
    wanted = [(step.job.pool, step.step.resources) for step in execution.steps if step.missing]
    here = f"this machine has {num_cpus()} CPUs"
    if gpus := max((resources.gpus for _, resources in wanted), default=0.0):
        names = ", ".join(dict.fromkeys(name for name, resources in wanted if resources.gpus == gpus))
        least = Resources(gpus=gpus).each().removeprefix("0 CPUs, ")
        warnings.append(f"placement: needs a node of {least}, on which these take turns: {names} ({here})")
    for name, resources in wanted:
        if not resources.gpus and resources.cpus > (num_cpus()):
            warnings.append(f"placement: {name} requests for {resources.each()}; {here}")
    return warnings


def _as_json(
    execution: "ExecutionPlan",
    teachers: Sequence["TeacherConfig"],
    requests: "RequestCounts",
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
        "prompts": dict(sorted(requests.num_prompts.items())),
        "rejected": dict(sorted(requests.rejected.items())),
        "generation": [asdict(e) for e in estimates],
        "warnings": _warnings(execution, teachers),
    }
