"""Training on the command line: once, watched, refused, interrupted."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.trainer
def test_a_student_is_trained_once_and_watched(arbitrage, finished: Path) -> None:
    out = Path("student")
    quick = ["--set", "max_steps=2", "--set", "per_device_train_batch_size=2", "--set", "use_cpu=true"]
    command = ["train", "dpo", finished, "--model", "demo:novice", "--out", out, *quick]
    watched = [*command, "--monitor", finished, "--monitor-set", "max_new_tokens=2"]
    told = arbitrage(*watched)
    assert told.code == 0, told.err
    assert f"model: {out.absolute()}/model" in told.out
    assert "step 2 of 2: " in told.err
    record = json.loads((out / "training.json").read_text())
    assert record["plan"]["num_rows"] == sum(record["plan"]["by_language"].values()) > 0
    again = json.loads(arbitrage(*watched, "--json").out)
    assert (again["is_new"], again["num_steps"]) == (False, 2)
    other = arbitrage(*command, "--set", "beta=0.5")
    assert (other.code, "arguments.beta: not set there, 0.5 wanted" in other.err) == (2, True)

    curves = (out / "monitor.jsonl").read_text().splitlines()
    later = arbitrage("train", "monitor", out, "--probe", finished, "--set", "max_new_tokens=2", "--json")
    assert later.code == 0, later.err
    assert (out / "monitor.jsonl").read_text().splitlines() == curves  # what a resumed training relies on
    assert (out / "monitor/monitor.jsonl").exists()
    checks = json.loads(later.out)["checks"]
    assert {check["step"] for check in checks} == {json.loads(line)["step"] for line in curves} == {0, 2}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["sft"], 2, "train sft: needs --model, DATA, --out"),
        (["sft", "{run}", "--model", "demo:novice", "--out", "o", "--set", "beta=1"], 2, "SFTConfig has no such"),
        (["sft", "{run}", "--model", "demo:novice", "--out", "o", "--set", "lora"], 2, "expected key=value"),
        (["sft", "{run}", "--model", "demo:nobody", "--out", "o"], 2, "no model 'nobody' in the demo world"),
        (["sft", "nowhere", "--model", "demo:novice", "--out", "o"], 2, "nowhere: no such file or directory"),
        (
            ["dpo", "{run}", "--model", "demo:novice", "--out", "o", "--mix", "en=often"],
            2,
            "a language and its weight",
        ),
        (["dpo", "{run}", "--model", "demo:novice", "--out", "o", "--mix", "equl"], 2, "mix.weights: is not one of"),
        (
            ["dpo", "{run}", "--model", "demo:novice", "--out", "o", "--mix", "cy=1"],
            3,
            "no rows in cy; languages of",
        ),
        (["reward", "{run}", "--model", "demo:novice", "--out", "o", "--monitor", "{run}"], 2, "writes nothing"),
        (["reward", "{run}", "--model", "demo:novice", "--out", "o", "--lora-set", "rank=4"], 2, "lora: rank: "),
        (["monitor", "demo:novice", "--probe", "{run}"], 2, "is no directory here; name one by --out"),
    ],
)
def test_what_training_refuses(arbitrage, finished: Path, arguments: list[str], code: int, said: str) -> None:
    told = arbitrage("train", *(str(finished) if argument == "{run}" else argument for argument in arguments))
    assert (told.code, said in told.err) == (code, True), told.err


@pytest.mark.trainer
def test_a_signal_leaves_a_checkpoint_to_go_on_from(finished: Path, tmp_path: Path) -> None:
    sets = [
        "max_steps=100000",
        "logging_steps=1",
        "save_strategy=no",
        "per_device_train_batch_size=1",
        "use_cpu=true",
    ]
    command = [sys.executable, "-m", "arbitrage.cli.main", "train", "sft", str(finished), "--model", "demo:novice"]
    command += ["--out", str(tmp_path / "out"), *(word for item in sets for word in ("--set", item))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stderr
        for line in process.stderr:
            if "step 2 of" in line:
                process.send_signal(signal.SIGTERM)
                break
        said = process.stderr.read()
    assert process.returncode == 130, said
    assert "rerun the same command to resume" in said
    [checkpoint] = (tmp_path / "out").glob("checkpoint-*")
    assert f"at step {checkpoint.name.removeprefix('checkpoint-')} of" in said
