"""Spellings that configs had before still load, say what they are called now, and keep what they meant."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from arbitrage.config import Raw, parse, parse_both
from arbitrage.errors import ConfigError
from arbitrage.judging import JudgeConfig
from arbitrage.metrics import MetricConfig
from arbitrage.rewards import CheckConfig
from arbitrage.training.monitor.settings import MonitorConfig
from pipelines.loading import load_pipeline
from routers import RouterConfig
from routers.choice import ChoiceConfig
from routers.learning.auto import AutoLearner
from tests.support.pipelines import write_pipeline

OLD: Raw = {
    "router": {"kind": "reward", "gate": "off", "ungated": ["bee"]},
    "compare": [{"kind": "uniform", "gate": "declared"}],
    "checks": [{"kind": "emptiness", "gate": False}, {"kind": "fidelity", "gate": True, "minimum": 0.5}],
    "ensemble": {"weights": {"taste": 1.0, "fidelity": 0.5}, "gates": ["emptiness", "fidelity"]},
}
NEW: Raw = {
    "router": {"kind": "all", "language_filter": "off", "unfiltered": ["bee"]},
    "compare": [{"kind": "uniform", "language_filter": "declared"}],
    "checks": [
        {"kind": "emptiness", "filter": False},
        {"kind": "language_confusion", "name": "fidelity", "filter": True, "minimum": 0.5},
    ],
    "ensemble": {"weights": {"taste": 1.0, "fidelity": 0.5}, "filters": ["emptiness", "fidelity"]},
}


def noted(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_pipeline_of_old_spellings_is_the_same_pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    old = load_pipeline(write_pipeline(tmp_path, **OLD))
    notes = noted(capsys)
    new = load_pipeline(write_pipeline(tmp_path, **NEW))
    assert not noted(capsys)
    assert old.config == new.config
    assert old.raw == new.raw  # what a run keeps of its config has the new words
    assert {key: old.raw[key] for key in NEW} == NEW
    assert any("router.kind: 'reward' is now called 'all'" in note for note in notes)


def test_each_old_spelling_is_noted_once(capsys: pytest.CaptureFixture[str]):
    for _ in range(2):
        parse({"kind": "emptiness", "gate": False}, TypeAdapter(CheckConfig), "once.yaml")
    assert noted(capsys) == ["note: once.yaml: gate: 'gate' is now called 'filter'; the old word still works"]


@pytest.mark.parametrize(
    ("union", "old", "new"),
    [
        (RouterConfig, {"kind": "reward"}, {"kind": "all"}),
        (RouterConfig, {"kind": "single", "teacher": "a", "gate": "off"}, {"language_filter": "off"}),
        (CheckConfig, {"kind": "fidelity"}, {"kind": "language_confusion", "name": "fidelity"}),
        (CheckConfig, {"kind": "fidelity", "name": "mine"}, {"kind": "language_confusion", "name": "mine"}),
        (CheckConfig, {"kind": "truncation", "gate": False}, {"filter": False}),
        (MetricConfig, {"kind": "fidelity"}, {"kind": "language_confusion", "name": "fidelity"}),
    ],
)
def test_an_old_spelling_reads_as_the_new_one(union: Any, old: Raw, new: Raw):
    config, raw = parse_both(old, TypeAdapter(union), "f.yaml")
    assert (
        raw == {key: value for key, value in old.items() if key not in ("kind", "gate")} | {"kind": old["kind"]} | new
    )
    assert config == parse(raw, TypeAdapter(union), "f.yaml")


@pytest.mark.parametrize(
    ("config", "old", "new"),
    [
        (ChoiceConfig, {"ask_more_below": 0.1, "max_asked": 2}, {"sample_more_below": 0.1, "max_teachers": 2}),
        (AutoLearner, {"heeds_judge": False}, {"use_judge": False}),
        (MonitorConfig, {"probe": ["a"], "fidelity_minimum": 0.5}, {"probe": ["a"], "language_minimum": 0.5}),
    ],
)
def test_old_keys_of_nested_configs_still_load(config: Any, old: Raw, new: Raw):
    parsed, raw = parse_both(old, TypeAdapter(config), "f.yaml")
    assert raw == new
    assert parsed == config.model_validate(new)


def test_a_word_that_is_old_in_one_place_stays_valid_in_another(capsys: pytest.CaptureFixture[str]):
    judge = {"kind": "reward", "reward": {"kind": "fake"}}
    assert parse_both(judge, TypeAdapter(JudgeConfig), "judge.yaml")[1] == judge
    assert not noted(capsys)


@pytest.mark.parametrize(
    ("union", "raw", "sentence"),
    [
        (CheckConfig, {"kind": "emptiness", "gate": 0.5}, "f.yaml: filter: input should be a valid boolean"),
        (CheckConfig, {"kind": "emptiness", "gate": True, "filter": True}, "f.yaml: gate: is not a known key"),
        (CheckConfig, {"kind": "emptiness", "ungated": ["a"]}, "f.yaml: ungated: is not a known key"),
        (RouterConfig, {"kind": "fidelity"}, "f.yaml: kind: 'fidelity' is not one of"),
        (RouterConfig, {"kind": "reward", "gates": "off"}, "f.yaml: gates: is not a known key"),
    ],
)
def test_what_is_wrong_besides_is_said(union: Any, raw: Raw, sentence: str):
    with pytest.raises(ConfigError, match="^" + sentence):
        parse(raw, TypeAdapter(union), "f.yaml")


def test_an_override_may_use_old_words(tmp_path: Path):
    path = write_pipeline(tmp_path)
    loaded = load_pipeline(path, ["router.kind=reward", "router.gate=off", "checks.2.kind=fidelity"])
    assert loaded.raw["router"] == {"kind": "all", "language_filter": "off"}
    assert loaded.raw["checks"][2] == {"kind": "language_confusion", "name": "fidelity"}
