"""`arbitrage profile --compare`: shifts that are there are found, others are not; intervals respect prompts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbitrage.errors import UserError
from arbitrage.inputs.columns import ProfileColumns
from arbitrage.profile.cell import ProfileCell
from arbitrage.profile.compare import MetricShift, as_json, compare_all, compare_profiles
from arbitrage.profile.effects import cliffs_delta, effects, false_discovery_rates
from arbitrage.profile.entries import EntryBuilder, hash64
from arbitrage.profile.measuring import Measurements
from arbitrage.profile.profile import Profile, profile_data
from arbitrage.profile.reading import ProfileReader
from tests.support.jsonl import write_jsonl
from tests.support.profiles import LENGTHS, arbitrage_profile


def profile_lengths(path: Path, rows: list[dict[str, Any]], salt: str) -> Profile:
    write_jsonl(path, rows)
    return profile_data(path.stem, ProfileReader([str(path)], EntryBuilder(ProfileColumns(), salt=salt)), LENGTHS)


def rows_of(lengths: Any, language: str = "en", ids: Any = None) -> list[dict[str, Any]]:
    found = [{"text": "x" * max(1, round(n)), "language": language} for n in lengths]
    for row, prompt_id in zip(found, ids if ids is not None else [], strict=False):
        row["prompt_id"] = f"p{prompt_id}"
    return found


def shift_of(before: Profile, after: Profile, language: str = "en") -> MetricShift:
    found = compare_profiles(before, after).shifts
    [shift] = [s for s in found if s.metric == "characters" and s.language == language]
    return shift


def test_a_shift_that_is_there_is_found_with_its_size(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    before = profile_lengths(tmp_path / "a.jsonl", rows_of(random.normal(500, 50, 400)), "0")
    after = profile_lengths(tmp_path / "b.jsonl", rows_of(random.normal(550, 50, 400)), "1")
    shift = shift_of(before, after)
    assert shift.is_clear
    assert shift.effect.d == pytest.approx(1.0, abs=0.2)
    assert shift.effect.interval is not None
    assert shift.effect.interval.low < 1.0 < shift.effect.interval.high
    assert shift.effect.delta == pytest.approx(0.52, abs=0.1)  # 2Φ(1/√2) − 1
    assert shift_of(after, before).effect.d == pytest.approx(-shift.effect.d)


def test_no_shift_is_found_where_there_is_none(tmp_path: Path) -> None:
    clear = 0
    for seed in range(10):
        random = np.random.default_rng(seed)
        sets = [
            profile_lengths(tmp_path / f"{i}.jsonl", rows_of(random.normal(500, 50, 200)), str(i)) for i in range(2)
        ]
        clear += shift_of(*sets).is_clear
    assert clear <= 2


def test_texts_of_one_prompt_are_no_independent_evidence(tmp_path: Path) -> None:
    """20 prompts with 20 equal answers each say as much as 20 answers, not as 400."""
    random = np.random.default_rng(3)
    intervals = {}
    for name, ids in (("with", np.repeat(np.arange(20), 20)), ("without", None)):
        sets = []
        for i in range(2):
            lengths = np.repeat(random.normal(500, 50, 20), 20)
            rows = rows_of(lengths, ids=ids if ids is None else ids + 100 * i)
            sets.append(profile_lengths(tmp_path / f"{name}{i}.jsonl", rows, str(i)))
        interval = shift_of(*sets).effect.interval
        assert interval is not None
        intervals[name] = interval.high - interval.low
    assert intervals["with"] > 2.5 * intervals["without"]


def test_answers_to_the_same_prompts_are_paired(tmp_path: Path) -> None:
    """Prompts ask for very different lengths; the second set is a little longer on every one of them."""
    random = np.random.default_rng(4)
    wanted = random.normal(1000, 300, 200)
    paired, unpaired = (
        [
            profile_lengths(
                tmp_path / f"{name}{i}.jsonl",
                rows_of(
                    wanted + i * 40 + random.normal(0, 5, 200), ids=np.arange(200) + (0 if name == "p" else 500 * i)
                ),
                str(i),
            )
            for i in range(2)
        ]
        for name in ("p", "u")
    )
    assert shift_of(*paired).is_clear
    assert not shift_of(*unpaired).is_clear


def test_few_prompts_have_no_interval(tmp_path: Path) -> None:
    sets = [profile_lengths(tmp_path / f"{i}.jsonl", rows_of([5 + i, 9, 7]), str(i)) for i in range(2)]
    shift = shift_of(*sets)
    assert shift.effect.interval is None
    assert shift.q is None
    assert not shift.is_clear
    assert shift.effect.d is not None


def test_languages_on_one_side_only_are_named(tmp_path: Path) -> None:
    one = profile_lengths(tmp_path / "a.jsonl", rows_of([5, 6]) + rows_of([5, 6], "de"), "0")
    other = profile_lengths(tmp_path / "b.jsonl", rows_of([5, 6]) + rows_of([5, 6], "fr"), "1")
    found = compare_profiles(one, other)
    assert (found.languages, found.only_before, found.only_after) == (("en",), ("de",), ("fr",))
    assert as_json(found)["only_before"] == ["de"]


def test_three_sets_are_a_chain(tmp_path: Path) -> None:
    sets = [profile_lengths(tmp_path / f"{n}.jsonl", rows_of([5, 6, 7]), n) for n in ("teacher", "data", "student")]
    assert [(c.before, c.after) for c in compare_all(sets)] == [
        ("teacher", "data"),
        ("data", "student"),
        ("teacher", "student"),
    ]
    with pytest.raises(UserError, match="two data sets or more"):
        compare_all(sets[:1])


def test_the_command_compares(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    for name, length in (("a", 300), ("b", 400)):
        write_jsonl(tmp_path / f"{name}.jsonl", rows_of(random.normal(length, 40, 60)))
    arguments = (tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--html", tmp_path / "o.html", "--processes", 1)
    result = arbitrage_profile("--compare", *arguments)
    assert "characters" in result.stdout
    assert "a.jsonl → b.jsonl" in result.stdout
    assert "largest clear shifts" in (tmp_path / "o.html").read_text()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_false_discovery_rates_by_the_definition(p_values: list[float]) -> None:
    """Rejecting q ≤ α is the step-up procedure: the k smallest, k the largest with p₍ₖ₎ ≤ αk/m."""
    rates = false_discovery_rates(p_values)
    ordered = sorted(p_values)
    for alpha in (0.01, 0.05, 0.3):
        passing = [k for k, p in enumerate(ordered, 1) if p * len(ordered) / k <= alpha]
        assert sum(q <= alpha for q in rates) >= max(passing, default=0)
        assert all(q >= p - 1e-12 for q, p in zip(rates, p_values, strict=True))


@given(st.lists(st.integers(-5, 5), min_size=1), st.lists(st.integers(-5, 5), min_size=1))
def test_cliffs_delta_by_counting_pairs(one: list[int], other: list[int]) -> None:
    counted = sum((b > a) - (b < a) for a in one for b in other) / (len(one) * len(other))
    found = cliffs_delta(np.array([*one, np.nan], dtype=np.float32), np.array(other, dtype=np.float32))
    assert found == pytest.approx(counted)


@pytest.mark.parametrize("is_paired", [True, False])
def test_false_alarms_are_as_rare_as_they_claim(is_paired: bool) -> None:
    """30 prompts with 5 answers each and no difference: p < 0.05 in about 5 of 100, and intervals hold zero in 95."""
    random = np.random.default_rng(0)
    clusters = np.repeat(np.arange(30), 5)
    alarms = covered = 0
    for seed in range(200):
        means = random.normal(size=30)
        other = means if is_paired else random.normal(size=30)
        cells = [
            _cell(np.repeat(level, 5) + random.normal(size=150), clusters + (0 if is_paired else 100 * side))
            for side, level in enumerate((means, other))
        ]
        [effect] = effects(*cells, seed)
        assert effect.p is not None
        assert effect.interval is not None
        alarms += effect.p < 0.05
        covered += effect.interval.low <= 0 <= effect.interval.high
    assert 2 <= alarms <= 20
    assert covered >= 180


def _cell(values: Any, clusters: Any) -> ProfileCell:
    num = len(values)
    cell = ProfileCell(1, [], 4096)
    found = Measurements(["en"] * num, values[:, None], np.zeros((num, 1), np.uint8), [])
    hashes = np.array([hash64(str(cluster)) for cluster in clusters], dtype=np.uint64)
    cell.add(np.arange(num), hashes, np.arange(num, dtype=np.uint64), found)
    return cell
