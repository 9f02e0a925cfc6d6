"""Rows with reasoning in training: in the key that the student's chat template reads, none lost without a word."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from transformers import AutoTokenizer, TrainerCallback

from arbitrage.export.export import export_run
from arbitrage.training.mix import RowMixConfig
from arbitrage.training.reasoning import ReasoningRule, rule_for
from arbitrage.training.rows import TrainingRows, load_rows
from arbitrage.training.settings import Method, TrainConfig
from arbitrage.training.train import train
from tests.support.export_runs import make_run
from tests.support.reasoned import ALL, CASES, MIXED, THOUGHT, reasoned_case, template
from tests.support.tiny_model import build_tokenizer, save_model
from tests.support.training import recording

pytestmark = pytest.mark.timeout(240)

THINK = f"<think>\n{THOUGHT}\n</think>\n\n"
EMPTY = "<think>\n\n</think>\n\n"


def student(directory: Path, name: str) -> Path:
    """Write a tokenizer with a chat template."""
    build_tokenizer(template(name)).save_pretrained(directory)
    return directory


class TestTemplates:
    @pytest.mark.parametrize(
        ("name", "form", "has_switch"),
        [
            ("qwen3", "reasoning_content", True),
            ("qwen3_6", "reasoning_content", True),
            ("glm4moe", "reasoning_content", True),
            ("nemotron_3_nano", "reasoning_content", True),
            ("gemma4_v5", "reasoning_content", False),
            ("gptoss", "thinking", False),
            ("lfm2_2_5", "thinking", False),
            ("llama3", None, False),
            ("qwen2_5", None, False),
            ("deepseek_r1_distill", None, False),
        ],
    )
    def test_the_key_is_the_one_that_the_template_writes(
        self, tmp_path: Path, name: str, form: str | None, has_switch: bool
    ) -> None:
        rule = rule_for("keep", str(student(tmp_path, name)), None, None, "test")
        assert rule == ReasoningRule(form, has_switch, is_ignored=form is None)

    @pytest.mark.parametrize(("use", "form"), [("drop", None), ("inline", "inline")])
    def test_what_is_asked_for_goes_first(self, tmp_path: Path, use: Any, form: str | None) -> None:
        assert rule_for(use, str(student(tmp_path, "gptoss")), None, None, "test") == ReasoningRule(form)

    def test_another_template_than_the_models(self, tmp_path: Path) -> None:
        other = tmp_path / "other.jinja"
        other.write_text(template("gptoss"))
        rule = rule_for("keep", str(student(tmp_path / "llama", "llama3")), None, str(other), "test")
        assert rule.form == "thinking"


def write(path: Path, *messages: Mapping[str, str], prompt_id: str) -> Path:
    rows = [
        {"prompt": [{"role": "user", "content": "q"}], "completion": [m], "prompt_id": prompt_id} for m in messages
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def told(rows: TrainingRows) -> list[dict[str, Any]]:
    return [row["completion"][0] for row in rows.train]


class TestRows:
    ANSWER: ClassVar = {"role": "assistant", "content": "a"}

    @pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
    @pytest.mark.parametrize("form", ["reasoning_content", "thinking", "inline", None])
    def test_the_key_of_the_data_becomes_that_of_the_template(
        self, tmp_path: Path, key: str, form: str | None
    ) -> None:
        plain = write(tmp_path / "a.jsonl", self.ANSWER, prompt_id="1")
        reasoned = write(tmp_path / "b.jsonl", self.ANSWER | {key: "r"}, prompt_id="2")
        rows = load_rows([plain, reasoned], "sft", RowMixConfig(), ReasoningRule(form))
        wanted = {None: {}, "inline": {"content": "<think>\nr\n</think>\n\na"}}.get(form, {str(form): "r"})
        assert told(rows) == [self.ANSWER, self.ANSWER | wanted]
        assert rows.train.column_names == ["prompt", "completion"]

    def test_rows_without_reasoning_are_the_same_rows_for_every_student(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.jsonl", self.ANSWER, self.ANSWER | {"content": "ü \u2028"}, prompt_id="1")
        rules = [ReasoningRule(), ReasoningRule("thinking"), ReasoningRule("reasoning_content", has_switch=True)]
        found = [load_rows([file], "sft", RowMixConfig(), rule) for rule in rules]
        assert len({rows.digest for rows in found}) == 1
        assert [rows.train.column_names for rows in found] == [["prompt", "completion"]] * 3

    def test_white_space_is_no_reasoning(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.jsonl", self.ANSWER | {"thinking": " \n"}, prompt_id="1")
        rows = load_rows([file], "sft", RowMixConfig(), ReasoningRule("thinking"))
        assert told(rows) == [self.ANSWER]
        assert rows.notes == ()

    @pytest.mark.parametrize(
        ("rule", "note"),
        [
            (ReasoningRule("thinking"), "1 of 2 rows have reasoning, in the key `thinking` of the message"),
            (ReasoningRule("inline"), "1 of 2 rows have reasoning, as `<think>…</think>` in the answer"),
            (ReasoningRule(), "the reasoning of 1 of 2 rows is left out"),
            (
                ReasoningRule(is_ignored=True),
                "the chat template ignores reasoning: 1 of 2 rows are trained on without",
            ),
        ],
    )
    def test_what_became_of_reasoning_is_said(self, tmp_path: Path, rule: ReasoningRule, note: str) -> None:
        file = write(tmp_path / "a.jsonl", self.ANSWER, self.ANSWER | {"thinking": "r"}, prompt_id="1")
        [found] = load_rows([file], "sft", RowMixConfig(), rule).notes
        assert note in found

    def test_exports_of_all_kinds_are_read_back(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "run", reasoned_case(MIXED))
        for trainer, form in (("trl", "keep"), ("trl", "thinking"), ("axolotl", "keep"), ("nemo-rl", "keep")):
            [result] = export_run(run, trainer, ["sft"], tmp_path / form, reasoning=form)  # type: ignore[arg-type]
            rows = load_rows([Path(str(result.path))], "sft", RowMixConfig(), ReasoningRule("thinking"))
            found = {message["content"]: message.get("thinking") for message in told(rows)}
            assert found == {"right one": THOUGHT, "right two": None, "right three": None}


class _Seen(TrainerCallback):
    """Keeps what the trainer trains on."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.rows = list(kwargs["train_dataloader"].dataset)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), context_length=1024)


def trained(
    tmp_path: Path, model: Path, kind: str, method: Method, name: str, **more: Any
) -> tuple[list[dict[str, Any]], list[str], Any]:
    """Train two steps on a run; return the tokenized rows, the notes and the tokenizer."""
    build_tokenizer(template(name)).save_pretrained(model)
    run = make_run(tmp_path / "run", reasoned_case(CASES[kind]))
    arguments = {"max_steps": 2, "per_device_train_batch_size": 3, "max_length": 1000, "save_strategy": "no"}
    config = TrainConfig(
        method=method, model=str(model), data=(str(run),), out=str(tmp_path / "out"), arguments=arguments, **more
    )
    notes: list[str] = []
    seen = _Seen()
    done = train(config, recording(notes=notes), [seen])
    assert done.record.num_steps == 2
    return seen.rows, notes, AutoTokenizer.from_pretrained(model)


def parts(row: Mapping[str, Any], tokenizer: Any) -> tuple[str, str]:
    """Return the text that is read and the text that is learnt."""
    labels = row.get("labels") or [
        token if mask else -100 for token, mask in zip(row["input_ids"], row["completion_mask"], strict=True)
    ]
    read = [token for token, label in zip(row["input_ids"], labels, strict=True) if label == -100]
    return tokenizer.decode(read), tokenizer.decode([label for label in labels if label != -100])


@pytest.mark.trainer
class TestTraining:
    def test_sft_on_qwen3_learns_reasoning_and_no_empty_chain(self, tmp_path: Path, model: Path) -> None:
        rows, notes, tokenizer = trained(tmp_path, model, "mixed", "sft", "qwen3")
        learnt = dict(sorted(parts(row, tokenizer)[::-1] for row in rows))
        assert [text.removesuffix("<|im_end|>\n") for text in learnt] == [
            f"{THINK}right one",
            "right three",
            "right two",
        ]
        assert [text.endswith(EMPTY) for text in learnt.values()] == [False, True, True]
        assert "1 of 3 rows have reasoning, in the key `reasoning_content` of the message" in notes
        assert any("the prompt holds it, by `enable_thinking: false`" in note for note in notes)

    def test_sft_on_qwen3_without_any_reasoning_says_that_the_empty_chain_counts(
        self, tmp_path: Path, model: Path
    ) -> None:
        rows, notes, tokenizer = trained(tmp_path, model, "none", "sft", "qwen3")
        assert all(parts(row, tokenizer)[1].startswith(f"{EMPTY}right") for row in rows)
        assert any("empty chain of thought" in note and "it counts in the loss" in note for note in notes)

    def test_sft_on_gpt_oss_takes_rows_of_both_kinds(self, tmp_path: Path, model: Path) -> None:
        rows, _, tokenizer = trained(tmp_path, model, "mixed", "sft", "gptoss")
        learnt = sorted(parts(row, tokenizer)[1] for row in rows)
        analysis = f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant"
        assert learnt == [
            f"{analysis}<|channel|>final<|message|>right one<|return|>",
            "<|channel|>final<|message|>right three<|return|>",
            "<|channel|>final<|message|>right two<|return|>",
        ]

    def test_dpo_has_the_reasoning_of_both_sides(self, tmp_path: Path, model: Path) -> None:
        rows, notes, tokenizer = trained(tmp_path, model, "all", "dpo", "gptoss")
        for row in rows:
            good, bad = (tokenizer.decode(row[f"{side}_ids"]) for side in ("chosen", "rejected"))
            name = good.split("right ")[1].split("<")[0]
            winner, loser = ("qwen", "aya") if name == "three" else ("aya", "qwen")
            assert f"<|message|>{ALL[name, winner]}<|end|>" in good
            assert f"<|message|>{ALL[name, loser]}<|end|>" in bad
            assert f"wrong {name}" in bad
        assert "3 of 3 rows have reasoning, in the key `thinking` of the message" in notes

    def test_dpo_takes_pairs_with_reasoning_on_one_side(self, tmp_path: Path, model: Path) -> None:
        rows, _, tokenizer = trained(tmp_path, model, "mixed", "dpo", "lfm2_2_5")
        sides = {tokenizer.decode(row["chosen_ids"]): tokenizer.decode(row["rejected_ids"]) for row in rows}
        assert {("<think>" in good, "<think>" in bad) for good, bad in sides.items()} == {
            (True, False),
            (False, True),
            (False, False),
        }

    def test_a_template_that_reads_no_reasoning_is_named(self, tmp_path: Path, model: Path) -> None:
        rows, notes, tokenizer = trained(tmp_path, model, "all", "sft", "llama3")
        assert not any(THOUGHT in parts(row, tokenizer)[1] for row in rows)
        assert any("the chat template ignores reasoning: 3 of 3 rows" in note for note in notes)

    def test_inline_reaches_a_template_that_reads_no_key(self, tmp_path: Path, model: Path) -> None:
        rows, _, tokenizer = trained(tmp_path, model, "mixed", "sft", "llama3", reasoning="inline")
        learnt = [parts(row, tokenizer)[1] for row in rows]
        assert sum(text.startswith(f"{THINK}right one") for text in learnt) == 1

    def test_a_reward_model_is_trained_on_answers_alone(self, tmp_path: Path, model: Path) -> None:
        rows, notes, tokenizer = trained(tmp_path, model, "all", "reward", "gptoss")
        texts = [tokenizer.decode(row[f"{side}_ids"]) for row in rows for side in ("chosen", "rejected")]
        assert not any("analysis<|message|>" in text for text in texts)
        assert "the reasoning of 3 of 3 rows is left out" in notes
