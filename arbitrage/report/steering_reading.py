"""Read what steering did: for each prompt that was kept, every metric of its candidates, by whom they were taken."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from arbitrage.candidates.queries import cluster_key
from arbitrage.candidates.table import CandidateShard, CandidateTable, JoinedCandidate
from arbitrage.records import Measurement, MetricScale, SteeredExample, SteeringChoice, base_name, content_id
from arbitrage.steering.objectives import REWARD
from arbitrage.steering.scale import ScaleTable
from arbitrage.tables import from_table

STEERED = "steered"
CHECK = "check "
"""Stands before the name of a check, so that it is not taken for the metric of that name."""
EXAMPLES_PER_LANGUAGE = 2

Values = dict[str, float]
"""Metric → value; the reward in standard deviations of its language, a check's verdict under `check <name>`."""


@dataclass(frozen=True, slots=True)
class Trio:
    """One kept prompt: means over all its candidates, and the values of the two that were taken."""

    language: str
    cluster: str
    before: Values
    control: Values
    steered: Values


@dataclass(frozen=True, slots=True)
class SideBySide:
    """One prompt with the answer that steering took and the one that chance took."""

    prompt_id: str
    language: str
    question: str
    steered: str
    control: str
    steered_teacher: str
    control_teacher: str
    values: tuple[tuple[str, float | None, float | None], ...]  # objective, steered, control


@dataclass
class SteeringRows:
    """All that the report needs of a steering run.

    Attributes:
        trios: kept prompts, in the order of the shards.
        reasons: language → reason → prompts without a steered row.
        num_prompts: by language.
        wanted: by language, where there is a quota.
        examples: of each language those with the lowest hash among prompts where the two texts differ.
    """

    scales: ScaleTable
    trios: list[Trio] = field(default_factory=list)
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    num_prompts: Counter[str] = field(default_factory=Counter)
    wanted: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[tuple[str, SideBySide]]] = field(default_factory=lambda: defaultdict(list))


def read_steering(table: CandidateTable, objectives: tuple[str, ...]) -> SteeringRows:
    """Read a steering run shard by shard."""
    run = table.run
    found = SteeringRows(ScaleTable(from_table(run.table(table.steps["scales"][0]), MetricScale)))
    for step in table.steps.get("quotas", ()):
        found.wanted = {row["language"]: row["wanted"] for row in run.table(step).to_pylist()}
    selection = run.plan.datasets[STEERED]
    for shard in table.shards():
        kept = frozenset(shard.inputs.table(selection, SteeredExample)["prompt_id"].to_pylist())
        _add_shard(shard, kept, _values(shard, frozenset(table.checks), found.scales), objectives, found)
    for report in run.manifest.steps:
        if report.name in (*table.steps["choices"], selection):
            for account in report.accounts:
                found.reasons[account.language].update(account.rejected)
    return found


def _add_shard(
    shard: CandidateShard,
    kept: frozenset[str],
    values: Mapping[str, Values],
    objectives: tuple[str, ...],
    found: SteeringRows,
) -> None:
    found.num_prompts.update(shard.prompts["language"].to_pylist())
    for choice in shard.inputs.records("choices", SteeringChoice):
        if choice.prompt_id not in kept:
            continue
        steered, control = shard.by_id[choice.steered_id], shard.by_id[choice.control_id]
        prompt = steered.prompt
        found.trios.append(
            Trio(
                language=choice.language,
                cluster=cluster_key(prompt.prompt_id, prompt.source_id, prompt.language),
                before=_mean([values[candidate_id] for candidate_id in choice.considered]),
                control=values[choice.control_id],
                steered=values[choice.steered_id],
            )
        )
        if steered.candidate.shown != control.candidate.shown:
            _keep_example(found, _side_by_side(steered, control, values, objectives))


def _values(shard: CandidateShard, checks: frozenset[str], scales: ScaleTable) -> dict[str, Values]:
    """Return candidate id → the metrics, the reward and the checks that have a value."""
    values: dict[str, Values] = defaultdict(dict)
    measures = shard.inputs.table("measures", Measurement).select(["candidate_id", "metric", "value"])
    for candidate_id, metric, value in zip(*(column.to_pylist() for column in measures.columns), strict=True):
        if value is not None:
            values[candidate_id][metric] = value
    for candidate_id, row in shard.by_id.items():
        scale = scales.row(REWARD, row.prompt.language)
        if row.final is not None and row.final.value is not None and scale is not None:
            values[candidate_id][REWARD] = (row.final.value - scale.mean) / scale.sd
        for score in row.scores:
            if score.value is not None and (name := base_name(score.reward)) in checks:
                values[candidate_id][CHECK + name] = score.value
    return values


def _mean(rows: list[Values]) -> Values:
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}


def _side_by_side(
    steered: JoinedCandidate, control: JoinedCandidate, values: Mapping[str, Values], objectives: tuple[str, ...]
) -> SideBySide:
    mine, other = (values[row.candidate.candidate_id] for row in (steered, control))
    prompt = steered.prompt
    return SideBySide(
        prompt_id=prompt.prompt_id,
        language=prompt.language,
        question=prompt.messages[-1].shown,
        steered=steered.candidate.shown,
        control=control.candidate.shown,
        steered_teacher=steered.candidate.teacher,
        control_teacher=control.candidate.teacher,
        values=tuple((name, mine.get(name), other.get(name)) for name in (*objectives, REWARD)),
    )


def _keep_example(found: SteeringRows, example: SideBySide) -> None:
    """Keep those with the lowest hash: drawn, not picked."""
    kept = found.examples[example.language]
    kept.append((content_id("example", example.prompt_id), example))
    kept.sort(key=lambda pair: pair[0])
    del kept[EXAMPLES_PER_LANGUAGE:]
