"""What every pipeline has in common: ask the pool, score the answers, and keep it all in one candidate table.

Strategies, pairs, router labels and oracles are queries over this table; generation is paid for once (METHODS §1).

Preference pairs of a candidate table, their policy checked against the pool.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from arbitrage.config import Config, Operational, RunName, resolved_path
from arbitrage.contracts.engines import SamplingParams
from arbitrage.contracts.routers import PoolMember
from arbitrage.contracts.steps import ALL_SHARDS, Pipeline, Span, Step
from arbitrage.export.format import Trainer
from arbitrage.judging.committee import CommitteeConfig, committee
from arbitrage.models.references import current_reference, shipped_path
from arbitrage.prompts import PromptsConfig
from arbitrage.prompts.step import read_prompts
from arbitrage.rewards import CheckConfig, RewardConfig
from arbitrage.rewards.calibrate import CalibrateConfig, calibrate
from arbitrage.rewards.combine import EnsembleConfig, combine
from arbitrage.rewards.options import ScorerOptions
from arbitrage.rewards.score import check, score
from arbitrage.rewards.text_checks import ReasoningLeftConfig
from arbitrage.runs.manifest import Notes
from arbitrage.runs.paths import AnyPath
from arbitrage.selection.pairs import PairSelection, select_pairs
from arbitrage.teachers.generate import generate
from arbitrage.teachers.pool import TeacherConfig, load_pool, pool_members
from routers import RouterConfig
from routers.step import route


def pool_path(value: str) -> str:
    """Return the path of a pool file; `demo:<file>` names one of the demo world."""
    return str(shipped_path(current_reference(value)) or resolved_path(value))


class CandidatesConfig(Config):
    """Values shared by all pipelines.

    Attributes:
        name: of the run; it lives in `runs/<name>/` unless told otherwise.
        prompts: what is asked.
        teachers: the pool file, or `demo:teachers.yaml`, the pool of the shipped demo world.
        pool: which of its teachers take part; all by default.
        router: who is asked.
        compare: other routers, whose choices the report shows beside the one used. They cost nothing.
        sampling: how teachers are asked; what is not given here each teacher's entry decides.
        rewards: reward models and recorded scores.
        committee: teachers that review the answers of other families' teachers: one more reward.
        checks: rule-based checks; a candidate that fails one with `filter: true` is not selected. `reasoning_left` is
            always one of them: name it with `filter: false` to select such candidates all the same.
        calibration: how rewards are put on one scale across languages; null weighs raw scores.
        ensemble: how opinions become one.
        export: trainers for which the data sets are written at the end of a run.
        num_shards: pieces the prompts are dealt to; a run is resumed and spread by shard.
        max_rejected: share of rows that reading or a teacher may lose before the run fails.
    """

    name: RunName
    prompts: PromptsConfig
    teachers: Annotated[str, AfterValidator(pool_path)] = "teachers.yaml"
    pool: tuple[str, ...] | None = None
    router: RouterConfig
    compare: tuple[RouterConfig, ...] = ()
    sampling: SamplingParams = SamplingParams()
    rewards: tuple[RewardConfig, ...] = ()
    committee: CommitteeConfig | None = None
    checks: tuple[CheckConfig, ...] = ()
    calibration: CalibrateConfig | None = CalibrateConfig()
    ensemble: EnsembleConfig | None = None
    export: tuple[Trainer, ...] = ("trl",)
    num_shards: int = Field(default=8, ge=1, le=10_000)
    max_rejected: Annotated[float, Field(ge=0.0, le=1.0), Operational] = 0.2

    @field_validator("rewards", "checks")
    @classmethod
    def _names_are_unique(cls, members: tuple[RewardConfig, ...]) -> tuple[RewardConfig, ...]:
        names = [member.name for member in members]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the name '{twice[0]}' is given twice; give one of them another `name`")
        return members

    @model_validator(mode="after")
    def _something_is_weighed(self) -> Self:
        if not self.opinions() and self.ensemble is None:
            raise ValueError("nothing ranks the answers; add `rewards`, or weigh checks in `ensemble`")
        if self.committee is not None and self.committee.name in {reward.name for reward in self.rewards}:
            raise ValueError(f"the name '{self.committee.name}' is given to a reward and to the committee")
        return self

    def opinions(self) -> tuple[ScorerOptions, ...]:
        """Return all that scores answers on a scale of its own."""
        return (*self.rewards, *((self.committee,) if self.committee else ()))

    def all_checks(self) -> tuple[CheckConfig, ...]:
        """Return the checks named, and the one that is made whether it is named or not."""
        always = ReasoningLeftConfig()
        is_named = any(check.kind == always.kind or check.name == always.name for check in self.checks)
        return self.checks if is_named else (*self.checks, always)

    def engines(self) -> tuple[tuple[str, TeacherConfig], ...]:
        """Return every teacher that is asked, to answer or to review, beside the pool of workers that asks it."""
        found = [(f"generate-{teacher.name}", teacher) for teacher in self.selected_teachers()]
        if self.committee is not None:
            members = load_pool(Path(self.teachers)).select(self.committee.members)
            found += [(f"{verb}-{member.name}", member) for member in members for verb in ("review", "adjudicate")]
        return tuple(found)

    def selected_teachers(self) -> tuple[TeacherConfig, ...]:
        """Return the teachers that take part, read from the pool file."""
        pool = load_pool(Path(self.teachers))
        return pool.select(self.pool) if self.pool is not None else pool.teachers

    def routers(self) -> tuple[tuple[Span, RouterConfig], ...]:
        """Return who is asked in which shards, for estimates; for a router not yet trained, one that stands in."""
        return ((ALL_SHARDS, self.router),)

    def follow(self, run_dir: AnyPath, note: Callable[[str], None], is_stopped: Callable[[], bool]) -> None:
        """Do the long work that follows on a finished run; nothing by default.

        Args:
            run_dir: of the run.
            note: shows a person a sentence.
            is_stopped: tells whether somebody asked to stop.
        """

    def finish(self, run_dir: AnyPath) -> Notes:
        """Do what a finished run leaves to do besides data sets and report, and return what there is to say."""
        return Notes()


@dataclass(frozen=True, slots=True)
class TableBuild:
    """The steps that hold (prompt, teacher, sample) × scores; `levels`: how high the committee's reviewers score."""

    prompts: Step
    routes: Step
    compared: tuple[Step, ...]
    drafts: tuple[Step, ...]
    scores: tuple[Step, ...]
    calibration: Step | None
    final: Step
    levels: Step | None = None

    def pipeline(self, datasets: dict[str, Step], router: Step | None = None) -> Pipeline:
        """Return the pipeline that writes these data sets beside the table, and trains a router of it."""
        roles = {
            "prompts": (self.prompts,),
            "routes": (self.routes, *self.compared),
            "drafts": self.drafts,
            "scores": self.scores,
            "calibration": (self.calibration,) if self.calibration else (),
            "router": (router,) if router else (),
            "final": (self.final,),
            "mix": tuple(step for dataset in datasets.values() for step in dataset.inputs.get("mix", ())),
        }
        return Pipeline(datasets, roles)


def build_table(config: CandidatesConfig) -> TableBuild:
    """Build the steps from prompts to final scores."""
    teachers = config.selected_teachers()
    members = pool_members(teachers)
    prompts = read_prompts(config.prompts)
    routes = route(config.router, members, prompts)
    compared = compare(config, members, prompts)
    asked = sample_and_score(config, teachers, prompts, routes)
    calibration = scale(config, prompts, asked)
    final = combine_scores(config, prompts, asked, calibration)
    return TableBuild(prompts, routes, compared, asked.drafts, asked.scores, calibration, final, asked.levels)


@dataclass(frozen=True, slots=True)
class ShardRange:
    """A part of the run's shards, and its name in the names of steps."""

    span: Span = ALL_SHARDS
    name: str = ""

    def of(self, step: Step) -> Step:
        """Return the same step for this part alone."""
        return step.part(self.name, self.span)


EVERYTHING = ShardRange()


@dataclass(frozen=True, slots=True)
class SampledSteps:
    """The steps that hold answers, those that hold opinions on them, and how high each reviewer scores."""

    drafts: tuple[Step, ...]
    scores: tuple[Step, ...]
    levels: Step | None = None

    def __add__(self, other: "SampledSteps") -> "SampledSteps":
        """Return both, with the levels of the first."""
        return SampledSteps(self.drafts + other.drafts, self.scores + other.scores, self.levels)


def sample_and_score(
    config: CandidatesConfig,
    teachers: Sequence[TeacherConfig],
    prompts: Step,
    routes: Step,
    part: ShardRange = EVERYTHING,
    levels: Step | None = None,
) -> SampledSteps:
    """Ask the teachers what was routed to them, and score what they answer.

    Args:
        config: of the pipeline.
        teachers: of the pool.
        prompts: the prompts.
        routes: who is asked.
        part: of the run's shards.
        levels: of the committee's reviewers, where another part of the run has shown them.
    """
    drafts = [(teacher, part.of(generate(teacher, prompts, routes, config.sampling))) for teacher in teachers]
    return score_steps(config, prompts, drafts, part, levels)


def score_steps(
    config: CandidatesConfig,
    prompts: Step,
    drafts: Sequence[tuple[TeacherConfig, Step]],
    part: ShardRange = EVERYTHING,
    levels: Step | None = None,
) -> SampledSteps:
    """Score and check the answers of each teacher by all that the config names. Arguments are those of `ask`."""
    scores = [[score(reward, t.name, prompts, step) for reward in config.rewards] for t, step in drafts]
    if config.committee is not None:
        members = load_pool(Path(config.teachers))
        found = committee(config.committee, members, drafts, prompts, part.of, levels)
        scores = [[*own, reviewed] for own, reviewed in zip(scores, found.scores, strict=True)]
        levels = found.levels
    checks = [check(config.all_checks(), t.name, prompts, step) for t, step in drafts]
    every = (step for own, last in zip(scores, checks, strict=True) for step in (*own, last))
    return SampledSteps(tuple(step for _, step in drafts), tuple(map(part.of, every)), levels)


def scale(config: CandidatesConfig, prompts: Step, asked: SampledSteps, part: ShardRange = EVERYTHING) -> Step | None:
    """Put the rewards on one scale; None where there are none, for checks have one already."""
    if not config.opinions() or config.calibration is None:
        return None
    return part.of(calibrate(config.calibration, prompts, asked.drafts, asked.scores))


def combine_scores(
    config: CandidatesConfig,
    prompts: Step,
    asked: SampledSteps,
    calibration: Step | None,
    part: ShardRange = EVERYTHING,
) -> Step:
    """Make one score of all opinions."""
    weights = config.ensemble or EnsembleConfig(weights={opinion.name: 1.0 for opinion in config.opinions()})
    return part.of(combine(weights, prompts, asked.drafts, asked.scores, calibration))


def compare(config: CandidatesConfig, members: Sequence[PoolMember], prompts: Step) -> tuple[Step, ...]:
    """Route by the routers to compare with."""
    return tuple(_compared(config, members, prompts))


def _compared(config: CandidatesConfig, members: Sequence[PoolMember], prompts: Step) -> Iterator[Step]:
    """Route by the routers to compare with; the second of a kind is labelled `<kind>-2`, and so on."""
    seen = Counter([config.router.kind])
    for router in config.compare:
        seen[router.kind] += 1
        number = seen[router.kind]
        yield route(router, members, prompts, router.kind if number == 1 else f"{router.kind}-{number}")


def preference_pairs(config: PairSelection, pool: Sequence[TeacherConfig], table: TableBuild) -> Step:
    """Return the step that selects the pairs.

    Raises:
        ConfigError: the policy cannot be followed with these teachers.
    """
    config.policy.require([teacher.name for teacher in pool])
    return select_pairs(config, table.prompts, table.drafts, table.final)
