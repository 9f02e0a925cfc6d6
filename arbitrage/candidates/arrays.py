"""The candidate table as dense arrays: prompt × teacher × sample, for the reward and for the metric of a report.

`CandidateArraysBuilder` fills them shard by shard. 100,000 prompts × 12 teachers × 5 samples take 48 MB for each
array of floats. NaN means "no value" in these arrays only; rows and summaries have None.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arbitrage.candidates.calibration import CalibrationTable, calibrated_values
from arbitrage.candidates.queries import cluster_key
from arbitrage.candidates.table import CandidateShard, CandidateTable
from arbitrage.records import Route

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MetricColumn:
    """What strategies are judged by.

    Attributes:
        name: `exact@1`, the name of a reward, or that of the ensemble.
        kind: an `accuracy` is in [0, 1] and an absent answer counts as 0; a `score` has no zero, so absent
            answers are left out and relative differences make no sense.
        is_held_out: False where it had a say in the selection: the chosen answers then lead by it whatever they are
            worth, so that a lead is no evidence.
    """

    name: str
    kind: Literal["accuracy", "score"]
    is_held_out: bool

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the greatest mean there can be."""
        return (0.0, 1.0) if self.kind == "accuracy" else None


@dataclass(frozen=True, slots=True)
class CandidateArrays:
    """One table, all strategies.

    Attributes:
        languages, teachers: names, sorted; the codes and axes below count along them.
        language_P: language of each prompt.
        cluster_P: prompts that translate each other share a number.
        asked_PT: the run's router named this teacher.
        answered_PTS: the table holds a candidate (it may fail a filter).
        reward_PTS: the score by which selection chooses; NaN where there is none or a filter dropped the answer.
        metric_PTS: the score by which strategies are compared; NaN where there is none.
        metric: the judge.
        routes: for each other router that ran, the teachers it chose.
    """

    languages: tuple[str, ...]
    teachers: tuple[str, ...]
    language_P: Ints
    cluster_P: Ints
    asked_PT: Bools
    answered_PTS: Bools
    reward_PTS: Floats
    metric_PTS: Floats
    metric: MetricColumn
    routes: Mapping[str, Bools]

    @property
    def num_prompts(self) -> int:
        """Prompts in the table."""
        return len(self.language_P)

    @property
    def num_samples(self) -> int:
        """Samples drawn of each teacher."""
        return int(self.answered_PTS.shape[2])

    @property
    def has_reward(self) -> bool:
        """Tell whether any answer has a reward, without which nothing can be chosen by it."""
        return bool(np.isfinite(self.reward_PTS).any())

    def only(self, keep_P: Bools) -> "CandidateArrays":
        """Return the arrays of some of the prompts."""
        return replace(
            self,
            language_P=self.language_P[keep_P],
            cluster_P=self.cluster_P[keep_P],
            asked_PT=self.asked_PT[keep_P],
            answered_PTS=self.answered_PTS[keep_P],
            reward_PTS=self.reward_PTS[keep_P],
            metric_PTS=self.metric_PTS[keep_P],
            routes={name: route_PT[keep_P] for name, route_PT in self.routes.items()},
        )

    def with_teachers_sorted(self) -> "CandidateArrays":
        """Return the same arrays with its teachers in alphabetical order."""
        order = sorted(range(len(self.teachers)), key=lambda t: self.teachers[t])
        return replace(
            self,
            teachers=tuple(self.teachers[t] for t in order),
            asked_PT=self.asked_PT[:, order],
            answered_PTS=self.answered_PTS[:, order],
            reward_PTS=self.reward_PTS[:, order],
            metric_PTS=self.metric_PTS[:, order],
            routes={name: route_PT[:, order] for name, route_PT in self.routes.items()},
        )


_FINAL, _SCORE = "final", "score "


class CandidateArraysBuilder:
    """Takes in shards; the arrays are laid out when all teachers and samples are known."""

    def __init__(self, table: CandidateTable, calibrations: CalibrationTable | None = None) -> None:
        """Begin.

        Args:
            table: says what its steps are. A reward that selection does not choose by may become the metric.
            calibrations: put such a reward on one scale over languages; None: its raw scores are compared.
        """
        self._table = table
        self._exact = table.exact
        self._rewards = tuple(sorted(name for name in table.rewards if name not in table.selecting))
        self._calibrations = calibrations
        self._num_prompts = 0
        self._languages: list[str] = []
        self._clusters: dict[str, int] = {}
        self._teachers: dict[str, int] = {}
        self._names: dict[str, str] = {}  # key of a piece → `name@version`
        self._pieces: dict[str, list[NDArray[Any]]] = defaultdict(list)

    def add(self, shard: CandidateShard) -> None:
        """Take in one shard."""
        self._add_prompts(shard.prompts)
        self._add_candidates(shard)
        for step in self._table.routers:
            self._add_routes(step, shard)
        self._num_prompts += shard.prompts.num_rows

    @property
    def teachers(self) -> tuple[str, ...]:
        """All teachers met so far, sorted."""
        return tuple(sorted(self._teachers))

    def build(self) -> CandidateArrays | None:
        """Return the arrays of the prompts that can be compared: by an exact check, those with a reference.

        The metric is the first of these that gave a value: an exact check, then a reward, that selection does not
        choose by; an exact check, then the ensemble, by which it does. None if none of them did.
        """
        cells = (self._ints("prompt"), self._ints("teacher"), self._ints("sample"))
        reward = self._floats(_FINAL)
        found = self._metric(reward)
        if found is None:
            return None
        metric, values = found
        shape = (self._num_prompts, len(self._teachers), int(cells[2].max(initial=0)) + 1)
        languages = sorted(set(self._languages))
        code = {language: i for i, language in enumerate(languages)}
        answered_PTS = np.zeros(shape, dtype=bool)
        answered_PTS[cells] = True
        routes = {name: self._route(name, shape[:2]) for name in self._table.routers}
        arrays = CandidateArrays(
            languages=tuple(languages),
            teachers=tuple(self._teachers),
            language_P=np.array([code[language] for language in self._languages], dtype=np.int64),
            cluster_P=self._ints("cluster"),
            asked_PT=answered_PTS.any(axis=2) | routes.get(self._table.main_route or "", np.zeros(shape[:2], bool)),
            answered_PTS=answered_PTS,
            reward_PTS=_scattered(shape, cells, reward),
            metric_PTS=_scattered(shape, cells, values),
            metric=metric,
            routes={self._table.routers[name]: route_PT for name, route_PT in routes.items()},
        ).with_teachers_sorted()
        return arrays.only(self._whole("has_reference", bool)) if metric.kind == "accuracy" else arrays

    def _metric(self, reward: Floats) -> tuple[MetricColumn, Floats] | None:
        """Return the metric and its value for each candidate."""
        for is_held_out in (True, False):
            if found := self._best_covered(self._exact, is_held_out):
                return MetricColumn(self._names[found], "accuracy", is_held_out), self._floats(found)
            if is_held_out and (found := self._best_covered(self._rewards, is_held_out)):
                values = self._floats(found)
                # a score of a few answers says little of strategies that choose among all
                if 2 * np.isfinite(values).sum() >= np.isfinite(reward).sum():
                    return MetricColumn(self._names[found], "score", is_held_out), values
        if np.isfinite(reward).any():
            return MetricColumn(self._names.get(_FINAL, "ensemble"), "score", is_held_out=False), reward
        return None

    def _best_covered(self, names: Iterable[str], is_held_out: bool) -> str | None:
        """Return the key of the scores with most values, the first where several have; None where none has any."""
        counts = {
            key: int(np.isfinite(self._floats(key)).sum())
            for name in names
            if (key := f"{_SCORE}{name}") in self._names and (name not in self._table.selecting) == is_held_out
        }
        best = max(counts, key=lambda key: counts[key], default=None)
        return best if best is not None and counts[best] else None

    def _add_prompts(self, prompts: pa.Table) -> None:
        languages = prompts["language"].to_pylist()
        self._languages.extend(languages)
        ids = zip(prompts["prompt_id"].to_pylist(), prompts["source_id"].to_pylist(), languages, strict=True)
        keys = [cluster_key(*row) for row in ids]
        codes = [self._clusters.setdefault(key, len(self._clusters)) for key in keys]
        self._pieces["cluster"].append(np.array(codes, dtype=np.int64))
        self._pieces["has_reference"].append(_numpy(pc.is_valid(prompts["reference"])))

    def _add_candidates(self, shard: CandidateShard) -> None:
        pieces = self._pieces
        pieces["prompt"].append(shard.prompt_rows(shard.candidates) + self._num_prompts)
        pieces["teacher"].append(self._codes(shard.candidates["teacher"].combine_chunks()))
        pieces["sample"].append(_numpy(shard.candidates["sample_index"]))
        self._add_score(_FINAL, shard, shard.final)
        for name in self._exact:
            self._add_score(f"{_SCORE}{name}", shard, shard.scores(name))
        for name in self._rewards:
            scores = shard.scores(name)
            scores = scores.filter(pc.is_valid(scores["value"]))
            self._add_score(f"{_SCORE}{name}", shard, _on_one_scale(self._calibrations, shard, scores))

    def _add_score(self, key: str, shard: CandidateShard, scores: pa.Table) -> None:
        if key not in self._names and scores.num_rows:
            self._names[key] = str(scores["reward"][0])
        self._pieces[key].append(shard.values_of(scores))

    def _add_routes(self, step: str, shard: CandidateShard) -> None:
        routes = shard.inputs.table(step, Route)
        named = routes["teachers"].combine_chunks()
        prompt_rows = shard.prompt_rows(routes)[_numpy(pc.list_parent_indices(named))]
        self._pieces[f"{step} prompt"].append(prompt_rows + self._num_prompts)
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


def _scattered(shape: tuple[int, ...], cells: tuple[Ints, Ints, Ints], values: Floats) -> Floats:
    array: Floats = np.full(shape, np.nan)
    array[cells] = values
    return array


def _numpy(array: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return np.asarray(whole.to_numpy(zero_copy_only=False))


def _on_one_scale(calibrations: CalibrationTable | None, shard: CandidateShard, scores: pa.Table) -> pa.Table:
    """Calibrate the scores of one reward, where there is a calibration."""
    if calibrations is None or not scores.num_rows:
        return scores
    values = calibrated_values(calibrations, shard, scores)
    if values.null_count == len(values):  # this reward was left out of the calibration
        return scores
    return scores.set_column(scores.schema.get_field_index("value"), "value", values)
