"""What is computed of whole texts at once equals what its definition says, character by character."""

import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from arbitrage.metrics.mtld import mtld
from arbitrage.text.language_confusion import SPACELESS_LETTERS, passages
from arbitrage.text.prose import CHARACTERS_PER_WORD, MAX_NAME_WORDS, count_words
from arbitrage.text.scripts import SPACELESS, count_scripts, script_of_letter

LETTERS = "aBé ñß жЯ λπ 中文 かなカ ไทย हिं عرب 한글 0１.,;:'’!?-_–—…()[]\"#*`$<>|@/ \n\n\t\u2028\x85😀\ud800"
TEXTS = st.text(st.sampled_from(LETTERS), max_size=80)
SCRIPTS = st.sampled_from([{"Latn"}, {"Cyrl"}, {"Hani", "Hira", "Kana"}, {"Grek"}, {"Thai"}, set()]).map(frozenset)


@given(TEXTS)
def test_letters_are_counted_by_script(text: str) -> None:
    assert count_scripts(text) == Counter(filter(None, map(script_of_letter, text)))


@given(TEXTS)
def test_passages_hold_all_letters(text: str) -> None:
    letters = list(filter(None, map(script_of_letter, text)))
    weighted = sum(SPACELESS_LETTERS if script in SPACELESS else 1 for script in letters)
    assert sum(passage.num_letters for passage in passages(text)) == weighted


@given(TEXTS, SCRIPTS)
def test_words_are_counted_by_script(text: str, scripts: frozenset[str]) -> None:
    assert count_words(text, scripts).by_script == words_one_by_one(text, scripts)


def words_one_by_one(text: str, scripts: frozenset[str]) -> dict[str, float]:
    found: Counter[str] = Counter()
    latin = []  # whether each word in Latin letters looks like a name; None between runs of them
    for token in re.findall(r"[^\s,;:!?/()\[\]{}\"«»“”„、。，；：！？（）「」『』|*_#=+<>…—–~&]+", text):
        letters = Counter(filter(None, map(script_of_letter, token)))
        for script, num in sorted(letters.items()):
            if num == 1 and script in ("Latn", "Grek") and script not in scripts:
                continue
            found[script] += num / CHARACTERS_PER_WORD if script in SPACELESS else 1.0  # type: ignore[assignment]
            latin.append(any(c.isupper() or c.isdigit() for c in token) if script == "Latn" else None)
    if "Latn" not in scripts and any(found[script] for script in scripts):
        runs = "".join("-" if each is None else "N" if each else "w" for each in latin)
        names = [run for run in re.findall("[Nw]+", runs) if len(run) <= MAX_NAME_WORDS and "w" not in run]
        found["Latn"] -= len("".join(names))
    return {script: amount for script, amount in found.items() if amount}


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=120), st.integers(1, 12), st.booleans())
def test_factors_end_where_the_ratio_has_fallen(tokens: list[str], factor_words: int, at_or_below: bool) -> None:
    found = mtld(tokens, at_or_below=at_or_below, factor_words=factor_words)
    both = [factors_one_by_one(order, factor_words, at_or_below) for order in (tokens, tokens[::-1])]
    assert found == (None if 0.0 in both else sum(len(tokens) / factors for factors in both) / 2)


def factors_one_by_one(tokens: list[str], factor_words: int, at_or_below: bool) -> float:
    factors, start = 0.0, 0
    for end in range(1, len(tokens) + 1):
        ratio = len(set(tokens[start:end])) / (end - start)
        if (ratio < 0.72 or (at_or_below and ratio == 0.72)) and end - start >= factor_words:
            factors, start = factors + 1.0, end
    rest = tokens[start:]
    return factors + (1.0 - len(set(rest)) / len(rest)) / (1.0 - 0.72) if rest else factors
