"""A real S3 protocol server on the loopback, as a process of its own."""

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyarrow import fs

from arbitrage.runs import paths
from tests.support.waiting import wait_until

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
    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
        except OSError:
            return False
        return True

    wait_until(listens, server)
