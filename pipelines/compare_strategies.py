"""Compare strategies by the students that their data trains.

    candidates ─> route-<strategy> ─> select-<strategy>        the run's steps
    select-<strategy> ─> students/<strategy>-…-<seed>/          one training for each strategy, budget and seed
    evaluation prompts ─> every student ─> exact check ─> students.json, students.md, students.svg

Students are trained after the steps, each in its own directory: a killed run resumes with the first student that is
not finished (docs/decisions/0017-students.md explains why they are not steps).
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from arbitrage.config import Operational
from arbitrage.contracts.steps import Pipeline
from arbitrage.errors import UserError
from arbitrage.execution.context import RunContext
from arbitrage.export.format import Trainer
from arbitrage.prompts import PromptsConfig
from arbitrage.prompts.step import read_prompts
from arbitrage.report.students import compare_students, figures_from
from arbitrage.report.students_view import students_lines, students_markdown, students_picture
from arbitrage.rewards.text_checks import ExactConfig
from arbitrage.runs.manifest import Notes
from arbitrage.runs.paths import AnyPath
from arbitrage.runs.run import open_run
from arbitrage.runs.store import commit_bytes
from arbitrage.teachers.generate import generate
from arbitrage.teachers.pool import TeacherConfig, pool_members
from pipelines.candidates import (
    CandidatesConfig,
    TableBuild,
    calibrate_scores,
    combine_scores,
    compare_routers,
    score_candidates,
)
from pipelines.students.budgets import strategy_rows, training_sets
from pipelines.students.strategies import StrategyConfig, plan_strategy, single
from pipelines.students.students import StudentConfig, eval_results, plan_students, require_trainable_students
from pipelines.students.workers import train_missing
from routers.all import AllConfig
from routers.step import route

FOLDER = "students"
JSON_FILE, TEXT_FILE, PICTURE_FILE = "students.json", "students.md", "students.svg"


class CompareStrategiesConfig(CandidatesConfig):
    """Config of a run that compares strategies by their students.

    Attributes:
        router: samples every teacher in every language, so that every strategy finds its completions in the table.
        singles: compare each teacher alone as well.
        strategies: what is compared.
        student: the student model, and how it is trained.
        evaluation: the eval prompts, with references; prompts that are in the table are left out.
        workers: number of students trained at the same time, each on one core.
    """

    kind: Literal["compare_strategies"]
    router: AllConfig = AllConfig(language_filter="off")
    singles: bool = True
    strategies: tuple[StrategyConfig, ...] = ()
    student: StudentConfig
    evaluation: PromptsConfig
    workers: Annotated[int, Field(ge=1), Operational] = 2
    export: tuple[Trainer, ...] = ()

    @model_validator(mode="after")
    def _can_be_compared(self) -> Self:
        names = Counter(strategy.name for strategy in self.strategies)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"two strategies are called '{twice[0]}'")
        if not self.singles and not any(name.startswith("single-") for name in names):
            raise ValueError("nothing to compare with: set `singles: true`, or name a strategy `single-<teacher>`")
        if any(s.keep == "right" for s in self.strategies) and not self._has_exact():
            raise ValueError("a strategy that keeps what is `right` needs the check `exact` under `checks`")
        most = self.sampling.n
        if greedy := [s.name for s in self.strategies if s.samples > most]:
            raise ValueError(f"strategy '{greedy[0]}' needs more samples than `sampling.n`, which is {most}")
        return self

    def build(self) -> Pipeline:
        """Build the steps up to the strategies' data sets.

        Raises:
            ConfigError: a router names an unknown teacher, or the student's training an unknown argument.
            MissingDependencyError: a package for training or sampling the student is not installed.
        """
        require_trainable_students(self.student)
        pool = self.load_pool()
        teachers = self.select_teachers(pool)
        members = pool_members(teachers)
        prompts = read_prompts(self.prompts)
        routes = route(self.router, members, prompts)
        candidates = [generate(teacher, prompts, routes, self.sampling) for teacher in teachers]
        scores = score_candidates(self, pool, prompts, teachers, candidates)
        calibration = calibrate_scores(self, prompts, candidates, scores)
        final = combine_scores(self, prompts, candidates, scores, calibration)
        compared = compare_routers(self, members, prompts)
        table = TableBuild(prompts, routes, compared, tuple(candidates), scores, calibration, final)
        strategies = [*self.single_strategies(teachers), *self.strategies]
        rows = {s.name: plan_strategy(s, table, members, self.num_shards).rows for s in strategies}
        return table.pipeline(rows)

    def compared(self) -> tuple[StrategyConfig, ...]:
        """Return all strategies, single teachers first."""
        return (*self.single_strategies(self.select_teachers(self.load_pool())), *self.strategies)

    def single_strategies(self, teachers: Sequence[TeacherConfig]) -> tuple[StrategyConfig, ...]:
        """Return one strategy for each single teacher, if these are to be compared."""
        return tuple(single(teacher.name) for teacher in teachers) if self.singles else ()

    def follow(self, run_dir: AnyPath, context: RunContext) -> None:
        """Train and evaluate the students; finished ones are kept.

        Raises:
            UserError: the run is in an object store; the student cannot be loaded.
            DataError: a strategy has no rows in a language in which others have some; or no eval prompt is left.
            InterruptedRunError: the stop flag was set; students that are done stay.
        """
        if not isinstance(run_dir, Path):
            raise UserError(f"{run_dir}: students are trained beside the run; choose a local --run-dir")
        run = open_run(run_dir)
        planned = training_sets(strategy_rows(run, self.compared()))
        students = plan_students(self.student, self.evaluation, run, planned, run_dir / FOLDER)
        train_missing(students.tasks, self.workers, context)
        results = eval_results(students, run)
        figures = compare_students(results.eval_set, results.students, self.student.seeds, results.start_P)
        commit_bytes(run_dir / JSON_FILE, figures.to_json().encode())
        commit_bytes(run_dir / TEXT_FILE, students_markdown(figures).encode())
        commit_bytes(run_dir / PICTURE_FILE, students_picture(figures).encode())

    def finish(self, run_dir: AnyPath) -> Notes:
        """Return for each budget the strategies by their students' accuracy."""
        return Notes(
            lines=tuple(students_lines(figures_from((run_dir / JSON_FILE).read_bytes()))),
            figures={"students": str(run_dir / JSON_FILE)},
        )

    def _has_exact(self) -> bool:
        return any(isinstance(check, ExactConfig) for check in self.checks)
