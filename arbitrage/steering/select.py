"""Write what steering chose: SFT rows, the control rows on the same prompts, and preference pairs.

The step `quota` says how many prompts of each language are kept, and which, in the order of a hash.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from arbitrage.candidates.table import CandidateShard, JoinedCandidate
from arbitrage.config import Config
from arbitrage.contracts.steps import PureCorpusStep, PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.records import (
    LanguageQuota,
    Measurement,
    Metric,
    PreferencePair,
    Record,
    Reject,
    SteeredExample,
    SteeringChoice,
)
from arbitrage.selection.mix import QuotaConfig
from arbitrage.steering.steer import measured_by_candidate
from arbitrage.tables import to_table

CONTROL = "random_of_k"
POLICY = "toward_vs_away"

SelectReject = Literal["quota_filled", "no_opponent", "below_gap"]
"""Why a choice becomes no row: its language has enough; no candidate is on the other side; the gap is too small."""


class SteeredPairs(Config):
    """How pairs of the steered candidate and the one farthest from the objectives are made.

    Attributes:
        min_gap: smallest difference of Σ weight · z(metric); always above zero.
    """

    min_gap: float = Field(default=0.5, gt=0.0)


class SelectStep(PureStep):
    """Writes one kind of rows from the choices of `steer`.

    Attributes:
        rows: kind of rows to write.
        objective: label of the rows.
        quotas: rows wanted of each language, as in the quota step.
        min_gap: of pairs.
    """

    step_kind: ClassVar[str] = "select_steered"

    rows: Literal["steered", "control", "preference"]
    objective: str
    quotas: QuotaConfig | None = None
    min_gap: float = 0.5

    def items(self, inputs: Inputs) -> list[Item]:
        """List the prompts that have a choice."""
        return [Item(c.prompt_id, c.language) for c in inputs.records("choices", SteeringChoice)]

    async def run(self, inputs: Inputs) -> Output:
        """Write the shard, in order of prompt id."""
        table = CandidateShard(inputs).by_id
        quotas = {q.language: q for q in inputs.records("quotas", LanguageQuota)}
        choices = inputs.records("choices", SteeringChoice)
        found = measured_by_candidate(inputs, "candidate_id", map(self._taken, choices))
        rows: list[Record] = []
        rejects: list[Reject] = []
        for choice in choices:
            row: Record | SelectReject
            if not self._has_room(choice, quotas):
                row = "quota_filled"
            elif self.rows == "preference":
                row = self._pair(choice, table)
            else:
                taken = self._taken(choice)
                row = self._example(table[taken], found.get(taken, {}))
            if isinstance(row, Record):
                rows.append(row)
            else:
                rejects.append(Reject(item_id=choice.prompt_id, reason=row))
        record = PreferencePair if self.rows == "preference" else SteeredExample
        return Output(to_table(rows, record), to_table(rejects, Reject))

    def _taken(self, choice: SteeringChoice) -> str:
        return choice.control_id if self.rows == "control" else choice.steered_id

    def _has_room(self, choice: SteeringChoice, quotas: Mapping[str, LanguageQuota]) -> bool:
        limit = quotas.get(choice.language)
        if self.quotas is None or limit is None or limit.last_lot is None:
            return True
        return self.quotas.priority(choice.prompt_id) <= limit.last_lot

    def _example(self, taken: JoinedCandidate, measured: Mapping[str, Measurement]) -> SteeredExample:
        """Return the candidate that steering, or chance, has taken, with all its measurements."""
        prompt, candidate = taken.prompt, taken.candidate
        return SteeredExample(
            prompt_id=prompt.prompt_id,
            language=prompt.language,
            candidate_id=candidate.candidate_id,
            teacher=candidate.teacher,
            objective=self.objective,
            prompt=prompt.messages,
            completion=candidate.reply,
            reasoning=candidate.reasoning,
            tools=prompt.tools,
            metrics=tuple(Metric(name=name, value=measured[name].value) for name in sorted(measured)),
        )

    def _pair(self, choice: SteeringChoice, table: Mapping[str, JoinedCandidate]) -> PreferencePair | SelectReject:
        """Pair the steered candidate with the one farthest from the objectives, whose scores it carries."""
        if choice.away_id is None or choice.away_pull is None:
            return "no_opponent"
        gap = choice.steered_pull - choice.away_pull
        if gap < self.min_gap:
            return "below_gap"
        prompt = table[choice.steered_id].prompt
        chosen, rejected = table[choice.steered_id].candidate, table[choice.away_id].candidate
        return PreferencePair(
            prompt_id=prompt.prompt_id,
            language=prompt.language,
            prompt=prompt.messages,
            chosen=chosen.reply,
            rejected=rejected.reply,
            chosen_reasoning=chosen.reasoning,
            rejected_reasoning=rejected.reasoning,
            tools=prompt.tools,
            chosen_id=chosen.candidate_id,
            rejected_id=rejected.candidate_id,
            chosen_teacher=chosen.teacher,
            rejected_teacher=rejected.teacher,
            chosen_score=choice.steered_pull,
            rejected_score=choice.away_pull,
            score_gap=gap,
            reward=self.objective,
            policy=POLICY,
        )


def select_steered(
    config: SelectStep,
    prompts: Step,
    candidates: Sequence[Step],
    measures: Sequence[Step],
    choices: Step,
    quotas: Step | None,
) -> Step:
    """Write a data set of the choices.

    Args:
        config: what to write.
        prompts: the prompts.
        candidates: steps of Candidate rows, one for each teacher.
        measures: steps of Measurement rows; examples carry all their measurements.
        choices: the step of `steer`; each row becomes one row or one Reject.
        quotas: the step of `quota`, if there are quotas.
    """
    inputs = {"prompts": (prompts,), "candidates": tuple(candidates), "choices": (choices,)}
    if config.rows != "preference":
        inputs["measures"] = tuple(measures)
    if quotas is not None:
        inputs["quotas"] = (quotas,)
    return Step(
        facts=StepFacts(verb="select", label="steered-preference" if config.rows == "preference" else config.rows),
        config=config,
        produces=PreferencePair if config.rows == "preference" else SteeredExample,
        inputs=inputs,
    )


class QuotaStep(PureCorpusStep):
    """Compares the available rows with the wanted ones."""

    step_kind: ClassVar[str] = "steering_quotas"

    quotas: QuotaConfig

    def run(self, shards: Iterable[Inputs]) -> Output:
        """Return one row for each language with a quota, sorted; also for languages without any prompt."""
        available: Counter[str] = Counter()
        lowest: dict[str, list[int]] = defaultdict(list)  # negated: the highest on top
        for shard in shards:
            table = shard.table("choices", SteeringChoice)
            for prompt_id, language in zip(*(table[c].to_pylist() for c in ("prompt_id", "language")), strict=True):
                available[language] += 1
                lot, wanted = int(self.quotas.priority(prompt_id), 16), self.quotas.wanted(language)
                if wanted is None or wanted == 0:
                    continue
                if len(lowest[language]) < wanted:
                    heapq.heappush(lowest[language], -lot)
                else:
                    heapq.heappushpop(lowest[language], -lot)
        rows = []
        for language in sorted({*available, *self.quotas.languages}):
            wanted = self.quotas.wanted(language)
            if wanted is not None:
                last = f"{-lowest[language][0]:020x}" if lowest[language] else ""
                is_enough = available[language] <= wanted
                rows.append(
                    LanguageQuota(
                        language=language,
                        wanted=wanted,
                        available=available[language],
                        last_lot=None if is_enough else last,
                    )
                )
        return Output(to_table(rows, LanguageQuota))


def steering_quota(config: QuotaConfig, choices: Step) -> Step:
    """Find the largest priority hash that is kept in each language with a quota."""
    return Step(
        facts=StepFacts(verb="quota", label="steered"),
        config=QuotaStep(quotas=config),
        produces=LanguageQuota,
        inputs={"choices": (choices,)},
        scope="corpus",
    )
