"""The effect of steering: before, control, steered; its cost in reward; other changes; missing rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from arbitrage.candidates.table import CandidateTable
from arbitrage.report.formatting import CHANGE, COMPACT, NUMBER
from arbitrage.report.rendering import Column, Figures, Row, Value, total_first, ungrouped
from arbitrage.report.steering_reading import CHECK, SideBySide, SteeringRows, Trio, read_steering
from arbitrage.statistics import Estimate, Floats, estimate, ratios, resample_ratios
from arbitrage.steering.objectives import REWARD

ALL = ""
"""Key of all languages together."""

SEED = 4


@dataclass(frozen=True, slots=True)
class SteeringShift:
    """One metric in one language (or all): means over the kept prompts, with clustered 95 % intervals.

    Attributes:
        num: prompts for which both the control and the steered candidate have a value; only these are compared.
        before: over all candidates of these prompts, with equal weight for each prompt.
        difference: steered − control, in the metric's unit.
        effect: the same in standard deviations of each prompt's language.
    """

    metric: str
    language: str
    num: int
    before: Estimate | None
    control: Estimate | None
    steered: Estimate | None
    difference: Estimate | None
    effect: Estimate | None


@dataclass(frozen=True, slots=True)
class ObjectiveFigures:
    """An objective as text, and its effect: all languages first."""

    metric: str
    label: str
    shifts: tuple[SteeringShift, ...]


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Prompts of one language, rows wanted (None: all) and written, and why the others gave none."""

    language: str
    num_prompts: int
    wanted: int | None
    written: int
    reasons: dict[str, int]

    @property
    def missing(self) -> int:
        """Rows wanted and not written."""
        wanted = self.num_prompts if self.wanted is None else self.wanted
        return max(0, wanted - self.written)


@dataclass(frozen=True, slots=True)
class SteeringSummary:
    """All figures about steering.

    Attributes:
        aims: the objectives, in the order given.
        cost: the reward: all languages first.
        others: metrics without an objective, over all languages, the largest effect first.
        num_cases: kept prompts.
    """

    aims: tuple[ObjectiveFigures, ...]
    cost: tuple[SteeringShift, ...]
    others: tuple[SteeringShift, ...]
    shortfalls: tuple[Shortfall, ...]
    examples: tuple[SideBySide, ...]
    num_cases: int


def steering_of(table: CandidateTable) -> SteeringSummary | None:
    """Summarise steering; None for a run that does not steer."""
    if not table.steps.get("choices"):
        return None
    [step] = table.steps["choices"]
    objectives = [(aim["metric"], aim["label"]) for aim in table.run.step(step).config["aims"]]
    names = tuple(name for name, _ in objectives)
    rows = read_steering(table, names)
    shifts = _shifts(rows)
    aims = [ObjectiveFigures(name, label, tuple(s for s in shifts if s.metric == name)) for name, label in objectives]
    others = [s for s in shifts if s.language == ALL and s.metric not in (*names, REWARD)]
    return SteeringSummary(
        aims=tuple(aims),
        cost=tuple(s for s in shifts if s.metric == REWARD),
        others=tuple(sorted(others, key=lambda s: (-abs(s.effect.value) if s.effect else 1.0, s.metric))),
        shortfalls=_shortfalls(rows),
        examples=tuple(example for tag in sorted(rows.examples) for _, example in rows.examples[tag]),
        num_cases=len(rows.trios),
    )


def _shifts(rows: SteeringRows) -> list[SteeringShift]:
    """Compare over all languages together, then in each."""
    names = sorted({name for trio in rows.trios for name in (*trio.steered, *trio.control)})
    found = _compare(ALL, names, rows.trios, rows)
    for language in sorted({trio.language for trio in rows.trios}):
        found += _compare(language, names, [t for t in rows.trios if t.language == language], rows)
    return found


def _compare(language: str, names: Sequence[str], trios: Sequence[Trio], rows: SteeringRows) -> list[SteeringShift]:
    """Return one SteeringShift for each metric with a value; all metrics use the same resamples."""
    values_P5X = np.zeros((len(trios), 5 * len(names)))
    weight_PX = np.zeros((len(trios), len(names)))
    for p, trio in enumerate(trios):
        for x, name in enumerate(names):
            if name in trio.steered and name in trio.control:
                weight_PX[p, x] = 1.0
                values_P5X[p, 5 * x : 5 * x + 5] = _columns(name, trio, rows)
    weight_P5X = np.repeat(weight_PX, 5, axis=1)
    codes = np.unique([trio.cluster for trio in trios], return_inverse=True)[1] if trios else np.zeros(0, np.int64)
    draws = resample_ratios(values_P5X, weight_P5X, codes.astype(np.int64), seed=SEED)
    means = ratios(values_P5X, weight_P5X)
    return [
        _shift(
            name,
            language,
            int(weight_PX[:, x].sum()),
            means[5 * x : 5 * x + 5],
            draws[:, 5 * x : 5 * x + 5],
            len(np.unique(codes[weight_PX[:, x] > 0])),
        )
        for x, name in enumerate(names)
        if weight_PX[:, x].any()
    ]


def _columns(name: str, trio: Trio, rows: SteeringRows) -> tuple[float, float, float, float, float]:
    steered, control = trio.steered[name], trio.control[name]
    scale = rows.scales.row(name, trio.language)
    sd = 1.0 if name == REWARD or scale is None else scale.sd  # the reward is in standard deviations already
    return trio.before[name], control, steered, steered - control, (steered - control) / sd


def _shift(name: str, language: str, num: int, means_5: Floats, draws_R5: Floats, num_clusters: int) -> SteeringShift:
    before, control, steered, difference, effect = (
        estimate(float(mean), draws_R5[:, column], num_clusters) for column, mean in enumerate(means_5)
    )
    if name.startswith(CHECK):  # a check has no scale of its own, so only its difference is shown
        effect = difference
    return SteeringShift(name, language, num, before, control, steered, difference, effect)


def _shortfalls(rows: SteeringRows) -> tuple[Shortfall, ...]:
    written = {tag: sum(trio.language == tag for trio in rows.trios) for tag in rows.num_prompts}
    return tuple(
        Shortfall(
            tag,
            rows.num_prompts[tag],
            rows.wanted.get(tag),
            written.get(tag, 0),
            dict(sorted(rows.reasons[tag].items())),
        )
        for tag in sorted({*rows.num_prompts, *rows.wanted})
    )


MOVED_SHOWN = 6
EXACT = "exact"

_MEANS = tuple(Column(heading, NUMBER) for heading in ("before", "control", "steered"))


def aim_figures(aim: ObjectiveFigures, found: SteeringSummary) -> Figures:
    """Return the effect of an objective, all languages first; on a terminal with its cost in reward."""
    costs = {shift.language: shift.difference for shift in found.cost}
    return Figures(
        title=f"Steered to {aim.label}, on {found.num_cases:,} prompts",
        corner="language",
        short_corner="lang.",
        columns=(
            Column("prompts", COMPACT, media=("page",)),
            *_MEANS,
            Column("steered − control", CHANGE),
            Column("in standard deviations", CHANGE, media=("page",)),
            Column("reward − control", CHANGE, media=("terminal",)),
        ),
        groups=total_first(
            [_shift_row(s, s.num, *_means(s), s.difference, s.effect, costs.get(s.language)) for s in aim.shifts]
        ),
        notes=("before: all candidates; control: one at random of the same; 95 % intervals; reward in deviations",),
    )


def cost_figures(found: SteeringSummary) -> Figures:
    """Return the cost of steering in reward, all languages first."""
    return Figures(
        title="Reward by language",
        corner="language",
        columns=(*_MEANS, Column("steered − control", CHANGE)),
        groups=total_first([_shift_row(shift, *_means(shift), shift.difference) for shift in found.cost]),
    )


def moved_figures(found: SteeringSummary) -> Figures:
    """Return the changes of metrics without an objective, the largest effect first."""
    rows = [Row(shift.metric, (shift.num, *_means(shift), shift.effect)) for shift in found.others]
    return Figures(
        title="Metrics without an objective",
        corner="metric",
        columns=(Column("prompts", COMPACT), *_MEANS, Column("in standard deviations", CHANGE)),
        groups=ungrouped(rows),
    )


def shortfall_figures(found: SteeringSummary) -> Figures:
    """Return the rows wanted and written by language, and why prompts gave none."""
    headings = ("prompts", "wanted", "written", "missing")
    return Figures(
        title="Rows by language",
        corner="language",
        columns=(*(Column(heading, COMPACT) for heading in headings), Column("prompts without a row, by reason")),
        groups=ungrouped(
            [
                Row(
                    short.language,
                    (
                        short.num_prompts,
                        "all" if short.wanted is None else short.wanted,
                        short.written,
                        short.missing,
                        ", ".join(f"{reason} {count}" for reason, count in short.reasons.items()),
                    ),
                )
                for short in found.shortfalls
            ]
        ),
    )


def steering_lines(found: SteeringSummary) -> Iterator[str]:
    """Yield lines for a terminal: the share of correct responses, other changes, and languages with too few rows."""
    for shift in found.others:
        if shift.metric.removeprefix(CHECK).startswith(EXACT):
            means = " → ".join(NUMBER.value(each) for each in _means(shift))
            yield (
                f"right by {shift.metric.removeprefix(CHECK)}, before → control → steered: {means} "
                f"(steered − control {CHANGE.full(shift.difference)})"
            )
    moved = [shift for shift in found.others if is_clear(shift)]
    shown = ", ".join(f"{s.metric} {CHANGE.value(s.effect)}" for s in moved[:MOVED_SHOWN])
    more = f" and {len(moved) - MOVED_SHOWN} more" if len(moved) > MOVED_SHOWN else ""
    yield f"also moved, of {len(found.others)} metrics without an objective: {shown or 'none clearly'}{more}"
    for row in found.shortfalls:
        if row.wanted is not None and row.missing:
            why = ", ".join(f"{reason} {count}" for reason, count in row.reasons.items()) or "no more prompts"
            yield f"short of {row.language}: {row.written} of {row.wanted} rows ({why})"


def is_clear(shift: SteeringShift) -> bool:
    """Tell whether the interval of a shift excludes zero."""
    return bool(shift.effect and shift.effect.interval and shift.effect.interval.excludes_zero)


def _means(shift: SteeringShift) -> tuple[float | None, ...]:
    return tuple(each.value if each else None for each in (shift.before, shift.control, shift.steered))


def _shift_row(shift: SteeringShift, *cells: Value) -> Row:
    is_all = shift.language == ALL
    return Row("all" if is_all else shift.language, cells, emphasis="strong" if is_all else "")
