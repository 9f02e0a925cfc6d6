"""`engine.args`: names are the installed vLLM's, what is set elsewhere is refused, and how is told from what."""

from importlib.util import find_spec
from typing import Any

import pytest

from arbitrage.config import parse
from arbitrage.errors import ConfigError, UserError
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.vllm import VllmConfig
from arbitrage.teachers.engines.vllm_args import _OURS, OPERATIONAL, known_arguments

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")


def config(**args: Any) -> VllmConfig:
    return parse({"kind": "vllm", "args": args}, VllmConfig, "teachers.yaml")


def test_arguments_reach_vllm_and_take_part_in_the_identity_where_they_change_completions() -> None:
    yarn = {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}
    given = config(kv_cache_dtype="fp8", hf_overrides=yarn, enable_expert_parallel=True, tokenizer_mode="mistral")
    sent = given.engine_args(ModelSpec("t", "org/m"), "org/m")
    assert {name: sent[name] for name in given.args} == given.args
    assert given.identity()["args"] == {"kv_cache_dtype": "fp8", "hf_overrides": yarn, "tokenizer_mode": "mistral"}
    assert config(enable_expert_parallel=True).identity() == config().identity()
    assert "args" not in config().identity()


def test_ranks_of_every_kind_hold_gpus() -> None:
    given = parse(
        {"kind": "vllm", "tensor_parallel_size": 2, "args": {"pipeline_parallel_size": 2, "data_parallel_size": 2}},
        VllmConfig,
        "teachers.yaml",
    )
    assert given.num_gpus() == 8
    assert given.engine_args(ModelSpec("t", "org/m"), "org/m")["distributed_executor_backend"] == "mp"
    with pytest.raises(UserError, match=r"resources.gpus is 2, but its engine uses 8 GPU\(s\)"):
        given.require(ModelSpec("t", "org/m", gpus=2))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"max_num_seqs": 4}, r"args: 'max_num_seqs' is set by this program; set engine.max_num_seqs instead"),
        ({"dtype": "half"}, "set the teacher's precision instead"),
        ({"trust_remote_code": True}, "it cannot be changed"),
        ({"speculative_config": {"model": "m", "trust_remote_code": True}}, "'trust_remote_code' stays off"),
        ({"hf_token": "hf_x"}, "set the environment variable HF_TOKEN instead"),
    ],
)
def test_what_is_set_elsewhere_is_refused(args: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(**args)


@needs_vllm
def test_names_are_those_of_the_installed_vllm() -> None:
    with pytest.raises(
        UserError, match=r"teacher 't': engine.args.kv_cache_dtyp: .* \(did you mean 'kv_cache_dtype'"
    ):
        config(kv_cache_dtyp="fp8").require(ModelSpec("t", "org/m", gpus=1))
    config(kv_cache_dtype="fp8").require(ModelSpec("t", "org/m", gpus=1))
    assert set(_OURS) | OPERATIONAL <= known_arguments()


@pytest.mark.vllm
@needs_vllm
def test_the_names_read_from_its_source_are_those_of_its_dataclass() -> None:
    from dataclasses import fields

    from vllm.engine.arg_utils import AsyncEngineArgs

    assert known_arguments() == {field.name for field in fields(AsyncEngineArgs) if field.name[0] != "_"}
