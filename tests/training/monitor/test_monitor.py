"""The over-optimisation monitor: figures by hand, alarms on drawn curves, and a real trainer that it follows."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from arbitrage.errors import DataError, UserError
from arbitrage.training.mix import rank_rows
from arbitrage.training.monitor.alarms import find_alarms
from arbitrage.training.monitor.callback import ModelMonitor, monitor_callback
from arbitrage.training.monitor.curves import OVERALL, Check, overall, read_checks, write_checks
from arbitrage.training.monitor.distributions import concentration
from arbitrage.training.monitor.measure import answer_likelihoods, check_model, confusion_of, sample_answers
from arbitrage.training.monitor.offline import Snapshot, monitor_models, order_snapshots
from arbitrage.training.monitor.picture import picture
from arbitrage.training.monitor.probe import Answered, load_probe
from arbitrage.training.monitor.settings import AlarmConfig, MonitorConfig
from arbitrage.training.rows import read_split
from arbitrage.training.settings import TrainConfig
from arbitrage.training.train import train
from tests.support.export_runs import make_run, plain_case
from tests.support.tiny_model import save_model
from tests.support.training import recording


def logits_of(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities]).log()


class TestConcentration:
    @pytest.mark.parametrize(
        ("probabilities", "bits", "mass"),
        [
            ([1.0] + [0.0] * 11, 0.0, 1.0),  # certain
            ([0.5, 0.5] + [0.0] * 10, 1.0, 1.0),
            ([0.5, 0.25, 0.125, 0.125], 1.75, 1.0),  # 1/2·1 + 1/4·2 + 2·1/8·3, a vocabulary of four
            ([1 / 16] * 16, 2.5, 0.625),  # ten of sixteen: 10 · 1/16 · 4 bits; renormalised it would be log₂ 10
            ([0.5] + [1 / 64] * 32, 0.5 + 9 * 6 / 64, 0.5 + 9 / 64),
        ],
    )
    def test_by_hand(self, probabilities: list[float], bits: float, mass: float) -> None:
        found = concentration(logits_of(*probabilities))
        assert found.entropy_A.item() == pytest.approx(bits, abs=1e-6)
        assert found.mass_A.item() == pytest.approx(mass, abs=1e-6)

    def test_each_position_for_itself(self) -> None:
        rows = torch.cat([logits_of(*[0.5, 0.5, 0.0, 0.0]), logits_of(*[0.25] * 4)])
        assert concentration(rows).entropy_A.tolist() == pytest.approx([1.0, 2.0])
        assert concentration(rows + 7.0).entropy_A.tolist() == pytest.approx([1.0, 2.0])  # logits are not normalised


def curve(entropies: Sequence[float], masses: Sequence[float] | None = None, language: str = "sw") -> list[Check]:
    return [
        Check(50 * i, language, 8, -4.0, -5.0, 1.0, entropy, mass, None, 0)
        for i, (entropy, mass) in enumerate(zip(entropies, masses or [0.98] * len(entropies), strict=True))
    ]


class TestAlarms:
    CONFIG = AlarmConfig(entropy_checks=3, entropy_fall=0.1, mass_drop=0.05)

    def test_entropy_that_falls_three_times_after_its_maximum(self) -> None:
        [alarm] = find_alarms(curve([1.0, 1.2, 1.1, 1.0, 0.9, 0.8]), self.CONFIG)
        assert (alarm.kind, alarm.step, alarm.since, alarm.before, alarm.now) == ("entropy", 200, 50, 1.2, 0.9)
        assert alarm.sentence == "step 200, sw: top-10 entropy fell from 1.200 at step 50 to 0.900 bits"

    @pytest.mark.parametrize(
        "entropies",
        [
            [1.0, 1.1, 1.2, 1.3, 1.4],  # rises
            [1.0, 1.2, 1.1, 1.0],  # fell twice only
            [1.0, 1.2, 1.1, 1.0, 1.05, 0.9],  # the fall was interrupted
            [1.0, 1.2, 1.19, 1.18, 1.17],  # by 2.5 %, which is noise
        ],
    )
    def test_entropy_that_does_not(self, entropies: list[float]) -> None:
        assert not find_alarms(curve(entropies), self.CONFIG)

    def test_mass_that_leaves(self) -> None:
        [alarm] = find_alarms(curve([1.0] * 4, [0.98, 0.99, 0.935, 0.925]), self.CONFIG)
        assert (alarm.kind, alarm.step, alarm.since, alarm.before) == ("mass", 150, 0, 0.98)
        assert not find_alarms(curve([1.0] * 3, [0.90, 0.99, 0.90]), self.CONFIG)  # from its start, not its maximum

    def test_likelihood_and_margin_sound_nothing(self) -> None:
        wild = [Check(i, "sw", 8, -4.0 * i, -90.0 * i, 86.0 * i, 1.0, 0.9, 1.0, 8) for i in range(6)]
        assert not find_alarms(wild, self.CONFIG)

    def test_each_language_for_itself_all_first(self) -> None:
        falling, quiet = [1.0, 0.9, 0.8, 0.7], [1.0, 1.0, 1.0, 1.0]
        checks = curve(falling, language="sw") + curve(quiet, language="en") + curve(falling, language=OVERALL)
        assert [alarm.language for alarm in find_alarms(checks, self.CONFIG)] == [OVERALL, "sw"]


def test_all_is_the_mean_over_languages(tmp_path: Path) -> None:
    one = Check(5, "en", 10, -4.0, -6.0, 2.0, 1.0, 0.9, 0.25, 8)
    other = Check(5, "sw", 2, -2.0, -6.0, 4.0, 2.0, 0.7, 1.0, 2)
    third = Check(5, "zh", 2, -3.0, -6.0, 3.0, 1.5, 0.8, None, 0)
    found = overall([one, other, third])
    wanted = Check(5, OVERALL, 14, -3.0, -6.0, 3.0, 1.5, pytest.approx(0.8), 0.4, 10)  # type: ignore[arg-type]
    assert found == wanted
    write_checks(tmp_path / "c.jsonl", [one, other])
    assert read_checks(tmp_path / "c.jsonl") == [one, other]
    assert read_checks(tmp_path / "none.jsonl") == []
    (tmp_path / "c.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(DataError, match="is not a file of a monitor"):
        read_checks(tmp_path / "c.jsonl")


def test_confusion_counts_what_can_be_told() -> None:
    answers = ["Der Himmel ist heute leider ziemlich grau und kalt.", "The sky is rather grey and cold today.", "ja"]
    assert confusion_of(answers, "de", 0.8).share == 0.5
    assert confusion_of(answers, "de", 0.8).num_judged == 2
    assert confusion_of(["ja"], "de", 0.8).share is None
    assert confusion_of(["небо", "sky"], "ru", 0.8).share in (0.5, 1.0)  # a word in the wrong script is told


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("monitor") / "model")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("monitor") / "run", plain_case())


def load(directory: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)


def settings(run: Path, **more: Any) -> MonitorConfig:
    given = {"every": 2, "per_language": 3, "max_tokens": 60, "max_new_tokens": 8} | more
    return MonitorConfig(probe=(str(run),), **given)


@pytest.mark.model
class TestMeasuring:
    def test_likelihoods_are_those_of_one_row_at_a_time(self, model: Path) -> None:
        lm, tokenizer = load(model)
        texts = ["apples on the table", "sky", "Der Himmel ist heute blau, morgen grau."]
        rows = [Answered(tuple(tokenizer(f"Q? {text}").input_ids), 2) for text in texts]
        with torch.no_grad():
            found = answer_likelihoods(lm, rows, batch_size=2)
            for row, likelihood in zip(rows, found, strict=True):
                logits = lm(torch.tensor([row.ids])).logits[0].double()
                nats = sum(logits[i - 1].log_softmax(-1)[row.ids[i]].item() for i in range(2, len(row.ids)))
                shares = logits[1:-1].softmax(-1).sort(descending=True).values[:, :10]
                bits = -(shares * shares.log2()).sum(-1).mean().item()
                assert likelihood.nats == pytest.approx(nats, abs=1e-3)
                assert likelihood.entropy == pytest.approx(bits, abs=1e-4)
                assert likelihood.mass == pytest.approx(shares.sum(-1).mean().item(), abs=1e-5)

    def test_the_probe_is_fixed_and_ends_where_answers_do(self, run: Path, model: Path, tmp_path: Path) -> None:
        _, tokenizer = load(model)
        probe = load_probe(settings(run), tokenizer, tmp_path)
        assert {tag: len(rows) for tag, rows in probe.items()} == {"ar": 3, "en": 3, "no": 3, "sw": 3}
        assert probe == load_probe(settings(run), tokenizer, tmp_path)
        row = next(row for row in probe["sw"] if len(row.chosen.ids) < 60)
        assert tokenizer.decode(row.prompt).endswith("<|turn|>assistant\n")
        assert row.chosen.ids[: row.chosen.start] == row.prompt
        answer = tokenizer.decode(row.chosen.ids[row.chosen.start :])
        assert answer.startswith("sw right")
        assert "<|end|>" in answer
        assert max(len(row.chosen.ids) for rows in probe.values() for row in rows) == 60

    def test_a_prompt_without_room_for_an_answer_is_passed_over(self, model: Path, tmp_path: Path) -> None:
        _, tokenizer = load(model)
        answers = {side: [{"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
        prompts = ["the sky " * times for times in (1, 40, 2, 40)]
        rows = [{"prompt": [{"role": "user", "content": text}], **answers, "language": "en"} for text in prompts]
        file = tmp_path / "probe.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        probe = load_probe(settings(file, per_language=4), tokenizer, tmp_path)
        assert len(probe["en"]) == 2
        assert all(side.start == len(row.prompt) for row in probe["en"] for side in (row.chosen, row.rejected))
        with pytest.raises(DataError, match=r"en: no prompt leaves room for a response within max_tokens \(4\)"):
            load_probe(settings(file, max_tokens=4), tokenizer, tmp_path)

    def test_a_check_leaves_no_trace(self, run: Path, model: Path, tmp_path: Path) -> None:
        lm, tokenizer = load(model)
        lm.train()
        probe, before = load_probe(settings(run), tokenizer, tmp_path), torch.get_rng_state()
        first = check_model(lm, tokenizer, probe, settings(run), 0)
        assert lm.training
        assert torch.get_rng_state().equal(before)
        torch.rand(1)
        assert check_model(lm, tokenizer, probe, settings(run), 0) == first
        assert [check.language for check in first] == ["ar", "en", "no", "sw", OVERALL]
        assert all(check.margin == pytest.approx(check.chosen - check.rejected) for check in first)

    def test_samples_are_what_the_model_says_alone(self, run: Path, model: Path, tmp_path: Path) -> None:
        lm, tokenizer = load(model)
        config = settings(run, temperature=0.0, batch_size=4)
        prompts = [row.prompt for row in load_probe(config, tokenizer, tmp_path)["en"]]
        together = sample_answers(lm, tokenizer, [*prompts, prompts[0][:-3]], config)
        alone = [sample_answers(lm, tokenizer, [prompt], config)[0] for prompt in prompts]
        assert together[:3] == alone


@pytest.mark.trainer
@pytest.mark.timeout(120)
def test_likelihoods_are_what_trl_logs_for_the_same_rows(run: Path, model: Path, tmp_path: Path) -> None:
    config = settings(run, per_language=1, max_tokens=10_000)
    lm, tokenizer = load(model)
    probe = load_probe(config, tokenizer, tmp_path)
    rows = read_split([tmp_path / "probe/0/preference"], "dpo", "train")
    assert rows is not None
    ranked = rank_rows(rows["language"], rows["row_key"], config.seed)
    same = rows.select([ranked[tag][0] for tag in probe]).select_columns(["prompt", "chosen", "rejected"])
    plain = {"use_cpu": True, "bf16": False, "report_to": "none", "max_length": None, "per_device_eval_batch_size": 1}
    arguments = DPOConfig(output_dir=str(tmp_path / "out"), gradient_checkpointing=False, **plain)
    trainer = DPOTrainer(lm, args=arguments, train_dataset=same, eval_dataset=same, processing_class=tokenizer)
    logged = trainer.evaluate()
    found = check_model(lm, tokenizer, probe, config, 0)[-1]
    assert found.chosen == pytest.approx(logged["eval_logps/chosen"], rel=1e-4)
    assert found.rejected == pytest.approx(logged["eval_logps/rejected"], rel=1e-4)


@pytest.mark.trainer
@pytest.mark.timeout(120)
class TestInTraining:
    def config(self, run: Path, model: Path, out: Path, **more: Any) -> TrainConfig:
        arguments = {
            "max_steps": 6,
            "per_device_train_batch_size": 4,
            "max_length": 96,
            "save_steps": 2,
            "seed": 3,
            "learning_rate": 1e-4,
        }
        arguments |= more.pop("arguments", {})
        return TrainConfig(
            method="dpo", model=str(model), data=(str(run),), out=str(out), arguments=arguments, **more
        )

    @pytest.mark.parametrize("lora", [None, {"r": 4}])
    def test_training_is_what_it_is_without_it(
        self, run: Path, model: Path, tmp_path: Path, lora: dict[str, Any] | None
    ) -> None:
        watched = train(self.config(run, model, tmp_path / "a", monitor=settings(run), lora=lora))
        alone = train(self.config(run, model, tmp_path / "b", lora=lora))
        weights = [student.path / "model.safetensors" for student in (watched, alone)]
        assert weights[0].read_bytes() == weights[1].read_bytes()
        checks = read_checks(tmp_path / "a/monitor.jsonl")
        assert [check.step for check in checks if check.language == OVERALL] == [0, 2, 4, 6]
        assert "<svg" in (tmp_path / "a/monitor.svg").read_text()
        assert watched.record.alarms == ()

        # Afterwards, from the checkpoints: the same figures, where a checkpoint is still there.
        later = monitor_models([str(tmp_path / "a")], settings(run), tmp_path / "later")
        kept = {check.step for check in later.checks}
        assert kept == {0, 4, 6}
        for one, other in zip([c for c in checks if c.step in kept], later.checks, strict=True):
            assert (one.step, one.language) == (other.step, other.language)
            assert one.chosen == pytest.approx(other.chosen, abs=1e-3)
            assert one.entropy == pytest.approx(other.entropy, abs=1e-4)

    def test_it_sounds_and_ends_a_training_gone_wild(self, run: Path, model: Path, tmp_path: Path) -> None:
        wild = {"learning_rate": 0.1, "max_steps": 40, "beta": 0.01, "logging_steps": 1}
        notes: list[str] = []
        student = train(
            self.config(run, model, tmp_path, arguments=wild, monitor=settings(run, early_stop=True)),
            recording(notes=notes),
        )
        assert student.record.num_steps < 40
        assert student.record.stopped in student.record.alarms
        assert f", {OVERALL}: top-10 " in (student.record.stopped or "")
        assert any(note.startswith("over-optimisation? ") for note in notes)
        assert '<line class="alarm"' in (tmp_path / "monitor.svg").read_text()

    def test_what_it_ended_stays_ended_when_the_process_dies_before_the_record(
        self, run: Path, model: Path, tmp_path: Path
    ) -> None:
        wild = {"learning_rate": 0.1, "max_steps": 20, "beta": 0.01}
        config = self.config(run, model, tmp_path, arguments=wild, monitor=settings(run, early_stop=True))
        whole = train(config)
        before = (whole.path / "model.safetensors").read_bytes()
        (tmp_path / "training.json").unlink()
        again = train(config)
        assert (again.record.num_steps, again.record.stopped) == (whole.record.num_steps, whole.record.stopped)
        assert (again.path / "model.safetensors").read_bytes() == before

    def test_a_resumed_training_continues_its_curves(self, run: Path, model: Path, tmp_path: Path) -> None:
        lm, tokenizer = load(model)
        watcher = ModelMonitor(settings(run), tmp_path)
        watcher.begin(lm, tokenizer, 0)
        for step in (2, 4):
            watcher.check(lm, tokenizer, step)
        again = ModelMonitor(settings(run), tmp_path)
        again.begin(lm, tokenizer, 2)  # the checkpoint of step 4 was never written
        assert {check.step for check in again.checks} == {0, 2}
        assert monitor_callback(again) is not monitor_callback(again)

    def test_a_reward_model_cannot_be_watched(self, run: Path, model: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="a reward model writes nothing"):
            TrainConfig(method="reward", model="m", data=("d",), out="o", monitor=settings(run))


@pytest.mark.model
class TestOffline:
    def test_models_are_checked_in_the_order_of_training(self, tmp_path: Path) -> None:
        for step in (10, 2):
            (tmp_path / f"checkpoint-{step}").mkdir()
            (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text(f'{{"global_step": {step}}}')
        found = order_snapshots([str(tmp_path / "checkpoint-10"), str(tmp_path / "checkpoint-2")])
        assert [one.step for one in found] == [2, 10]
        assert order_snapshots(["demo:novice", "demo:commons"]) == [
            Snapshot(0, "demo:novice"),
            Snapshot(1, "demo:commons"),
        ]
        with pytest.raises(UserError, match="both have step 2"):
            order_snapshots([str(tmp_path / "checkpoint-2")] * 2)
        with pytest.raises(UserError, match="demo:novice: has no step"):
            order_snapshots([str(tmp_path / "checkpoint-2"), "demo:novice"])

    def test_what_cannot_be_loaded_is_said(self, run: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no-such-model: cannot be loaded"):
            monitor_models(["no-such-model"], settings(run), tmp_path)


def test_the_picture_has_a_line_for_each_language_and_curve() -> None:
    checks = curve([1.0, 1.1, 0.9], language="sw") + curve([1.0, 1.2, 1.1], language=OVERALL)
    drawn = picture(checks, [])
    assert drawn.count("<polyline") == 12
    assert drawn.count('class="all"') == 6
    assert "Swahili" in drawn
    assert not math.isnan(float(drawn.split('viewBox="0 0 ')[1].split(" ")[0]))
