"""What is shipped: three packages and nothing else on top; `--help` is quick because it imports nothing heavy."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import WITHIN_S

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy: what an earlier build left in `build/` would enter it."""
    out, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("arbitrage", "routers", "pipelines", "benchmarks", "tools", "tests"):
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
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
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=WITHIN_S)
    return next(out.glob("*.whl"))


def test_the_wheel_has_exactly_our_three_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"arbitrage", "routers", "pipelines"}


def test_the_wheel_has_no_code_that_trains_the_demo_models(wheel: Path) -> None:
    code = {path.name for path in (ROOT / "tools/demo_models").glob("*.py")} - {"__init__.py"}
    assert "training.py" in code
    with zipfile.ZipFile(wheel) as archive:
        demo = {name for name in archive.namelist() if name.startswith("arbitrage/demo/") and name.endswith(".py")}
        imports = [name for name in archive.namelist() if b"tools.demo_models" in archive.read(name)]
    assert demo
    assert not code & {Path(name).name for name in demo}
    assert not [name for name in imports if name.endswith(".py")]


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout
