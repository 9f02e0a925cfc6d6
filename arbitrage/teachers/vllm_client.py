"""The running `AsyncLLM` behind the `vllm` engine."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from arbitrage.contracts.engines import Completion, Failure, GenerationRequest
from arbitrage.errors import DataError, EngineDiedError, UserError
from arbitrage.loading import load_config, load_tokenizer, loading
from arbitrage.models import loadable
from arbitrage.records import FinishReason
from arbitrage.teachers.engine import ModelSpec, Result, fit, refuse_empty, too_long
from arbitrage.teachers.stream import answer_all
from arbitrage.teachers.vllm import VllmEngine
from arbitrage.vllm_start import checkpoint_quantization, start_engine


class Vllm:
    """One engine. It belongs to the event loop in which it first generates."""

    def __init__(self, config: VllmEngine, spec: ModelSpec) -> None:
        self._config = config
        self._teacher = spec.teacher
        load_config(spec.model, spec.revision, spec.owner, "vLLM")  # broken files are named before anything else is
        chat = spec.chat(load_tokenizer(spec.model, spec.revision, spec.owner))  # before minutes of loading weights
        self._engine = _start(config, spec)
        self._context_length = int(self._engine.model_config.max_model_len)
        self._chat = chat
        self._num_asked = 0

    def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Result, None]:
        """Answer all requests; vLLM batches those in flight as it likes."""
        return answer_all(requests, self._ask, self._config.max_in_flight)

    async def close(self) -> None:
        """Stop the engine's processes."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.shutdown)

    async def _ask(self, request: GenerationRequest) -> Result:
        if empty := refuse_empty(request):
            return empty
        try:
            ids = await asyncio.to_thread(self._chat.encode, request.messages)
        except DataError as error:
            return Failure(request.candidate_id, "bad_request", str(error))
        room = fit(len(ids), request.max_tokens, self._context_length)
        if not room:
            return too_long(request, len(ids), self._context_length)
        return await self._sample(request, ids, room)

    async def _sample(self, request: GenerationRequest, ids: list[int], max_tokens: int) -> Result:
        from vllm import SamplingParams, TokensPrompt
        from vllm.exceptions import VLLMClientError, VLLMError
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        params = SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            max_tokens=max_tokens,
            logprobs=0,  # of the chosen token alone
            output_kind=RequestOutputKind.FINAL_ONLY,
            detokenize=False,  # once, below, instead of token by token
        )
        self._num_asked += 1  # the same candidate may be asked for again by another shard's retry
        request_id = f"{request.candidate_id}-{self._num_asked}"
        try:
            prompt = TokensPrompt(prompt_token_ids=ids)
            outputs = [output async for output in self._engine.generate(prompt, params, request_id)]
        except EngineDeadError as error:
            raise EngineDiedError(f"teacher '{self._teacher}': the vLLM engine died while it was serving") from error
        except VLLMClientError as error:
            return Failure(request.candidate_id, "bad_request", str(error)[:300])
        except VLLMError as error:
            return Failure(request.candidate_id, "engine_error", f"{type(error).__name__}: {error}"[:300])
        return self._complete(request, outputs[-1].outputs[0], len(ids))

    def _complete(self, request: GenerationRequest, answer: Any, num_prompt_tokens: int) -> Result:
        if answer.finish_reason not in ("stop", "length"):
            return Failure(request.candidate_id, "engine_error", f"vLLM ended it with '{answer.finish_reason}'")
        ids = list(answer.token_ids)
        return Completion(
            candidate_id=request.candidate_id,
            text=self._chat.decode(ids[:-1] if answer.finish_reason == "stop" else ids),
            finish_reason=FinishReason(answer.finish_reason),
            prompt_tokens=num_prompt_tokens,
            completion_tokens=len(ids),
            cumulative_logprob=answer.cumulative_logprob,
        )


def _start(config: VllmEngine, spec: ModelSpec) -> Any:
    from vllm.platforms import current_platform

    if current_platform.is_cpu() != (config.device == "cpu"):
        found = "CPU" if current_platform.is_cpu() else "GPU"
        raise UserError(
            f"teacher '{spec.teacher}': engine.device is '{config.device}', but the vLLM here is the {found} build"
        )
    who = spec.owner
    with loading(who, spec.model, "vLLM"):
        model = loadable(spec.model)
        saved_as = checkpoint_quantization(model, spec.revision)
    arguments = config.engine_args(spec, model, saved_as)
    if spec.precision in ("fp8", "int8", "int4") and saved_as is None and "quantization" not in arguments:
        raise UserError(
            f"{who}: precision is '{spec.precision}', but {spec.model} holds weights that are not quantised; "
            "give a quantised checkpoint, set engine.quantization, or say which precision it has"
        )
    with loading(who, spec.model, "vLLM"):
        return start_engine(who, spec.model, arguments)
