"""Train a student by iterative preference training; resume an interrupted training.

There is no state besides the files: finished runs, trainings and evaluations are recognised and skipped, so resuming
and adding rounds work like starting.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from arbitrage.config import parse
from arbitrage.errors import InterruptedRunError
from arbitrage.execution.context import RunContext
from arbitrage.runs.store import commit_bytes, commit_json
from arbitrage.training.arguments import checked
from arbitrage.training.monitor.curves import OVERALL
from arbitrage.training.record import TrainingRecord
from arbitrage.training.settings import Method, TrainConfig
from arbitrage.training.train import require_trl, train
from arbitrage.training.trainers import CLASSES, adapter_config
from pipelines.online.alarm import before_hacking, hacking_alarms, joined_curves, monitor_of, watch_phases
from pipelines.online.config import OnlineConfig, PhaseConfig, Stage, first_stage, preference_stages
from pipelines.online.data import offline_rows, round_run, student_entry, write_pool
from pipelines.online.evaluation import EvalScores, evaluate_stage
from pipelines.online.record import (
    CURVES_PICTURE,
    RECORD_FILE,
    OnlineRecord,
    curves_picture,
    judged_panel,
    stage_record,
)


def training_config(
    config: OnlineConfig, stage: Stage, model: str, data: Path, out: Path, held_out: Path | None = None
) -> TrainConfig:
    """Return the training of a stage.

    Args:
        config: config of all phases.
        stage: the student to be trained.
        model: its base model.
        data: a run or an export.
        out: output directory of the whole training.
        held_out: pairs for the monitor; None for the supervised phase, which has no monitor.

    Raises:
        ConfigError: an argument cannot be set.
    """
    phase, monitor = phase_of(config, stage), config.monitor
    found = TrainConfig(
        method=method_of(stage),
        model=model,
        revision=config.student.revision if model == config.student.model else None,
        data=(str(data),),
        out=str(stage.folder(out)),
        mix=phase.mix,
        lora=phase.lora,
        monitor=monitor_of(monitor, held_out) if monitor and held_out else None,
    )
    given = {"arguments": {"seed": config.seed} | phase.arguments}
    return parse(found.model_dump(mode="json") | given, TrainConfig, stage.name)


def require_arguments(config: OnlineConfig) -> None:
    """Check the arguments of all phases before anything is sampled or trained.

    Raises:
        ConfigError: an argument does not exist, cannot be given, or has a wrong type.
    """
    import trl

    for key, phase in (("sft", config.sft), ("dpo", config.dpo), ("rounds", config.rounds)):
        if phase is None:
            continue
        method = method_of(Stage(key))
        raw = {"method": method, "model": config.student.model, "data": key, "out": key}
        found = parse(raw | {"arguments": phase.arguments, "lora": phase.lora}, TrainConfig, key)
        checked(found.arguments, getattr(trl, f"{CLASSES[method]}Config"), f"{key}.arguments")
        adapter_config(found)


def phase_of(config: OnlineConfig, stage: Stage) -> PhaseConfig:
    """Return the phase of a stage."""
    phase = config.rounds if stage.iteration else config.sft if stage.name == "sft" else config.dpo
    return phase or PhaseConfig()


def method_of(stage: Stage) -> Method:
    """Return the method of a stage: SFT for the supervised phase, DPO for all others."""
    return "sft" if stage.name == "sft" else "dpo"


def train_online(config: OnlineConfig, out: Path, context: RunContext | None = None) -> OnlineRecord:
    """Train through all phases, evaluate each student, and stop at an alarm.

    Args:
        config: the config.
        out: directory of students, runs, evaluations and `online.json`.
        context: the caller's context.

    Raises:
        ConfigError: the student has a teacher's name, or an argument of TRL does not exist.
        RunDirectoryError: a directory holds another training.
        DataError: a phase has no rows, or a judge gives no verdict.
        MissingDependencyError: the extra `train` is not installed.
        InterruptedRunError: it was stopped; the same call resumes it.
        ArbitrageError: like `execute` and `train`.
    """
    require_trl()
    config.require_pool()
    require_arguments(config)
    return _Rounds(config, out.absolute(), context or RunContext()).run()


class _Rounds:
    """The students trained so far."""

    def __init__(self, config: OnlineConfig, out: Path, context: RunContext) -> None:
        self._config, self._out, self._context = config, out, context
        self._stages: list[Stage] = []
        self._models: dict[str, str] = {}
        self._trainings: dict[str, TrainingRecord] = {}
        self._scores: dict[str, dict[str, EvalScores]] = {}
        self._alarms: list[str] = []
        self._sound = first_stage(config).name

    def run(self) -> OnlineRecord:
        rows = offline_rows(self._config, self._out, self._context)
        self._begin(rows)
        ended = None
        for stage in preference_stages(self._config):
            if self._context.stop.is_requested:
                raise InterruptedRunError(f"interrupted before {stage.name}; rerun the same command to resume")
            self._context.note(f"{stage.name}: from {self._stages[-1].name}")
            self._train_stage(stage, rows)
            self._evaluate(stage)
            ended = self._read_alarms(stage)
            self._write(ended)
            if ended:
                self._context.note(f"no further round: {ended}")
                break
        return self._write(ended)

    def _begin(self, rows: Path) -> None:
        """Return the student at the start of preference training."""
        stage, start = first_stage(self._config), self._config.student.model
        self._models[stage.name] = start
        if self._config.sft is not None:
            self._context.note(f"sft: from {start}")
            self._train(stage, start, rows / "sft")
        self._stages.append(stage)

    def _train_stage(self, stage: Stage, rows: Path) -> None:
        """Make the pairs of a stage, and train the previous stage's student on them."""
        before, pairs = self._models[self._stages[-1].name], rows / "preference"
        if stage.iteration:
            pairs = round_run(self._config, stage, before, self._out, self._context)
        self._train(stage, before, pairs, held_out=rows / "preference")
        self._stages.append(stage)

    def _train(self, stage: Stage, model: str, data: Path, held_out: Path | None = None) -> None:
        student = train(training_config(self._config, stage, model, data, self._out, held_out), self._context)
        self._models[stage.name], self._trainings[stage.name] = str(student.path), student.record

    def _evaluate(self, stage: Stage) -> None:
        first = self._stages[0].name
        models = {name: self._models[name] for name in (first, stage.name)}
        result = evaluate_stage(self._config, stage, models, self._out, self._context)
        self._scores.setdefault(first, dict(result.first))
        self._scores[stage.name] = dict(result.student)

    def _read_alarms(self, stage: Stage) -> str | None:
        """Read the monitor and the evaluation; return why there is no further round, or None."""
        monitor, evaluation = self._config.monitor, self._config.evaluation
        phases = [each.folder(self._out) for each in self._stages[1:]]
        curves = (
            [a.sentence for a in watch_phases(monitor, phases, self._out) if a.language == OVERALL] if monitor else []
        )
        alarms = hacking_alarms(self._scores, self._rewards, self._judges)
        hacked = [alarm.sentence for alarm in alarms]
        for sentence in self._new(hacked):
            self._context.note(f"reward hacking? {sentence}")
        self._alarms += self._new([*curves, *hacked])
        if not self._alarms:
            self._sound = stage.name
        self._sound = before_hacking([each.name for each in self._stages], self._sound, alarms)
        stops = [*(curves if monitor and monitor.early_stop else []), *(hacked if evaluation.early_stop else [])]
        return stops[0] if stops else None

    def _new(self, sentences: Sequence[str]) -> list[str]:
        return [sentence for sentence in sentences if sentence not in self._alarms]

    @property
    def _rewards(self) -> tuple[str, ...]:
        return tuple(reward.name for reward in self._config.data.rewards)

    @property
    def _judges(self) -> tuple[str, ...]:
        return tuple(judge.label for judge in self._config.evaluation.judges)

    def _write(self, ended: str | None) -> OnlineRecord:
        """Write the record, and all students as teachers."""
        first = self._scores.get(self._stages[0].name)
        record = OnlineRecord(
            config=json.loads(self._config.model_dump_json()),
            rewards=self._rewards,
            judges=self._judges,
            stages=tuple(
                stage_record(stage, self._models[stage.name], self._trainings.get(stage.name), scores, first)
                for stage in self._stages
                for scores in [self._scores.get(stage.name)]
            ),
            alarms=tuple(self._alarms),
            ended=ended,
            student=self._sound,
        )
        names = {stage.name: f"{self._config.student.name}-{stage.name}" for stage in self._stages}
        write_pool(self._out, [student_entry(self._config, self._models[s], name) for s, name in names.items()])
        commit_bytes(self._out / CURVES_PICTURE, self._picture().encode())
        commit_json(self._out / RECORD_FILE, record)
        return record

    def _picture(self) -> str:
        names = list(self._scores)
        panels = [
            judged_panel(judge, names, (), [self._scores[name][judge].mean for name in names])
            for judge in (*self._rewards, *self._judges)
        ]
        phases = [stage.folder(self._out) for stage in self._stages[1:]]
        return curves_picture(panels, joined_curves(phases) if self._config.monitor else [])
