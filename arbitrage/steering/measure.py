"""The step `measure`: all metrics of one teacher's candidates. Not journaled: a lost shard is measured again."""

from collections.abc import Sequence
from typing import ClassVar

from arbitrage.candidates.table import CandidateShard
from arbitrage.contracts.metrics import Metric
from arbitrage.contracts.steps import Resources, Step, StepConfig, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output, ShardWorker
from arbitrage.metrics import MetricConfig
from arbitrage.records import FinishReason, Measurement
from arbitrage.rewards.score import score_items
from arbitrage.tables import to_table
from arbitrage.text.measured import NO_TEXT
from arbitrage.text.text import Text


class MeasureStep(StepConfig):
    """Measures candidates by all metrics."""

    step_kind: ClassVar[str] = "measure"

    metrics: tuple[MetricConfig, ...]

    def build(self) -> "MeasureWorker":
        """Build the metrics; those with a model load it."""
        return MeasureWorker([metric.build() for metric in self.metrics])


def measure(
    metrics: Sequence[MetricConfig],
    teacher_name: str,
    prompts: Step,
    candidates: Step,
    resources: Resources | None = None,
) -> Step:
    """Measure one teacher's candidates: one Measurement for each candidate and metric.

    Where a metric has a model, all teachers' steps share a pool, so that it is loaded once.

    Args:
        metrics: with unique names.
        teacher_name: name in the step's name, `measure-<teacher_name>`.
        prompts: the prompts, with their languages.
        candidates: the teacher's answers.
        resources: resources of a replica, for metrics with a model.
    """
    return Step(
        facts=StepFacts(verb="measure", label=teacher_name, teacher=teacher_name),
        config=MeasureStep(metrics=tuple(metrics)),
        produces=Measurement,
        inputs={"prompts": (prompts,), "candidates": (candidates,)},
        resources=resources or Resources(),
        pool="measure" if any(metric.is_model for metric in metrics) else None,
    )


class MeasureWorker(ShardWorker):
    """Measures shards."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def items(self, inputs: Inputs) -> list[Item]:
        """List the candidates."""
        return score_items(CandidateShard(inputs).joined())

    async def run(self, inputs: Inputs) -> Output:
        """Return the Measurements in the order of the candidates, and of the metrics within each."""
        table = CandidateShard(inputs).joined()
        texts = [Text(row.candidate.text, row.prompt.language, reasoning=row.candidate.reasoning) for row in table]
        found_MC = [metric.measure(texts) for metric in self._metrics]
        rows = []
        for place, candidate in enumerate(row.candidate for row in table):
            failed = candidate.finish_reason is FinishReason.ERROR
            for metric, found_C in zip(self._metrics, found_MC, strict=True):
                found = NO_TEXT if failed else found_C[place]
                reason = None if found.value is not None else found.reason or "not_finite"
                rows.append(
                    Measurement(
                        candidate_id=candidate.candidate_id,
                        prompt_id=candidate.prompt_id,
                        metric=metric.name,
                        value=found.value,
                        reason=reason,
                    )
                )
        return Output(to_table(rows, Measurement))
