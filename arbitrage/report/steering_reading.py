"""Read what steering did: for each prompt that was kept, every metric of its candidates, by whom they were taken."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from arbitrage.candidates.queries import cluster_key
from arbitrage.candidates.table import TableSteps
from arbitrage.records import (
    Candidate,
    MetricScale,
    Prompt,
    Reject,
    Score,
    SteeringChoice,
    content_id,
)
from arbitrage.rewards.options import base_name
from arbitrage.runs.run import Run
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


def read_steering(run: Run, roles: TableSteps, objectives: tuple[str, ...]) -> SteeringRows:
    """Read a steering run shard by shard."""
    named = run.plan.candidates
    scales = ScaleTable(from_table(run.table(named["scales"][0]), MetricScale))
    found = SteeringRows(scales)
    for step in named.get("quotas", ()):
        found.wanted = {row["language"]: row["wanted"] for row in run.table(step).to_pylist()}
    for shard in run.plan.shards:
        _read_shard(run, roles, shard, objectives, found)
    return found


def _read_shard(run: Run, roles: TableSteps, shard: int, objectives: tuple[str, ...], found: SteeringRows) -> None:
    named = run.plan.candidates
    prompts = {p.prompt_id: p for p in from_table(run.shard(roles.prompts, shard), Prompt)}
    found.num_prompts.update(p.language for p in prompts.values())
    values = _values(run, roles, shard, prompts, found.scales)
    kept = set(run.shard(run.plan.datasets[STEERED], shard)["prompt_id"].to_pylist())
    drafts = {c.candidate_id: c for step in roles.drafts for c in from_table(run.shard(step, shard), Candidate)}
    for choice in from_table(run.shard(named["choices"][0], shard), SteeringChoice):
        if choice.prompt_id not in kept:
            continue
        prompt = prompts[choice.prompt_id]
        found.trios.append(
            Trio(
                language=choice.language,
                cluster=cluster_key(prompt.prompt_id, prompt.source_id, prompt.language),
                before=_mean([values[candidate_id] for candidate_id in choice.considered]),
                control=values[choice.control_id],
                steered=values[choice.steered_id],
            )
        )
        if drafts[choice.steered_id].text != drafts[choice.control_id].text:
            _keep_example(found, _side_by_side(choice, prompt, drafts, values, objectives))


def reasons_of(run: Run, found: SteeringRows) -> None:
    """Count why prompts have no steered row, by language."""
    named = run.plan.candidates
    languages = {
        row["prompt_id"]: row["language"]
        for table in run.tables(named["prompts"][0])
        for row in table.select(["prompt_id", "language"]).to_pylist()
    }
    for step in (named["choices"][0], run.plan.datasets[STEERED]):
        for table in run.rejects(step):
            for reject in from_table(table, Reject):
                found.reasons[languages[reject.item_id]][reject.reason] += 1


def _values(
    run: Run, roles: TableSteps, shard: int, prompts: Mapping[str, Prompt], scales: ScaleTable
) -> dict[str, Values]:
    values: dict[str, Values] = defaultdict(dict)
    for step in run.plan.candidates["measures"]:
        table = run.shard(step, shard).select(["candidate_id", "metric", "value"])
        for candidate_id, metric, value in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if value is not None:
                values[candidate_id][metric] = value
    for score in _scores(run, shard, (roles.final,) if roles.final else ()):
        scale = scales.row(REWARD, prompts[score.prompt_id].language)
        if score.value is not None and scale is not None:
            values[score.candidate_id][REWARD] = (score.value - scale.mean) / scale.sd
    for score in _scores(run, shard, roles.checks):
        if score.value is not None:
            values[score.candidate_id][CHECK + base_name(score.reward)] = score.value
    return values


def _scores(run: Run, shard: int, steps: tuple[str, ...]) -> Iterator[Score]:
    for step in steps:
        yield from from_table(run.shard(step, shard), Score)


def _mean(rows: list[Values]) -> Values:
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}


def _side_by_side(
    choice: SteeringChoice,
    prompt: Prompt,
    drafts: Mapping[str, Candidate],
    values: Mapping[str, Values],
    objectives: tuple[str, ...],
) -> SideBySide:
    steered, control = drafts[choice.steered_id], drafts[choice.control_id]
    mine, other = values[choice.steered_id], values[choice.control_id]
    return SideBySide(
        prompt_id=prompt.prompt_id,
        language=prompt.language,
        question=prompt.messages[-1].content,
        steered=steered.text,
        control=control.text,
        steered_teacher=steered.teacher,
        control_teacher=control.teacher,
        values=tuple((name, mine.get(name), other.get(name)) for name in (*objectives, REWARD)),
    )


def _keep_example(found: SteeringRows, example: SideBySide) -> None:
    """Keep those with the lowest hash: drawn, not picked."""
    kept = found.examples[example.language]
    kept.append((content_id("example", example.prompt_id), example))
    kept.sort(key=lambda pair: pair[0])
    del kept[EXAMPLES_PER_LANGUAGE:]
