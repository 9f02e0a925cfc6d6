"""What is handed to vLLM, held against the installed vLLM's own dataclasses and checks: no GPU is needed for that."""

import dataclasses
import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from arbitrage.contracts.steps import Resources
from arbitrage.errors import EngineStartError, UserError
from arbitrage.models import vllm_start
from arbitrage.rewards import classifier_vllm
from arbitrage.rewards.classifier import RewardModelConfig
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.vllm import VllmConfig
from tests.support.clusters import running_cluster
from tests.support.tiny_model import shipped_or_tiny

pytestmark = [pytest.mark.vllm, pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")]


def spec(model: str = "org/m", **values: Any) -> ModelSpec:
    return ModelSpec("big", model, **values)


def reward(**values: Any) -> RewardModelConfig:
    return RewardModelConfig.model_validate({"model": "org/rm", "engine": "vllm", **values})


def test_vllm_knows_every_argument_by_name() -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs

    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    full = VllmConfig(tensor_parallel_size=2, kv_cache_gb=1, max_num_batched_tokens=512, max_num_seqs=4)
    assert set(full.engine_args(spec(revision="abc", precision="fp8", context_length=4096), "m")) <= known
    assert set(VllmConfig(device="cpu").engine_args(spec(), "m")) <= known
    assert set(classifier_vllm.engine_args(reward(), "m", 512)) <= known


@pytest.mark.parametrize("ranks", [1, 2, 8])
def test_ranks_are_processes_of_the_replicas_own_host(ranks: int) -> None:
    backend = "mp" if ranks > 1 else None
    teacher = VllmConfig(tensor_parallel_size=ranks).engine_args(spec(), "m")
    assert teacher.get("distributed_executor_backend") == backend
    scorer = reward(tensor_parallel_size=ranks, resources={"gpus": ranks})
    assert classifier_vllm.engine_args(scorer, "m", 512)["distributed_executor_backend"] == backend


@pytest.mark.parametrize(
    ("asked", "longest", "taken"), [(None, 4096, None), (512, 4096, None), (8192, 4096, 8192), (512, None, None)]
)
def test_the_cpu_build_computes_a_prompt_in_one_piece(
    asked: int | None, longest: int | None, taken: int | None
) -> None:
    """PyTorch's generator on CPUs cannot take back a number, as vLLM does after a piece of a seeded prompt."""
    arguments = VllmConfig(device="cpu", max_num_batched_tokens=asked).engine_args(spec(context_length=longest), "m")
    assert arguments["enable_chunked_prefill"] is False
    assert arguments.get("max_num_batched_tokens") == taken
    on_gpu = VllmConfig(max_num_batched_tokens=asked).engine_args(spec(context_length=longest), "m")
    assert "enable_chunked_prefill" not in on_gpu
    assert on_gpu.get("max_num_batched_tokens") == asked


@pytest.fixture
def two_gpus() -> Iterator[Any]:
    import ray

    with running_cluster({"num_cpus": 2, "num_gpus": 2}) as made:
        ray.init(address=made.address, logging_level="ERROR", log_to_driver=False)
        yield made
        ray.shutdown()


def how_vllm_starts_ranks(backend: str | None) -> str:
    """Run in a replica's actor, as if its platform were CUDA's: return the backend, or why Ray's refuses."""
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    from vllm.config import ParallelConfig
    from vllm.platforms import current_platform
    from vllm.v1.executor.ray_utils import initialize_ray_cluster

    type(current_platform).ray_device_key = "GPU"
    config = ParallelConfig(tensor_parallel_size=2, distributed_executor_backend=backend)
    if config.distributed_executor_backend == "ray":
        try:
            initialize_ray_cluster(config)
        except ValueError as error:
            return str(error)
    return str(config.distributed_executor_backend)


def test_two_ranks_start_within_the_bundle_that_a_replica_holds(two_gpus: Any) -> None:
    import ray

    from arbitrage.execution.ray.pools import _reserve, _strategy

    node_id = ray.nodes()[0]["NodeID"]
    wanted = Resources(cpus=1, gpus=2)
    group = _reserve(wanted, node_id)
    task = ray.remote(how_vllm_starts_ranks).options(
        num_cpus=1, num_gpus=2, scheduling_strategy=_strategy(group, node_id)
    )
    ours = VllmConfig(tensor_parallel_size=2).engine_args(spec(), "m")["distributed_executor_backend"]
    assert "cannot have more than 1 GPU" in ray.get(task.remote(None))  # what vLLM chooses for itself
    assert ray.get(task.remote(ours)) == "mp"


@pytest.mark.parametrize(
    ("precision", "given", "saved_as", "sent"),
    [
        ("fp8", None, None, "fp8_per_channel"),
        ("fp8", None, "compressed-tensors", None),
        ("fp8", None, "modelopt", None),
        ("int4", None, "awq", None),
        ("int4", "bitsandbytes", None, "bitsandbytes"),
        ("bf16", None, None, None),
    ],
)
def test_a_method_is_sent_only_where_the_checkpoint_has_none(
    precision: Any, given: str | None, saved_as: str | None, sent: str | None
) -> None:
    arguments = VllmConfig(quantization=given).engine_args(spec(precision=precision), "m", saved_as)
    assert arguments.get("quantization") == sent


def test_the_method_that_is_sent_is_one_of_vllms() -> None:
    from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS

    assert "fp8_per_channel" in QUANTIZATION_METHODS


def quantized(directory: Path, where: str, found: dict[str, Any]) -> str:
    directory.mkdir(exist_ok=True)
    config = json.loads((shipped_or_tiny(directory / "tiny") / "config.json").read_text())
    if where == "hf_quant_config.json":
        (directory / where).write_text(json.dumps(found))
    else:
        config[where] = found
    (directory / "config.json").write_text(json.dumps(config))
    return str(directory)


@pytest.mark.parametrize(
    ("where", "found", "method"),
    [
        (
            "quantization_config",
            {"quant_method": "compressed-tensors", "format": "float-quantized"},
            "compressed-tensors",
        ),
        ("quantization_config", {"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ("compression_config", {"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ("hf_quant_config.json", {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}, "FP8"),
    ],
)
def test_how_a_checkpoint_was_saved_is_found(tmp_path: Path, where: str, found: dict[str, Any], method: str) -> None:
    assert vllm_start.checkpoint_quantization(quantized(tmp_path / "m", where, found), None) == method


def test_an_ordinary_checkpoint_has_no_method(tmp_path: Path) -> None:
    assert vllm_start.checkpoint_quantization(str(shipped_or_tiny(tmp_path)), None) is None


def test_a_precision_that_the_weights_do_not_have_is_refused(tmp_path: Path) -> None:
    model = str(shipped_or_tiny(tmp_path))
    with pytest.raises(UserError, match=r"precision is 'int4', but .* holds weights that are not quantised"):
        VllmConfig(device="cpu").build(spec(model, precision="int4"))


@pytest.mark.parametrize(("gpus", "share"), [(None, 0.9), (1.0, 0.9), (0.5, 0.45), (0.25, 0.225)])
def test_an_engine_takes_its_share_of_the_gpu_it_shares(gpus: float | None, share: float) -> None:
    arguments = VllmConfig().engine_args(spec(gpus=gpus), "m")
    assert arguments["gpu_memory_utilization"] == pytest.approx(share)
    scorer = reward(resources={"gpus": gpus or 1.0})
    assert classifier_vllm.engine_args(scorer, "m", 512)["gpu_memory_utilization"] == pytest.approx(share)


@pytest.mark.parametrize(("ranks", "gpus"), [(1, 0.0), (2, 1.0), (2, 0.0), (2, 4.0)])
def test_a_teacher_that_would_take_gpus_it_does_not_hold_is_refused(ranks: int, gpus: float) -> None:
    with pytest.raises(UserError, match=rf"resources.gpus is {gpus:g}, but its engine uses {ranks}"):
        VllmConfig(tensor_parallel_size=ranks).require(spec(gpus=gpus))
    VllmConfig(device="cpu").require(spec(gpus=0.0))


def test_a_reward_without_gpus_is_refused_on_the_gpu_build() -> None:
    with pytest.raises(UserError, match=r"resources.gpus is 0, but the installed vLLM is the GPU build"):
        classifier_vllm._require_gpus(reward(), is_cpu_build=False)
    with pytest.raises(UserError, match=r"tensor_parallel_size is 2, but resources.gpus is 1"):
        classifier_vllm._require_gpus(reward(tensor_parallel_size=2, resources={"gpus": 1}), is_cpu_build=False)
    classifier_vllm._require_gpus(reward(), is_cpu_build=True)
    classifier_vllm._require_gpus(reward(resources={"gpus": 0.5}), is_cpu_build=False)


@pytest.mark.parametrize(("positions", "longest"), [(512, 512), (131_072, 16_384)])
def test_a_reward_is_sized_for_at_most_16384_tokens_by_default(tmp_path: Path, positions: int, longest: int) -> None:
    source = shipped_or_tiny(tmp_path / "tiny")
    config = json.loads((source / "config.json").read_text()) | {"max_position_embeddings": positions}
    model = tmp_path / "rm"
    model.mkdir()
    for path in source.iterdir():
        if path.is_file():
            (model / path.name).write_bytes(path.read_bytes())
    (model / "config.json").write_text(json.dumps(config))
    (model / "tokenizer_config.json").unlink(missing_ok=True)  # it may state a limit of its own
    assert classifier_vllm._longest(str(model), reward(model=str(model))) == longest


def test_a_failed_start_quotes_the_engines_own_words(tmp_path: Path) -> None:
    """The weights do not fit the config: only the engine's process finds out, and says so in its log alone."""
    source = shipped_or_tiny(tmp_path / "tiny")
    model = tmp_path / "broken"
    model.mkdir()
    for path in source.iterdir():
        if path.is_file():
            (model / path.name).write_bytes(path.read_bytes())
    config = json.loads((model / "config.json").read_text())
    config["intermediate_size"] *= 2
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineStartError) as caught:
        VllmConfig(device="cpu", enforce_eager=True, kv_cache_gb=0.25).build(spec(str(model), precision="fp32"))
    said = str(caught.value)
    assert said.startswith("teacher 'big': vLLM cannot load")
    assert "See root cause above" not in said
    assert "Error: " in said.partition("initialization failed")[2]
    assert "\n" not in said


def test_what_a_user_set_in_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in vllm_start.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VLLM_USE_FLASHINFER_SAMPLER", "1")
    vllm_start.set_environment()
    found = {name: os.environ.pop(name) for name in vllm_start.ENVIRONMENT}
    assert found == {**vllm_start.ENVIRONMENT, "VLLM_USE_FLASHINFER_SAMPLER": "1"}
    assert vllm_start.ENVIRONMENT["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    assert vllm_start.ENVIRONMENT["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"


def test_vllm_still_reads_these_variables() -> None:
    from vllm import envs

    assert set(vllm_start.ENVIRONMENT) <= set(envs.environment_variables)
