"""Rank the candidates of a prompt by the objectives, and choose the steered one and the control."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from arbitrage.candidates.ranked import NothingUsable, RankedCandidate
from arbitrage.records import Measurement, Prompt, TargetQuantiles, content_id
from arbitrage.steering.objectives import REWARD, Objective, SteerConfig
from arbitrage.steering.scale import ScaleTable, share_of, value_at

SteeringReject = NothingUsable | Literal["below_reward_floor", "out_of_bounds", "unmeasured"]
"""Why a prompt has no steered candidate. `unmeasured`: no eligible candidate has a value of an objective."""

UNDEFINED = ("undefined_language", "unknown_language")
"""Reasons for which a metric has no value in a whole language."""

Found = Mapping[str, Measurement]
"""Metric → measurement of one candidate."""


@dataclass(frozen=True, slots=True)
class CandidatePosition:
    """Scores of one candidate.

    Attributes:
        objective_score: Σ weight · z(metric), each towards its objective.
        reward: the final score in standard deviations of its language.
        total: the score that steering ranks by: weight · reward + objective_score.
        is_measured: an objective with a direction or target has a value.
        is_above_floor: the reward is not below the floor.
        reason: why it is not eligible, or None.
    """

    one: RankedCandidate
    objective_score: float
    reward: float
    total: float
    is_measured: bool
    is_above_floor: bool
    reason: SteeringReject | None

    @property
    def candidate_id(self) -> str:
        """The candidate's id."""
        return self.one.candidate.candidate_id


@dataclass(frozen=True, slots=True)
class SteeredChoice:
    """The steered candidate and the control of one prompt, and the candidate farthest from the objectives."""

    steered: CandidatePosition
    control: CandidatePosition
    away: CandidatePosition | None


class CandidateChooser:
    """Ranks candidates by the scales and the target of a run."""

    def __init__(self, config: SteerConfig, scales: ScaleTable, targets: Sequence[TargetQuantiles] = ()) -> None:
        self._config = config
        self._scales = scales
        self._targets = {(target.metric, target.language): target for target in targets}

    def candidates_of(self, candidates: Sequence[RankedCandidate]) -> list[RankedCandidate]:
        """Return the k usable candidates to choose from: in pseudo-random order by hash, then by id."""
        seed, k = self._config.seed, self._config.k
        drawn = sorted(candidates, key=lambda c: content_id("considered", seed, c.candidate.candidate_id))
        return sorted(drawn[:k], key=lambda c: c.candidate.candidate_id)

    def positions(
        self, prompt: Prompt, candidates: Sequence[RankedCandidate], found: Mapping[str, Found]
    ) -> list[CandidatePosition]:
        """Score the candidates of one prompt, in the order given.

        Args:
            prompt: the prompt, with its language.
            candidates: usable candidates.
            found: candidate id → its measurements.
        """
        all_found = [found.get(one.candidate.candidate_id, {}) for one in candidates]
        goals = {o.name: self._goal(o, prompt.language, all_found) for o in self._config.objectives}
        return [
            self._standing(prompt.language, one, measured, goals)
            for one, measured in zip(candidates, all_found, strict=True)
        ]

    def choose(self, positions: Sequence[CandidatePosition]) -> SteeredChoice | SteeringReject:
        """Choose the best eligible candidate, a pseudo-random control, and the farthest; or say why there is none."""
        allowed = [s for s in positions if s.reason is None]
        if not allowed:
            reasons = {s.reason for s in positions}
            return next(r for r in ("unmeasured", "out_of_bounds", "below_reward_floor") if r in reasons)
        if not any(s.is_measured for s in allowed):
            return "unmeasured"
        steered = min(allowed, key=lambda s: (-s.total, s.candidate_id))
        control = min(positions, key=self._priority)
        limit = steered.reward + self._config.max_reward_loss
        others = [
            s
            for s in positions
            if s.is_above_floor and s.is_measured and s.reward <= limit and s.one.text != steered.one.text
        ]
        away = min(others, key=lambda s: (s.objective_score, s.candidate_id), default=None)
        return SteeredChoice(steered, control, away)

    def _priority(self, position: CandidatePosition) -> str:
        candidate = position.one.candidate
        return content_id("random_of_k", self._config.seed, candidate.prompt_id, candidate.candidate_id)

    def _standing(
        self, language: str, one: RankedCandidate, found: Found, goals: Mapping[str, float | None]
    ) -> CandidatePosition:
        objectives = self._config.objectives
        terms = [self._term(o, language, value_of(found, o.name), goals[o.name]) for o in objectives]
        objective_score = sum(o.weight * term for o, term in zip(objectives, terms, strict=True) if term is not None)
        reward = self._z(REWARD, language, one.value)
        is_above_floor = self._is_good(language, one.value, reward)
        reason = _objection(objectives, found, is_above_floor)
        return CandidatePosition(
            one=one,
            objective_score=objective_score,
            reward=reward,
            total=self._config.reward.weight * reward + objective_score,
            is_measured=any(term is not None for term in terms),
            is_above_floor=is_above_floor,
            reason=reason,
        )

    def _is_good(self, language: str, score: float, reward: float) -> bool:
        term, scale = self._config.reward, self._scales.row(REWARD, language)
        if term.floor_z is not None and reward < term.floor_z:
            return False
        return term.floor_quantile is None or scale is None or score >= value_at(scale.quantiles, term.floor_quantile)

    def _z(self, metric: str, language: str, value: float) -> float:
        scale = self._scales.row(metric, language)
        return 0.0 if scale is None else (value - scale.mean) / scale.sd

    def _goal(self, objective: Objective, language: str, found: Sequence[Found]) -> float | None:
        """Return the target value for a prompt, in the metric's unit; None if there is none.

        `like` matches whole distributions with the smallest changes: the prompt's mean value has a rank among all
        prompts, and the target is the value at this rank in the target data set.
        """
        if isinstance(objective.toward, float):
            return objective.toward
        target, scale = self._targets.get((objective.name, language)), self._scales.row(objective.name, language)
        values = [value for each in found if (value := value_of(each, objective.name)) is not None]
        if objective.toward != "like" or target is None or scale is None or not values:
            return None
        return value_at(target.quantiles, share_of(scale.prompt_quantiles, sum(values) / len(values)))

    def _term(self, objective: Objective, language: str, value: float | None, goal: float | None) -> float | None:
        if value is None or objective.toward is None:
            return None
        scale = self._scales.row(objective.name, language)
        if scale is None:
            return None
        if objective.toward in ("up", "down"):
            z = (value - scale.mean) / scale.sd
            return z if objective.toward == "up" else -z
        return None if goal is None else -abs(value - goal) / scale.sd


def value_of(found: Found, metric: str) -> float | None:
    """Return a candidate's value of a metric; None where there is none."""
    measured = found.get(metric)
    return None if measured is None else measured.value


def _is_undefined(measured: Measurement | None) -> bool:
    return measured is not None and measured.reason in UNDEFINED


def _objection(objectives: Sequence[Objective], found: Found, is_above_floor: bool) -> SteeringReject | None:
    if not is_above_floor:
        return "below_reward_floor"
    for objective in objectives:
        measured = found.get(objective.name)
        value = None if measured is None else measured.value
        if value is not None:
            if not objective.allows(value):
                return "out_of_bounds"
        elif (objective.has_bounds or objective.missing == "drop") and not _is_undefined(measured):
            return "unmeasured"
    return None
