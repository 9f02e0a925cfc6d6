"""`arbitrage teachers tune`: every setting is measured on the user's prompts, and the fastest is printed as YAML."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from arbitrage.errors import ConfigError, UserError
from arbitrage.teachers.pool import TeacherConfig, load_pool
from arbitrage.teachers.tuning import Speed, best_of, sweep, with_settings


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    engine = {"kind": "fake", "max_in_flight": 8}
    teachers = [
        {"name": "fake", "languages": ["en"], "engine": engine},
        {"name": "broken", "languages": ["en"], "engine": engine | {"failures": {"bad_request": 1.0}}},
        {"name": "vllm", "languages": ["en"], "model": "org/model", "engine": {"kind": "vllm", "max_num_seqs": 64}},
        {"name": "replay", "languages": ["en"], "engine": {"kind": "replay", "paths": [str(tmp_path / "x.jsonl")]}},
    ]
    (tmp_path / "x.jsonl").write_text("{}")
    path = tmp_path / "teachers.yaml"
    path.write_text(yaml.safe_dump({"teachers": teachers}))
    return path


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"How many are {n}?", "language": "en"}) + "\n" for n in range(6)))
    return path


def teacher(pool: Path, name: str) -> TeacherConfig:
    return load_pool(pool).select([name])[0]


@pytest.mark.process
def test_each_setting_is_measured_and_the_fastest_is_printed(arbitrage: Any, pool: Path, prompts: Path) -> None:
    told = arbitrage(
        "teachers", "tune", "fake", "--pool", pool, "--prompts", prompts, "--number", 4, "--try", "max_in_flight=2"
    )
    assert told.code == 0
    assert "as it is: " in told.out
    assert "max_in_flight: 2: " in told.out
    assert "→ " in told.out


@pytest.mark.process
def test_a_teacher_that_completes_nothing_has_no_best_settings(arbitrage: Any, pool: Path, prompts: Path) -> None:
    given = ("--pool", pool, "--prompts", prompts, "--number", 3, "--try", "max_in_flight=8", "--json")
    told = arbitrage("teachers", "tune", "broken", *given)
    assert told.code == 4
    [speed] = json.loads(told.out)["speeds"]  # 8 is what the entry says
    assert (speed["num_failures"], speed["tokens_per_s"]) == (3, 0)


def test_each_setting_is_changed_alone(pool: Path) -> None:
    tried = sweep(teacher(pool, "vllm"), {})
    assert tried[0] == {}
    assert {"max_num_seqs": 64} not in tried  # what the entry says
    assert {"max_num_seqs": 256} in tried
    assert all(len(settings) <= 1 for settings in tried)
    changed = with_settings(teacher(pool, "vllm"), {"max_num_seqs": 256})
    assert changed.identity() == teacher(pool, "vllm").identity()  # no completion changes
    assert changed.engine != teacher(pool, "vllm").engine


def test_ties_go_to_the_entry_as_it_is() -> None:
    plain, other = Speed({}, 10.0), Speed({"a": 1}, 10.0)
    assert best_of([plain, other]) is plain
    assert best_of([plain, Speed({"a": 2}, 11.0), Speed({"a": 3}, 99.0, error="no memory")]) == Speed({"a": 2}, 11.0)
    assert best_of([Speed({}, error="no")]) is None


def test_a_setting_that_cannot_be_is_named(pool: Path, arbitrage: Any, prompts: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"engine 'vllm' has no setting 'max_num_seq'.*max_num_seqs"):
        sweep(teacher(pool, "vllm"), {"max_num_seq": [1]})
    with pytest.raises(UserError, match="engine 'replay' has no settings that are tried"):
        sweep(teacher(pool, "replay"), {})
    with pytest.raises(ConfigError, match="max_num_seqs"):
        with_settings(teacher(pool, "vllm"), {"max_num_seqs": 0})
    told = arbitrage("teachers", "tune", "fake", "--pool", pool, "--prompts", prompts, "--try", "max_in_flight=many")
    assert told.code == 2
    assert "expected KEY=NUMBER,NUMBER" in told.err
    (tmp_path / "empty.jsonl").write_text(json.dumps({"prompt": " ", "language": "en"}) + "\n")
    told = arbitrage("teachers", "tune", "fake", "--pool", pool, "--prompts", tmp_path / "empty.jsonl")
    assert told.code == 3
    assert "has no prompt that can be read" in told.err
