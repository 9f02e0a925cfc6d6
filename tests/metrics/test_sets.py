"""Properties of sets: near-duplicates, vocabulary, dispersion; exact where they are small, flat where they are large."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbitrage.errors import DataError
from arbitrage.metrics.dispersion import DispersionConfig
from arbitrage.metrics.near_duplicates import NearDuplicatesConfig, jaccard, signature_of
from arbitrage.metrics.vocabulary import VocabularyConfig
from arbitrage.profile.entries import hash64
from arbitrage.text.measured import Measured
from arbitrage.text.text import Text


def sketch_of(config: Any, texts: list[Text], salt: str = "") -> Any:
    metric = config.build()
    sketch = metric.sketch()
    for i, text in enumerate(texts):
        digest = metric.digest(text)
        if digest is not None:
            sketch.add(hash64(f"{salt}{i}"), digest)
    return sketch


def prose(seed: int, num_words: int = 60) -> str:
    random = np.random.default_rng(seed)
    return " ".join("".join(chr(97 + c) for c in random.integers(0, 26, 6)) for _ in range(num_words))


def test_near_duplicates_by_hand() -> None:
    different = [Text(prose(seed), "en") for seed in range(10)]
    copies = [Text(different[0].text.upper() + "!!", "en"), Text(different[1].text + " x", "en")]
    assert sketch_of(NearDuplicatesConfig(), different).value() == Measured(0.0)
    assert sketch_of(NearDuplicatesConfig(), different + copies).value() == Measured(2 / 12)
    assert sketch_of(NearDuplicatesConfig(), different[:1]).value().reason == "too_few"
    assert sketch_of(NearDuplicatesConfig(), [Text("...", "en")] * 3).value().reason == "too_few"


def test_short_texts_are_duplicates_of_themselves_only() -> None:
    texts = [Text(t, "en") for t in ("yes", "no", " YES\n", "maybe")]
    assert sketch_of(NearDuplicatesConfig(), texts).value() == Measured(1 / 4)


@given(st.sets(st.integers(0, 300), min_size=1), st.sets(st.integers(0, 300), min_size=1))
def test_the_jaccard_index_is_exact_for_small_sets_and_near_for_large(one: set[int], other: set[int]) -> None:
    hashes = np.array([hash64(str(i)) for i in range(301)], dtype=np.uint64)
    sides = [np.sort(hashes[sorted(side)])[:64] for side in (one, other)]
    true = len(one & other) / len(one | other)
    assert jaccard(*sides) == pytest.approx(true, abs=1e-9 if len(one | other) <= 64 else 0.3)


def test_half_shared_text_is_estimated_as_half() -> None:
    words = prose(1, 400).split()
    one, other = signature_of(" ".join(words)), signature_of(" ".join(words[:267] + prose(2, 133).split()))
    assert one is not None
    assert other is not None
    assert jaccard(one.hashes, other.hashes) == pytest.approx(0.5, abs=0.2)


def test_a_sampled_set_estimates_the_share_of_duplicates() -> None:
    """1,500 texts, a third of them copies, seen through a sketch of 300."""
    texts = [Text(prose(seed, 30), "en") for seed in range(1000)]
    sketch = sketch_of(NearDuplicatesConfig(max_texts=300), texts + texts[:500])
    assert len(sketch._kept) <= 300
    assert sketch.value().value == pytest.approx(1 / 3, abs=0.1)


def test_a_thousand_copies_of_one_text_stay_within_the_sketch() -> None:
    sketch = sketch_of(NearDuplicatesConfig(max_texts=50), [Text(prose(1), "en")] * 1000)
    assert len(sketch._kept) <= 50
    assert sketch.value().value > 0.9


@pytest.mark.parametrize("config", [NearDuplicatesConfig(max_texts=40), VocabularyConfig(num_words=500)])
def test_merged_sketches_say_the_same_as_one(config: Any) -> None:
    texts = [Text(prose(seed % 40, 30), "en") for seed in range(60)]
    whole = sketch_of(config, texts)
    halves = [config.build().sketch() for _ in range(2)]
    metric = config.build()
    for i, text in enumerate(texts):
        halves[i % 2].add(hash64(str(i)), metric.digest(text))
    halves[0].merge(halves[1])
    assert halves[0].value().value == pytest.approx(whole.value().value, abs=0.12)


def test_vocabulary_by_hand() -> None:
    texts = [Text("a b c d e f g h i j " * 10, "en")]
    assert sketch_of(VocabularyConfig(num_words=100), texts).value() == Measured(10.0)
    assert sketch_of(VocabularyConfig(num_words=100, report="growth"), texts).value() == Measured(0.0)
    new = [Text(prose(seed, 50), "en") for seed in range(4)]
    assert sketch_of(VocabularyConfig(num_words=100, report="growth"), new).value().value == pytest.approx(1.0)
    assert sketch_of(VocabularyConfig(num_words=101), texts).value().reason == "too_few"


def test_vocabulary_compares_sets_of_any_size_and_stays_small() -> None:
    few, many = ([Text(prose(i % 50, 40), "en") for i in range(num)] for num in (100, 2000))
    sketches = [sketch_of(VocabularyConfig(num_words=400), texts) for texts in (few, many)]
    values = [sketch.value().value for sketch in sketches]
    assert values[0] == pytest.approx(values[1], rel=0.15)
    assert len(sketches[1]._heap) <= 11


def test_dispersion_by_hand() -> None:
    vectors = [(1.0, 0.0), (0.0, 2.0), (-3.0, 0.0)]  # cosines 0, 0, −1: mean −1/3
    texts = [Text("x", "en", v) for v in vectors]
    assert sketch_of(DispersionConfig(), texts).value().value == pytest.approx(1 + 1 / 3)
    assert sketch_of(DispersionConfig(), texts[:1] * 5).value().value == pytest.approx(0.0)
    assert sketch_of(DispersionConfig(), [Text("x", "en")] * 3).value().reason == "no_embedding"
    with pytest.raises(DataError, match="2 numbers, where others have 3"):
        sketch_of(DispersionConfig(), [Text("x", "en", (1.0, 0.0, 0.0)), *texts])
