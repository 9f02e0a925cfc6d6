"""Texts are cut so that they can be joined again, and code is never sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbitrage.translation.segments import segments_of, with_translations

TEXT = """First sentence. Second sentence!

```python
print("do not translate")
```

Last one, with `code`."""


def test_code_blocks_and_white_space_are_kept() -> None:
    segments = segments_of(TEXT, "en", 4000)
    assert [each.text for each in segments if not each.is_kept] == [
        "First sentence. Second sentence!",
        "Last one, with `code`.",
    ]
    assert with_translations(segments, ["Eins. Zwei!", "Zuletzt, mit `code`."]) == (
        'Eins. Zwei!\n\n```python\nprint("do not translate")\n```\n\nZuletzt, mit `code`.'
    )


def test_a_long_text_is_cut_at_paragraphs_then_sentences_then_words() -> None:
    text = "One two three. Four five six.\n\nSeven eight nine ten eleven twelve."
    assert [each.text for each in segments_of(text, "en", 20) if not each.is_kept] == [
        "One two three.",
        "Four five six.",
        "Seven eight nine ten",
        "eleven twelve.",
    ]


@given(st.text(alphabet="ab .!?\n`~{}x\u3002\u0e01", max_size=300), st.integers(5, 60))
def test_segments_are_the_text(text: str, most: int) -> None:
    segments = segments_of(text, "en", most)
    assert "".join(each.text for each in segments) == text
    kept = with_translations(segments, [each.text for each in segments if not each.is_kept])
    assert kept == text


@pytest.mark.long
def test_a_text_of_200_kilobytes_is_cut() -> None:
    text = "A sentence of some words, and then another one. " * 4200
    segments = segments_of(text, "en", 4000)
    assert "".join(each.text for each in segments) == text
    assert max(len(each.text) for each in segments) <= 4000
