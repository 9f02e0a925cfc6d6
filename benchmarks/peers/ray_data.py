"""Ray Data 2.60 in its best configuration: an async UDF in actors, blocks as small as its checkpoint needs.

    benchmarks/peers/.venv-ray-data/bin/python benchmarks/peers/ray_data.py BASE_URL prompts.jsonl OUT_DIR IN_FLIGHT

Not its HTTP stage (`ray.data.llm.HttpRequestProcessorConfig`), which sends almost one request at a time. The UDF
gathers a whole batch in one event loop; two actors, so that one's tail overlaps the other's head;
`CheckpointConfig` on.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import ray
from ray.data.checkpoint import CheckpointConfig

ACTORS = 2


class Ask:
    def __init__(self, url: str, in_flight: int) -> None:
        self._url = f"{url}/chat/completions"
        self._places = asyncio.Semaphore(in_flight)
        self._session = None

    async def __call__(self, batch: dict) -> AsyncIterator[dict]:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

        async def one(prompt: str) -> str:
            body = {"model": "mock", "messages": [{"role": "user", "content": prompt}], "seed": 0}
            async with self._places, self._session.post(self._url, json=body) as response:
                return (await response.json())["choices"][0]["message"]["content"]

        texts = await asyncio.gather(*(one(str(prompt)) for prompt in batch["prompt"]))
        yield {"id": batch["id"], "text": list(texts)}


def main(url: str, source: str, out: str, in_flight: int) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.wait_for_min_actors_s = 120  # before the clock of its first call starts
    context.checkpoint_config = CheckpointConfig(id_column="id", checkpoint_path=os.path.join(out, "checkpoint"))
    rows = ray.data.read_json(source, lines=True)
    rows.map_batches(
        Ask,
        fn_constructor_args=(url, in_flight // ACTORS),
        batch_size=in_flight // ACTORS,
        compute=ray.data.ActorPoolStrategy(size=ACTORS),
        num_cpus=0.5,
        max_concurrency=4,
    ).write_parquet(os.path.join(out, "rows"))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
