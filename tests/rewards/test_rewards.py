"""What holds for every reward and check, by enumerating the unions; and the steps that run them."""

import typing
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from arbitrage.config import parse
from arbitrage.contracts.rewards import Reward
from arbitrage.errors import ConfigError, ConservationError, DataError
from arbitrage.records import Candidate, FinishReason, Prompt, Score, base_name
from arbitrage.rewards import CheckConfig, RewardConfig
from arbitrage.rewards.classifier import RewardModelConfig
from arbitrage.rewards.column import ColumnConfig
from arbitrage.rewards.fake import FakeRewardConfig
from arbitrage.rewards.score import ModelWorker, ScoreStep, TextRewardWorker, check, score
from arbitrage.rewards.text_checks import EmptinessConfig, TruncationConfig
from tests.support.scoring import (
    a_candidate,
    a_pair,
    a_prompt,
    a_shard,
    a_step,
    run_shard,
    save_reward_model,
    score_all,
)

PROMPTS, CANDIDATES = a_step("prompts", Prompt), a_step("generate-aya", Candidate)

PROMPT = a_prompt("Rangi ya damu?", "sw", reference="nyekundu")
ANSWERS = ("nyekundu", "", "red", "\u202e\x00\ud7ff", "nyekundu " * 60)
ITEMS = [a_pair(text, "sw", "Rangi ya damu?", reference="nyekundu") for text in ANSWERS]


def members(union: Any) -> list[type[Any]]:
    inner = typing.get_args(union)[0]
    return list(typing.get_args(inner)) or [inner]


@pytest.fixture(scope="module")
def needs_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, object]]:
    """Return what a config of a kind needs beside its kind."""
    folder = tmp_path_factory.mktemp("rewards")
    table = {"prompt_id": [PROMPT.prompt_id], "teacher": ["aya"], "score": [0.5]}
    pq.write_table(pa.table(table), folder / "scores.parquet")

    @cache
    def make(kind: str) -> dict[str, object]:
        if kind == "classifier":
            return {"model": str(save_reward_model(folder / "model"))}
        return {"path": str(folder / "scores.parquet")} if kind == "column" else {}

    return make


def starting(member: type[Any]) -> Any:
    return pytest.param(member, marks=pytest.mark.model) if member is RewardModelConfig else member


@pytest.mark.parametrize("member", [*map(starting, members(RewardConfig)), *members(CheckConfig)])
def test_every_member_keeps_the_contract(member: type[Any], needs_of: Callable[[str], dict[str, object]]) -> None:
    kind = member.model_fields["kind"].default
    union = CheckConfig if member in members(CheckConfig) else RewardConfig
    config = parse({"kind": kind, **needs_of(kind)}, TypeAdapter(union), "test")
    assert type(config) is member
    assert "resources" not in config.identity()
    assert config.identity() == parse({"kind": kind, **needs_of(kind)}, TypeAdapter(union), "test").identity()
    reward: Reward = config.build()
    scores = score_all(reward, ITEMS)
    assert [s.candidate_id for s in scores] == [item.candidate.candidate_id for item in ITEMS]
    assert {s.reward for s in scores} == {reward.name} == {config.reward_name}
    assert base_name(reward.name) == config.name
    if union is CheckConfig:
        assert all(s.value is None or 0.0 <= s.value <= 1.0 for s in scores)
    again = score_all(config.build(), ITEMS[::-1])[::-1]
    assert [s.error for s in again] == [s.error for s in scores]
    assert [s.value for s in again] == pytest.approx([s.value for s in scores], abs=1e-4)
    assert score_all(config.build(), []) == []


@given(text=st.text(max_size=300), language=st.sampled_from(["en", "th", "ru", "zh-TW", "und", "mas", "ar"]))
def test_no_check_stumbles_over_any_text(text: str, language: str) -> None:
    for member in members(CheckConfig):
        result = member().build().score_one(a_pair(text, language, reference="x"))
        assert result.value is None or 0.0 <= result.value <= 1.0


def test_one_step_scores_one_teacher_and_shares_its_model() -> None:
    reward = FakeRewardConfig(name="rm")
    one = score(reward, "aya", PROMPTS, CANDIDATES)
    two = score(reward, "qwen", PROMPTS, a_step("generate-qwen", Candidate))
    assert (one.name, two.name) == ("score-rm-aya", "score-rm-qwen")
    assert one.pool == two.pool
    assert one.config == two.config == ScoreStep(reward=reward)
    assert one.pool != score(FakeRewardConfig(name="rm2"), "aya", PROMPTS, CANDIDATES).pool


def test_scores_come_in_the_order_of_drafts_and_then_of_checks() -> None:
    candidates = [a_candidate(PROMPT, "nyekundu"), a_candidate(PROMPT, "", FinishReason.LENGTH)]
    step = check([TruncationConfig(), EmptinessConfig()], "aya", PROMPTS, CANDIDATES)
    scores = run_shard(step.config.build(), a_shard([PROMPT], candidates))
    assert [(s.candidate_id, s.reward, s.value) for s in scores] == [
        (candidates[0].candidate_id, "emptiness@1", 1.0),
        (candidates[0].candidate_id, "truncation@1", 1.0),
        (candidates[1].candidate_id, "emptiness@1", 0.0),
        (candidates[1].candidate_id, "truncation@1", 0.0),
    ]


def test_a_score_step_keeps_order_and_conservation() -> None:
    candidates = [a_candidate(PROMPT, text) for text in "zyx"]
    step = score(FakeRewardConfig(error_share=0.5), "aya", PROMPTS, CANDIDATES)
    scores = run_shard(step.config.build(), a_shard([PROMPT], candidates))
    assert [s.candidate_id for s in scores] == [c.candidate_id for c in candidates]
    assert run_shard(step.config.build(), a_shard([PROMPT], [])) == []


def test_a_candidate_without_its_prompt_is_a_bug() -> None:
    step = check([EmptinessConfig()], "aya", PROMPTS, CANDIDATES)
    with pytest.raises(ConservationError, match="which is not among the 0 prompts"):
        run_shard(step.config.build(), a_shard([], [a_candidate(PROMPT, "x")]))


class _Short:
    name = "short@1"

    async def score(self, items: object) -> list[Score]:
        return []

    async def close(self) -> None: ...


def test_a_reward_that_loses_candidates_is_a_bug() -> None:
    for kind in (TextRewardWorker, ModelWorker):
        with pytest.raises(ConservationError, match="short@1"):
            run_shard(kind(_Short()), a_shard([PROMPT], [a_candidate(PROMPT, "x")]))


def test_checks_need_names_of_their_own() -> None:
    with pytest.raises(ConfigError, match="emptiness: named twice"):
        check([EmptinessConfig(), EmptinessConfig(min_characters=5)], "aya", PROMPTS, CANDIDATES)
    with pytest.raises(ConfigError, match="is empty"):
        check([], "aya", PROMPTS, CANDIDATES)
    with pytest.raises(ConfigError, match="name"):
        parse({"kind": "fake", "name": "my reward"}, TypeAdapter(RewardConfig), "test")


def a_column(path: Path, rows: dict[str, list[object]], **options: object) -> ColumnConfig:
    pq.write_table(pa.table(rows), path)
    return parse({"kind": "column", "path": str(path), **options}, ColumnConfig, "test")


def outcome(config: ColumnConfig, text: str, teacher: str = "aya") -> float | str | None:
    candidate = a_candidate(PROMPT, text, teacher=teacher)
    (found,) = run_shard(ScoreStep(reward=config).build(), a_shard([PROMPT], [candidate]))
    return found.value if found.error is None else found.error


def test_a_column_is_looked_up_by_prompt_and_teacher(tmp_path: Path) -> None:
    rows: dict[str, list[object]] = {
        "prompt_id": [PROMPT.prompt_id] * 4 + [None],
        "teacher": ["aya", "qwen", "gemma", "gemma", "aya"],
        "score": [0.25, float("nan"), 1.0, 2.0, 9.0],
    }
    config = a_column(tmp_path / "a.parquet", rows)
    assert outcome(config, "x") == 0.25
    assert outcome(config, "x", "qwen") == "not_recorded"  # NaN is no score
    assert outcome(config, "x", "gemma") == "ambiguous"
    assert outcome(config, "x", "nobody") == "not_recorded"


def test_a_column_can_be_looked_up_by_source_and_text(tmp_path: Path) -> None:
    rows: dict[str, list[object]] = {
        "qid": [PROMPT.source_id] * 2,
        "answer": ["caf\u00e9", "the\u0301"],
        "human": [True, False],
    }
    options = {"prompt": "qid", "prompt_key": "source_id", "teacher": None, "text": "answer", "value": "human"}
    config = a_column(tmp_path / "a.parquet", rows, **options)
    assert outcome(config, "cafe\u0301") == 1.0
    assert outcome(config, "th\u00e9") == 0.0
    assert outcome(config, "tea") == "not_recorded"


def test_a_column_is_identified_by_its_content(tmp_path: Path) -> None:
    rows: dict[str, list[object]] = {"prompt_id": ["p"], "teacher": ["aya"], "score": [1]}
    one, two = a_column(tmp_path / "a.parquet", rows), a_column(tmp_path / "b.parquet", rows)
    other = a_column(tmp_path / "c.parquet", rows | {"score": [2]})
    assert one.identity() == two.identity() != other.identity()
    assert one.reward_name == two.reward_name != other.reward_name


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"prompt_id": ["p"], "teacher": ["t"]}, "no column 'score'"),
        ({"prompt_id": ["p"], "teacher": ["t"], "score": ["high"]}, "holds string"),
    ],
)
def test_an_unfit_file_is_one_sentence(tmp_path: Path, rows: dict[str, list[object]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        a_column(tmp_path / "a.parquet", rows).build()


def test_a_file_that_is_no_parquet_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"hello")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        ColumnConfig(path=str(tmp_path / "a.parquet")).build()


def test_the_fake_reward_is_biased_as_told() -> None:
    plain = FakeRewardConfig().build()
    biased = FakeRewardConfig(language_bias={"sw": 10.0}, per_character=0.5).build()
    for item in ITEMS:
        expected = plain.score_one(item).value + 10.0 + 0.5 * len(item.candidate.text)  # type: ignore[operator]
        assert biased.score_one(item).value == pytest.approx(expected)
