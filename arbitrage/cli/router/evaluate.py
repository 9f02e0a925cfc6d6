"""`arbitrage router`: train routers, and measure whether routing pays."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbitrage.cli.screen import to_json
from arbitrage.processes.pools import num_cpus

if TYPE_CHECKING:
    from arbitrage.candidates.matrix_file import MatrixReading

router = typer.Typer(help="Train routers, and measure whether routing pays.", no_args_is_help=True)

MatrixOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--matrix",
        metavar="FILE",
        help="Parquet, a row for each prompt and model: `prompt_id, prompt, language, model, reward`. Repeatable.",
    ),
]
ModelsOption = Annotated[
    str | None, typer.Option("--models", metavar="A,B,…", help="Models to use (default: all in the file).")
]
RewardOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reward-column",
        metavar="COLUMN",
        help="Column of the reward (default: `reward`). Repeat it to train on several.",
    ),
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        "--group-column",
        metavar="COLUMN",
        help="Column of groups of related prompts (default: `group` or `doc_group`).",
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option("--task-column", metavar="COLUMN", help="Column of the task (default: `task` or `domain`)."),
]
LanguageOption = Annotated[str, typer.Option("--language-column", metavar="COLUMN", help="BCP-47 tags.")]
JudgeOption = Annotated[
    str | None,
    typer.Option(
        "--judge-column",
        metavar="COLUMN",
        help="Rewards of a second judge: `auto` routes only if it gains under it, too.",
    ),
]
CostOption = Annotated[
    str | None,
    typer.Option("--cost-column", metavar="COLUMN", help="Column of the cost (default: `cost` or `cost_usd`)."),
]
RunOption = Annotated[
    str | None, typer.Option("--run", metavar="RUN", help="Use a run's candidate table instead of a matrix.")
]


@router.command("eval")
def evaluate_routers(
    matrix: MatrixOption = None,
    run: RunOption = None,
    models: ModelsOption = None,
    reward_column: RewardOption = None,
    group_column: GroupOption = None,
    judge_column: JudgeOption = None,
    task_column: TaskOption = None,
    language_column: LanguageOption = "language",
    cost_column: CostOption = None,
    folds: Annotated[
        int,
        typer.Option(
            "--folds", min=2, help="Number of cross-validation folds. Prompts of one group stay in one fold."
        ),
    ] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Seed of folds and bootstrap.")] = 0,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Number of worker processes (default: one per core).")
    ] = None,
    json_out: Annotated[
        Path | None,
        typer.Option("--json", metavar="OUT", help="Write all figures as JSON to this file; `-` prints them."),
    ] = None,
) -> None:
    """Find out which router is best for a pool of models, beside random, best single, best per language and oracle.

    Routers are judged on prompts that they have not seen. *Gap closed* is how much of the way from the best
    single model to the oracle a router goes, with a 95 % interval from resampling groups of prompts. The best single
    model too is chosen on the other prompts, so it need not be the one that turns out best.

    Example: `arbitrage router eval --matrix rewards.parquet --models aya-8b,gemma-12b,qwen-7b`
    """
    from arbitrage.cli.router.view import evaluation_json, print_evaluation, status_line
    from arbitrage.errors import UserError
    from routers.evaluation.evaluate import evaluate

    if json_out and not json_out.parent.is_dir():
        raise UserError(f"--json: {json_out.parent} is no directory")
    reading = read_outcomes(
        matrix, run, models, reward_column, group_column, judge_column, task_column, language_column, cost_column
    )
    with status_line() as told:
        found = evaluate(reading.matrix, num_folds=folds, seed=seed, jobs=jobs or min(folds, num_cpus()), told=told)
    name = run or ", ".join(str(path) for path in matrix or ())
    document = evaluation_json(found, reading, name)
    if str(json_out) != "-":
        print_evaluation(found, reading, name)
    if json_out:
        text = to_json(document, indent=1)
        if str(json_out) == "-":
            print(text)
        else:
            json_out.write_text(text + "\n", encoding="utf-8")


def read_outcomes(
    matrix: list[Path] | None,
    run: str | None,
    models: str | None,
    reward_column: list[str] | None,
    group_column: str | None,
    judge_column: str | None,
    task_column: str | None,
    language_column: str,
    cost_column: str | None,
    with_judge: bool = True,
) -> "MatrixReading":
    """Read the rewards that the options name; from a run also its exact check as a second judge, if `with_judge`.

    Raises:
        UserError: neither or both of `--matrix` and `--run` are given, or a column of a run.
    """
    from arbitrage.candidates.matrix_file import MatrixColumns, read_matrix
    from arbitrage.errors import UserError

    if bool(matrix) == bool(run):
        raise UserError("give either --matrix FILE or --run RUN")
    names = [name.strip() for name in models.split(",") if name.strip()] if models else None
    if run:
        given = {
            "--reward-column": reward_column,
            "--group-column": group_column,
            "--judge-column": judge_column,
            "--task-column": task_column,
            "--language-column": language_column != "language",
            "--cost-column": cost_column,
        }
        if option := next((name for name, value in given.items() if value), None):
            raise UserError(f"{option} names a column of a --matrix; with --run there is none to name")
        return _reading_of_run(run, names, with_judge)
    columns = MatrixColumns(
        language=language_column,
        rewards=tuple(reward_column or ("reward",)),
        group=group_column,
        task=task_column,
        judge=judge_column,
        cost=cost_column,
    )
    return read_matrix(matrix or (), columns, names)


def _reading_of_run(run: str, models: list[str] | None, with_judge: bool) -> "MatrixReading":
    from dataclasses import replace

    from arbitrage.cli.options import find_run
    from arbitrage.errors import UserError
    from pipelines.routing.outcomes import reading_of_run

    reading = reading_of_run(find_run(run), with_judge)
    if models is None:
        return reading
    for name in models:
        if name not in reading.matrix.teachers:
            raise UserError(f"--models: '{name}' is no teacher of {run}; it has {', '.join(reading.matrix.teachers)}")
    return replace(reading, matrix=reading.matrix.among(sorted(set(models))))
