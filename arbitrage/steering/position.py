"""How one candidate stands to the objectives, and which of a prompt's candidates steering and chance take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from arbitrage.candidates.ranked import NothingUsable, RankedCandidate
from arbitrage.records import Measurement, Prompt, TargetQuantiles, content_id
from arbitrage.steering.objectives import REWARD, Objective, SteerConfig
from arbitrage.steering.scale import ScaleTable, share_of, value_at

SteeringReject = NothingUsable | Literal["below_reward_floor", "out_of_bounds", "unmeasured"]
"""Why a prompt has no steered answer. `unmeasured`: no answer that might be chosen has a value to steer by."""

UNDEFINED = ("undefined_language", "unknown_language")
"""Reasons for which a metric has no value in a whole language."""

Found = Mapping[str, Measurement]
"""Metric → what was measured of one candidate."""


@dataclass(frozen=True, slots=True)
class CandidatePosition:
    """One candidate.

    Attributes:
        pull: Σ weight · z(metric), each towards its objective.
        reward: the final score in standard deviations of its language.
        total: what steering ranks by: weight · reward + pull.
        is_measured: some objective with a direction or target has a value.
        is_good: it is not below the reward floor.
        objection: why it may not be chosen, or None.
    """

    one: RankedCandidate
    pull: float
    reward: float
    total: float
    is_measured: bool
    is_good: bool
    objection: SteeringReject | None

    @property
    def candidate_id(self) -> str:
        """The candidate's id."""
        return self.one.candidate.candidate_id


@dataclass(frozen=True, slots=True)
class SteeredChoice:
    """Whom steering and chance take of one prompt's candidates, and who is farthest from the objectives."""

    steered: CandidatePosition
    control: CandidatePosition
    away: CandidatePosition | None


class CandidateChooser:
    """Weighs candidates by the scales and the target of a run."""

    def __init__(self, config: SteerConfig, scales: ScaleTable, targets: Sequence[TargetQuantiles] = ()) -> None:
        self._config = config
        self._scales = scales
        self._targets = {(target.metric, target.language): target for target in targets}

    def considered(self, candidates: Sequence[RankedCandidate]) -> list[RankedCandidate]:
        """Return the k usable candidates that steering and chance choose from: drawn by lot, in order of id."""
        seed, k = self._config.seed, self._config.k
        drawn = sorted(candidates, key=lambda c: content_id("considered", seed, c.candidate.candidate_id))
        return sorted(drawn[:k], key=lambda c: c.candidate.candidate_id)

    def stand(
        self, prompt: Prompt, candidates: Sequence[RankedCandidate], found: Mapping[str, Found]
    ) -> list[CandidatePosition]:
        """Weigh the candidates of one prompt, in the order given.

        Args:
            prompt: says the language.
            candidates: usable candidates.
            found: candidate id → what was measured of it.
        """
        all_found = [found.get(one.candidate.candidate_id, {}) for one in candidates]
        goals = {o.name: self._goal(o, prompt.language, all_found) for o in self._config.objectives}
        return [
            self._standing(prompt.language, one, measured, goals)
            for one, measured in zip(candidates, all_found, strict=True)
        ]

    def choose(self, standings: Sequence[CandidatePosition]) -> SteeredChoice | SteeringReject:
        """Take the best that may be chosen, one by lot of all, and the farthest; or say why there is none."""
        allowed = [s for s in standings if s.objection is None]
        if not allowed:
            reasons = {s.objection for s in standings}
            return next(r for r in ("unmeasured", "out_of_bounds", "below_reward_floor") if r in reasons)
        if not any(s.is_measured for s in allowed):
            return "unmeasured"
        steered = min(allowed, key=lambda s: (-s.total, s.candidate_id))
        control = min(standings, key=self._lot)
        limit = steered.reward + self._config.max_reward_loss
        others = [
            s
            for s in standings
            if s.is_good and s.is_measured and s.reward <= limit and s.one.text != steered.one.text
        ]
        return SteeredChoice(steered, control, min(others, key=lambda s: (s.pull, s.candidate_id), default=None))

    def _lot(self, standing: CandidatePosition) -> str:
        candidate = standing.one.candidate
        return content_id("random_of_k", self._config.seed, candidate.prompt_id, candidate.candidate_id)

    def _standing(
        self, language: str, one: RankedCandidate, found: Found, goals: Mapping[str, float | None]
    ) -> CandidatePosition:
        objectives = self._config.objectives
        terms = [self._term(o, language, value_of(found, o.name), goals[o.name]) for o in objectives]
        pull = sum(o.weight * term for o, term in zip(objectives, terms, strict=True) if term is not None)
        reward = self._z(REWARD, language, one.value)
        is_good = self._is_good(language, one.value, reward)
        objection = _objection(objectives, found, is_good)
        return CandidatePosition(
            one=one,
            pull=pull,
            reward=reward,
            total=self._config.reward.weight * reward + pull,
            is_measured=any(term is not None for term in terms),
            is_good=is_good,
            objection=objection,
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
        """Return the value a prompt's answer is to come near to, in the metric's unit; None where there is none.

        `like` moves whole distributions with the least effort: the share of prompts whose mean lies below this
        prompt's mean is looked up in the target.
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


def _objection(objectives: Sequence[Objective], found: Found, is_good: bool) -> SteeringReject | None:
    if not is_good:
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
