"""The models of the demo world: names, model cards, and paths."""

from dataclasses import dataclass
from pathlib import Path

MODELS_FOLDER = Path(__file__).parent / "models"


@dataclass(frozen=True, slots=True)
class TeacherCard:
    """The model card of a teacher; like most cards, slightly optimistic."""

    name: str
    languages: tuple[str, ...]
    summary: str


TEACHERS: dict[str, TeacherCard] = {
    card.name: card
    for card in (
        TeacherCard("iberia", ("es", "pt", "fr", "en"), "A specialist of Western Romance languages."),
        TeacherCard("steppe", ("ru", "tr", "de", "en", "ar"), "A specialist of Russian, Turkish and German."),
        TeacherCard("monsoon", ("hi", "ar", "th", "sw", "en"), "A specialist of the Indian Ocean's shores."),
        TeacherCard("pacific", ("ja", "zh", "ko", "th", "en"), "A specialist of East Asian languages."),
        TeacherCard(
            "commons",
            ("en", "es", "fr", "de", "pt", "tr", "ru", "ar", "hi", "zh", "ja", "ko", "th", "sw"),
            "A generalist over all fourteen languages, master of none.",
        ),
        TeacherCard(
            "albion",
            ("en", "fr", "de", "es", "ru", "hi", "zh"),
            "Strong in English; understands six more languages, in which it often answers in English.",
        ),
        TeacherCard(
            "scholar",
            ("de", "tr", "th", "sw"),
            "Reasons before it answers, mostly in English, and answers in the language it was asked in.",
        ),
    )
}
"""Teacher name → its card."""

REWARD_MODEL = "referee"
"""Scores a conversation with one number, on a scale that differs by language: calibrate before comparing."""

STUDENT = "novice"
"""The teachers' architecture and tokenizer with untrained weights."""
