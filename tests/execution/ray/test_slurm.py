"""The Slurm example, with an `srun` that runs its command here: a head, a worker, the driver, and nothing left behind."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from arbitrage.runs.run import open_run
from tests.support.head import ROOT, free_ports
from tests.support.pipelines import write_pipeline
from tests.support.waiting import WITHIN_S

SCRIPT = ROOT / "docker" / "slurm" / "arbitrage.sbatch"

SRUN = """\
while [[ $1 == -* ]]; do
  [[ $1 == -w ]] && shift
  shift
done
echo "$*" >>"$SRUN_LOG"
if [[ $1 == hostname ]]; then
  echo 127.0.0.1
else
  exec "$@"
fi
"""


def write_command(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/usr/bin/env bash\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    commands = tmp_path / "bin"
    commands.mkdir()
    write_command(commands, "srun", SRUN)
    write_command(commands, "scontrol", "printf 'node-a\\nnode-b\\n'\n")
    write_command(commands, "python", f'exec {sys.executable} "$@"\n')
    write_command(commands, "ray", f'exec {sys.executable} -m ray.scripts.scripts "$@"\n')
    write_command(commands, "arbitrage", f'exec {sys.executable} -m arbitrage.cli.main "$@"\n')
    (port,) = free_ports(1)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SLURM_"))}
    return kept | {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "node-[a-b]",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_GPUS_ON_NODE": "0",
        "RAY_PORT": str(port),
        "SRUN_LOG": str(tmp_path / "srun.log"),
    }


@pytest.mark.ray
def test_the_script_runs_a_pipeline_on_two_nodes_and_cleans_up(environ: dict[str, str], tmp_path: Path) -> None:
    pipeline, directory = write_pipeline(tmp_path, pool=["ant"]), tmp_path / "run"
    command = ["bash", str(SCRIPT), str(pipeline), "--run-dir", str(directory), "--json"]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert open_run(directory).is_finished
    started = [line for line in Path(environ["SRUN_LOG"]).read_text().splitlines() if line.startswith("ray start")]
    assert ["--head" in line for line in started] == [True, False]
    assert f"--address=127.0.0.1:{environ['RAY_PORT']}" in started[1]
    assert not Path("/tmp", f"ray-{environ['SLURM_JOB_ID']}").exists()
    assert not processes_of(environ["SLURM_JOB_ID"])


@pytest.mark.process
def test_the_exit_code_of_the_run_is_that_of_the_job(environ: dict[str, str], tmp_path: Path) -> None:
    """Without a cluster: `ray` and `arbitrage` only say what they were asked."""
    commands = tmp_path / "bin"
    write_command(commands, "ray", "[[ $1 == start ]] && exec sleep 60\nexit 0\n")
    write_command(commands, "arbitrage", 'echo "$RAY_AUTH_MODE ${#RAY_AUTH_TOKEN} $*"\nexit 3\n')
    done = subprocess.run(
        ["bash", str(SCRIPT), "p.yaml"], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN_S
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.split() == ["token", "64", "run", "p.yaml", "--ray", f"127.0.0.1:{environ['RAY_PORT']}"]
    assert "token" not in Path(environ["SRUN_LOG"]).read_text().lower()


@pytest.mark.process
def test_slurms_signal_drains_the_run(environ: dict[str, str], tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    write_command(commands, "ray", "[[ $1 == start ]] && exec sleep 61\nexit 0\n")
    drain = "trap 'echo drained; exit 130' TERM\necho at work\nfor n in {1..300}; do sleep 0.1; done\n"
    write_command(commands, "arbitrage", drain)
    with subprocess.Popen(
        ["bash", str(SCRIPT), "p.yaml"], env=environ, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "at work\n"
        job.terminate()
        assert job.stdout.read() == "drained\n"
        assert job.wait(WITHIN_S) == 130


@pytest.mark.process
def test_a_head_that_does_not_come_up_ends_the_job(environ: dict[str, str], tmp_path: Path) -> None:
    write_command(tmp_path / "bin", "ray", "exit 1\n")
    done = subprocess.run(
        ["bash", str(SCRIPT), "p.yaml"], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN_S
    )
    assert done.returncode == 1
    assert "the Ray head on node-a did not come up" in done.stderr


def processes_of(job: str) -> list[str]:
    """Return the command lines of processes that work in the job's temporary directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"/tmp/ray-{job}" in line:
            found.append(line)
    return found
