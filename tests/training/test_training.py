"""Students by TRL: arguments, mixes of languages, rows, and real optimiser steps on runs and exports."""

import math
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import DPOConfig, SFTConfig

from arbitrage.demo.models import MODELS_FOLDER
from arbitrage.errors import ConfigError, DataError, InterruptedRunError, RunDirectoryError, UserError
from arbitrage.execution.context import TrainingStep
from arbitrage.export.export import export_run
from arbitrage.training.arguments import checked
from arbitrage.training.checkpoints import newest_checkpoint
from arbitrage.training.mix import RowMixConfig, choose_rows, row_counts
from arbitrage.training.record import read_record
from arbitrage.training.rows import load_rows
from arbitrage.training.settings import TrainConfig
from arbitrage.training.train import train
from tests.support.export_runs import make_run, plain_case
from tests.support.jsonl import write_jsonl
from tests.support.tiny_model import save_model
from tests.support.training import recording

AS_IS = RowMixConfig()
QUICK: dict[str, Any] = {
    "max_steps": 4,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-2,
    "logging_steps": 1,
    "save_steps": 2,
    "max_length": 96,
    "seed": 3,
}


class TestArguments:
    def test_numbers_as_yaml_reads_them(self) -> None:
        given = {"learning_rate": "1e-5", "max_steps": 3, "bf16": False, "warmup_steps": 0.1, "max_length": None}
        found = checked(given, SFTConfig, "arguments")
        assert found == given | {"learning_rate": 1e-5}

    def test_a_slip_names_the_nearest(self) -> None:
        with pytest.raises(
            ConfigError, match=r"arguments: learning_rat: SFTConfig has no such .*nearest: learning_rate"
        ):
            checked({"learning_rat": 1}, SFTConfig, "arguments")

    def test_an_argument_of_another_trainer_is_none(self) -> None:
        checked({"beta": 0.2}, DPOConfig, "arguments")
        with pytest.raises(ConfigError, match="beta: SFTConfig has no such argument"):
            checked({"beta": 0.2}, SFTConfig, "arguments")

    def test_every_problem_is_told_at_once(self) -> None:
        with pytest.raises(ConfigError) as caught:
            checked({"max_steps": "many", "r": 4, "beta": "x"}, DPOConfig, "arguments")
        assert len(str(caught.value).splitlines()) == 3
        assert "max_steps: Input should be a valid integer" in str(caught.value)

    def test_peft_is_checked_alike(self) -> None:
        assert checked({"r": "8"}, LoraConfig, "lora") == {"r": 8}
        with pytest.raises(ConfigError, match=r"lora: rank: .*"):
            checked({"rank": 8}, LoraConfig, "lora")

    @pytest.mark.parametrize("name", ["output_dir", "trust_remote_code", "resume_from_checkpoint", "hub_token"])
    def test_what_is_ours_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match=rf"arguments\.{name} cannot be set"):
            TrainConfig(method="sft", model="m", data=("d",), out="o", arguments={name: True})

    @pytest.mark.parametrize("kwargs", [{"trust_remote_code": True}, '{"trust_remote_code": true}'])
    def test_no_code_out_of_repositories(self, kwargs: Any) -> None:
        with pytest.raises(ValueError, match="model_init_kwargs"):
            TrainConfig(method="sft", model="m", data=("d",), out="o", arguments={"model_init_kwargs": kwargs})


class TestMix:
    def test_as_is_takes_every_row_once(self) -> None:
        assert choose_rows(["en", "sw", "en"], ["a", "b", "c"], AS_IS) == [0, 1, 2]

    def test_equal_is_as_many_as_the_scarcest_has(self) -> None:
        assert row_counts({"en": 10, "sw": 3}, RowMixConfig(weights="equal")) == {"en": 3, "sw": 3}

    def test_weights_leave_out_who_is_not_named(self) -> None:
        mix = RowMixConfig(weights={"en": 3.0, "sw": 1.0})
        assert row_counts({"en": 10, "sw": 3, "fr": 9}, mix) == {"en": 9, "sw": 3}

    def test_scarce_rows_may_repeat(self) -> None:
        mix = RowMixConfig(weights="equal", max_repeats=2)
        assert row_counts({"en": 10, "sw": 3}, mix) == {"en": 6, "sw": 6}
        rows = choose_rows(["en"] * 10 + ["sw"] * 3, [str(i) for i in range(13)], mix)
        assert Counter(row for row in rows if row >= 10) == {10: 2, 11: 2, 12: 2}

    def test_shares_round_by_largest_remainder(self) -> None:
        assert row_counts({"ar": 5, "en": 5, "sw": 5}, RowMixConfig(weights="equal", rows=5)) == {
            "ar": 2,
            "en": 2,
            "sw": 1,
        }
        assert row_counts({"en": 70, "sw": 30}, RowMixConfig(rows=10)) == {"en": 7, "sw": 3}

    def test_too_few_rows_are_named(self) -> None:
        with pytest.raises(DataError, match="sw 10 wanted, 3 available"):
            row_counts({"en": 30, "sw": 3}, RowMixConfig(weights="equal", rows=20))
        with pytest.raises(DataError, match="no rows in yo; languages of the data: en, sw"):
            row_counts({"en": 30, "sw": 3}, RowMixConfig(weights={"yo": 1.0}))

    @given(
        tags=st.lists(st.sampled_from(["en", "sw", "ar"]), min_size=3, max_size=60),
        rows=st.tuples(st.integers(1, 30), st.integers(1, 30)),
        seed=st.integers(0, 3),
    )
    def test_a_smaller_set_is_part_of_a_larger(self, tags: list[str], rows: tuple[int, int], seed: int) -> None:
        small, large = sorted(min(n, len(tags)) for n in rows)
        keys = [f"p{i}" for i in range(len(tags))]
        one, other = (choose_rows(tags, keys, RowMixConfig(rows=n, seed=seed)) for n in (small, large))
        assert len(one) == small
        assert len(set(other)) == len(other) == large
        # Rounding may move one row between languages, never reorder those within one.
        for tag in set(tags):
            ours, theirs = ({i for i in some if tags[i] == tag} for some in (one, other))
            assert ours <= theirs or theirs <= ours


def said(role: str, text: str | None) -> dict[str, str | None]:
    return {"role": role, "content": text}


class TestRows:
    def test_conversations_are_split_before_the_answer(self, tmp_path: Path) -> None:
        talk = [said("user", "a"), said("assistant", "b"), said("user", "c"), said("assistant", "d")]
        file = write_jsonl(tmp_path / "x.jsonl", [{"messages": talk, "language": "sw", "margin": 1.0}])
        [row] = load_rows([file], "sft", AS_IS).train
        assert row == {"prompt": talk[:3], "completion": talk[3:]}

    def test_columns_that_mean_something_to_a_trainer_are_left_out(self, tmp_path: Path) -> None:
        pair = {
            "prompt": [said("user", "a")],
            "chosen": [said("assistant", "b")],
            "rejected": [said("assistant", "c")],
        }
        file = write_jsonl(tmp_path / "x.jsonl", [{**pair, "margin": 3.0, "images": []}])
        rows = load_rows([file], "reward", AS_IS)
        assert rows.train.column_names == ["prompt", "chosen", "rejected"]
        assert rows.by_language == {"und": 1}

    def test_a_text_in_the_place_of_messages_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"row 0: messages: is a text, not a list of messages"):
            load_rows([write_jsonl(tmp_path / "x.jsonl", [{"messages": "a text"}])], "sft", AS_IS)

    @pytest.mark.parametrize(
        ("row", "why"),
        [
            ({"question": "a", "answer": "b"}, r"found question, answer; see `arbitrage export"),
            (
                {"prompt": "a", "chosen": [said("assistant", "b")], "rejected": [said("assistant", "c")]},
                "prompt: text",
            ),
            (
                {"prompt": [said("user", "a")], "chosen": said("assistant", "b"), "rejected": said("assistant", "c")},
                "else",
            ),
        ],
    )
    def test_other_shapes_are_refused(self, tmp_path: Path, row: dict[str, Any], why: str) -> None:
        with pytest.raises(DataError, match=why):
            load_rows([write_jsonl(tmp_path / "x.jsonl", [row])], "dpo", AS_IS)

    @pytest.mark.parametrize(
        ("method", "row", "why"),
        [
            ("sft", {"messages": None}, "row 1: messages: is empty"),
            ("sft", {"messages": [said("user", "a")]}, "row 1: messages: ends with a turn of the user"),
            (
                "sft",
                {"messages": [said("assistant", "a")]},
                "row 1: messages: holds only an answer, without a prompt",
            ),
            ("sft", {"messages": [said("user", "a"), said("assistant", None)]}, "assistant without content"),
            ("dpo", {"rejected": None}, "row 1: rejected: is empty"),
            ("dpo", {"language": 7}, "language: must be text, found int"),
        ],
    )
    def test_a_row_that_says_nothing_is_named_before_a_trainer_meets_it(
        self, tmp_path: Path, method: Any, row: dict[str, Any], why: str
    ) -> None:
        talk = [said("user", "a"), said("assistant", "b")]
        good = {"prompt": talk[:1], "chosen": talk[1:], "rejected": talk[1:]} if method == "dpo" else {}
        good |= {"messages": talk} if method == "sft" else {}
        language = {"language": 1 if "language" in row else "sw"}
        file = write_jsonl(tmp_path / "x.jsonl", [good | language, good | language | row])
        with pytest.raises(DataError, match=rf"x\.jsonl: .*{why}"):
            load_rows([file], method, AS_IS)

    def test_rows_that_leave_their_language_open_are_of_none(self, tmp_path: Path) -> None:
        talk = {"messages": [said("user", "a"), said("assistant", "b")]}
        file = write_jsonl(tmp_path / "x.jsonl", [talk | {"language": tag} for tag in ("sw", None)])
        assert load_rows([file], "sft", AS_IS).by_language == {"sw": 1, "und": 1}

    def test_garbage_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "x.jsonl").write_text("{not json\n")
        with pytest.raises(DataError, match=r"x\.jsonl: cannot be read as json"):
            load_rows([tmp_path / "x.jsonl"], "sft", AS_IS)
        (tmp_path / "empty.jsonl").touch()
        with pytest.raises(DataError, match=r"empty\.jsonl: holds no rows"):
            load_rows([tmp_path / "empty.jsonl"], "sft", AS_IS)
        with pytest.raises(ConfigError, match="nowhere"):
            load_rows([tmp_path / "nowhere"], "sft", AS_IS)

    def test_a_mix_wants_languages(self, tmp_path: Path) -> None:
        file = write_jsonl(tmp_path / "x.jsonl", [{"messages": [said("user", "a"), said("assistant", "b")]}])
        with pytest.raises(DataError, match="no column 'language'"):
            load_rows([file], "sft", RowMixConfig(weights="equal"))


def test_a_half_written_checkpoint_is_none(tmp_path: Path) -> None:
    for step, text in ((2, '{"global_step": 2}'), (10, '{"global_step": 10}'), (12, '{"glob'), (14, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if text:
            (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text(text)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("training") / "run", plain_case())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield save_model(tmp_path_factory.mktemp("training") / "model")
    torch.set_num_threads(threads)


def weights(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


TRAIN_AND_DIE = """
import os, signal, sys
from contextlib import nullcontext
from arbitrage.execution.context import NoTrainingProgress, RunContext
from arbitrage.training.settings import TrainConfig
from arbitrage.training.train import train

class Dies(NoTrainingProgress):
    def step(self, step):
        if step.number == 3:
            os.kill(os.getpid(), signal.SIGKILL)

train(TrainConfig.model_validate_json(sys.argv[1]), RunContext(training=lambda: nullcontext(Dies())))
"""


@pytest.mark.trainer
@pytest.mark.timeout(120)
class TestTraining:
    def config(self, run: Path, model: Path, out: Path, method: str = "sft", **more: Any) -> TrainConfig:
        arguments = QUICK | more.pop("arguments", {})
        return TrainConfig(
            method=method, model=str(model), data=(str(run),), out=str(out), arguments=arguments, **more
        )  # type: ignore[arg-type]

    def test_an_interrupted_student_takes_the_same_steps(self, run: Path, model: Path, tmp_path: Path) -> None:
        whole = train(self.config(run, model, tmp_path / "whole"))
        config, heard = self.config(run, model, tmp_path / "parts"), []
        with pytest.raises(InterruptedRunError, match="at step 3 of 4"):
            train(config, recording(heard, stop_at=3))
        (tmp_path / "parts/checkpoint-4").mkdir()  # begun by a process that was killed
        resumed = train(config, recording(heard))
        assert (resumed.record.resumed_from, resumed.record.num_steps) == (3, 4)
        assert weights(resumed.path) == weights(whole.path)
        assert weights(whole.path) != weights(model)
        losses = [step.figures["loss"] for step in heard if "loss" in step.figures]
        assert len(losses) == 4
        assert all(map(math.isfinite, losses))
        assert TrainingStep(4, 4) in heard

    def test_a_killed_student_takes_the_same_steps(self, run: Path, model: Path, tmp_path: Path) -> None:
        whole = train(self.config(run, model, tmp_path / "whole", "dpo"))
        config = self.config(run, model, tmp_path / "killed", "dpo")
        command = [sys.executable, "-c", TRAIN_AND_DIE, config.model_dump_json()]
        died = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        assert died.returncode == -signal.SIGKILL, died.stderr
        resumed = train(config)
        assert (resumed.record.resumed_from, resumed.record.num_steps) == (2, 4)
        assert weights(resumed.path) == weights(whole.path)

    @pytest.mark.parametrize("lora", [None, {"r": 4}])
    def test_a_student_killed_after_its_last_step_takes_no_other(
        self, run: Path, model: Path, tmp_path: Path, lora: dict[str, Any] | None
    ) -> None:
        config = self.config(run, model, tmp_path, lora=lora)
        whole = train(config)
        before = weights(whole.path)
        (tmp_path / "training.json").unlink()
        shutil.rmtree(whole.path)
        again = train(config)
        assert (again.record.resumed_from, again.record.num_steps, again.record.stopped) == (4, 4, None)
        assert weights(again.path) == before

    def test_the_loss_of_a_part_is_not_told_as_that_of_the_whole(
        self, run: Path, model: Path, tmp_path: Path
    ) -> None:
        config, heard = self.config(run, model, tmp_path), []
        with pytest.raises(InterruptedRunError):
            train(config, recording(heard, stop_at=3))
        assert "train_loss" not in train(config).record.figures
        assert "train_loss" in train(self.config(run, model, tmp_path / "whole")).record.figures

    def test_what_is_done_is_not_done_again_nor_replaced(self, run: Path, model: Path, tmp_path: Path) -> None:
        config = self.config(run, model, tmp_path / "out", arguments={"max_steps": 1})
        written = {"max_steps": 1, "learning_rate": "1e-2", "logging_steps": 5}  # the same, and another way to watch
        first, second = train(config), train(self.config(run, model, tmp_path / "out", arguments=written))
        assert (first.is_new, second.is_new) == (True, False)
        assert second.record == first.record == read_record(tmp_path / "out")
        assert sum(first.record.plan.by_language.values()) == first.record.plan.num_rows == 24
        with pytest.raises(RunDirectoryError, match=r"holds another training \(arguments.seed: 3 there, 4 wanted"):
            train(self.config(run, model, tmp_path / "out", arguments={"max_steps": 1, "seed": 4}))

    def test_a_refused_training_leaves_the_data_of_the_one_that_is_there(
        self, run: Path, model: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(run, tmp_path / "run")
        config = self.config(tmp_path / "run", model, tmp_path / "out", arguments={"max_steps": 1})
        train(config)
        before = {p.relative_to(tmp_path): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
        assert any("data" in path.parts for path in before)
        shutil.rmtree(tmp_path / "run")
        make_run(tmp_path / "run", plain_case(per_language=7))
        with pytest.raises(RunDirectoryError, match=r"holds another training \(.*data_digest"):
            train(config)
        after = {p.relative_to(tmp_path): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
        assert after == before

    def test_dpo_with_an_adapter_on_an_export_in_equal_shares(self, run: Path, model: Path, tmp_path: Path) -> None:
        export_run(run, "trl", ["preference"], tmp_path, test_fraction=0.2)
        data, mix = tmp_path / "preference", RowMixConfig(weights="equal")
        more = {"eval_strategy": "steps", "eval_steps": 4, "max_steps": 8, "beta": 1.0}
        heard: list[TrainingStep] = []
        config = self.config(data, model, tmp_path / "out", "dpo", mix=mix, lora={"r": 8}, arguments=more)
        student = train(config, recording(heard))
        margins = [step.figures["rewards/margins"] for step in heard if "rewards/margins" in step.figures]
        assert margins[0] == pytest.approx(0, abs=1e-3)
        assert margins[-1] > 0.1
        assert any("eval_loss" in step.figures for step in heard)
        assert len(set(student.record.plan.by_language.values())) == 1
        merged = AutoModelForCausalLM.from_pretrained(student.path)
        assert AutoTokenizer.from_pretrained(student.path).chat_template
        before = AutoModelForCausalLM.from_pretrained(model)
        moved = [n for n, p in merged.named_parameters() if not p.equal(before.get_parameter(n))]
        assert moved
        assert all("proj" in name for name in moved)
        assert load_file(tmp_path / "out/adapter/adapter_model.safetensors")
        assert not [path for name in ("model", "adapter") for path in (tmp_path / "out" / name).glob("*.bin")]

    def test_a_reward_model_learns_the_chosen_side(self, run: Path, model: Path, tmp_path: Path) -> None:
        heard: list[TrainingStep] = []
        more = {"max_steps": 8, "max_length": 256, "learning_rate": 3e-3}
        student = train(self.config(run, model, tmp_path / "out", "reward", arguments=more), recording(heard))
        accuracies = [step.figures["accuracy"] for step in heard if "accuracy" in step.figures]
        assert accuracies[-1] > 0.7
        judge = AutoModelForSequenceClassification.from_pretrained(student.path)
        assert judge.config.num_labels == 1

    def test_refusals_are_sentences(self, run: Path, model: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no `test` split"):
            train(self.config(run, model, tmp_path / "a", arguments={"eval_strategy": "steps"}))
        with pytest.raises(UserError, match="sft of no-such-model-anywhere"):
            train(self.config(run, Path("no-such-model-anywhere"), tmp_path / "b"))
        with pytest.raises(UserError, match="LlamaForSequenceClassification scores texts and cannot generate"):
            train(self.config(run, MODELS_FOLDER / "referee", tmp_path / "b", "dpo"))
        with pytest.raises(ConfigError, match="arguments: SFTConfig: "):
            train(self.config(run, model, tmp_path / "c", arguments={"optim": "nonesuch"}))
        with pytest.raises(UserError, match="has no data set 'dpo'"):
            train(self.config(run, model, tmp_path / "d", dataset="dpo"))
