"""What one test leaves behind in its process, the next does not find."""

import os
import sys
from pathlib import Path

import pytest

from tests.support.own_process import own_process


def test_a_block_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAS_THERE", "before")
    monkeypatch.setenv("WAS_REMOVED", "before")
    before = Path.cwd(), list(sys.path), dict(os.environ)
    umask = os.umask(0o022)
    with own_process():
        os.umask(0o077)
        os.chdir(tmp_path)
        sys.path.insert(0, str(tmp_path))
        os.environ |= {"WAS_THERE": "after", "IS_NEW": "after"}
        del os.environ["WAS_REMOVED"]
    assert (Path.cwd(), list(sys.path), dict(os.environ)) == before
    assert os.umask(umask) == 0o022
