"""Hosts on this machine: each a network namespace with an address of its own and a cable that can be pulled."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

NETWORK = "10.77.0"


@dataclass(frozen=True)
class Host:
    """One host.

    Attributes:
        name: of its namespace.
        address: in the network of all hosts.
        processes: started on it.
    """

    name: str
    address: str
    switch: str
    cable: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: Sequence[str], log: Path, **environ: str) -> subprocess.Popen[bytes]:
        """Start a process on this host, in a session of its own."""
        with log.open("ab") as out:
            inside = ["ip", "netns", "exec", self.name, *command]
            env = os.environ | environ
            process = subprocess.Popen(inside, stdout=out, stderr=out, env=env, start_new_session=True)
        self.processes.append(process)
        return process

    def pull_the_cable(self) -> None:
        """Cut this host off: nothing arrives any more, and no connection is closed."""
        _ip("-n", self.switch, "link", "set", self.cable, "down")

    def switch_off(self) -> None:
        """End all that runs here: what was started, and what has stayed behind in the namespace."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
        while pids := _ip("netns", "pids", self.name).split():
            for pid in pids:
                with _already_gone():
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.05)


@contextmanager
def connected_hosts(number: int) -> Iterator[list[Host]]:
    """Give hosts in one network, and take all of it away again; skip the test where that is not allowed."""
    prefix = f"arb{os.getpid()}"
    switch = f"{prefix}-switch"
    with ExitStack() as undoing:
        try:
            _add_namespace(switch, undoing)
            _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
            _ip("-n", switch, "link", "set", "bridge", "up")
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            pytest.skip(f"this machine does not allow network namespaces: {reason}")
        yield [_plug_in(f"{prefix}-{n}", f"{NETWORK}.{n}", switch, undoing) for n in range(1, number + 1)]


def _plug_in(name: str, address: str, switch: str, undoing: ExitStack) -> Host:
    cable = f"c{address.rpartition('.')[2]}"
    _add_namespace(name, undoing)
    host = Host(name, address, switch, cable)
    undoing.callback(host.switch_off)
    _ip("link", "add", "eth", "netns", name, "type", "veth", "peer", "name", cable, "netns", switch)
    _ip("-n", switch, "link", "set", cable, "master", "bridge", "up")
    _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth")
    for device in ("eth", "lo"):
        _ip("-n", name, "link", "set", device, "up")
    return host


def _add_namespace(name: str, undoing: ExitStack) -> None:
    _ip("netns", "add", name)
    undoing.callback(_ip, "netns", "del", name)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@contextmanager
def _already_gone() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        return
