"""Check of the host for vLLM's GPU wheels: a driver that supports their CUDA version."""

import re
import shutil
import subprocess
from pathlib import Path

from arbitrage.teachers.engines.engine import UsabilityCheck

LEAST_DRIVER = 580
"""The wheels contain CUDA 13, which needs r580 or newer
(https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/, "CUDA Driver", Table 3)."""

VERSION_FILE = Path("/proc/driver/nvidia/version")


def check_driver() -> list[UsabilityCheck]:
    """Tell whether this machine's NVIDIA driver is new enough; without one, GPUs may be on other machines."""
    version = driver_version()
    if version is None:
        return [
            UsabilityCheck(
                "warn",
                "driver",
                f"no NVIDIA driver on this machine; the machine with the GPU needs {LEAST_DRIVER} or newer",
            )
        ]
    if int(version.split(".")[0]) < LEAST_DRIVER:
        return [
            UsabilityCheck(
                "error",
                "driver",
                f"NVIDIA driver {version} is older than {LEAST_DRIVER}, which the CUDA 13 wheels of vLLM need; "
                "install a newer driver, or NVIDIA's cuda-compat-13-0 package on data-centre GPUs",
            )
        ]
    return [UsabilityCheck("ok", "driver", f"NVIDIA driver {version}")]


def driver_version() -> str | None:
    """Return the driver's version, such as "580.65.06"; None where there is none."""
    try:
        text = VERSION_FILE.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = _run_nvidia_smi()
    found = re.search(r"\b(\d{3,4}\.\d+(?:\.\d+)?)\b", text)
    return found[1] if found else None


def _run_nvidia_smi() -> str:
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    try:
        wanted = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(wanted, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
