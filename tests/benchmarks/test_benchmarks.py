"""The benchmarks' tools, in the small: the mock server's promises, and one line of JSON whose exactness figures hold."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from benchmarks import all as all_benchmarks
from benchmarks.harness import ROOT, Calls, MockServer, environment, read_calls, serve
from benchmarks.kills import count_waste
from benchmarks.mock_behaviour import ServerConfig
from benchmarks.occupancy import ideal_end, summarise
from tests.support.waiting import WITHIN_S


def run(module: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


async def ask(server: MockServer, prompts: list[str], tries: int = 1) -> list[tuple[int, str]]:
    """Ask all at once, each again until 200 or out of tries; return the last status and body."""
    url = f"{server.base_url}/chat/completions"

    async def one(session: aiohttp.ClientSession, prompt: str) -> tuple[int, str]:
        body = {"model": "mock", "messages": [{"role": "user", "content": prompt}], "seed": 1}
        status, text = 0, ""
        for _ in range(tries):
            try:
                async with session.post(url, json=body) as response:
                    status, text = response.status, await response.text()
            except aiohttp.ClientError:
                status, text = 0, ""
            if status == 200:
                break
        return status, text

    async with aiohttp.ClientSession() as session:
        return await asyncio.gather(*(one(session, prompt) for prompt in prompts))


def calls_of(*rows: tuple[str, int, int, float, float]) -> Calls:
    key, attempt, status, start, end = zip(*rows, strict=True)
    return Calls(np.array(key), np.array(attempt), np.array(status), np.array(start), np.array(end))


@pytest.mark.process
async def test_same_question_same_answer_and_every_call_is_logged() -> None:
    with serve(latency_s=0.001) as server:
        first = await ask(server, ["a", "b", "c"])
        again = await ask(server, ["a", "b", "c"])
        calls = read_calls(server)
    assert first == again
    assert len({body for _, body in first}) == 3
    assert sorted(Counter(calls.key).values()) == [2, 2, 2]
    assert sorted(calls.attempt) == [0, 0, 0, 1, 1, 1]
    assert set(calls.status) == {200}
    assert (calls.end >= calls.start).all()


@pytest.mark.process
async def test_no_more_than_the_limit_is_accepted() -> None:
    with serve(latency_s=2.0, limits=[[0, 3]], retry_after_s=1) as server:
        statuses = Counter(status for status, _ in await ask(server, [f"q{n}" for n in range(10)]))
        assert read_calls(server).num == 10
    assert statuses == {200: 3, 429: 7}


@pytest.mark.process
async def test_faults_pass_on_a_later_attempt_and_repeat_from_server_to_server() -> None:
    prompts = [f"q{n}" for n in range(40)]
    logs = []
    for _ in range(2):
        with serve(latency_s=0.001, errors=0.2, garbage=0.2, drops=0.2) as server:
            answers = await ask(server, prompts, tries=20)
            calls = read_calls(server)
        assert {status for status, _ in answers} == {200}
        logs.append(sorted(zip(calls.key, calls.attempt, calls.status, strict=True)))
    assert logs[0] == logs[1]
    assert {500, 299, 0} <= {int(status) for _, _, status in logs[0]}


@pytest.mark.process
async def test_a_crash_breaks_off_everything_under_way() -> None:
    with serve(latency_s=120.0, poison="POISON", down_s=0.0) as server:
        asking = asyncio.create_task(ask(server, ["one", "two", "three"]))
        while (await asyncio.to_thread(server.control, "stats"))["in_flight"] < 3:
            await asyncio.sleep(0.01)
        await ask(server, ["POISON"])
        assert [status for status, _ in await asking] == [0, 0, 0]
        assert list(read_calls(server).status) == [0, 0, 0, 0]


def test_limits_move_and_start_again() -> None:
    config = ServerConfig(limits=((0.0, 64), (5.0, 32)), limits_period_s=10.0)
    assert [config.limit_at(t) for t in (0.0, 4.9, 5.0, 9.9, 10.0, 15.0)] == [64, 64, 32, 32, 64, 32]


def test_latencies_are_long_tailed_around_their_mean() -> None:
    config = ServerConfig(latency_s=1.0, latency="lognormal", stragglers=0.01)
    waits = np.array([config.latency_of(str(n), 0) for n in range(20_000)])
    assert waits.mean() == pytest.approx(1.09, abs=0.05)
    assert np.quantile(waits, 0.999) > 6 * np.median(waits)


def test_a_full_house_is_an_occupancy_of_one() -> None:
    calls = calls_of(("a", 0, 200, 0.0, 2.0), ("b", 0, 200, 0.0, 1.0), ("c", 0, 200, 1.0, 2.0))
    assert ideal_end(calls.end - calls.start, 2) == 2.0
    assert summarise(calls, 2)["occupancy"] == 1.0
    assert summarise(calls, 4)["occupancy"] == 0.5


def test_waste_is_what_had_been_answered_before() -> None:
    calls = calls_of(
        ("a", 0, 200, 0.0, 1.0),  # old when the run was killed: a journal must have it
        ("b", 0, 200, 0.0, 4.99),  # had just arrived
        ("c", 0, 499, 4.0, 5.0),  # in flight: not wasted
        ("a", 1, 200, 6.0, 7.0),
        ("b", 1, 200, 6.0, 7.0),
        ("c", 1, 200, 6.0, 7.0),
    )
    found = count_waste(calls, [5.0], window=1, settle_s=0.05)
    assert found == {"calls": 6, "aborted": 1, "wasted": 2, "journaled_wasted": 1, "beyond_window": 1}


def test_what_the_server_answers_a_dying_client_was_under_way_and_each_kill_has_its_own_window() -> None:
    calls = calls_of(
        ("a", 0, 200, 4.99, 5.02),  # no reader was left
        ("a", 1, 499, 6.0, 6.5),  # under way at the second kill
        ("a", 2, 200, 7.0, 7.1),
        ("b", 0, 200, 6.3, 6.4),  # journaled, and yet asked again
        ("b", 1, 200, 7.0, 7.1),
        ("c", 0, 200, 7.0, 7.1),
        ("c", 1, 200, 7.2, 7.3),  # no process was killed
    )
    found = count_waste(calls, [6.5, 5.0], window=2, settle_s=0.05)
    assert found == {"calls": 7, "aborted": 1, "wasted": 4, "journaled_wasted": 2, "beyond_window": 0}


@pytest.mark.process
def test_killed_runs_end_like_uninterrupted_ones() -> None:
    arguments = ["--kills", "3", "--rows", "24", "--shards", "2", "--per-run", "3", "--points", "call"]
    found = run("kills", "--backends", "local", "--latency-s", "0.01", *arguments)
    assert found["kills"] >= 3
    assert [found[name] for name in ("duplicates", "missing", "unreadable", "changed")] == [0, 0, 0, 0]
    assert found["local"]["extra_files"] == 0


@pytest.mark.process
def test_efficiency_counts_every_row_once() -> None:
    found = run("orchestration_efficiency", "--rows", "40", "--repeats", "1", "--backends", "local")
    assert found["benchmark"] == "orchestration_efficiency"
    assert found["rows"] == 40
    for who in ("raw", "jsonl_script", "local"):
        assert {"steady", "end_to_end", "start_s", "finish_s"} <= found[who].keys()


def test_the_published_table_is_what_the_figures_say() -> None:
    results = all_benchmarks.load()
    text = (ROOT / Path("docs/benchmarks.md")).read_text(encoding="utf-8")
    assert all_benchmarks.render(results) in text
    assert all_benchmarks.render_short(results) in (ROOT / "README.md").read_text(encoding="utf-8")
