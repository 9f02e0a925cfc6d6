"""What is shipped: three packages and nothing else on top; `--help` is quick because it imports nothing heavy."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(out),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    return next(out.glob("*.whl"))


def test_the_wheel_has_exactly_our_three_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"arbitrage", "routers", "pipelines"}


def test_the_wheel_carries_what_the_quickstart_reads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for path in ["pipelines/quickstart.yaml", "arbitrage/language_families.yaml", "arbitrage/demo/teachers.yaml"]:
        assert path in names
    assert sum(name.endswith("model.safetensors") for name in names) >= 6
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".pickle"))]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['arbitrage', '--help']\n"
        "from arbitrage.cli.main import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "heavy = {'ray', 'torch', 'vllm', 'datasets', 'pandas', 'numpy', 'pydantic', 'langcodes'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout
