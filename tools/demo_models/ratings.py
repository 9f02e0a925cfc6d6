"""The ratings the reward model learns: simulated human raters, one panel per language, none of them perfect.

A panel has its own zero, its own scale and its own share of mistakes, as human panels do; all panels like English a
little too much. Whoever compares raw rewards across languages therefore compares panels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from arbitrage.demo.tasks import LANGUAGES, DemoItem, items, stable_hash
from arbitrage.text.exact_match import is_correct
from tools.demo_models.curriculum import answers_in, english_answer


@dataclass(frozen=True, slots=True)
class Panel:
    """How the raters of one language grade: rating = offset + scale · (quality + noise)."""

    offset: float
    scale: float
    mistakes: float
    """Share of right answers graded as wrong, and of near misses graded as right."""


PANELS: dict[str, Panel] = {
    "en": Panel(0.5, 2.0, 0.02),
    "es": Panel(0.8, 1.7, 0.04),
    "fr": Panel(-0.6, 2.2, 0.04),
    "de": Panel(-0.9, 2.1, 0.03),
    "pt": Panel(1.0, 1.6, 0.05),
    "tr": Panel(0.4, 1.3, 0.06),
    "ru": Panel(-0.7, 1.8, 0.05),
    "ar": Panel(0.9, 1.2, 0.08),
    "hi": Panel(1.3, 1.1, 0.08),
    "zh": Panel(-0.3, 2.0, 0.04),
    "ja": Panel(-1.2, 1.4, 0.06),
    "ko": Panel(-0.8, 1.5, 0.08),
    "th": Panel(0.6, 1.0, 0.10),
    "sw": Panel(1.5, 0.9, 0.12),
}
"""Language → its panel of raters."""

NOISE = 0.25
"""Half-width of the uniform noise on a quality."""

QUALITY = {
    "right": 1.0,
    "near_miss": 0.0,
    "english": 0.45,
    "foreign": 0.0,
    "garbled": 0.1,
    "cut": 0.15,
    "repeated": 0.15,
    "empty": -0.3,
    "overheard": 0.0,
}
"""Kind of answer → its quality before noise; 'english' is the right answer in the wrong language, liked too much."""

NEAR_MISSES = 2
"""Other answers of the same family rated beside each right one."""


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """An answer, its kind, and the rating its panel gave."""

    language: str
    question: str
    answer: str
    kind: str
    rating: float


def rated_answers() -> list[RatedAnswer]:
    """List ratings of right and wrong answers to every training question of every language."""
    return [
        RatedAnswer(item.language, item.question, answer, kind, _rate(item, answer, kind))
        for language in LANGUAGES
        for item in items("train", language)
        for kind, answer in _answers(item)
    ]


def rate_overheard(answers_of: Mapping[DemoItem, Sequence[str]]) -> list[RatedAnswer]:
    """Rate what teachers really answered, each wrong answer of a question once, beside the right one."""
    rated = []
    for item, answers in answers_of.items():
        wrong = [a for a in dict.fromkeys(answers) if not is_correct(item.language, a, item.answer)]
        for kind, answer in (("right", item.answer), *(("overheard", answer) for answer in wrong)):
            rated.append(RatedAnswer(item.language, item.question, answer, kind, _rate(item, answer, kind)))
    return rated


def _answers(item: DemoItem) -> Iterator[tuple[str, str]]:
    """Yield the right answer, near misses, and two spoilt answers whose kinds are chosen by hash."""
    rivals = _rivals(item)
    near_misses = rivals[:NEAR_MISSES]
    yield "right", item.answer
    for rival in near_misses:
        yield "near_miss", rival
    digest = stable_hash("spoilt", item.language, item.question)
    spoilt = _spoilt_answers(item, rivals[0], digest)
    first = digest % len(spoilt)
    second = (first + 1 + digest // 100 % (len(spoilt) - 1)) % len(spoilt)
    for kind, answer in (spoilt[first], spoilt[second]):
        if answer not in {item.answer, *near_misses}:
            yield kind, answer


def _spoilt_answers(item: DemoItem, rival: str, digest: int) -> list[tuple[str, str]]:
    """List what models do wrong: another language, another question's answer, broken words, too little, too much."""
    half = len(item.answer) // 2
    language = LANGUAGES[digest // 7 % len(LANGUAGES)]
    foreign = answers_in(language)[item.instance]
    own_train, foreign_train = items("train", item.language), items("train", language)
    return [
        ("english", english_answer(item)),
        ("foreign", foreign),
        ("foreign", own_train[digest // 11 % len(own_train)].answer),
        ("foreign", foreign_train[digest // 13 % len(foreign_train)].answer),
        ("garbled", item.answer[:half] + rival[len(rival) // 2 :]),
        ("garbled", item.answer[:half] + foreign[len(foreign) // 2 :]),
        ("cut", item.answer[:half]),
        ("repeated", f"{item.answer} {item.answer}"),
        ("empty", ""),
    ]


def _rivals(item: DemoItem) -> list[str]:
    """List other answers of the same family and language, those that the question itself names first."""
    answers = {other.answer for other in items("train", item.language) if other.family == item.family}
    return sorted(
        answers - {item.answer},
        key=lambda rival: (
            rival not in item.question,
            stable_hash("rival", item.language, item.question, rival),
        ),
    )


def _rate(item: DemoItem, answer: str, kind: str) -> float:
    panel = PANELS[item.language]
    digest = stable_hash("rating", item.language, item.question, answer)
    quality = QUALITY[kind]
    if kind in {"right", "near_miss"} and digest % 1000 < panel.mistakes * 1000:
        quality = 1.0 - quality
    noise = NOISE * (2 * (digest // 1000 % 1000) / 999 - 1)
    return panel.offset + panel.scale * (quality + noise)
