"""What training starts from, and what comes out: whole models or a sentence, the base's precision, its name."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from arbitrage.errors import DataError, UserError
from arbitrage.execution.context import RunContext
from arbitrage.training.settings import TrainConfig
from arbitrage.training.train import TrainedStudent, train
from tests.support.tiny_model import save_model
from tests.support.training import recording

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(180)]

QUICK = {"max_steps": 1, "per_device_train_batch_size": 2, "max_length": 32, "use_cpu": True}
LONG = "red " * 400


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    directory = save_model(tmp_path_factory.mktemp("training") / "base")
    AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).save_pretrained(directory)
    yield directory
    torch.set_num_threads(threads)


def turn(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def sft_row(question: str = "Hi", answer: str = "Ho") -> dict[str, Any]:
    return {"prompt": turn("user", question), "completion": turn("assistant", answer)}


def pair(question: str = "Hi", length: str = "") -> dict[str, Any]:
    sides = {"chosen": turn("assistant", "Ho" + length), "rejected": turn("assistant", "Hu" + length)}
    return {"prompt": turn("user", question), **sides}


def trained(
    model: Path,
    folder: Path,
    rows: list[dict[str, Any]],
    method: str = "sft",
    context: RunContext | None = None,
    **more: Any,
) -> TrainedStudent:
    data = folder / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    arguments = QUICK | more.pop("arguments", {})
    config = TrainConfig(
        method=method, model=str(model), data=(str(data),), out=str(folder / "out"), arguments=arguments, **more
    )  # type: ignore[arg-type]
    return train(config, context)


def dtype_of(student: TrainedStudent) -> str:
    return str(json.loads((student.path / "config.json").read_text("utf-8"))["dtype"])


@pytest.mark.parametrize(("method", "more"), [("sft", {}), ("dpo", {"lora": {"r": 4}}), ("reward", {})])
def test_a_bf16_base_has_a_bf16_student(base, tmp_path, method, more):
    rows = [sft_row()] if method == "sft" else [pair()]
    student = trained(base, tmp_path, rows, method, **more)
    assert dtype_of(student) == "bfloat16"
    assert (student.path / "model.safetensors").stat().st_size < 1.2 * (base / "model.safetensors").stat().st_size
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "fine-tuned version of `base`" in card
    assert "None" not in card.split("## Quick start")[0]


def test_another_precision_can_be_chosen(base, tmp_path):
    student = trained(base, tmp_path, [sft_row()], arguments={"model_init_kwargs": {"dtype": "float32"}})
    assert dtype_of(student) == "float32"


@pytest.mark.parametrize(
    ("method", "row"), [("sft", sft_row(LONG)), ("dpo", pair(LONG, LONG)), ("reward", pair(LONG, LONG))]
)
def test_rows_that_are_all_too_long_are_one_sentence(base, tmp_path, method, row):
    with pytest.raises(DataError, match=r"all are longer than arguments\.max_length \(32 tokens\)"):
        trained(base, tmp_path, [row] * 3, method)


def test_rows_left_out_are_told(base, tmp_path):
    told: list[str] = []
    trained(base, tmp_path, [sft_row(), sft_row("Ha"), sft_row(LONG)], context=recording(notes=told))
    assert "1 of 3 rows are left out: longer than max_length (32 tokens)" in told


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads(path.read_text("utf-8"))
    change(values)
    path.write_text(json.dumps(values), "utf-8")


def _without_weights(model: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(model / "model.safetensors")
    tensors.pop("model.norm.weight")
    save_file(tensors, model / "model.safetensors", {"format": "pt"})


def _sharded(model: Path) -> None:
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no architectures": (
        lambda m: _edit(m / "config.json", lambda c: c.pop("architectures")),
        "architectures is None",
    ),
    "broken config": (lambda m: (m / "config.json").write_text("{"), r"config\.json: is no JSON"),
    "config of a list": (lambda m: (m / "config.json").write_text("[]"), "expected a JSON object"),
    "unknown kind": (lambda m: _edit(m / "config.json", lambda c: c.update(model_type="llamma")), "llamma"),
    "absurd size": (
        lambda m: _edit(m / "config.json", lambda c: c.update(num_hidden_layers=10**9)),
        "num_hidden_layers is 1000000000",
    ),
    "no tokenizer": (lambda m: (m / "tokenizer.json").unlink(), "no tokenizer"),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), r"no \*\.safetensors"),
    "weights lacking": (_without_weights, r"lack 1 weights .*model\.norm\.weight"),
    "shard missing": (_sharded, r"names model-00002-of-00002\.safetensors, which is not there"),
    "weights cut off": (
        lambda m: (m / "model.safetensors").write_bytes((m / "model.safetensors").read_bytes()[:-9]),
        "is cut off",
    ),
    "LFS pointer": (
        lambda m: (m / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
        "Git LFS pointer",
    ),
    "template of parts": (
        lambda m: (m / "chat_template.jinja").write_text(
            "{% for m in messages %}{{ m.content[0].text }}{% endfor %}"
        ),
        "as a list of parts",
    ),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_base_that_cannot_be_trained_is_one_sentence(base, tmp_path, how):
    model = tmp_path / "model"
    shutil.copytree(base, model)
    break_it, why = BREAKS[how]
    break_it(model)
    with pytest.raises(UserError, match=why) as caught:
        trained(model, tmp_path, [sft_row()])
    assert str(caught.value).startswith(f"sft of {model}: ")
    assert "\n" not in str(caught.value)


def test_an_empty_eval_set_is_one_sentence(base, tmp_path):
    data = tmp_path / "export" / "data"
    for split, rows in (("train", [sft_row()]), ("test", [])):
        (data / split).mkdir(parents=True)
        (data / split / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    config = TrainConfig(
        method="sft",
        model=str(base),
        data=(str(tmp_path / "export"),),
        out=str(tmp_path / "out"),
        arguments=QUICK | {"eval_strategy": "steps", "eval_steps": 1},
    )
    with pytest.raises(DataError, match=r"no rows|no `test` split"):
        train(config)
