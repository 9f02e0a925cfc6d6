"""What pipelines share: fields of their configs, and groups of steps.

Strategies, pairs, router labels and oracles are queries over one candidate table, so candidates are generated once.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from arbitrage.config import Config, Operational, RunName, resolved_path
from arbitrage.contracts.engines import SamplingParams
from arbitrage.contracts.routers import PoolMember
from arbitrage.contracts.steps import ALL_SHARDS, Pipeline, Span, Step
from arbitrage.execution.context import RunContext
from arbitrage.export import FORMATS
from arbitrage.export.format import Trainer
from arbitrage.export.reasoning import ReasoningChoice, require_forms
from arbitrage.judging.committee import CommitteeConfig, committee
from arbitrage.models.references import current_reference, shipped_path
from arbitrage.prompts import PromptsConfig
from arbitrage.records import Prompt
from arbitrage.rewards import CheckConfig, RewardConfig
from arbitrage.rewards.calibrate import CalibrateConfig, calibrate
from arbitrage.rewards.combine import EnsembleConfig, combine
from arbitrage.rewards.options import ScorerOptions
from arbitrage.rewards.score import check, score
from arbitrage.rewards.text_checks import ReasoningLeftConfig
from arbitrage.runs.manifest import Notes
from arbitrage.runs.paths import AnyPath
from arbitrage.selection.pairs import PairSelection, select_pairs
from arbitrage.teachers.pool import TeacherConfig, TeacherPool, load_pool
from routers import RouterConfig
from routers.step import route


def pool_path(value: str) -> str:
    """Return the path of a pool file; `demo:<file>` names one of the demo world."""
    return str(shipped_path(current_reference(value)) or resolved_path(value))


def sent_text(prompt: Prompt) -> str:
    """Return the text of a prompt that is sent to a teacher, its tools included."""
    return "\n".join([*([prompt.tools] if prompt.tools else []), *(message.shown for message in prompt.messages)])


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a teacher is sent for one prompt, for estimates.

    Attributes:
        requests: number of requests for a sample.
        characters: of all of them.
        response_characters: expected of the responses; None where nothing tells.
    """

    requests: int
    characters: int
    response_characters: float | None = None


class CandidatesConfig(Config):
    """Fields shared by all pipelines.

    Attributes:
        name: name of the run; its directory is `runs/<name>/` by default.
        prompts: where the prompts come from.
        teachers: the pool file, or `demo:teachers.yaml`, the pool of the shipped demo world.
        pool: names of the teachers that take part; null: all.
        router: which teachers each prompt is sent to.
        compare: other routers to compare in the report; nothing is generated for them.
        sampling: sampling parameters; those not given here come from each teacher's entry in the pool.
        rewards: reward models and recorded scores.
        committee: teachers that review candidates of teachers of other families; its score is one more reward.
        checks: rule-based checks; a candidate that fails one with `filter: true` is not selected. `reasoning_left` is
            always one of them: name it with `filter: false` to select such candidates all the same.
        calibration: how rewards are put on one scale across languages; null: raw scores are combined.
        ensemble: how scores are combined into the final score; null: the mean of the rewards.
        export: trainers for which data sets are written at the end of the run.
        export_reasoning: what becomes of reasoning there: `keep` (as each trainer reads it), `drop`, or a form by its
            name: `reasoning_content` or `thinking` (keys of the message), `inline` (`<think>` in its text).
        num_shards: number of shards that prompts are divided into; a run is resumed and distributed by shard.
        max_rejected: the run fails when a larger share of rows is rejected in reading or generation.
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
    export_reasoning: ReasoningChoice = "keep"
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
    def _trainers_read_the_form(self) -> Self:
        require_forms([FORMATS[trainer] for trainer in self.export], self.export_reasoning)
        return self

    @model_validator(mode="after")
    def _something_ranks(self) -> Self:
        if not self.scorers() and self.ensemble is None and not self.ranking_checks():
            raise ValueError("nothing ranks the candidates; add `rewards`, or weights of checks in `ensemble`")
        if self.committee is not None and self.committee.name in {reward.name for reward in self.rewards}:
            raise ValueError(f"the name '{self.committee.name}' is given to a reward and to the committee")
        return self

    def scorers(self) -> tuple[ScorerOptions, ...]:
        """Return the rewards, and the committee if there is one: all scorers that are calibrated."""
        return (*self.rewards, *((self.committee,) if self.committee else ()))

    def all_checks(self) -> tuple[CheckConfig, ...]:
        """Return the checks given, and `reasoning_left`, which is always one of them."""
        always = ReasoningLeftConfig()
        is_named = any(check.kind == always.kind or check.name == always.name for check in self.checks)
        return self.checks if is_named else (*self.checks, always)

    def ranking_checks(self) -> tuple[str, ...]:
        """Return the names of the checks that rank candidates where no reward does; none by default."""
        return ()

    def weights(self) -> EnsembleConfig:
        """Return how scores are combined: as configured, else the mean of the rewards."""
        ranking = [scorer.name for scorer in self.scorers()] or self.ranking_checks()
        return self.ensemble or EnsembleConfig(weights=dict.fromkeys(ranking, 1.0))

    def load_pool(self) -> TeacherPool:
        """Read the pool file."""
        return load_pool(Path(self.teachers))

    def select_teachers(self, pool: TeacherPool) -> tuple[TeacherConfig, ...]:
        """Return the teachers of a pool that take part."""
        return pool.teachers if self.pool is None else pool.select(self.pool)

    def engines(self) -> tuple[tuple[str, TeacherConfig], ...]:
        """Return every teacher that is sampled, also reviewers and fusing teachers, with its step's name."""
        pool = self.load_pool()
        found = [(f"generate-{teacher.name}", teacher) for teacher in self.select_teachers(pool)]
        if self.committee is not None:
            members = pool.select(self.committee.members)
            found += [(f"{verb}-{member.name}", member) for member in members for verb in ("review", "adjudicate")]
        return (*found, *((f"fuse-{fuser.name}", fuser) for fuser in self.fusers(pool)))

    def fusers(self, pool: TeacherPool) -> tuple[TeacherConfig, ...]:
        """Return the teachers of a pool that fuse candidates; none by default."""
        return ()

    def routers(self) -> tuple[tuple[Span, RouterConfig], ...]:
        """Return the routers by shards, for estimates; a substitute for a router that is not trained yet."""
        return ((ALL_SHARDS, self.router),)

    def sampled_prompts(self, source: Prompt) -> tuple[Prompt, ...]:
        """Return the prompts that are routed for a prompt of the source: itself, by default."""
        return (source,)

    def sampled(self, teacher: TeacherConfig, prompt: Prompt) -> Sampled:
        """Return what a teacher is sent for a prompt, for estimates."""
        return Sampled(1, len(sent_text(prompt)))

    def follow(self, run_dir: AnyPath, context: RunContext) -> None:
        """Do long work after the steps of a finished run, such as training; nothing by default.

        Args:
            run_dir: the run directory.
            context: the caller's context.
        """

    def finish(self, run_dir: AnyPath) -> Notes:
        """Do the rest after data sets and report; return lines and figures for the user."""
        return Notes()


@dataclass(frozen=True, slots=True)
class ShardRange:
    """A part of the run's shards, and its name in step names."""

    span: Span = ALL_SHARDS
    name: str = ""

    def of(self, step: Step) -> Step:
        """Return the step for this part of the run."""
        return step.part(self.name, self.span)


ALL = ShardRange()


@dataclass(frozen=True, slots=True)
class ScoreSteps:
    """The steps that score and check candidates.

    Attributes:
        steps: teacher by teacher.
        levels: step that estimates the level of each reviewer, if there is a committee.
    """

    steps: tuple[Step, ...]
    levels: Step | None = None

    def __add__(self, other: "ScoreSteps") -> "ScoreSteps":
        """Return the steps of both, with the levels of the first."""
        return ScoreSteps(self.steps + other.steps, self.levels)


@dataclass(frozen=True, slots=True)
class TableBuild:
    """The steps of a candidate table: (prompt, teacher, sample) × scores."""

    prompts: Step
    routes: Step
    compared: tuple[Step, ...]
    candidates: tuple[Step, ...]
    scores: ScoreSteps
    calibration: Step | None
    final: Step

    def pipeline(self, datasets: Mapping[str, Step], **others: Step | Sequence[Step] | None) -> Pipeline:
        """Return the pipeline that writes these data sets; `others` are further steps of the run, by role."""
        router = others.pop("router", None)
        roles = {
            "prompts": (self.prompts,),
            "routes": (self.routes, *self.compared),
            "candidates": self.candidates,
            "scores": self.scores.steps,
            "calibration": _steps(self.calibration),
            "router": _steps(router),
            "final": (self.final,),
            "mix": tuple(step for dataset in datasets.values() for step in dataset.inputs.get("mix", ())),
        }
        return Pipeline(dict(datasets), roles | {role: _steps(found) for role, found in others.items()})


def score_candidates(
    config: CandidatesConfig,
    pool: TeacherPool,
    prompts: Step,
    teachers: Sequence[TeacherConfig],
    candidates: Sequence[Step],
    part: ShardRange = ALL,
    levels: Step | None = None,
) -> ScoreSteps:
    """Score each teacher's candidates by every reward, the committee and the checks of a config.

    Args:
        config: config of the pipeline.
        pool: the pool with the committee's members.
        prompts: the prompts.
        teachers: the teachers of `drafts`, in order.
        candidates: one step of candidates for each teacher.
        part: of the run's shards.
        levels: the reviewers' levels, if another part of the run has estimated them.
    """
    scores = [
        [score(reward, teacher.name, prompts, step) for reward in config.rewards]
        for teacher, step in zip(teachers, candidates, strict=True)
    ]
    if config.committee is not None:
        pairs = list(zip(teachers, candidates, strict=True))
        reviewed = committee(config.committee, pool, pairs, prompts, part.of, levels)
        scores = [[*own, review] for own, review in zip(scores, reviewed.scores, strict=True)]
        levels = reviewed.levels
    checks = [
        check(config.all_checks(), teacher.name, prompts, step)
        for teacher, step in zip(teachers, candidates, strict=True)
    ]
    steps = (step for own, last in zip(scores, checks, strict=True) for step in (*own, last))
    return ScoreSteps(tuple(map(part.of, steps)), levels)


def calibrate_scores(
    config: CandidatesConfig, prompts: Step, candidates: Sequence[Step], scores: ScoreSteps, part: ShardRange = ALL
) -> Step | None:
    """Put the rewards on one scale; None without rewards, because checks are on one scale already."""
    if not config.scorers() or config.calibration is None:
        return None
    return part.of(calibrate(config.calibration, prompts, candidates, scores.steps))


def combine_scores(
    config: CandidatesConfig,
    prompts: Step,
    candidates: Sequence[Step],
    scores: ScoreSteps,
    calibration: Step | None,
    part: ShardRange = ALL,
) -> Step:
    """Combine all scores of a candidate into its final score."""
    return part.of(combine(config.weights(), prompts, candidates, scores.steps, calibration))


def compare_routers(config: CandidatesConfig, members: Sequence[PoolMember], prompts: Step) -> tuple[Step, ...]:
    """Route by the routers to compare with; the second of a kind is labelled `<kind>-2`, and so on."""
    seen = Counter([config.router.kind])
    compared = []
    for router in config.compare:
        seen[router.kind] += 1
        number = seen[router.kind]
        compared.append(route(router, members, prompts, router.kind if number == 1 else f"{router.kind}-{number}"))
    return tuple(compared)


def preference_pairs(config: PairSelection, teachers: Sequence[TeacherConfig], table: TableBuild) -> Step:
    """Return the step that selects the pairs.

    Raises:
        ConfigError: the policy does not work with these teachers.
    """
    config.policy.require([teacher.name for teacher in teachers])
    return select_pairs(config, table.prompts, table.candidates, table.final)


def _steps(found: Step | Sequence[Step] | None) -> tuple[Step, ...]:
    return () if found is None else (found,) if isinstance(found, Step) else tuple(found)
