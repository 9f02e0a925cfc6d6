"""A run in numbers: the content of both the HTML report and the terminal output."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from arbitrage.candidates.arrays import CandidateArrays, CandidateArraysBuilder, MetricColumn
from arbitrage.candidates.table import CandidateTable
from arbitrage.languages import is_rtl, name_of
from arbitrage.report import measures
from arbitrage.report.alarms import ReportAlarm, TeacherCounts, teacher_alarms
from arbitrage.report.comparing import LanguageRows, StrategyRow, estimate_all, estimate_languages
from arbitrage.report.engines_view import EngineRow, engine_rows
from arbitrage.report.flow import FlowStage, RejectCount, rejects_of, stages_of
from arbitrage.report.gallery import GalleryBuilder, GalleryPrompt
from arbitrage.report.losses import Loss, Note, losses_of, notes_of
from arbitrage.report.pairing import PairBuilder, PairSummary, mix_of
from arbitrage.report.reasoning import ReasoningBuilder, ReasoningSummary, unfinished_by_teacher
from arbitrage.report.run_alarms import run_alarms
from arbitrage.report.steering import SteeringSummary, steering_of
from arbitrage.report.strategies import CurvePoint, budget_curves, compare_strategies
from arbitrage.report.tally import Grid, Tally
from arbitrage.rewards.text_checks import ReasoningLeftConfig
from arbitrage.runs.manifest import Manifest
from arbitrage.runs.run import Run


@dataclass(frozen=True, slots=True)
class Language:
    """A language of the run."""

    tag: str
    name: str
    is_rtl: bool
    num_prompts: int


@dataclass(frozen=True, slots=True)
class MeasuredFigures:
    """A measurement of candidates, by language (rows) and teacher (columns)."""

    name: str
    grid: Grid


@dataclass(frozen=True, slots=True)
class Failed:
    """One check: how many candidates fail it, and for how many it has a result; by language and teacher."""

    name: str
    failed: Grid
    checked: Grid

    @property
    def has_any(self) -> bool:
        """Whether any candidate fails."""
        return any(value for row in self.failed for value in row)


@dataclass(frozen=True, slots=True)
class RewardGrids:
    """One reward before and after calibration (None: not calibrated), and its number of scored candidates."""

    name: str
    raw: Grid
    calibrated: Grid | None
    scored: Grid


@dataclass(frozen=True, slots=True)
class Tables:
    """All language × teacher tables.

    Attributes:
        wins: share of each language's SFT rows (without them: of its best-scored candidates) by teacher.
        answers: number of candidates.
        metric: mean of the metric over the candidates with a value; `measured` counts those.
        fails: for each check, the candidates that fail it.
        shut: for each reason, the number of candidates that could not be selected.
    """

    wins: Grid
    answers: Grid
    metric: Grid
    measured: Grid
    rewards: tuple[RewardGrids, ...]
    fails: tuple[Failed, ...]
    shut: tuple[MeasuredFigures, ...]
    prompt_tokens: Grid
    completion_tokens: Grid
    cost_usd: Grid


@dataclass(frozen=True, slots=True)
class Judged:
    """Strategies compared: over all prompts and by language."""

    metric: MetricColumn
    best_single: str
    matched_size: int | None
    max_teachers: int
    num_samples: int
    overall: LanguageRows
    by_language: tuple[LanguageRows, ...]
    curves: dict[str, tuple[CurvePoint, ...]]

    def row(self, name: str, *budgets: str) -> StrategyRow | None:
        """Return the first strategy of this name at one of the budgets, in the order given."""
        rows = {(row.name, row.budget): row for row in self.overall.rows}
        return next((rows[(name, b)] for b in budgets if (name, b) in rows), None)  # type: ignore[index]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """All content of the report except the gallery's texts."""

    name: str
    pipeline: str
    status: str
    fingerprint: str
    backend: str
    started_at: str
    finished_at: str
    seconds: float  # wall clock of all passes
    seconds_last: float  # of the last one
    git_commit: str | None
    packages: dict[str, str]
    num_shards: int
    num_shards_done: int
    languages: tuple[Language, ...]
    teachers: tuple[str, ...]
    num_prompts: int
    num_answers: int
    stages: tuple[FlowStage, ...]
    rejects: tuple[RejectCount, ...]
    tables: Tables
    judged: Judged | None
    pairs: PairSummary | None
    num_compared: int | None = None  # prompts of the shards on which strategies are compared; None: of all
    notes: tuple[str, ...] = ()  # remarks of the pipeline itself
    alarms: tuple[ReportAlarm, ...] = ()
    losses: tuple[Loss, ...] = ()  # rows rejected, by step
    step_notes: tuple[Note, ...] = ()  # notes of steps
    steering: SteeringSummary | None = None  # of a run that steers
    reasoning: ReasoningSummary | None = None  # of a run in which some candidate has reasoning
    engines: tuple[EngineRow, ...] = ()  # of steps that generated tokens

    def to_json(self) -> str:
        """Return the summary as JSON, without NaN."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False, indent=1)


@dataclass(frozen=True, slots=True)
class RunReading:
    """One pass over a run: its summary, and a sample of candidates."""

    summary: RunSummary
    gallery: tuple[GalleryPrompt, ...]


def summarise(run: Run) -> RunSummary:
    """Summarise a finished run.

    Raises:
        RunDirectoryError: the run has not finished.
        DataError: it has no candidate table, or a row names a candidate that is missing.
    """
    return read(run).summary


def read(run: Run) -> RunReading:
    """Read a finished run once, shard by shard. Raises like `summarise`."""
    manifest, table = run.manifest, CandidateTable.of(run)
    table.require_complete()
    calibrations = measures.calibrations_of(table)
    arrays, gallery, pairs = CandidateArraysBuilder(table, calibrations), GalleryBuilder(table), PairBuilder(table)
    measured = measures.MeasureBuilder(table, calibrations)
    reasoning, rejects = ReasoningBuilder(table), rejects_of(manifest)
    prompts: Counter[str] = Counter()
    num_candidates = num_compared = 0
    for shard in table.shards():
        for builder in (gallery, pairs, measured, reasoning):
            builder.add(shard)
        if table.is_comparable(shard):
            arrays.add(shard)
            num_compared += shard.prompts.num_rows
        num_candidates += shard.candidates.num_rows
        prompts.update(shard.prompts["language"].to_pylist())
    judged = _judged(arrays.build(), manifest.plan.fingerprint)
    tally, teachers = measured.tally, arrays.teachers
    unfinished = unfinished_by_teacher(rejects)
    counts = {
        teacher: _counts(tally, sorted(prompts), teacher, unfinished[teacher])
        for teacher in sorted({*teachers, *unfinished})
    }
    summary = RunSummary(
        **_about(manifest),
        languages=tuple(Language(tag, name_of(tag), is_rtl(tag), prompts[tag]) for tag in sorted(prompts)),
        teachers=teachers,
        num_prompts=prompts.total(),
        num_answers=num_candidates,
        stages=stages_of(manifest, table.routers.keys() - {table.main_route}),
        rejects=rejects,
        tables=_tables(tally, sorted(prompts), teachers, judged),
        judged=judged,
        pairs=pairs.build(mix_of(run)),
        num_compared=num_compared,
        notes=run.notes.lines,
        alarms=(
            *teacher_alarms(counts),
            *run_alarms(run),
        ),
        losses=losses_of(manifest),
        step_notes=notes_of(manifest),
        steering=steering_of(table),
        reasoning=reasoning.build(tally, rejects),
        engines=engine_rows(manifest),
    )
    return RunReading(summary, gallery.build())


def _about(manifest: Manifest) -> dict[str, Any]:
    plan = manifest.plan
    return {
        "name": plan.name,
        "pipeline": plan.pipeline,
        "status": manifest.status,
        "fingerprint": plan.fingerprint,
        "backend": plan.backend,
        "started_at": plan.started_at,
        "finished_at": manifest.finished_at,
        "seconds": plan.seconds_before + manifest.seconds,
        "seconds_last": manifest.seconds,
        "git_commit": manifest.git_commit,
        "packages": dict(manifest.packages),
        "num_shards": plan.num_shards,
        "num_shards_done": len(plan.shards),
    }


def _judged(arrays: CandidateArrays | None, seed: str) -> Judged | None:
    if arrays is None or not arrays.num_prompts or not arrays.teachers:
        return None
    comparison = compare_strategies(arrays)
    return Judged(
        metric=arrays.metric,
        best_single=comparison.best_single,
        matched_size=comparison.matched_size,
        max_teachers=int(arrays.asked_PT.sum(axis=1).max()),
        num_samples=arrays.num_samples,
        overall=estimate_all(arrays, comparison, seed),
        by_language=estimate_languages(arrays, comparison, seed),
        curves=budget_curves(arrays, comparison.best_single),
    )


def _measure_of(metric: MetricColumn, tally: Tally) -> str:
    """Return the name of the measure that holds the metric's values."""
    candidates = (measures.EXACT + metric.name, measures.CALIBRATED + metric.name, measures.RAW + metric.name)
    return next((measure for measure in candidates if tally.has(measure)), measures.FINAL)


def _counts(tally: Tally, languages: Sequence[str], teacher: str, num_unfinished: int) -> TeacherCounts:
    def count(measure: str) -> int:
        return sum(tally.cell(measure, language, teacher).count for language in languages)

    missing, reasoning = measures.UNUSABLE + measures.UNSCORED, measures.FAILS + ReasoningLeftConfig().name
    return TeacherCounts(
        num_candidates=count(measures.CUT_OFF),
        num_cut_off=int(sum(tally.cell(measures.CUT_OFF, language, teacher).total for language in languages)),
        unscored={m.removeprefix(missing): n for m in tally.cells if m.startswith(missing) and (n := count(m))},
        num_with_reasoning=int(sum(tally.cell(reasoning, language, teacher).total for language in languages)),
        num_unfinished=num_unfinished,
    )


def _tables(tally: Tally, languages: Sequence[str], teachers: Sequence[str], judged: Judged | None) -> Tables:
    def means(measure: str) -> Grid:
        return tally.means(measure, languages, teachers)

    names = sorted(m.removeprefix(measures.RAW) for m in tally.cells if m.startswith(measures.RAW))
    checks = sorted(m for m in tally.cells if m.startswith(measures.FAILS) and tally.has(m))
    fails = [(m.removeprefix(measures.FAILS), m) for m in checks]
    if "truncation" not in dict(fails):  # every engine gives a finish reason, with or without a check
        fails.insert(0, ("truncation", measures.CUT_OFF))
    metric = _measure_of(judged.metric, tally) if judged else measures.FINAL
    return Tables(
        wins=tally.shares(measures.WON, measures.CUT_OFF, languages, teachers),
        answers=tally.counts(measures.CUT_OFF, languages, teachers),
        metric=means(metric),
        measured=tally.counts(metric, languages, teachers),
        rewards=tuple(
            RewardGrids(
                name,
                means(measures.RAW + name),
                means(measures.CALIBRATED + name) if tally.has(measures.CALIBRATED + name) else None,
                tally.counts(measures.RAW + name, languages, teachers),
            )
            for name in names
        ),
        fails=tuple(
            Failed(name, tally.totals(measure, languages, teachers), tally.counts(measure, languages, teachers))
            for name, measure in fails
        ),
        shut=tuple(
            MeasuredFigures(m.removeprefix(measures.UNUSABLE), tally.totals(m, languages, teachers))
            for m in sorted(tally.cells)
            if m.startswith(measures.UNUSABLE)
        ),
        prompt_tokens=tally.totals(measures.TOKENS[0], languages, teachers),
        completion_tokens=tally.totals(measures.TOKENS[1], languages, teachers),
        cost_usd=tally.totals(measures.COST, languages, teachers),
    )
