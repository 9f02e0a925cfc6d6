"""Metrics of reasoning: named apart, in the language they are about, null without reasoning; others as before."""

import asyncio
import json

import pytest
from pydantic import TypeAdapter, ValidationError

from arbitrage.contracts.workers import Inputs
from arbitrage.metrics import MetricConfig
from arbitrage.metrics.code_switch import CodeSwitchConfig
from arbitrage.metrics.defaults import CHEAP_METRICS
from arbitrage.metrics.language_confusion import LanguageConfusionMetricConfig
from arbitrage.metrics.length import LengthConfig
from arbitrage.metrics.readability import ReadabilityConfig
from arbitrage.metrics.repetition import RepetitionMetricConfig
from arbitrage.metrics.script_share import ScriptShareConfig
from arbitrage.records import Candidate, FinishReason, Measurement, Message, Prompt
from arbitrage.steering.measure import MeasureStep
from arbitrage.tables import from_table, to_table
from arbitrage.text.measured import Measured
from arbitrage.text.text import Text

ENGLISH = (
    "The user wants to know the capital of Kenya. I remember that it is Nairobi. The city lies south of the equator. "
    "I should answer in German, because the question was asked in German."
)
GERMAN = "Nairobi ist die Hauptstadt von Kenia und liegt südlich des Äquators."

ADAPTER: TypeAdapter[MetricConfig] = TypeAdapter(MetricConfig)


def _read(**raw: object) -> MetricConfig:
    return ADAPTER.validate_json(json.dumps(raw))


@pytest.mark.parametrize("config", CHEAP_METRICS, ids=lambda config: config.metric_name)
def test_every_metric_measures_reasoning_under_a_name_of_its_own(config) -> None:
    of_reasoning = config.model_copy(update={"of": "reasoning"})
    assert of_reasoning.metric_name == f"reasoning_{config.metric_name}" == of_reasoning.build().name
    assert of_reasoning.identity() != config.identity()
    assert "of reasoning" in of_reasoning.stated.title
    text = Text(GERMAN, "de", reasoning=ENGLISH)
    bare, blank = Text(GERMAN, "de"), Text(GERMAN, "de", reasoning=" \n")
    assert config.build().measure([text]) == config.build().measure([bare])
    alone, nothing, empty = of_reasoning.build().measure([text, bare, blank])
    assert nothing == empty == Measured(reason="no_reasoning")
    assert alone.reason != "no_reasoning"


def test_an_identity_without_reasoning_is_what_it_always_was() -> None:
    assert LengthConfig().identity() == {"name": None, "kind": "length", "unit": "words"}
    assert RepetitionMetricConfig(unit="lines").identity() == {"name": None, "kind": "repetition", "of": "lines"}
    assert "of" not in ReadabilityConfig(formula="lix").identity()


def test_lengths_are_of_the_part_that_is_asked_for() -> None:
    text = Text("Zwei Wörter", "de", reasoning="one two three four")
    assert LengthConfig().build().measure([text]) == [Measured(2.0)]
    assert LengthConfig(of="reasoning").build().measure([text]) == [Measured(4.0)]


def test_reasoning_is_measured_in_its_own_language_unless_it_is_compared_with_the_prompts() -> None:
    text = Text(GERMAN, "de", reasoning=ENGLISH)
    for config in (LanguageConfusionMetricConfig(of="reasoning"), CodeSwitchConfig(of="reasoning")):
        assert config.build().measure([text]) == [Measured(0.0)]
    [same] = LanguageConfusionMetricConfig(of="reasoning").build().measure([Text(GERMAN, "de", reasoning=GERMAN)])
    assert same == Measured(1.0)
    arabic = Text("نيروبي هي عاصمة كينيا", "ar", reasoning=ENGLISH)
    assert ScriptShareConfig(of="reasoning").build().measure([arabic]) == [Measured(0.0)]
    flesch = ReadabilityConfig(formula="flesch", of="reasoning").build()
    assert flesch.measure([arabic]) == flesch.measure([text]) == flesch.measure([Text("x", "en", reasoning=ENGLISH)])


def test_the_old_word_for_the_unit_of_repetition_is_read_with_a_note(capsys) -> None:
    assert _read(kind="repetition", of="lines") == RepetitionMetricConfig(unit="lines")
    assert "'of' is now called 'unit'" in capsys.readouterr().err
    both = _read(kind="repetition", unit="lines", of="reasoning")
    assert both.metric_name == "reasoning_repeated_lines"
    with pytest.raises(ValidationError, match="reasoning"):
        _read(kind="repetition", unit="lines", of="lines")


@pytest.mark.parametrize("of", ["text", "thoughts", None, ""])
def test_other_parts_are_refused(of) -> None:
    with pytest.raises(ValidationError, match="'response' or 'reasoning'"):
        _read(kind="length", of=of)


def _candidate(name: str, text: str, reasoning: str | None, finish: FinishReason = FinishReason.STOP) -> Candidate:
    return Candidate(
        candidate_id=name,
        prompt_id="p",
        teacher="t",
        revision="r",
        sample_index=0,
        seed=0,
        text=text,
        reasoning=reasoning,
        finish_reason=finish,
    )


def test_the_step_measures_both_parts_of_candidates() -> None:
    prompt = Prompt(
        prompt_id="p", language="en", messages=(Message(role="user", content="?"),), source="s", source_id="1"
    )
    drafts = [_candidate("a", "one two", "three four five"), _candidate("b", "one", None)]
    inputs = Inputs({"prompts": (to_table([prompt], Prompt),), "candidates": (to_table(drafts, Candidate),)})
    worker = MeasureStep(metrics=(LengthConfig(), LengthConfig(of="reasoning"))).build()
    rows = from_table(asyncio.run(worker.run(inputs)).table, Measurement)
    assert [(r.candidate_id, r.metric, r.value, r.reason) for r in rows] == [
        ("a", "words", 2.0, None),
        ("a", "reasoning_words", 3.0, None),
        ("b", "words", 1.0, None),
        ("b", "reasoning_words", None, "no_reasoning"),
    ]
