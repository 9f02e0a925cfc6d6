"""Capture the last lines that this process and its children write to stderr, and still pass them on."""

import os
import re
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

MAX_LINES = 400
MAX_CAUSES = 2
JOIN_S = 2.0

_ERROR = re.compile(r"\b(\w{1,100}(?:\.\w{1,100}){0,20}(?:Error|Exception|Interrupt|Killed)): ?(.{0,300})")
_PREFIX = re.compile(r"^\(.{0,80}?\)\s*|^(?:ERROR|WARNING|INFO) [\d-]+ [\d:.]+ \[.{0,80}?\]\s*")
"""Prefix of vLLM's lines: `(EngineCore pid=12) ERROR 11-30 12:00:00 [core.py:940] `."""


@contextmanager
def stderr_tail() -> Iterator[deque[str]]:
    """Collect the last lines written to stderr within the block, including those of C libraries and child processes.

    A child may keep writing after the block: its lines still go to the original stderr.
    """
    lines: deque[str] = deque(maxlen=MAX_LINES)
    before = os.dup(2)
    reading, writing = os.pipe()
    pump = threading.Thread(target=_pump, args=(reading, before, lines), name="stderr-tail", daemon=True)
    pump.start()
    _flush()
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield lines
    except BaseException:
        _flush()
        os.dup2(before, 2)
        pump.join(JOIN_S)  # the failed children are ending, and their last lines are needed
        raise
    _flush()
    os.dup2(before, 2)


def causes(lines: Sequence[str]) -> str:
    """Return the last errors named in log lines, as one text; without any, the last lines; "" if there are none."""
    plain = [text for line in lines if (text := _without_prefix(line))]
    found = [f"{m[1].rpartition('.')[2]}: {m[2]}" for line in plain if (m := _ERROR.search(line))]
    known = [text for text in dict.fromkeys(found) if "See root cause above" not in text]
    return "; ".join(known[-MAX_CAUSES:] or plain[-MAX_CAUSES:])[:600].strip()


def _without_prefix(line: str) -> str:
    text = line
    for _ in range(3):
        text = _PREFIX.sub("", text)
    return text.strip()


def _pump(reading: int, onward: int, lines: deque[str]) -> None:
    rest = b""
    while data := _read(reading):
        _write_all(onward, data)
        *whole, rest = (rest + data).split(b"\n")
        lines.extend(line.decode("utf-8", "replace") for line in whole)
        rest = rest[-4096:]
    if rest:
        lines.append(rest.decode("utf-8", "replace"))
    os.close(reading)
    os.close(onward)


def _read(reading: int) -> bytes:
    try:
        return os.read(reading, 1 << 16)
    except OSError:
        return b""


def _write_all(onward: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(onward, data) :]
    except OSError:  # stderr is closed; keep reading the pipe, otherwise the engine would block
        return


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
