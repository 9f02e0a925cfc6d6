"""A router's log (partial feedback): the teacher sampled for each prompt, its probability, and the reward.

A Parquet file with a row for each reward, the oldest first: language, task, teacher, reward; for evaluation also
prompt (its text), propensity, and cluster (shared by translations of one prompt; without it, each row is its own).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from arbitrage.candidates.matrix import Bools, Floats, RewardMatrix
from arbitrage.candidates.queries import NO_TASK, Queries, Rows, cluster_key, queries_of
from arbitrage.errors import DataError, UserError
from arbitrage.inputs.columns import offer
from arbitrage.languages import UNKNOWN
from arbitrage.records import Prompt, Route

OUTCOME: Final = ("language", "task", "teacher", "reward")
EVALUATION: Final = ("prompt", *OUTCOME, "propensity", "cluster")
SCHEMA: Final = pa.schema(
    [(name, pa.float64() if name in ("reward", "propensity") else pa.string()) for name in EVALUATION]
)

CERTAIN: Final = 1.0 - 1e-9
"""Propensity from which a choice was not drawn."""


@dataclass(frozen=True, slots=True)
class OutcomeLog:
    """P logged rewards, the oldest first.

    Attributes:
        queries: the prompts.
        clusters_P: labels of clusters, for intervals: translations of one prompt share one.
        teachers: T names, sorted.
        chosen_P: the teacher sampled, as a position in `teachers`.
        reward_P: its reward.
        propensity_P: probability with which that teacher was chosen.
    """

    queries: Queries
    clusters_P: NDArray[Any]
    teachers: tuple[str, ...]
    chosen_P: Rows
    reward_P: Floats
    propensity_P: Floats

    def __post_init__(self) -> None:
        """Raise DataError if a propensity is not a probability."""
        wrong = np.flatnonzero(~((self.propensity_P > 0.0) & (self.propensity_P <= 1.0)))
        if len(wrong):
            raise DataError(f"row {wrong[0]}: propensity {self.propensity_P[wrong[0]]}; wanted above 0, at most 1")

    def __len__(self) -> int:
        """Return the number of outcomes, P."""
        return len(self.chosen_P)

    @property
    def cluster_P(self) -> Rows:
        """Return codes of the clusters."""
        codes_P: Rows = np.unique(self.clusters_P.astype(str), return_inverse=True)[1].astype(np.int64)
        return codes_P

    @property
    def is_drawn_P(self) -> Bools:
        """Tell which choices were random: another teacher could have been sampled."""
        drawn_P: Bools = self.propensity_P < CERTAIN
        return drawn_P

    @property
    def admitted_PT(self) -> Bools:
        """Return which teachers are eligible: in each language those that were sampled there at least once."""
        _, code_P = np.unique(self.queries.languages.astype(str), return_inverse=True)
        asked_LT = np.zeros((int(code_P.max(initial=-1)) + 1, len(self.teachers)), bool)
        asked_LT[code_P, self.chosen_P] = True
        admitted_PT: Bools = asked_LT[code_P]
        return admitted_PT

    def take(self, rows: Rows) -> "OutcomeLog":
        """Return some of the outcomes, in the order of `rows`."""
        return replace(
            self,
            queries=self.queries.take(rows),
            clusters_P=self.clusters_P[rows],
            chosen_P=self.chosen_P[rows],
            reward_P=self.reward_P[rows],
            propensity_P=self.propensity_P[rows],
        )


def log_routes(
    prompts: Sequence[Prompt],
    routes: Sequence[Route],
    rewards: Mapping[str, float],
    teachers: Sequence[str] | None = None,
) -> OutcomeLog:
    """Make a log of the prompts that were sent to one teacher and have a reward; other prompts are left out.

    Args:
        prompts: in any order; clusters are those of reward matrices (`arbitrage.candidates.queries`).
        routes: any of them.
        rewards: prompt id → reward.
        teachers: the pool; default: the teachers that were sampled.
    """
    known = {prompt.prompt_id: prompt for prompt in prompts}
    kept = [r for r in routes if r.prompt_id in rewards and r.propensity is not None and len(r.teachers) == 1]
    kept_prompts = [known[route.prompt_id] for route in kept]
    return _assemble(
        queries_of(kept_prompts),
        clusters=[cluster_key(prompt.prompt_id, prompt.source_id, prompt.language) for prompt in kept_prompts],
        sampled=[route.teachers[0] for route in kept],
        rewards=[rewards[route.prompt_id] for route in kept],
        chances=[route.propensity for route in kept],
        teachers=teachers,
    )


def write_log(path: Path, logs: Sequence[OutcomeLog]) -> None:
    """Write logs below each other, the oldest first; equal logs give equal bytes."""
    pq.write_table(pa.concat_tables([_table_of(log) for log in logs]), path)


def _table_of(log: OutcomeLog) -> pa.Table:
    columns = {
        "prompt": [log.queries.texts[code] for code in log.queries.text_P],
        "language": list(log.queries.languages),
        "task": list(log.queries.tasks),
        "teacher": [log.teachers[code] for code in log.chosen_P],
        "reward": log.reward_P,
        "propensity": log.propensity_P,
        "cluster": [str(label) for label in log.clusters_P],
    }
    return pa.table({name: columns[name] for name in EVALUATION}, schema=SCHEMA)


def read_log(path: Path, teachers: Sequence[str] | None = None) -> OutcomeLog:
    """Read a log for evaluation; rows without a reward are left out, and rows without a cluster are their own.

    Args:
        path: a Parquet file.
        teachers: the pool; default: the teachers that were sampled.

    Raises:
        DataError: no such file, no Parquet, a column is missing, no row has a reward, a teacher is not of the pool,
            or a propensity is no probability.
    """
    found = read_outcomes(path, EVALUATION)
    if not found["reward"]:
        raise DataError(
            f"{path}: no row has both a teacher and a finite reward: there is nothing to train or evaluate on"
        )
    queries = Queries([text or "" for text in found["prompt"]], found["language"], found["task"])
    clusters = [label or f"row {row}" for row, label in enumerate(found["cluster"])]
    return _assemble(queries, clusters, found["teacher"], found["reward"], found["propensity"], teachers)


def read_outcomes(path: Path, columns: Sequence[str] = OUTCOME) -> dict[str, list[Any]]:
    """Read columns of a log, in order of rows; rows without a teacher or a finite reward are left out.

    A language that is not given is unknown, and a task `NO_TASK`; other columns are as they are, None where null.

    Raises:
        DataError: no such file, no Parquet, or a column is missing or of the wrong type.
    """
    try:
        if not path.exists():
            raise DataError(f"{path}: is no log of outcomes: it is not there")
        present = pq.read_schema(path).names
        if missing := [name for name in columns if name not in present]:
            raise DataError(f"{path}: has no column '{missing[0]}'{offer(missing[0], present)}")
        table = pq.read_table(path, columns=list(columns)).select(list(columns))
        table = table.cast(pa.schema([SCHEMA.field(name) for name in columns]))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: is no log of outcomes: {error}") from error
    is_kept = np.isfinite(table["reward"].to_numpy()) & table["teacher"].is_valid().to_numpy()
    table = table.take(np.flatnonzero(is_kept))
    missing_as = {"language": UNKNOWN, "task": NO_TASK}
    return {
        name: [value or missing_as[name] if name in missing_as else value for value in table[name].to_pylist()]
        for name in columns
    }


def _assemble(
    queries: Queries,
    clusters: Sequence[str],
    sampled: Sequence[str],
    rewards: Sequence[float],
    chances: Sequence[float | None],
    teachers: Sequence[str] | None,
) -> OutcomeLog:
    names = sorted(set(sampled if teachers is None else teachers))
    place = {name: code for code, name in enumerate(names)}
    if strange := sorted(set(sampled) - set(names)):
        raise DataError(f"the log holds outcomes of '{strange[0]}'; the pool is {', '.join(names)}")
    return OutcomeLog(
        queries,
        np.asarray(clusters, dtype=object),
        tuple(names),
        np.asarray([place[name] for name in sampled], np.int64),
        np.asarray(rewards, np.float64),
        np.asarray([np.nan if chance is None else chance for chance in chances], np.float64),
    )


def require_draws(log: OutcomeLog) -> None:
    """Refuse a log in which choices among several teachers were mostly certain.

    A rule that sends easy prompts to one teacher makes that teacher look good, and no weighting of the log can
    correct this.

    Raises:
        UserError: less than half of the choices that had an alternative in their language were random.
    """
    has_choice_P = log.admitted_PT.sum(axis=1) > 1
    of_P = has_choice_P if has_choice_P.any() else np.full(len(log), len(log.teachers) > 1)
    num, num_certain = int(of_P.sum()), int((of_P & ~log.is_drawn_P).sum())
    if 2 * num_certain > num:
        raise UserError(
            f"{num_certain:,} of {num:,} choices in the log were certain (propensity 1), though the log knows "
            f"{len(log.teachers)} teachers: it cannot tell good teachers from easy prompts; use the log of a router "
            "that draws (`bandit`, `uniform`)"
        )


def complete(log: OutcomeLog) -> RewardMatrix:
    """Fill in the rewards that were not observed, so that any learner can train on partial feedback.

    Raises:
        UserError: too little was drawn (`require_draws`).
    """
    require_draws(log)
    return guess(log)


def guess(log: OutcomeLog) -> RewardMatrix:
    """Fill in the rewards of a log, or of a part of one that passed `require_draws`.

    A cell is the teacher's mean, plus, where it was sampled, (reward − mean) / propensity: noisy, with a bias of
    order 1/P (doubly robust pseudo-outcomes, Dudík et al. 2011). NaN where a teacher was never sampled in the
    language.
    """
    asked_PT = np.zeros((len(log), len(log.teachers)))
    asked_PT[np.arange(len(log)), log.chosen_P] = 1.0 / log.propensity_P
    weight_T = asked_PT.sum(axis=0)
    means_T = (asked_PT * log.reward_P[:, None]).sum(axis=0) / np.maximum(weight_T, 1.0)
    guessed_PT = means_T + asked_PT * (log.reward_P[:, None] - means_T)
    guessed_PT[~log.admitted_PT] = np.nan
    ids = tuple(str(row) for row in range(len(log)))
    return RewardMatrix(ids, log.queries, log.cluster_P, log.teachers, guessed_PT)
