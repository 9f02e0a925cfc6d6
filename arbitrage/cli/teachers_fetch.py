"""`arbitrage teachers fetch`: download weights to every machine once, before a run."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbitrage.cli.options import JsonOption
from arbitrage.cli.screen import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from arbitrage.teachers.fetch import Fetched, Weights

    Fetch = Callable[[Weights], Iterator[Fetched]]


def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Teachers to fetch (default: all).")] = None,
    pool: Annotated[Path, typer.Option("--pool", help="Pool file.")] = Path("teachers.yaml"),
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="Ray cluster: fetch on each of its nodes (default: here)."),
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds after which a node is given up.")
    ] = 14_400.0,
    as_json: JsonOption = False,
) -> None:
    """Download the weights of teachers, at their pinned revisions, to this machine or to every node of a cluster.

    What is there already is not downloaded again, and an interrupted download continues. Exits with 4 if one fails.
    """
    from arbitrage.teachers.fetch import weights_of
    from arbitrage.teachers.pool import load_pool

    found = load_pool(pool)
    chosen = found.select(names) if names else found.teachers
    users: dict[Weights, list[str]] = {}
    for teacher in chosen:
        wanted = weights_of(teacher)
        for each in wanted:
            users.setdefault(each, []).append(teacher.name)
        if not wanted and not as_json:
            say(f"– {teacher.name}: nothing to fetch for engine '{teacher.engine.kind}'")
    results: list[Fetched] = []
    with _fetcher(ray, timeout_s) as fetch_one:
        for weights, teachers in users.items():
            for result in fetch_one(weights):
                results.append(result)
                if not as_json:
                    say(_line(result, weights, teachers))
    if as_json:
        print(json.dumps([asdict(result) for result in results]))
    sys.exit(4 if any(result.error for result in results) else 0)


@contextmanager
def _fetcher(address: str | None, timeout_s: float) -> "Iterator[Fetch]":
    from arbitrage.teachers.fetch import Fetched, fetch_weights

    if address is None:
        yield lambda weights: iter([fetch_weights(weights)])
        return
    from arbitrage.execution.progress import NoProgress
    from arbitrage.execution.ray.call import cluster_calls

    with cluster_calls(address, NoProgress()) as calls:

        def on_nodes(weights: "Weights") -> "Iterator[Fetched]":
            for node, result in calls.on_every_node(fetch_weights, weights, timeout_s=timeout_s):
                yield result if isinstance(result, Fetched) else Fetched(weights.name, node, error=str(result))

        yield on_nodes


def _line(result: "Fetched", weights: "Weights", teachers: list[str]) -> str:
    at = f" at {weights.revision[:12]}" if weights.revision else ""
    who = f"{', '.join(teachers)}: {result.name}{at}"
    if result.error:
        return f"✗ {who} on {result.host}: {result.error}"
    size = f"{result.size_bytes / 1e9:,.3g} GB in {result.directory} on {result.host}"
    if not result.downloaded_bytes:
        return f"✓ {who}: already here, {size}"
    return f"✓ {who}: downloaded {result.downloaded_bytes / 1e9:,.3g} GB in {result.seconds:,.0f} s; {size}"
