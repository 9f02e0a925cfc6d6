"""The candidate table, prompts × teachers × samples × scores, shard by shard. Its rows are joined by id here alone.

A step reads the shard of its inputs; a reader of a run reads the same from files, one shard in memory at a time:

    shard = CandidateShard(inputs)
    for shard in CandidateTable.of(open_run(path)).shards():
        for row in shard.joined():
            row.prompt, row.candidate, row.scores, row.final
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arbitrage.contracts.rewards import Scorable
from arbitrage.contracts.workers import Inputs
from arbitrage.errors import ConservationError, DataError
from arbitrage.records import Candidate, Prompt, Record, Route, Score, base_name
from arbitrage.runs.layout import shards_in
from arbitrage.runs.run import Run

RowNumbers = NDArray[np.int64]

FILTERED = "filter:"
"""How the error of a final score begins where a candidate failed a filter; the check's name follows."""


@dataclass(frozen=True, slots=True)
class JoinedCandidate(Scorable):
    """A candidate with its prompt and its scores.

    Attributes:
        scores: of single rewards and checks, in the order of the table.
        final: the score by which selection chooses; None where the shard has none for this candidate.
    """

    scores: tuple[Score, ...] = ()
    final: Score | None = None


def value_by(name: str, scores: Sequence[Score]) -> float | None:
    """Return the value that the reward or check of this name, whatever its version, gave a candidate."""
    return next((score.value for score in scores if base_name(score.reward) == name), None)


@dataclass(frozen=True)
class CandidateShard:
    """One shard of a candidate table. Roles that are not among the inputs have no rows.

    Attributes:
        inputs: the rows by role: `prompts`, `routes`, `candidates`, `scores` of single rewards and checks, `final`.
        candidates_role, scores_role, final_role: others, where a step reads two groups of candidates.
    """

    inputs: Inputs
    candidates_role: str = "candidates"
    scores_role: str = "scores"
    final_role: str = "final"

    @cached_property
    def prompts(self) -> pa.Table:
        """Rows of Prompt."""
        return self._table("prompts", Prompt)

    @cached_property
    def routes(self) -> pa.Table:
        """Rows of Route."""
        return self._table("routes", Route)

    @cached_property
    def candidates(self) -> pa.Table:
        """Rows of Candidate, teacher by teacher."""
        return self._table(self.candidates_role, Candidate)

    @cached_property
    def final(self) -> pa.Table:
        """Rows of Score: the score by which selection chooses."""
        return self._table(self.final_role, Score)

    def scores(self, *names: str) -> pa.Table:
        """Return the Scores of the rewards and checks of these names, whatever their versions; without names, all."""
        if not names:
            return self._scores
        reward = self._scores["reward"]
        wanted = [each for each in pc.unique(reward).to_pylist() if base_name(each) in names]
        return self._scores.filter(pc.is_in(reward, pa.array(wanted, pa.string())))

    @cached_property
    def _scores(self) -> pa.Table:
        return self._table(self.scores_role, Score)

    @cached_property
    def by_id(self) -> Mapping[str, JoinedCandidate]:
        """The candidates with their prompts and scores, by candidate id. Raises like `joined`."""
        return {row.candidate.candidate_id: row for row in self.joined()}

    @cached_property
    def prompts_by_id(self) -> Mapping[str, Prompt]:
        """The prompts, by id."""
        return {prompt.prompt_id: prompt for prompt in self.inputs.records("prompts", Prompt)}

    @cached_property
    def teachers_by_prompt(self) -> Mapping[str, tuple[str, ...]]:
        """The teachers that each prompt is sent to, by prompt id; prompts without a route are not in it."""
        found: dict[str, tuple[str, ...]] = {}
        for route in self.inputs.records("routes", Route):
            found[route.prompt_id] = found.get(route.prompt_id, ()) + route.teachers
        return found

    def joined(self) -> list[JoinedCandidate]:
        """Return each candidate with its prompt and scores, in the order of the candidates.

        Raises:
            ConservationError: a row names a prompt or candidate that is not in this shard.
            DataError: two final scores of one candidate, or a score that names another prompt than its candidate.
        """
        candidates = self.inputs.records(self.candidates_role, Candidate)
        prompts = self.prompts_by_id
        for candidate in candidates:
            if candidate.prompt_id not in prompts:
                raise ConservationError(
                    f"candidate {candidate.candidate_id} of {candidate.teacher} has prompt {candidate.prompt_id}, "
                    f"which is not among the {len(prompts)} prompts of its shard"
                )
        prompt_of = {candidate.candidate_id: candidate.prompt_id for candidate in candidates}
        scores: defaultdict[str, list[Score]] = defaultdict(list)
        for score in self.inputs.records(self.scores_role, Score):
            _require_same_prompt(score, prompt_of)
            scores[score.candidate_id].append(score)
        final: dict[str, Score] = {}
        for score in self.inputs.records(self.final_role, Score):
            _require_same_prompt(score, prompt_of)
            if (other := final.setdefault(score.candidate_id, score)) is not score:
                both = f"{other.reward} and {score.reward}"
                raise DataError(f"candidate {score.candidate_id} is scored by {both}: select by one final score")
        return [
            JoinedCandidate(
                prompt=prompts[candidate.prompt_id],
                candidate=candidate,
                scores=tuple(scores.get(candidate.candidate_id, ())),
                final=final.get(candidate.candidate_id),
            )
            for candidate in candidates
        ]

    def by_prompt(self) -> list[tuple[Prompt, list[JoinedCandidate]]]:
        """Return each prompt with its candidates, which may be none, in order of prompt id. Raises like `joined`."""
        found: defaultdict[str, list[JoinedCandidate]] = defaultdict(list)
        for row in self.joined():
            found[row.prompt.prompt_id].append(row)
        return [(prompt, found[key]) for key, prompt in sorted(self.prompts_by_id.items())]

    def of_prompts(self, prompt_ids: Sequence[str]) -> "CandidateShard":
        """Return the rows of some of the prompts."""
        wanted = pa.array(prompt_ids, pa.string())
        rows = {
            "prompts": self.prompts,
            "routes": self.routes,
            self.candidates_role: self.candidates,
            self.scores_role: self._scores,
            self.final_role: self.final,
        }
        kept = {role: (table.filter(pc.is_in(table["prompt_id"], wanted)),) for role, table in rows.items()}
        return replace(self, inputs=Inputs(kept))

    def with_own_scores(self) -> "CandidateShard":
        """Return the same shard without final scores of candidates that are not in it."""
        is_own = pc.is_in(self.final["candidate_id"], value_set=self.candidates["candidate_id"].combine_chunks())
        roles = ("prompts", "routes", self.candidates_role, self.scores_role)
        tables = {role: self.inputs.tables.get(role, ()) for role in roles}
        return replace(self, inputs=Inputs({**tables, self.final_role: (self.final.filter(is_own),)}))

    def prompt_rows(self, rows: pa.Table) -> RowNumbers:
        """Return for each row of a table with `prompt_id` the number of its prompt's row.

        Raises:
            ConservationError: a prompt is not in this shard.
        """
        return _row_numbers(rows["prompt_id"], self.prompts["prompt_id"], "prompt")

    def candidate_rows(self, scores: pa.Table) -> RowNumbers:
        """Return for each row of a table with `candidate_id` the number of its candidate's row.

        Raises:
            ConservationError: a candidate is not in this shard.
        """
        return _row_numbers(scores["candidate_id"], self.candidates["candidate_id"], "candidate")

    def languages_of(self, rows: pa.Table) -> pa.Array:
        """Return for each row of a table with `prompt_id` the language of its prompt. Raises ConservationError."""
        return self.prompts["language"].combine_chunks().take(pa.array(self.prompt_rows(rows)))

    def has_final_value(self, rows: pa.Table) -> pa.ChunkedArray:
        """Return for each row of a table with `candidate_id` whether its candidate has a final score with a value."""
        scored = self.final.filter(pc.is_valid(self.final["value"]))["candidate_id"]
        return pc.is_in(rows["candidate_id"], value_set=scored.combine_chunks())

    def values_of(self, scores: pa.Table) -> NDArray[np.float64]:
        """Return for each candidate its value in a table of one Score each; NaN where it has none."""
        values: NDArray[np.float64] = np.full(self.candidates.num_rows, np.nan)
        values[self.candidate_rows(scores)] = scores["value"].combine_chunks().to_numpy(zero_copy_only=False)
        return values

    def _table(self, role: str, record: type[Record]) -> pa.Table:
        return self.inputs.table(role, record)


def _require_same_prompt(score: Score, prompt_of: Mapping[str, str]) -> None:
    prompt_id = prompt_of.get(score.candidate_id)
    if prompt_id is None:
        raise ConservationError(
            f"{score.reward} scored candidate {score.candidate_id}, which is not among the candidates of its shard"
        )
    if prompt_id != score.prompt_id:
        raise DataError(
            f"candidate {score.candidate_id} answers prompt {prompt_id}, "
            f"its score by {score.reward} names prompt {score.prompt_id}"
        )


def _row_numbers(ids: pa.ChunkedArray, among: pa.ChunkedArray, what: str) -> RowNumbers:
    found = pc.index_in(ids, value_set=among.combine_chunks()).combine_chunks()
    if found.null_count:
        lost = ids.filter(pc.is_null(found))[0]
        raise ConservationError(
            f"a row names {what} {lost}, which is not among the {len(among)} {what}s of its shard"
        )
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)


class StoredTables(Mapping[str, tuple[pa.Table, ...]]):
    """Shard k of a run's steps, by role or by the step's own name; each file is read when it is first used."""

    def __init__(
        self,
        run: Run,
        steps: Mapping[str, Sequence[str]],
        shard: int,
        readable: dict[str, frozenset[int]] | None = None,
    ) -> None:
        """Begin.

        Args:
            run: finished or under way.
            steps: role → steps.
            shard: k; of a step over the whole corpus, its one shard is read.
            readable: step → shards to read, filled here; one for all shards of a pass saves listing the files again.
        """
        self._run, self._steps, self._shard = run, steps, shard
        self._readable = {} if readable is None else readable
        self._read: dict[str, tuple[pa.Table, ...]] = {}

    def __getitem__(self, key: str) -> tuple[pa.Table, ...]:
        """Return one table for each step of a role that has this shard. Raises KeyError where the run has neither."""
        if key not in self._read:
            if key not in self._steps and key not in self._run.plan.facts:
                raise KeyError(key)
            self._read[key] = tuple(self._tables(self._steps.get(key, (key,))))
        return self._read[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the roles."""
        return iter(self._steps)

    def __len__(self) -> int:
        """Return the number of roles."""
        return len(self._steps)

    def _tables(self, steps: Sequence[str]) -> Iterator[pa.Table]:
        for step in steps:
            shard = 0 if self._run.step(step).scope == "corpus" else self._shard
            if step not in self._readable:
                self._readable[step] = frozenset(self._run.readable(step))
            if shard in self._readable[step]:
                yield self._run.shard(step, shard)


@dataclass(frozen=True)
class CandidateTable:
    """The candidate table of a run: its steps by role, and what they are.

    Attributes:
        run: finished or under way.
        steps: role → names of steps. `final` has at most one, which is not among `scores`.
        is_part: whether these are not all of its candidates: `final` then has rows of others, which are left out.
    """

    run: Run
    steps: Mapping[str, tuple[str, ...]]
    is_part: bool = False

    @classmethod
    def of(cls, run: Run) -> "CandidateTable":
        """Return the table that a run's plan names.

        Raises:
            DataError: the run has no candidate table.
        """
        return cls(run, _steps_of(run))

    def shards(self) -> Iterator[CandidateShard]:
        """Yield every shard whose prompts were read, in order. Its files are read as they are used."""
        for number in self.run.readable(self.prompts):
            yield self.shard(number)

    def shard(self, number: int) -> CandidateShard:
        """Return one shard. Its files are read as they are used."""
        shard = CandidateShard(Inputs(StoredTables(self.run, self.steps, number, self._readable)))
        return shard.with_own_scores() if self.is_part else shard

    @cached_property
    def _readable(self) -> dict[str, frozenset[int]]:
        return {}

    def require_complete(self) -> None:
        """Check that no shard of the table or of its data sets is gone.

        Raises:
            DataError: a shard is gone.
        """
        table = (self.steps[role] for role in ("prompts", "routes", "candidates", "scores", "final"))
        for step in dict.fromkeys((*chain.from_iterable(table), *self.run.plan.datasets.values())):
            gone = sorted(set(self.run.shards(step)) - shards_in(self.run.directory(step)))
            if gone:
                raise DataError(f"{self.run.directory(step)}: shard {gone[0]} is gone; run it again to make it anew")

    def routed_by(self, routes: Sequence[str]) -> "CandidateTable":
        """Return the part of the table that some of the route steps sent to teachers."""
        of = self.run.step
        candidates = tuple(s for s in self.steps["candidates"] if set(of(s).inputs.get("routes", ())) & set(routes))
        scores = tuple(s for s in self.steps["scores"] if set(of(s).inputs["candidates"]) & set(candidates))
        part = {"routes": tuple(routes), "candidates": candidates, "scores": scores}
        return replace(self, steps={**self.steps, **part}, is_part=True)

    @property
    def prompts(self) -> str:
        """The step of the prompts."""
        return self.steps["prompts"][0]

    @property
    def sft(self) -> str | None:
        """The step that selects the SFT data, if one does."""
        return self.run.plan.datasets.get("sft")

    @property
    def pairs(self) -> str | None:
        """The step that selects the preference pairs, if one does."""
        return self.run.plan.datasets.get("preference")

    @cached_property
    def sampling_routes(self) -> tuple[str, ...]:
        """The route steps by which teachers were sampled, in order of the plan; others are there for comparison."""
        used = {route for step in self.steps["candidates"] for route in self.run.step(step).inputs.get("routes", ())}
        return tuple(step.name for step in self.run.plan.steps if step.name in used)

    @property
    def main_route(self) -> str | None:
        """The route step by which the first teacher was sampled."""
        routes = (
            route for step in self.steps["candidates"] for route in self.run.step(step).inputs.get("routes", ())
        )
        return next(routes, None)

    def is_comparable(self, shard: CandidateShard) -> bool:
        """Tell whether the main route has a say in a shard: elsewhere strategies cannot be compared."""
        main = self.main_route
        return main is None or main not in self.routers or bool(shard.inputs.tables[main])

    @cached_property
    def teachers(self) -> tuple[str, ...]:
        """The teachers that were sampled, sorted."""
        names = {self.run.step(step).facts.teacher for step in self.steps["candidates"]}
        return tuple(sorted(filter(None, names)))

    @cached_property
    def routers(self) -> Mapping[str, str]:
        """Route step → what its router is called."""
        return {step: self.run.step(step).facts.label for step in self.steps["routes"]}

    @cached_property
    def rewards(self) -> tuple[str, ...]:
        """Names of the rewards, in order of the plan."""
        scorers = (self.run.step(step).facts.scorer for step in self.steps["scores"])
        return tuple(dict.fromkeys(filter(None, scorers)))

    @cached_property
    def checks(self) -> Mapping[str, Mapping[str, Any]]:
        """Name → config of the checks, in order of the plan."""
        configs = (self.run.step(step).config.get("checks") or () for step in self.steps["scores"])
        return {str(check["name"]): check for check in chain.from_iterable(configs)}

    @cached_property
    def exact(self) -> tuple[str, ...]:
        """Names of the checks that compare a candidate with the prompt's reference."""
        return tuple(name for name, check in self.checks.items() if check.get("kind") == "exact")

    @cached_property
    def selecting(self) -> frozenset[str]:
        """Names of the rewards and checks that decide what is selected, by weight or as a filter."""
        config = self.run.step(self.steps["final"][0]).config if self.steps["final"] else {}
        weights = (config.get("ensemble") or {}).get("weights") or {}
        filters = (each.get("check") for each in config.get("filters") or ())
        return frozenset((*(name for name, weight in weights.items() if weight), *filter(None, filters)))


def _steps_of(run: Run) -> dict[str, tuple[str, ...]]:
    table = run.plan.table
    if "verdicts" in table:
        raise DataError(f"{run.path}: is a run of judges, without candidates; `arbitrage judge … --html` draws it")
    if len(table.get("prompts", ())) != 1 or not table.get("candidates"):
        raise DataError(f"{run.path}: has no candidate table (run.json names no prompts or no candidates step)")
    final = table.get("final", ())[:1]
    found = {role: table.get(role, ()) for role in ("routes", "scores", "calibration")}
    found["scores"] = tuple(step for step in found["scores"] if step not in final)
    return {**table, **found, "final": final}
