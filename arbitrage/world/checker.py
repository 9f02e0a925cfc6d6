"""Decide exactly whether an answer is right: equal to the reference after the normalisation its language allows."""

import re
import unicodedata

_ARABIC_MARKS = re.compile("[\u0610-\u061a\u0640\u064b-\u065f\u0670]")
"""Tatweel and the vowel signs (tashkeel), which ordinary spelling leaves out."""

_TURKISH_CAPITALS = str.maketrans({"I": "ı", "İ": "i"})


def is_correct(language: str, answer: str, reference: str) -> bool:
    """Tell whether an answer equals the reference, whatever its case, digits, outer punctuation and spacing.

    The same word in another language is wrong, and so is an empty answer or a sentence around the answer.

    Args:
        language: The language of the question, a member of `tasks.LANGUAGES`.
        answer: What a model said.
        reference: `WorldItem.answer`.
    """
    found = normalise_answer(language, answer)
    return bool(found) and found == normalise_answer(language, reference)


def normalise_answer(language: str, text: str) -> str:
    """Return the form in which answers are compared: NFKC, folded case, ASCII digits, no outer punctuation."""
    text = unicodedata.normalize("NFKC", text)
    text = "".join(_ascii_digit(char) for char in text if unicodedata.category(char) != "Cf")
    if language == "tr":
        text = text.translate(_TURKISH_CAPITALS)
    text = text.casefold()
    if language == "ar":
        text = _ARABIC_MARKS.sub("", text)
    if language == "ru":
        text = text.replace("ё", "е")
    # Folding can undo the normalisation: 'ΐ' folds to a decomposed letter.
    return _strip_outer(" ".join(unicodedata.normalize("NFKC", text).split()))


def _ascii_digit(char: str) -> str:
    value = unicodedata.decimal(char, None)
    return char if value is None else str(value)


def _strip_outer(text: str) -> str:
    start, end = 0, len(text)
    # A leading dash may be a minus sign, and -3 is not 3.
    while start < end and _is_outer(text[start]) and unicodedata.category(text[start]) != "Pd":
        start += 1
    while end > start and _is_outer(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_outer(char: str) -> bool:
    return unicodedata.category(char)[0] in "PZ"
