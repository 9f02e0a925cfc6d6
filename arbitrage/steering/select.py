"""Write what steering chose: SFT rows, the random-of-k control on the same prompts, and preference pairs.

The verb `quota` says how many prompts of each language are kept, and which, in the order of a hash.
"""

import heapq
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from arbitrage.config import Config
from arbitrage.contracts.steps import Step, StepConfig, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.records import (
    Candidate,
    LanguageQuota,
    Measurement,
    Message,
    Metric,
    PreferencePair,
    Prompt,
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
"""Why a choice becomes no row: its language has enough; nobody stands on the other side; the gap is too small."""


class SteeredPairs(Config):
    """Which pairs are made of the steered answer and the one farthest from the objectives.

    Attributes:
        min_gap: least difference of Σ weight · z(metric); at least above zero.
    """

    min_gap: float = Field(default=0.5, gt=0.0)


class SelectStep(StepConfig):
    """Writes one kind of rows from the choices of `steer`.

    Attributes:
        rows: what is written.
        objective: label of the rows.
        quotas: rows wanted of each language, as the quota step was told.
        min_gap: of pairs.
    """

    step_kind: ClassVar[str] = "select_steered"

    rows: Literal["steered", "control", "preference"]
    objective: str
    quotas: QuotaConfig | None = None
    min_gap: float = 0.5

    def build(self) -> "Selector":
        """Build the worker."""
        return SteeredPairSelector(self) if self.rows == "preference" else SteeredExampleSelector(self)


def select_steered(
    config: SelectStep,
    prompts: Step,
    drafts: Sequence[Step],
    measures: Sequence[Step],
    choices: Step,
    quotas: Step | None,
) -> Step:
    """Write a data set of the choices.

    Args:
        config: which.
        prompts: the prompts.
        drafts: steps of Candidate rows, one for each teacher.
        measures: steps of Measurement rows; examples carry all that was measured.
        choices: the step of `steer`; each row becomes one row or one Reject.
        quotas: the step of `quota`, if there are quotas.
    """
    inputs = {"prompts": (prompts,), "drafts": tuple(drafts), "choices": (choices,)}
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


class Selector(ABC):
    """Worker of `select_steered`: one row or Reject for each choice."""

    def __init__(self, config: SelectStep) -> None:
        self.config = config

    def items(self, inputs: Inputs) -> list[Item]:
        """Owe a row or Reject for each choice."""
        return [Item(c.prompt_id, c.language) for c in inputs.records("choices", SteeringChoice)]

    async def run(self, inputs: Inputs) -> Output:
        """Write the shard, in order of prompt id."""
        prompts = {p.prompt_id: p for p in inputs.records("prompts", Prompt)}
        drafts = {c.candidate_id: c for c in inputs.records("drafts", Candidate)}
        quotas = {q.language: q for q in inputs.records("quotas", LanguageQuota)}
        choices = inputs.records("choices", SteeringChoice)
        found = measured_by_candidate(inputs, "candidate_id", map(self.taken, choices))
        rows: list[Record] = []
        rejects: list[Reject] = []
        for choice in choices:
            row: Record | SelectReject = "quota_filled"
            if self._has_room(choice, quotas):
                row = self.row(choice, prompts[choice.prompt_id], drafts, found)
            if isinstance(row, Record):
                rows.append(row)
            else:
                rejects.append(Reject(item_id=choice.prompt_id, reason=row))
        record = PreferencePair if self.config.rows == "preference" else SteeredExample
        return Output(to_table(rows, record), to_table(rejects, Reject))

    async def close(self) -> None:
        """Hold nothing."""
        return

    def taken(self, choice: SteeringChoice) -> str:
        """Return the id of the candidate that is written."""
        return choice.control_id if self.config.rows == "control" else choice.steered_id

    @abstractmethod
    def row(
        self,
        choice: SteeringChoice,
        prompt: Prompt,
        drafts: Mapping[str, Candidate],
        found: Mapping[str, Mapping[str, Measurement]],
    ) -> Record | SelectReject:
        """Return the row of one choice, or why there is none."""

    def _has_room(self, choice: SteeringChoice, quotas: Mapping[str, LanguageQuota]) -> bool:
        limit = quotas.get(choice.language)
        if self.config.quotas is None or limit is None or limit.last_lot is None:
            return True
        return self.config.quotas.lot(choice.prompt_id) <= limit.last_lot


class SteeredExampleSelector(Selector):
    """Writes the answer that steering, or chance, has taken, with all that was measured of it."""

    def row(
        self,
        choice: SteeringChoice,
        prompt: Prompt,
        drafts: Mapping[str, Candidate],
        found: Mapping[str, Mapping[str, Measurement]],
    ) -> Record | SelectReject:
        """Return a SteeredExample."""
        candidate = drafts[self.taken(choice)]
        measured = found.get(candidate.candidate_id, {})
        return SteeredExample(
            prompt_id=prompt.prompt_id,
            language=prompt.language,
            candidate_id=candidate.candidate_id,
            teacher=candidate.teacher,
            objective=self.config.objective,
            prompt=prompt.messages,
            completion=_reply(candidate),
            metrics=tuple(Metric(name=name, value=measured[name].value) for name in sorted(measured)),
        )


class SteeredPairSelector(Selector):
    """Sets the steered answer against the one farthest from the objectives that is no better by reward."""

    def row(
        self,
        choice: SteeringChoice,
        prompt: Prompt,
        drafts: Mapping[str, Candidate],
        found: Mapping[str, Mapping[str, Measurement]],
    ) -> Record | SelectReject:
        """Return a PreferencePair, scored by the objectives alone."""
        if choice.away_id is None or choice.away_pull is None:
            return "no_opponent"
        gap = choice.steered_pull - choice.away_pull
        if gap < self.config.min_gap:
            return "below_gap"
        chosen, rejected = drafts[choice.steered_id], drafts[choice.away_id]
        return PreferencePair(
            prompt_id=prompt.prompt_id,
            language=prompt.language,
            prompt=prompt.messages,
            chosen=_reply(chosen),
            rejected=_reply(rejected),
            chosen_id=chosen.candidate_id,
            rejected_id=rejected.candidate_id,
            chosen_teacher=chosen.teacher,
            rejected_teacher=rejected.teacher,
            chosen_score=choice.steered_pull,
            rejected_score=choice.away_pull,
            score_gap=gap,
            reward=self.config.objective,
            policy=POLICY,
        )


def _reply(candidate: Candidate) -> tuple[Message, ...]:
    return (Message(role="assistant", content=candidate.text),)


class QuotaStep(StepConfig):
    """Counts what there is against what is wanted."""

    step_kind: ClassVar[str] = "steering_quotas"

    quotas: QuotaConfig

    def build(self) -> "QuotaWorker":
        """Make the worker."""
        return QuotaWorker(self.quotas)


def steering_quota(config: QuotaConfig, choices: Step) -> Step:
    """Find the highest lot that is kept of each language with a quota."""
    return Step(
        facts=StepFacts(verb="quota", label="steered"),
        config=QuotaStep(quotas=config),
        produces=LanguageQuota,
        inputs={"choices": (choices,)},
        scope="corpus",
    )


class QuotaWorker:
    """Remembers the lowest lots of each language: as many as are wanted."""

    def __init__(self, config: QuotaConfig) -> None:
        self._config = config

    def run(self, shards: Iterable[Inputs]) -> Output:
        """Return one row for each language with a quota, sorted; one without any prompt is named too."""
        available: Counter[str] = Counter()
        lowest: dict[str, list[int]] = defaultdict(list)  # negated: the highest on top
        for shard in shards:
            table = shard.table("choices", SteeringChoice)
            for prompt_id, language in zip(*(table[c].to_pylist() for c in ("prompt_id", "language")), strict=True):
                available[language] += 1
                lot, wanted = int(self._config.lot(prompt_id), 16), self._config.wanted(language)
                if wanted is None or wanted == 0:
                    continue
                if len(lowest[language]) < wanted:
                    heapq.heappush(lowest[language], -lot)
                else:
                    heapq.heappushpop(lowest[language], -lot)
        rows = []
        for language in sorted({*available, *self._config.languages}):
            wanted = self._config.wanted(language)
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
