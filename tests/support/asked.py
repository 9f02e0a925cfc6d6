"""A pipeline of toy prompts asked of one fake teacher, for tests of durability."""

from collections.abc import Mapping
from typing import Any, ClassVar

from arbitrage.config import parse
from arbitrage.contracts.engines import SamplingParams
from arbitrage.contracts.steps import Pipeline, Step, StepConfig
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.records import Prompt, Route
from arbitrage.tables import to_table
from arbitrage.teachers.generate import generate
from arbitrage.teachers.pool import TeacherConfig
from tests.support.step_facts import facts_of
from tests.support.toy import ToySource


class ToyRoute(StepConfig):
    """Sends everything to one teacher."""

    step_kind: ClassVar[str] = "test_route"

    teacher: str

    def build(self) -> "_Route":
        return _Route(self.teacher)


class _Route:
    def __init__(self, teacher: str) -> None:
        self._teacher = teacher

    def items(self, inputs: Inputs) -> list[Item]:
        return [Item(p.prompt_id, p.language) for p in inputs.records("prompts", Prompt)]

    async def run(self, inputs: Inputs) -> Output:
        prompts = inputs.records("prompts", Prompt)
        routes = [Route(prompt_id=p.prompt_id, router="toy", teachers=(self._teacher,)) for p in prompts]
        return Output(to_table(routes, Route))

    async def close(self) -> None:
        return None


def asked_pipeline(
    num_rows: int,
    engine: dict[str, Any],
    cpus: float = 1.0,
    replicas: int = 1,
    gpus: float = 0.0,
    teachers: tuple[str, ...] = ("fake",),
    own: Mapping[str, dict[str, Any]] | None = None,
) -> Pipeline:
    """Send `num_rows` toy questions to each of some fake teachers.

    Args:
        num_rows: how many.
        engine: options of the fake engine.
        cpus, replicas, gpus: what a teacher takes.
        teachers: their names.
        own: further options of a teacher's engine, by its name.
    """
    prompts = Step(facts_of("prompts"), ToySource(num_rows=num_rows), Prompt, scope="source")
    routes, candidates = [], []
    for name in teachers:
        raw = {
            "name": name,
            "engine": {"kind": "fake"} | engine | (own or {}).get(name, {}),
            "languages": ["en", "ar"],
            "resources": {"cpus": cpus, "gpus": gpus, "replicas": replicas},
        }
        routes.append(Step(facts_of(f"route-{name}"), ToyRoute(teacher=name), Route, {"prompts": (prompts,)}))
        candidates.append(generate(parse(raw, TeacherConfig, "test"), prompts, routes[-1], SamplingParams()))
    roles = {"prompts": (prompts,), "routes": tuple(routes), "candidates": tuple(candidates)}
    return Pipeline({"candidates": candidates[0]}, roles)
