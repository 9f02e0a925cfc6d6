"""Build a reward matrix from rows of a candidate table, shard by shard.

A cell is the mean final score of a teacher's samples. A sample that fails a filter cannot be selected and counts as
the lowest score of its language: left out, it would make a teacher whose candidates often fail look good.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arbitrage.candidates.matrix import Bools, Floats, RewardMatrix
from arbitrage.candidates.queries import Rows, cluster_key, queries_of
from arbitrage.candidates.table import FILTERED, CandidateShard
from arbitrage.errors import DataError
from arbitrage.records import Prompt, base_name
from arbitrage.tables import from_table

JUDGE: Final = "exact"
"""The check whose scores routers are not trained for."""


@dataclass(frozen=True, slots=True)
class BuiltMatrix:
    """A matrix, and how many routed prompts are not in it: a teacher that was sampled has no score there."""

    matrix: RewardMatrix
    num_dropped: int


@dataclass(frozen=True, slots=True)
class _Block:
    prompts: Sequence[Prompt]
    admitted_PT: Bools
    sum_PT: Floats
    scored_PT: Floats
    filtered_PT: Floats
    cost_PT: Floats
    scores: Mapping[str, Floats]


class MatrixBuilder:
    """Takes in shards; keeps the prompts and a few numbers for each cell.

    Args:
        teachers: the pool; columns are its names, sorted.
        scores: names of rewards and checks that the matrix also holds each by itself.
        absent_is_lowest: a cell without a score is the lowest of its language, too. Else its prompt is left out.
    """

    def __init__(
        self, teachers: Sequence[str], scores: Sequence[str] = (), *, absent_is_lowest: bool = False
    ) -> None:
        self._absent_is_lowest = absent_is_lowest
        self.teachers = tuple(sorted(teachers))
        self._scores = tuple(scores)
        self._blocks: list[_Block] = []
        self._floors: dict[str, float] = {}

    def add(self, shard: CandidateShard) -> None:
        """Take in the routed prompts of one shard, in which every eligible teacher was sampled."""
        routed = shard.prompt_rows(shard.routes)
        if not len(routed):
            return
        prompts = from_table(shard.prompts.take(pa.array(routed)), Prompt)
        shape = (len(prompts), len(self.teachers))
        named = shard.routes["teachers"].combine_chunks()
        admitted_PT = np.zeros(shape, bool)
        admitted_PT[_ints(pc.list_parent_indices(named)), self._codes(pc.list_flatten(named))] = True
        place: Rows = np.full(shard.prompts.num_rows, -1)  # of a prompt among those that were routed
        place[routed] = np.arange(len(routed))
        places = place[shard.prompt_rows(shard.candidates)]
        if (places < 0).any():
            raise DataError("a candidate's prompt is not among the routed prompts of its shard")
        samples = _Samples(shape, (places, self._codes(shard.candidates["teacher"])))
        final = shard.values_of(shard.final)
        self._note_floors(prompts, samples, final)
        filtered = shard.final.filter(pc.starts_with(shard.final["error"], FILTERED))
        is_filtered = np.zeros(len(final), bool)
        is_filtered[shard.candidate_rows(filtered)] = True
        cost = _floats(shard.candidates["cost_usd"])
        block = _Block(
            prompts=prompts,
            admitted_PT=admitted_PT,
            sum_PT=samples.sum(final),
            scored_PT=samples.count(np.isfinite(final)),
            filtered_PT=samples.count(is_filtered),
            cost_PT=np.where(samples.count(np.isfinite(cost)) > 0, samples.sum(cost), np.nan),
            scores={
                str(scores["reward"][0]): samples.mean(shard.values_of(scores))
                for scores in map(shard.scores, self._scores)
                if scores.num_rows
            },
        )
        self._blocks.append(block)

    def build(self) -> BuiltMatrix:
        """Return the matrix of the prompts whose admitted teachers all have a score.

        Raises:
            DataError: there is none.
        """
        prompts = [prompt for block in self._blocks for prompt in block.prompts]
        admitted_PT = self._stacked(lambda block: block.admitted_PT, bool)
        rewards_PT = np.where(admitted_PT, self._rewards(prompts), np.nan)
        keep = np.flatnonzero((np.isfinite(rewards_PT) | ~admitted_PT).all(axis=1) & admitted_PT.any(axis=1))
        if not len(keep):
            raise DataError(f"none of {len(prompts)} prompts has a score of every teacher that was sampled")
        clusters: dict[str, int] = {}
        keys = (cluster_key(p.prompt_id, p.source_id, p.language) for p in prompts)
        cost_PT = self._stacked(lambda block: block.cost_PT)
        by_name = self._by_name(rewards_PT[keep], keep)
        judges = [name for name in by_name if base_name(name) == JUDGE]
        whole = RewardMatrix(
            prompt_ids=tuple(p.prompt_id for p in prompts),
            queries=queries_of(prompts),
            cluster_P=np.fromiter((clusters.setdefault(k, len(clusters)) for k in keys), np.int64, len(prompts)),
            teachers=self.teachers,
            rewards_PT=rewards_PT,
        ).take(keep)
        matrix = RewardMatrix(
            whole.prompt_ids,
            whole.queries,
            whole.cluster_P,
            whole.teachers,
            whole.rewards_PT,
            rewards_by_name={name: reward_PT for name, reward_PT in by_name.items() if name not in judges},
            judge_PT=by_name[judges[0]] if judges else None,
            cost_PT=cost_PT[keep] if np.isfinite(cost_PT[keep][whole.admitted_PT]).all() else None,
        )
        return BuiltMatrix(matrix, len(prompts) - len(keep))

    def _rewards(self, prompts: Sequence[Prompt]) -> Floats:
        """Return the mean over samples, filtered ones at the floor of their language; NaN where there is nothing."""
        lowest = min(self._floors.values(), default=0.0)
        floor_P = np.array([self._floors.get(p.language, lowest) for p in prompts])
        scored_PT = self._stacked(lambda block: block.scored_PT)
        filtered_PT = self._stacked(lambda block: block.filtered_PT)
        if self._absent_is_lowest:
            filtered_PT = np.where(scored_PT + filtered_PT == 0, 1.0, filtered_PT)
        sum_PT = self._stacked(lambda block: block.sum_PT) + filtered_PT * floor_P[:, None]
        num_PT = scored_PT + filtered_PT
        means_PT: Floats = np.divide(sum_PT, num_PT, out=np.full(num_PT.shape, np.nan), where=num_PT > 0)
        return means_PT

    def _by_name(self, rewards_PT: Floats, keep: Rows) -> dict[str, Floats]:
        """Return the single rewards that know every cell."""
        found = {}
        for name in sorted({name for block in self._blocks for name in block.scores}):
            mine_PT = self._stacked(
                lambda block, name=name: block.scores.get(name, np.full(block.admitted_PT.shape, np.nan))
            )[keep]
            mine_PT = np.where(np.isfinite(rewards_PT), mine_PT, np.nan)
            if (np.isfinite(mine_PT) == np.isfinite(rewards_PT)).all():
                found[name] = mine_PT
        return found

    def _note_floors(self, prompts: Sequence[Prompt], samples: "_Samples", final: Floats) -> None:
        lows = np.full(len(prompts), np.inf)
        seen = np.isfinite(final)
        np.minimum.at(lows, samples.cells[0][seen], final[seen])
        for prompt, low in zip(prompts, lows, strict=True):
            if low < self._floors.get(prompt.language, np.inf):
                self._floors[prompt.language] = float(low)

    def _codes(self, names: pa.Array | pa.ChunkedArray) -> Rows:
        return _ints(pc.index_in(names, value_set=pa.array(self.teachers, pa.string())))

    def _stacked(self, part: Any, kind: type = float) -> NDArray[Any]:
        empty: NDArray[Any] = np.zeros((0, len(self.teachers)), kind)
        return np.concatenate([empty, *(part(block) for block in self._blocks)])


@dataclass(frozen=True, slots=True)
class _Samples:
    """The cell (prompt, teacher) of each candidate of a shard."""

    shape: tuple[int, int]
    cells: tuple[Rows, Rows]

    def sum(self, values: Floats) -> Floats:
        """Add the samples of each cell up, those without a value as 0."""
        found_PT: Floats = np.zeros(self.shape)
        np.add.at(found_PT, self.cells, np.nan_to_num(values))
        return found_PT

    def count(self, is_counted: Bools) -> Floats:
        """Count samples of each cell."""
        return self.sum(is_counted.astype(float))

    def mean(self, values: Floats) -> Floats:
        """Average the samples of each cell; NaN where one lacks a value, or there are none."""
        with np.errstate(invalid="ignore"):
            num_PT = self.count(np.ones(len(values), bool))
            is_whole = self.count(np.isfinite(values)) == num_PT
            found_PT: Floats = np.where(is_whole & (num_PT > 0), self.sum(values) / num_PT, np.nan)
        return found_PT


def _ints(array: pa.Array | pa.ChunkedArray) -> Rows:
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if whole.null_count:
        raise DataError("a row of the candidate table names a teacher that is not in the pool")
    return np.asarray(whole.to_numpy(zero_copy_only=False), np.int64)


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.combine_chunks().cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
