"""One driver at a time, and journals in segments, where nothing can be locked or appended: in an object store."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from arbitrage.errors import OvertakenError, RunDirectoryError, StorageError
from arbitrage.execution import lock
from arbitrage.execution.lock import LOCK_FILE, StoreLock, hold_run_lock, read_store_lock, require_session
from arbitrage.records import Candidate
from arbitrage.runs import journal_segments
from arbitrage.runs.journal import Journal, attempts, has_journal, open_journal, remove_journal
from arbitrage.runs.layout import journal_directory
from arbitrage.runs.paths import StorePath, names_in
from tests.support.asked import asked_pipeline
from tests.support.journals import MADE_FROM, a_candidate
from tests.support.paths import ROOT
from tests.support.runs import journaled, run, shard_bytes
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("store")


DRIVER = textwrap.dedent("""
    import sys
    from arbitrage.runs import journal_segments
    from arbitrage.runs.paths import parse_path
    from tests.support.asked import asked_pipeline
    from tests.support.runs import run
    journal_segments.SEGMENT_EVERY_S = 0.2
    run(parse_path(sys.argv[1]), asked_pipeline(150, {"latency_s": 0.5, "max_in_flight": 4}), shards=2)
""")


def age_lease(directory: StorePath, seconds: int) -> None:
    held = read_store_lock(directory)
    assert held is not None
    older = held.model_copy(update={"renewed_at": held.renewed_at - seconds})
    (directory / LOCK_FILE).write_bytes(older.model_dump_json().encode())


def test_a_killed_driver_loses_little_and_is_taken_over_when_its_lease_is_old(
    prefix: StorePath, tmp_path: Path
) -> None:
    pipeline = asked_pipeline(150, {"max_in_flight": 4})
    process = subprocess.Popen([sys.executable, "-c", DRIVER, prefix.uri], cwd=ROOT, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: journaled(prefix) >= 20, process)
        with pytest.raises(RunDirectoryError, match=rf"another process is running in it \(process {process.pid} on"):
            run(prefix, pipeline, shards=2)
    finally:
        process.kill()
        process.communicate()
    assert not (prefix / "manifest.json").exists()
    with pytest.raises(RunDirectoryError, match=r"last active \d+ s ago\); if it is dead, run again in \d+ s"):
        run(prefix, pipeline, shards=2)
    kept = journaled(prefix)
    age_lease(prefix, lock.STALE_AFTER_S)
    manifest = run(prefix, pipeline, shards=2)
    assert next(s for s in manifest.steps if s.name == "generate-fake").num_replayed == kept >= 20
    run(tmp_path / "whole", pipeline, shards=2)
    assert shard_bytes(prefix) == shard_bytes(tmp_path / "whole")
    assert not [path for path in prefix.files() if "_journal" in path.uri]


def test_a_lease_is_renewed_while_it_is_held_and_away_afterwards(
    prefix: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "RENEW_EVERY_S", 0.02)
    with hold_run_lock(prefix) as session:
        require_session(prefix, session)
        age_lease(prefix, 50)
        aged = read_store_lock(prefix)
        assert aged is not None
        wait_until(lambda: (held := read_store_lock(prefix)) is not None and held.renewed_at > aged.renewed_at)
    assert read_store_lock(prefix) is None
    with pytest.raises(RunDirectoryError, match="another run has taken over"):
        require_session(prefix, session)  # a worker that outlived its run


def test_a_lease_can_be_read_at_every_moment_of_its_renewal(
    prefix: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "RENEW_EVERY_S", 0.001)
    with hold_run_lock(prefix) as session:
        for _ in range(300):
            require_session(prefix, session)


def test_who_has_lost_the_lease_neither_renews_nor_removes_nor_publishes(
    prefix: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "RENEW_EVERY_S", 0.02)
    other = StoreLock(token="other:1:1", host="other", pid=1, renewed_at=int(time.time()))
    with hold_run_lock(prefix) as session:
        (prefix / LOCK_FILE).write_bytes(other.model_dump_json().encode())
        time.sleep(0.2)
        with pytest.raises(RunDirectoryError, match=r"another run has taken over \(other:1:1\)"):
            require_session(prefix, session)
    assert read_store_lock(prefix) == other


def test_of_two_that_start_at_once_the_later_write_stands(prefix: StorePath, monkeypatch: pytest.MonkeyPatch) -> None:
    other = StoreLock(token="other:1:1", host="other", pid=1, renewed_at=int(time.time()))
    monkeypatch.setattr(
        lock.time, "sleep", lambda _: (prefix / LOCK_FILE).write_bytes(other.model_dump_json().encode())
    )
    with pytest.raises(RunDirectoryError, match="another process has just started in it"), hold_run_lock(prefix):
        pass


def test_a_journal_is_read_back_from_its_segments_in_order(
    prefix: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_segments, "SEGMENT_BYTES", 1000)
    for attempt in range(2):
        with open_journal(prefix, 7, Candidate, MADE_FROM, died=False) as journal:
            for number in range(40 * attempt, 40 * (attempt + 1)):
                journal.take(f"c{number}")
                journal.settle(f"c{number}", a_candidate(number, text="x" * 400))
                if number % 10 == 9:
                    wait_for_lines(prefix, f'"c{number - 3}"')  # of the last ones there is not yet a segment full
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
    wait_until(lambda: wanted in "".join(p.read_text() for p in attempts(journal_directory(directory, 7))))


def test_lines_are_durable_soon_without_a_goodbye(prefix: StorePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_segments, "SEGMENT_EVERY_S", 0.05)
    journal = Journal(prefix, 7, Candidate, MADE_FROM)
    journal.open(died=False)
    for number in range(2):
        journal.settle(f"c{number}", a_candidate(number))
        wait_for_lines(prefix, f'"c{number}"')
    journal.close()


def test_what_an_engine_is_given_first_is_durable_at_once(prefix: StorePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_segments, "SEGMENT_EVERY_S", 600.0)
    journal = Journal(prefix, 7, Candidate, MADE_FROM)
    journal.open(died=False)
    wait_for_lines(prefix, '"of"')  # an engine that takes its time to load
    journal.take("c1")
    wait_for_lines(prefix, '{"take":"c1"')
    journal.take("c2")
    journal.close()
    assert len(attempts(journal_directory(prefix, 7))) == 3


def test_a_segment_that_is_refused_ends_the_shard(prefix: StorePath) -> None:
    nowhere = StorePath("s3://no-such-bucket/run")
    journal = Journal(nowhere, 7, Candidate, MADE_FROM)
    journal.open(died=False)
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/run/_journal/shard-00007/00001-00001\.jsonl"):
        journal.close()


def test_an_overtaken_attempt_in_a_store_stops(prefix: StorePath) -> None:
    with open_journal(prefix, 7, Candidate, MADE_FROM, died=False) as first:
        first.require_newest()  # none of its segments may be there yet
        first.settle("c1", a_candidate(1))
        wait_for_lines(prefix, '"c1"')
        first.require_newest()
        with open_journal(prefix, 7, Candidate, MADE_FROM, died=False) as second:
            second.settle("c2", a_candidate(2))
            wait_for_lines(prefix, '"c2"')
            second.require_newest()
            with pytest.raises(OvertakenError, match="attempt 1 has been overtaken"):
                first.require_newest()
        remove_journal(prefix, 7)
        first.settle("c3", a_candidate(3))
        wait_for_lines(prefix, '"c3"')  # there is something of it again, but not its beginning
        with pytest.raises(OvertakenError, match="attempt 1 has been overtaken"):
            first.require_newest()
