"""A real vLLM engine (the CPU build will do), in process through AsyncLLM; started once for the module."""

import asyncio
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from arbitrage.contracts.engines import Completion, Failure, GenerationRequest
from arbitrage.errors import EngineDiedError, EngineStartError, UserError
from arbitrage.records import FinishReason
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.transformers import TransformersConfig
from arbitrage.teachers.engines.vllm import VllmConfig
from tests.support.asking import Results, a_request, ask, collect, exercise
from tests.support.tiny_model import CORPUS, shipped_or_tiny

pytestmark = [
    pytest.mark.alone,
    pytest.mark.vllm,
    pytest.mark.timeout(240),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]

CONTEXT = 128
QUESTIONS = (*CORPUS, "How many?", "Welche Farbe hat das Gras, und welche der Schnee?", "?")


def greedy() -> list[GenerationRequest]:
    return [a_request(text, candidate_id=f"g{i}", max_tokens=12) for i, text in enumerate(QUESTIONS)]


def warm() -> list[GenerationRequest]:
    return [
        a_request(text, candidate_id=f"w{i}-{s}", seed=100 * i + s, temperature=1.5, max_tokens=24)
        for i, text in enumerate(QUESTIONS)
        for s in range(2)
    ]


def bad() -> list[GenerationRequest]:
    return [
        a_request("", candidate_id="empty"),
        a_request("many apples " * 100, candidate_id="long"),
        a_request("x y z", candidate_id="clipped", max_tokens=10_000),
        a_request("How many?", candidate_id="cut", max_tokens=1),
    ]


@pytest.fixture(scope="module")
def spec(tmp_path_factory) -> ModelSpec:
    directory = shipped_or_tiny(tmp_path_factory.mktemp("tiny"))
    return ModelSpec("tiny", str(directory), precision="fp32", context_length=CONTEXT)


async def _ask_then_kill(spec: ModelSpec) -> tuple[Results, Results, EngineDiedError]:
    """Ask everything in one go, ask the warm ones again, then kill the engine process while it serves."""
    # Steps smaller than most prompts: in pieces, the seeded ones would end the CPU build's engine.
    config = VllmConfig(
        device="cpu", logprobs=True, enforce_eager=True, max_num_seqs=16, kv_cache_gb=0.25, max_num_batched_tokens=32
    )
    engine = config.build(spec)
    try:
        await exercise(engine, [f"question {i}" for i in range(5)])
        first = await collect(engine, [*greedy(), *bad(), *warm()])
        again = await collect(engine, warm()[::-1])
        endless = [
            a_request(text, candidate_id=f"k{i}", temperature=1.0, max_tokens=100)
            for i, text in enumerate(QUESTIONS * 400)
        ]
        dying = asyncio.create_task(collect(engine, endless))
        await asyncio.sleep(0.5)
        for pid in _children():
            os.kill(pid, 9)
        try:
            await dying
        except EngineDiedError as error:
            return first, again, error
        raise AssertionError("the engine was killed without an error")
    finally:
        await engine.close()
        await engine.close()


def _children() -> list[int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if "EngineCore" in Path(f"/proc/{pid}/cmdline").read_text()]


@pytest.fixture(scope="module")
def served(spec) -> tuple[Results, Results, EngineDiedError]:
    return asyncio.run(_ask_then_kill(spec))


def test_greedy_answers_and_logprobs_equal_those_of_transformers(served, spec):
    expected = ask(TransformersConfig().build(spec), greedy())
    for candidate_id, wanted in expected.items():
        found = served[0][candidate_id]
        assert isinstance(found, Completion)
        assert isinstance(wanted, Completion)
        assert found.text == wanted.text
        assert found.finish_reason == wanted.finish_reason
        assert (found.prompt_tokens, found.completion_tokens) == (wanted.prompt_tokens, wanted.completion_tokens)
        assert found.cumulative_logprob == pytest.approx(wanted.cumulative_logprob, abs=1e-3)


def test_some_answers_end_by_themselves_and_some_do_not(served):
    reasons = {r.finish_reason for r in served[0].values() if isinstance(r, Completion)}
    assert reasons == {FinishReason.STOP, FinishReason.LENGTH}


def test_bad_rows_fail_alone(served):
    results = served[0]
    assert results["empty"] == Failure("empty", "empty_prompt")
    assert isinstance(results["long"], Failure)
    assert results["long"].reason == "prompt_too_long"
    clipped = results["clipped"]
    assert isinstance(clipped, Completion)
    assert clipped.prompt_tokens + clipped.completion_tokens <= CONTEXT
    assert all(isinstance(results[request.candidate_id], Completion) for request in [*greedy(), *warm()])


def test_seeds_reproduce_and_matter(served):
    first, again, _ = served
    assert {key: result.text for key, result in again.items()} == {key: first[key].text for key in again}
    assert sum(first[f"w{i}-0"].text != first[f"w{i}-1"].text for i in range(len(QUESTIONS))) >= 2


def test_a_killed_engine_is_noticed_and_may_be_tried_again(served):
    assert served[2].retryable


def test_the_wrong_build_is_refused_by_name(spec):
    with pytest.raises(UserError, match=r"engine.device is 'gpu', but the vLLM here is the CPU build"):
        VllmConfig(device="gpu").build(spec)


def test_a_model_that_cannot_be_loaded_is_named(tmp_path):
    with pytest.raises(EngineStartError, match="teacher 'tiny': vLLM cannot load"):
        VllmConfig(device="cpu").build(ModelSpec("tiny", str(tmp_path), precision="fp32"))
