"""The real loaders of trainers that cannot share an environment with us; they run where they are installed.

They want other versions of what we pin. docs/exports.md says how to run these in an environment of their own.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from datasets import load_dataset

from arbitrage.export.export import export_run
from tests.support.export_runs import make_run, plain_case
from tests.support.tiny_model import build_tokenizer

pytestmark = pytest.mark.trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", plain_case())


@pytest.mark.parametrize(
    ("dataset", "name", "num_rows"),
    [("sft", "sft", 24), ("sft", "sft-no", 6), ("preference", "preference", 24), ("preference", "preference-sw", 6)],
)
def test_llamafactory_keeps_every_row(run: Path, tmp_path: Path, dataset: str, name: str, num_rows: int) -> None:
    parser = pytest.importorskip("llamafactory.data.parser")
    loader = pytest.importorskip("llamafactory.data.loader")
    [result] = export_run(run, "llamafactory", [dataset], tmp_path)
    [attributes] = parser.get_dataset_list([name], str(result.path))
    model_args = SimpleNamespace(cache_dir=None, hf_hub_token=None)
    data_args = SimpleNamespace(
        dataset_dir=str(result.path),
        media_dir=str(result.path),
        preprocessing_num_workers=None,
        streaming=False,
        max_samples=None,
        overwrite_cache=True,
    )
    training_args = SimpleNamespace(local_process_index=0, dataloader_num_workers=0)
    rows = loader._load_single_dataset(attributes, model_args, data_args, training_args)
    assert len(rows) == num_rows
    for row in rows:
        answers = [message["content"] for message in row["_response"]]
        assert [message["role"] for message in row["_prompt"]] == ["user"]
        assert len(answers) == (1 if dataset == "sft" else 2)
        assert "wrong" not in answers[0]
        assert all("wrong" in answer for answer in answers[1:])


def test_axolotl_renders_the_pairs(run: Path, tmp_path: Path) -> None:
    strategy = pytest.importorskip("axolotl.prompt_strategies.dpo.chat_template")
    [result] = export_run(run, "axolotl", ["preference"], tmp_path)
    config = yaml.safe_load((result.path / "axolotl.yaml").read_text())
    transform, options = strategy.default(config | {"chat_template": "tokenizer_default"})
    rows = load_dataset(str(result.path), "sw", split=config["datasets"][0]["split"])
    rendered = rows.map(transform, fn_kwargs={"tokenizer": build_tokenizer()}, **options)
    pairs = [(row["prompt"], row["chosen"], row["rejected"]) for row in rendered]
    prompt = "<|begin|><|turn|>user\nsw 1?<|end|>\n<|turn|>assistant\n"
    assert (prompt, "sw right 1<|end|>", "sw wrong 1<|end|>") in pairs


def test_axolotl_learns_the_answer_alone(run: Path, tmp_path: Path) -> None:
    strategy = pytest.importorskip("axolotl.prompt_strategies.chat_template")
    dicts = pytest.importorskip("axolotl.utils.dict")
    [result] = export_run(run, "axolotl", ["sft"], tmp_path)
    entry = yaml.safe_load((result.path / "axolotl.yaml").read_text())["datasets"][0]
    tokenizer = build_tokenizer()
    config = {"train_on_inputs": False, "sequence_len": 256, "chat_template": "tokenizer_default"}
    tokenising = strategy.load(tokenizer, dicts.DictDefault(config), ds_cfg=dicts.DictDefault(entry))
    learnt = set()
    for row in load_dataset(str(result.path), "sw", split="train"):
        labels = tokenising.tokenize_prompt(row)["labels"]
        learnt.add(tokenizer.decode([label for label in labels if label != -100]).strip())
    assert "sw right 1<|end|>" in learnt
    assert all(text.endswith("<|end|>") and "?" not in text for text in learnt)
