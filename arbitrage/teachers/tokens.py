"""How many tokens a teacher makes of a character, by language: the ground of every estimate of time and money.

Tokens per character differ by tokenizer and language (Burmese costs 3.5 times the bytes of English), so estimates
use the teacher's own tokenizer where it is on this machine, and a table by script where it is not.
"""

from collections.abc import Mapping, Sequence

from arbitrage.languages import script_of
from arbitrage.models import loadable
from arbitrage.teachers.pool import TeacherConfig

TOKENS_PER_CHARACTER: Mapping[str, float] = {
    "Arab": 0.52,
    "Armn": 0.38,
    "Beng": 0.46,
    "Cyrl": 0.41,
    "Deva": 0.44,
    "Ethi": 2.33,
    "Geor": 0.46,
    "Grek": 0.38,
    "Gujr": 0.60,
    "Guru": 0.62,
    "Hans": 0.86,
    "Hant": 0.95,
    "Hebr": 0.46,
    "Jpan": 0.74,
    "Khmr": 2.67,
    "Knda": 0.45,
    "Kore": 0.54,
    "Laoo": 2.57,
    "Latn": 0.35,
    "Mlym": 0.48,
    "Mymr": 0.90,
    "Sinh": 2.60,
    "Taml": 0.41,
    "Telu": 0.48,
    "Thaa": 1.88,
    "Thai": 0.49,
    "Tibt": 2.27,
}
"""Measured on NTREX-128 with Mistral's Tekken (131k entries) by `benchmarks/tokens_per_character.py`: a stand-in for
multilingual tokenizers of that size, for teachers whose own is not here."""

OTHER_SCRIPTS = 1.0


def tokens_per_character(
    teacher: TeacherConfig, samples: Mapping[str, Sequence[str]]
) -> tuple[dict[str, float], bool]:
    """Return language → tokens per character, and whether the teacher's own tokenizer was used.

    Args:
        teacher: whose tokenizer.
        samples: language → some texts in it.
    """
    tokenizer = _tokenizer(teacher)
    if tokenizer is None:
        return {tag: TOKENS_PER_CHARACTER.get(script_of(tag), OTHER_SCRIPTS) for tag in samples}, False
    found = {}
    for tag, texts in samples.items():
        tokens = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
        found[tag] = sum(len(ids) for ids in tokens) / max(1, sum(len(text) for text in texts))
    return found, True


def _tokenizer(teacher: TeacherConfig):  # type: ignore[no-untyped-def]  # noqa: ANN202 — transformers is untyped
    """Return the teacher's tokenizer if it is on this machine; never reaches for the network."""
    if not teacher.engine.loads_model:
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            loadable(teacher.model), revision=teacher.revision, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError):
        return None
