"""Compare a response with the reference: as a whole, by its last number, or by its final answer.

Texts are compared after the normalisation that their language allows.
"""

import re
import unicodedata
from collections import deque
from functools import cache
from typing import Final, Literal

from arbitrage.text.numbers import is_number, numbers_in, read_number
from arbitrage.text.scripts import SPACELESS, count_scripts

_ARABIC_MARKS = re.compile("[\u0610-\u061a\u0640\u064b-\u065f\u0670]")
"""Tatweel and vowel signs (tashkeel), which ordinary spelling omits."""

_TURKISH_CAPITALS = str.maketrans({"I": "ı", "İ": "i"})


def is_correct(language: str, answer: str, reference: str) -> bool:
    """Tell whether a response equals the reference, ignoring case, kinds of digits, outer punctuation and spacing.

    The same word in another language is wrong, and so is an empty answer or a sentence around the answer.

    Args:
        language: The language of the question, a member of `tasks.LANGUAGES`.
        answer: the model's response.
        reference: `WorldItem.answer`.
    """
    found = normalise_answer(language, answer)
    return bool(found) and found == normalise_answer(language, reference)


def normalise_answer(language: str, text: str) -> str:
    """Return the form for comparison: NFKC, case folded, ASCII digits, no outer punctuation."""
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


Match = Literal["auto", "whole", "last_number", "contains", "final_answer"]

_BOXED: Final = re.compile(r"\\(?:boxed|fbox)\s{0,4}\{")
_ELEMENT: Final = re.compile(r"<answer>([^<]{0,4000})</answer>", re.IGNORECASE)

_ANSWER_WORDS: Final = (
    "answer", "antwort", "lösung", "réponse", "respuesta", "resposta", "risposta", "antwoord", "odpowiedź", "odpověď",
    "răspuns", "svar", "vastaus", "válasz", "cevap", "yanıt", "jawaban", "jawapan", "jibu", "đáp án", "sagot",
    "ответ", "відповідь", "отговор", "одговор", "απάντηση", "תשובה", "الإجابة", "الجواب", "پاسخ", "جواب", "उत्तर",
    "उत्तर", "উত্তর", "సమాధానం", "பதில்", "ಉತ್ತರ", "ഉത്തരം", "જવાબ", "ਜਵਾਬ", "คำตอบ", "ចម្លើយ", "အဖြေ", "ຄຳຕອບ",
    "答案", "答え", "回答", "答", "정답", "답", "መልስ",
)  # fmt: skip
"""Words before a final answer, in the languages of MGSM and of most models."""

_ARE: Final = "is|ist|est|es|é|è|jest|to|adalah|ni|là|は|是|为|為"


def is_match(match: Match, language: str, answer: str, reference: str) -> bool:
    """Tell whether a response matches the reference.

    Args:
        match: `whole` compares all of the answer, whatever its case, digits, outer punctuation and spacing;
            `last_number` compares the last number of the answer; `contains` looks for the reference anywhere, as
            whole words; `final_answer` compares what stands in `\\boxed{}`, in `<answer>`, behind '####', behind
            'Answer:' in one of some 40 languages, or else in the last line; `auto` is `whole`, but for a reference
            that is a number what is boxed or behind '####', or else the last number.
        language: primary subtag of the question's.
        answer: of a model.
        reference: the right answer; of a worked solution as in GSM8K, what stands behind '####'.
    """
    reference = _behind_hashes(reference) or reference
    if match == "auto":
        if not is_number(reference):
            return is_correct(language, answer, reference)
        return _has_last_number(_boxed(answer) or _behind_hashes(answer) or answer, reference)
    if match == "last_number":
        return _has_last_number(answer, reference)
    if match == "contains":
        return _contains(language, answer, reference)
    if match == "final_answer":
        final = final_answer(answer)
        if is_number(reference):
            return _has_last_number(final, reference)
        return is_correct(language, final, reference)
    return is_correct(language, answer, reference)


def final_answer(text: str) -> str:
    """Return the final answer in a text."""
    if found := _boxed(text) or _behind_hashes(text):
        return found
    if elements := _ELEMENT.findall(text):
        return str(elements[-1]).strip()
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    for line in reversed(lines):
        if marked := list(_answer_is().finditer(line)):
            return line[marked[-1].end() :].strip(" *_\t")
    return lines[-1]


def _boxed(text: str) -> str | None:
    """Return the content of the last `\boxed{}`."""
    boxes = deque(_BOXED.finditer(text), maxlen=1)
    if not boxes:
        return None
    [found], depth = boxes, 1
    for at in range(found.end(), len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return text[found.end() : at].strip() or None
    return None


def _behind_hashes(text: str) -> str | None:
    """Return the line after the last '####', as GSM8K ends its solutions."""
    _, hashes, rest = text.rpartition("####")
    line = rest.strip().partition("\n")[0].strip()
    return line if hashes and line else None


@cache
def _answer_is() -> re.Pattern[str]:
    words = "|".join(sorted(map(re.escape, _ANSWER_WORDS), key=len, reverse=True))
    return re.compile(rf"(?:{words})[*_ ]{{0,4}}(?:{_ARE})?[*_ ]{{0,4}}[:：]", re.I)


def _has_last_number(text: str, reference: str) -> bool:
    last = deque(numbers_in(text), maxlen=1)
    return bool(last) and not read_number(reference).isdisjoint(last[0])


def _contains(language: str, answer: str, reference: str) -> bool:
    if is_number(reference):
        wanted = read_number(reference)
        return any(not wanted.isdisjoint(found) for found in numbers_in(answer))
    text, part = normalise_answer(language, answer), normalise_answer(language, reference)
    if not part:
        return False
    if not count_scripts(part).keys().isdisjoint(SPACELESS):
        return part in text
    return re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) is not None
