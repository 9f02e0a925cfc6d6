"""Walk over a run shard by shard: of every shard, the rows of all steps that the report needs, joined by id."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from arbitrage.errors import DataError
from arbitrage.records import Candidate, PreferencePair, Record, Score, SftExample
from arbitrage.runs.layout import shards_in
from arbitrage.runs.run import Run
from arbitrage.tables import concat


@dataclass(frozen=True)
class CandidateShard:
    """One shard. Scores of checks and of rewards are apart, and `final` is what selection chose by.

    `routes` lacks the routers that had no say in this shard.
    """

    prompts: pa.Table
    routes: dict[str, pa.Table]
    drafts: pa.Table
    rewards: pa.Table
    checks: pa.Table
    final: pa.Table
    sft: pa.Table
    pairs: pa.Table

    @cached_property
    def prompt_of_draft(self) -> pa.Array:
        """For each draft, the row of its prompt."""
        return _index(self.drafts["prompt_id"], self.prompts["prompt_id"], "prompt")

    def draft_of(self, scores: pa.Table) -> pa.Array:
        """For each score, the row of its draft."""
        return _index(scores["candidate_id"], self.drafts["candidate_id"], "draft")

    @cached_property
    def language_of_draft(self) -> pa.Array:
        """For each draft, its prompt's language."""
        return self.prompts["language"].combine_chunks().take(self.prompt_of_draft)


@dataclass(frozen=True, slots=True)
class TableSteps:
    """Which steps of a run play which part; parts may be empty.

    Attributes:
        main_route: says who was asked; where the run asked in two ways, the first of them.
        selecting: rewards and checks that have a say in `final`, by weight or as a filter; plain names, as below.
        exact: checks that compare with a reference.
        opinions: rewards.
        routers: route step → what its router is called.
    """

    prompts: str
    routes: tuple[str, ...]
    main_route: str | None
    drafts: tuple[str, ...]
    rewards: tuple[str, ...]
    checks: tuple[str, ...]
    calibration: str | None
    final: str | None
    sft: str | None
    pairs: str | None
    selecting: frozenset[str] = frozenset()
    exact: tuple[str, ...] = ()
    opinions: tuple[str, ...] = ()
    routers: Mapping[str, str] = field(default_factory=dict)


def table_steps(run: Run) -> TableSteps:
    """Find the parts in a run's plan.

    Raises:
        DataError: the run has no candidate table.
    """
    named = run.plan.candidates
    if "verdicts" in named:
        raise DataError(f"{run.path}: is a run of judges, without candidates; `arbitrage judge … --html` draws it")
    if len(named.get("prompts", ())) != 1:
        raise DataError(f"{run.path}: has no candidate table to report on (run.json names no prompts step)")
    final = next(iter(named.get("final", ())), None)
    scores = [step for step in named.get("scores", ()) if step != final]
    drafts = named.get("drafts", ())
    asked = [step for name in drafts for step in run.step(name).inputs.get("routes", ())]
    return TableSteps(
        prompts=named["prompts"][0],
        routes=named.get("routes", ()),
        main_route=next(iter(asked), None),
        drafts=drafts,
        rewards=tuple(s for s in scores if run.step(s).facts.verb != "check"),
        checks=tuple(s for s in scores if run.step(s).facts.verb == "check"),
        calibration=next(iter(named.get("calibration", ())), None),
        final=final,
        sft=run.plan.datasets.get("sft"),
        pairs=run.plan.datasets.get("preference"),
        selecting=_selecting(run, final) if final else frozenset(),
        exact=_exact(run, scores),
        opinions=_opinions(run, scores),
        routers={step: run.step(step).facts.label for step in named.get("routes", ())},
    )


def _opinions(run: Run, scores: Sequence[str]) -> tuple[str, ...]:
    """Read from the plan what the rewards are called."""
    return tuple(sorted({scorer for step in scores if (scorer := run.step(step).facts.scorer)}))


def _exact(run: Run, scores: Sequence[str]) -> tuple[str, ...]:
    """Read from the plan which checks compare an answer with the prompt's reference."""
    checks = (check for step in scores for check in run.step(step).config.get("checks") or ())
    return tuple(dict.fromkeys(str(check["name"]) for check in checks if check.get("kind") == "exact"))


def _selecting(run: Run, final: str) -> frozenset[str]:
    """Read from the plan which rewards and checks decide what is selected."""
    config = run.step(final).config
    combined = config.get("ensemble") or {}
    weights = combined.get("weights") or {}
    filters = (each.get("check") for each in config.get("filters") or ())
    return frozenset((*(name for name, weight in weights.items() if weight), *filter(None, filters)))


def table_shards(run: Run, roles: TableSteps) -> Iterator[CandidateShard]:
    """Yield every shard of a finished run once, in order.

    Raises:
        DataError: a shard of a step is gone.
    """
    steps = (
        *(roles.prompts, *roles.routes, *roles.drafts, *roles.rewards, *roles.checks),
        *(step for step in (roles.final, roles.sft, roles.pairs) if step),
    )
    names = tuple(dict.fromkeys(steps))
    for name in names:
        gone = sorted(set(run.shards(name)) - shards_in(run.directory(name)))
        if gone:
            raise DataError(f"{run.directory(name)}: shard {gone[0]} is gone; run it again to make it anew")
    for shard in run.plan.shards:
        by_name: dict[str | None, pa.Table] = {
            name: run.shard(name, shard) for name in names if shard in run.shards(name)
        }
        yield CandidateShard(
            prompts=by_name[roles.prompts],
            routes={name: by_name[name] for name in roles.routes if name in by_name},
            drafts=_joined(by_name, roles.drafts, Candidate),
            rewards=_joined(by_name, roles.rewards, Score),
            checks=_joined(by_name, roles.checks, Score),
            final=_joined(by_name, (roles.final,), Score),
            sft=_joined(by_name, (roles.sft,), SftExample),
            pairs=_joined(by_name, (roles.pairs,), PreferencePair),
        )


def _joined(tables: dict[str | None, pa.Table], names: Sequence[str | None], record: type[Record]) -> pa.Table:
    return concat([tables[name] for name in names if name in tables], record).combine_chunks()


def _index(keys: pa.ChunkedArray, among: pa.ChunkedArray, what: str) -> pa.Array:
    found = pc.index_in(keys, value_set=among.combine_chunks()).combine_chunks()
    if found.null_count:
        lost = keys.filter(pc.is_null(found))[0]
        raise DataError(f"row {lost} names a {what} that is not in its shard")
    return found
