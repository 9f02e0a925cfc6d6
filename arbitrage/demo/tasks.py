"""The tasks of the demo world: every question with its exact answer, split by content hash."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from itertools import chain, zip_longest
from typing import Literal

from arbitrage.demo.lexicons import load_lexicon
from arbitrage.demo.questions import QUESTIONS, Question

Split = Literal["train", "heldout"]

LANGUAGES: tuple[str, ...] = ("en", "es", "fr", "de", "pt", "tr", "ru", "ar", "hi", "zh", "ja", "ko", "th", "sw")

FAMILIES: tuple[str, ...] = tuple(QUESTIONS)

HELDOUT_ONE_IN = 5
"""One in this many instances is held out of training, separately in each language."""


@dataclass(frozen=True, slots=True)
class DemoItem:
    """A question and its answer; `instance` is the same for all wordings and translations of one fact."""

    language: str
    family: str
    question: str
    answer: str
    instance: str


def items(split: Split, language: str) -> list[DemoItem]:
    """List every item of a split in a language, family by family, in the order of the lexicon."""
    return list(_items(language)[split])


def sample_items(split: Split, languages: Sequence[str], per_language: int, seed: int) -> list[DemoItem]:
    """Choose items by content hash, the same number from each family if there are enough.

    Args:
        split: Which side of the hold-out.
        languages: In the order of the result.
        per_language: Items of each language; fewer if the split has fewer.
        seed: Another seed gives another sample.
    """
    return [item for language in languages for item in _spread(items(split, language), seed)[:per_language]]


def stable_hash(*parts: object) -> int:
    """Hash the text of the parts to 64 bits, the same on every machine and in every process."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _spread(pool: Sequence[DemoItem], seed: int) -> list[DemoItem]:
    ranked = sorted(pool, key=lambda item: stable_hash(seed, item.language, item.family, item.question))
    columns = [[item for item in ranked if item.family == family] for family in FAMILIES]
    return [item for item in chain.from_iterable(zip_longest(*columns)) if item is not None]


@cache
def _items(language: str) -> dict[Split, tuple[DemoItem, ...]]:
    splits: dict[Split, list[DemoItem]] = {"train": [], "heldout": []}
    lexicon = load_lexicon(language)
    for family, generate in QUESTIONS.items():
        for question in generate(lexicon):
            split: Split = "heldout" if _is_heldout(language, family, question) else "train"
            instance = f"{family}/{question.instance}"
            splits[split].append(DemoItem(language, family, question.text, question.answer, instance))
    return {split: tuple(rows) for split, rows in splits.items()}


def _is_heldout(language: str, family: str, question: Question) -> bool:
    """Hold out one wording of each known fact, or all wordings of one instance in five."""
    digest = stable_hash("heldout", language, family, question.group or question.instance)
    if question.template is not None:
        return digest % question.num_templates == question.template
    return digest % HELDOUT_ONE_IN == 0
