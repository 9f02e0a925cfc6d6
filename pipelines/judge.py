"""Compare two data sets or models, prompt by prompt, by one or more judges.

prompts ─> answers-a | generate-<a> ─┬─> judge-<name> ─> verdicts-<name>
        └> answers-b | generate-<b> ─┘
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from arbitrage.config import Config, RunName
from arbitrage.contracts.engines import SamplingParams
from arbitrage.contracts.steps import Pipeline, Step
from arbitrage.judging import JudgeConfig
from arbitrage.judging.answers import ResponseFiles, SideName, count_lost, read_response_files
from arbitrage.judging.prompts import judge_prompts
from arbitrage.judging.sides import Sides
from arbitrage.judging.teacher import TeacherJudge, family_clashes
from arbitrage.prompts import PromptsConfig
from arbitrage.prompts.step import read_prompts
from arbitrage.teachers.generate import generate
from arbitrage.teachers.pool import TeacherPool, load_pool, pool_members
from pipelines.candidates import pool_path
from routers.all import AllConfig
from routers.step import route


class ModelSide(Config):
    """A teacher of the pool that responds to the same prompts as the other side, in the languages it declares."""

    kind: Literal["model"] = "model"
    teacher: str

    @property
    def label(self) -> str:
        """Name in reports."""
        return self.teacher


Side = Annotated[ResponseFiles | ModelSide, Field(discriminator="kind")]


class JudgeRunConfig(Config):
    """Config of a judge run.

    Attributes:
        name: of the run.
        a, b: the sides.
        prompts: the prompts for models, and the reference answers (default: the prompts of the data sets).
        teachers: the pool file of models and judges; read only if one of them is named.
        judges: the judges.
        sampling: sampling parameters of models (default: one greedy completion).
        num_shards: number of shards that prompts are assigned to.
    """

    name: RunName
    a: Side
    b: Side
    prompts: PromptsConfig | None = None
    teachers: Annotated[str, AfterValidator(pool_path)] = "teachers.yaml"
    judges: tuple[JudgeConfig, ...] = Field(min_length=1)
    sampling: SamplingParams = SamplingParams()
    num_shards: int = Field(default=4, ge=1, le=10_000)

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        if self.a == self.b:
            raise ValueError(f"both sides are {self.a.label}")
        if self.prompts is None and not self._data():
            raise ValueError("two models need prompts: give --prompts")
        labels = [judge.label for judge in self.judges]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"two judges are called '{twice[0]}'; give one of them another name")
        return self

    def build(self) -> Pipeline:
        """Build the steps.

        Raises:
            UserError: a teacher is named that is not in the pool.
        """
        pool = self.pool()
        data = self._data()
        prompts = read_prompts(self.prompts) if self.prompts is not None else judge_prompts(data)
        sides = Sides(prompts, self._side(self.a, "a", prompts, pool), self._side(self.b, "b", prompts, pool))
        verdicts = tuple(judge.verdicts(sides, pool) for judge in self.judges)
        roles = {"prompts": (prompts,), "a": (sides.a,), "b": (sides.b,), "verdicts": verdicts}
        return Pipeline({}, roles)

    def pool(self) -> TeacherPool:
        """Return the pool; an empty one if no teacher is named, so that no pool file is needed."""
        named = any(isinstance(side, ModelSide) for side in (self.a, self.b))
        if named or any(isinstance(judge, TeacherJudge) for judge in self.judges):
            return load_pool(Path(self.teachers))
        return TeacherPool.model_construct(teachers=())

    def models(self) -> tuple[str, ...]:
        """Return the teachers that are compared."""
        return tuple(side.teacher for side in (self.a, self.b) if isinstance(side, ModelSide))

    def cautions(self) -> list[str]:
        """Return remarks to read before the figures."""
        pool = self.pool()
        return [
            f"{judge.label} judges {name}, of its own family: judges prefer their own family"
            for judge in self.judges
            if isinstance(judge, TeacherJudge)
            for name in family_clashes(judge, self.models(), pool)
        ]

    def lost_rows(self) -> dict[str, int]:
        """Count the rows of the data sets that give no response, by side and reason.

        Raises:
            UserError: a path matches nothing, or a column is missing.
            DataError: a file cannot be read.
        """
        return {
            f"{side.label}: {what}": count
            for side in self._data()
            for what, count in sorted(count_lost(side, side.label).items())
        }

    def _data(self) -> list[ResponseFiles]:
        return [side for side in (self.a, self.b) if isinstance(side, ResponseFiles)]

    def _side(self, side: Side, name: SideName, prompts: Step, pool: TeacherPool) -> Step:
        if isinstance(side, ResponseFiles):
            return read_response_files(side, name, prompts)
        [teacher] = pool.select([side.teacher])
        routes = route(AllConfig(), pool_members([teacher]), prompts, name)
        return generate(teacher, prompts, routes, self.sampling)
