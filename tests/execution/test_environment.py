"""Nodes that would run other code are found before a GPU hour is spent."""

import pytest

from arbitrage.errors import ExecutionError
from arbitrage.execution.environment import environment_digest, git_commit, require_same


def test_the_digest_covers_our_files_and_the_engines() -> None:
    found = environment_digest()
    assert {"arbitrage", "arbitrage files", "routers files", "pipelines files", "ray", "torch"} <= found.keys()
    assert found == environment_digest()


def test_equal_nodes_pass() -> None:
    here = environment_digest()
    require_same(here, {"node-a": dict(here), "node-b": dict(here)})


def test_every_difference_is_named() -> None:
    here = {"torch": "2.13.0", "routers files": "aa", "vllm": "0.33.0"}
    other = {"torch": "2.14.0", "routers files": "bb"}
    with pytest.raises(ExecutionError) as caught:
        require_same(here, {"node-a": dict(here), "node-b": other})
    assert str(caught.value).splitlines() == [
        "the nodes do not run the same code:",
        "node-b: routers files is bb, on the driver aa",
        "node-b: torch is 2.14.0, on the driver 2.13.0",
        "node-b: vllm is absent, on the driver 0.33.0",
    ]


def test_a_changed_file_changes_the_digest(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "otherwise"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("arbitrage.execution.environment.PACKAGES", ("otherwise",))
    before = environment_digest()["otherwise files"]
    (package / "__init__.py").write_text("x = 2\n")
    assert environment_digest()["otherwise files"] != before


def test_a_checkout_knows_its_commit() -> None:
    commit = git_commit()
    assert commit is None or len(commit.rstrip("+")) == 40
