"""The evaluation after each stage: the student's responses to held-out prompts against those of the first student.

They are scored by the training's own rewards, and by judges that the training does not use.
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

EVALUATION_FOLDER = "evaluation"
SEED = 17


@dataclass(frozen=True, slots=True)
class EvalScores:
    """Scores of one student by one judge.

    Attributes:
        by_prompt: prompt → score: of a judge that scores, its score; of other judges 1 for a response better than the
            first student's, 0 for a worse one, ½ for a tie.
        clusters: prompt → cluster key, shared with its translations.
    """

    by_prompt: Mapping[str, float]
    clusters: Mapping[str, str]

    @property
    def mean(self) -> Estimate | None:
        """The mean score, its interval clustered by prompt."""
        prompts = sorted(self.by_prompt)
        return _mean(np.array([self.by_prompt[p] for p in prompts]), self._codes(prompts))

    def against(self, other: "EvalScores") -> "EvalGains":
        """Return the paired differences to another student's scores by the same judge."""
        prompts = sorted(self.by_prompt.keys() & other.by_prompt.keys())
        found = np.array([self.by_prompt[p] - other.by_prompt[p] for p in prompts], dtype=np.float64)
        return EvalGains(found, self._codes(prompts))

    def _codes(self, prompts: Sequence[str]) -> Ints:
        codes = {key: code for code, key in enumerate(dict.fromkeys(self.clusters[p] for p in prompts))}
        return np.array([codes[self.clusters[p]] for p in prompts], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class EvalGains:
    """Paired differences of two students' scores, a value and a cluster code for each prompt."""

    values_P: Floats
    cluster_P: Ints

    @property
    def mean(self) -> Estimate | None:
        """The mean difference with its clustered interval."""
        return _mean(self.values_P, self.cluster_P)


@dataclass(frozen=True, slots=True)
class StageEvaluation:
    """Scores of a student and of the first student: judge → scores."""

    student: Mapping[str, EvalScores]
    first: Mapping[str, EvalScores]


def evaluate_stage(
    config: OnlineConfig, stage: Stage, models: Mapping[str, str], out: Path, context: RunContext
) -> StageEvaluation:
    """Sample the student of a stage and the first one on the eval prompts, and judge both.

    Args:
        config: names the eval prompts and the judges.
        stage: the student's stage.
        models: stage name → weights, the first student's first.
        out: output directory of the whole training.
        context: the caller's context.

    Raises:
        DataError: a judge gives no verdict.
        ArbitrageError: like `execute`.
    """
    folder = stage.folder(out)
    names = {name: f"{config.student.name}-{name}" for name in (next(iter(models)), stage.name)}
    entries = [student_entry(config, models[name], entry) for name, entry in names.items()]
    needs_pool = any(isinstance(judge, TeacherJudge) for judge in config.evaluation.judges)
    pool = write_pool(folder / EVALUATION_FOLDER, entries, Path(config.data.teachers) if needs_pool else None)
    evaluation = evaluation_config(config, stage, [entry.name for entry in entries], pool)
    run_dir = folder / EVALUATION_FOLDER / "run"
    complete_run(context, evaluation, run_dir)
    return read_evaluation(open_run(run_dir), [judge.label for judge in evaluation.judges])


def evaluation_config(config: OnlineConfig, stage: Stage, sides: Sequence[str], pool: Path) -> JudgeRunConfig:
    """Return the judge run of a stage; `sides`: the pool entries of the first student and of this one."""
    first, student = sides
    return JudgeRunConfig(
        name=f"{config.name}-{stage.name}-evaluation",
        a=ModelSide(teacher=student),
        b=ModelSide(teacher=first),
        prompts=config.evaluation.prompts,
        teachers=str(pool),
        judges=(*(RewardJudge(reward=reward) for reward in config.data.rewards), *config.evaluation.judges),
        sampling=config.evaluation.sampling,
    )


def read_evaluation(run: Run, judges: Sequence[str]) -> StageEvaluation:
    """Read the scores of a finished evaluation. Raises DataError where a judge gives no verdict."""
    verdicts = {
        judge: [row for table in run.tables(f"verdicts-{judge}") for row in from_table(table, Verdict)]
        for judge in judges
    }
    for judge, rows in verdicts.items():
        if not rows or is_mute(rows):
            reasons = ", ".join(sorted({error for row in rows for error in row.errors})) or "no answers"
            raise DataError(f"{run.path}: judge '{judge}' gave no verdict ({reasons})")
    return StageEvaluation(
        student={
            judge: _scores([(row, _score(row, row.a_score)) for row in rows]) for judge, rows in verdicts.items()
        },
        first={judge: _scores([(row, _first(row)) for row in rows]) for judge, rows in verdicts.items()},
    )


def _score(row: Verdict, score: float | None) -> float | None:
    if row.how == "failed":
        return None
    return score if score is not None else {"a": 1.0, "tie": 0.5, "b": 0.0}[row.winner]


def _first(row: Verdict) -> float | None:
    """The first student ties with itself."""
    return None if row.how == "failed" else row.b_score if row.b_score is not None else 0.5


def _scores(rows: Sequence[tuple[Verdict, float | None]]) -> EvalScores:
    found: defaultdict[str, list[float]] = defaultdict(list)
    clusters: dict[str, str] = {}
    for row, score in rows:
        if score is not None:
            found[row.prompt_id].append(score)
            clusters[row.prompt_id] = cluster_key(row.prompt_id, row.source_id, row.language)
    return EvalScores({prompt: fmean(scores) for prompt, scores in found.items()}, clusters)


def _mean(values_P: Floats, cluster_P: Ints) -> Estimate | None:
    if not len(values_P):
        return None
    draws = resample_ratios(values_P[:, None], np.ones((len(values_P), 1)), cluster_P, seed=SEED)
    return estimate(float(values_P.mean()), draws[:, 0], len(np.unique(cluster_P)))
