"""`plan` says how many of the expected tokens are reasoning, and what that costs: guessed, then as it was seen."""

import json
from pathlib import Path

import pytest

from tests.support.pipelines import run_file, write_pipeline, write_pool

PRICES = {"usd_per_million_prompt_tokens": 0.0, "usd_per_million_completion_tokens": 1e6}


def _pipeline(directory: Path, sampling: dict[str, object], **teachers: dict[str, object]) -> Path:
    path = write_pipeline(directory, sampling=sampling)
    pool = write_pool(directory / "teachers.yaml", **teachers)
    text = pool.read_text(encoding="utf-8").replace("licence:", f"cost: {json.dumps(PRICES)}\n  licence:")
    pool.write_text(text, encoding="utf-8")
    return path


def _lines(arbitrage, *arguments: object) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = json.loads(arbitrage("plan", *arguments, "--json").out)["generation"]
    return lines


def test_a_budget_gives_a_guess_that_is_called_one(arbitrage, tmp_path: Path) -> None:
    path = _pipeline(tmp_path, {"n": 2, "max_tokens": 100, "reasoning_budget": 20}, ant={"reasoning": "en"}, bee={})
    for line in _lines(arbitrage, path):
        assert (line["completion_tokens"], line["reasoning_tokens"]) == (16 * 50, 16 * 20)
        assert line["reasoning_cost_usd"] == pytest.approx(16 * 20)
        assert not line["is_measured"]
    said = " ".join(arbitrage("plan", path).out.split())
    assert "reasoning: 3,840 of 9,600 expected completion tokens (40%), USD 3,840.00" in said
    assert "reasoning tokens are a guess (75% of the completion tokens, at most the budget)" in said
    large = _lines(arbitrage, path, "--set", "sampling.reasoning_budget=90")
    assert {line["reasoning_tokens"] for line in large} == {16 * 37.5}


@pytest.mark.parametrize("sampling", [{}, {"reasoning_effort": "none"}])
def test_who_is_not_known_to_reason_has_no_such_column(arbitrage, tmp_path: Path, sampling) -> None:
    path = _pipeline(tmp_path, sampling, ant={}, bee={})
    assert {line["reasoning_tokens"] for line in _lines(arbitrage, path)} == {0}
    assert "reasoning" not in arbitrage("plan", path).out


def test_what_was_seen_replaces_the_guess(arbitrage, tmp_path: Path) -> None:
    path = _pipeline(tmp_path, {"n": 1, "max_tokens": 64}, ant={"reasoning": "en", "num_words": 8}, bee={})
    run_file(path, tmp_path / "run", shards=(0,))
    lines = [line for line in _lines(arbitrage, path, "--run-dir", tmp_path / "run") if line["teacher"] == "ant"]
    assert lines
    for line in lines:
        assert line["is_measured"]
        assert line["reasoning_tokens"] == pytest.approx(
            15 * line["generations"], abs=1
        )  # words of the engine's text
        assert 0 < line["completion_tokens"] - line["reasoning_tokens"] <= 8 * line["generations"]
    said = arbitrage("plan", path, "--run-dir", tmp_path / "run").out
    assert "reasoning:" in said
    assert "are a guess" not in said
