"""The step `calibrate`: the scale of each reward in each language, as a small table.

The levels are language, family (ISO 639-5) and all; each is shrunk towards the next (`arbitrage.rewards.shrinkage`):

    family' = shrink(family, all)        language' = shrink(language, family')

Variances and slopes of family and all are pooled *within* languages. A family of one language adds nothing, so that
language is shrunk directly towards all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from arbitrage.candidates.calibration import log_length
from arbitrage.candidates.table import CandidateShard
from arbitrage.config import Config
from arbitrage.contracts.steps import PureCorpusStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.errors import ConfigError
from arbitrage.languages import UNKNOWN, family_of
from arbitrage.records import Calibration, content_id
from arbitrage.rewards.score import CheckStep
from arbitrage.rewards.shrinkage import Level, Moments, Sample, level_of, merge, pool_within, shrink
from arbitrage.tables import to_table


class CalibrateConfig(Config):
    """How raw scores are put on a common scale.

    Attributes:
        method: `standard` subtracts the mean and divides by the standard deviation; `rank` maps each language's
            quantiles to those of the normal distribution, for rewards whose tails differ by language.
        shrinkage: k, the number of scores at which a group has the same weight as the level above.
        length_control: subtract from each score the part that its log length explains within the language.
    """

    method: Literal["standard", "rank"] = "standard"
    shrinkage: float = Field(default=20.0, ge=0.0)
    length_control: bool = False

    @model_validator(mode="after")
    def _ranks_have_no_slope(self) -> "CalibrateConfig":
        if self.method == "rank" and self.length_control:
            raise ValueError("length_control needs method: standard")
        return self


@dataclass(slots=True)
class _Group:
    moments: Moments = field(default_factory=Moments)
    sample: Sample = field(default_factory=Sample)


class CalibrateStep(PureCorpusStep):
    """Calibrates its input rewards."""

    step_kind: ClassVar[str] = "calibrate"

    calibrate: CalibrateConfig

    def run(self, shards: Iterable[Inputs]) -> Output:
        """Return rows sorted by reward and language; the row of 'und' is the global level, for unseen languages."""
        groups: dict[str, dict[str, _Group]] = {}
        for shard in shards:
            self._take_in(shard, groups)
        rows = [row for reward in sorted(groups) for row in self._rows(reward, groups[reward])]
        return Output(to_table(rows, Calibration))

    def _take_in(self, inputs: Inputs, groups: dict[str, dict[str, _Group]]) -> None:
        shard = CandidateShard(inputs)
        lengths = [log_length(text) for text in shard.candidates["text"].to_pylist()]
        scores = shard.scores()
        columns = (scores[name].to_pylist() for name in ("reward", "candidate_id", "value"))
        rows = zip(*columns, shard.languages_of(scores).to_pylist(), shard.candidate_rows(scores), strict=True)
        for reward, candidate_id, value, language, row in rows:
            if value is None:
                continue
            group = groups.setdefault(reward, {}).setdefault(language, _Group())
            group.moments.add(value, lengths[row])
            if self.calibrate.method == "rank":
                group.sample.add(int(content_id("calibrate", reward, candidate_id), 16), value)

    def _rows(self, reward: str, groups: dict[str, _Group]) -> list[Calibration]:
        k = self.calibrate.shrinkage
        everything = _level(groups, sorted(groups))
        rows = {UNKNOWN: _row(reward, UNKNOWN, everything, everything)}
        for language in sorted(set(groups) - {UNKNOWN}):
            family = family_of(language)
            relatives = [m for m in sorted(groups) if family != UNKNOWN and family_of(m) == family]
            above = shrink(_level(groups, relatives), everything, k) if len(relatives) > 1 else everything
            own = _level(groups, [language])
            rows[language] = _row(reward, language, own, shrink(own, above, k))
        if not self.calibrate.length_control:
            rows = {language: row.model_copy(update={"length_slope": 0.0}) for language, row in rows.items()}
        return [rows[language] for language in sorted(rows)]


def calibrate(config: CalibrateConfig, prompts: Step, candidates: Sequence[Step], scores: Sequence[Step]) -> Step:
    """Calibrate rewards over all shards. Check steps among `scores` are left out, because checks need no calibration.

    Raises:
        ConfigError: no reward is among the scores.
    """
    rewards = tuple(step for step in scores if not isinstance(step.config, CheckStep))
    if not rewards:
        raise ConfigError("calibrate: there is no reward to calibrate, only checks")
    return Step(
        facts=StepFacts(verb="calibrate"),
        config=CalibrateStep(calibrate=config),
        produces=Calibration,
        inputs={"prompts": (prompts,), "candidates": tuple(candidates), "scores": rewards},
        scope="corpus",
    )


def _level(groups: dict[str, _Group], languages: Sequence[str]) -> Level:
    members = [groups[language] for language in languages]
    return level_of(pool_within(m.moments for m in members), merge(m.sample for m in members).values())


def _row(reward: str, language: str, own: Level, shrunk: Level) -> Calibration:
    return Calibration(
        reward=reward,
        language=language,
        family=family_of(language) if language != UNKNOWN else UNKNOWN,
        num_scores=own.num,
        raw_mean=own.mean,
        raw_sd=sqrt(own.variance),
        mean=shrunk.mean,
        sd=shrunk.sd,
        length_slope=shrunk.length_slope,
        mean_log_length=shrunk.length_mean,
        knots_raw=shrunk.curve.raw if shrunk.curve else (),
        knots_z=shrunk.curve.z if shrunk.curve else (),
    )
