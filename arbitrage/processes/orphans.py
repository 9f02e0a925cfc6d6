"""End engine processes when the process that started them ends for any reason.

vLLM's EngineCore waits forever for a parent that was killed, and keeps its GPU (vllm-project/vllm#55510). It has no
hook for our code, so a small helper process waits on a pipe whose other end only the parent holds; the kernel closes
it when the parent ends. The helper then ends the processes that have a certain environment variable, which all
processes of an engine inherit.
"""

import os
import subprocess
import sys
from functools import lru_cache

MARK = "ARBITRAGE_ENGINE_OF"

_HELPER = """
import os, signal, sys, time

def marked():
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open("/proc/" + name + "/environ", "rb") as file:
                    if mark in file.read().split(b"\\0"):
                        found.append(int(name))
            except OSError:
                pass
    return found

def end(number):
    for pid in marked():
        try:
            os.kill(pid, number)
        except OSError:
            pass

mark = sys.argv[1].encode()
sys.stdin.buffer.read()
end(signal.SIGTERM)
for _ in range(50):
    if not marked():
        break
    time.sleep(0.1)
end(signal.SIGKILL)
"""


@lru_cache(maxsize=1)
def end_engines_with_this_process() -> None:
    """End every process that is started from now on when this one ends. Call it before an engine starts."""
    if not os.path.isdir("/proc/self"):  # not Linux: processes cannot be looked up in /proc
        return
    value = f"{os.getpid()}-{os.urandom(4).hex()}"
    environ = {name: text for name, text in os.environ.items() if name != MARK}
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _HELPER, f"{MARK}={value}"],
        stdin=subprocess.PIPE,  # held open by this process until it ends
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environ,
        start_new_session=True,  # Ctrl-C is for the driver
    )
    os.environ[MARK] = value
