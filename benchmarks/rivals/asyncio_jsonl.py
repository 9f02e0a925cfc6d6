"""The honest rival: asyncio, aiohttp and a JSONL file; resumes by skipping ids that are there, keeps nothing else.

python benchmarks/rivals/asyncio_jsonl.py BASE_URL prompts.jsonl answers.jsonl [in_flight]
"""

import asyncio
import json
import sys
from pathlib import Path

import aiohttp


def lines_of(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


async def main(url: str, source: str, target: str, in_flight: int = 256) -> None:
    done = {json.loads(line)["id"] for line in lines_of(target)}
    rows = iter([row for row in map(json.loads, lines_of(source)) if row["id"] not in done])
    with open(target, "a") as out:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def work() -> None:
                for row in rows:
                    body = {"model": "mock", "messages": [{"role": "user", "content": row["prompt"]}], "seed": 0}
                    async with session.post(f"{url}/chat/completions", json=body) as response:
                        answer = await response.json()
                    text = answer["choices"][0]["message"]["content"]
                    out.write(json.dumps({"id": row["id"], "text": text}) + "\n")
                    out.flush()

            await asyncio.gather(*(work() for _ in range(in_flight)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], *map(int, sys.argv[4:5])))  # type: ignore[arg-type]
