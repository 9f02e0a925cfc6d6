"""A real S3 protocol server on the loopback, as a process of its own, and runs in it."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyarrow import fs

from arbitrage.contracts.steps import Pipeline
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.progress import NoProgress
from arbitrage.execution.run import Backend, RunRequest, execute
from arbitrage.runs import paths
from arbitrage.runs.manifest import Manifest
from arbitrage.runs.paths import AnyPath, files_below

SECRET = "a-secret-that-nobody-may-write-down"


@contextmanager
def object_store(bucket: str) -> Iterator[Path]:
    """Start a server, make a bucket, and point the AWS environment variables there; yield the log of requests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with tempfile.NamedTemporaryFile(prefix="store-", suffix=".log", delete=False) as log:
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    try:
        _wait_until_it_listens(server, port)
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
            patch.setenv("AWS_REGION", "us-east-1")
            paths._filesystem.cache_clear()
            fs.FileSystem.from_uri(f"s3://{bucket}?allow_bucket_creation=true")[0].create_dir(bucket)
            yield Path(log.name)
    finally:
        paths._filesystem.cache_clear()
        server.kill()
        server.wait()
        Path(log.name).unlink()


def requests_in(log: Path) -> list[str]:
    """Return the requests that the store has served, such as "GET /bucket/run/run.json"."""
    return re.findall(r'"(?:\x1b\[[0-9;]*m)*([A-Z]+ [^ "]+)', log.read_text(encoding="utf-8"))


def _wait_until_it_listens(server: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + 150
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert server.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.05)


def run(directory: AnyPath, pipeline: Pipeline, backend: Backend | None = None, shards: int = 2) -> Manifest:
    request = RunRequest("toy", "toy", pipeline, directory, shards, range(shards), 0.2, {}, stall_after_s=120.0)
    return execute(request, backend or LocalBackend(), NoProgress())


def shard_bytes(directory: AnyPath) -> dict[str, bytes]:
    return {
        str(path)[len(str(directory)) + 1 :]: path.read_bytes()
        for path in files_below(directory)
        if path.name.endswith(".parquet")
    }
