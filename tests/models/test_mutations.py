"""Model directories damaged in every way: each reader works or says one sentence, whatever the library raises."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from arbitrage.contracts.engines import Completion, Failure, GenerationRequest
from arbitrage.errors import ArbitrageError
from arbitrage.metrics.likelihood import LikelihoodConfig
from arbitrage.records import Message
from arbitrage.rewards.classifier import RewardModelConfig
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.transformers import TransformersConfig
from arbitrage.text.text import Text
from arbitrage.training.settings import TrainConfig
from arbitrage.training.trainers import check_base, student_dtype
from tests.support.mutations import Format, mutations
from tests.support.scoring import a_pair, save_reward_model, score_all
from tests.support.tiny_model import save_model

pytestmark = pytest.mark.model

SEED = 20261130
PER_FILE = 36
FILES: dict[str, Format] = {
    "config.json": "json",
    "generation_config.json": "json",
    "tokenizer.json": "json",
    "tokenizer_config.json": "json",
    "chat_template.jinja": "bytes",
    "model.safetensors": "bytes",
}


def check(model: Path) -> None:
    found = asyncio.run(TransformersConfig().check(ModelSpec("tiny", str(model), precision="fp32")))
    assert all(finding.detail and "\n" not in finding.detail for finding in found)


def generate(model: Path) -> None:
    async def one() -> list[Completion | Failure]:
        engine = TransformersConfig().build(ModelSpec("tiny", str(model), precision="fp32"))
        request = GenerationRequest("c", "p", (Message(role="user", content="How many?"),), 0, 1, 0.7, 0.9, 4)
        try:
            return [result async for result in engine.generate([request])]
        finally:
            await engine.close()

    assert len(asyncio.run(one())) == 1


def score(model: Path) -> None:
    scores = score_all(RewardModelConfig(model=str(model)).build(), [a_pair("Red."), a_pair("Blue, I think.")])
    assert len(scores) == 2


def measure(model: Path) -> None:
    assert len(LikelihoodConfig(model=str(model)).build().measure([Text("red and blue", "en")])) == 1


def begin_training(model: Path) -> None:
    config = TrainConfig(method="sft", model=str(model), data=("rows.jsonl",), out="out")
    check_base(config)
    student_dtype(config)


READERS: list[tuple[str, Callable[[Path], None]]] = [
    ("writer", generate),
    ("scorer", score),
    ("writer", measure),
    ("writer", begin_training),
]


def outcome(read: Callable[[], object], where: str) -> ArbitrageError | None:
    """Return the sentence, or None where all works; anything else is a fault of ours."""
    try:
        read()
    except ArbitrageError as error:
        return error
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    return None


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    made = {"writer": save_model(folder / "writer"), "scorer": save_reward_model(folder / "scorer")}
    shutil.copy(made["writer"] / "generation_config.json", made["scorer"] / "generation_config.json")
    return made


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_model_is_a_sentence_or_works(name: str, models: dict[str, Path], tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    outcomes = {"works": 0, "sentence": 0}
    damage = {
        kind: list(mutations((path / name).read_bytes(), FILES[name], SEED, PER_FILE))
        for kind, path in models.items()
    }
    for index in range(PER_FILE):
        kind, reader = READERS[index // 2 % len(READERS)]  # both blind and structural damage to each
        model = tmp_path / str(index)
        shutil.copytree(models[kind], model)
        mutation = damage[kind][index]
        (model / name).write_bytes(mutation.data)
        where = f"{name}: {mutation.label}: {reader.__name__}"
        said = outcome(lambda: (check(model), reader(model)), where)  # noqa: B023 — called at once
        assert said is None or (str(said).strip() and said.exit_code in (2, 3, 4)), where
        outcomes["works" if said is None else "sentence"] += 1
        shutil.rmtree(model)
    torch.set_num_threads(threads)
    assert sum(outcomes.values()) == PER_FILE
    assert outcomes["sentence"] > 0
