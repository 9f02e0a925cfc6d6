"""Whole steering runs over fake teachers: the same bytes everywhere, a fair control, a report, and exports."""

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from arbitrage.errors import ConfigError, DataError
from arbitrage.execution.ray.backend import RayBackend
from arbitrage.export import FORMATS
from arbitrage.export.export import export_run
from arbitrage.profile.target import TargetData
from arbitrage.records import Measurement, PreferencePair, SteeredExample, SteeringChoice, TargetQuantiles
from arbitrage.report.page import build_report
from arbitrage.report.summary import summarise
from arbitrage.runs.run import Run, open_run
from arbitrage.tables import from_table
from pipelines.loading import load_pipeline
from tests.support.paths import ROOT
from tests.support.pipelines import run_file, steering_pipeline
from tests.support.runs import shard_bytes


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("steering")
    run_file(steering_pipeline(directory), directory / "run")
    return open_run(directory / "run")


def rows(found: Run, step: str, record: Any) -> list[Any]:
    return [row for table in found.tables(step) for row in from_table(table, record)]


def test_both_backends_write_the_same_bytes(done: Run, tmp_path: Path, ray_backend: RayBackend) -> None:
    run_file(steering_pipeline(tmp_path), tmp_path / "run", ray_backend)
    assert shard_bytes(tmp_path / "run") == shard_bytes(done.path)


def test_the_control_stands_on_the_same_prompts_and_candidates(done: Run) -> None:
    steered_rows, control = rows(done, "select-steered", SteeredExample), rows(done, "select-control", SteeredExample)
    assert [r.prompt_id for r in steered_rows] == [r.prompt_id for r in control]
    considered = {c.prompt_id: set(c.considered) for c in rows(done, "steer", SteeringChoice)}
    assert all(r.candidate_id in considered[r.prompt_id] for r in (*steered_rows, *control))
    assert {r.objective for r in steered_rows} == {"characters:up+words:within"}
    assert {r.objective for r in control} == {"random_of_k"}

    def mean(found: list[SteeredExample]) -> float:
        values = [m.value for r in found for m in r.metrics if m.name == "characters" and m.value is not None]
        return sum(values) / len(values)

    assert mean(steered_rows) > mean(control)


def test_quotas_hold_over_all_shards(done: Run) -> None:
    counts = Counter(r.language for r in rows(done, "select-steered", SteeredExample))
    assert counts["ru"] == 3
    assert all(count <= 6 for language, count in counts.items() if language != "en")


def test_pairs_set_toward_against_away(done: Run) -> None:
    pairs = rows(done, "select-steered-preference", PreferencePair)
    assert pairs
    assert all(p.score_gap >= 0.5 and p.policy == "toward_vs_away" for p in pairs)
    characters = {m.candidate_id: m.value for s in done.plan.table["measures"]
                  for m in rows(done, s, Measurement) if m.metric == "characters"}  # fmt: skip
    assert all(characters[p.chosen_id] > characters[p.rejected_id] for p in pairs)


def test_the_report_tells_before_control_and_steered(done: Run) -> None:
    found = summarise(done).steering
    assert found is not None
    first = found.aims[0].shifts[0]
    assert first.language == ""
    assert first.num == found.num_cases
    assert first.difference is not None
    assert first.difference.value > 0
    assert first.before
    assert {s.metric for s in found.others} >= {"check language-confusion", "emoji"}
    short = {s.language: s for s in found.shortfalls}
    assert short["en"].wanted == 50
    assert short["en"].missing == 50 - short["en"].written
    assert found.examples
    page = build_report(done.path).path.read_text(encoding="utf-8")
    assert 'id="steering"' in page
    json.loads(summarise(done).to_json())


@pytest.mark.parametrize("trainer", FORMATS)
def test_trainers_get_the_steered_data(done: Run, tmp_path: Path, trainer: Any) -> None:
    exports = {e.dataset: e for e in export_run(done.path, trainer, out=tmp_path)}
    assert set(exports) == {"steered", "control", "steered_preference"}
    assert (
        exports["steered"].num_rows
        == exports["control"].num_rows
        == len(rows(done, "select-steered", SteeredExample))
    )


def test_a_new_weight_measures_nothing_anew(tmp_path: Path) -> None:
    run_file(steering_pipeline(tmp_path), tmp_path / "run")
    changed = {
        "objectives": [{"metric": {"kind": "length", "unit": "characters"}, "toward": "up", "weight": 1.0},
                       {"metric": {"kind": "length", "unit": "words"}, "floor": 2.0}]
    }  # fmt: skip
    manifest = run_file(steering_pipeline(tmp_path, steering=changed), tmp_path / "run")
    redone = {s.name for s in manifest.steps if s.num_reused < s.num_shards}
    assert redone == {
        "steer",
        "quota-steered",
        "select-steered",
        "select-control",
        "select-steered-preference",
    }


def test_a_run_looks_like_a_data_set(tmp_path: Path) -> None:
    lines = [
        json.dumps({"text": "x" * (n % 40 + 1), "language": tag})
        for tag in ("en", "de", "ru", "ar", "hi")
        for n in range(40)
    ]
    (tmp_path / "like.jsonl").write_text("\n".join(lines), encoding="utf-8")
    aim = {"objectives": [{"metric": {"kind": "length", "unit": "characters"}, "toward": "like"}]}
    like = {"paths": str(tmp_path / "like.jsonl")}
    run_file(steering_pipeline(tmp_path, steering=aim, like=like, quotas=None), tmp_path / "run")
    found = open_run(tmp_path / "run")
    assert {t.language for t in rows(found, "target-profile", TargetQuantiles)} == {"en", "de", "ru", "ar", "hi"}
    languages = {r.language for r in rows(found, "select-steered", SteeredExample)}
    assert "th" not in languages
    assert languages


def test_a_target_without_a_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no objective is"):
        load_pipeline(steering_pipeline(tmp_path, like={"paths": "x.jsonl"}))


def test_a_target_is_known_by_what_it_holds(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text('{"text": "a"}\n', encoding="utf-8")
    two.write_text('{"text": "a"}\n', encoding="utf-8")
    assert TargetData(paths=(str(one),)).identity() == TargetData(paths=(str(two),)).identity()
    two.write_text('{"text": "b"}\n', encoding="utf-8")
    assert TargetData(paths=(str(one),)).identity() != TargetData(paths=(str(two),)).identity()


def test_answers_in_a_file_are_steered_as_documented(tmp_path: Path) -> None:
    answers = {"model-a": "Kurz.", "model-b": "Eine Antwort, die um einiges länger ist."}
    table = [
        {"prompt": f"Frage {n}: warum ist der Himmel blau?", "lang": "de", "model": model, "answer": f"{text} {n}"}
        for n in range(6)
        for model, text in answers.items()
        if (n, model) != (0, "model-b")
    ]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "answers.parquet")
    pool, pipeline = (yaml_blocks("docs/steering.md")[name] for name in ("teachers.yaml", "steering.yaml"))
    (tmp_path / "teachers.yaml").write_text(pool.replace("answers.parquet", str(tmp_path / "answers.parquet")))
    config = yaml.safe_load(pipeline) | {"teachers": str(tmp_path / "teachers.yaml"), "num_shards": 2}
    config["prompts"]["paths"] = str(tmp_path / "answers.parquet")
    config["steering"]["objectives"] = [{"metric": {"kind": "length", "unit": "characters"}, "toward": "up"}]
    (tmp_path / "steering.yaml").write_text(yaml.safe_dump(config))
    run_file(tmp_path / "steering.yaml", tmp_path / "run")
    found = open_run(tmp_path / "run")
    steered = {row.prompt[0].content[6]: row.teacher for row in rows(found, "select-steered", SteeredExample)}
    assert steered == {"0": "model-a"} | {str(n): "model-b" for n in range(1, 6)}
    assert len(rows(found, "select-control", SteeredExample)) == 6


def yaml_blocks(path: str) -> dict[str, str]:
    """Return the YAML blocks of a document that begin with the name of a file."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", text, re.DOTALL))


@pytest.mark.parametrize("step", ["generate-bee", "steer"])
@pytest.mark.process
def test_a_run_killed_half_way_ends_in_the_same_bytes(done: Run, tmp_path: Path, step: str) -> None:
    path, directory = steering_pipeline(tmp_path), tmp_path / "run"
    killed = subprocess.run([sys.executable, "-c", KILLED, path, directory, step], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    before = shard_bytes(directory)
    assert 0 < len(before) < len(shard_bytes(done.path))
    run_file(path, directory)
    assert shard_bytes(directory) == shard_bytes(done.path)
    assert before.items() <= shard_bytes(directory).items()


KILLED = """
import os, signal, sys
from pathlib import Path
from arbitrage.execution.progress import NoProgress
from tests.support.pipelines import run_file

class Killer(NoProgress):
    def shard_done(self, step, shard, stats):
        if step.step.name == sys.argv[3]:
            os.kill(os.getpid(), signal.SIGKILL)

run_file(Path(sys.argv[1]), Path(sys.argv[2]), progress=Killer())
"""


def recorded(directory: Path, answers: dict[str, list[str]], **changes: Any) -> Path:
    """Write a run over recorded answers: prompt → what was answered."""
    table = [{"prompt": p, "lang": "de", "answer": text} for p, texts in answers.items() for text in texts]
    (directory / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    columns = {"key": "prompt", "text": "answer"}
    engine = {"kind": "replay", "paths": str(directory / "answers.jsonl"), "match": "text", "columns": columns}
    pool = {"teachers": [{"name": "recorded", "languages": ["de"], "engine": engine}]}
    (directory / "pool.yaml").write_text(yaml.safe_dump(pool), encoding="utf-8")
    config: dict[str, Any] = {
        "kind": "steering",
        "name": "recorded",
        "prompts": {
            "kind": "jsonl",
            "paths": str(directory / "answers.jsonl"),
            "columns": {"prompt": "prompt", "language": "lang"},
            "repeats": "merge",
        },
        "teachers": str(directory / "pool.yaml"),
        "router": {"kind": "all"},
        "sampling": {"n": max(map(len, answers.values()))},
        "checks": [{"kind": "emptiness"}],
        "ensemble": {"weights": {"emptiness": 1.0}},
        "steering": {"objectives": [{"metric": {"kind": "length"}, "toward": "up"}]},
        "num_shards": 1,
    }
    path = directory / "recorded.yaml"
    path.write_text(yaml.safe_dump(config | changes), encoding="utf-8")
    return path


ALIKE = {f"Frage {n}: warum ist das so?": ["Immer dieselbe Antwort."] for n in range(4)}


def test_one_answer_each_and_rewards_all_alike_steer_to_what_there_is(tmp_path: Path) -> None:
    run_file(recorded(tmp_path, ALIKE), tmp_path / "run")
    found = open_run(tmp_path / "run")
    steered, control = (
        [(row.prompt_id, row.completion[0].content) for row in rows(found, f"select-{which}", SteeredExample)]
        for which in ("steered", "control")
    )
    assert len(steered) == 4
    assert steered == control
    with pytest.raises(
        DataError, match=r"'steered_preference' has no rows: select-steered-preference .*no_opponent 4"
    ):
        export_run(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run" / "export").iterdir()} == {"steered", "control"}


def test_where_nothing_can_be_measured_the_reason_is_said(tmp_path: Path) -> None:
    objective = {"metric": {"kind": "mtld"}, "toward": "up"}
    run_file(recorded(tmp_path, ALIKE, steering={"objectives": [objective]}), tmp_path / "run")
    with pytest.raises(DataError, match=r"'steered' has no rows: steer rejected all \(unmeasured 4\)"):
        export_run(tmp_path / "run")


@pytest.mark.model
def test_data_is_steered_to_what_a_model_finds_likely(tmp_path: Path) -> None:
    sure, odd = "Montag", "zqxjkv"
    answers = {f"Wie viel ist {n} plus 4?": [odd, sure] for n in range(3)}
    objective = {"metric": {"kind": "likelihood", "model": "demo:commons"}, "toward": "down"}  # bits per byte
    path = recorded(tmp_path, answers, steering={"objectives": [objective], "watch": []})
    run_file(path, tmp_path / "run")
    found = rows(open_run(tmp_path / "run"), "select-steered", SteeredExample)
    assert [row.completion[0].content for row in found] == [sure] * 3
    assert {metric.name for row in found for metric in row.metrics} == {"bits_per_byte"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"quotas": {"langages": {"de": 3}}}, r"recorded\.yaml: quotas\.langages: is not a known key"),
        ({"quotas": {"languages": {"deutsch": 3}}}, r"quotas\.languages\.deutsch: 'deutsch' is not a BCP-47 tag"),
        (
            {"steering": {"objectives": [{"metric": {"kind": "length"}, "toward": "sideways"}]}},
            r'steering\.objectives\[0\]\.toward: "sideways" is not one of up, down, like',
        ),
        (
            {"steering": {"objectives": [{"metric": {"kind": "lenght"}, "toward": "up"}]}},
            r"objectives\[0\]\.metric\.kind: 'lenght' is not one of .*did you mean 'length'",
        ),
        ({"steering": {"objectives": [{"metric": {"kind": "length"}, "toward": float("nan")}]}}, r"toward: input"),
    ],
)
def test_a_slip_is_named_where_it_stands(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_pipeline(recorded(tmp_path, ALIKE, **changes))
