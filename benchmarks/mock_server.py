"""A mock OpenAI-compatible server in a process of its own: answers from a hash, logs each call, fails on demand.

    python -m benchmarks.mock_server --log calls.log --latency-s 0.05
    python -m benchmarks.mock_server --log calls.log --config '{"limits": [[0, 64], [2, 32]], "limits_period_s": 4}'
    python -m benchmarks.mock_server --capacity        # how many requests a second one core of it answers

It prints {"base_url", "pid"} as one JSON line when it listens. A call's key is the hash of its messages, seed and
model; its attempt counts the calls of that key from 0. Answers depend on the key (with `text_by_attempt` on the
attempt too), faults on key and attempt, so a run can be repeated.

The log has one line for each call, written when it ends: `key attempt status t_start t_end`, times in seconds of
CLOCK_MONOTONIC, which all processes of a machine share. Status 499: the client went away before the answer; 0: the
server dropped the connection, as told. HTTP is parsed by hand: aiohttp's server would be the bottleneck.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmarks.mock_behaviour import ServerConfig, key_of, text_of

FLUSH_S = 0.02
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}


@dataclass
class Server:
    """State shared by all connections."""

    config: ServerConfig
    log_fd: int
    lines: list[str] = field(default_factory=list)
    attempts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    open: "set[Call]" = field(default_factory=set)
    num_calls: int = 0
    num_crashes: int = 0
    crash_times: list[float] = field(default_factory=list)
    kill_times: list[float] = field(default_factory=list)
    first_call_at: float | None = None
    down_until: float = 0.0
    armed: list[tuple[int, int]] = field(default_factory=list)  # (calls, pid)

    def write(self, line: str) -> None:
        if not self.lines:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        self.lines.append(line)

    def flush(self) -> None:
        if self.lines:
            os.write(self.log_fd, "".join(self.lines).encode())
            self.lines.clear()

    def crash(self) -> None:
        """Break off everything under way and stay away for a while."""
        self.num_crashes += 1
        self.crash_times.append(time.monotonic())
        self.down_until = time.monotonic() + self.config.down_s
        for call in list(self.open):
            call.end(0)
            call.connection.drop()

    def count(self) -> None:
        """Count a call; kill who was to be killed at this one."""
        self.num_calls += 1
        for at, pid in [entry for entry in self.armed if entry[0] <= self.num_calls]:
            self.armed.remove((at, pid))
            if pid:
                self.kill_times.append(time.monotonic())
                _kill(pid)
            else:
                self.crash()

    def stats(self) -> dict[str, Any]:
        return {
            "num_calls": self.num_calls,
            "num_crashes": self.num_crashes,
            "crash_times": self.crash_times,
            "kill_times": self.kill_times,
            "num_keys": len(self.attempts),
            "in_flight": len(self.open),
            "cpu_s": time.process_time(),
            "config": asdict(self.config),
        }


@dataclass(eq=False)
class Call:
    """One request under way."""

    server: Server
    connection: "Connection"
    key: str
    attempt: int
    started: float
    timer: asyncio.TimerHandle | None = None
    is_over: bool = False

    def end(self, status: int) -> None:
        if self.is_over:
            return
        self.is_over = True
        if self.timer:
            self.timer.cancel()
        self.server.open.discard(self)
        line = f"{self.key} {self.attempt} {status} {self.started:.6f} {time.monotonic():.6f}\n"
        self.server.write(line)


class Connection(asyncio.Protocol):
    """One client connection: HTTP/1.1, kept alive, requests answered one after the other."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.buffer = b""
        self.call: Call | None = None
        self.is_last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        if time.monotonic() < self.server.down_until:
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self.call:
            self.call.end(499)

    def drop(self) -> None:
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while self.call is None:
            head_end = self.buffer.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = self.buffer[:head_end]
            size = _content_length(head)
            if len(self.buffer) < head_end + 4 + size:
                return
            body = self.buffer[head_end + 4 : head_end + 4 + size]
            self.buffer = self.buffer[head_end + 4 + size :]
            self.dispatch(head, body)

    def dispatch(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
        path = path.split(b"?", 1)[0]
        self.is_last = b"connection: close" in head.lower()
        if path.endswith(b"/chat/completions") and method == b"POST":
            self.complete(body)
        elif path.endswith(b"/models"):
            self.send(200, {"object": "list", "data": [{"id": "mock", "object": "model"}]})
        elif path == b"/control/stats":
            self.server.flush()
            self.send(200, self.server.stats())
        elif path == b"/control/crash":
            self.server.crash()
            self.send(200, {})
        elif path == b"/control/arm":
            order = json.loads(body)  # {"pid": 0 for the server itself, "after": calls from now}
            self.server.armed.append((self.server.num_calls + int(order["after"]), int(order["pid"])))
            self.send(200, {})
        elif path == b"/control/disarm":
            self.server.armed.clear()
            self.send(200, {})
        elif path in (b"/health", b"/v1/health"):
            self.send(200, {})
        else:
            self.send(404, {"error": {"message": "no such path"}})

    def complete(self, body: bytes) -> None:
        server, config = self.server, self.server.config
        try:
            request = json.loads(body)
        except ValueError:
            self.send(400, {"error": {"message": "not JSON"}})
            return
        now = time.monotonic()
        key = key_of(request)
        call = Call(server, self, key, server.attempts[key], now)
        server.attempts[key] += 1
        if server.first_call_at is None:
            server.first_call_at = now
        limit = config.limit_at(now - server.first_call_at)
        is_refused = limit is not None and len(server.open) >= limit
        server.open.add(call)
        self.call = call
        server.count()
        if call.is_over:
            return
        if is_refused:
            self.finish(call, 429, {"error": {"message": "too many"}})
        elif config.poison and config.poison.encode() in body:
            call.end(0)
            self.drop()
            server.crash()
        else:
            wait_s = config.latency_of(key, call.attempt)
            call.timer = asyncio.get_running_loop().call_later(wait_s, self.answer, call, request)

    def answer(self, call: Call, request: dict[str, Any]) -> None:
        config = self.server.config
        fault = config.fault_of(call.key, call.attempt)
        if fault == "stalls":
            return  # until the client gives up
        if fault == "errors":
            self.finish(call, 500, {"error": {"message": "as told"}})
            return
        text = text_of(call.key, config.num_words, call.attempt if config.text_by_attempt else None)
        prompt_tokens = sum(len(str(m.get("content")).split()) for m in request.get("messages", ()))
        tokens = len(text.split())
        answer = {
            "id": call.key,
            "object": "chat.completion",
            "created": 0,
            "model": request.get("model"),
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": tokens,
                "total_tokens": prompt_tokens + tokens,
            },
        }
        if fault == "drops":
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{")
            call.end(0)
            self.transport.close()
        else:
            self.finish(call, 200, "<html>garbage" if fault == "garbage" else answer)

    def finish(self, call: Call, status: int, body: Any) -> None:
        self.send(status, body)
        # garbage is no success for whoever counts answers
        call.end(299 if body == "<html>garbage" else status)
        self.call = None
        if self.buffer:
            self.data_received(b"")

    def send(self, status: int, body: Any) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        wait = self.server.config.retry_after_s
        retry = f"Retry-After: {wait:g}\r\n" if status == 429 and wait >= 0 else ""
        head = (
            f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\n"
            f"{retry}Content-Length: {len(data)}\r\n\r\n"
        )
        self.transport.write(head.encode() + data)
        if self.is_last:
            self.transport.close()


def _content_length(head: bytes) -> int:
    lower = head.lower()
    start = lower.find(b"\r\ncontent-length:")
    if start < 0:
        return 0
    end = lower.find(b"\r\n", start + 2)
    return int(lower[start + 17 : end if end > 0 else len(lower)])


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def run_server(config: ServerConfig, log: Path, port: int) -> None:
    """Serve until SIGTERM."""
    log_fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    server = Server(config, log_fd)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stopping.set)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    listener = await loop.create_server(lambda: Connection(server), sock=sock, backlog=4096)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
    print(json.dumps({"base_url": url, "pid": os.getpid()}), flush=True)
    await stopping.wait()
    listener.close()
    server.flush()


def measure_capacity(num_calls: int) -> dict[str, Any]:
    """Measure what one core of the server answers: its CPU time for `num_calls` on 64 kept-alive connections."""
    from benchmarks.harness import serve, stats_of

    body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": "how long is the river"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    async def client(port: int, calls: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(calls):
            writer.write(head + body)
            size = _content_length(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(size)
        writer.close()

    async def clients(port: int) -> None:
        await asyncio.gather(*(client(port, num_calls // 64) for _ in range(64)))

    with serve(latency_s=0.0) as server:
        before, started = stats_of(server), time.perf_counter()
        asyncio.run(clients(int(server.base_url.split(":")[2].split("/")[0])))
        wall_s = time.perf_counter() - started
        after = stats_of(server)
    calls, cpu_s = after["num_calls"] - before["num_calls"], after["cpu_s"] - before["cpu_s"]
    return {
        "benchmark": "mock_server",
        "calls": calls,
        "calls_per_core_second": round(calls / cpu_s),
        "calls_per_second": round(calls / wall_s),
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--log", type=Path, default=Path("calls.log"), help="append-only log of calls")
    parser.add_argument("--config", default="{}", help="ServerConfig as JSON; flags below go first")
    parser.add_argument("--capacity", action="store_true", help="measure this server instead of serving")
    for option in fields(ServerConfig):
        if isinstance(option.default, float | int | str) and not isinstance(option.default, bool):
            flag = "--" + option.name.replace("_", "-")
            parser.add_argument(flag, dest=option.name, type=type(option.default), help=f"default {option.default!r}")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    if options.capacity:
        print(json.dumps(measure_capacity(50_000)))
        return
    given = {f.name: getattr(options, f.name, None) for f in fields(ServerConfig)}
    values = json.loads(options.config) | {name: value for name, value in given.items() if value is not None}
    values["limits"] = tuple((float(t), int(n)) for t, n in values.get("limits", ()))
    serving = run_server(ServerConfig(**values), options.log, options.port)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


if __name__ == "__main__":
    main()
