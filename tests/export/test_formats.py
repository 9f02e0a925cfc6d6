"""Each trainer's format against its contract, as written in docs/exports.md and read in the trainer's source."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset

from arbitrage.contracts.engines import SamplingParams
from arbitrage.export import FORMATS
from arbitrage.export.export import export_run
from arbitrage.export.llamafactory import reject_reason
from arbitrage.export.origin import Origin, TeacherFacts, teachers_of
from arbitrage.records import Message, Prompt, Route
from arbitrage.runs.manifest import RunPlan, StepPlan
from arbitrage.teachers.engines.fake import FakeConfig
from arbitrage.teachers.generate import generate
from arbitrage.teachers.pool import TeacherConfig
from tests.support.contest_rows import source
from tests.support.export_runs import ExportCase, make_run

CONSUMED = {
    "trl": "margin chat_template_kwargs tools images image chosen_ids rejected_ids prompt_ids chosen_input_ids "
    "rejected_input_ids ref_chosen_logps ref_rejected_logps input_ids labels completion_mask assistant_masks "
    "seq_lengths label text conversations completions completion_ids trainer_state environments",
    "axolotl": "input_ids labels attention_mask tools margin system messages_training",
    "llamafactory": "_prompt _response _system _tools _images _videos _audios input_ids labels",
    "open-instruct": "dataset dataset_source ground_truth env_config input_ids chosen_input_ids rejected_input_ids",
    "nemo-rl": "task_name tools message_loss_mask",
}
"""Columns that mean something to a trainer beyond the ones a format writes for it."""

CONVERSATION = [("system", "Jibu kwa Kiswahili."), ("user", "Habari?"), ("assistant", "Nzuri."), ("user", "Rangi?")]
ODD_TURNS = [("user", "one"), ("user", "two")]
CASE = ExportCase(
    answers={
        "plain": [("aya", "right", 2.0), ("qwen", "wrong", -2.0)],
        "talk": [("aya", "wrong", -1.0), ("qwen", "right", 1.0)],
        "odd": [("aya", "right", 1.0), ("qwen", "wrong", 0.0)],
    },
    languages={"talk": "sw"},
    conversations={"talk": CONVERSATION, "odd": ODD_TURNS},
)
PROMPTS = {"plain": [("user", "plain")], "talk": CONVERSATION, "odd": ODD_TURNS}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", CASE)


def rows_of(run: Path, out: Path, trainer: str, dataset: str) -> dict[str, dict[str, Any]]:
    """Export and load: prompt → row."""
    [result] = export_run(run, trainer, [dataset], out)  # type: ignore[arg-type]
    rows = list(load_dataset(str(result.path), split="train"))
    names = {prompt_id: name for name, prompt_id in prompt_ids(run).items()}
    return {names[row["prompt_id"]]: row for row in rows}


def prompt_ids(run: Path) -> dict[str, str]:
    from arbitrage.runs.run import open_run

    table = open_run(run).table("prompts")
    return dict(zip(table["source_id"].to_pylist(), table["prompt_id"].to_pylist(), strict=True))


def turns(messages: Sequence[dict[str, str]]) -> list[tuple[str, str]]:
    assert all(set(message) == {"role", "content"} for message in messages)
    return [(m["role"], m["content"]) for m in messages]


ANSWER = [("assistant", "right")]
OTHER = [("assistant", "wrong")]


def test_trl_and_axolotl_preference(run: Path, tmp_path: Path) -> None:
    for trainer in ("trl", "axolotl"):
        rows = rows_of(run, tmp_path, trainer, "preference")
        assert rows.keys() == PROMPTS.keys()
        for name, row in rows.items():
            assert (turns(row["prompt"]), turns(row["chosen"]), turns(row["rejected"])) == (
                PROMPTS[name],
                ANSWER,
                OTHER,
            )


def test_trl_sft_parts_the_answer_from_the_prompt(run: Path, tmp_path: Path) -> None:
    rows = rows_of(run, tmp_path, "trl", "sft")
    for name, row in rows.items():
        assert (turns(row["prompt"]), turns(row["completion"])) == (PROMPTS[name], ANSWER)
        assert "messages" not in row  # beside prompt and completion it would make the kind of row ambiguous


@pytest.mark.parametrize("trainer", ["axolotl", "open-instruct", "nemo-rl"])
def test_sft_as_one_conversation(run: Path, tmp_path: Path, trainer: str) -> None:
    rows = rows_of(run, tmp_path, trainer, "sft")
    assert {name: turns(row["messages"]) for name, row in rows.items()} == {
        name: prompt + ANSWER for name, prompt in PROMPTS.items()
    }


def test_axolotl_config(run: Path, tmp_path: Path) -> None:
    for dataset in ("sft", "preference"):
        [result] = export_run(run, "axolotl", [dataset], tmp_path)
        config = yaml.safe_load((result.path / "axolotl.yaml").read_text())
        [entry] = config["datasets"]
        rows = load_dataset(str(result.path / entry["path"]), split=entry["split"])
        assert {entry[key] for key in entry if key.startswith("field_")} <= set(rows.column_names)
        assert (config.get("rl"), entry["type"]) == (
            (None, "chat_template") if dataset == "sft" else ("dpo", "chat_template.default")
        )
        assert "test_datasets" not in config  # there is no test split


def test_llamafactory_ranking_has_messages_not_lists(run: Path, tmp_path: Path) -> None:
    rows = rows_of(run, tmp_path, "llamafactory", "preference")
    for name, row in rows.items():
        assert turns(row["prompt"]) == PROMPTS[name]
        assert [turns([row[side]]) for side in ("chosen", "rejected")] == [ANSWER, OTHER]


def test_llamafactory_skips_and_counts_what_it_would_silently_empty(run: Path, tmp_path: Path) -> None:
    for result in export_run(run, "llamafactory", None, tmp_path):
        assert (result.num_rows, result.skipped) == (2, {"turns_do_not_alternate": 1})
        assert "| turns_do_not_alternate | 1 |" in (result.path / "README.md").read_text()


@pytest.mark.parametrize(
    ("roles", "fits"),
    [
        ("user", True),
        ("system user", True),
        ("user assistant user", True),
        ("system user assistant tool", True),
        ("user user", False),
        ("user assistant", False),
        ("assistant user", False),
        ("user system user", False),
        ("system", False),
    ],
)
def test_llamafactory_objection(roles: str, fits: bool) -> None:
    prompt = tuple(Message(role=role, content="x") for role in roles.split())
    assert (reject_reason(prompt) is None) == fits


def test_llamafactory_dataset_info(run: Path, tmp_path: Path) -> None:
    for dataset, message_column in (("sft", "messages"), ("preference", "prompt")):
        [result] = export_run(run, "llamafactory", [dataset], tmp_path)
        info = json.loads((result.path / "dataset_info.json").read_text())
        assert list(info) == [dataset, f"{dataset}-en", f"{dataset}-sw"]
        for entry in info.values():
            rows = _as_llamafactory_loads(result.path, entry)
            assert entry["formatting"] == "sharegpt"
            assert entry["columns"]["messages"] == message_column
            assert set(entry["columns"].values()) <= set(rows.column_names)
            assert entry.get("ranking", False) == (dataset == "preference")
            [message, *_] = rows[0][message_column]
            assert {entry["tags"]["role_tag"], entry["tags"]["content_tag"]} == set(message)
        assert set(_as_llamafactory_loads(result.path, info[f"{dataset}-sw"])["language"]) == {"sw"}


def _as_llamafactory_loads(directory: Path, entry: dict[str, Any]) -> Any:
    """Follow llamafactory/data/loader.py: a directory means all files in it; a script is a path and a subset."""
    if "script_url" in entry:
        return load_dataset(str(directory / entry["script_url"]), entry["subset"], split="train")
    files = [str(path) for path in (directory / entry["file_name"]).iterdir()]
    assert {path.rpartition(".")[2] for path in files} == {"parquet"}
    return load_dataset("parquet", data_files=files, split="train")


def test_open_instruct_conversations_differ_in_the_last_turn(run: Path, tmp_path: Path) -> None:
    rows = rows_of(run, tmp_path, "open-instruct", "preference")
    for name, row in rows.items():
        assert (turns(row["chosen"]), turns(row["rejected"])) == (PROMPTS[name] + ANSWER, PROMPTS[name] + OTHER)


def test_nemo_ranks_exactly_two_and_the_better_lower(run: Path, tmp_path: Path) -> None:
    rows = rows_of(run, tmp_path, "nemo-rl", "preference")
    for name, row in rows.items():
        assert turns(row["context"]) == PROMPTS[name]
        assert [(c["rank"], turns(c["completion"])) for c in row["completions"]] == [(0, ANSWER), (1, OTHER)]


@pytest.mark.parametrize("dataset", ["sft", "preference"])
def test_nemo_files_load_by_a_glob_and_hold_no_null(run: Path, tmp_path: Path, dataset: str) -> None:
    [result] = export_run(run, "nemo-rl", [dataset], tmp_path)
    paths = sorted((result.path / "data" / "train").iterdir())
    assert [p.name for p in paths] == ["en.00000.jsonl", "sw.00000.jsonl"]
    rows = load_dataset("json", data_files=f"{result.path}/data/train/*.jsonl", split="train")
    assert len(rows) == 3
    lines = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").split("\n") if line]
    assert len(lines) == 3
    assert not any(leaf is None for line in lines for leaf in leaves(line))


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


@pytest.mark.parametrize("trainer", FORMATS)
def test_no_column_means_something_else_to_the_trainer(trainer: str) -> None:
    for row in FORMATS[trainer].rows.values():
        unwanted = set(CONSUMED[trainer].split()) & set(row.record.model_fields)
        assert unwanted <= ({"completions"} if trainer == "nemo-rl" else set())
        assert all(info.is_required() for info in row.record.model_fields.values())  # nothing defaults to null


def test_columns_that_trainers_read_are_never_null() -> None:
    read = {"prompt", "completion", "chosen", "rejected", "messages", "context", "completions"}
    for format in FORMATS.values():
        for row in format.rows.values():
            for name in read & set(row.record.model_fields):
                assert type(None) not in getattr(row.record.model_fields[name].annotation, "__args__", ())


def test_teachers_are_read_from_the_plan_of_a_real_generate_step(tmp_path: Path) -> None:
    teacher = TeacherConfig(
        name="aya-8b",
        engine=FakeConfig(),
        model="org/aya-8b",
        languages=("sw",),
        licence="CC-BY-NC-4.0",
        precision="bf16",
    )
    step = generate(teacher, source("prompts", Prompt), source("route", Route), SamplingParams())
    planned = StepPlan(
        name=step.name,
        facts=step.facts,
        record="Candidate",
        scope="shard",
        directory="d",
        fingerprint="f",
        inputs={},
        config=json.loads(step.config.model_dump_json()),
    )
    plan = RunPlan(
        name="n", pipeline="p", fingerprint="f", num_shards=1, shards=(0,), config={}, steps=(planned,), datasets={}
    )
    [facts] = teachers_of(plan, [step.name]).values()
    assert facts == TeacherFacts("aya-8b", "org/aya-8b", step.config.revision, "CC-BY-NC-4.0", "bf16", ("sw",))


def test_a_teacher_the_plan_does_not_describe_has_no_known_licence() -> None:
    facts = TeacherFacts("aya", "m", "r", "MIT", "bf16", ())
    origin = Origin("s", "1", "unknown", {"aya": facts, "other": replace(facts, name="other")})
    assert origin.licences("aya", "other") == ("MIT", "unknown")
    assert origin.licences("stranger") == ("unknown",)
    assert origin.revision("stranger") == "unknown"
