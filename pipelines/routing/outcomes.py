"""A run's own candidate table as a reward matrix or as a log: what routers are trained and judged on."""

from collections.abc import Sequence

import numpy as np

from arbitrage.candidates.matrix_builder import JUDGE, BuiltMatrix, MatrixBuilder
from arbitrage.candidates.matrix_file import MatrixReading
from arbitrage.candidates.table import CandidateTable
from arbitrage.errors import UserError
from arbitrage.records import Prompt, Route
from arbitrage.runs.paths import AnyPath
from arbitrage.runs.run import open_run
from arbitrage.tables import from_table
from routers.bandit_log.outcome_log import OutcomeLog, log_routes

UNSCORED = "a teacher that was sampled has no score"


def reading_of_run(run_dir: AnyPath, with_judge: bool = True) -> MatrixReading:
    """Return rewards of prompts × teachers from a finished run, and how many prompts were dropped.

    A reward is the mean final score of a teacher's samples, filtered ones at the floor of their language. Only
    prompts that the router `all` sent to every teacher count. Several rewards are also given each by itself,
    uncalibrated.

    Args:
        run_dir: the run.
        with_judge: take the exact check, where the run has one, for a second judge.

    Raises:
        RunDirectoryError: there is no run, or it has not finished.
        UserError: in no part of the run was every teacher sampled.
        DataError: no prompt has a score of every teacher that was sampled.
    """
    run = open_run(run_dir)
    _ = run.manifest  # says so if the run has not finished
    table = CandidateTable.of(run)
    routes = [name for name in table.sampling_routes if _samples_all(table, name)]
    if not routes:
        raise UserError(
            f"{run_dir}: its router did not sample every teacher, so the best one is not known; "
            "outcomes come from runs with `router: {kind: all}`"
        )
    rewards = table.rewards if len(table.rewards) > 1 else ()
    built = matrix_of(table.routed_by(routes), (*rewards, *((JUDGE,) if with_judge else ())))
    dropped = {UNSCORED: built.num_dropped} if built.num_dropped else {}
    return MatrixReading(built.matrix, dropped)


def log_of_run(run_dir: AnyPath) -> OutcomeLog:
    """Return which single teacher the routers of a finished run chose, with what probability, and the reward.

    A reward is the mean final score of the teacher's samples, filtered ones at the floor of their language.

    Raises:
        RunDirectoryError: there is no run, or it has not finished.
        UserError: no prompt was sent to a single teacher.
        DataError: no answer has a score.
    """
    run = open_run(run_dir)
    _ = run.manifest  # says so if the run has not finished
    table = CandidateTable.of(run)
    table = table.routed_by(table.sampling_routes)
    routes = [route for name in table.routers for part in run.tables(name) for route in from_table(part, Route)]
    alone = [route for route in routes if len(route.teachers) == 1 and route.propensity is not None]
    if not alone:
        raise UserError(
            f"{run_dir}: its router sent no prompt to a single teacher; logs come from runs with "
            "`router: {kind: bandit}` or `uniform`"
        )
    matrix = matrix_of(table).matrix
    rewards = dict(zip(matrix.prompt_ids, np.nanmean(matrix.rewards_PT, axis=1).tolist(), strict=True))
    prompts = [prompt for part in run.tables(table.prompts) for prompt in from_table(part, Prompt)]
    return log_routes(prompts, alone, rewards, table.teachers)


def matrix_of(table: CandidateTable, scores: Sequence[str] = ()) -> BuiltMatrix:
    """Read the candidates that some routes sent for into a matrix.

    Args:
        table: of these routes.
        scores: names of rewards and checks to read each by itself.

    Raises:
        DataError: no prompt has a score of every teacher that was sampled.
    """
    builder = MatrixBuilder(table.teachers, scores)
    for shard in table.shards():
        builder.add(shard)
    return builder.build()


def _samples_all(table: CandidateTable, route: str) -> bool:
    router = table.run.step(route).config.get("router", {})
    return isinstance(router, dict) and router.get("kind") == "all"
