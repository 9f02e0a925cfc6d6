"""One whole pipeline on Ray whose teacher and reward model are both served by a real vLLM (its CPU build)."""

import asyncio
from importlib.util import find_spec

import pytest
import yaml

from arbitrage.contracts.rewards import Scorable
from arbitrage.demo.models import REWARD_MODEL
from arbitrage.execution.ray.backend import RayBackend
from arbitrage.records import Candidate, Prompt, Score
from arbitrage.report.page import build_report
from arbitrage.rewards.classifier import RewardModelConfig
from arbitrage.runs.run import Run, open_run
from arbitrage.tables import from_table
from arbitrage.text.exact_match import is_correct
from tests.support.pipelines import run_file

pytestmark = [
    pytest.mark.alone,
    pytest.mark.vllm,
    pytest.mark.timeout(400),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]

TEACHER = """
teachers:
- name: iberia
  model: demo:iberia
  languages: [es, pt]
  engine: {kind: vllm, device: cpu, enforce_eager: true, max_num_seqs: 32, kv_cache_gb: 0.25, logprobs: true}
  precision: fp32
  licence: Apache-2.0
  resources: {cpus: 1}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("vllm")
    (directory / "teachers.yaml").write_text(TEACHER)
    config = {
        "kind": "preference",
        "name": "vllm",
        "prompts": {"kind": "demo", "languages": ["es", "pt"], "per_language": 12},
        "teachers": str(directory / "teachers.yaml"),
        "router": {"kind": "single", "teacher": "iberia"},
        "sampling": {"n": 3, "max_tokens": 24, "temperature": 1.0},
        "rewards": [
            {
                "kind": "classifier",
                "name": "referee",
                "model": f"demo:{REWARD_MODEL}",
                "engine": "vllm",
                "enforce_eager": True,
            }
        ],
        "checks": [{"kind": "exact"}, {"kind": "truncation"}],
        "num_shards": 2,
    }
    (directory / "pipeline.yaml").write_text(yaml.safe_dump(config))
    run_file(directory / "pipeline.yaml", directory / "run", RayBackend())
    return open_run(directory / "run")


def test_the_teacher_answers_its_own_languages(finished: Run) -> None:
    prompts = {p.prompt_id: p for t in finished.tables("prompts") for p in from_table(t, Prompt)}
    candidates = [c for t in finished.tables("generate-iberia") for c in from_table(t, Candidate)]
    assert len(candidates) == 24 * 3
    greedy = [c for c in candidates if c.sample_index == 0]
    right = sum(
        is_correct(prompts[c.prompt_id].language, c.text, prompts[c.prompt_id].reference or "") for c in greedy
    )
    assert right / len(greedy) > 0.5
    assert all(c.cumulative_logprob is not None and c.cumulative_logprob <= 0 for c in candidates)


def test_the_reward_model_gives_the_values_it_gives_on_transformers(finished: Run) -> None:
    prompts = {p.prompt_id: p for t in finished.tables("prompts") for p in from_table(t, Prompt)}
    candidates = [c for t in finished.tables("generate-iberia") for c in from_table(t, Candidate)]
    served = {s.candidate_id: s.value for t in finished.tables("score-referee-iberia") for s in from_table(t, Score)}
    reward = RewardModelConfig(name="referee", model=f"demo:{REWARD_MODEL}").build()
    expected = asyncio.run(reward.score([Scorable(prompts[c.prompt_id], c) for c in candidates]))
    assert len(served) == len(expected) == 72
    for score in expected:
        assert served[score.candidate_id] == pytest.approx(score.value, abs=1e-3)
    assert len({round(s.value or 0.0, 3) for s in expected}) > 10


def test_pairs_come_out_the_right_way_round(finished: Run) -> None:
    table = finished.table("select-preference")
    assert table.num_rows > 0
    for row in table.to_pylist():
        assert row["chosen_score"] > row["rejected_score"]


def test_the_engines_figures_are_kept(finished: Run) -> None:
    """Three samples of a prompt share its prefill, as far as it fills a block of the cache."""
    engine = finished.manifest.engines["generate-iberia"]
    assert engine.tokens_per_s > 0
    assert engine.num_preemptions == 0
    assert engine.peak_running is not None
    assert engine.prefix_hits is None or 0 <= engine.prefix_hits < 1
    assert "tokens per second" in build_report(finished.path).path.read_text(encoding="utf-8")
