"""Iterative preference training: the phases, who samples and who judges, alarms, and resuming after a kill."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arbitrage.cli.main import app
from arbitrage.config import parse
from arbitrage.errors import ConfigError, InterruptedRunError, UserError
from arbitrage.execution.context import RunContext
from arbitrage.execution.progress import StopFlag
from arbitrage.runs.run import open_run
from arbitrage.teachers.pool import load_pool
from arbitrage.training.monitor.curves import OVERALL, Check, read_checks, write_checks
from arbitrage.training.record import read_plan
from pipelines.online.alarm import before_hacking, hacking_alarms, joined_curves
from pipelines.online.config import OnlineConfig, load_online, shards_of
from pipelines.online.evaluation import EvalScores
from pipelines.online.record import OnlineRecord, read_online
from pipelines.online.rounds import train_online
from tests.support.paths import ROOT

SHIPPED = ROOT / "pipelines/online.yaml"
QUICK = {"max_steps": 2, "per_device_train_batch_size": 4, "save_strategy": "no", "max_length": 96}
SMALL: dict[str, Any] = {
    "name": "small",
    "data": {
        "kind": "preference",
        "name": "small-data",
        "prompts": {"kind": "demo", "split": "train", "languages": ["es", "pt"], "per_language": 10},
        "teachers": "demo:teachers.yaml",
        "pool": ["iberia", "albion"],
        "router": {"kind": "all"},
        "sampling": {"n": 2, "temperature": 1.5},
        "rewards": [{"kind": "classifier", "name": "referee", "model": "demo:referee", "threads": 1}],
        "pairs": {"min_gap": 0.1},
        "num_shards": 1,
    },
    "student": {
        "name": "student",
        "model": "demo:commons",
        "engine": {"kind": "transformers", "threads": 1},
        "languages": ["es", "pt"],
        "precision": "fp32",
        "sampling": {"max_tokens": 16},
    },
    "sft": {"arguments": {**QUICK, "learning_rate": 1e-4}},
    "dpo": {"arguments": {**QUICK, "learning_rate": 1e-4}},
    "rounds": {
        "number": 1,
        "sampling": {"n": 2, "temperature": 1.5},
        "min_gap": 0.1,
        "arguments": {**QUICK, "learning_rate": 1e-4},
    },
    "monitor": {"every": 1, "per_language": 2, "max_new_tokens": 8, "held_out": 0.3, "early_stop": False},
    "evaluation": {
        "prompts": {"kind": "demo", "split": "heldout", "languages": ["es", "pt"], "per_language": 6},
        "judges": [{"kind": "exact"}],
        "early_stop": False,
    },
    "seed": 5,
}


def config_of(changes: Mapping[str, Any] | None = None) -> OnlineConfig:
    """Return the small config with keys like `data.num_shards` changed."""
    raw = json.loads(json.dumps(SMALL))
    for key, value in (changes or {}).items():
        *parents, last = key.split(".")
        node = raw
        for parent in parents:
            node = node[parent]
        node[last] = value
    return parse(raw, OnlineConfig, "online.yaml")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The order of float sums depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("online") / "out"


DIE_BEFORE_THE_ROUND = """
import os, signal, sys
from pathlib import Path
import torch
from pipelines.online.config import OnlineConfig
from pipelines.online.rounds import train_online
from arbitrage.execution.context import RunContext

torch.set_num_threads(1)

def die(sentence):
    if sentence.startswith("round-1"):
        os.kill(os.getpid(), signal.SIGKILL)

train_online(OnlineConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]), RunContext(note=die))
"""


@pytest.fixture(scope="module")
def killed(out: Path) -> dict[str, int]:
    """Kill a training between two rounds; return when each student was written, in nanoseconds."""
    found = subprocess.run([sys.executable, "-c", DIE_BEFORE_THE_ROUND, json.dumps(SMALL), str(out)], check=False)
    assert found.returncode == -signal.SIGKILL
    assert not (out / "round-1").exists()
    return {name: weights(out, name).stat().st_mtime_ns for name in ("sft", "dpo")}


@pytest.fixture(scope="module")
def record(out: Path, killed: dict[str, int]) -> OnlineRecord:
    return train_online(config_of(), out)


def weights(out: Path, stage: str) -> Path:
    return out / stage / "model/model.safetensors"


def pairs(run: Path) -> list[dict[str, Any]]:
    return [row for table in open_run(run).tables("select-preference") for row in table.to_pylist()]


@pytest.mark.trainer
class TestTraining:
    def test_a_killed_training_resumes(self, out: Path, killed: dict[str, int], record: OnlineRecord) -> None:
        assert [stage.name for stage in record.stages] == ["sft", "dpo", "round-1"]
        assert {name: weights(out, name).stat().st_mtime_ns for name in killed} == killed
        assert read_online(out / "online.json") == record

    def test_each_phase_begins_with_the_student_of_the_one_before(self, out: Path, record: OnlineRecord) -> None:
        starts = [plan.model for stage in record.stages if (plan := read_plan(out / stage.name))]
        assert starts == ["demo:commons", str(out / "sft/model"), str(out / "dpo/model")]
        assert len({weights(out, stage.name).read_bytes() for stage in record.stages}) == 3

    def test_a_round_sets_the_student_that_stands_against_the_pool(self, out: Path, record: OnlineRecord) -> None:
        offline, online = pairs(out / "data"), pairs(out / "round-1/pairs")
        assert {pair["iteration"] for pair in offline} == {0}
        assert {pair["iteration"] for pair in online} == {1}
        for pair in online:
            assert [pair["chosen_teacher"], pair["rejected_teacher"]].count("student") == 1
        [entry] = [t for t in load_pool(out / "round-1/teachers.yaml").teachers if t.name == "student"]
        assert entry.model == str(out / "dpo/model")

    def test_the_exported_rows_say_the_round(self, out: Path, record: OnlineRecord) -> None:
        rows = pq.read_table(out / "round-1/data/0/preference/data/train")
        assert set(rows["iteration"].to_pylist()) == {1}
        assert rows.num_rows == record.stages[-1].num_rows == len(pairs(out / "round-1/pairs"))

    def test_students_are_evaluated_by_the_reward_and_by_the_unseen_judge(self, record: OnlineRecord) -> None:
        for stage in record.stages:
            assert stage.scores is not None
            assert set(stage.scores) == {"referee", "exact"}
            assert stage.scores["exact"].num_prompts == 12
        first = record.stages[0].scores
        assert first is not None
        assert {score.gain for score in first.values()} == {0.0}

    def test_students_are_teachers_of_a_pool_file(self, out: Path, record: OnlineRecord) -> None:
        students = load_pool(out / "teachers.yaml").teachers
        assert {t.name: t.model for t in students} == {f"student-{s.name}": s.model for s in record.stages}

    def test_the_curves_go_on_from_phase_to_phase(self, out: Path, record: OnlineRecord) -> None:
        steps = [check.step for check in read_checks(out / "monitor.jsonl") if check.language == OVERALL]
        assert steps == [0, 1, 2, 3, 4]
        assert "<svg" in (out / "online.svg").read_text()

    def test_an_alarm_of_the_monitor_ends_the_rounds(self, out: Path, record: OnlineRecord, tmp_path: Path) -> None:
        changes = {
            "data_run": str(out / "data"),
            "sft": None,
            "dpo.arguments.learning_rate": 0.1,
            "monitor.early_stop": True,
            "monitor.alarms": {"mass_drop": 0.01},
        }
        spoilt = train_online(config_of(changes), tmp_path)
        assert [stage.name for stage in spoilt.stages] == ["start", "dpo"]
        assert spoilt.ended is not None
        assert "mass fell" in spoilt.ended
        assert spoilt.student == "start"

    def test_the_stop_flag_interrupts_before_the_next_stage(self, out: Path, record: OnlineRecord) -> None:
        stop = StopFlag()
        stop.is_requested = True
        with pytest.raises(InterruptedRunError, match="before dpo"):
            train_online(config_of(), out, RunContext(stop=stop))


REFEREE = {"kind": "classifier", "name": "other-name", "model": "demo:referee"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"student.engine": {"kind": "fake"}}, "student.engine: 'fake' loads no weights"),
        ({"dpo": None, "rounds.number": 0}, "there is no preference training"),
        ({"rounds.number": 2}, "2 rounds cannot share 1 shards; raise data.num_shards"),
        ({"data.sft": None}, "sft: `data` selects no SFT rows"),
        (
            {"evaluation.judges": [{"kind": "reward", "reward": REFEREE}]},
            "not unseen by the training.*reward 'referee'",
        ),
        ({"data.checks": [{"kind": "exact", "filter": True}]}, "not unseen by the training.*check 'exact'"),
        ({"rounds.numbr": 1}, "rounds.numbr: is not a known key"),
        ({"evaluation.judges": []}, "evaluation.judges"),
    ],
)
def test_configs_that_cannot_work_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        config_of(changes)


def test_the_student_is_no_teacher_of_the_pool(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"student\.name: 'iberia' is already a teacher"):
        train_online(config_of({"student.name": "iberia"}), tmp_path)
    with pytest.raises(UserError, match=r"no teacher is named 'iberla'.*did you mean 'iberia'"):
        train_online(config_of({"rounds.opponents": ["iberla"]}), tmp_path)


def test_arguments_are_checked_before_anything_is_sampled(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rounds.arguments: learning_rat: DPOConfig has no such"):
        train_online(config_of({"rounds.arguments": {"learning_rat": 1}}), tmp_path)
    with pytest.raises(ConfigError, match=r"sft: arguments.output_dir cannot be set"):
        train_online(config_of({"sft.arguments": {"output_dir": "x"}}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_shipped_file_is_valid_and_data_may_be_a_file(tmp_path: Path) -> None:
    shipped = load_online(SHIPPED, ["rounds.number=2", "data.num_shards=4"])
    assert (shipped.rounds.number, shipped.data.num_shards) == (2, 4)
    other = load_online(SHIPPED, [f"data={SHIPPED.with_name('quickstart.yaml')}", "data.num_shards=5"])
    assert (other.data.name, other.data.num_shards) == ("quickstart", 5)
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load_online(tmp_path / "nowhere.yaml")


def test_the_command_is_there() -> None:
    assert "online" in {command.callback.__name__ for command in app.registered_commands if command.callback}


@given(st.integers(1, 12), st.integers(1, 12))
def test_rounds_share_all_prompts_and_none_twice(number: int, more: int) -> None:
    config = config_of({"rounds.number": number, "data.num_shards": number + more - 1})
    shards = [shard for iteration in range(1, number + 1) for shard in shards_of(config, iteration)]
    assert shards == list(range(number + more - 1))
    assert all(len(shards_of(config, iteration)) for iteration in range(1, number + 1))


def scores(values: np.ndarray, num_clusters: int = 300) -> EvalScores:
    prompts = [f"p{i}" for i in range(len(values))]
    clusters = {prompt: f"c{i % num_clusters}" for i, prompt in enumerate(prompts)}
    return EvalScores(dict(zip(prompts, values.tolist(), strict=True)), clusters)


def sittings(reward_gain: float, judge_gain: float, num_clusters: int = 300) -> dict[str, dict[str, EvalScores]]:
    """Return three students, the last of whom gains so much against the second, on 300 prompts with noise."""
    random = np.random.default_rng(3)
    base = random.normal(size=(2, 300))
    found: dict[str, dict[str, EvalScores]] = {}
    for stage, up, by in (("sft", 0.0, 0.0), ("dpo", 0.3, 0.3), ("round-1", 0.3 + reward_gain, 0.3 + judge_gain)):
        noise = random.normal(scale=0.2, size=(2, 300))
        shifted = base + noise + np.array([[up], [by]])
        found[stage] = {"reward": scores(shifted[0], num_clusters), "judge": scores(shifted[1], num_clusters)}
    return found


class TestRewardHacking:
    def test_it_sounds_where_the_reward_rises_and_the_judge_falls(self) -> None:
        [alarm] = hacking_alarms(sittings(0.2, -0.2), ["reward"], ["judge"])
        assert (alarm.stage, alarm.since) == ("round-1", "dpo")
        assert alarm.reward_gain > 0.1
        assert alarm.judge_gain < -0.1
        assert "since dpo the reward 'reward' rose by 0." in alarm.sentence

    @pytest.mark.parametrize(("reward_gain", "judge_gain"), [(0.2, 0.2), (-0.2, -0.2), (0.0, 0.0), (0.2, 0.0)])
    def test_it_keeps_quiet_elsewhere(self, reward_gain: float, judge_gain: float) -> None:
        assert hacking_alarms(sittings(reward_gain, judge_gain), ["reward"], ["judge"]) == []

    def test_prompts_that_are_one_in_many_wordings_count_once(self) -> None:
        assert hacking_alarms(sittings(0.2, -0.2, num_clusters=1), ["reward"], ["judge"]) == []

    def test_a_slow_fall_is_seen_from_the_start(self) -> None:
        found = sittings(0.2, -0.6)
        alarms = hacking_alarms(found, ["reward"], ["judge"])
        assert {alarm.since for alarm in alarms} == {"sft", "dpo"}
        assert before_hacking(list(found), "dpo", alarms) == "sft"
        assert before_hacking(list(found), "dpo", []) == "dpo"


def test_phases_join_without_the_check_they_share(tmp_path: Path) -> None:
    for phase, steps in (("a", (0, 5, 8)), ("b", (0, 5))):
        checks = [Check(step, OVERALL, 1, -1.0, -2.0, 1.0, 0.5, 0.9, None, 0) for step in steps]
        write_checks(tmp_path / phase / "monitor.jsonl", checks)
    assert [check.step for check in joined_curves([tmp_path / "a", tmp_path / "b"])] == [0, 5, 8, 13]
