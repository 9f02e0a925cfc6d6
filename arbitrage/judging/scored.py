"""Judges that score each response separately: a reward model, or the exact checker. The order does not matter."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from arbitrage.candidates.table import CandidateShard, JoinedCandidate
from arbitrage.contracts.steps import PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.judging.options import JudgeOptions, verdict_of
from arbitrage.judging.sides import Match, Sides, matches
from arbitrage.records import Verdict
from arbitrage.rewards import RewardConfig
from arbitrage.rewards.score import check, score
from arbitrage.rewards.text_checks import ExactConfig
from arbitrage.tables import to_table
from arbitrage.teachers.pool import TeacherPool
from arbitrage.text.exact_match import Match as ExactMatch


class RewardJudge(JudgeOptions):
    """A reward model or recorded scores: the higher score wins. Uncalibrated: both responses are in one language.

    Attributes:
        reward: config like in a pipeline's `rewards`.
        margin: difference in raw points that a win needs; a smaller one is a tie.
    """

    kind: Literal["reward"] = "reward"
    reward: RewardConfig
    margin: float = Field(default=0.0, ge=0.0)

    @property
    def label(self) -> str:
        """The given name, else the reward's."""
        return self.name or self.reward.name

    def verdicts(self, sides: Sides, pool: TeacherPool) -> Step:
        """Build the steps from matches to verdicts; return the last."""
        reward = self.reward.model_copy(update={"name": self.label})
        scores = tuple(score(reward, side, sides.prompts, step) for side, step in (("a", sides.a), ("b", sides.b)))
        return _compare(self.label, self.margin, sides, scores)


class ExactJudge(JudgeOptions):
    """The exact checker: a correct response beats an incorrect one. Prompts without a reference are failures.

    Attributes:
        match: how a response is compared with the reference, as in the check `exact`.
    """

    kind: Literal["exact"] = "exact"
    match: ExactMatch = "auto"

    @property
    def label(self) -> str:
        """The given name, else 'exact'."""
        return self.name or "exact"

    def verdicts(self, sides: Sides, pool: TeacherPool) -> Step:
        """Build the steps from matches to verdicts; return the last."""
        scores = tuple(
            check([ExactConfig(name=self.label, match=self.match)], f"{self.label}-{side}", sides.prompts, step)
            for side, step in (("a", sides.a), ("b", sides.b))
        )
        return _compare(self.label, 0.0, sides, scores)


def _compare(judge: str, margin: float, sides: Sides, scores: tuple[Step, ...]) -> Step:
    return Step(
        facts=StepFacts(verb="verdicts", label=judge, scorer=judge),
        config=CompareScores(judge=judge, margin=margin),
        produces=Verdict,
        inputs=sides.inputs() | {"scores": scores},
    )


class CompareScores(PureStep):
    """Compares the scores of both sides: one Verdict for each match, also where a score is missing."""

    step_kind: ClassVar[str] = "compare_scores"

    judge: str
    margin: float

    def items(self, inputs: Inputs) -> list[Item]:
        """List the matches."""
        return [match.item for match in matches(inputs)]

    async def run(self, inputs: Inputs) -> Output:
        """Return one Verdict for each match."""
        tables = inputs.tables
        both = {**tables, "candidates": (*tables["a"], *tables["b"])}
        rows = CandidateShard(Inputs(both)).by_id
        return Output(to_table([self._verdict(match, rows) for match in matches(inputs)], Verdict))

    def _verdict(self, match: Match, rows: Mapping[str, JoinedCandidate]) -> Verdict:
        a, b = (_value(rows[one.candidate_id]) for one in (match.a, match.b))
        errors = tuple(f"{side}:{value}" for side, value in (("a", a), ("b", b)) if isinstance(value, str))
        if isinstance(a, str) or isinstance(b, str):
            return verdict_of(match, self.judge, "tie", "failed", errors=errors)
        if match.is_identical or abs(a - b) <= self.margin:
            how: Literal["identical", "scored"] = "identical" if match.is_identical else "scored"
            return verdict_of(match, self.judge, "tie", how, a_score=a, b_score=b)
        return verdict_of(match, self.judge, "a" if a > b else "b", "scored", a_score=a, b_score=b)


def _value(row: JoinedCandidate) -> float | str:
    """Return a response's score, or why it has none."""
    if not row.scores:
        return "unscored"
    found = row.scores[0]
    return found.value if found.value is not None else found.error or "unscored"
