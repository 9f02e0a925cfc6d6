"""The verb `measure`: all metrics of one teacher's answers. Not journaled: what is lost is measured again."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from arbitrage.contracts.metrics import Metric
from arbitrage.contracts.steps import Resources, Step, StepConfig, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output, ShardWorker
from arbitrage.errors import ConservationError
from arbitrage.metrics import MetricConfig
from arbitrage.records import Candidate, FinishReason, Measurement, Prompt
from arbitrage.tables import to_table
from arbitrage.text.measured import NO_TEXT
from arbitrage.text.text import Text


class MeasureStep(StepConfig):
    """Measures answers, metric after metric."""

    step_kind: ClassVar[str] = "measure"

    metrics: tuple[MetricConfig, ...]

    def build(self) -> "MeasureWorker":
        """Build the metrics; those with a model load it."""
        return MeasureWorker([metric.build() for metric in self.metrics])


def measure(
    metrics: Sequence[MetricConfig],
    teacher_name: str,
    prompts: Step,
    drafts: Step,
    resources: Resources | None = None,
) -> Step:
    """Measure one teacher's drafts: one Measurement for each candidate and metric.

    Where a metric has a model, all teachers' steps share a pool, so that it is loaded once.

    Args:
        metrics: with unique names.
        teacher_name: the step is called `measure-<teacher_name>`.
        prompts: the prompts; they say the language.
        drafts: the teacher's answers.
        resources: what a replica holds; for metrics with a model.
    """
    return Step(
        facts=StepFacts(verb="measure", label=teacher_name, teacher=teacher_name),
        config=MeasureStep(metrics=tuple(metrics)),
        produces=Measurement,
        inputs={"prompts": (prompts,), "drafts": (drafts,)},
        resources=resources or Resources(),
        pool="measure" if any(metric.is_model for metric in metrics) else None,
    )


class MeasureWorker(ShardWorker):
    """Measures shard after shard."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def items(self, inputs: Inputs) -> list[Item]:
        """List the candidates."""
        return [Item(c.candidate_id, language, c.teacher) for c, language in _answers(inputs)]

    async def run(self, inputs: Inputs) -> Output:
        """Return the Measurements in the order of the drafts, those of one candidate in the order of the metrics."""
        answers = list(_answers(inputs))
        texts = [Text(candidate.text, language) for candidate, language in answers]
        found_MC = [metric.measure(texts) for metric in self._metrics]
        rows = []
        for place, (candidate, _) in enumerate(answers):
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


def _answers(inputs: Inputs) -> Iterator[tuple[Candidate, str]]:
    """Yield each candidate beside the language of its prompt."""
    languages = {prompt.prompt_id: prompt.language for prompt in inputs.records("prompts", Prompt)}
    for candidate in inputs.records("drafts", Candidate):
        language = languages.get(candidate.prompt_id)
        if language is None:
            raise ConservationError(
                f"candidate {candidate.candidate_id} answers a prompt that is not in its shard: {candidate.prompt_id}"
            )
        yield candidate, language
