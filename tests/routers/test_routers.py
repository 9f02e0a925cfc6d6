"""Routers: language filters, back-off, fairness, and that no route depends on its neighbours."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from arbitrage.config import parse
from arbitrage.contracts.routers import PoolMember
from arbitrage.contracts.workers import Inputs
from arbitrage.demo.prompts import DemoPromptsConfig
from arbitrage.errors import ConfigError
from arbitrage.languages import speaks
from arbitrage.prompts.step import read_prompts
from arbitrage.records import Message, Prompt, Reject, Route, prompt_id_of
from arbitrage.tables import from_table, to_table
from routers import RouterConfig
from routers.step import RouteConfig, route
from tests.support.trained import shared_router

ADAPTER: TypeAdapter[RouterConfig] = TypeAdapter(RouterConfig)
POOL = (
    PoolMember(name="asia", languages=("zh", "ja", "th")),
    PoolMember(name="europe", languages=("en", "de", "fr", "pt", "es")),
    PoolMember(name="brazil", languages=("pt-BR", "en")),
    PoolMember(name="taiwan", languages=("zh-Hant",)),
)
LANGUAGES = ["en", "de", "pt", "pt-BR", "pt-PT", "zh", "zh-TW", "zh-CN", "ja", "sw", "ca", "und"]
TABLE = {
    "pt-BR": ["brazil", "europe"],
    "zh-Hant": ["taiwan"],
    "zh": ["asia"],
    "roa": ["brazil", "europe"],
    "sw": ["asia"],
}
CONFIGS = [
    {"kind": "single", "teacher": "europe"},
    {"kind": "uniform"},
    {"kind": "all"},
    {"kind": "language", "table": {"roa": ["brazil", "europe"]}, "default": ["asia", "europe"], "top_k": 2},
    {"kind": "bandit", "prior": {"europe": 1.0}},
    {"kind": "bandit", "rule": "ema"},
    {
        "kind": "learned",
        "artifact": shared_router((("de", "europe"), ("zh", "asia")), tuple(m.name for m in POOL)),
        "top_k": 2,
    },
]


def config_of(**raw):
    return parse(raw, ADAPTER, "test.yaml")


def prompt(language, number=0):
    messages = (Message(role="user", content=f"Question {number}?"),)
    return Prompt(
        prompt_id=prompt_id_of(language, messages), language=language, messages=messages, source="t", source_id="1"
    )


def ask(config, *languages, pool=POOL):
    """Return who is asked in each language, best first."""
    routes = config_of(**config).build(pool).route([prompt(language) for language in languages])
    return [route.teachers if route else None for route in routes]


PROMPTS = st.lists(st.tuples(st.sampled_from(LANGUAGES), st.integers(0, 50)), unique=True, max_size=20)
EVERY = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config["kind"])


@EVERY
@settings(deadline=None)
@given(wanted=PROMPTS, data=st.data())
def test_a_route_depends_on_its_prompt_alone(config, wanted, data):
    """Order of prompts, batches and pool change nothing."""
    prompts = [prompt(language, number) for language, number in wanted]
    routes = dict(zip(prompts, config_of(**config).build(POOL).route(prompts), strict=True))
    router = config_of(**config).build(data.draw(st.permutations(POOL)))
    for one in data.draw(st.permutations(prompts)):
        assert router.route([one]) == [routes[one]]


@EVERY
@settings(deadline=None)
@given(wanted=PROMPTS, unfiltered=st.lists(st.sampled_from([m.name for m in POOL]), unique=True))
def test_no_teacher_is_sampled_in_an_undeclared_language_unless_named(config, wanted, unfiltered):
    prompts = [prompt(language, number) for language, number in wanted]
    declared = {member.name: member.languages for member in POOL}
    for one, found in zip(
        prompts, config_of(**config, unfiltered=unfiltered).build(POOL).route(prompts), strict=True
    ):
        for name in found.teachers if found else ():
            assert name in unfiltered or any(speaks(tag, one.language) for tag in declared[name])


@EVERY
def test_without_the_filter_every_language_is_sampled(config):
    assert None not in ask({**config, "language_filter": "off"}, *LANGUAGES)


@EVERY
def test_an_unknown_teacher_is_named_beside_those_allowed(config):
    with pytest.raises(
        ConfigError, match=r"router.unfiltered: 'asai' is not one of asia, brazil, europe, taiwan .*'asia'"
    ):
        config_of(**config, unfiltered=["asai"]).build(POOL)


@EVERY
def test_a_pool_must_hold_teachers_of_different_names(config):
    with pytest.raises(ConfigError, match="holds no teacher"):
        config_of(**config).build(())
    with pytest.raises(ConfigError, match="the name 'asia' is given to two teachers"):
        config_of(**config).build((*POOL, POOL[0]))


# --- single ------------------------------------------------------------------------------------------------


def test_single_samples_its_teacher_in_declared_languages():
    assert ask({"kind": "single", "teacher": "brazil"}, "pt", "pt-BR", "en-GB", "ja") == [("brazil",)] * 3 + [None]


def test_single_needs_a_teacher_of_the_pool():
    with pytest.raises(ConfigError, match=r"router.teacher: 'brasil' is not one of .* \(did you mean 'brazil'\?\)"):
        config_of(kind="single", teacher="brasil").build(POOL)


# --- uniform -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "pt"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_uniform_is_uniform(language, seed):
    """4000 draws between two: within 5 standard deviations of one half."""
    routes = config_of(kind="uniform", seed=seed).build(POOL).route([prompt(language, i) for i in range(4000)])
    counts = Counter(route.teachers for route in routes)
    assert set(counts) == {("brazil",), ("europe",)}
    assert abs(counts["brazil",] - 2000) < 5 * (4000 * 0.25) ** 0.5
    assert {route.propensity for route in routes} == {0.5}


def test_another_seed_draws_otherwise():
    prompts = [prompt("en", i) for i in range(200)]
    first, second = (config_of(kind="uniform", seed=seed).build(POOL).route(prompts) for seed in (0, 1))
    assert 60 < sum(a == b for a, b in zip(first, second, strict=True)) < 140


def test_a_teacher_that_joins_takes_only_its_share():
    prompts = [prompt("en", i) for i in range(2000)]
    before = config_of(kind="uniform").build(POOL).route(prompts)
    after = config_of(kind="uniform").build((*POOL, PoolMember(name="new", languages=("en",)))).route(prompts)
    moved = [b for a, b in zip(before, after, strict=True) if a.teachers != b.teachers]
    assert {route.teachers for route in moved} == {("new",)}
    assert abs(len(moved) - 2000 / 3) < 5 * (2000 * 2 / 9) ** 0.5


# --- reward ------------------------------------------------------------------------------------------------


def test_all_samples_every_teacher_that_supports_the_language():
    asked = ask({"kind": "all"}, "en", "pt-PT", "zh", "zh-TW", "zh-CN", "sw", "und")
    assert asked == [
        ("brazil", "europe"),
        ("brazil", "europe"),
        ("asia", "taiwan"),
        ("asia", "taiwan"),
        ("asia",),
        None,
        None,
    ]


# --- language ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "teachers"),
    [
        ("pt-BR", ("brazil", "europe")),  # the tag itself
        ("zh-TW", ("taiwan",)),  # its language and script
        ("zh-CN", ("asia",)),  # its language
        ("cmn", ("asia",)),
        ("fr-CA", ("europe",)),  # its family; brazil does not declare French
        ("pt-PT", ("brazil", "europe")),
        ("sw", ("asia",)),  # asked by name, though it declares no Swahili
        ("de", ("europe",)),  # the default
        ("ru", None),
        ("und", None),
    ],
)
def test_the_table_backs_off(language, teachers):
    config = {"kind": "language", "table": TABLE, "default": ["asia", "europe"], "top_k": 2}
    assert ask(config, language) == [teachers]


def test_a_family_whose_teachers_are_all_filtered_falls_to_the_default():
    assert ask({"kind": "language", "table": {"zle": ["asia"]}, "default": ["asia", "europe"]}, "ru", "de") == [
        None,
        ("europe",),
    ]
    assert ask({"kind": "language", "table": {"gmw": ["asia"]}, "default": ["europe"]}, "de") == [("europe",)]


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_top_k_are_chosen_best_first(top_k):
    config = {"kind": "language", "table": {"en": ["taiwan", "europe", "taiwan", "brazil"]}, "top_k": top_k}
    assert ask(config, "en") == [("taiwan", "europe", "brazil")[:top_k]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"xx": ["asia"]}, "'xx' is neither a BCP-47 tag nor a known language family"),
        ({"english": ["asia"]}, "did you mean 'en'"),
        ({"zh_TW": ["asia"]}, "did you mean 'zh-TW'"),
        ({"en": []}, "'en' names no teacher"),
        ({}, "at least 1"),
    ],
)
def test_a_bad_table_is_one_sentence(table, message):
    with pytest.raises(ConfigError, match=message):
        config_of(kind="language", table=table)


def test_a_table_names_teachers_of_the_pool():
    with pytest.raises(ConfigError, match=r"router.table.de: 'europa' is not one of .*'europe'"):
        config_of(kind="language", table={"de": ["europa"]}).build(POOL)
    with pytest.raises(ConfigError, match=r"router.default: 'x' is not one of"):
        config_of(kind="language", table={"de": ["asia"]}, default=["x"]).build(POOL)


# --- the step ----------------------------------------------------------------------------------------------

SOURCE = read_prompts(DemoPromptsConfig())


@EVERY
@settings(deadline=None)
@given(wanted=PROMPTS)
def test_every_prompt_comes_out_once_as_route_or_reject(config, wanted):
    prompts = [prompt(language, number) for language, number in wanted]
    step = route(config_of(**config), POOL, SOURCE)
    assert (step.name, step.produces, step.inputs) == (f"route-{config['kind']}", Route, {"prompts": (SOURCE,)})
    worker = step.config.build()
    inputs = Inputs({"prompts": (to_table(prompts, Prompt),)})
    output = asyncio.run(worker.run(inputs))
    asyncio.run(worker.close())
    routed = [row.prompt_id for row in from_table(output.table, Route)]
    rejects = from_table(output.rejects, Reject)
    assert sorted(routed + [row.item_id for row in rejects]) == sorted(item.item_id for item in worker.items(inputs))
    assert {(row.reason, row.step) for row in rejects} <= {("no_teacher", "")}
    assert {item.item_id: item.language for item in worker.items(inputs)} == {
        p.prompt_id: p.language for p in prompts
    }


def test_a_reject_names_the_language():
    worker = route(config_of(kind="all"), POOL, SOURCE).config.build()
    output = asyncio.run(worker.run(Inputs({"prompts": (to_table([prompt("sw")], Prompt),)})))
    assert from_table(output.rejects, Reject)[0].detail == "no teacher supports Swahili (sw)"


def test_the_fingerprint_knows_the_pool_but_not_its_order():
    steps = [route(config_of(kind="all"), pool, SOURCE) for pool in (POOL, POOL[::-1], POOL[1:])]
    identities = [step.config.identity() for step in steps]
    assert identities[0] == identities[1] != identities[2]
    assert isinstance(steps[0].config, RouteConfig)


def test_a_wrong_name_is_found_when_the_pipeline_is_built():
    with pytest.raises(ConfigError, match=r"router.teacher: 'nobody'"):
        route(config_of(kind="single", teacher="nobody"), POOL, SOURCE)
