"""References to models, and whether their weights are on this machine."""

from pathlib import Path

import pytest

from arbitrage.models.references import is_here


def test_weights_are_here_in_a_directory_or_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--org--m" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert not is_here("org/m")  # without weights
    (snapshot / "model-00001-of-00002.safetensors").touch()
    assert is_here("org/m")
    assert not is_here("org/other")
    assert is_here(str(snapshot))
    assert not is_here(str(tmp_path / "gone"))
