"""Which steps share replicas: generate, review and adjudicate of one teacher."""

from pathlib import Path
from typing import Any

import pytest

from arbitrage.config import parse
from arbitrage.contracts.engines import SamplingParams
from arbitrage.contracts.steps import Resources, Step, StepFacts
from arbitrage.execution.loads import model_placements
from arbitrage.execution.plan import plan
from arbitrage.execution.sharing import replica_pools
from arbitrage.judging.review import ReviewStep
from arbitrage.records import Candidate
from arbitrage.teachers.generate import GenerateConfig
from arbitrage.teachers.pool import TeacherConfig

DEMO = {"kind": "transformers"}


def teacher(name: str = "a", **given: Any) -> TeacherConfig:
    raw = {"name": name, "engine": DEMO, "model": "demo:iberia", "languages": ["es"], "precision": "fp32"}
    return parse(raw | given, TeacherConfig, "test")


def step(verb: Any, config: GenerateConfig, resources: Resources | None = None) -> Step:
    facts = StepFacts(verb=verb, label=config.teacher.name)
    held = config.teacher.held_resources() if resources is None else resources
    return Step(facts, config, Candidate, {}, held, pool=facts.name)


def pools(tmp_path: Path, *steps: Step) -> list[str]:
    return list(replica_pools(plan(tmp_path, steps, 2, range(2)).steps).values())


def generates(of: TeacherConfig, **sampling: Any) -> GenerateConfig:
    return GenerateConfig(teacher=of, sampling=SamplingParams(**sampling), revision="1")


def reviews(of: TeacherConfig) -> ReviewStep:
    sampling = SamplingParams(temperature=0.0, max_tokens=64)
    return ReviewStep(teacher=of, sampling=sampling, revision="1", criteria="any", with_reference=False)


def test_a_teacher_that_generates_and_reviews_is_loaded_once(tmp_path: Path) -> None:
    steps = step("generate", generates(teacher(), n=4)), step("review", reviews(teacher()))
    assert pools(tmp_path, *steps) == ["generate-a", "generate-a"]
    (placement,) = model_placements(plan(tmp_path, steps, 2, range(2)))
    assert (placement.pool, placement.user) == ("generate-a", "generate-a")


@pytest.mark.parametrize(
    "other",
    [
        {"name": "b"},  # each teacher is given up by itself
        {"precision": "bf16"},
        {"engine": DEMO | {"threads": 2}},
        {"resources": {"cpus": 2}},
    ],
)
def test_what_is_loaded_in_another_way_has_replicas_of_its_own(tmp_path: Path, other: dict[str, Any]) -> None:
    second = teacher(**other)
    found = pools(tmp_path, step("generate", generates(teacher())), step("review", reviews(second)))
    assert found == ["generate-a", f"review-{second.name}"]


def test_a_teacher_behind_an_endpoint_is_not_loaded(tmp_path: Path) -> None:
    remote = teacher(engine={"kind": "openai", "base_url": "http://127.0.0.1:1/v1"}, model="m", precision="bf16")
    assert pools(tmp_path, step("generate", generates(remote)), step("review", reviews(remote))) == [
        "generate-a",
        "review-a",
    ]
