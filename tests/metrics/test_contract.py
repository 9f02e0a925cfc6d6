"""Every metric: a value in its range or a reason of the closed set, for any text; facts stated; order kept."""

from math import isfinite
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.metrics import MetricConfig, SetMetricConfig
from arbitrage.metrics.classifier import ClassifierMetricConfig
from arbitrage.metrics.defaults import CHEAP_METRICS, CHEAP_SET_METRICS
from arbitrage.metrics.formatting import FormattingConfig
from arbitrage.metrics.likelihood import LikelihoodConfig
from arbitrage.metrics.mtld import mtld
from arbitrage.metrics.readability import FormulaName, ReadabilityConfig
from arbitrage.metrics.tokens import TokensConfig
from arbitrage.text.measured import Reason
from arbitrage.text.text import Text

MODELS: tuple[Any, ...] = (
    ClassifierMetricConfig(model="demo:referee", label=0, scale="sigmoid"),
    LikelihoodConfig(model="demo:commons"),
    LikelihoodConfig(model="demo:commons", per="token"),
    TokensConfig(model="demo:commons"),
)
CHEAP: tuple[Any, ...] = (
    *CHEAP_METRICS,
    *(ReadabilityConfig(formula=name) for name in get_args(FormulaName)),
    *(FormattingConfig(aspect=aspect) for aspect in ("headings", "tables", "bold")),
)
LANGUAGES = [
    "en",
    "de",
    "fr",
    "it",
    "es",
    "ru",
    "zh",
    "ja",
    "th",
    "ar",
    "hi",
    "ko",
    "km",
    "bo",
    "und",
    "pt-BR",
    "mas",
]

texts = st.text() | st.lists(
    st.sampled_from(
        ["the", "Кот", "我爱北京", "ผมรัก", "हूँ।", "مرحبا", "- a", "```\n", "**b**", "\n", ". ", "👍🏽", "\ud800"]
    )
).map(" ".join)


def test_every_kind_is_tested_here() -> None:
    kinds = {config.kind for config in (*CHEAP, *MODELS)}
    assert kinds == {member.model_fields["kind"].default for member in get_args(get_args(MetricConfig)[0])}
    set_kinds = {config.kind for config in CHEAP_SET_METRICS}
    assert set_kinds == {member.model_fields["kind"].default for member in get_args(get_args(SetMetricConfig)[0])}


@given(texts, st.sampled_from(LANGUAGES))
@settings(max_examples=60)
def test_any_text_has_a_value_in_range_or_a_known_reason(text: str, language: str) -> None:
    shared = Text(text, language)
    for config in CHEAP:
        _check(config, config.build().measure([shared]))


@pytest.mark.parametrize("config", MODELS, ids=lambda config: config.metric_name)
@pytest.mark.model
def test_models_keep_order_and_range(config: Any) -> None:
    metric = config.build()
    long = "What is the colour of blood? " * 40
    rows = [Text(t, "en") for t in ("What is the colour of blood?", "", "ok", long, "Красный", "   ")]
    together = metric.measure(rows)
    _check(config, together)
    for row, found in zip(rows, together, strict=True):
        [alone] = metric.measure([row])
        assert alone.reason == found.reason
        assert alone.value == (found.value if found.value is None else pytest.approx(found.value, abs=1e-4))


@pytest.mark.parametrize(
    "config",
    [*CHEAP, *(pytest.param(c, marks=pytest.mark.model) for c in MODELS), *CHEAP_SET_METRICS],
    ids=lambda config: config.metric_name,
)
def test_facts_are_stated(config: Any) -> None:
    facts = config.facts
    assert all((facts.title, facts.unit, facts.source, facts.defined, facts.range))
    assert config.build().name == config.metric_name


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1))
def test_mtld_does_not_depend_on_direction_or_names(tokens: list[str]) -> None:
    assert mtld(tokens) == mtld(tokens[::-1])
    assert mtld(tokens) == mtld([token * 2 for token in tokens])


def _check(config: Any, found: list[Any]) -> None:
    low, high = config.facts.low, config.facts.high
    for measured in found:
        assert (measured.value is None) != (measured.reason is None), config.metric_name
        if measured.value is None:
            assert measured.reason in get_args(Reason)
        else:
            assert isfinite(measured.value), config.metric_name
            assert low is None or measured.value >= low - 1e-9, (config.metric_name, measured)
            assert high is None or measured.value <= high + 1e-9, (config.metric_name, measured)
