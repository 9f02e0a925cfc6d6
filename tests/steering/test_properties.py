"""What holds of steering whatever the candidates: bounds, floors, quotas, order, quantiles."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.contracts.workers import Inputs
from arbitrage.records import LanguageQuota, Reject, SteeringChoice
from arbitrage.selection.mix import QuotaConfig
from arbitrage.steering.objectives import RewardTerm
from arbitrage.steering.scale import ScaleStep, quantiles_of, share_of, value_at
from arbitrage.steering.select import QuotaStep
from arbitrage.steering.steer import SteerStep
from arbitrage.tables import from_table, to_table
from tests.support.steering import Answer, World, a_world, choices, steered, toward

measured = st.builds(Answer, st.floats(-5, 5), st.floats(0, 100)) | st.builds(Answer, st.floats(-5, 5))
worlds = st.dictionaries(
    st.tuples(st.sampled_from(["en", "de", "th"]), st.text("abcdef", min_size=1, max_size=3)),
    st.lists(measured, max_size=5),
    min_size=1,
    max_size=8,
).map(a_world)


@settings(max_examples=60, deadline=None)
@given(worlds, st.floats(0, 100), st.floats(0, 100), st.sampled_from(["up", "down", 50.0]), st.integers(2, 4))
def test_bounds_and_floor_are_never_violated(
    world: World, one: float, other: float, direction: str | float, k: int
) -> None:
    low, high = sorted((one, other))
    config = toward(direction, floor=low, ceiling=high, k=k, reward=RewardTerm(weight=0.5, floor_z=-0.5))
    found = choices(config, world)
    for choice in found:
        value = world.value(choice.steered_id)
        assert value is not None
        assert low <= value <= high
        assert choice.steered_reward >= -0.5
        assert len(choice.considered) <= k
        assert {choice.steered_id, choice.control_id} <= set(choice.considered)
        assert choice.away_id is None or choice.away_id != choice.steered_id
    prompt_ids = {p.prompt_id for p in world.prompts}
    rejected = {r.item_id for r in from_table(steered(config, world).rejects, Reject)}
    assert {c.prompt_id for c in found} | rejected == prompt_ids
    assert not {c.prompt_id for c in found} & rejected


@settings(max_examples=40, deadline=None)
@given(worlds)
def test_the_order_of_rows_does_not_matter(world: World) -> None:
    turned = World(world.prompts[::-1], world.candidates[::-1], world.scores[::-1], world.measures[::-1])
    config = toward("up", k=3)
    scales = ScaleStep(shrinkage=20.0).run([world.inputs()]).table
    one, two = (
        asyncio.run(SteerStep(steer=config, aims=()).run(w.inputs(scales=(scales,)))) for w in (world, turned)
    )
    assert one.table.equals(two.table)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["en", "de", "th"]), st.integers(0, 10**6)), max_size=40, unique=True),
    st.dictionaries(st.sampled_from(["en", "de", "sw"]), st.integers(0, 10), max_size=3),
    st.none() | st.integers(0, 10),
)
def test_quotas_are_met_where_there_is_enough_and_never_exceeded(
    rows: list[tuple[str, int]], languages: dict[str, int], default: int | None
) -> None:
    config = QuotaConfig(default=default, languages=languages)
    made = [
        SteeringChoice(
            prompt_id=f"{language}{number}",
            language=language,
            considered=("a",),
            steered_id="a",
            steered_pull=0.0,
            steered_reward=0.0,
            control_id="a",
            control_pull=0.0,
            control_reward=0.0,
        )
        for language, number in rows
    ]
    halves = [Inputs({"choices": (to_table(part, SteeringChoice),)}) for part in (made[::2], made[1::2])]
    limits = {row.language: row for row in from_table(QuotaStep(quotas=config).run(halves).table, LanguageQuota)}
    available = Counter(language for language, _ in rows)
    for language in {*available, *languages}:
        wanted = languages.get(language, default)
        assert (language in limits) == (wanted is not None)
        if wanted is not None:
            last = limits[language].last_lot
            kept = [
                c for c in made if c.language == language and (last is None or config.priority(c.prompt_id) <= last)
            ]
            assert len(kept) == min(wanted, available[language])
            assert (limits[language].wanted, limits[language].available) == (wanted, available[language])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_a_share_leads_to_a_value_and_back(values: list[float], share: float) -> None:
    quantiles = quantiles_of(sorted(values))
    value = value_at(quantiles, share)
    assert min(values) <= value <= max(values)
    assert 0.0 <= share_of(quantiles, value) <= 1.0


def test_shares_of_known_quantiles() -> None:
    quantiles = quantiles_of([0.0, 10.0])
    assert value_at(quantiles, 0.25) == pytest.approx(2.5)
    assert share_of(quantiles, 2.5) == pytest.approx(0.25)
    assert (share_of(quantiles, -1.0), share_of(quantiles, 11.0)) == (0.0, 1.0)
    assert share_of((5.0, 5.0, 5.0), 5.0) == 0.5
