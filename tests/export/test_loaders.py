"""The real loaders of trainers that cannot share an environment with us; they run where they are installed.

They want other versions of what we pin. docs/exports.md says how to run these in an environment of their own.
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from datasets import load_dataset
from transformers import HfArgumentParser

from arbitrage.export.export import export_run
from tests.support.export_runs import make_run, plain_case
from tests.support.reasoned import CASES, THOUGHT, reasoned_case, template
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


@pytest.fixture(scope="module")
def reasoned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("reasoned")
    return {kind: make_run(root / kind, reasoned_case(thoughts)) for kind, thoughts in CASES.items()}


def learnt_of(ids: Sequence[int], labels: Sequence[int], tokenizer: Any) -> tuple[str, str]:
    """Return the whole text, and the text that the loss is on."""
    return tokenizer.decode(ids), tokenizer.decode([label for label in labels if label != -100])


def as_llamafactory_trains(
    run: Path, out: Path, dataset: str, named: str = "qwen3", **more: object
) -> dict[str, list[tuple[str, str]]]:
    """Read an export by its `llamafactory.yaml`: last word of the answer → what is read and learnt of each side."""
    loader = pytest.importorskip("llamafactory.data.loader")
    parser = pytest.importorskip("llamafactory.data.parser")
    templates = pytest.importorskip("llamafactory.data.template")
    processors = pytest.importorskip("llamafactory.data.processor")
    hparams = pytest.importorskip("llamafactory.hparams")
    [result] = export_run(run, "llamafactory", [dataset], out)
    config = yaml.safe_load((result.path / "llamafactory.yaml").read_text()) | {"template": named} | more
    config |= {"dataset_dir": str(result.path), "media_dir": str(result.path)}
    [data_args] = HfArgumentParser(hparams.DataArguments).parse_dict(config, allow_extra_keys=True)
    model_args = SimpleNamespace(cache_dir=None, hf_hub_token=None)
    [attributes] = parser.get_dataset_list([config["dataset"]], str(result.path))
    training_args = SimpleNamespace(local_process_index=0, dataloader_num_workers=0)
    rows = loader._load_single_dataset(attributes, model_args, data_args, training_args)
    tokenizer = build_tokenizer(None)
    chosen = templates.get_template_and_fix_tokenizer(tokenizer, data_args)
    kind = processors.SupervisedDatasetProcessor if dataset == "sft" else processors.PairwiseDatasetProcessor
    processor = kind(template=chosen, tokenizer=tokenizer, processor=None, data_args=data_args)
    found = {}
    for row in rows:
        name = row["_response"][0]["content"].split()[-1]
        encoded = processor._encode_data_example(
            prompt=row["_prompt"],
            response=row["_response"],
            system=row["_system"],
            tools=row["_tools"],
            images=[],
            videos=[],
            audios=[],
        )
        sides = [encoded] if dataset == "sft" else [encoded[:2], encoded[2:4]]
        found[name] = [learnt_of(*side, tokenizer) for side in sides]
    return found


EMPTY = "<think>\n\n</think>\n\n"


def thought(text: str) -> str:
    return f"<think>\n{text}\n</think>\n\n"


@pytest.mark.parametrize("kind", ["all", "mixed", "none"])
def test_llamafactory_learns_reasoning_and_no_empty_chain(
    reasoned: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    found = as_llamafactory_trains(reasoned[kind], tmp_path, "sft")
    for name, [(whole, learnt)] in found.items():
        winner = "qwen" if name == "three" else "aya"
        reasoning = CASES[kind].get((name, winner))
        wanted = f"{thought(reasoning)}right {name}" if reasoning else f"right {name}"
        assert learnt.startswith(wanted)
        assert (EMPTY in whole) == (reasoning is None)  # in the prompt, as at inference without thinking


def test_llamafactorys_default_would_learn_the_empty_chain(reasoned: dict[str, Path], tmp_path: Path) -> None:
    default = as_llamafactory_trains(reasoned["mixed"], tmp_path, "sft", enable_thinking=True)
    assert default["two"][0][1].startswith(f"{EMPTY}right two")
    off = as_llamafactory_trains(reasoned["mixed"], tmp_path, "sft", enable_thinking=False)
    assert THOUGHT not in off["one"][0][0]  # `false` cuts reasoning off


def test_llamafactory_compares_reasoning(reasoned: dict[str, Path], tmp_path: Path) -> None:
    found = as_llamafactory_trains(reasoned["mixed"], tmp_path, "preference")
    learnt = {name: [side[1].removesuffix("<|im_end|>\n") for side in sides] for name, sides in found.items()}
    assert learnt == {
        "one": [f"{thought(THOUGHT)}right one", f"{EMPTY}wrong one"],
        "two": [f"{EMPTY}right two", f"{thought('lost')}wrong two"],
        "three": [f"{EMPTY}right three", f"{EMPTY}wrong three"],
    }
    assert not any(EMPTY in side[0].split("assistant\n")[0] for sides in found.values() for side in sides)


def test_llamafactory_templates_with_marks_of_their_own_take_the_reasoning_for_text(
    reasoned: dict[str, Path], tmp_path: Path
) -> None:
    """What `llamafactory.yaml` warns of."""
    [(_, learnt)] = as_llamafactory_trains(reasoned["all"], tmp_path, "sft", "gpt_oss")["one"]
    assert "<|channel|>analysis<|message|><|end|>" in learnt
    assert "<think>" in learnt.split("<|channel|>final<|message|>")[1]


@pytest.mark.parametrize("kind", ["all", "mixed"])
@pytest.mark.parametrize(("name", "key"), [("qwen3", "keep"), ("gptoss", "thinking")])
def test_axolotl_learns_reasoning(reasoned: dict[str, Path], tmp_path: Path, kind: str, name: str, key: str) -> None:
    strategy = pytest.importorskip("axolotl.prompt_strategies.chat_template")
    dicts = pytest.importorskip("axolotl.utils.dict")
    schemas = pytest.importorskip("axolotl.utils.schemas.datasets")
    [result] = export_run(reasoned[kind], "axolotl", ["sft"], tmp_path, reasoning=key)  # type: ignore[arg-type]
    entry = yaml.safe_load((result.path / "axolotl.yaml").read_text())["datasets"][0]
    entry = schemas.SFTDataset(**entry).model_dump(exclude_none=True)  # as axolotl validates it
    tokenizer = build_tokenizer(template(name))
    config = {"train_on_inputs": False, "sequence_len": 2048, "chat_template": "tokenizer_default"}
    tokenising = strategy.load(tokenizer, dicts.DictDefault(config), ds_cfg=dicts.DictDefault(entry))
    found = {}
    for row in load_dataset(str(result.path), split="train"):
        made = tokenising.tokenize_prompt(row)
        whole, learnt = learnt_of(made["input_ids"], made["labels"], tokenizer)
        found[whole.split("right ")[1].split("<")[0]] = (whole, learnt)
    for word, (whole, learnt) in found.items():
        winner = "qwen" if word == "three" else "aya"
        reasoning = CASES[kind].get((word, winner))
        assert f"right {word}" in learnt
        assert "None" not in whole
        if reasoning:
            assert f"{reasoning}\n</think>\n\nright {word}" in learnt or f"{reasoning}<|end|>" in learnt
        else:
            assert "think>" not in learnt  # axolotl masks what the template writes before the content
            assert "analysis<|message|>" not in whole


def test_axolotl_renders_pairs_with_reasoning(reasoned: dict[str, Path], tmp_path: Path) -> None:
    strategy = pytest.importorskip("axolotl.prompt_strategies.dpo.chat_template")
    schemas = pytest.importorskip("axolotl.utils.schemas.datasets")
    [result] = export_run(reasoned["mixed"], "axolotl", ["preference"], tmp_path)
    config = yaml.safe_load((result.path / "axolotl.yaml").read_text())
    entry = schemas.DPODataset(**config["datasets"][0]).model_dump(exclude_none=True)  # as axolotl validates it
    config = {"rl": "dpo", "datasets": [entry], "chat_template": "tokenizer_default"}
    transform, options = strategy.default(config)
    rows = load_dataset(str(result.path), split="train")
    rendered = rows.map(transform, fn_kwargs={"tokenizer": build_tokenizer(template("qwen3"))}, **options)
    pairs = {row["chosen"].split("right ")[1].split("<")[0]: (row["chosen"], row["rejected"]) for row in rendered}
    end = "<|im_end|>"
    assert pairs == {
        "one": (f"{thought(THOUGHT)}right one{end}", f"{EMPTY}wrong one{end}"),
        "two": (f"{EMPTY}right two{end}", f"{thought('lost')}wrong two{end}"),
        "three": (f"{EMPTY}right three{end}", f"{EMPTY}wrong three{end}"),
    }


def test_nemo_rl_hands_the_key_to_the_chat_template(reasoned: dict[str, Path], tmp_path: Path) -> None:
    sft = pytest.importorskip("nemo_rl.data.datasets.response_datasets.oai_format_dataset")
    preference = pytest.importorskip("nemo_rl.data.datasets.preference_datasets.preference_dataset")
    processors = pytest.importorskip("nemo_rl.data.processors")
    interfaces = pytest.importorskip("nemo_rl.data.interfaces")
    spec, tokenizer = interfaces.TaskDataSpec(task_name="export"), build_tokenizer(template("qwen3"))
    rows, pairs = export_run(reasoned["mixed"], "nemo-rl", ["sft", "preference"], tmp_path)
    loaded = sft.OpenAIFormatDataset(f"{rows.path}/data/train/*.jsonl").dataset
    logs = [processors.sft_processor(row, spec, tokenizer, 4096, i)["message_log"] for i, row in enumerate(loaded)]
    start, end = "<|im_start|>assistant\n", "<|im_end|>\n<|end|>"
    assert sorted(log[-1]["content"] for log in logs) == sorted(
        f"{start}{chain}{answer}{end}"
        for chain, answer in ((thought(THOUGHT), "right one"), (EMPTY, "right two"), (EMPTY, "right three"))
    )
    loaded = preference.PreferenceDataset(f"{pairs.path}/data/train/*.jsonl").dataset
    made = [processors.preference_preprocessor(row, spec, tokenizer, 4096, i) for i, row in enumerate(loaded)]
    sides = [(row["message_log_chosen"][-1]["content"], row["message_log_rejected"][-1]["content"]) for row in made]
    assert (f"{start}{EMPTY}right two{end}", f"{start}{thought('lost')}wrong two{end}") in sides


def test_open_instruct_learns_reasoning(reasoned: dict[str, Path], tmp_path: Path) -> None:
    transformation = pytest.importorskip("open_instruct.dataset_transformation")
    [result] = export_run(reasoned["mixed"], "open-instruct", ["sft"], tmp_path)
    tokenizer = build_tokenizer(template("qwen3"))
    learnt = []
    for row in load_dataset(str(result.path), split="train"):
        made = transformation.sft_tokenize_mask_out_prompt_v1(row, tokenizer)
        learnt.append(learnt_of(made["input_ids"], made["labels"], tokenizer)[1].removesuffix("<|im_end|>\n"))
    assert sorted(learnt) == [f"{EMPTY}right three", f"{EMPTY}right two", f"{thought(THOUGHT)}right one"]
