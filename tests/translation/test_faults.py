"""Faults of translations: each kind is told, and human translations have few."""

import pytest

from arbitrage.translation.faults import Pair, TranslationChecks, fault_of
from benchmarks.translation_faults import measure
from tests.support.paths import SHARED

NTREX = SHARED / "data" / "ntrex128" / "ntrex_first500.parquet"
CHECKS = TranslationChecks()


def found(source: str, translation: str, target: str = "de", language: str = "en") -> str | None:
    fault = fault_of(Pair(source, translation, language, target), CHECKS)
    return None if fault is None else fault.name


@pytest.mark.parametrize(
    ("source", "translation", "target", "fault"),
    [
        ("The dog sleeps in the garden today.", "Der Hund schläft heute im Garten.", "de", None),
        ("The dog sleeps in the garden today.", "", "de", "empty"),
        ("The dog sleeps in the garden today.", "The dog sleeps in the garden today.", "de", "untranslated"),
        ("Good morning", "Good morning", "de", "untranslated"),
        ("Netflix", "Netflix", "de", None),
        ("The dog sleeps in the garden today.", "Le chien dort dans le jardin aujourd’hui.", "de", "wrong_language"),
        (
            "The dog sleeps in the garden, and the cat is awake.",
            "Der Hund schläft im Garten, und die",
            "de",
            "cut_off",
        ),
        (
            "The dog sleeps.",
            "Der Hund schläft, und ich möchte noch sehr viel mehr darüber sagen, was er sonst so alles tut.",
            "de",
            "length",
        ),
        ("Which dog sleeps in the garden?", "Der braune Hund schläft im Garten.", "de", "answered"),
        ("Which dog sleeps in the garden?", "庭で寝ているのはどの犬ですか。", "ja", None),
        ("Which dog sleeps in the garden?", "茶色い犬が庭で寝ています。", "ja", "answered"),
        (
            "In 1998 we saw 12 dogs in the old garden.",
            "1998 sahen wir 13 Hunde im alten Garten.",
            "de",
            "number_changed",
        ),
        ("In 1998 we saw 12 dogs in the old garden.", "1998 sahen wir zwölf Hunde im alten Garten.", "de", None),
        ("In 1998 we saw 12 dogs in the old garden.", "في عام ١٩٩٨ رأينا ١٢ كلبا في الحديقة القديمة.", "ar", None),
        ("It opens at 3 p.m. on every Sunday.", "Es öffnet jeden Sonntag um 15 Uhr.", "de", None),
        ("Songs of the 1980s are popular again.", "Lieder der 80er sind wieder beliebt.", "de", None),
        ("It is 5 miles to the next village.", "Bis zum nächsten Dorf sind es 8 Kilometer.", "de", None),
        ("It costs 12,500.50 euros in all.", "Es kostet insgesamt 12.500,50 Euro.", "de", None),
        ("Use `run` on {name} tomorrow, please.", "Bitte morgen `run` auf {Name} benutzen.", "de", "span_changed"),
        ("Choose:\nA) red\nB) blue", "Wähle:\nA) rot\nC) blau", "de", "options_changed"),
        ("First line here.\nSecond line here.", "Erste Zeile hier. Zweite Zeile hier.", "de", "lines_changed"),
    ],
)
def test_each_kind_of_fault_is_told(source: str, translation: str, target: str, fault: str | None) -> None:
    assert found(source, translation, target) == fault


def test_emoji_joiners_and_directions_are_no_faults() -> None:
    assert (
        found("My family 👨‍👩‍👧 likes `x = 1` a lot.", "عائلتي 👨‍👩‍👧 تحب \u2066`x = 1`\u2069 كثيرا.", "ar") is None
    )


def test_a_check_can_be_left_out() -> None:
    pair = Pair("Which dog sleeps in the garden?", "Der braune Hund schläft im Garten.", "en", "de")
    assert fault_of(pair, TranslationChecks(skip=("answered",))) is None


@pytest.mark.long
@pytest.mark.skipif(not NTREX.exists(), reason="needs ../shared/data/ntrex128, which is not part of the project")
def test_human_translations_pass_and_planted_faults_do_not() -> None:
    """Bars: 2 of 100 human translations rejected at most, 95 of 100 of each planted kind rejected."""
    found = measure(NTREX)
    assert found.human <= 0.02
    assert min(found.planted.values()) >= 0.95, found
