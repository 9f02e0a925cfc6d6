"""The exam after each stage: the student's answers to unseen prompts against those it began preference training with.

The training's own rewards judge them, and judges that the training never sees.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from arbitrage.candidates.queries import cluster_key
from arbitrage.errors import DataError
from arbitrage.execution.context import RunContext
from arbitrage.judging.options import is_mute
from arbitrage.judging.scored import RewardJudge
from arbitrage.judging.teacher import TeacherJudge
from arbitrage.records import Verdict
from arbitrage.runs.run import Run, open_run
from arbitrage.statistics import Estimate, Floats, Ints, estimate, resample_ratios
from arbitrage.tables import from_table
from pipelines.judge import JudgeRunConfig, ModelSide
from pipelines.online.config import OnlineConfig, Stage
from pipelines.online.data import student_entry, write_pool
from pipelines.online.runs import complete_run

EXAM_FOLDER = "exam"
SEED = 17


@dataclass(frozen=True, slots=True)
class ExamScores:
    """What one judge gives one student.

    Attributes:
        by_prompt: prompt → mark: the score of a judge that scores; of others 1 for an answer better than the first
            student's, 0 for a worse one, ½ for a tie.
        clusters: prompt → what it shares with its translations.
    """

    by_prompt: Mapping[str, float]
    clusters: Mapping[str, str]

    @property
    def mean(self) -> Estimate | None:
        """The mean mark, its interval clustered by what is asked."""
        prompts = sorted(self.by_prompt)
        return _mean(np.array([self.by_prompt[p] for p in prompts]), self._codes(prompts))

    def against(self, other: "ExamScores") -> "ExamGains":
        """Return the paired differences to another student's marks by the same judge."""
        prompts = sorted(self.by_prompt.keys() & other.by_prompt.keys())
        found = np.array([self.by_prompt[p] - other.by_prompt[p] for p in prompts], dtype=np.float64)
        return ExamGains(found, self._codes(prompts))

    def _codes(self, prompts: Sequence[str]) -> Ints:
        codes = {key: code for code, key in enumerate(dict.fromkeys(self.clusters[p] for p in prompts))}
        return np.array([codes[self.clusters[p]] for p in prompts], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class ExamGains:
    """Paired differences of two students' marks, a value and a cluster code for each prompt."""

    values_P: Floats
    cluster_P: Ints

    @property
    def mean(self) -> Estimate | None:
        """The mean difference with its clustered interval."""
        return _mean(self.values_P, self.cluster_P)


@dataclass(frozen=True, slots=True)
class ExamResult:
    """What all judges give a student, and the student that preference training began with: judge → marks."""

    student: Mapping[str, ExamScores]
    first: Mapping[str, ExamScores]


def hold_exam(
    config: OnlineConfig, stage: Stage, models: Mapping[str, str], out: Path, context: RunContext
) -> ExamResult:
    """Ask the student of a stage and the first one, and have both judged.

    Args:
        config: says what is asked and who judges.
        stage: of the student.
        models: stage name → weights, the first student's first.
        out: of the whole training.
        context: of the caller.

    Raises:
        DataError: a judge gives not one verdict.
        ArbitrageError: like `execute`.
    """
    folder = stage.folder(out)
    names = {name: f"{config.student.name}-{name}" for name in (next(iter(models)), stage.name)}
    entries = [student_entry(config, models[name], entry) for name, entry in names.items()]
    needs_pool = any(isinstance(judge, TeacherJudge) for judge in config.exam.judges)
    pool = write_pool(folder / EXAM_FOLDER, entries, Path(config.data.teachers) if needs_pool else None)
    exam = exam_config(config, stage, [entry.name for entry in entries], pool)
    run_dir = folder / EXAM_FOLDER / "run"
    complete_run(context, exam, run_dir)
    return read_exam(open_run(run_dir), [judge.label for judge in exam.judges])


def exam_config(config: OnlineConfig, stage: Stage, sides: Sequence[str], pool: Path) -> JudgeRunConfig:
    """Return the judgement of a stage; `sides`: the first student's entry in the pool file, and this one's."""
    first, student = sides
    return JudgeRunConfig(
        name=f"{config.name}-{stage.name}-exam",
        a=ModelSide(teacher=student),
        b=ModelSide(teacher=first),
        prompts=config.exam.prompts,
        teachers=str(pool),
        judges=(*(RewardJudge(reward=reward) for reward in config.data.rewards), *config.exam.judges),
        sampling=config.exam.sampling,
    )


def read_exam(run: Run, judges: Sequence[str]) -> ExamResult:
    """Read the marks of a finished exam. Raises DataError where a judge gives not one verdict."""
    verdicts = {
        judge: [row for table in run.tables(f"verdicts-{judge}") for row in from_table(table, Verdict)]
        for judge in judges
    }
    for judge, rows in verdicts.items():
        if not rows or is_mute(rows):
            reasons = ", ".join(sorted({error for row in rows for error in row.errors})) or "no answers"
            raise DataError(f"{run.path}: judge '{judge}' gave not one verdict ({reasons})")
    return ExamResult(
        student={judge: _marks([(row, _mark(row, row.a_score)) for row in rows]) for judge, rows in verdicts.items()},
        first={judge: _marks([(row, _first(row)) for row in rows]) for judge, rows in verdicts.items()},
    )


def _mark(row: Verdict, score: float | None) -> float | None:
    if row.how == "failed":
        return None
    return score if score is not None else {"a": 1.0, "tie": 0.5, "b": 0.0}[row.winner]


def _first(row: Verdict) -> float | None:
    """The first student ties with itself."""
    return None if row.how == "failed" else row.b_score if row.b_score is not None else 0.5


def _marks(rows: Sequence[tuple[Verdict, float | None]]) -> ExamScores:
    found: defaultdict[str, list[float]] = defaultdict(list)
    clusters: dict[str, str] = {}
    for row, mark in rows:
        if mark is not None:
            found[row.prompt_id].append(mark)
            clusters[row.prompt_id] = cluster_key(row.prompt_id, row.source_id, row.language)
    return ExamScores({prompt: fmean(marks) for prompt, marks in found.items()}, clusters)


def _mean(values_P: Floats, cluster_P: Ints) -> Estimate | None:
    if not len(values_P):
        return None
    draws = resample_ratios(values_P[:, None], np.ones((len(values_P), 1)), cluster_P, seed=SEED)
    return estimate(float(values_P.mean()), draws[:, 0], len(np.unique(cluster_P)))
