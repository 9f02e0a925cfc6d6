"""The step `ensemble`: one final score for each candidate; none for a candidate that fails a filter."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator

from arbitrage.candidates.calibration import CalibrationTable, calibrated, log_length
from arbitrage.candidates.table import FILTERED, CandidateShard
from arbitrage.config import Config
from arbitrage.contracts.rewards import Scorable
from arbitrage.contracts.steps import PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.errors import ConfigError
from arbitrage.records import Calibration, FinishReason, Score, base_name
from arbitrage.rewards import CheckConfig
from arbitrage.rewards.options import CheckResult, RewardName, ScorerOptions, score_of, versioned
from arbitrage.rewards.score import CheckStep, ScorerStep, score_items
from arbitrage.tables import to_table

VERSION = 1


def _useful(weights: dict[str, float]) -> dict[str, float]:
    if not any(weights.values()):
        raise ValueError("an ensemble needs at least one weight other than 0")
    return weights


class EnsembleConfig(Config):
    """How the scores of a candidate are combined into its final score.

    Attributes:
        weights: weight of each reward or check, by name; only proportions matter; a negative weight lowers the final
            score.
        filters: names of checks, and of rewards with a minimum, that a candidate must pass to be selected (default:
            those with `filter: true` and all such rewards).
        missing: a candidate without one of the weighted scores gets no final score (`error`), or the weighted mean of
            the others (`skip`).
        name: name of the combined score in step names and in `Score.reward`.
    """

    name: RewardName = "ensemble"
    weights: Annotated[dict[str, float], AfterValidator(_useful)]
    filters: tuple[str, ...] | None = None
    missing: Literal["error", "skip"] = "error"


class FilterRule(Config):
    """A check, or a reward with a minimum, and the raw value below which a candidate fails it."""

    check: str
    minimum: float


class EnsembleStep(PureStep):
    """An ensemble with resolved filters. `raw` names the scores that are combined without calibration.

    Errors of its Scores: `candidate:<why>` (the teacher failed), `filter:<check>`, `unscored:<reward>`.
    """

    step_kind: ClassVar[str] = "combine"

    ensemble: EnsembleConfig
    filters: tuple[FilterRule, ...]
    raw: tuple[str, ...]

    def items(self, inputs: Inputs) -> list[Item]:
        """List the candidates."""
        return score_items(CandidateShard(inputs).joined())

    async def run(self, inputs: Inputs) -> Output:
        """Return one Score for each candidate, in the order of the candidates."""
        table = CalibrationTable(inputs.records("calibration", Calibration))
        name = versioned(self.ensemble.name, VERSION)
        scores = [
            score_of(row, name, self._combine(row, {base_name(s.reward): s for s in row.scores}, table))
            for row in CandidateShard(inputs).joined()
        ]
        return Output(to_table(scores, Score))

    def _combine(self, item: Scorable, scores: Mapping[str, Score], table: CalibrationTable) -> CheckResult:
        if item.candidate.finish_reason is FinishReason.ERROR:
            return CheckResult(error=f"candidate:{item.candidate.error or 'error'}")
        for rule in self.filters:
            found = scores.get(rule.check)
            if found is None:
                return CheckResult(error=f"unscored:{rule.check}")
            if found.value is not None and found.value < rule.minimum:
                return CheckResult(error=f"{FILTERED}{rule.check}")
        return self._mean(item, scores, table)

    def _mean(self, item: Scorable, scores: Mapping[str, Score], table: CalibrationTable) -> CheckResult:
        total = norm = 0.0
        unscored = None
        for name, weight in sorted(self.ensemble.weights.items()):
            if weight == 0.0:
                continue
            value = self._value(item, scores.get(name), table)
            if value is None:
                unscored = unscored or name
            else:
                total, norm = total + weight * value, norm + abs(weight)
        if norm == 0.0 or (unscored and self.ensemble.missing == "error"):
            return CheckResult(error=f"unscored:{unscored}")
        return CheckResult(value=total / norm)

    def _value(self, item: Scorable, score: Score | None, table: CalibrationTable) -> float | None:
        if score is None or score.value is None:
            return None
        if base_name(score.reward) in self.raw:
            return score.value
        row = table.row(score.reward, item.prompt.language)
        return None if row is None else calibrated(row, score.value, log_length(item.candidate.text))


def combine(
    config: EnsembleConfig,
    prompts: Step,
    candidates: Sequence[Step],
    scores: Sequence[Step],
    calibration: Step | None,
) -> Step:
    """Combine scores into one Score for each candidate; checks are used as they are, 0..1.

    Args:
        config: weights, filters and the policy for missing scores.
        prompts: the prompts.
        candidates: one step for each teacher.
        scores: score and check steps over those candidates.
        calibration: the step of `calibrate`; None combines raw scores, for ablations.

    Raises:
        ConfigError: a weight or filter names no score, or two rewards share a name.
    """
    rewards, checks = _rewards(scores), _checks(scores)
    for name in sorted(rewards.keys() & checks.keys()):
        raise ConfigError(f"rewards: '{name}': names a reward and a check")
    _require_known("ensemble.weights", config.weights, [*rewards, *checks])
    raw = [*checks, *(rewards if calibration is None else ())]
    return Step(
        facts=StepFacts(verb="ensemble", label="" if config.name == "ensemble" else config.name),
        config=EnsembleStep(
            ensemble=config,
            filters=_filters(config, rewards, checks),
            raw=tuple(sorted(raw)),
        ),
        produces=Score,
        inputs={"prompts": (prompts,), "candidates": tuple(candidates), "scores": tuple(scores)}
        | ({} if calibration is None else {"calibration": (calibration,)}),
        version=VERSION,
    )


def _filters(
    config: EnsembleConfig, rewards: Mapping[str, ScorerOptions], checks: Mapping[str, CheckConfig]
) -> tuple[FilterRule, ...]:
    rejecting = {name: reward.least for name, reward in rewards.items() if reward.least is not None}
    least = rejecting | {name: check.minimum for name, check in checks.items()}
    own = (*rejecting, *(name for name, check in checks.items() if check.filter))
    names = own if config.filters is None else config.filters
    _require_known("ensemble.filters", names, list(least))
    return tuple(FilterRule(check=name, minimum=least[name]) for name in sorted(names))


def _rewards(scores: Sequence[Step]) -> dict[str, ScorerOptions]:
    found: dict[str, ScorerOptions] = {}
    for step in scores:
        if isinstance(step.config, ScorerStep):
            reward = step.config.scorer
            if found.setdefault(reward.name, reward) != reward:
                raise ConfigError(f"rewards: '{reward.name}': names two different rewards")
    return found


def _checks(scores: Sequence[Step]) -> dict[str, CheckConfig]:
    found: dict[str, CheckConfig] = {}
    for step in scores:
        for check in step.config.checks if isinstance(step.config, CheckStep) else ():
            if found.setdefault(check.name, check) != check:
                raise ConfigError(f"checks: '{check.name}': names two different checks")
    return found


def _require_known(where: str, names: Mapping[str, float] | Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"{where}: '{name}' is none of the rewards and checks: {', '.join(sorted(known))}")
