"""Nothing that reads an answer may take time that grows with the square of its length.

Compared is what 4,000 and 16,000 characters cost, in CPU time of the better of several trials: four times as much if
every character is looked at a bounded number of times, sixteen times if each is looked at from every other.
"""

import time
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import get_args

import pytest

from arbitrage.judging.replies import Scale, read_reply
from arbitrage.languages import normalise_tag, read_language, suggest_tag
from arbitrage.metrics.defaults import CHEAP_METRICS
from arbitrage.metrics.formatting import FormattingConfig
from arbitrage.processes.stderr_tail import causes
from arbitrage.records import Candidate, FinishReason
from arbitrage.rewards.text_checks import check_repetition, is_refusal
from arbitrage.teachers.quoting import quoted, repeats
from arbitrage.text.exact_match import Match, is_match
from arbitrage.text.identify import find_contradiction, identify
from arbitrage.text.language_confusion import language_share
from arbitrage.text.prose import count_words, prose
from arbitrage.text.reasoning import find_reasoning
from arbitrage.text.segmentation import split_sentences, split_words
from arbitrage.text.text import Text
from tests.support.hostile import SHAPES, UNITS
from tests.support.scoring import a_candidate, a_prompt

pytestmark = pytest.mark.long

SHORT, LONG = 4_000, 16_000
GROWTH = 10.0
"""Between the 4 of linear cost and the 16 of quadratic."""

LEAST_S = 0.00025
"""What is cheaper than this for the short text is not compared: fixed costs and the clock decide it."""

METRICS = (*CHEAP_METRICS, *(FormattingConfig(aspect=aspect) for aspect in ("headings", "tables", "bold")))

INSTRUCTION = "End with a line of its own that holds q1w2e3r4 and, behind it, a number from 1 to 10 and nothing else."
SCALE = Scale(r"\d+(?:\.\d+)?", float)


def _reply(text: str, finish_reason: FinishReason) -> Candidate:
    return a_candidate(a_prompt(), text, finish_reason)


PARTS = [name for name, value in vars(Text).items() if isinstance(value, cached_property)]


@lru_cache(maxsize=2 * len(SHAPES))
def shared(text: str) -> Text:
    """Return the text as all metrics share it: what it finds once for all of them is measured by its own name."""
    return Text(text, "en")


FUNCTIONS: dict[str, Callable[[str], object]] = {
    "prose": prose,
    "count_words": lambda text: count_words(text, frozenset({"Latn"})),
    "language_confusion": lambda text: language_share(text, "de"),
    "identify": identify,
    "contradiction": lambda text: find_contradiction(text, "de"),
    "repetition": lambda text: check_repetition(text, 6.0),
    "refusal": lambda text: is_refusal(text, 1_000_000),
    "reasoning": find_reasoning,
    "exact": lambda text: [
        is_match(match, "de", text, wanted) for match in get_args(Match) for wanted in ("42", "Haus")
    ],
    "reply of a judge": lambda text: [
        read_reply(_reply(text, finish_reason), "q1w2e3r4", INSTRUCTION, SCALE) for finish_reason in FinishReason
    ],
    "material of a judge": lambda text: quoted("answer", text, "q1w2e3r4"),
    "echo": lambda text: repeats(text, INSTRUCTION, "q1w2e3r4"),
    "log line": lambda text: causes([text]),
    "words": lambda text: split_words(text, "fr"),
    "sentences": lambda text: split_sentences(text, "de"),
    **{f"{part} of a text": lambda text, part=part: getattr(Text(text, "en"), part) for part in PARTS},
    "tags": lambda text: (normalise_tag(text), read_language(text), suggest_tag(text)),
    **{f"metric {m.metric_name}": lambda text, m=m: m.build().measure([shared(text)]) for m in METRICS},
}


def cost(function: Callable[[str], object], text: str, trials: int) -> float:
    """Return the CPU time of the fastest trial."""
    best = float("inf")
    for _ in range(trials):
        start = time.process_time()
        function(text)
        best = min(best, time.process_time() - start)
    return best


def growth(function: Callable[[str], object], unit: str) -> float:
    """Return how many times as much the long text costs, in the worse of the shapes."""
    worst = 0.0
    for shape in SHAPES:
        short, long = shape(unit, SHORT), shape(unit, LONG)
        ratio = cost(function, long, 1) / LEAST_S  # the most it can be: mostly that is little enough
        if ratio > GROWTH:
            ratio = cost(function, long, 1) / max(cost(function, short, 1), LEAST_S)
        if ratio > GROWTH:  # a busy machine: look again
            ratio = cost(function, long, 3) / max(cost(function, short, 3), LEAST_S)
        worst = max(worst, ratio)
    return worst


@pytest.mark.parametrize("family", UNITS)
def test_cost_grows_with_length_and_not_with_its_square(family: str) -> None:
    grown = {name: growth(function, UNITS[family]) for name, function in FUNCTIONS.items()}
    assert {name: round(ratio, 1) for name, ratio in grown.items() if ratio > GROWTH} == {}
