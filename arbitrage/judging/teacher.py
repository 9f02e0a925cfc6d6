"""A teacher as judge: it judges each match twice, once with each response first.

judge-<name>       the replies, journaled like any teacher's completions
verdicts-<name>    the verdicts: a pure function of the replies
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from arbitrage.config import Raw
from arbitrage.contracts.steps import PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.judging.options import JudgeOptions, verdict_of
from arbitrage.judging.pairwise import DEFAULT_CRITERIA, ORDERS, Choice, Order, question_of, verdict_in
from arbitrage.judging.sides import Match, Sides, matches
from arbitrage.records import Candidate, Verdict, content_id
from arbitrage.tables import to_table
from arbitrage.teachers.generate import VERSION, GenerateConfig, TeacherRequest
from arbitrage.teachers.pool import TeacherPool
from arbitrage.teachers.quoting import QUESTION_VERSION, greedy, requests_about

NO_REPLY = "no_reply"
"""The judge's engine gave no reply; the rejects of `judge-<name>` have the reason."""


READING_VERSION = 3
"""Increase it when replies are read differently."""


class TeacherJudge(JudgeOptions):
    """A teacher of the pool as judge.

    Attributes:
        teacher: its name in the pool file.
        criteria: what makes a response better; the judge reads this text.
        with_reference: show the judge the prompt's reference, if there is one.
        max_tokens: maximum tokens of a reply; replies are greedy.
    """

    kind: Literal["teacher"] = "teacher"
    teacher: str
    criteria: str = DEFAULT_CRITERIA
    with_reference: bool = False
    max_tokens: int = Field(default=1024, ge=1)

    @property
    def label(self) -> str:
        """The given name, else the teacher's."""
        return self.name or self.teacher

    @property
    def asks_twice(self) -> bool:
        """True: each match is judged in both orders."""
        return True

    def teachers(self, pool: TeacherPool) -> tuple[str, ...]:
        """Return the teachers it needs."""
        return tuple(teacher.name for teacher in pool.select([self.teacher]))

    def verdicts(self, sides: Sides, pool: TeacherPool) -> Step:
        """Build the steps from matches to verdicts; return the last."""
        [teacher] = pool.select([self.teacher])
        config = JudgeStep(
            teacher=teacher,
            sampling=greedy(teacher, self.max_tokens),
            revision=teacher.weights_revision(),
            label=self.label,
            criteria=self.criteria,
            with_reference=self.with_reference,
        )
        facts = StepFacts(verb="judge", label=self.label, scorer=self.label)
        replies = Step(
            facts=facts,
            config=config,
            produces=Candidate,
            inputs=sides.inputs(),
            resources=teacher.held_resources(),
            pool=facts.name,
            version=VERSION,
        )
        return Step(
            facts=StepFacts(verb="verdicts", label=self.label, scorer=self.label),
            config=ReadVerdicts(judge=self.label),
            produces=Verdict,
            inputs=sides.inputs() | {"replies": (replies,)},
            version=READING_VERSION,
        )


class JudgeStep(GenerateConfig):
    """Requests a verdict about each match, in both orders."""

    step_kind: ClassVar[str] = "judge"

    label: str
    criteria: str
    with_reference: bool

    def identity(self) -> Raw:
        """Return the settings that can change a reply."""
        own = {"criteria": self.criteria, "with_reference": self.with_reference, "question": QUESTION_VERSION}
        return super().identity() | own

    def requests(self, inputs: Inputs) -> list[TeacherRequest]:
        """List the requests: two for each match whose responses differ, one after the other."""
        return [
            request
            for match in matches(inputs)
            if not match.is_identical
            for order in ORDERS
            for request in requests_about(self, match.prompt, question_id(match, order), self._question(match, order))
        ]

    def _question(self, match: Match, order: Order) -> str:
        return question_of(match, order, self.criteria, with_reference=self.with_reference)


class ReadVerdicts(PureStep):
    """Reads a judge's replies: one Verdict for each match, also where a reply is missing or cannot be read."""

    step_kind: ClassVar[str] = "read_verdicts"

    judge: str

    def items(self, inputs: Inputs) -> list[Item]:
        """List the matches."""
        return [match.item for match in matches(inputs)]

    async def run(self, inputs: Inputs) -> Output:
        """Return one Verdict for each match."""
        replies = {reply.prompt_id: reply for reply in inputs.records("replies", Candidate)}
        return Output(to_table([self._verdict(match, replies) for match in matches(inputs)], Verdict))

    def _verdict(self, match: Match, replies: Mapping[str, Candidate]) -> Verdict:
        if match.is_identical:
            return verdict_of(match, self.judge, "tie", "identical")
        choices: dict[Order, Choice | None] = {}
        errors: list[str] = []
        for order in ORDERS:
            reply = replies.get(question_id(match, order))
            choices[order], error = (None, NO_REPLY) if reply is None else verdict_in(reply, match, order)
            errors += [f"{order}:{error}"] if error else []
        a_first, b_first = choices["a_first"], choices["b_first"]
        winner, how = _settle(a_first, b_first)
        facts = {"a_first": a_first, "b_first": b_first, "errors": tuple(errors)}
        return verdict_of(match, self.judge, winner, how, **facts)


def question_id(match: Match, order: Order) -> str:
    """Return the id of a request: the `prompt_id` of the reply to it."""
    return content_id("judge", match.match_id, order)


def _settle(
    a_first: Choice | None, b_first: Choice | None
) -> tuple[Choice, Literal["consistent", "inconsistent", "failed"]]:
    if a_first is None or b_first is None:
        return "tie", "failed"
    return (a_first, "consistent") if a_first == b_first else ("tie", "inconsistent")


def family_clashes(judge: TeacherJudge, contestants: Sequence[str], pool: TeacherPool) -> list[str]:
    """Return the sides of the judge's own model family, which it may favour [2310.05470]."""
    [teacher] = pool.select([judge.teacher])
    others = pool.select(contestants)
    return [o.name for o in others if o.name == teacher.name or (o.family and o.family == teacher.family)]
