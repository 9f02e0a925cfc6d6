"""The NVIDIA driver of a machine, as `teachers check` reads it."""

from pathlib import Path

import pytest

from arbitrage.teachers.engines import vllm_host

TEXT = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Thu Jan 30 01:18:45 UTC 2025\nGCC version: gcc 12.2.0\n"
OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (root@host)\nGCC version: 13.3.0\n"
)


@pytest.mark.parametrize(
    ("text", "version", "level"),
    [
        (TEXT.format("550.144.03"), "550.144.03", "error"),
        (OPEN.format("570.86.15"), "570.86.15", "error"),
        (OPEN.format("580.65.06"), "580.65.06", "ok"),
        (TEXT.format("615.71"), "615.71", "ok"),
    ],
)
def test_a_driver_too_old_for_the_wheels_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, version: str, level: str
) -> None:
    (tmp_path / "version").write_text(text)
    monkeypatch.setattr(vllm_host, "VERSION_FILE", tmp_path / "version")
    (finding,) = vllm_host.check_driver()
    assert (finding.level, finding.what) == (level, "driver")
    assert version in finding.detail
    assert level == "ok" or "580" in finding.detail


@pytest.mark.process
def test_without_a_driver_file_nvidia_smi_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vllm_host, "VERSION_FILE", tmp_path / "absent")
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho 535.183.01\necho 535.183.01\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vllm_host.driver_version() == "535.183.01"


def test_a_machine_without_gpus_is_only_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vllm_host, "VERSION_FILE", tmp_path / "absent")
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = vllm_host.check_driver()
    assert finding.level == "warn"
