"""`online.json`: the results of each student, and the chart over rounds by training rewards and held-out judges."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from arbitrage.report.charts import Panel, PlotLine, axis_over, draw
from arbitrage.report.formatting import COUNT, NumberForm
from arbitrage.report.rendering import Column, Figures, Row, ungrouped
from arbitrage.statistics import Estimate, Interval
from arbitrage.training.monitor.alarms import TrainingAlarm
from arbitrage.training.monitor.curves import Check
from arbitrage.training.monitor.picture import monitor_panels
from arbitrage.training.record import TrainingRecord
from pipelines.online.config import Stage
from pipelines.online.evaluation import EvalScores

RECORD_FILE = "online.json"
FORMAT_VERSION = 1


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class EvalScore(_Written):
    """Eval result of a student by one judge.

    Attributes:
        mean: mean of the scores, None if there are none; `low`, `high`: its 95 % interval, clustered by prompt.
        gain: the mean paired difference to the first student; `gain_low`, `gain_high`: likewise.
    """

    mean: float | None
    low: float | None
    high: float | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    num_prompts: int


class StageRecord(_Written):
    """The record of a student.

    Attributes:
        iteration: the online round, 0 before the first.
        model: directory of its weights.
        num_rows, num_steps: it was trained on, and by.
        stopped: why its training ended early, or None.
        alarms: alarms of the monitor within the phase, in words.
        scores: judge → eval result; None where the stage was not evaluated.
    """

    name: str
    iteration: int
    model: str
    num_rows: int
    num_steps: int
    stopped: str | None
    alarms: tuple[str, ...]
    scores: dict[str, EvalScore] | None


class OnlineRecord(_Written):
    """The record of all students.

    Attributes:
        config: config as given.
        rewards, judges: names of those that training uses, and of the unseen ones.
        stages: in the order of training.
        alarms: of the monitor over all phases and of the evaluations, in words.
        ended: why there were fewer rounds than configured; None if there were not.
        student: the stage to use: the last one before any alarm; after reward hacking, the earlier one that the alarm
            compares with.
    """

    format_version: int = FORMAT_VERSION
    config: dict[str, Any]
    rewards: tuple[str, ...]
    judges: tuple[str, ...]
    stages: tuple[StageRecord, ...]
    alarms: tuple[str, ...]
    ended: str | None
    student: str


def stage_record(
    stage: Stage,
    model: str,
    training: TrainingRecord | None,
    scores: Mapping[str, EvalScores] | None,
    first: Mapping[str, EvalScores] | None,
) -> StageRecord:
    """Summarise a stage; without a training it is the start."""
    return StageRecord(
        name=stage.name,
        iteration=stage.iteration,
        model=model,
        num_rows=training.plan.num_rows if training else 0,
        num_steps=training.num_steps if training else 0,
        stopped=training.stopped if training else None,
        alarms=training.alarms if training else (),
        scores=None if scores is None or first is None else {j: _score(m, first[j]) for j, m in scores.items()},
    )


def read_online(path: Path) -> OnlineRecord:
    """Read a record. Raises OSError, ValueError."""
    return OnlineRecord.model_validate_json(path.read_text(encoding="utf-8"))


def _score(scores: EvalScores, first: EvalScores) -> EvalScore:
    mean, gain = scores.mean, scores.against(first).mean
    return EvalScore(
        **dict(zip(("mean", "low", "high"), _numbers(mean), strict=True)),
        **dict(zip(("gain", "gain_low", "gain_high"), _numbers(gain), strict=True)),
        num_prompts=len(scores.by_prompt),
    )


def _numbers(found: Estimate | None) -> tuple[float | None, float | None, float | None]:
    if found is None:
        return None, None, None
    if found.interval is None:
        return found.value, None, None
    return found.value, found.interval.low, found.interval.high


def stage_figures(record: OnlineRecord) -> Figures:
    """Return the students in the order of training: scores by each judge, and gains over the first student."""
    judges, first = (*record.rewards, *record.judges), record.stages[0].name
    rows = []
    for stage in record.stages:
        scores = [(stage.scores or {}).get(judge) for judge in judges]
        levels = [_estimate(m.mean, m.low, m.high) if m else None for m in scores]
        gains = [_estimate(m.gain, m.gain_low, m.gain_high) if m else None for m in scores]
        rows.append(Row(stage.name, (stage.num_rows, stage.num_steps, *levels, *gains)))
    columns = (
        Column("rows", COUNT),
        Column("steps", COUNT),
        *(Column(judge, NumberForm(digits=3)) for judge in judges),
        *(Column(f"{judge} − {first}", NumberForm(digits=3, is_signed=True)) for judge in judges),
    )
    return Figures("", "student", columns, ungrouped(rows))


def _estimate(value: float | None, low: float | None, high: float | None) -> Estimate | None:
    if value is None:
        return None
    return Estimate(value, None if low is None or high is None else Interval(low, high))


CURVES_PICTURE = "online.svg"


def judged_panel(
    title: str, stages: Sequence[str], lines: Sequence[PlotLine], means: Sequence[Estimate | None]
) -> Panel:
    """Return the panel of a judge: a thick line through the stages' means with their intervals, over thin lines.

    Args:
        title: title of the panel.
        stages: names, in the order of training.
        lines: thin lines, such as one for each seed; x is the position of a stage.
        means: mean of each stage.
    """
    thick = PlotLine("mean", [(float(x), found.value) for x, found in enumerate(means) if found], is_main=True)
    whiskers = [
        (float(x), found.interval.low, found.interval.high)
        for x, found in enumerate(means)
        if found and found.interval
    ]
    axis = axis_over([0.0, float(len(stages) - 1)], num_ticks=max(1, len(stages) - 1))
    names = {float(x): name for x, name in enumerate(stages)}
    return Panel(title, axis, [*lines, thick], whiskers=whiskers, x_names=names)


def curves_picture(judged: Sequence[Panel], checks: Sequence[Check], alarms: Sequence[TrainingAlarm] = ()) -> str:
    """Return the picture as SVG: the judges' panels, then the monitor's."""
    watched = monitor_panels(checks, alarms) if checks else []
    return draw([*judged, *watched], "Students over the rounds, and the monitor's curves over optimiser steps")
