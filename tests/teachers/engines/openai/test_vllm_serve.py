"""The openai engine against a real `vllm serve` over HTTP on loopback."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from arbitrage.config import parse
from arbitrage.contracts.engines import Completion, Engine, Failure
from arbitrage.errors import TeacherAccessError
from arbitrage.execution.ray.backend import RayBackend
from arbitrage.records import Candidate
from arbitrage.runs.run import open_run
from arbitrage.tables import from_table
from arbitrage.teachers.check import check_teacher
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.openai.config import OpenAIConfig
from arbitrage.teachers.engines.transformers import TransformersConfig
from arbitrage.teachers.pool import TeacherConfig
from tests.support.asking import a_request, ask
from tests.support.pipelines import QUESTIONS, run_file, write_pipeline
from tests.support.tiny_model import CORPUS, shipped_or_tiny

pytestmark = [
    pytest.mark.alone,
    pytest.mark.vllm,
    pytest.mark.timeout(300),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]

KEY = "sk-loopback-secret"
START_S = 180.0


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    """Return a model whose maker's parameters make everything greedy: a server applies them where others are not sent."""
    shipped = shipped_or_tiny(tmp_path_factory.mktemp("tiny"))
    directory = shutil.copytree(shipped, tmp_path_factory.mktemp("own") / "tiny")
    maker = json.loads((directory / "generation_config.json").read_text()) | {"do_sample": True, "top_k": 1}
    (directory / "generation_config.json").write_text(json.dumps(maker))
    return directory


@pytest.fixture(scope="module")
def base_url(model_dir, tmp_path_factory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model_dir)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny", "--api-key", KEY]
    command += ["--dtype", "float32", "--max-model-len", "128", "--enforce-eager", "--max-num-seqs", "16"]
    command += ["--kv-cache-memory-bytes", str(2**28)]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    environment = os.environ | {"VLLM_NO_USAGE_STATS": "1"}
    with log.open("w") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        _wait_for_health(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        _stop(server)


def _stop(server: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if server.poll() is None:
            os.killpg(server.pid, sign)  # its own session: the server and its engine process
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(20)


def _wait_for_health(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"vllm serve did not start:\n{log.read_text()[-3000:]}")


def test_greedy_answers_equal_those_of_transformers_and_bad_rows_fail_alone(base_url, model_dir, monkeypatch):
    monkeypatch.setenv("LOOPBACK_KEY", KEY)
    config = OpenAIConfig(base_url=base_url, api_key_env="LOOPBACK_KEY", logprobs=True, retry_for_s=5)
    good = [a_request(text, candidate_id=f"g{i}", max_tokens=12) for i, text in enumerate(CORPUS)]
    results = ask(
        config.build(ModelSpec("tiny", "tiny")),
        [*good, a_request(" ", candidate_id="empty"), a_request("many apples " * 100, candidate_id="long")],
    )
    assert results["empty"] == Failure("empty", "empty_prompt")
    assert isinstance(results["long"], Failure)
    assert results["long"].reason == "prompt_too_long"
    expected = ask(TransformersConfig().build(ModelSpec("tiny", str(model_dir), precision="fp32")), good)
    for candidate_id, wanted in expected.items():
        found = results[candidate_id]
        assert isinstance(found, Completion)
        assert isinstance(wanted, Completion)
        assert found.text == wanted.text
        assert found.finish_reason == wanted.finish_reason
        assert (found.prompt_tokens, found.completion_tokens) == (wanted.prompt_tokens, wanted.completion_tokens)
        assert found.cumulative_logprob == pytest.approx(wanted.cumulative_logprob, abs=1e-3)


def test_the_makers_parameters_do_not_change_the_distribution(base_url, model_dir, monkeypatch):
    monkeypatch.setenv("LOOPBACK_KEY", KEY)
    config = OpenAIConfig(base_url=base_url, api_key_env="LOOPBACK_KEY")
    warm = [
        a_request(CORPUS[0], candidate_id=f"w{seed}", seed=seed, temperature=1.5, max_tokens=1) for seed in range(60)
    ]

    def distinct(engine: Engine) -> set[str]:
        return {each.text for each in ask(engine, warm).values() if isinstance(each, Completion)}

    served = distinct(config.build(ModelSpec("tiny", "tiny")))
    here = distinct(TransformersConfig().build(ModelSpec("tiny", str(model_dir), precision="fp32")))
    assert min(len(served), len(here)) > 3
    left_out = config.model_copy(update={"leave_out": ("top_k",)}).build(ModelSpec("tiny", "tiny"))
    assert len(distinct(left_out)) == 1  # this is what the server does by itself


def test_a_wrong_key_and_a_wrong_model_end_the_step(base_url, monkeypatch):
    monkeypatch.setenv("LOOPBACK_KEY", "sk-wrong")
    config = OpenAIConfig(base_url=base_url, api_key_env="LOOPBACK_KEY")
    with pytest.raises(TeacherAccessError, match="answers 401 for model tiny"):
        ask(config.build(ModelSpec("tiny", "tiny")), [a_request("hello")])
    monkeypatch.setenv("LOOPBACK_KEY", KEY)
    with pytest.raises(TeacherAccessError, match="answers 404 for model huge"):
        ask(config.build(ModelSpec("huge", "huge")), [a_request("hello")])


def test_teachers_check_queries_the_endpoint(base_url, monkeypatch):
    monkeypatch.setenv("LOOPBACK_KEY", KEY)
    engine = {"kind": "openai", "base_url": base_url, "api_key_env": "LOOPBACK_KEY"}
    raw = {"name": "tiny", "model": "tiny", "engine": engine, "languages": ["en"], "licence": "MIT", "revision": "1"}
    assert check_teacher(parse(raw, TeacherConfig, "test")).is_usable
    status = check_teacher(parse(raw | {"model": "huge"}, TeacherConfig, "test"))
    assert not status.is_usable
    assert any("serves tiny, not huge" in finding.detail for finding in status.findings)


def test_a_whole_pipeline_on_ray_through_the_endpoint(base_url, monkeypatch, tmp_path):
    monkeypatch.setenv("LOOPBACK_KEY", KEY)
    pool = tmp_path / "endpoint.yaml"
    teacher = {
        "name": "served",
        "model": "tiny",
        "engine": {"kind": "openai", "base_url": base_url, "api_key_env": "LOOPBACK_KEY", "logprobs": True},
        "languages": list(QUESTIONS),
    }
    pool.write_text(yaml.safe_dump({"teachers": [teacher]}))
    path = write_pipeline(tmp_path, teachers=str(pool), sampling={"n": 3, "max_tokens": 8})
    manifest = run_file(path, tmp_path / "run", RayBackend())
    step = next(s for s in manifest.steps if s.name == "generate-served")
    assert (step.num_in, step.num_rows, step.rejected) == (144, 144, {})
    assert step.completion_tokens > 144
    rows = [c for t in open_run(tmp_path / "run").tables("generate-served") for c in from_table(t, Candidate)]
    assert all(c.cumulative_logprob is not None and c.prompt_tokens for c in rows)
    assert KEY not in "".join(p.read_text() for p in (tmp_path / "run").glob("*.json"))
