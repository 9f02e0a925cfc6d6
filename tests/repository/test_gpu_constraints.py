"""`constraints-gpu.txt`: what can be told of it without the wheels. `make gpu-dry-run` resolves it and looks into them."""

import importlib.util
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.support.head import ROOT


@pytest.fixture(scope="module")
def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints-gpu.txt").read_text().splitlines()
    found = [Requirement(line.split("#")[0]) for line in lines if line.strip() and not line.startswith("#")]
    return {each.name.replace("_", "-").lower(): Version(str(each.specifier).removeprefix("==")) for each in found}


def check_wheels() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_wheels", ROOT / "docker" / "check_wheels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cuda_python_and_its_bindings_are_of_one_version(pins: dict[str, Version]) -> None:
    """Up to version 12.6 cuda-python held the bindings itself, and overwrote 28 files of cuda-bindings."""
    assert pins["cuda-python"] == pins["cuda-bindings"]
    assert pins["cuda-python"] >= Version("12.8")


def test_the_compiler_is_of_the_toolkits_release(pins: dict[str, Version]) -> None:
    wanted = pins["cuda-toolkit"].release[:2]
    for name in ("nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-nvvm", "nvidia-cuda-cccl", "nvidia-cuda-nvrtc"):
        assert pins[name].release[:2] == wanted, name


def test_what_builds_wheels_is_not_pinned(pins: dict[str, Version]) -> None:
    """Torch wants an older setuptools on Python 3.12 and newer: a pin made the set unresolvable there."""
    assert not {"setuptools", "pip", "wheel"} & set(pins)


def test_files_that_two_wheels_own_are_found() -> None:
    files = {
        "cuda-python 12.6.2": {
            "cuda/bindings/driver.so": 1,
            "cuda/__init__.py": 2,
            "cuda_python.dist-info/RECORD": 3,
        },
        "cuda-bindings 13.5.0": {
            "cuda/bindings/driver.so": 4,
            "cuda/bindings/": 0,
            "cuda_bindings.dist-info/RECORD": 5,
        },
        "other 1": {"other.py": 6, "cuda/bindings/": 0, "cuda/__init__.py": 2, "build_backend.py": 7},
        "another 1": {"build_backend.py": 8},
    }
    shared = check_wheels().owned_twice(files)
    assert shared == {("cuda-bindings 13.5.0", "cuda-python 12.6.2"): ["cuda/bindings/driver.so"]}
