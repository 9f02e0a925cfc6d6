"""Make the recorded translations of the demo world: `python -m tools.demo_translations`.

Three translators of the English questions into the other languages of the demo world. Each is good at some languages;
where it fails it copies, takes another language, changes a number, stops half way, or asks another question, which
only a quality estimate can tell. `quality.jsonl.gz` has such estimates, with noise.
"""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import arbitrage.demo
from arbitrage.demo.lexicons import load_lexicon
from arbitrage.demo.prompts import DemoPromptsConfig
from arbitrage.demo.questions import QUESTIONS
from arbitrage.demo.tasks import LANGUAGES

PROMPTS = DemoPromptsConfig(languages=("en",), per_language=64)
TARGETS = tuple(language for language in LANGUAGES if language != "en")

SKILLS: dict[str, dict[str, float]] = {
    "lingua": dict.fromkeys(("es", "fr", "pt", "de"), 0.95) | dict.fromkeys(("ru", "tr", "sw"), 0.5),
    "oriens": dict.fromkeys(("zh", "ja", "ko", "th"), 0.92) | dict.fromkeys(("hi", "ar"), 0.85),
    "polyglot": dict.fromkeys(TARGETS, 0.7) | {"sw": 0.8, "ru": 0.85, "tr": 0.85},
}
"""Translator → language → share of its translations that are right; other languages it does not offer."""

FAULTS = ("copy", "language", "number", "half", "question", "question")


def main() -> None:
    """Write the files."""
    directory = Path(arbitrage.demo.__file__).parent / "translations"
    directory.mkdir(exist_ok=True)
    estimates: dict[tuple[str, str, str], float] = {}
    for translator, skills in SKILLS.items():
        rows = list(_translations(translator, skills, estimates))
        _write(directory / f"{translator}.jsonl.gz", rows)
    keys = ("source_id", "teacher", "text")
    rows = [dict(zip(keys, key, strict=True)) | {"score": score} for key, score in estimates.items()]
    _write(directory / "quality.jsonl.gz", rows)


@cache
def known_translations() -> dict[str, dict[str, tuple[str, str]]]:
    """Return English question → language → the same wording there, and the id of the fact."""
    by_place = {language: _by_place(language) for language in LANGUAGES}
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for fact, wordings in by_place["en"].items():
        for place, text in enumerate(wordings):
            found[text] = {}
            for target in TARGETS:
                if others := by_place[target].get(fact):
                    found[text][target] = (others[place % len(others)], fact)
    return found


def _by_place(language: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for family, generate in QUESTIONS.items():
        for question in generate(load_lexicon(language)):
            found[f"{family}/{question.instance}"].append(question.text)
    return found


def _translations(
    translator: str, skills: dict[str, float], estimates: dict[tuple[str, str, str], float]
) -> Iterator[dict[str, str]]:
    known = known_translations()
    questions = [item.question for item in PROMPTS.items()]
    for target, skill in skills.items():
        for question in questions:
            if target not in known[question]:
                continue
            right, fact = known[question][target]
            chance = Random(blake2b(f"{translator} {target} {question}".encode(), digest_size=8).digest())
            fault = None if chance.random() < skill else chance.choice(FAULTS)
            text = right if fault is None else _faulty(fault, question, right, target, questions, chance)
            level = 0.9 if text == right else 0.55
            score = round(min(1.0, max(0.0, chance.gauss(level, 0.1))), 3)
            estimates.setdefault((fact, translator, text), score)
            yield {"question": question, "language": target, "text": text}


def _faulty(fault: str, question: str, right: str, target: str, questions: Sequence[str], chance: Random) -> str:
    known = known_translations()
    if fault == "copy":
        return question
    if fault == "language":
        other = chance.choice([each for each in TARGETS if each != target and each in known[question]])
        return known[question][other][0]
    digits = [place for place, char in enumerate(right) if char in "0123456789"]
    if fault == "number" and digits:
        place = chance.choice(digits)
        return right[:place] + str((int(right[place]) + chance.choice((1, 2, 3))) % 10) + right[place + 1 :]
    if fault == "half":
        return right[: len(right) // 2].strip()
    others = [known[each][target][0] for each in questions if each != question and target in known[each]]
    return chance.choice([each for each in others if each != right])


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode(), mtime=0))
    print(f"{path}: {len(rows)} rows, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
