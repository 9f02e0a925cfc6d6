"""The command line as a user meets it: what it prints, what it refuses and with which exit code."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.pipelines import write_pipeline, write_pool
from tests.support.waiting import WITHIN_S, wait_until


def test_a_run_leaves_everything_where_it_is_promised(finished: Path) -> None:
    for path in ["manifest.json", "run.json", "report.html", "export/sft/README.md", "export/preference/README.md"]:
        assert (finished / path).exists(), path


def test_status_as_table_and_json(finished: Path, arbitrage) -> None:
    told = arbitrage("status", finished)
    assert told.code == 0
    assert "finished" in told.out
    assert "generate cow" in told.out
    found = json.loads(arbitrage("status", finished, "--json").out)
    assert found["finished"] is True
    assert {s["name"]: s["rows"] for s in found["steps"]}["generate-cow"] == 96


def test_a_run_is_found_by_its_name(finished: Path, arbitrage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.parents[1])
    assert arbitrage("status", "small").code == 0
    told = arbitrage("status", "smal")
    assert told.code == 2
    assert "runs here: small" in told.err


def test_show_reads_rows_of_a_language(finished: Path, arbitrage) -> None:
    told = arbitrage("show", finished, "preference", "--language", "ar", "-n", 1)
    assert "chosen · assistant ←: \u2068" in told.out
    rows = [
        json.loads(line)
        for line in arbitrage("show", finished, "sft", "-l", "hi", "-n", 3, "--json").out.splitlines()
    ]
    assert len(rows) == 3
    assert {row["language"] for row in rows} == {"hi"}
    candidates = arbitrage("show", finished, "generate-ant", "-l", "th", "-n", 2, "--json").out.splitlines()
    assert len(candidates) == 2


def test_show_names_the_steps_there_are(finished: Path, arbitrage) -> None:
    told = arbitrage("show", finished, "generate-dog")
    assert told.code == 2
    assert "generate-cow" in told.err


@pytest.mark.parametrize("trainer", ["trl", "axolotl", "llamafactory", "open-instruct", "nemo-rl"])
def test_export_for_each_trainer(finished: Path, arbitrage, tmp_path: Path, trainer: str) -> None:
    told = arbitrage("export", finished, "--for", trainer, "--out", tmp_path / "out", "--json")
    assert told.code == 0, told.err
    for result in json.loads(told.out):
        assert (Path(result["path"]) / "README.md").exists()
        assert result["num_rows"] > 0


def test_export_refuses_an_unknown_trainer(finished: Path, arbitrage) -> None:
    told = arbitrage("export", finished, "--for", "torchtune")
    assert told.code == 2
    assert "nemo-rl" in told.err


def test_report_is_written_again(finished: Path, arbitrage) -> None:
    (finished / "report.html").unlink()
    assert arbitrage("report", finished).out.strip().endswith("report.html")
    assert (finished / "report.html").stat().st_size > 10_000


def test_plan_counts_before_anything_starts(arbitrage, tmp_path: Path) -> None:
    told = arbitrage("plan", write_pipeline(tmp_path), "--json")
    found = json.loads(told.out)
    assert found["prompts"] == {"ar": 8, "de": 8, "en": 8, "hi": 8, "ru": 8, "th": 8}
    assert {(line["teacher"], line["language"]): line["generations"] for line in found["generation"]}[
        "cow", "th"
    ] == 16
    assert not (tmp_path / "runs").exists()
    table = arbitrage("plan", tmp_path / "pipeline.yaml", "--shards", 1).out
    assert "generate cow" in table
    assert "a pilot" in table


def test_plan_after_a_run_has_nothing_to_do(finished: Path, arbitrage) -> None:
    pipeline = finished.parents[1] / "pipeline.yaml"
    found = json.loads(arbitrage("plan", pipeline, "--run-dir", finished, "--json").out)
    assert all(step["missing"] == 0 for step in found["steps"])
    changed = arbitrage("plan", pipeline, "--run-dir", finished, "--set", "pairs.min_gap=1.5", "--json")
    assert {s["name"] for s in json.loads(changed.out)["steps"] if s["missing"]} == {"select-preference"}


@pytest.mark.parametrize("what", ["pipeline", "teachers"])
def test_schema_is_json_schema(arbitrage, what: str) -> None:
    assert "$defs" in json.loads(arbitrage("schema", what).out)


def test_schema_of_a_record(arbitrage) -> None:
    assert "finish_reason: string not null" in arbitrage("schema", "Candidate").out
    assert arbitrage("schema", "Candidat").code == 2


def test_teachers_check(arbitrage, tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool.yaml", ant={})
    assert arbitrage("teachers", "check", "--pool", pool).code == 0
    told = arbitrage("teachers", "check", "dog", "--pool", pool)
    assert told.code == 2
    assert "the pool has ant" in told.err


def _with(tmp_path: Path, **changes: object) -> Path:
    return write_pipeline(tmp_path, **changes)


def _prompts(tmp_path: Path, content: bytes) -> Path:
    path = write_pipeline(tmp_path)
    (tmp_path / "prompts.jsonl").write_bytes(content)
    return path


REFUSED = {
    "no such pipeline": (lambda d: d / "gone.yaml", [], 2, "gone.yaml: cannot be read: No such file"),
    "empty prompts": (lambda d: _prompts(d, b""), [], 3, "prompts.jsonl"),
    "missing column": (lambda d: _prompts(d, b'{"text": "hi"}\n'), [], 2, "prompt"),
    "all rows broken": (lambda d: _prompts(d, b"not JSON\n" * 5), [], 3, "broken_json 5"),
    "unknown teacher": (lambda d: _with(d, pool=["ant", "dog"]), [], 2, "no teacher is named 'dog'"),
    "unknown router": (lambda d: _with(d, router={"kind": "rewad"}), [], 2, "router.kind: 'rewad' is not one of"),
    "unknown key": (lambda d: _with(d, tempreature=1), [], 2, "tempreature: is not a known key"),
    "bad override": (
        lambda d: _with(d),
        ["--set", "sampling.n=zero"],
        2,
        'sampling.n: input should be a valid integer (found "zero")',
    ),
    "too many shards": (lambda d: _with(d), ["--shards", "99"], 2, "--shards 99"),
    "two backends": (lambda d: _with(d), ["--local", "--ray", "auto"], 2, "exclude each other"),
    "unwritable directory": (lambda d: _with(d), ["--run-dir", "/proc/nowhere"], 2, "/proc/nowhere"),
    "another run's directory": (lambda d: _occupied(d), ["--run-dir", "taken"], 2, "holds other files"),
}


def _occupied(tmp_path: Path) -> Path:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").touch()
    return write_pipeline(tmp_path)


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_are_sentences_with_exit_codes(arbitrage, tmp_path: Path, case: str) -> None:
    make, options, code, sentence = REFUSED[case]
    told = arbitrage("run", make(tmp_path), *(options if "--ray" in options else ["--local", *options]))
    assert told.code == code, told.err
    assert sentence in told.err
    assert "Traceback" not in told.err


def test_an_unreachable_endpoint_ends_the_run_with_its_address(arbitrage, tmp_path: Path) -> None:
    pool = tmp_path / "endpoint.yaml"
    pool.write_text(
        "teachers:\n- name: far\n  model: m\n  languages: [en, de, ru, ar, hi, th]\n"
        "  engine: {kind: openai, base_url: 'http://127.0.0.1:9/v1', retry_for_s: 1}\n"
    )
    told = arbitrage("run", write_pipeline(tmp_path, teachers=str(pool)), "--local")
    assert told.code == 4, told.err
    assert "127.0.0.1:9" in told.err


def test_a_missing_key_is_named_before_anything_starts(arbitrage, tmp_path: Path) -> None:
    pool = tmp_path / "endpoint.yaml"
    pool.write_text(
        "teachers:\n- name: far\n  model: m\n  languages: [en]\n"
        "  engine: {kind: openai, base_url: 'http://127.0.0.1:9/v1', api_key_env: NO_SUCH_KEY_HERE}\n"
    )
    told = arbitrage("run", write_pipeline(tmp_path, teachers=str(pool)), "--local")
    assert told.code == 2
    assert "NO_SUCH_KEY_HERE" in told.err
    left = {path.name for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert left <= {"_lock"}  # no plan was written


def test_rejects_are_counted_and_the_rest_continues(arbitrage, tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, max_rejected=1.0)
    good = (tmp_path / "prompts.jsonl").read_bytes()
    huge = json.dumps({"id": "h", "prompt": "x" * 1_000_000, "language": "en"}).encode()
    bad = [
        b'{"id": "a", "prompt": "unfinished',
        b'{"id": "b", "prompt": "\xff\xfe", "language": "en"}',
        b'{"id": "c", "prompt": 7, "language": "en"}',
        b'{"id": "d", "prompt": "   ", "language": "en"}',
        b'{"id": "e", "prompt": "hello there", "language": "xx-nonsense-tag"}',
        b'{"id": "en-0", "prompt": "another text under an id that is taken", "language": "en"}',
        good.splitlines()[0].replace(b'"en-0"', b'"en-again"'),
        huge,
    ]
    (tmp_path / "prompts.jsonl").write_bytes(good + b"\n".join(bad) + b"\n")
    told = arbitrage("run", path, "--local", "--json")
    assert told.code == 0, told.err
    manifest = json.loads((tmp_path / "runs" / "small" / "manifest.json").read_text())
    prompts = next(s for s in manifest["steps"] if s["name"] == "prompts")
    assert prompts["num_rows"] == 48
    assert prompts["num_in"] == 56
    assert sum(prompts["rejected"].values()) == 8
    assert len(prompts["rejected"]) == 8, prompts["rejected"]
    shown = arbitrage("show", "small", "prompts", "--rejects", "-n", 20, "--json").out.splitlines()
    assert len(shown) == 8


@pytest.mark.process
def test_a_full_disk_leaves_a_run_that_can_be_resumed(tmp_path: Path) -> None:
    """A run in a file system of one megabyte, then in one with room."""
    small = tmp_path / "mount"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        path = write_pipeline(tmp_path)
        command = [
            sys.executable,
            "-m",
            "arbitrage.cli.main",
            "run",
            str(path),
            "--local",
            "--run-dir",
            str(small / "run"),
        ]
        full = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN_S)
        assert full.returncode == 4, full.stderr
        assert "No space left on device" in full.stderr
        assert "Traceback" not in full.stderr
        done = len(list((small / "run").rglob("shard-*.parquet")))
        assert done > 0
        subprocess.run(["mount", "-o", "remount,size=200m", str(small)], check=True, capture_output=True)
        again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN_S)
        assert again.returncode == 0, again.stderr
        assert "Traceback" not in again.stderr
    finally:
        subprocess.run(["umount", str(small)], check=False, capture_output=True)


@pytest.mark.process
def test_a_reader_that_goes_away_is_no_error(finished: Path) -> None:
    command = f"{sys.executable} -m arbitrage.cli.main show {finished} generate-ant -n 90 --json | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=WITHIN_S, env=os.environ)
    assert "Traceback" not in done.stderr


def test_help_of_every_command_teaches(arbitrage) -> None:
    commands: Sequence[Sequence[str]] = [
        ["quickstart"], ["run"], ["plan"], ["status"], ["show"], ["report"], ["export"], ["schema"], ["teachers", "check"]
    ]  # fmt: skip
    for command in commands:
        told = arbitrage(*command, "--help")
        assert told.code == 0
        assert len(told.out.splitlines()) > 8


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.process
def test_an_interrupted_run_says_how_to_resume_and_resumes(tmp_path: Path, sign: signal.Signals) -> None:
    path = write_pipeline(tmp_path, num_shards=6)
    write_pool(tmp_path / "teachers.yaml", ant={"latency_s": 0.2, "max_in_flight": 2}, bee={}, cow={})
    command = [sys.executable, "-m", "arbitrage.cli.main", "run", str(path), "--local"]
    driver = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    run = tmp_path / "runs" / "small"
    wait_until(lambda: list(run.glob("generate-ant-*/shard-*.parquet")), driver)
    driver.send_signal(sign)
    _, said = driver.communicate(timeout=WITHIN_S)
    assert driver.returncode == 130, said
    assert "interrupted; rerun the same command to resume" in said
    assert "Traceback" not in said
    before = {p: p.stat().st_mtime_ns for p in run.rglob("shard-*.parquet")}
    write_pool(tmp_path / "teachers.yaml", ant={"latency_s": 0.0}, bee={}, cow={})  # how fast is not what
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 0, done.stderr
    assert all(p.stat().st_mtime_ns == when for p, when in before.items())


@pytest.mark.process
def test_status_of_a_run_at_work_is_live(arbitrage, tmp_path: Path) -> None:
    path = write_pipeline(tmp_path)
    write_pool(tmp_path / "teachers.yaml", ant={"latency_s": 0.5, "max_in_flight": 4}, bee={}, cow={})
    command = [sys.executable, "-m", "arbitrage.cli.main", "run", str(path), "--local"]
    driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = tmp_path / "runs" / "small"
    try:
        wait_until((run / "_live.json").exists, driver)
        wait_until(lambda: live_of(arbitrage("status", run, "--json").out), driver)
        seen = live_of(arbitrage("status", run, "--json").out)
        told = arbitrage("status", run)
        assert "small · at work" in told.out
        assert "in flight" in told.out
        assert seen["num_in_flight"] > 0
        assert 0 <= seen["num_answered"] < seen["num_items"]
        watched = arbitrage("status", run, "--watch")  # returns when the run is done
        assert (watched.code, watched.out.count("small · finished")) == (0, 1)
        driver.wait(WITHIN_S)
        assert driver.returncode == 0
    finally:
        driver.kill()
        driver.wait(WITHIN_S)


def live_of(status: str) -> dict[str, int]:
    """Return the live counters of the slow teacher, or nothing."""
    found = json.loads(status)
    step = next(s for s in found["steps"] if s["name"] == "generate-ant")
    return step.get("live", {}) if found["at_work"] else {}


def test_watching_a_run_without_a_driver_ends(arbitrage, tmp_path: Path, finished: Path) -> None:
    abandoned = tmp_path / "abandoned"
    shutil.copytree(finished, abandoned)
    (abandoned / "manifest.json").unlink()
    told = arbitrage("status", abandoned, "--watch")
    assert (told.code, "unfinished; rerun the same command to resume" in told.out) == (0, True)
    assert arbitrage("status", abandoned, "--watch", "--json").code == 2


def test_a_run_over_budget_says_so_afterwards_too(arbitrage, tmp_path: Path) -> None:
    path = write_pipeline(tmp_path)
    write_pool(tmp_path / "teachers.yaml", ant={"failures": {"timeout": 0.9}}, bee={}, cow={})
    told = arbitrage("run", path, "--local")
    assert told.code == 3
    assert "generate-ant: " in told.err
    assert "max_rejected allows 20%" in told.err
    assert re.search(r"^  timeout: [0-9a-f]{20}", told.err, re.M)  # one example of each reason
    assert re.search(
        r"all rejects: \S+/generate-ant-\w+/_rejects; to read them: arbitrage show \S+ generate-ant --rejects",
        told.err,
    )
    status = json.loads(arbitrage("status", "small", "--json").out)
    assert "generate-ant" in status["over_budget"][0]


def test_two_routers_of_one_kind_can_be_compared(arbitrage, tmp_path: Path) -> None:
    compare = [{"kind": "single", "teacher": "ant"}, {"kind": "single", "teacher": "bee"}]
    told = arbitrage("plan", write_pipeline(tmp_path, compare=compare), "--json")
    assert {"route-single", "route-single-2"} <= {s["name"] for s in json.loads(told.out)["steps"]}


def test_a_spent_budget_shows_one_row_of_each_reason(arbitrage, tmp_path: Path) -> None:
    rows = [
        {"prompt": "What?", "language": "en"},
        {"prompt": " ", "language": "en"},
        {"prompt": "a", "language": "zz!"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, [*rows, *rows[1:]])) + "\n")
    told = arbitrage("run", write_pipeline(tmp_path, prompts={"kind": "jsonl", "paths": "rows.jsonl"}), "--local")
    assert told.code == 3
    lines = told.err[told.err.index("error: ") :].splitlines()
    assert lines[0].startswith("error: prompts: 4 of 5 rows were rejected (")
    examples = [line for line in lines if "rows.jsonl:" in line]
    assert len(examples) == 2
    assert sum(bool(re.match(r"  \w+: \S*rows.jsonl:[24]: ", line)) for line in examples) == 1
    assert sum(bool(re.match(r"  \w+: \S*rows.jsonl:[35]: .*'zz!'", line)) for line in examples) == 1


def test_an_empty_data_set_hides_nothing_and_ends_with_3_only_if_all_are_empty(arbitrage, tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, pairs={"min_gap": 99.0})
    told = arbitrage("run", path, "--local")
    assert told.code == 0
    assert "sft: " in told.out
    assert "EMPTY data set 'preference' has no rows: select-preference rejected all (" in told.out
    assert arbitrage("run", path, "--local", "--strict").code == 3
    found = json.loads(arbitrage("run", path, "--local", "--json").out)
    assert [each["dataset"] for each in found["empty"]] == ["preference"]
    assert arbitrage("export", "small").code == 0
    assert arbitrage("export", "small", "--strict").code == 3
    only = arbitrage("export", "small", "--dataset", "preference")
    assert (only.code, only.err.startswith("error: data set 'preference' has no rows")) == (3, True)
