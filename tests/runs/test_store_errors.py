"""An object store that is not there, refuses or is silent; and names of places."""

import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from arbitrage.errors import StorageError, UserError
from arbitrage.execution.lock import hold_run_lock
from arbitrage.execution.plan import plan
from arbitrage.runs import paths
from arbitrage.runs.paths import StorePath, parse_path
from tests.support.asked import asked_pipeline
from tests.support.object_store import SECRET
from tests.support.paths import ROOT
from tests.support.pipelines import write_pipeline
from tests.support.runs import run
from tests.support.waiting import WITHIN_S

pytestmark = pytest.mark.usefixtures("store")


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch, url: str) -> Iterator[None]:
    """Look for the store at another address, once."""
    with monkeypatch.context() as patch:
        patch.setattr(paths, "ATTEMPTS", 1)
        patch.setenv("AWS_ENDPOINT_URL", url)
        paths._filesystem.cache_clear()
        yield
    paths._filesystem.cache_clear()


def test_a_store_that_cannot_be_reached_is_no_missing_shard(
    prefix: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(prefix, asked_pipeline(10, {}), shards=2)
    with (
        elsewhere(monkeypatch, "http://127.0.0.1:9"),
        pytest.raises(StorageError, match=f"{prefix}.*cannot be listed"),
    ):
        plan(prefix, asked_pipeline(10, {}).targets, 2, range(2))
    assert plan(prefix, asked_pipeline(10, {}).targets, 2, range(2)).num_missing == 0


UNREACHABLE = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("name", "env", "code", "message"),
    [
        ("s3://no-such-bucket/run", {}, 2, "s3://no-such-bucket/run: there is no such bucket"),
        ("s3://bucket/unreachable", UNREACHABLE, 4, "error: s3://bucket/unreachable/_lock"),
        ("s3://key:hush@bucket/run", {}, 2, "credentials and options come from the environment"),
        ("ftp://bucket/run", {}, 2, "ftp://bucket/run: places are paths or names in s3://, gs://"),
    ],
)
def test_what_is_wrong_with_a_place_is_one_sentence(
    tmp_path: Path, name: str, env: dict[str, str], code: int, message: str
) -> None:
    pipeline = write_pipeline(tmp_path)
    command = [sys.executable, "-m", "arbitrage.cli.main", "run", str(pipeline), "--local", "--run-dir", name]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr


class _Forbids(BaseHTTPRequestHandler):
    """A store that rejects all credentials."""

    def do_GET(self) -> None:
        assert "Authorization" not in self.headers
        body = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        return None


def test_without_credentials_the_store_refuses_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Forbids) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with elsewhere(monkeypatch, f"http://127.0.0.1:{server.server_port}"):
            with pytest.raises(StorageError, match=r"s3://bucket/run.*cannot be listed.*ACCESS_DENIED"):
                plan(StorePath("s3://bucket/run"), asked_pipeline(10, {}).targets, 2, range(2))
            with (
                pytest.raises(StorageError, match=r"s3://bucket/run.*ACCESS_DENIED"),
                hold_run_lock(StorePath("s3://bucket/run")),
            ):
                pass
        server.shutdown()


def test_a_store_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(10)
        with (
            elsewhere(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}"),
            pytest.raises(StorageError, match="s3://bucket/run: cannot be read"),
        ):
            StorePath("s3://bucket/run").exists()


def test_places_are_paths_or_names_in_a_store() -> None:
    assert parse_path("runs/first") == Path("runs/first")
    found = parse_path("s3://bucket/a/b/")
    assert found == StorePath("s3://bucket/a/b")
    assert isinstance(found, StorePath)
    assert (found / "c", found.name, found.parent) == (
        StorePath("s3://bucket/a/b/c"),
        "b",
        StorePath("s3://bucket/a"),
    )
    assert pickle.loads(pickle.dumps(found)) == found
    assert SECRET.encode() not in pickle.dumps(found)
    for wrong in ("s3://", "s3:///a", "s3://bucket//a"):
        with pytest.raises(UserError, match="is not of the form"):
            parse_path(wrong)
