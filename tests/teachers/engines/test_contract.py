"""The contract of every engine. The cases are enumerated from the union: a new engine without a case fails here."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from arbitrage.config import Operational, parse
from arbitrage.teachers import EngineConfig
from arbitrage.teachers.engines.engine import EngineOptions, ModelSpec
from arbitrage.teachers.pool import TeacherConfig
from tests.support.asking import exercise
from tests.support.batch_server import serve_batches
from tests.support.mock_endpoint import serve, well_behaved
from tests.support.tiny_model import save_model

ENGINES: tuple[type[EngineOptions], ...] = get_args(get_args(EngineConfig)[0])
KINDS = [engine.model_fields["kind"].default for engine in ENGINES]
ADAPTER: TypeAdapter[EngineConfig] = TypeAdapter(EngineConfig)

QUESTIONS = [f"question {i}" for i in range(5)]


@contextmanager
def case(kind: str, directory: Path) -> Iterator[tuple[dict[str, object], ModelSpec]]:
    """Yield the config (without kind) and the spec of an engine that can answer `QUESTIONS` here."""
    match kind:
        case "transformers" | "vllm":
            save_model(directory / "model", context_length=128)
            spec = ModelSpec("t", str(directory / "model"), precision="fp32")
            gpu = {"device": "cpu", "enforce_eager": True, "kv_cache_gb": 0.25, "max_num_seqs": 8}
            yield (gpu if kind == "vllm" else {}), spec
        case "openai":
            yield {"base_url": "set in the loop"}, ModelSpec("t", "m")
        case "openai_batch":
            yield {"base_url": "http://h/v1", "gather_s": 0.05, "poll_s": 0.01}, ModelSpec("t", "m")
        case "replay":
            rows = {"prompt_id": [f"p-{q}" for q in QUESTIONS], "text": [q[::-1] for q in QUESTIONS]}
            pq.write_table(pa.table(rows), directory / "answers.parquet")
            yield {"paths": [str(directory / "answers.parquet")]}, ModelSpec("t", "")
        case "fake":
            yield {}, ModelSpec("t", "")
        case _:
            pytest.fail(f"engine '{kind}' has no case in the contract test")


def a_config(kind: str, options: dict[str, object]) -> EngineConfig:
    return parse({"kind": kind, **options}, ADAPTER, "test")


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind != "vllm"]
)  # its one engine: tests/teachers/engines/test_vllm.py
@pytest.mark.model
async def test_one_result_each_two_shards_at_once_and_closing_twice(kind, tmp_path):
    with case(kind, tmp_path) as (options, spec):
        async with serve(well_behaved) as endpoint, serve_batches(key="") as batches:
            urls = {"openai": endpoint.base_url, "openai_batch": batches.base_url}
            engine = a_config(kind, options | ({"base_url": urls[kind]} if kind in urls else {})).build(spec)
            await exercise(engine, QUESTIONS)
            await engine.close()
            await engine.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.model
def test_config_survives_a_journey_through_json_and_identity_is_json(kind, tmp_path):
    with case(kind, tmp_path) as (options, _):
        config = a_config(kind, options | ({"base_url": "http://h/v1"} if kind == "openai" else {}))
    assert ADAPTER.validate_json(config.model_dump_json()) == config
    identity = json.loads(json.dumps(config.identity()))
    assert identity["kind"] == kind
    operational = {n for n, info in type(config).model_fields.items() if Operational in info.metadata}
    assert not operational & identity.keys()


@pytest.mark.parametrize("engine", ENGINES, ids=KINDS)
def test_kind_is_a_literal_with_a_default_and_documented(engine):
    assert engine.model_fields["kind"].default in get_args(engine.model_fields["kind"].annotation)
    described = " ".join(cls.__doc__ or "" for cls in engine.__mro__ if issubclass(cls, EngineOptions))
    undocumented = [n for n in engine.model_fields if n != "kind" and f"{n}" not in described]
    assert undocumented == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.model
def test_a_teacher_of_each_kind_holds_resources(kind, tmp_path):
    with case(kind, tmp_path) as (options, spec):
        engine = {"kind": kind, **options} | ({"base_url": "http://h/v1"} if kind == "openai" else {})
        raw = {"name": "t", "engine": engine, "languages": ["en"], "model": spec.model, "precision": "fp32"}
        teacher = parse(raw, TeacherConfig, "test")
        held = teacher.held_resources()
    assert held.gpus == 0
    assert held.replicas is None
    assert (held.cpus > 0) == teacher.engine.loads_model
    assert teacher.weights_revision()
