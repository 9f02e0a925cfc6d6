"""The journal: what is durable, what a torn line means, and how the culprit of a death is found."""

import json
import math
import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.errors import OvertakenError, StorageError
from arbitrage.records import Candidate, Reject
from arbitrage.runs.journal import Journal, open_journal, remove_journal
from arbitrage.runs.layout import digest_json, journal_directory
from arbitrage.runs.quarantine import Quarantine
from arbitrage.tables import to_table
from tests.support.journals import MADE_FROM, a_candidate


def a_reject(number: int) -> Reject:
    return Reject(item_id=f"c{number}", step="generate-t", reason="timeout")


def replayed(directory: Path, made_from: dict[str, str] = MADE_FROM) -> Journal:
    journal = Journal(directory, 7, Candidate, made_from)
    journal.replay()
    return journal


@given(text=st.text(max_size=40))
def test_what_is_settled_is_read_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    directory = tmp_path_factory.mktemp("step")
    answers = {"c1": a_candidate(1, text=text), "c2": a_reject(2)}
    with open_journal(directory, 7, Candidate, MADE_FROM, died=False) as journal:
        for item_id, answer in answers.items():
            journal.take(item_id)
            journal.settle(item_id, answer)
    assert replayed(directory).settled == answers


def test_answers_survive_without_a_goodbye(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 7, Candidate, MADE_FROM)
    journal.open(died=False)
    journal.take("c1")
    journal.settle("c1", a_candidate(1))
    assert replayed(tmp_path).settled.keys() == {"c1"}  # another reader sees it before anything is closed
    journal.close()


@given(cut=st.integers(1, 400))
def test_a_torn_file_loses_its_last_line_at_most(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    directory = tmp_path_factory.mktemp("step")
    with open_journal(directory, 7, Candidate, MADE_FROM, died=False) as journal:
        for number in range(5):
            journal.take(f"c{number}")
            journal.settle(f"c{number}", a_candidate(number))
    (path,) = journal_directory(directory, 7).iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    complete = [line for line in whole[:-cut].split(b"\n") if b'"row"' in line and line.endswith(b'"}')]
    assert len(replayed(directory).settled) == len(complete)


def written(directory: Path, num: int = 3) -> Path:
    """Write a journal of some answers; return its file."""
    with open_journal(directory, 7, Candidate, MADE_FROM, died=False) as journal:
        for number in range(num):
            journal.take(f"c{number}")
            journal.settle(f"c{number}", a_candidate(number, text=f"text {number}"))
    (path,) = journal_directory(directory, 7).iterdir()
    return path


def sealed_line(text: bytes) -> bytes:
    """Return a line with a checksum that holds, whatever it says."""
    body = text.removesuffix(b"}") + b',"of":"' + digest_json(MADE_FROM).encode()
    return body + b'","crc":"%08x"}\n' % zlib.crc32(body)


GARBAGE = [
    b'{"row":{"candidate_id":5}}\n',
    b"\xff\xfe\n",
    b"[1]\n",
    b"\x00" * 4096 + b"\n",
    b"[" * 100_000 + b"\n",
    b'{"row":' * 50_000 + b"\n",
    b"9" * 5_000_000 + b"\n",
    b'{"take":"c9"}\n',
]


@pytest.mark.parametrize("line", [*GARBAGE, *(sealed_line(line[:-1]) for line in GARBAGE[:-1])])
def test_a_line_of_garbage_is_dropped_and_counted(tmp_path: Path, line: bytes) -> None:
    path = written(tmp_path)
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(first + b"\n" + line + rest)
    journal = replayed(tmp_path)
    assert journal.settled == {f"c{n}": a_candidate(n, text=f"text {n}") for n in range(3)}
    assert journal.num_damaged == 1


@pytest.mark.parametrize("field", ["prompt_tokens", "sample_index", "seed", "cumulative_logprob", "cost_usd"])
@pytest.mark.parametrize("value", ["1" + "0" * 30, "-" + "9" * 5000, "1e999", "NaN", "-Infinity", '"3"', "[]"])
def test_an_answer_that_cannot_become_a_row_is_dropped(tmp_path: Path, field: str, value: str) -> None:
    path = written(tmp_path)
    row = json.loads(a_candidate(9).model_dump_json()) | {field: "HERE"}
    text = json.dumps({"row": row}, separators=(",", ":")).replace('"HERE"', value)
    path.write_bytes(path.read_bytes() + sealed_line(text.encode()))
    journal = replayed(tmp_path)
    assert "c9" not in journal.settled or isinstance(getattr(journal.settled["c9"], field), float)
    assert len(journal.settled) + journal.num_damaged == 4
    to_table(list(journal.settled.values()), Candidate)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_changed_journal_gives_what_was_journaled_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("step")
    path = written(directory)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(whole) - 1))
        what = data.draw(st.sampled_from(["flip", "cut", "insert", "double"]))
        if what == "flip":
            whole[position] ^= 1 << data.draw(st.integers(0, 7))
        elif what == "cut":
            del whole[position : position + data.draw(st.integers(1, 200))]
        elif what == "insert":
            whole[position:position] = data.draw(st.binary(min_size=1, max_size=50))
        else:
            whole[position:position] = whole[: data.draw(st.integers(1, 300))]
        if not whole:
            break
    path.write_bytes(whole)
    settled = replayed(directory).settled
    assert settled.items() <= {f"c{n}": a_candidate(n, text=f"text {n}") for n in range(3)}.items()


def test_files_of_other_names_are_no_attempts(tmp_path: Path) -> None:
    path = written(tmp_path)
    for name in ("notes.jsonl", "x-1.jsonl", "00001.jsonl.bak", "1e3.jsonl", "\u0661\u0661\u0661\u0661\u0661.jsonl"):
        path.with_name(name).write_bytes(path.read_bytes())
    with open_journal(tmp_path, 7, Candidate, MADE_FROM, died=False) as journal:
        assert len(journal.settled) == 3
    assert path.with_name("00002.jsonl").exists()


def test_a_link_in_place_of_an_attempt_is_not_followed(tmp_path: Path) -> None:
    path = written(tmp_path)
    elsewhere = tmp_path / "elsewhere.jsonl"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(StorageError, match="links in a run directory are not followed"):
        replayed(tmp_path)


def test_a_lost_first_line_costs_no_answer(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(b"x" + path.read_bytes())
    journal = replayed(tmp_path)
    assert (len(journal.settled), journal.num_damaged) == (3, 1)


def test_answers_made_from_other_inputs_do_not_count(tmp_path: Path) -> None:
    with open_journal(tmp_path, 7, Candidate, MADE_FROM, died=False) as journal:
        journal.take("c1")
        journal.settle("c1", a_candidate(1))
    assert replayed(tmp_path, {"prompts-1": "other"}).settled == {}


def test_each_attempt_has_a_file_of_its_own_and_all_go_at_the_end(tmp_path: Path) -> None:
    for number in range(3):
        with open_journal(tmp_path, 7, Candidate, MADE_FROM, died=False) as journal:
            journal.settle(f"c{number}", a_candidate(number))
    assert [p.name for p in sorted(journal_directory(tmp_path, 7).iterdir())] == [f"0000{n}.jsonl" for n in (1, 2, 3)]
    assert len(journal.settled) == 3
    remove_journal(tmp_path, 7)
    assert not journal_directory(tmp_path, 7).exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 7, Candidate, MADE_FROM)
    journal.open(died=False)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._file._descriptor)  # the same file, on a disk that has filled up meanwhile
    os.close(full)
    for attempt in (lambda: journal.settle("c1", a_candidate(1)), journal.close):
        with pytest.raises(StorageError, match=r"00001\.jsonl: cannot be written: No space left on device"):
            attempt()
    assert replayed(tmp_path).settled == {}


class Search:
    """Plays the engine: dies when it holds a poisonous item, else answers all it holds."""

    def __init__(self, num: int, poison: set[int], window: int) -> None:
        self.ids = [f"c{number}" for number in range(num)]
        self.poison = {f"c{number}" for number in poison}
        self.window = window
        self.settled: dict[str, str] = {}
        self.quarantine = Quarantine()
        self.num_deaths = 0

    def run(self) -> None:
        while len(self.settled) < len(self.ids) and self.num_deaths < 500:
            if not self._attempt():
                self.num_deaths += 1
                self.quarantine.begin(self.settled, died=True)

    def _attempt(self) -> bool:
        for item_id in self.quarantine.confirmed:
            self.settled.setdefault(item_id, "confirmed")
        while group := self.quarantine.next_group(self.settled):
            self.quarantine.alone(group)
            if not self._ask(group):
                return False
        self.quarantine.alone([])
        return self._ask([item_id for item_id in self.ids if item_id not in self.settled])

    def _ask(self, item_ids: list[str]) -> bool:
        for start in range(0, len(item_ids), self.window):
            window = item_ids[start : start + self.window]
            for item_id in window:
                self.quarantine.take(item_id)
            if self.poison & set(window):
                return False
            self.settled |= dict.fromkeys(window, "answered")
        return True


@given(num=st.integers(1, 300), window=st.integers(1, 256), poison=st.integers(0, 299))
def test_the_crashing_prompt_is_found_by_bisection_without_harm_to_others(num: int, window: int, poison: int) -> None:
    search = Search(num, {poison % num}, window)
    search.run()
    assert [i for i, what in search.settled.items() if what == "confirmed"] == [f"c{poison % num}"]
    assert len(search.settled) == num
    assert search.num_deaths <= 2 + math.ceil(math.log2(max(2, min(window, num))))


@given(num=st.integers(2, 120), window=st.integers(1, 64), poison=st.sets(st.integers(0, 119), max_size=4))
def test_several_culprits_are_all_found(num: int, window: int, poison: set[int]) -> None:
    wanted = {number % num for number in poison}
    search = Search(num, wanted, window)
    search.run()
    assert {i for i, what in search.settled.items() if what == "confirmed"} == {f"c{n}" for n in wanted}
    assert len(search.settled) == num


def test_an_accident_confirms_no_suspect() -> None:
    quarantine = Quarantine()
    for item_id in ("a", "b", "c"):
        quarantine.take(item_id)
    quarantine.begin({}, died=True)
    assert quarantine.suspects == ["a", "b", "c"]
    assert quarantine.next_group({}) == ["a"]
    assert quarantine.next_group({"a": 1}) == ["b"]
    assert quarantine.next_group({"a": 1, "b": 1, "c": 1}) == []
    assert quarantine.confirmed == []


def test_a_killed_driver_makes_no_suspects_however_often() -> None:
    quarantine = Quarantine()
    for _ in range(40):
        quarantine.take("a")
        quarantine.begin({}, died=False)
        assert (quarantine.suspects, quarantine.confirmed) == ([], [])


def test_kills_of_the_driver_in_between_do_not_hide_the_culprit() -> None:
    search = Search(50, {33}, 16)
    while len(search.settled) < 50 and search.num_deaths < 100:
        search.quarantine.take("c5")
        search.quarantine.begin(search.settled, died=False)
        if not search._attempt():
            search.num_deaths += 1
            search.quarantine.begin(search.settled, died=True)
    assert [i for i, what in search.settled.items() if what == "confirmed"] == ["c33"]


def test_the_file_is_lines_of_json(tmp_path: Path) -> None:
    with open_journal(tmp_path, 7, Candidate, MADE_FROM, died=True) as journal:
        journal.take("c1")
        journal.settle("c1", a_candidate(1))
    (path,) = journal_directory(tmp_path, 7).iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == ["begin", "take", "row"]
    assert lines[0]["begin"] == {"died": True}
    assert {line["of"] for line in lines} == {digest_json(MADE_FROM)}
    for line, raw in zip(lines, path.read_bytes().splitlines(), strict=True):
        body, _, _ = raw.rpartition(b'","crc":')
        assert line["crc"] == f"{zlib.crc32(body):08x}"


def test_an_overtaken_attempt_stops(tmp_path: Path) -> None:
    with open_journal(tmp_path, 7, Candidate, MADE_FROM, died=False) as first:
        first.require_newest()
        with open_journal(tmp_path, 7, Candidate, MADE_FROM, died=False) as second:
            with pytest.raises(OvertakenError, match="attempt 1 has been overtaken by another"):
                first.require_newest()
            second.require_newest()
            first.settle("c1", a_candidate(1))  # what is under way may still arrive
        remove_journal(tmp_path, 7)
        with pytest.raises(OvertakenError, match="attempt 1 has been overtaken"):
            first.require_newest()


def test_an_attempt_whose_shard_is_done_goes_no_further(tmp_path: Path) -> None:
    with open_journal(tmp_path, 7, Candidate, MADE_FROM, died=False) as journal:
        remove_journal(tmp_path, 7)
        with pytest.raises(OvertakenError, match="attempt 1 has been overtaken"):
            journal.require_newest()
