"""The verb `route`: decide for each prompt which teachers it is sent to."""

from collections.abc import Sequence
from typing import ClassVar, Final, Literal

from arbitrage.config import Raw
from arbitrage.contracts.routers import PoolMember, Router
from arbitrage.contracts.steps import Step, StepConfig, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output, ShardWorker
from arbitrage.languages import name_of
from arbitrage.records import Prompt, Reject, Route
from arbitrage.tables import to_table
from routers import RouterConfig

RouteReject = Literal["no_teacher"]
"""The closed set of reasons for which a prompt is not routed."""

NO_TEACHER: Final[RouteReject] = "no_teacher"


class RouteConfig(StepConfig):
    """A router and the pool it chooses from. Only names and languages of teachers enter the fingerprint."""

    step_kind: ClassVar[str] = "route"

    router: RouterConfig
    pool: tuple[PoolMember, ...]

    def build(self) -> "RouteWorker":
        """Build the worker.

        Raises:
            ConfigError: the router names a teacher that is not in the pool.
        """
        return RouteWorker(self.router.build(self.pool))

    def identity_for(self, reader: str) -> Raw | None:
        """Return what decides one teacher's prompts if this does not depend on the rest of the pool."""
        member = next(m for m in self.pool if m.name == reader)
        return self.router.unconditional(member)


class RouteWorker(ShardWorker):
    """Routes a shard of prompts."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def items(self, inputs: Inputs) -> list[Item]:
        """List the prompts."""
        return [Item(prompt.prompt_id, prompt.language) for prompt in inputs.records("prompts", Prompt)]

    async def run(self, inputs: Inputs) -> Output:
        """Route the prompts; a prompt without an eligible teacher is rejected."""
        prompts = inputs.records("prompts", Prompt)
        pairs = list(zip(prompts, self._router.route(prompts), strict=True))
        rejects = [self._reject(prompt) for prompt, route in pairs if route is None]
        return Output(to_table([route for _, route in pairs if route], Route), to_table(rejects, Reject))

    def _reject(self, prompt: Prompt) -> Reject:
        detail = f"no teacher supports {name_of(prompt.language)} ({prompt.language})"
        return Reject(item_id=prompt.prompt_id, reason=NO_TEACHER, detail=detail)


def route(config: RouterConfig, pool: Sequence[PoolMember], prompts: Step, label: str | None = None) -> Step:
    """Decide for each prompt which teachers of the pool it is sent to.

    Args:
        config: the router.
        pool: the teachers.
        prompts: step of Prompt rows.
        label: of the step, where a pipeline has several routers of one kind; the router's kind by default.

    Raises:
        ConfigError: the pool is empty or names a teacher twice, or the router names a teacher that is not in it.
    """
    config.build(pool)
    return Step(
        facts=StepFacts(verb="route", label=label or config.kind),
        config=RouteConfig(router=config, pool=members_of(pool)),
        inputs={"prompts": (prompts,)},
        produces=Route,
    )


def members_of(pool: Sequence[PoolMember]) -> tuple[PoolMember, ...]:
    """Return the names and languages of a pool, in an order that does not depend on the file."""
    return tuple(
        PoolMember(name=member.name, languages=tuple(sorted(member.languages)))
        for member in sorted(pool, key=lambda member: member.name)
    )
