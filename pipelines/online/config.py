"""Config of iterative preference training, and its stages: the students in order, each with its folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from arbitrage.config import (
    AbsolutePath,
    Config,
    RunName,
    as_tuple,
    override,
    parse,
    paths_beside,
    resolved_path,
    typed_texts,
)
from arbitrage.contracts.engines import SamplingParams
from arbitrage.errors import ConfigError
from arbitrage.judging import JudgeConfig
from arbitrage.judging.scored import ExactJudge, RewardJudge
from arbitrage.judging.teacher import TeacherJudge
from arbitrage.prompts import PromptsConfig
from arbitrage.selection import PairPolicy
from arbitrage.teachers.pool import TeacherConfig, load_pool
from arbitrage.training.mix import RowMixConfig
from arbitrage.training.monitor.settings import MonitorConfig
from arbitrage.training.sources import Source
from arbitrage.yaml_text import load_yaml
from pipelines.preference import PreferenceConfig


class PhaseConfig(Config):
    """Training options of a phase.

    Attributes:
        arguments: arguments of TRL's SFTConfig or DPOConfig.
        lora: arguments of peft's LoraConfig; none trains all weights.
        mix: how many rows of each language.
    """

    arguments: dict[str, Any] = Field(default_factory=dict)
    lora: dict[str, Any] | None = None
    mix: RowMixConfig = RowMixConfig()


class RoundsConfig(PhaseConfig):
    """The online rounds.

    Attributes:
        number: number of rounds.
        prompts: prompts of the rounds (default: those of `data`).
        share_prompts: whether each round uses its own shards of the prompts, so that no prompt is used twice; false:
            all prompts in every round.
        opponents: teachers whose candidates are paired with the student's (default: all of `data`); empty: the
            student's samples are paired with each other.
        policy: pair policy (default: `on_policy`, or `best_vs_worst` without opponents).
        min_gap, max_pairs: as in `pairs` of a preference pipeline.
        sampling: sampling parameters of the student and the opponents.
    """

    number: int = Field(default=3, ge=0)
    prompts: PromptsConfig | None = None
    share_prompts: bool = True
    opponents: tuple[str, ...] | None = None
    policy: PairPolicy | None = None
    min_gap: float = Field(default=0.5, ge=0)
    max_pairs: int = Field(default=1, ge=1)
    sampling: SamplingParams = SamplingParams(n=4, temperature=0.9)


class EvaluationConfig(Config):
    """The evaluation of every student: its responses against those of the first student of preference training.

    Attributes:
        prompts: held-out prompts, which no phase trains on.
        judges: judges that training does not use. The rewards of `data` are evaluated, too.
        sampling: sampling parameters of the students (default: one greedy completion).
        early_stop: no further round when a reward rises while a judge falls.
    """

    prompts: PromptsConfig
    judges: tuple[JudgeConfig, ...] = Field(min_length=1)
    sampling: SamplingParams = SamplingParams()
    early_stop: bool = True


class OnlineMonitorConfig(MonitorConfig):
    """The over-optimisation monitor of preference training.

    Attributes:
        probe: probe rows (default: the pairs of `data` that are held out of training).
        early_stop: stop a phase, and all rounds, at an alarm for all languages together.
        held_out: share of the prompts of `data` that are held out for it.
    """

    probe: Annotated[tuple[Source, ...], BeforeValidator(as_tuple, json_schema_input_type=str | list[str])] = ()
    early_stop: bool = True
    held_out: float = Field(default=0.1, gt=0, lt=1)


class OnlineConfig(Config):
    """Config of iterative preference training.

    Attributes:
        name: name of the training; its directory is `runs/<name>/` by default.
        data: a preference pipeline: its SFT rows and pairs begin the training; its rewards, checks and calibration
            rank the student's samples.
        data_run: directory of the run of `data` (default: beside the students).
        student: the student as a teacher of the pool; `model` is its base model.
        sft: the supervised phase; null if the student is already fine-tuned.
        dpo: the phase on the pairs of `data`; null: online rounds from the beginning.
        rounds: the online rounds.
        monitor: the monitor of the preference phases; null: none.
        evaluation: how students are evaluated.
        seed: of training (TRL's `seed`) and of the student's samples.
    """

    kind: Literal["online"] = "online"
    name: RunName
    data: PreferenceConfig
    data_run: AbsolutePath | None = None
    student: TeacherConfig
    sft: PhaseConfig | None = PhaseConfig()
    dpo: PhaseConfig | None = PhaseConfig()
    rounds: RoundsConfig = RoundsConfig()
    monitor: OnlineMonitorConfig | None = OnlineMonitorConfig()
    evaluation: EvaluationConfig
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _trains_something(self) -> Self:
        if not self.student.engine.loads_model:
            kind = self.student.engine.kind
            raise ValueError(f"student.engine: '{kind}' loads no weights, so it cannot serve what is trained")
        if self.sft is not None and self.data.sft is None:
            raise ValueError("sft: `data` selects no SFT rows (its `sft` is null)")
        if self.dpo is None and not self.rounds.number:
            raise ValueError("dpo, rounds: both are off, so there is no preference training")
        if self.rounds.share_prompts and self.rounds.number > self.data.num_shards:
            raise ValueError(
                f"rounds.number: {self.rounds.number} rounds cannot share {self.data.num_shards} shards; "
                "raise data.num_shards"
            )
        return self

    @model_validator(mode="after")
    def _is_judged_by_strangers(self) -> Self:
        if not self.data.rewards:
            raise ValueError("data.rewards: is empty; without a reward model there is no reward that could rise")
        for judge in self.evaluation.judges:
            if why := _seen_in_training(judge, self.data):
                raise ValueError(f"evaluation.judges: '{judge.label}' is not unseen by the training: {why}")
        return self

    def require_pool(self) -> None:
        """Check the names against the pool.

        Raises:
            ConfigError: the student has the name of a teacher.
            UserError: an opponent is not in the pool.
        """
        pool = load_pool(Path(self.data.teachers))
        if self.student.name in pool.names:
            raise ConfigError(f"student.name: '{self.student.name}' is already a teacher of {self.data.teachers}")
        pool.select(self.opponents)

    @property
    def opponents(self) -> tuple[str, ...]:
        """The teachers that take part in the rounds."""
        if self.rounds.opponents is not None:
            return self.rounds.opponents
        return tuple(teacher.name for teacher in self.data.select_teachers(self.data.load_pool()))


def load_online(path: Path, assignments: Sequence[str] = ()) -> OnlineConfig:
    """Read a config; `data` may be the path of a preference pipeline's file.

    Args:
        path: the YAML file.
        assignments: `key=value` overrides, applied before validation, `data.…` also to that other file.

    Raises:
        ConfigError: file, key, value found and values allowed.
    """
    raw = override(load_yaml(path), [item for item in assignments if item.startswith("data=")])
    typed, read = typed_texts(assignments), [path]
    with paths_beside(path, typed=typed):
        if isinstance(raw.get("data"), str):
            read.append(resolved_path(raw["data"]))
            raw["data"] = load_yaml(read[1])
    with paths_beside(*read, typed=typed):
        return parse(
            override(raw, [item for item in assignments if not item.startswith("data=")]), OnlineConfig, str(path)
        )


def _seen_in_training(judge: RewardJudge | ExactJudge | TeacherJudge, data: PreferenceConfig) -> str | None:
    """Say where the training uses a judge; None if it does not."""
    if isinstance(judge, RewardJudge):
        same = [reward.name for reward in data.rewards if _essence(reward) == _essence(judge.reward)]
        return f"it is the reward '{same[0]}' of `data`" if same else None
    if isinstance(judge, ExactJudge):
        weights = data.ensemble.weights if data.ensemble else {}
        matching = [
            check.name for check in data.checks if check.kind == "exact" and (check.filter or check.name in weights)
        ]
        return f"the check '{matching[0]}' of `data` selects by it" if matching else None
    members = data.committee.members if data.committee else ()
    return "it is in the committee of `data`" if judge.teacher in members else None


def _essence(reward: Config) -> Any:
    return {key: value for key, value in reward.identity().items() if key != "name"}


@dataclass(frozen=True, slots=True)
class Stage:
    """A student at a point of the training.

    Attributes:
        name: `start`, `sft`, `dpo`, `round-1`, …; also its directory.
        iteration: the round after which the stage is, else 0.
    """

    name: str
    iteration: int = 0

    def folder(self, out: Path) -> Path:
        """Return the folder of its training."""
        return out / self.name


def first_stage(config: OnlineConfig) -> Stage:
    """Return the student at the start of preference training, which every evaluation compares with."""
    return Stage("sft" if config.sft is not None else "start")


def preference_stages(config: OnlineConfig) -> list[Stage]:
    """Return the students that preference training makes, in order."""
    offline = [Stage("dpo")] if config.dpo is not None else []
    return offline + [Stage(f"round-{number}", number) for number in range(1, config.rounds.number + 1)]


def shards_of(config: OnlineConfig, iteration: int) -> range:
    """Return the shards of a round's prompts: shards are random samples, so each round's part is one too."""
    if not config.rounds.share_prompts:
        return range(config.data.num_shards)
    share = config.data.num_shards / config.rounds.number
    return range(round((iteration - 1) * share), round(iteration * share))
