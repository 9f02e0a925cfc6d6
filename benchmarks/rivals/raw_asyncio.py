"""The yardstick: an aiohttp client that asks the same questions and keeps nothing.

python benchmarks/rivals/raw_asyncio.py BASE_URL prompts.jsonl [in_flight]
"""

import asyncio
import json
import sys
from pathlib import Path

import aiohttp


async def main(url: str, source: str, in_flight: int = 256) -> None:
    prompts = iter([json.loads(line)["prompt"] for line in Path(source).read_text().splitlines()])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for prompt in prompts:
                body = {"model": "mock", "messages": [{"role": "user", "content": prompt}], "seed": 0}
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    json.loads(await response.read())

        await asyncio.gather(*(work() for _ in range(in_flight)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3], *map(int, sys.argv[3:4])))  # type: ignore[arg-type]
