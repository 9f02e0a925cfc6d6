"""A card decides which files `datasets` reads: never ones outside of the data set's folder."""

import json
from pathlib import Path

import pytest
from datasets import load_dataset

from arbitrage.errors import DataError
from arbitrage.inputs.hub_card import require_inside
from arbitrage.prompts.sources import DatasetConfig

SECRET = {"prompt": "the secret", "language": "en"}


def _folder(tmp_path: Path, configs: str) -> Path:
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train.jsonl").write_text(json.dumps({"prompt": "fine", "language": "en"}) + "\n")
    (tmp_path / "secret.jsonl").write_text(json.dumps(SECRET) + "\n")
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n\n# A set\n")
    return folder


OUT = (
    "../secret.jsonl",
    "data/../../secret.jsonl",
    "{tmp}/secret.jsonl",
    "file://{tmp}/secret.jsonl",
    "https://example.org/x.jsonl",
    "zip://x.jsonl::../secret.zip",
    "..\\\\secret.jsonl",
)


@pytest.mark.parametrize("path", OUT)
@pytest.mark.parametrize(
    "shape",
    [
        "  - config_name: default\n    data_files: '{path}'\n",
        "  - config_name: default\n    data_files:\n      - split: train\n        path: ['data/train.jsonl', '{path}']\n",
        "  - config_name: default\n    data_files:\n      - split: train\n        path: '{path}'\n",
        "  - config_name: other\n    data_dir: '{path}'\n",
    ],
)
def test_a_card_that_leads_out_is_refused(tmp_path: Path, path: str, shape: str) -> None:
    folder = _folder(tmp_path, shape.replace("{path}", path.replace("{tmp}", str(tmp_path))))
    with pytest.raises(DataError, match="leads out of the folder"):
        require_inside(folder)


def test_datasets_itself_would_follow_it(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "  - config_name: default\n    data_files: '../secret.jsonl'\n")
    assert load_dataset(str(folder), split="train", streaming=True).take(1).__iter__().__next__() == SECRET
    config = DatasetConfig(kind="dataset", name=str(folder))
    with pytest.raises(DataError, match=r"README.md: configs.data_files: '../secret.jsonl' leads out"):
        list(config.build().read())


@pytest.mark.parametrize(
    "path", ["data/train.jsonl", "data/*.jsonl", "./data/train.jsonl", "data/a:b.jsonl", "*.parquet"]
)
def test_a_card_that_stays_inside_is_fine(tmp_path: Path, path: str) -> None:
    require_inside(_folder(tmp_path, f"  - config_name: default\n    data_files: '{path}'\n"))


@pytest.mark.parametrize(
    "text", ["", "no card", "---\n---\n", "---\nconfigs: 5\n---\n", "---\n- 1\n---\n", "\ufeff---\na: 1\n---\n"]
)
def test_cards_without_configurations_are_fine(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    require_inside(tmp_path)


def test_a_bomb_of_aliases_is_a_sentence(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (tmp_path / "README.md").write_text("---\n" + "\n".join(lines) + "\n---\n")
    with pytest.raises(DataError, match="cannot be read"):
        require_inside(tmp_path)
