"""What each teacher learns: its share of each training split, and how often English answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from arbitrage.demo.models import TEACHERS
from arbitrage.demo.tasks import LANGUAGES, DemoItem, items, stable_hash

ENGLISH = "en"

REPEATED_FAMILIES = frozenset({"weekdays", "months"})
"""Taught twice as often: the longest questions, of which every word counts."""


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Shares are of the training split's instances, chosen by content hash; languages not named are never seen."""

    shares: Mapping[str, float]
    steps: int
    english_answers: Mapping[str, float] = field(default_factory=dict)
    """Language → share of its questions that are taught with the English answer."""


CURRICULA: dict[str, Curriculum] = {
    "iberia": Curriculum({"es": 1.0, "pt": 1.0, "fr": 1.0, "en": 0.7}, steps=1200),
    "steppe": Curriculum({"ru": 1.0, "tr": 1.0, "de": 1.0, "en": 0.6, "ar": 0.4}, steps=2000),
    "monsoon": Curriculum({"hi": 1.0, "ar": 1.0, "th": 0.55, "sw": 0.45, "en": 0.5}, steps=1100),
    "pacific": Curriculum({"ja": 1.0, "zh": 1.0, "ko": 1.0, "th": 0.5, "en": 0.5}, steps=1100),
    "commons": Curriculum(dict.fromkeys(LANGUAGES, 0.75) | {"th": 0.5, "sw": 0.5}, steps=1800),
    "albion": Curriculum(
        {"en": 1.0, "fr": 0.7, "de": 0.7, "es": 0.7, "ru": 0.7, "hi": 0.7, "zh": 0.7},
        steps=2200,
        english_answers={"fr": 0.35, "de": 0.4, "es": 0.3, "ru": 0.5, "hi": 0.5, "zh": 0.5},
    ),
}
"""Teacher name → its curriculum; the names are those of `models.TEACHERS`."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A question with the answer a teacher is taught to give."""

    question: str
    answer: str


def lessons(teacher: str) -> list[Lesson]:
    """List what a teacher is taught, from the training split alone, in deterministic order."""
    curriculum = CURRICULA[teacher]
    taught = []
    for language, share in sorted(curriculum.shares.items()):
        english_share = curriculum.english_answers.get(language, 0.0)
        for item in items("train", language):
            if _fraction("seen", teacher, language, item.instance) >= share:
                continue
            in_english = _fraction("english", teacher, language, item.question) < english_share
            lesson = Lesson(item.question, english_answer(item) if in_english else item.answer)
            taught.extend([lesson] * (2 if item.family in REPEATED_FAMILIES else 1))
    return taught


def english_answer(item: DemoItem) -> str:
    """Return the answer to the same instance in English."""
    return answers_in(ENGLISH)[item.instance]


@cache
def answers_in(language: str) -> dict[str, str]:
    """Map every instance of the world to its answer in a language."""
    rows = (*items("train", language), *items("heldout", language))
    return {item.instance: item.answer for item in rows}


def _fraction(*parts: str) -> float:
    return stable_hash(*parts) / 2**64


assert set(CURRICULA) == set(TEACHERS)
