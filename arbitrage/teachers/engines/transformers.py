"""The engine `transformers`: Hugging Face `generate`, for laptops and the demo's models; on CPUs or one GPU."""

import asyncio
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from arbitrage.config import Operational, Raw
from arbitrage.contracts.engines import Failure, GenerationRequest
from arbitrage.models.adapters import Adapter
from arbitrage.models.loading import (
    DTYPES,
    first_line,
    load_config,
    load_model,
    loading,
    longest_input,
    padding_id,
)
from arbitrage.records import FinishReason
from arbitrage.teachers.engines.engine import (
    EngineOptions,
    ModelSpec,
    Precision,
    Result,
    UsabilityCheck,
    encoded_prompt,
    fit,
    json_hash,
    too_long,
)
from arbitrage.teachers.engines.logit_rules import Budget, LogitRules
from arbitrage.teachers.engines.packages import check_local_model, find_package, require_package
from arbitrage.teachers.engines.sampler import Draw, RowLimits, RowSampler
from arbitrage.teachers.engines.shared import borrow
from arbitrage.teachers.reasoning import ReasoningSplitter, completion_of
from arbitrage.teachers.tools import ToolParser

BATCHES_SORTED = 16
"""Prompts of this many batches are sorted by length together, so that there is little padding."""


class TransformersConfig(EngineOptions):
    """Config of `transformers`.

    Attributes:
        batch_size: rows generated together; they are sorted by length first.
        device: device; "auto" uses a GPU if there is one.
        threads: CPU threads per replica; None: PyTorch's default.
    """

    loads_model: ClassVar[bool] = True
    takes_adapters: ClassVar[bool] = True
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "bf16", "fp16")
    unsupported: ClassVar[frozenset[str]] = frozenset({"structured_output"})

    kind: Literal["transformers"] = "transformers"
    batch_size: Annotated[int, Field(ge=1), Operational] = 32
    device: Annotated[Literal["auto", "cpu", "cuda"], Operational] = "auto"
    threads: Annotated[int | None, Field(ge=1), Operational] = None

    def build(self, spec: ModelSpec) -> "TransformersEngine":
        """Load the model."""
        self.require(spec)
        return TransformersEngine(self, spec)

    def load_identity(self, spec: ModelSpec) -> Raw:
        """Return what the model is loaded with; adapters are added to it."""
        return {
            "engine": self.model_dump(mode="json", exclude={"batch_size"}),
            "model": [spec.model, spec.revision, spec.precision],
        }

    def num_gpus(self) -> float:
        """Return one GPU if the config names one."""
        return 1.0 if self.device == "cuda" else 0.0

    def num_cpus(self) -> float:
        """Return the threads, or one core."""
        return float(self.threads or 1)

    def require(self, spec: ModelSpec) -> None:
        """Check that the packages are there."""
        require_package("transformers", "5.0", "pip install 'transformers>=5' torch")
        if spec.adapter is not None:
            require_package("peft", "0.18", "pip install 'peft>=0.18'")

    async def check(self, spec: ModelSpec) -> list[UsabilityCheck]:
        """Look at the package and the model's files."""
        return [find_package("transformers", "5.0"), *check_local_model(spec)]


@dataclass(frozen=True, slots=True)
class _Row:
    request: GenerationRequest
    ids: list[int]
    draw: Draw


class TransformersEngine:
    """One loaded model. Batches run in a thread, one at a time."""

    def __init__(self, config: TransformersConfig, spec: ModelSpec) -> None:
        self._config = config
        self._teacher = spec.teacher
        load_config(spec.model, spec.revision, spec.owner)  # report broken files first
        adapter, tokenizer = spec.read_adapter(), spec.tokenizer()
        self._loan = borrow(json_hash(config.load_identity(spec)), lambda: _load(config, spec))
        self._model, self._lock = self._loan.value.model, self._loan.value.lock
        self._adapter = None if adapter is None else self._loan.value.add(adapter, spec.owner)
        self._chat = spec.chat(tokenizer)
        self._tokenizer = tokenizer
        self._splitter = ReasoningSplitter(self._chat, spec.reasoning_parser, spec.owner)
        self._tools = ToolParser(self._chat, spec.tool_parser, spec.owner)
        if "reasoning_budget" in spec.uses:
            self._splitter.budget_marks(spec.owner)
        self._end_ids = _end_ids(self._model, tokenizer)
        pads = (tokenizer.pad_token_id, padding_id(self._model.config.get_text_config()), *self._end_ids, 0)
        size = self._model.get_input_embeddings().num_embeddings
        self._pad_id = next(i for i in pads if isinstance(i, int) and 0 <= i < size)
        limits = (spec.context_length, longest_input(self._model.config))
        self._context_length = min((limit for limit in limits if limit), default=1 << 30)

    async def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Result, None]:
        """Serve all requests, some batches at a time: within these, shortest prompts first."""
        todo = iter(requests)
        while taken := list(islice(todo, self._config.batch_size * BATCHES_SORTED)):
            rows: list[_Row] = []
            for prepared in await asyncio.to_thread(self._prepare_all, taken):
                if isinstance(prepared, Failure):
                    yield prepared
                else:
                    rows.append(prepared)
            rows.sort(key=lambda row: (len(row.ids), row.request.candidate_id))
            for batch in self._batches(rows):
                for result in await asyncio.to_thread(self._answer, batch):
                    yield result

    async def close(self) -> None:
        """Drop the model."""
        self._model = None
        self._loan.give_back()

    def _batches(self, rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
        """Yield rows that are generated together: their further sampling parameters are the same."""
        alike: defaultdict[str, list[_Row]] = defaultdict(list)
        for row in rows:
            alike[json_hash(row.request.options.identity())].append(row)
        for found in alike.values():
            for start in range(0, len(found), self._config.batch_size):
                yield found[start : start + self._config.batch_size]

    def _prepare_all(self, requests: Sequence[GenerationRequest]) -> list[_Row | Failure]:
        return [self._prepare(request) for request in requests]

    def _prepare(self, request: GenerationRequest) -> _Row | Failure:
        if request.response_format is not None:
            return Failure(request.candidate_id, "response_format_unsupported", "the engine 'transformers' has none")
        ids = encoded_prompt(self._chat, self._tools, request)
        if isinstance(ids, Failure):
            return ids
        room = fit(len(ids), request.max_tokens, self._context_length)
        if not room:
            return too_long(request, len(ids), self._context_length)
        return _Row(request, ids, Draw(request.seed, request.temperature, request.top_p, room))

    def _answer(self, batch: Sequence[_Row]) -> list[Result]:
        with self._lock:
            try:
                self._loan.value.use(self._adapter)
                return self._run(batch)
            except Exception as error:  # noqa: BLE001 — of a model's code: one row must not harm the others
                if len(batch) == 1:
                    return [Failure(batch[0].request.candidate_id, "engine_error", first_line(error))]
        return [result for row in batch for result in self._answer([row])]

    def _run(self, batch: Sequence[_Row]) -> list[Result]:
        import torch
        from transformers import GenerationConfig, StopStringCriteria

        width = max(len(row.ids) for row in batch)
        ids = [[self._pad_id] * (width - len(row.ids)) + row.ids for row in batch]
        mask = [[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in batch]
        draws = [row.draw for row in batch]
        options = batch[0].request.options
        end_ids = sorted({*self._end_ids, *options.stop_token_ids})
        sampler = RowSampler(draws, end_ids, self._rules(batch, end_ids) if options.given() else None)
        plain = GenerationConfig(
            do_sample=False,
            max_new_tokens=max(draw.max_tokens for draw in draws),
            eos_token_id=end_ids or None,
            pad_token_id=self._pad_id,
        )
        limits: list[Any] = [RowLimits(draws, width)]
        if options.stop:
            limits.append(StopStringCriteria(self._tokenizer, list(options.stop)))
        with torch.inference_mode():
            output = self._model.generate(
                torch.tensor(ids, device=self._model.device),
                attention_mask=torch.tensor(mask, device=self._model.device),
                generation_config=plain,
                logits_processor=[sampler],
                stopping_criteria=limits,
            )
        answers = output[:, width:].tolist()
        return [self._complete(*each, end_ids) for each in zip(batch, answers, sampler.logprobs, strict=True)]

    def _complete(self, row: _Row, ids: list[int], logprob: float, end_ids: Sequence[int]) -> Result:
        ids = ids[: row.draw.max_tokens]
        end = next((i for i, token in enumerate(ids) if token in end_ids), None)
        is_ended, ids = end is not None, ids if end is None else ids[: end + 1]
        if stop := row.request.options.stop:
            stopped = self._stopped_after(ids[:end], stop)
            if stopped is not None:
                is_ended, end, ids = True, stopped, ids[:stopped]
        return completion_of(
            row.request,
            self._splitter,
            self._tools,
            row.ids,
            ids,
            num_kept=len(ids) if end is None else end,
            finish=FinishReason.STOP if is_ended else FinishReason.LENGTH,
            logprob=logprob,
        )

    def _stopped_after(self, ids: Sequence[int], stops: Sequence[str]) -> int | None:
        """Return how many tokens a text that ends the completion is complete after; None where there is none."""
        if not any(stop in self._chat.decode(ids) for stop in stops):
            return None
        return 1 + bisect_left(
            range(len(ids)), 1, key=lambda k: any(stop in self._chat.decode(ids[: k + 1]) for stop in stops)
        )

    def _rules(self, batch: Sequence[_Row], end_ids: Sequence[int]) -> LogitRules:
        options, prompts = batch[0].request.options, [row.ids for row in batch]
        budget = None
        if options.reasoning_budget is not None:
            marks = self._splitter.budget_marks(f"teacher '{self._teacher}'")
            inside = (self._splitter.num_inside(ids) for ids in prompts)  # vLLM counts these tokens, too
            left = [None if num is None else options.reasoning_budget - num for num in inside]
            budget = Budget(options.reasoning_budget, marks.start, marks.end, left)
        return LogitRules(options, end_ids, prompts, self._ids_of(options.bad_words), budget)

    def _ids_of(self, words: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts, at the beginning of a text and after a space."""
        texts = [f"{gap}{word}" for word in words for gap in ("", " ")]
        found = [self._tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        return [ids for i, ids in enumerate(found) if ids and ids not in found[:i]]


class _LoadedModel:
    """A model and the adapters that were added to it. One batch at a time: all of it is of one teacher."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.end_ids = _end_ids(model)
        self.lock = threading.Lock()
        self._names: dict[str, str] = {}  # directory → name
        self._with_adapters: Any = None  # peft's view of the same model
        # The model's sampling defaults (a repetition penalty, …) would change the sampling.
        model.generation_config = _without_defaults(self.end_ids)

    def add(self, adapter: Adapter, owner: str) -> str:
        """Add an adapter, unless it is there; return its name."""
        path = str(adapter.directory)
        with self.lock, loading(owner, f"adapter {path}"):
            if path not in self._names:
                name = f"adapter{len(self._names)}"
                self._load(path, name)
                self._names[path] = name
                self.model.eval()
            return self._names[path]

    def use(self, adapter: str | None) -> None:
        """Let the model compute with one of its adapters, or with none; call it with the lock held."""
        if adapter is not None:
            self._with_adapters.base_model.enable_adapter_layers()
            self._with_adapters.set_adapter(adapter)
        elif self._names:
            self._with_adapters.base_model.disable_adapter_layers()

    def _load(self, path: str, name: str) -> None:
        # Not transformers' own `load_adapter`: with a second adapter it initialises the first one's weights again.
        if self._with_adapters is None:
            from peft import PeftModel

            self._with_adapters = PeftModel.from_pretrained(self.model, path, adapter_name=name)
        else:
            self._with_adapters.load_adapter(path, adapter_name=name)


def _load(config: TransformersConfig, spec: ModelSpec) -> _LoadedModel:
    require_package("torch", "2.0", "pip install torch")
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    device = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(
        spec.model, spec.revision, spec.owner, loader="AutoModelForCausalLM", dtype=DTYPES[spec.precision]
    )
    with loading(spec.owner, spec.model):
        return _LoadedModel(model.to(device))


def _without_defaults(end_ids: Sequence[int]) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(eos_token_id=list(end_ids) or None)


def _end_ids(model: Any, tokenizer: Any = None) -> list[int]:
    """Return the ids of end tokens that are in the vocabulary: the model's, and the tokenizer's."""
    found = model.generation_config.eos_token_id
    listed = [*(found if isinstance(found, list | tuple) else [found]), getattr(tokenizer, "eos_token_id", None)]
    size = model.get_input_embeddings().num_embeddings
    return sorted({i for i in listed if isinstance(i, int) and 0 <= i < size})
