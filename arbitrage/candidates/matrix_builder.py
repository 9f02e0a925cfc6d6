"""Build a reward matrix from rows of a candidate table, shard by shard.

A cell is the mean final score of a teacher's samples. A sample that fails a filter cannot be selected and counts as
the lowest score of its language: left out, it would make a teacher whose candidates often fail look good.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arbitrage.candidates.matrix import Bools, Floats, RewardMatrix
from arbitrage.candidates.queries import Rows, cluster_key, queries_of
from arbitrage.errors import DataError
from arbitrage.records import Prompt
from arbitrage.tables import from_table

FILTERED: Final = "filter:"
"""How the error of a final score begins where a candidate failed a filter."""
JUDGE: Final = "exact"
"""The opinion that routers are not trained for, by plain name."""


@dataclass(frozen=True, slots=True)
class MatrixRows:
    """One shard of a candidate table in which every eligible teacher was asked.

    Attributes:
        prompts, routes, drafts, final: rows of Prompt, Route, Candidate and Score.
        opinions: Scores of single rewards; may be empty.
    """

    prompts: pa.Table
    routes: pa.Table
    drafts: pa.Table
    final: pa.Table
    opinions: pa.Table


@dataclass(frozen=True, slots=True)
class BuiltMatrix:
    """A matrix, and how many routed prompts are not in it: a teacher that was asked gave nothing that was scored."""

    matrix: RewardMatrix
    num_dropped: int


@dataclass(frozen=True, slots=True)
class _Block:
    prompts: Sequence[Prompt]
    admitted_PT: Bools
    sum_PT: Floats
    scored_PT: Floats
    gated_PT: Floats
    cost_PT: Floats
    opinions: Mapping[str, Floats]


class MatrixBuilder:
    """Takes in shards; keeps the prompts and a few numbers for each cell.

    Args:
        teachers: the pool; columns are its names, sorted.
    """

    def __init__(self, teachers: Sequence[str]) -> None:
        self.teachers = tuple(sorted(teachers))
        self._blocks: list[_Block] = []
        self._floors: dict[str, float] = {}

    def add(self, rows: MatrixRows) -> None:
        """Take in the routed prompts of one shard."""
        ids = rows.routes["prompt_id"].combine_chunks()
        place = pc.index_in(ids, value_set=rows.prompts["prompt_id"].combine_chunks())
        prompts = from_table(rows.prompts.take(place), Prompt)
        shape = (len(prompts), len(self.teachers))
        named = rows.routes["teachers"].combine_chunks()
        admitted_PT = np.zeros(shape, bool)
        admitted_PT[_ints(pc.list_parent_indices(named)), self._codes(pc.list_flatten(named))] = True
        cells = _ints(pc.index_in(rows.drafts["prompt_id"], value_set=ids)), self._codes(rows.drafts["teacher"])
        samples = _Samples(shape, cells, rows.drafts["candidate_id"].combine_chunks())
        final = samples.read(rows.final)
        self._note_floors(prompts, samples, final)
        is_gated = samples.where(rows.final.filter(pc.starts_with(rows.final["error"], FILTERED)))
        cost = _floats(rows.drafts["cost_usd"])
        block = _Block(
            prompts=prompts,
            admitted_PT=admitted_PT,
            sum_PT=samples.sum(final),
            scored_PT=samples.count(np.isfinite(final)),
            gated_PT=samples.count(is_gated),
            cost_PT=np.where(samples.count(np.isfinite(cost)) > 0, samples.sum(cost), np.nan),
            opinions={name: samples.mean(samples.read(scores)) for name, scores in _by_name(rows.opinions)},
        )
        self._blocks.append(block)

    def build(self) -> BuiltMatrix:
        """Return the matrix of the prompts whose asked teachers all have a score.

        Raises:
            DataError: there is none.
        """
        prompts = [prompt for block in self._blocks for prompt in block.prompts]
        admitted_PT = self._stacked(lambda block: block.admitted_PT, bool)
        rewards_PT = np.where(admitted_PT, self._rewards(prompts), np.nan)
        keep = np.flatnonzero((np.isfinite(rewards_PT) | ~admitted_PT).all(axis=1) & admitted_PT.any(axis=1))
        if not len(keep):
            raise DataError(f"none of {len(prompts)} prompts has a score of every teacher that was asked")
        clusters: dict[str, int] = {}
        keys = (cluster_key(p.prompt_id, p.source_id, p.language) for p in prompts)
        cost_PT = self._stacked(lambda block: block.cost_PT)
        opinions = self._opinions(rewards_PT[keep], keep)
        judges = [name for name in opinions if name.partition("@")[0] == JUDGE]
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
            rewards_by_name={name: reward_PT for name, reward_PT in opinions.items() if name not in judges},
            judge_PT=opinions[judges[0]] if judges else None,
            cost_PT=cost_PT[keep] if np.isfinite(cost_PT[keep][whole.admitted_PT]).all() else None,
        )
        return BuiltMatrix(matrix, len(prompts) - len(keep))

    def _rewards(self, prompts: Sequence[Prompt]) -> Floats:
        """Return the mean over samples, filtered ones at the floor of their language; NaN where there is nothing."""
        lowest = min(self._floors.values(), default=0.0)
        floor_P = np.array([self._floors.get(p.language, lowest) for p in prompts])
        scored_PT = self._stacked(lambda block: block.scored_PT)
        gated_PT = self._stacked(lambda block: block.gated_PT)
        sum_PT = self._stacked(lambda block: block.sum_PT) + gated_PT * floor_P[:, None]
        num_PT = scored_PT + gated_PT
        means_PT: Floats = np.divide(sum_PT, num_PT, out=np.full(num_PT.shape, np.nan), where=num_PT > 0)
        return means_PT

    def _opinions(self, rewards_PT: Floats, keep: Rows) -> dict[str, Floats]:
        """Return the single rewards that know every cell."""
        found = {}
        for name in sorted({name for block in self._blocks for name in block.opinions}):
            mine_PT = self._stacked(
                lambda block, name=name: block.opinions.get(name, np.full(block.admitted_PT.shape, np.nan))
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
    """A shard's answers, and the cell (prompt, teacher) of each."""

    shape: tuple[int, int]
    cells: tuple[Rows, Rows]
    ids: pa.Array

    def read(self, scores: pa.Table) -> Floats:
        """Return each sample's value; NaN where it has none."""
        values: Floats = np.full(len(self.ids), np.nan)
        values[self._places(scores)] = _floats(scores["value"])
        return values

    def where(self, scores: pa.Table) -> Bools:
        """Tell which samples have a row."""
        found = np.zeros(len(self.ids), bool)
        found[self._places(scores)] = True
        return found

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

    def _places(self, scores: pa.Table) -> Rows:
        return _ints(pc.index_in(scores["candidate_id"], value_set=self.ids))


def _by_name(opinions: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for name in pc.unique(opinions["reward"]).to_pylist():
        yield name, opinions.filter(pc.equal(opinions["reward"], name))


def _ints(array: pa.Array | pa.ChunkedArray) -> Rows:
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if whole.null_count:
        raise DataError("a row of the candidate table names a prompt, teacher or answer that is not in its shard")
    return np.asarray(whole.to_numpy(zero_copy_only=False), np.int64)


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.combine_chunks().cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
