"""How many human translations the rule-based checks reject, and how many planted faults: docs/translation.md.

`python -m benchmarks.translation_faults FILE`, FILE: NTREX-128 as Parquet with the columns lang, seg and text.
"""

import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import typer

from arbitrage.languages import read_language
from arbitrage.translation.faults import Pair, TranslationChecks, fault_of

SOURCE = "eng"
LANGUAGES = (
    "deu",
    "rus",
    "arb",
    "hin",
    "zho-CN",
    "jpn",
    "kor",
    "tha",
    "swa",
    "tur",
    "fin",
    "vie",
    "yor",
    "ell",
    "ukr",
)
HUMAN = "human translations"


@dataclass(frozen=True, slots=True)
class FaultShares:
    """Shares of translations that are rejected.

    Attributes:
        human: of the human translations.
        planted: kind of fault → of the translations with it.
        reasons: reason → human translations rejected for it.
        num: human translations.
    """

    human: float
    planted: Mapping[str, float]
    reasons: Mapping[str, int]
    num: int


def measure(file: Path, seed: int = 0) -> FaultShares:
    """Check the human translations, and those with a fault planted into them."""
    texts: dict[str, dict[int, str]] = {}
    wanted = [("lang", "in", [*LANGUAGES, SOURCE])]
    for row in pq.read_table(file, columns=["lang", "seg", "text"], filters=wanted).to_pylist():
        texts.setdefault(row["lang"], {})[row["seg"]] = row["text"].strip()
    english = texts.pop(SOURCE)
    chance, checks = random.Random(seed), TranslationChecks()
    counts: Counter[str] = Counter()
    caught: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for lang, by_segment in texts.items():
        tag = read_language(lang) or ""
        for segment, text in by_segment.items():
            counts[HUMAN] += 1
            fault = fault_of(Pair(english[segment], text, "en", tag), checks)
            if fault is not None:
                reasons[fault.name] += 1
                continue
            another = texts[chance.choice([each for each in texts if each != lang])][segment]
            planted = faults(english[segment], text, by_segment[(segment + 7) % len(by_segment)], chance)
            for kind, (source, made) in (planted | {"another language": (english[segment], another)}).items():
                counts[kind] += 1
                caught[kind] += fault_of(Pair(source, made, "en", tag), checks) is not None
    num = counts.pop(HUMAN)
    return FaultShares(reasons.total() / num, {kind: caught[kind] / counts[kind] for kind in counts}, reasons, num)


def faults(source: str, text: str, another: str, chance: random.Random) -> dict[str, tuple[str, str]]:
    """Return kind of fault → source and faulty translation.

    Args:
        source: an English sentence.
        text: its translation.
        another: another sentence in the same language, as an answer would be.
        chance: chooses places.
    """
    found = {
        "copy of the source": (source, source),
        "cut to 30-60 %": (source, text[: int(len(text) * chance.uniform(0.3, 0.6))].rstrip()),
        "answered question": (source.rstrip(".") + "?", another),
        "lost span": (f"See `run` for {{name}}: {source}", f"`run`: {text}"),
        "changed span": (f"{source} https://a.example/b?c=d", f"{text} https://a.example/b?c=e"),
    }
    numbers = re.findall(r"(?<![\w.,:/-])\d{2,}(?![\w.,:/-])", source)
    if common := [number for number in numbers if text.count(number) == source.count(number) == 1]:
        found["changed number"] = (
            source,
            text.replace(common[0], str(int(common[0]) + chance.choice([1, 2, 7, -1]))),
        )
    return found


def main(file: Annotated[Path, typer.Argument(help="NTREX-128 as Parquet: columns lang, seg, text.")]) -> None:
    """Print the shares."""
    found = measure(file)
    print(f"{HUMAN} rejected: {found.human:.1%} of {found.num:,} ({dict(found.reasons)})")
    for kind, share in found.planted.items():
        print(f"{kind}: {share:.1%} rejected")


if __name__ == "__main__":
    typer.run(main)
