"""`arbitrage judge A B`: compare two sides prompt by prompt, with figures on the judge's reliability.

With `--plan`, print the number of requests and their cost instead.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbitrage.cli.options import RunDirOption, SetOption, run_directory, write_out
from arbitrage.cli.screen import Screen, say, to_json
from arbitrage.errors import DataError, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from arbitrage.config import Raw
    from arbitrage.judging.agreement import Labels
    from arbitrage.report.judge_report import JudgeReport
    from arbitrage.runs.paths import AnyPath
    from pipelines.judge import JudgeRunConfig
    from pipelines.planning.judge_calls import Calls

SideArgument = Annotated[
    str,
    typer.Argument(
        metavar="SIDE",
        help="Files of answers (JSONL, Parquet, a directory, a glob), or `FILE#teacher` for one; a run, "
        "`RUN#sft` or `RUN#teacher`; or the name of a teacher, which then generates responses.",
    ),
]
JudgeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--judge",
        metavar="JUDGE",
        help="A teacher's name, `exact`, `reward=MODEL` (a reward model), or a YAML file. May be repeated.",
    ),
]
TeachersOption = Annotated[str, typer.Option("--teachers", metavar="FILE", help="The pool of models and judges.")]
PromptsOption = Annotated[
    str | None,
    typer.Option(
        "--prompts",
        metavar="FILE",
        help="Prompts: JSONL, Parquet, or `demo` (default: the prompts of the data sets).",
    ),
]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option("--labels", metavar="FILE", help="Human labels: rows of prompt id and winner (a, b, tie)."),
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="[SIDE.]ROLE=NAME",
        help="Which column holds what, in both data sets or in `a.` or `b.` alone. Roles: answer, id, prompt, "
        "language, reference, source_id, teacher; winner and id of `labels.`",
    ),
]
JsonOutOption = Annotated[
    str | None, typer.Option("--json", metavar="OUT", help="Write every figure as JSON; `-` prints it.")
]
HtmlOutOption = Annotated[Path | None, typer.Option("--html", metavar="OUT", help="Write one self-contained page.")]
RayOption = Annotated[
    str | None, typer.Option("--ray", metavar="ADDRESS", help="Run on Ray: `auto`, or a cluster's address.")
]
PlanOption = Annotated[
    bool, typer.Option("--plan", help="Count the calls of models and judges, by language, and start nothing.")
]
_FILE_ENDINGS = (
    *(".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv"),
    *(".gz", ".bz2", ".xz", ".zst", ".lz4"),
)
_TEACHER_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_OF_SIDE = re.compile(r"(a|b|labels)\.(.+)")


def judge(
    a: SideArgument,
    b: SideArgument,
    judges: JudgeOption = None,
    prompts: PromptsOption = None,
    teachers: TeachersOption = "teachers.yaml",
    labels: LabelsOption = None,
    column: ColumnOption = None,
    assignments: SetOption = None,
    run_dir: RunDirOption = None,
    ray: RayOption = None,
    json_out: JsonOutOption = None,
    html_out: HtmlOutOption = None,
    is_plan: PlanOption = False,
) -> None:
    """Compare two data sets or models: win rates by language, with 95 % intervals.

    A judge that is a teacher sees both responses in both orders. A match is a win only if both orders agree,
    otherwise a tie. The figures also show how often the judge contradicts itself, prefers a position or a longer
    response, or gives no verdict, and how far it agrees with people. Rerun the command to resume; no verdict is
    requested twice.

    Examples:
        arbitrage judge ours.jsonl theirs.parquet --judge aya-expanse-8b --html judged.html
        arbitrage judge runs/quickstart#sft runs/quickstart#commons --judge exact --judge reward=demo:referee
        arbitrage judge student teacher --prompts held_out.jsonl --judge gemma-3-27b --labels people.jsonl
    """
    from arbitrage.report.judge_page import render_judgement

    if not judges:
        raise UserError("judge: give at least one --judge: a teacher's name, exact, reward=MODEL, or a YAML file")
    columns = _columns(column or [])
    sides = _sides(a, b, columns)
    if prompts is None and all(side["kind"] == "model" for side in sides.values()):
        raise UserError(f"judge: {a} and {b} are models: give their prompts by --prompts")
    config = _config(sides, [_judge(given) for given in judges], prompts, teachers, assignments or [])
    if is_plan:
        _plan(config, json_out)
        return
    people = _people(labels or [], columns["labels"])
    found = _run(config, run_directory(run_dir, config.name), ray, people)
    if json_out:
        write_out(json_out, to_json(found.as_json(), indent=1))
    if html_out:
        write_out(str(html_out), render_judgement(found))
    if json_out != "-":
        _print(found)
    if found.mute:
        raise DataError("; ".join(f"judge {judge}: {why}" for judge, why in found.mute.items()))


def _plan(config: "JudgeRunConfig", json_out: str | None) -> None:
    from dataclasses import asdict

    from pipelines.planning.judge_calls import count_calls

    found = count_calls(config)
    if json_out:
        write_out(json_out, json.dumps([asdict(each) for each in found], indent=1))
    if json_out != "-":
        Screen(highlight=False).print(calls_table(found))


def _config(
    sides: "dict[str, Raw]", judges: "list[Raw]", prompts: str | None, teachers: str, assignments: Sequence[str]
) -> "JudgeRunConfig":
    from arbitrage.config import override, parse
    from pipelines.judge import JudgeRunConfig

    raw: Raw = {
        **sides,
        "name": _run_name([side.get("label") or side["teacher"] for side in sides.values()]),
        "teachers": teachers,
        "judges": judges,
        "prompts": _prompts(prompts) if prompts else None,
    }
    return parse(override(raw, assignments), JudgeRunConfig, "judge")


def _run(
    config: "JudgeRunConfig", directory: "AnyPath", address: str | None, people: "Labels | None"
) -> "JudgeReport":
    from arbitrage.cli.interrupt import interruptible
    from arbitrage.cli.progress import progress_for
    from arbitrage.cli.session import working_in
    from arbitrage.execution.context import RunContext
    from arbitrage.execution.local import LocalBackend
    from arbitrage.execution.ray.backend import RayBackend
    from arbitrage.execution.run import RunRequest
    from arbitrage.report.judge_report import judge_report
    from arbitrage.runs.run import open_run
    from pipelines.loading import require_teachers

    request = RunRequest(
        name=config.name,
        kind="judge",
        pipeline=config.build(),
        run_dir=directory,
        num_shards=config.num_shards,
        shards=range(config.num_shards),
        max_rejected=1.0,  # what is lost is shown beside the figures
        config=json.loads(config.model_dump_json()),
    )
    lost_rows = config.lost_rows()
    with (
        progress_for(Screen(stderr=True)) as progress,
        interruptible(progress.note, at_once=True) as stop,
        working_in(directory),
    ):
        context = RunContext(
            backend=lambda: RayBackend(address, awaits_end=False) if address else LocalBackend(),
            progress=lambda: nullcontext(progress),
            note=progress.note,
            stop=stop,
        )
        context.execute(request, require_teachers)
    twice = {judge.label: judge.asks_twice for judge in config.judges}
    labels, run = (config.a.label, config.b.label), open_run(directory)
    return judge_report(run, labels, twice, people, config.cautions(), lost_rows)


def _sides(a: str, b: str, columns: Mapping[str, Sequence[str]]) -> "dict[str, Raw]":
    if a == b:
        raise UserError(f"judge: both sides are {a}")
    from arbitrage.cli.naming import shortest_names

    names = zip(("a", "b"), (a, b), shortest_names([a, b]), strict=True)
    return {side: _side(given, label, columns[side]) for side, given, label in names}


def _side(given: str, label: str, columns: Sequence[str]) -> "Raw":
    from arbitrage.inputs.columns import ResponseColumns
    from arbitrage.judging.sides import data_side

    data = data_side(given, label, ResponseColumns.parse_assignments(columns, "--column", "answer=output"))
    if data is not None:
        config: Raw = json.loads(data.model_dump_json())
        return config
    if not _TEACHER_NAME.fullmatch(given) or given.endswith(_FILE_ENDINGS):
        raise UserError(f"{given}: there is no such file or run, and it cannot be the name of a teacher")
    return {"kind": "model", "teacher": given}


def _judge(given: str) -> "Raw":
    from arbitrage.yaml_text import load_yaml

    if given == "exact":
        return {"kind": "exact"}
    if given.endswith((".yaml", ".yml")):
        return load_yaml(Path(given))
    how, separator, model = given.partition("=")
    if not separator:
        return {"kind": "teacher", "teacher": given}
    if how != "reward" or not model:
        raise UserError(f"--judge {given}: expected a teacher's name, exact, reward=MODEL, or a YAML file")
    name = re.sub(r"[^a-z0-9.-]+", "-", model.lower().rpartition("/")[2].rpartition(":")[2]).strip("-.")
    return {"kind": "reward", "reward": {"kind": "classifier", "name": name or "reward", "model": model}}


def _prompts(given: str) -> "Raw":
    if given in ("demo", "world"):  # the old spelling loads as any old kind does
        return {"kind": given}
    name = given.lower()
    is_csv = any(ending in name for ending in (".csv", ".tsv"))
    return {"kind": "parquet" if name.endswith(".parquet") else "csv" if is_csv else "jsonl", "paths": given}


def _people(paths: Sequence[str], columns: Sequence[str]) -> "Labels | None":
    from arbitrage.inputs.columns import ResponseColumns
    from arbitrage.judging.agreement import read_labels

    found = ResponseColumns.parse_assignments(columns, "--column", "answer=output")
    return read_labels(paths, found) if paths else None


def _columns(assignments: Sequence[str]) -> dict[str, list[str]]:
    """Assign each `--column` to its data set; one without a prefix applies to both."""
    found: dict[str, list[str]] = {"a": [], "b": [], "labels": []}
    for assignment in assignments:
        role, separator, name = assignment.partition("=")
        match = _OF_SIDE.fullmatch(role)
        for side in (match[1],) if match else ("a", "b"):
            found[side].append(f"{match[2] if match else role}{separator}{name}")
    return found


def _run_name(labels: Sequence[str]) -> str:
    names = [re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.") or "side" for label in labels]
    return f"judge-{names[0]}-against-{names[1]}"


def _print(found: "JudgeReport") -> None:
    import sys

    from arbitrage.report.judge_page import judge_lines, judge_tables
    from arbitrage.report.rendering import terminal_table

    for alarm in found.alarms:
        say(f"ALARM {alarm.sentence}")
    console = Screen(width=None if sys.stdout.isatty() else 120)
    for figures in judge_tables(found):
        console.print(terminal_table(figures))
    for line in judge_lines(found):
        say(line)


HEADING = "calls of a new run; a resumed run sends only those that are missing"


def calls_table(found: "list[Calls]") -> "Table":
    """Return a line for each teacher, task and language, and the sums."""
    from arbitrage.report.rendering import TextRow, text_table

    rows = [TextRow((each.teacher, each.task, each.language, *_figures([each]))) for each in found]
    rows.append(TextRow(("all", "all", "all", *_figures(found)), style="bold"))
    numbers = ("calls", "prompt tokens", "output tokens at most", "USD at most")
    return text_table(("teacher", "task", "language"), rows, numbers=numbers, title=HEADING)


def _figures(found: "list[Calls]") -> list[str]:
    costs = [each.max_cost_usd for each in found if each.max_cost_usd is not None]
    bound = "≥ " if len(costs) < len(found) else ""  # some teachers have no price
    sums = (
        sum(each.calls for each in found),
        sum(each.prompt_tokens for each in found),
        sum(each.max_completion_tokens for each in found),
    )
    return [*(f"{value:,}" for value in sums), f"{bound}{sum(costs):,.2f}" if costs else "–"]
