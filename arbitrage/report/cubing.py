"""Gather the dense candidate table from shards."""

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arbitrage.outcomes.clusters import cluster_key
from arbitrage.report.cube import Bools, Cube, Floats, Ints, Metric
from arbitrage.report.shardview import Roles, ShardView, route_kind

EXACT_PREFIX = "exact@"
"""The check whose value is the held-out metric."""


class CubeBuilder:
    """Takes in shards; the arrays are laid out when all teachers and samples are known."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self._num_prompts = 0
        self._languages: list[str] = []
        self._clusters: dict[str, int] = {}
        self._teachers: dict[str, int] = {}
        self._exact: str | None = None
        self._ensemble: str | None = None
        self._pieces: dict[str, list[NDArray[Any]]] = defaultdict(list)

    def add(self, shard: ShardView) -> None:
        """Take in one shard."""
        self._add_prompts(shard.prompts)
        self._add_drafts(shard)
        for name, routes in shard.routes.items():
            self._add_routes(name, routes, shard.prompts)
        self._num_prompts += shard.prompts.num_rows

    @property
    def teachers(self) -> tuple[str, ...]:
        """All teachers met so far, sorted."""
        return tuple(sorted(self._teachers))

    def build(self) -> Cube | None:
        """Return the cube of the prompts that can be judged: by the exact check those with a reference.

        None if nothing judges: neither an exact check nor an ensemble gave a value.
        """
        cells = (self._ints("prompt"), self._ints("teacher"), self._ints("sample"))
        reward, exact = self._floats("reward"), self._floats("exact")
        metric = self._metric(reward, exact)
        if metric is None:
            return None
        shape = (self._num_prompts, len(self._teachers), int(cells[2].max(initial=0)) + 1)
        languages = sorted(set(self._languages))
        code = {language: i for i, language in enumerate(languages)}
        answered_PTS = np.zeros(shape, dtype=bool)
        answered_PTS[cells] = True
        routes = {name: self._route(name, shape[:2]) for name in self._roles.routes}
        cube = Cube(
            languages=tuple(languages),
            teachers=tuple(self._teachers),
            language_P=np.array([code[language] for language in self._languages], dtype=np.int64),
            cluster_P=self._ints("cluster"),
            asked_PT=answered_PTS.any(axis=2) | routes.get(self._roles.main_route or "", np.zeros(shape[:2], bool)),
            answered_PTS=answered_PTS,
            reward_PTS=_scattered(shape, cells, reward),
            metric_PTS=_scattered(shape, cells, exact if metric.is_held_out else reward),
            metric=metric,
            routes={route_kind(name): route_PT for name, route_PT in routes.items()},
        ).with_teachers_sorted()
        return cube.only(self._whole("has_reference", bool)) if metric.is_held_out else cube

    def _metric(self, reward: Floats, exact: Floats) -> Metric | None:
        if self._exact is not None and np.isfinite(exact).any():
            return Metric(self._exact, "accuracy", is_held_out=True)
        if np.isfinite(reward).any():
            return Metric(self._ensemble or "ensemble", "score", is_held_out=False)
        return None

    def _add_prompts(self, prompts: pa.Table) -> None:
        languages = prompts["language"].to_pylist()
        self._languages.extend(languages)
        ids = zip(prompts["prompt_id"].to_pylist(), prompts["source_id"].to_pylist(), languages, strict=True)
        keys = [cluster_key(*row) for row in ids]
        codes = [self._clusters.setdefault(key, len(self._clusters)) for key in keys]
        self._pieces["cluster"].append(np.array(codes, dtype=np.int64))
        self._pieces["has_reference"].append(_numpy(pc.is_valid(prompts["reference"])))

    def _add_drafts(self, shard: ShardView) -> None:
        exact = shard.checks.filter(pc.starts_with(shard.checks["reward"], EXACT_PREFIX))
        self._exact = self._exact or _name_of(exact)
        self._ensemble = self._ensemble or _name_of(shard.final)
        pieces = self._pieces
        pieces["prompt"].append(_numpy(shard.prompt_of_draft) + self._num_prompts)
        pieces["teacher"].append(self._codes(shard.drafts["teacher"].combine_chunks()))
        pieces["sample"].append(_numpy(shard.drafts["sample_index"]))
        pieces["reward"].append(_values(shard, shard.final))
        pieces["exact"].append(_values(shard, exact))

    def _add_routes(self, step: str, routes: pa.Table, prompts: pa.Table) -> None:
        index = pc.index_in(routes["prompt_id"], value_set=prompts["prompt_id"].combine_chunks()).combine_chunks()
        named = routes["teachers"].combine_chunks()
        self._pieces[f"{step} prompt"].append(_numpy(index.take(pc.list_parent_indices(named))) + self._num_prompts)
        self._pieces[f"{step} teacher"].append(self._codes(pc.list_flatten(named)))

    def _codes(self, names: pa.Array) -> Ints:
        encoded = names.dictionary_encode()
        known = [self._teachers.setdefault(n, len(self._teachers)) for n in encoded.dictionary.to_pylist()]
        codes: Ints = np.array(known, dtype=np.int64)[_numpy(encoded.indices)]
        return codes

    def _route(self, step: str, shape: tuple[int, ...]) -> Bools:
        route_PT = np.zeros(shape, dtype=bool)
        route_PT[self._ints(f"{step} prompt"), self._ints(f"{step} teacher")] = True
        return route_PT

    def _ints(self, name: str) -> Ints:
        return self._whole(name, np.int64)

    def _floats(self, name: str) -> Floats:
        return self._whole(name, np.float64)

    def _whole(self, name: str, kind: type[np.generic] | type[bool]) -> NDArray[Any]:
        pieces = self._pieces[name]
        return np.concatenate(pieces).astype(kind) if pieces else np.empty(0, dtype=kind)


def _name_of(scores: pa.Table) -> str | None:
    return str(scores["reward"][0]) if scores.num_rows else None


def _values(shard: ShardView, scores: pa.Table) -> Floats:
    values: Floats = np.full(shard.drafts.num_rows, np.nan)
    if scores.num_rows:
        values[_numpy(shard.draft_of(scores))] = _numpy(scores["value"].combine_chunks())
    return values


def _scattered(shape: tuple[int, ...], cells: tuple[Ints, Ints, Ints], values: Floats) -> Floats:
    array: Floats = np.full(shape, np.nan)
    array[cells] = values
    return array


def _numpy(array: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return np.asarray(whole.to_numpy(zero_copy_only=False))
