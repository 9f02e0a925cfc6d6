"""What each teacher learns: its share of each training split, how often English answers, and how it reasons."""

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
    english_reasoning: Mapping[str, float] = field(default_factory=dict)
    """Language → share of its questions with reasoning in English, the rest in their own language; empty: none."""

    @property
    def reasons(self) -> bool:
        """Whether the teacher writes reasoning before its answers."""
        return bool(self.english_reasoning)


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
    "scholar": Curriculum(
        {"sw": 1.0, "th": 1.0, "tr": 0.6, "de": 0.6, "en": 0.8},
        steps=1500,
        english_reasoning={"sw": 1.0, "th": 1.0, "tr": 0.7, "de": 0.7, "en": 1.0},
    ),
}
"""Teacher name → its curriculum; the names are those of `models.TEACHERS`."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A question with the answer a teacher is taught to give, and the reasoning before it."""

    question: str
    answer: str
    reasoning: str | None = None


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
            lesson = Lesson(
                item.question, english_answer(item) if in_english else item.answer, _reasoning(teacher, item)
            )
            taught.extend([lesson] * (2 if item.family in REPEATED_FAMILIES else 1))
    return taught


def _reasoning(teacher: str, item: DemoItem) -> str | None:
    """Return the question in the language the teacher thinks in, as short as it can be put, and the answer.

    Where English holds the question out of training the teacher thinks in the question's own language.
    """
    curriculum = CURRICULA[teacher]
    if not curriculum.reasons:
        return None
    share = curriculum.english_reasoning[item.language]
    is_english = _fraction("reasoning", teacher, item.language, item.question) < share
    thought = shortest_wordings(ENGLISH).get(item.instance) if is_english else None
    thought = thought or shortest_wordings(item.language)[item.instance]
    return f"{thought.question} {thought.answer}"


@cache
def shortest_wordings(language: str) -> dict[str, DemoItem]:
    """Map every instance of the training split in a language to its shortest wording."""
    longest_first = sorted(items("train", language), key=lambda item: (-len(item.question), item.question))
    return {item.instance: item for item in longest_first}


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
