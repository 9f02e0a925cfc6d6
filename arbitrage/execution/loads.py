"""Models that a run loads or sends requests to, and where they run; printed before the run starts."""

from collections.abc import Iterator
from dataclasses import dataclass

from arbitrage.contracts.steps import LoadedModel, Resources
from arbitrage.execution.plan import ExecutionPlan
from arbitrage.execution.sharing import replica_pools

MOST_NAMES = 8


@dataclass(frozen=True, slots=True)
class ModelPlacement:
    """One pool of workers with a model.

    Attributes:
        pool: its name, such as "generate-aya-8b".
        user: the teacher, reward or reviewer that uses the model, such as "aya-8b".
        model: the model that is loaded or called.
        resources: resources of each replica, and the number of replicas.
        is_remote: another machine runs the model.
    """

    pool: str
    user: str
    model: LoadedModel
    resources: Resources
    is_remote: bool

    @property
    def where(self) -> str:
        """The kind of node that a replica needs."""
        gpus, kind = self.resources.gpus, self.resources.accelerator
        if self.is_remote:
            return "another machine"
        if not gpus:
            return "CPUs"
        cards = "part of a GPU" if gpus < 1 else "1 GPU" if gpus == 1 else f"{gpus:g} GPUs of one node"
        return f"{cards} ({kind})" if kind else cards


def model_placements(execution: ExecutionPlan) -> list[ModelPlacement]:
    """Return every model with work left, in the order of the steps."""
    found: dict[str, ModelPlacement] = {}
    pools = replica_pools(execution.steps)
    for step in execution.steps:
        model, pool = step.job.config.loaded(), pools[step.step.name]
        if step.missing and model is not None and pool not in found:
            config, facts = step.job.config, step.step.facts
            user = facts.scorer or facts.teacher or pool
            found[pool] = ModelPlacement(pool, user, model, step.step.resources, config.is_remote)
    return list(found.values())


def load_sentences(execution: ExecutionPlan, backend: str) -> Iterator[str]:
    """Yield a line for each model that is loaded, and one for all models that run elsewhere."""
    remote = []
    for load in model_placements(execution):
        if load.is_remote:
            remote.append(load.user)
            continue
        held = "in this process" if backend == "local" else f"on {load.where}"
        each = "" if backend == "local" else f", {load.resources.all()}"
        precision = f", {load.model.precision}" if load.model.precision else ""
        yield f"loads {load.pool}: {load.model.model} with {load.model.engine}{precision}, {held}{each}"
    if remote:
        names = list(dict.fromkeys(remote))
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        yield f"sends requests to {', '.join(names[:MOST_NAMES])}{more}: no model is loaded for these"
