"""A server on loopback that behaves like OpenAI's Batch API, as it is documented, and misbehaves as told."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Line = dict[str, Any]


def completion(text: str, **usage: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3} | usage,
    }


def output(line: Line, status: int, body: dict[str, Any]) -> Line:
    """Return a line of an output or error file."""
    response = {"status_code": status, "request_id": "req_1", "body": body}
    return {
        "id": f"batch_req_{line['custom_id']}",
        "custom_id": line["custom_id"],
        "response": response,
        "error": None,
    }


def echo(line: Line) -> Line:
    return output(line, 200, completion(f"you said {line['body']['messages'][-1]['content']}"))


def refuse(line: Line, status: int, code: str) -> Line:
    return output(line, status, {"error": {"message": f"no: {code}", "type": code, "code": code}})


def expired(line: Line) -> Line:
    error = {"code": "batch_expired", "message": "This request could not be executed in time."}
    return {"id": f"batch_req_{line['custom_id']}", "custom_id": line["custom_id"], "response": None, "error": error}


@dataclass
class BatchServer:
    """The account.

    Attributes:
        answer: what becomes of a line, given the ordinal of its batch.
        ending: the last status of a batch, by its ordinal.
        invalid: the validation errors of a batch, given its ordinal and lines.
        num_polls: polls until a batch has ended; None: it never ends.
        key: of the account; empty: none is needed.
        page_size: batches that a page of the list holds.
        batches, files: what lies there, by id.
        lines: those of each batch, in order of creation.
        num_answered: custom id → answers with status 200 there were for it: each is paid.
        lost: answers to POST /batches that get lost, although the batch is made.
        garble: changes an output file, given the ordinal of its batch; None: it is gone.
        keeps_metadata: whether batches have it.
        calls: method and path of every request.
    """

    answer: Callable[[Line, int], Line] = lambda line, _: echo(line)
    ending: Callable[[int], str] = lambda _: "completed"
    invalid: Callable[[int, list[Line]], list[dict[str, Any]]] = lambda _, __: []
    num_polls: int | None = 2
    page_size: int = 100
    key: str = "good-key"
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    lines: list[list[Line]] = field(default_factory=list)
    num_answered: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    garble: Callable[[bytes, int], bytes | None] = lambda content, _: content
    keeps_metadata: bool = True
    calls: list[str] = field(default_factory=list)
    base_url: str = ""
    polls: Counter[str] = field(default_factory=Counter)

    @property
    def num_lines(self) -> Counter[str]:
        """How often each custom id was submitted."""
        return Counter(line["custom_id"] for lines in self.lines for line in lines)

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.path}")
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            error = {"message": "Incorrect API key provided: sk-***", "code": "invalid_api_key"}
            return web.json_response({"error": error}, status=401)
        response: web.StreamResponse = await handler(request)
        return response

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "m"}]})

    async def upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        file_id = self._store(form["file"].file.read())
        return web.json_response({"id": file_id, "object": "file", "purpose": "batch"})

    async def content(self, request: web.Request) -> web.Response:
        found = self.files.get(request.match_info["id"])
        if found is None:
            return web.json_response({"error": {"message": "No such File object", "code": None}}, status=404)
        return web.Response(body=found, content_type="application/octet-stream")

    async def create(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        assert wanted["endpoint"] == "/v1/chat/completions"
        assert wanted["completion_window"] == "24h"
        metadata = wanted["metadata"]
        assert len(metadata) <= 16
        assert all(len(k) <= 64 and isinstance(v, str) and len(v) <= 512 for k, v in metadata.items())
        lines = [json.loads(line) for line in self.files[wanted["input_file_id"]].splitlines()]
        assert len({line["custom_id"] for line in lines}) == len(lines) <= 50_000
        assert all(line["method"] == "POST" and line["url"] == wanted["endpoint"] for line in lines)
        ordinal = len(self.lines)
        batch = {
            "id": f"batch_{ordinal}",
            "object": "batch",
            "status": "validating",
            "input_file_id": wanted["input_file_id"],
            "created_at": 1_900_000_000 + ordinal,
            "metadata": metadata if self.keeps_metadata else None,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
        }
        self.lines.append(lines)
        self.batches[batch["id"]] = batch
        if self.lost:
            self.lost -= 1
            return web.json_response({"error": {"message": "bad gateway"}}, status=502)
        return web.json_response(batch)

    async def look(self, request: web.Request) -> web.Response:
        batch = self.batches[request.match_info["id"]]
        self.polls[batch["id"]] += 1
        if batch["status"] in ("validating", "in_progress"):
            self._go_on(batch)
        return web.json_response(batch)

    async def listed(self, request: web.Request) -> web.Response:
        names = list(reversed(self.batches))  # the newest first
        after = request.query.get("after")
        rest = names[names.index(after) + 1 :] if after else names
        page = rest[: min(self.page_size, int(request.query.get("limit", 20)))]
        data = [self.batches[name] for name in page]
        return web.json_response({"object": "list", "data": data, "has_more": len(rest) > len(page)})

    def _go_on(self, batch: dict[str, Any]) -> None:
        ordinal = int(batch["id"].removeprefix("batch_"))
        lines = self.lines[ordinal]
        if errors := self.invalid(ordinal, lines):
            batch |= {"status": "failed", "errors": {"object": "list", "data": errors}}
            return
        batch["status"] = "in_progress"
        if self.num_polls is None or self.polls[batch["id"]] < self.num_polls:
            return
        answers = [self.answer(line, ordinal) for line in lines]
        good = [each for each in answers if each["response"] and each["response"]["status_code"] == 200]
        bad = [each for each in answers if each not in good]
        self.num_answered.update(each["custom_id"] for each in good)
        for key, found in (("output_file_id", good), ("error_file_id", bad)):
            if found:
                content = "".join(json.dumps(each) + "\n" for each in found).encode()
                garbled = self.garble(content, ordinal) if key == "output_file_id" else content
                batch[key] = "file-gone" if garbled is None else self._store(garbled)
        batch |= {"status": self.ending(ordinal)}
        batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}

    def _store(self, content: bytes) -> str:
        self.files[f"file-{len(self.files)}"] = content
        return f"file-{len(self.files) - 1}"


@asynccontextmanager
async def serve_batches(**behaviour: Any) -> AsyncIterator[BatchServer]:
    """Serve on a free port of 127.0.0.1."""
    server = BatchServer(**behaviour)
    app = web.Application(middlewares=[server.guard], client_max_size=2**28)
    app.router.add_get("/v1/models", server.models)
    app.router.add_post("/v1/files", server.upload)
    app.router.add_get("/v1/files/{id}/content", server.content)
    app.router.add_post("/v1/batches", server.create)
    app.router.add_get("/v1/batches", server.listed)
    app.router.add_get("/v1/batches/{id}", server.look)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()
