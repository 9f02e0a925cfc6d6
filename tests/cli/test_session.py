"""What a command sets up for its process: import paths, who can read its files, signals, limits of the machine."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from arbitrage.cli.interrupt import SENTENCE
from arbitrage.errors import ExecutionError
from arbitrage.execution.ray import connection
from arbitrage.processes import pools
from tests.support.head import ROOT, free_ports
from tests.support.pipelines import write_pipeline
from tests.support.waiting import WITHIN_S

PLANTED = ("pyarrow", "multiprocessing", "yaml", "random", "ray", "uvloop", "psutil", "pickle")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from arbitrage.cli.main import main; main()", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return kept | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"} | more


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return write_pipeline(tmp_path, compare=[])


def plant(directory: Path, log: Path) -> None:
    """Put Python files there that note in a log that they were imported."""
    directory.mkdir(exist_ok=True)
    for name in PLANTED:
        text = f"import os\nos.write(os.open({str(log)!r}, os.O_CREAT | os.O_APPEND | os.O_WRONLY), b'{name}\\n')\n"
        (directory / f"{name}.py").write_text(text)


@pytest.mark.parametrize("options", [["--local"], pytest.param([], marks=pytest.mark.ray)], ids=["local", "ray"])
@pytest.mark.process
def test_python_files_in_a_run_directory_are_never_imported(
    pipeline: Path, tmp_path: Path, options: list[str]
) -> None:
    """Neither by the driver nor by a worker nor by a process of a pool, wherever the command is called."""
    run_dir, log = tmp_path / "r", tmp_path / "imported"
    first = subprocess.run(
        command("run", pipeline, "--run-dir", run_dir, "--local"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
    )
    assert first.returncode == 0, first.stderr
    plant(run_dir, log)
    for shard in run_dir.glob("generate-*/shard-*.parquet"):
        shard.unlink()
    again = command("run", pipeline, "--run-dir", ".", *options)
    # `-P` for this way of calling it only: the installed command has its own directory first, not the working one
    done = subprocess.run(
        [again[0], "-P", *again[1:]], cwd=run_dir, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not log.exists(), log.read_text()


def test_entries_of_pythonpath_do_not_follow_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from arbitrage.cli import session

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f":lib:{ROOT}:")
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), str(ROOT), "/usr/lib/python3"])
    session._keep_off_the_path(tmp_path)
    assert os.environ["PYTHONPATH"] == f"{tmp_path}/lib:{ROOT}"
    assert os.environ["PYTHONSAFEPATH"] == "1"
    assert sys.path == [str(ROOT), "/usr/lib/python3"]


def others(root: Path) -> list[str]:
    """Return what others than owner and group may read, write or enter."""
    return [str(path) for path in [root, *root.rglob("*")] if stat.S_IMODE(path.lstat().st_mode) & 0o007]


@pytest.mark.ray
def test_files_of_a_run_and_of_its_ray_are_private(pipeline: Path, tmp_path: Path) -> None:
    run_dir, ray, home = tmp_path / "r", tmp_path / "y", tmp_path / "home"
    home.mkdir()
    short = Path("/tmp") / f"arb-{os.getpid()}"  # sockets: short
    short.symlink_to(ray)
    ray.mkdir()
    try:
        done = subprocess.run(
            command("run", pipeline, "--run-dir", run_dir),
            cwd=tmp_path,
            env=environment(RAY_TMPDIR=str(short), HOME=str(home)),
            capture_output=True,
            text=True,
            umask=0o022,
        )
    finally:
        short.unlink()
    assert done.returncode == 0, done.stderr
    assert others(run_dir) == []
    (private,) = list(ray.iterdir())
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert private.name == f"ray-{os.getuid()}"
    assert not (home / ".ray" / "auth_token").exists()  # the token of this Ray is known to its processes alone


def at_moment(
    args: list[str], cwd: Path, words: str, number: int, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Start a command, send it a signal once its stderr holds some words, and return its exit code and stderr."""
    process = subprocess.Popen(args, cwd=cwd, env=dict(env or environment()), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            process.send_signal(number)
            break
    rest = process.stderr.read()
    return process.wait(WITHIN_S), "".join(said) + rest


SLOW = """
import sys, time
from arbitrage.cli import main as cli
import {module} as module
real = module.{name}
def slow(*args, **kwargs):
    print("moment", file=sys.stderr, flush=True)
    end = time.monotonic() + 600
    while time.monotonic() < end:
        time.sleep(0.05)
    return real(*args, **kwargs)
module.{name} = slow
cli.main()
"""

MOMENTS = {
    "pipeline-loads": ("pipelines.loading", "load_yaml", ("--local",)),
    "plan": ("arbitrage.execution.plan", "plan", ("--local",)),
    "claim": ("arbitrage.execution.run", "hold_run_lock", ("--local",)),
    "report": ("arbitrage.report.page", "build_report", ("--local",)),
    "export": ("arbitrage.export.export", "export_datasets", ("--local",)),
    "ray-starts": ("arbitrage.execution.ray.connection", "_init", ()),
    "model-loads": ("arbitrage.teachers.engines.fake", "FakeEngine", ("--local",)),
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.process
def test_a_signal_at_any_moment_ends_with_130_and_the_sentence(
    pipeline: Path, tmp_path: Path, moment: str, number: int
) -> None:
    module, name, options = MOMENTS[moment]
    args = [sys.executable, "-c", SLOW.format(module=module, name=name), "run", str(pipeline), *options]
    if moment == "ray-starts":  # Ray's start is not cut off: what it has begun is ended in order
        args[2] = args[2].replace("+ 600", "+ 1")
    code, said = at_moment(args, tmp_path, "moment", number)
    assert code == 130, said
    assert said.splitlines()[-1] == f"error: {SENTENCE}", said
    assert "Traceback" not in said


@pytest.mark.process
def test_a_signal_while_prompts_are_read_ends_with_130(tmp_path: Path, pipeline: Path) -> None:
    args = command("run", pipeline, "--local")
    hook = (
        "import sys, time\nfrom arbitrage.cli import main as cli\nfrom arbitrage.execution.progress import RunMonitor\n"
        "real = RunMonitor.rows_read\n"
        "def slow(self, step, num):\n    print('moment', file=sys.stderr, flush=True)\n    time.sleep(1)\n"
        "    real(self, step, num)\n"
        "RunMonitor.rows_read = slow\ncli.main()\n"
    )
    args[2] = hook
    code, said = at_moment(args, tmp_path, "moment", signal.SIGTERM)
    assert code == 130, said
    assert said.splitlines()[-1] == f"error: {SENTENCE}"


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


def test_a_long_ray_tmpdir_is_named_with_the_way_out(
    no_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("a" * 60)))
    with pytest.raises(ExecutionError, match=r"too long, a path of .* set RAY_TMPDIR to a short path"):
        connection.ray_directory()


def test_a_long_or_unwritable_tmpdir_is_passed_over(
    no_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("a" * 60)))
    assert connection.ray_directory() == Path(f"/tmp/ray-{os.getuid()}/{connection.BELOW}")
    (tmp_path / "file").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))
    assert connection.ray_directory().parts[1] == "tmp"


def test_a_directory_that_another_has_prepared_is_not_used(
    no_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, prepared = Path("/tmp") / f"arb-p{os.getpid()}", tmp_path / "prepared"
    prepared.mkdir()
    base.mkdir()
    try:
        (base / f"ray-{os.getuid()}").symlink_to(prepared)
        monkeypatch.setenv("RAY_TMPDIR", str(base))
        with pytest.raises(ExecutionError, match="belongs to another user"):
            connection.ray_directory()
    finally:
        (base / f"ray-{os.getuid()}").unlink()
        base.rmdir()


def test_too_low_a_limit_on_open_files_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection.resource, "getrlimit", lambda _: (64, 64))
    with pytest.raises(ExecutionError, match=r"at most 64 files may be open \(ulimit -n\), and Ray needs 512"):
        connection._allow_open_files()


def test_whatever_ray_raises_while_it_starts_is_a_sentence(no_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise Exception("The current node timed out during startup.\nMore.")

    monkeypatch.setattr(connection, "_init", fail)
    monkeypatch.setattr(connection, "_make_a_token", lambda: None)
    with pytest.raises(
        ExecutionError, match=r"cannot be started on this machine: The current node timed out.*--local"
    ):
        connection.start_ray(_Told(), 1)


def test_a_cluster_that_is_down_is_named_within_a_minute(
    no_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PORT_TIMEOUT_S", 1.0)
    (port,) = free_ports(1)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(
        ExecutionError, match=rf"Ray at .*:{port} .*RAY_ADDRESS.* cannot be reached: Connection refused"
    ):
        connection.connect_ray("auto", _Told())


@pytest.mark.parametrize("address", ["nonsense", "host:", "127.0.0.1:99999", "no-such-host.invalid:6379"])
def test_an_impossible_address_is_a_sentence(no_ray: None, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PORT_TIMEOUT_S", 1.0)
    with pytest.raises(ExecutionError, match=r"is not an address|cannot be reached"):
        connection.connect_ray(address, _Told())


@pytest.fixture
def mute_server() -> Iterator[int]:
    """A port that is open but never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    accepted.append(server.accept()[0])
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        for each in accepted:
            each.close()


@pytest.mark.process
def test_a_port_without_a_head_behind_it_is_given_up(pipeline: Path, tmp_path: Path, mute_server: int) -> None:
    args = command("run", pipeline, "--ray", f"127.0.0.1:{mute_server}")
    args[2] = args[2].replace("main()", "").replace("; ", "\n") + (
        "import arbitrage.execution.ray.connection as r\nr.CONNECT_TIMEOUT_S = 3.0\nmain()"
    )
    done = subprocess.run(args, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 4, done.stderr
    assert "no Ray head accepted this driver" in done.stderr.splitlines()[-1] or "cannot be reached" in done.stderr


class _Told:
    def note(self, message: str) -> None:
        pass


@pytest.mark.parametrize(
    ("text", "quota"), [("max 100000", None), ("150000 100000", 1.5), ("50000 100000", 0.5), ("x", None), ("", None)]
)
def test_a_control_groups_quota_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, quota: float | None
) -> None:
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(pools, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(pools, "CPU_QUOTA_V1", (tmp_path / "a", tmp_path / "b"))
    assert pools._cpu_quota() == quota
    assert 1 <= pools.num_cpus() <= max(1, len(os.sched_getaffinity(0)))
