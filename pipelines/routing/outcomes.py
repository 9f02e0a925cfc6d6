"""A run's own candidate table as a reward matrix or as a log: what routers are trained and judged on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arbitrage.candidates.matrix_builder import JUDGE, MatrixBuilder, MatrixRows
from arbitrage.candidates.matrix_file import MatrixReading
from arbitrage.errors import UserError
from arbitrage.records import Candidate, Prompt, Record, Route, Score
from arbitrage.runs.paths import AnyPath
from arbitrage.runs.run import Run, open_run
from arbitrage.tables import concat, from_table
from routers.bandit_log.outcome_log import OutcomeLog, log_routes

UNSCORED = "an answer that was asked for has no score"


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
        UserError: in no part of the run was everybody asked.
        DataError: no prompt has a score of every teacher that was asked.
    """
    run = open_run(run_dir)
    _ = run.manifest  # says so if the run has not finished
    asked = asked_by(run, [name for name in routes_of(run) if _asks_all(run, name)])
    if not asked.routes:
        raise UserError(
            f"{run_dir}: its router did not ask everybody, so who would have been best is not known; "
            "outcomes come from runs with `router: {kind: all}`"
        )
    builder = MatrixBuilder(asked.teachers)
    add_outcomes(builder, run, asked, with_judge)
    built = builder.build()
    dropped = {UNSCORED: built.num_dropped} if built.num_dropped else {}
    return MatrixReading(built.matrix, dropped)


def log_of_run(run_dir: AnyPath) -> OutcomeLog:
    """Return whom the routers of a finished run asked alone, how likely that was, and what it earned.

    A reward is the mean final score of the teacher's samples, filtered ones at the floor of their language.

    Raises:
        RunDirectoryError: there is no run, or it has not finished.
        UserError: nobody was asked alone.
        DataError: no answer has a score.
    """
    run = open_run(run_dir)
    _ = run.manifest  # says so if the run has not finished
    asked = asked_by(run, routes_of(run))
    routes = [route for name in asked.routes for table in run.tables(name) for route in from_table(table, Route)]
    alone = [route for route in routes if len(route.teachers) == 1 and route.propensity is not None]
    if not alone:
        raise UserError(
            f"{run_dir}: its router asked nobody alone; logs come from runs with `router: {{kind: bandit}}` "
            "or `uniform`"
        )
    builder = MatrixBuilder(asked.teachers)
    add_outcomes(builder, run, asked, with_judge=False)
    matrix = builder.build().matrix
    rewards = dict(zip(matrix.prompt_ids, np.nanmean(matrix.rewards_PT, axis=1).tolist(), strict=True))
    [name] = run.plan.candidates["prompts"]
    prompts = [prompt for table in run.tables(name) for prompt in from_table(table, Prompt)]
    return log_routes(prompts, alone, rewards, asked.teachers)


@dataclass(frozen=True, slots=True)
class AskedSteps:
    """Steps of a run, by name: routes, the drafts asked for by them, and what scored these; and the teachers."""

    routes: tuple[str, ...]
    drafts: tuple[str, ...]
    scores: tuple[str, ...]
    teachers: tuple[str, ...]


def routes_of(run: Run) -> list[str]:
    """Return the route steps by which the run asked, in order of the plan."""
    asked = {r for name in run.plan.candidates.get("drafts", ()) for r in run.step(name).inputs.get("routes", ())}
    return [step.name for step in run.plan.steps if step.name in asked]


def asked_by(run: Run, routes: Sequence[str]) -> AskedSteps:
    """Return what was asked by some of the routes."""
    of = run.step
    drafts = [d for d in run.plan.candidates.get("drafts", ()) if set(of(d).inputs.get("routes", ())) & set(routes)]
    scores = [s for s in run.plan.candidates.get("scores", ()) if set(of(s).inputs.get("drafts", ())) & set(drafts)]
    teachers = sorted({str(of(name).config["teacher"]["name"]) for name in drafts})
    return AskedSteps(tuple(routes), tuple(drafts), tuple(scores), tuple(teachers))


def add_outcomes(builder: MatrixBuilder, run: Run, asked: AskedSteps, with_judge: bool) -> None:
    """Read the shards of some route steps into a builder."""
    [prompts] = run.plan.candidates["prompts"]
    final = run.plan.candidates["final"]
    for shard in sorted({k for name in asked.routes for k in run.shards(name)}):
        drafts = _joined(run, asked.drafts, shard, Candidate)
        mine = drafts["candidate_id"].combine_chunks()
        rows = MatrixRows(
            prompts=run.shard(prompts, shard),
            routes=_joined(run, asked.routes, shard, Route),
            drafts=drafts,
            final=_of(mine, _joined(run, final, shard, Score)),
            opinions=_opinions(_of(mine, _joined(run, asked.scores, shard, Score)), run, with_judge),
        )
        builder.add(rows)


def _asks_all(run: Run, route: str) -> bool:
    router = run.step(route).config.get("router", {})
    return isinstance(router, dict) and router.get("kind") == "all"


def _opinions(scores: pa.Table, run: Run, with_judge: bool) -> pa.Table:
    """Keep the scores of rewards, if there are several, and of the exact check, if it is wanted."""
    rewards = {
        str(run.step(name).config["reward"]["name"])
        for name in run.plan.candidates.get("scores", ())
        if "reward" in run.step(name).config
    }
    wanted = (rewards if len(rewards) > 1 else set()) | ({JUDGE} if with_judge else set())
    names = [name for name in pc.unique(scores["reward"]).to_pylist() if name.partition("@")[0] in wanted]
    return scores.filter(pc.is_in(scores["reward"], pa.array(names, pa.string())))


def _joined(run: Run, names: Sequence[str], shard: int, record: type[Record]) -> pa.Table:
    return concat([run.shard(name, shard) for name in names if shard in run.shards(name)], record).combine_chunks()


def _of(candidates: pa.Array, scores: pa.Table) -> pa.Table:
    return scores.filter(pc.is_in(scores["candidate_id"], value_set=candidates))
