"""`arbitrage router log` and `off-policy`: log the choices of a router, and evaluate other routers on the log."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from arbitrage.cli.options import JsonOption
from arbitrage.cli.screen import say


def write_outcomes(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Finished runs, the oldest first.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the outcomes, as Parquet.")],
) -> None:
    """Log the choices of runs: teacher, probability and reward, one row for each prompt.

    A bandit reads the log in the next run (`router: {kind: bandit, outcomes: FILE}`), `arbitrage router train --log`
    trains a router on it, and `arbitrage router off-policy` evaluates routers on it.

    Example: `arbitrage router log monday tuesday --out log.parquet`
    """
    from arbitrage.cli.options import find_run
    from pipelines.routing.outcomes import log_of_run
    from routers.bandit_log.outcome_log import write_log

    logs = [log_of_run(find_run(run)) for run in runs]
    write_log(out, logs)
    teachers = sorted({teacher for log in logs for teacher in log.teachers})
    say(f"{out}: {sum(map(len, logs)):,} outcomes of {', '.join(teachers)}")


def judge_by_log(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="Outcomes that `arbitrage router log` wrote.")],
    router: Annotated[
        list[Path] | None, typer.Option("--router", metavar="DIR", help="A learned router to evaluate. Repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of folds and bootstrap.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Estimate the reward of other routers from the log of one router, without new generations.

    The log must come from a random router (`bandit`, `uniform`): it holds no information about choices that its
    router never makes. The evaluated routers must be trained on other data than this log.

    The table shows, with clustered 95 % intervals: the doubly robust estimate, which is the one to use; inverse
    propensity weighting, plain and self-normalised; the effective number of rewards behind the estimate; and the
    share of the router's choices that the log could have made too (for the others the estimate is a guess). A log
    whose choices were mostly certain is refused.

    Example: `arbitrage router off-policy log.parquet --router routers/mine`
    """
    from arbitrage.cli.router.view import VALUE, print_figures, status_line
    from arbitrage.report.formatting import COUNT, WHOLE_SHARE
    from arbitrage.report.rendering import Column, Figures, Row, ungrouped
    from routers.bandit_log.outcome_log import read_log
    from routers.evaluation.logged import judge_logged
    from routers.learning.artifact import load_artifact, require_pool

    outcomes = read_log(log)
    artifacts = {str(path): load_artifact(path) for path in router or ()}
    for where, artifact in artifacts.items():
        require_pool(artifact, outcomes.teachers, where)
    with status_line() as told:
        told("learning from the other folds")
        found = judge_logged(outcomes, {where: one.predictor for where, one in artifacts.items()}, seed)
    if as_json:
        print(json.dumps([asdict(one) for one in found]))
        return
    earned = f"earned {outcomes.reward_P.mean():.3f} on average"
    say(f"{log}: {len(outcomes):,} outcomes of {len(outcomes.teachers)} teachers {earned}")
    rows = [
        Row(
            one.router,
            (
                one.value.doubly_robust,
                one.value.self_normalised,
                one.value.inverse_propensity,
                one.value.effective_size,
                one.value.support,
            ),
        )
        for one in found
    ]
    columns = (
        *(Column(heading, VALUE) for heading in ("doubly robust", "self-normalised", "inverse propensity")),
        Column("effective sample size", COUNT),
        Column("supported", WHOLE_SHARE),
    )
    print_figures(Figures("Estimated mean reward of each router", "router", columns, ungrouped(rows)))
