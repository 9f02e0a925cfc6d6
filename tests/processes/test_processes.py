"""Whoever is killed leaves no processes behind that wait for it, and a student under way is not lost."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import wait_until

POOL = textwrap.dedent("""
    import sys, time
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    from tests.support.students_at_work import begin, work

    if __name__ == "__main__":
        with ProcessPoolExecutor(2, get_context("spawn"), initializer=begin) as pool:
            tasks = [pool.submit(work, name) for name in sys.argv[1:]]
            time.sleep(600)
""")


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.process
def test_the_idle_end_at_once_and_the_busy_when_they_are_done(tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    command = [sys.executable, script, tmp_path / "quick", tmp_path / "slow"]
    driver = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: (tmp_path / "quick.done").exists() and (tmp_path / "slow.pid").exists())
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    pids = [int((tmp_path / f"{name}.pid").read_text()) for name in ("quick", "slow")]
    wait_until(lambda: not any(map(lives, pids)))
    assert (tmp_path / "slow.done").exists()
