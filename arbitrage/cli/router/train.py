"""`arbitrage router train` and `router show`: train a router, and show what it learned."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbitrage.cli.options import JsonOption
from arbitrage.cli.router.evaluate import (
    CostOption,
    GroupOption,
    JudgeOption,
    LanguageOption,
    MatrixOption,
    ModelsOption,
    RewardOption,
    RunOption,
    TaskOption,
    read_outcomes,
)
from arbitrage.cli.screen import say, to_json

if TYPE_CHECKING:
    from arbitrage.candidates.matrix_file import MatrixReading
    from routers.learning import AnyLearner
    from routers.learning.artifact import Artifact

LearnerOption = Annotated[
    str,
    typer.Option(
        "--learner",
        metavar="KIND",
        help="`learned` (shrunken language prior and text), `auto` (the best of several in cross-validation; if "
        "nothing does, near the best single teacher), `best_single`, `language_table`, `knn`, `clusters`, `ridge` …",
    ),
]
LearnerSetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change an option of the learner, such as `folds=5`."),
]


def train_router(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write the router.")],
    run: RunOption = None,
    matrix: MatrixOption = None,
    learner: LearnerOption = "learned",
    assignments: LearnerSetOption = None,
    models: ModelsOption = None,
    reward_column: RewardOption = None,
    group_column: GroupOption = None,
    judge_column: JudgeOption = None,
    task_column: TaskOption = None,
    language_column: LanguageOption = "language",
    cost_column: CostOption = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="Outcomes that `arbitrage router log` wrote.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a router on a run or a file of rewards, and write it to a directory.

    A run can be used if its router was `all`: every teacher that supports the language was sampled. Its exact check,
    if it has one, is not used for training. Where each prompt was sent to one teacher by a random router (`bandit`,
    `uniform`), train on its log. Equal rewards give equal files.

    Then use it in a pipeline's YAML: `router: {kind: learned, artifact: DIR}`.

    Example: `arbitrage router train --run quickstart --out routers/quickstart`
    """
    from arbitrage.cli.router.view import tell_left_out
    from routers.learning.artifact import load_artifact, save_artifact
    from routers.learning.train import fit_router

    config = learner_of(learner, assignments or [])
    if log:
        reading = _reading_of_log(log, bool(matrix or run))
    else:
        reading = read_outcomes(
            matrix,
            run,
            models,
            reward_column,
            group_column,
            judge_column,
            task_column,
            language_column,
            cost_column,
            with_judge=False,
        )
    tell_left_out(reading)
    save_artifact(out, fit_router(config, reading.matrix, sum(reading.dropped.values())))
    _show(load_artifact(out), out, as_json)


def _reading_of_log(log: Path, has_other: bool) -> "MatrixReading":
    from arbitrage.candidates.matrix_file import MatrixReading
    from arbitrage.errors import UserError
    from routers.bandit_log.outcome_log import complete, read_log

    if has_other:
        raise UserError("give one of --log FILE, --matrix FILE and --run RUN")
    return MatrixReading(complete(read_log(log)), {})


def show_router(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A router that `train` or a run wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a router was trained on, its teachers, and what was chosen in training."""
    from routers.learning.artifact import load_artifact

    _show(load_artifact(directory), directory, as_json)


def learner_of(kind: str, assignments: list[str]) -> "AnyLearner":
    """Return the learner that the options name.

    Raises:
        ConfigError: no such kind, or an option it does not have.
    """
    from pydantic import TypeAdapter

    from arbitrage.config import override, parse
    from routers.learning import AnyLearner

    adapter: TypeAdapter[AnyLearner] = TypeAdapter(AnyLearner)
    return parse(override({"kind": kind}, assignments), adapter, "--learner")


def _show(artifact: "Artifact", directory: Path, as_json: bool) -> None:
    from pipelines.routing.trained import describe_router

    if as_json:
        told = {"kind": artifact.kind, "teachers": artifact.teachers, "digest": artifact.digest}
        print(to_json({"path": str(directory), **told, "about": artifact.about}, indent=1))
        return
    say(f"{directory}: router '{artifact.kind}' for {', '.join(artifact.teachers)}")
    for line in describe_router(artifact):
        say(f"  {line}")
    say(f"  languages: {', '.join(f'{tag} {num:,}' for tag, num in artifact.about['languages'].items())}")
    say(f"  digest {artifact.digest}")
    say(f"route by it:  router: {{kind: learned, artifact: {directory}}}")
