"""Runs and exports in an object store: same bytes, exact resume, one driver at a time, errors that name the place."""

import json
import os
import pickle
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from arbitrage.contracts.steps import Pipeline
from arbitrage.errors import RunDirectoryError, StorageError, UserError
from arbitrage.execution import lease
from arbitrage.execution.claim import claim, require_session
from arbitrage.execution.lease import LOCK_FILE, Lease, read_lease
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.plan import plan
from arbitrage.execution.progress import Quiet
from arbitrage.execution.ray_backend import RayBackend
from arbitrage.execution.run import Backend, RunRequest, execute
from arbitrage.export.export import export_run
from arbitrage.records import Candidate
from arbitrage.shards import place, segments
from arbitrage.shards.journal import Journal, attempts, has_journal, open_journal, remove_journal
from arbitrage.shards.layout import journal_directory, shard_path
from arbitrage.shards.manifest import Manifest
from arbitrage.shards.place import Place, StorePath, files_below, names_in, place_of
from arbitrage.shards.run import open_run
from tests.support.asked import asked_pipeline
from tests.support.object_store import SECRET, object_store
from tests.support.pipelines import write_pipeline
from tests.test_journal import MADE_FROM, a_candidate

ROOT = Path(__file__).parents[1]
BACKENDS = [LocalBackend(), RayBackend()]


@pytest.fixture(scope="module", autouse=True)
def _store() -> Iterator[None]:
    with object_store("bucket"):
        yield


@pytest.fixture(autouse=True)
def _in_no_hurry_to_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SETTLE_S", 0.0)


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> StorePath:
    """A place in the store that no other test uses."""
    return StorePath(f"s3://bucket/{abs(hash(request.node.name))}/run")


def run(directory: Place, pipeline: Pipeline, backend: Backend | None = None, shards: int = 2) -> Manifest:
    request = RunRequest("toy", "toy", pipeline, directory, shards, range(shards), 0.2, {}, stall_after_s=120.0)
    return execute(request, backend or LocalBackend(), Quiet())


def shard_bytes(directory: Place) -> dict[str, bytes]:
    return {
        str(path)[len(str(directory)) + 1 :]: path.read_bytes()
        for path in files_below(directory)
        if path.name.endswith(".parquet")
    }


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The shards that a run on a disk writes."""
    directory = tmp_path_factory.mktemp("on-disk")
    run(directory, asked_pipeline(60, {}))
    return shard_bytes(directory)


@pytest.mark.parametrize("backend", BACKENDS, ids=["local", "ray"])
def test_a_run_in_a_store_writes_the_bytes_of_a_run_on_a_disk(
    prefix: StorePath, on_disk: dict[str, bytes], backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend.name == "local":
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    manifest = run(prefix, asked_pipeline(60, {}), backend)
    assert manifest.status == "complete"
    assert shard_bytes(prefix) == on_disk
    left = {path.name for path in files_below(prefix) if not path.name.startswith("shard-")}
    assert left <= {"run.json", "manifest.json", "_live.json"}  # no journal, no lease
    assert not list(tmp_path.iterdir())  # what was on its way is away


def test_a_second_run_does_nothing_and_a_deleted_shard_is_made_again(
    prefix: StorePath, on_disk: dict[str, bytes]
) -> None:
    run(prefix, asked_pipeline(60, {}))
    again = run(prefix, asked_pipeline(60, {}))
    assert all(step.num_reused == step.num_shards for step in again.steps)
    shard_path(open_run(prefix).directory("generate-fake"), 1).unlink()
    mended = run(prefix, asked_pipeline(60, {}))
    assert {s.name: s.num_shards - s.num_reused for s in mended.steps} == {
        "prompts": 0,
        "route-fake": 0,
        "generate-fake": 1,
    }
    assert shard_bytes(prefix) == on_disk


def test_counts_come_before_their_shard_and_the_manifest_last(
    prefix: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = StorePath.write_bytes

    def noted(self: StorePath, data: Any) -> None:
        write(self, data)
        written.append(self.uri.removeprefix(f"{prefix.uri}/"))

    monkeypatch.setattr(StorePath, "write_bytes", noted)
    run(prefix, asked_pipeline(20, {}))
    mine = [name for name in written if name not in (LOCK_FILE, "_live.json") and "_journal" not in name]
    assert mine[0] == "run.json"
    assert mine[-1] == "manifest.json"
    shards = [name for name in mine if name.endswith(".parquet")]
    assert len(shards) == 6
    for shard in shards:
        stats = shard.replace("/shard", "/_stats/shard").replace(".parquet", ".json")
        assert mine.index(stats) < mine.index(shard)
    assert len(mine) == len(set(mine))  # every name is written once


DRIVER = textwrap.dedent("""
    import sys
    from arbitrage.shards import segments
    from arbitrage.shards.place import place_of
    from tests.support.asked import asked_pipeline
    from tests.test_object_stores import run
    segments.SEGMENT_EVERY_S = 0.2
    run(place_of(sys.argv[1]), asked_pipeline(150, {"latency_s": 0.05, "max_in_flight": 4}))
""")


def journaled(directory: StorePath) -> int:
    return sum(path.read_text().count('{"row"') for path in directory.files() if "_journal" in path.uri)


def age_lease(directory: StorePath, seconds: float) -> None:
    held = read_lease(directory)
    assert held is not None
    older = held.model_copy(update={"renewed_at": held.renewed_at - seconds})
    (directory / LOCK_FILE).write_bytes(older.model_dump_json().encode())


def test_a_killed_driver_loses_little_and_is_taken_over_when_its_lease_is_old(
    prefix: StorePath, tmp_path: Path
) -> None:
    pipeline = asked_pipeline(150, {"latency_s": 0.05, "max_in_flight": 4})
    process = subprocess.Popen([sys.executable, "-c", DRIVER, prefix.uri], cwd=ROOT, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while journaled(prefix) < 20:
            assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(RunDirectoryError, match=rf"another process is running in it \(process {process.pid} on"):
            run(prefix, pipeline)
    finally:
        process.kill()
        process.communicate()
    assert not (prefix / "manifest.json").exists()
    with pytest.raises(RunDirectoryError, match=r"last heard of \d+ s ago\); if it is dead, run again in \d+ s"):
        run(prefix, pipeline)
    kept = journaled(prefix)
    age_lease(prefix, lease.STALE_AFTER_S)
    manifest = run(prefix, pipeline)
    assert next(s for s in manifest.steps if s.name == "generate-fake").num_replayed == kept >= 20
    run(tmp_path / "whole", pipeline)
    assert shard_bytes(prefix) == shard_bytes(tmp_path / "whole")
    assert not [path for path in prefix.files() if "_journal" in path.uri]


def test_a_lease_is_renewed_while_it_is_held_and_away_afterwards(
    prefix: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.02)
    with claim(prefix) as session:
        require_session(prefix, session)
        age_lease(prefix, 50.0)
        deadline = time.monotonic() + 10
        while (held := read_lease(prefix)) is None or time.time() - held.renewed_at > 5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert read_lease(prefix) is None
    with pytest.raises(RunDirectoryError, match="another run has taken over"):
        require_session(prefix, session)  # a worker that outlived its run


def test_who_has_lost_the_lease_neither_renews_nor_removes_nor_publishes(
    prefix: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.02)
    other = Lease(token="other:1:1", host="other", pid=1, renewed_at=time.time())
    with claim(prefix) as session:
        (prefix / LOCK_FILE).write_bytes(other.model_dump_json().encode())
        time.sleep(0.2)
        with pytest.raises(RunDirectoryError, match=r"another run has taken over \(other:1:1\)"):
            require_session(prefix, session)
    assert read_lease(prefix) == other


def test_of_two_that_start_at_once_the_later_write_stands(prefix: StorePath, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Lease(token="other:1:1", host="other", pid=1, renewed_at=time.time())
    monkeypatch.setattr(
        lease.time, "sleep", lambda _: (prefix / LOCK_FILE).write_bytes(other.model_dump_json().encode())
    )
    with pytest.raises(RunDirectoryError, match="another process has just started in it"), claim(prefix):
        pass


def test_a_journal_is_read_back_from_its_segments_in_order(
    prefix: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 1000)
    for attempt in range(2):
        with open_journal(prefix, 7, Candidate, MADE_FROM, died=False) as journal:
            for number in range(40 * attempt, 40 * (attempt + 1)):
                journal.take(f"c{number}")
                journal.settle(f"c{number}", a_candidate(number, text="x" * 400))
                time.sleep(0.001)
    names = names_in(journal_directory(prefix, 7))
    assert {name.partition("-")[0] for name in names} == {"00001", "00002"}
    assert len(names) > 4
    replayed = Journal(prefix, 7, Candidate, MADE_FROM)
    replayed.replay()
    assert list(replayed.settled) == [f"c{n}" for n in range(80)]
    assert has_journal(prefix, 7)
    remove_journal(prefix, 7)
    assert attempts(journal_directory(prefix, 7)) == []
    assert not has_journal(prefix, 7)


def wait_for_lines(directory: StorePath, wanted: str) -> None:
    deadline = time.monotonic() + 10
    while wanted not in "".join(path.read_text() for path in attempts(journal_directory(directory, 7))):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_lines_are_durable_soon_without_a_goodbye(prefix: StorePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_EVERY_S", 0.05)
    journal = Journal(prefix, 7, Candidate, MADE_FROM)
    journal.begin(died=False)
    for number in range(2):
        journal.settle(f"c{number}", a_candidate(number))
        wait_for_lines(prefix, f'"c{number}"')
    journal.close()


def test_what_an_engine_is_given_first_is_durable_at_once(prefix: StorePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_EVERY_S", 600.0)
    journal = Journal(prefix, 7, Candidate, MADE_FROM)
    journal.begin(died=False)
    journal.take("c1")
    wait_for_lines(prefix, '{"take":"c1"}')
    journal.take("c2")
    journal.close()
    assert len(attempts(journal_directory(prefix, 7))) == 2


def test_a_segment_that_is_refused_ends_the_shard(prefix: StorePath) -> None:
    nowhere = StorePath("s3://no-such-bucket/run")
    journal = Journal(nowhere, 7, Candidate, MADE_FROM)
    journal.begin(died=False)
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/run/_journal/shard-00007/00001-00001\.jsonl"):
        journal.close()


def test_the_command_line_works_on_a_store(
    tmp_path: Path, prefix: StorePath, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from arbitrage.cli.main import main

    def arbitrage(*arguments: object) -> str:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["arbitrage", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        assert not code, said.err
        return said.out

    monkeypatch.chdir(tmp_path)
    pipeline = write_pipeline(tmp_path)
    before = set(tmp_path.iterdir())
    assert f"report: {prefix}/report.html" in arbitrage("run", pipeline, "--local", "--run-dir", prefix)
    assert set(tmp_path.iterdir()) == before  # nothing of the run lies here
    arbitrage("plan", pipeline, "--run-dir", prefix)
    found = json.loads(arbitrage("status", prefix, "--json"))
    assert (found["run"], found["finished"], found["at_work"]) == (str(prefix), True, False)
    assert {step["name"]: step["shards_done"] for step in found["steps"]}["generate-cow"] == 3
    assert len(arbitrage("show", prefix, "sft", "-n", 2, "--json").splitlines()) == 2
    (prefix / "report.html").unlink()
    assert arbitrage("report", prefix).strip() == f"{prefix}/report.html"
    assert len((prefix / "report.html").read_bytes()) > 10_000
    results = json.loads(arbitrage("export", prefix, "--json"))
    assert {result["path"] for result in results} == {f"{prefix}/export/sft", f"{prefix}/export/preference"}
    arbitrage("export", prefix, "--dataset", "sft", "--out", tmp_path / "out")
    assert (tmp_path / "out" / "sft" / "provenance.json").exists()
    assert not [path for path in prefix.files() if SECRET.encode() in path.read_bytes()]
    _check_shards_and_exports(prefix, tmp_path / "copy")


def _check_shards_and_exports(directory: StorePath, copy: Path) -> None:
    from datasets import load_dataset

    filesystem = place._filesystem("s3", "bucket")
    step = open_run(directory).directory("select-sft")
    rows = pq.read_table(str(step).removeprefix("s3://"), filesystem=filesystem)
    assert rows.num_rows == sum(table.num_rows for table in open_run(directory).tables("select-sft")) > 0
    exported = directory / "export" / "sft"
    assert isinstance(exported, StorePath)
    for path in exported.files():
        target = copy / path.uri.removeprefix(f"{exported}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert load_dataset(str(copy), split="train").num_rows == rows.num_rows
    assert json.loads((copy / "provenance.json").read_text())["rows"]["exported"] == rows.num_rows


def test_an_export_takes_the_place_of_an_earlier_one_provenance_last(
    tmp_path: Path, prefix: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.pipelines import run as run_pipeline

    run_pipeline(write_pipeline(tmp_path), tmp_path / "run")
    export_run(tmp_path / "run", out=prefix, datasets=["sft"])
    target = prefix / "sft"
    before = {path.uri for path in target.files()}
    (target / "data" / "train" / "xx.00000.parquet").write_bytes(b"of an earlier export")
    uploaded: list[str] = []
    upload = StorePath.upload

    def stop_half_way(self: StorePath, path: Path) -> None:
        if len(uploaded) == 3:
            raise StorageError("gone")
        uploaded.append(self.name)
        upload(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(StorePath, "upload", stop_half_way)
        with pytest.raises(StorageError):
            export_run(tmp_path / "run", out=prefix, datasets=["sft"])
    assert not (target / "provenance.json").exists()
    export_run(tmp_path / "run", out=prefix, datasets=["sft"])
    assert {path.uri for path in target.files()} == before
    export_run(tmp_path / "run", out=tmp_path / "out", datasets=["sft"])
    for path in target.files():
        assert path.read_bytes() == (tmp_path / "out" / "sft" / path.uri.removeprefix(f"{target}/")).read_bytes()
    (target / "provenance.json").unlink()
    with pytest.raises(UserError, match="is no export of ours"):
        export_run(tmp_path / "run", out=prefix, datasets=["sft"])


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch, url: str) -> Iterator[None]:
    """Look for the store at another address, once."""
    with monkeypatch.context() as patch:
        patch.setattr(place, "ATTEMPTS", 1)
        patch.setenv("AWS_ENDPOINT_URL", url)
        place._filesystem.cache_clear()
        yield
    place._filesystem.cache_clear()


def test_a_store_that_cannot_be_reached_is_no_missing_shard(
    prefix: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(prefix, asked_pipeline(10, {}))
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
        ("s3://bucket/unreachable", UNREACHABLE, 4, "error: s3://bucket/unreachable/prompts-"),
        ("s3://key:hush@bucket/run", {}, 2, "credentials and options come from the environment"),
        ("ftp://bucket/run", {}, 2, "ftp://bucket/run: places are paths or names in s3://, gs://"),
    ],
)
def test_what_is_wrong_with_a_place_is_one_sentence(
    tmp_path: Path, name: str, env: dict[str, str], code: int, message: str
) -> None:
    pipeline = write_pipeline(tmp_path)
    command = [sys.executable, "-m", "arbitrage.cli.main", "run", str(pipeline), "--local", "--run-dir", name]
    started = time.monotonic()
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr
    assert time.monotonic() - started < 30


class _Forbids(BaseHTTPRequestHandler):
    """A store that knows nobody."""

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
                claim(StorePath("s3://bucket/run")),
            ):
                pass
        server.shutdown()


def test_a_store_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(10)
        with elsewhere(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}"):
            started = time.monotonic()
            with pytest.raises(StorageError, match="s3://bucket/run: cannot be read"):
                StorePath("s3://bucket/run").exists()
            assert (time.monotonic() - started) * 4 < 30  # it is asked up to four times


def test_places_are_paths_or_names_in_a_store() -> None:
    assert place_of("runs/first") == Path("runs/first")
    found = place_of("s3://bucket/a/b/")
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
            place_of(wrong)
