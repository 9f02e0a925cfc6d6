"""Prompts, candidates and scores for selection tests, by hand or by hypothesis."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from arbitrage.contracts.steps import Step, StepConfig
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.records import Candidate, FinishReason, Message, Prompt, Record, Score
from arbitrage.tables import to_table
from tests.support.step_facts import facts_of

ENSEMBLE = "ensemble@1"


@dataclass(frozen=True)
class Rows:
    """One shard's rows for a selector."""

    prompts: Sequence[Prompt]
    candidates: Sequence[Candidate]
    scores: Sequence[Score]

    def inputs(self) -> Inputs:
        return Inputs(
            {
                "prompts": (to_table(self.prompts, Prompt),),
                "candidates": (to_table(self.candidates, Candidate),),
                "final": (to_table(self.scores, Score),),
            }
        )


def a_prompt(prompt_id: str = "p", language: str = "sw", question: str = "Moja na moja?") -> Prompt:
    return Prompt(
        prompt_id=prompt_id,
        language=language,
        messages=(Message(role="user", content=question),),
        source="tests",
        source_id=prompt_id,
    )


def a_candidate(candidate_id: str, text: str, prompt_id: str = "p", teacher: str = "aya") -> Candidate:
    return Candidate(
        candidate_id=candidate_id,
        prompt_id=prompt_id,
        teacher=teacher,
        revision="r1",
        sample_index=0,
        seed=0,
        text=text,
        finish_reason=FinishReason.STOP,
    )


def a_score(candidate_id: str, value: float | None, prompt_id: str = "p", error: str = "filter:empty") -> Score:
    return Score(
        candidate_id=candidate_id,
        prompt_id=prompt_id,
        reward=ENSEMBLE,
        value=value,
        error=error if value is None else None,
    )


def one_prompt(*answers: tuple[str, float | None]) -> Rows:
    """One prompt and its answers (text, score), named c0, c1, …; teachers t0, t1, …"""
    candidates = [a_candidate(f"c{i}", text, teacher=f"t{i}") for i, (text, _) in enumerate(answers)]
    scores = [a_score(f"c{i}", value) for i, (_, value) in enumerate(answers)]
    return Rows([a_prompt()], candidates, scores)


def select(config: StepConfig, rows: Rows) -> Output:
    """Run a selector's worker over one shard."""
    output: Output = asyncio.run(config.build().run(rows.inputs()))
    return output


def source(name: str, record: type[Record]) -> Step:
    return Step(facts_of(name), StepConfig(), record, scope="source")


@st.composite
def many_rows(draw: st.DrawFn) -> Rows:
    """Up to five prompts with up to six answers each, some blank, equal, filtered, unscored or tied."""
    prompts, candidates, scores = [], [], []
    texts = st.sampled_from(["", " ", "é", "é", "tano", "tano ", "five\n", "خمسة", "x" * 40])
    values = st.none() | st.sampled_from([0.0, 0.25, 1.0]) | st.floats(-5, 5)
    for p in range(draw(st.integers(0, 5))):
        prompts.append(a_prompt(f"p{p}", language=draw(st.sampled_from(["sw", "ar", "en"]))))
        for c in range(draw(st.integers(0, 6))):
            candidate = a_candidate(f"p{p}c{c}", draw(texts), f"p{p}", draw(st.sampled_from(["t0", "t1", "t2"])))
            candidates.append(candidate)
            if draw(st.integers(0, 9)):  # one in ten candidates has no score row at all
                scores.append(a_score(candidate.candidate_id, draw(values), f"p{p}"))
    return Rows(prompts, candidates, scores)
