"""What a run that explored and then committed has saved, and how good its candidates are."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from arbitrage.candidates.matrix import Floats, RewardMatrix
from arbitrage.candidates.matrix_builder import JUDGE
from arbitrage.candidates.queries import Rows
from arbitrage.candidates.table import CandidateTable
from arbitrage.runs.paths import AnyPath
from arbitrage.runs.run import open_run
from pipelines.routing.outcomes import matrix_of
from pipelines.routing.trained import trained_by
from routers.learning.train import RouteTrainedConfig


@dataclass(frozen=True, slots=True)
class Quality:
    """A mean over prompts of one score, on the part of the run where it is known.

    Attributes:
        best_single, uniform, every_teacher: on the explored prompts: of the best single teacher, of one drawn at
            random, and of the best-scored candidate of all teachers that were sampled.
        committed: on the rest: of whom the trained router chose, the best-scored where it chose several.
    """

    best_single: float
    uniform: float
    every_teacher: float
    committed: float


@dataclass(frozen=True, slots=True)
class Savings:
    """What committing saved. Prompts are dealt to shards by hash, so the two parts are samples of the same.

    Attributes:
        num_explored, num_committed: prompts with scores in either part.
        generations, generations_of_all: completions requested in the whole run; and with every eligible teacher
            sampled throughout.
        best_single: the teacher with the best mean reward among those sampled for most prompts.
        expected: reward on the rest as the router predicted it: the best single teacher's on the explored prompts,
            and the advantage over it that was expected of those chosen.
        reward: by the final score.
        judge: by the exact check, if the run has one.
    """

    num_explored: int
    num_committed: int
    generations: int
    generations_of_all: int
    best_single: str
    expected: float
    reward: Quality
    judge: Quality | None

    @property
    def share_saved(self) -> float:
        """Part of all generations that were not needed."""
        return 1.0 - self.generations / self.generations_of_all

    def figures(self) -> dict[str, Any]:
        """Return all figures, for JSON."""
        return asdict(self) | {"share_saved": self.share_saved}

    def lines(self) -> list[str]:
        """Say it in a few lines."""
        told = [
            f"{self.generations:,} completions; sampling every teacher would take {self.generations_of_all:,} "
            f"({self.share_saved:.0%} saved)",
            f"reward on {self.num_committed:,} committed prompts: {self.reward.committed:.2f} "
            f"(expected {self.expected:.2f}); on {self.num_explored:,} explored ones: best single "
            f"({self.best_single}) {self.reward.best_single:.2f}, one at random {self.reward.uniform:.2f}, "
            f"best of every teacher {self.reward.every_teacher:.2f}",
        ]
        if self.judge:
            told.append(
                f"exact answers: committed {self.judge.committed:.1%}; best single {self.judge.best_single:.1%}, "
                f"one at random {self.judge.uniform:.1%}, best-scored of every teacher {self.judge.every_teacher:.1%}"
            )
        return told


def savings_of(run_dir: AnyPath) -> Savings | None:
    """Read a finished run and compare its parts; None of a pilot that did only one of them.

    Raises:
        DataError: no prompt has a score of every teacher that was sampled.
    """
    run = open_run(run_dir)
    whole = CandidateTable.of(run)
    chosen, explored = _routes(whole)
    if not run.shards(chosen) or not run.shards(explored):
        return None
    table = whole.routed_by([explored, chosen])
    matrix = matrix_of(table, (JUDGE,)).matrix
    committed = {i for part in run.tables(chosen) for i in part["prompt_id"].to_pylist()}
    is_committed = np.array([prompt_id in committed for prompt_id in matrix.prompt_ids])
    first, rest = matrix.take(np.flatnonzero(~is_committed)), matrix.take(np.flatnonzero(is_committed))
    if not len(first) or not len(rest):
        return None
    single = _best_single(first)
    pick_first, pick_rest = _best_scored(first.rewards_PT), _best_scored(rest.rewards_PT)
    reward = _quality(first.rewards_PT, rest.rewards_PT, single, pick_first, pick_rest)
    judge = None
    if first.judge_PT is not None and rest.judge_PT is not None:
        judge = _quality(first.judge_PT, rest.judge_PT, single, pick_first, pick_rest)
    expected_PT = trained_by(run_dir).predictor.predict(rest.queries)
    gain = float((expected_PT[np.arange(len(rest)), pick_rest] - expected_PT[:, single]).mean())
    return Savings(
        num_explored=len(first),
        num_committed=len(rest),
        generations=sum(report.num_in for report in run.manifest.steps if report.name in table.steps["candidates"]),
        generations_of_all=_generations_of_all(table, explored, chosen),
        best_single=matrix.teachers[single],
        expected=reward.best_single + gain,
        reward=reward,
        judge=judge,
    )


def _routes(table: CandidateTable) -> tuple[str, str]:
    """Return the route step by the trained router, and the one by which every teacher was sampled."""
    names = table.sampling_routes
    [chosen] = [name for name in names if "router" in table.run.step(name).inputs]
    [explored] = [name for name in names if name != chosen]
    return chosen, explored


def _best_single(explored: RewardMatrix) -> int:
    """Return the best of the teachers admitted to most prompts: others serve their own languages only."""
    admitted_T = explored.admitted_PT.sum(axis=0)
    means_T = np.array(
        [
            np.nanmean(column) if num else -np.inf
            for column, num in zip(explored.rewards_PT.T, admitted_T, strict=True)
        ]
    )
    return int(np.argmax(np.where(admitted_T == admitted_T.max(), means_T, -np.inf)))


def _best_scored(rewards_PT: Floats) -> Rows:
    picked: Rows = np.nanargmax(rewards_PT, axis=1)
    return picked


def _quality(first_PT: Floats, rest_PT: Floats, single: int, pick_first: Rows, pick_rest: Rows) -> Quality:
    return Quality(
        best_single=float(np.nanmean(first_PT[:, single])),
        uniform=float(np.nanmean(first_PT, axis=1).mean()),
        every_teacher=float(first_PT[np.arange(len(first_PT)), pick_first].mean()),
        committed=float(rest_PT[np.arange(len(rest_PT)), pick_rest].mean()),
    )


def _generations_of_all(table: CandidateTable, explored: str, chosen: str) -> int:
    """Count the completions had every routed prompt been sent to every eligible teacher."""
    run = table.run
    configs = [run.step(step).config for step in table.steps["candidates"]]
    samples = {config["teacher"]["name"]: int(config["sampling"]["n"]) for config in configs}
    config = RouteTrainedConfig.model_validate_json(json.dumps(run.step(chosen).config))
    language_filter = config.choice.require_pool(config.pool)
    total = sum(
        samples[t] for routes in run.tables(explored) for named in routes["teachers"].to_pylist() for t in named
    )
    for shard in run.shards(chosen):
        prompts = run.shard(table.prompts, shard)
        for language, num in Counter(prompts["language"].to_pylist()).items():
            total += num * sum(samples[t] for t in language_filter.eligible(language))
    return total
