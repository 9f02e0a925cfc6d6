"""The prompts that another run wrote, such as translations."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from arbitrage.config import AbsolutePath, LanguageTag, Raw
from arbitrage.contracts.steps import StepConfig
from arbitrage.contracts.workers import Batch
from arbitrage.errors import DataError, RunDirectoryError, UserError
from arbitrage.records import Prompt, Reject, prompt_id_of
from arbitrage.runs.run import Run, open_run
from arbitrage.tables import from_table


class RunPromptsConfig(StepConfig):
    """Prompts that a finished run of this project wrote, with all that is known of them: translator, source, quality.

    Attributes:
        path: the run's directory.
        dataset: name of its data set of prompts.
        languages: read prompts in these languages only; null reads all.
    """

    step_kind: ClassVar[str] = "run_prompts"

    kind: Literal["run"] = "run"
    path: AbsolutePath
    dataset: str = "prompts"
    languages: tuple[LanguageTag, ...] | None = Field(default=None, min_length=1)

    def identity(self) -> Raw:
        """Identify the prompts by the step that wrote them, which fixes their content but for what was sampled."""
        run, step = self._opened()
        shards = {str(k): run.shard(step, k).num_rows for k in run.readable(step)}
        return super().identity() | {"path": run.step(step).directory, "shards": shards}

    def build(self) -> "RunPromptReader":
        """Build the worker that reads the run."""
        return RunPromptReader(self)

    def tables(self) -> Iterator[list[Prompt]]:
        """Yield the prompts, shard by shard."""
        run, step = self._opened()
        for table in run.tables(step):
            found = from_table(table, Prompt)
            yield [prompt for prompt in found if self.languages is None or prompt.language in self.languages]

    def _opened(self) -> tuple[Run, str]:
        try:
            run = open_run(Path(self.path))
        except RunDirectoryError as error:
            raise DataError(f"prompts.path: {error}") from error
        if not run.is_finished:
            raise DataError(f"prompts.path: {self.path}: the run has not finished; run it to the end first")
        if (step := run.plan.datasets.get(self.dataset)) is None or run.step(step).record != Prompt.__name__:
            known = [name for name, each in run.plan.datasets.items() if run.step(each).record == Prompt.__name__]
            raise UserError(
                f"prompts.dataset: {self.path} has no data set of prompts named '{self.dataset}'; it has "
                f"{', '.join(known) or 'none'}"
            )
        return run, step


class RunPromptReader:
    """Reads the prompts of a run. Two that came out with the same text in one language are duplicates."""

    def __init__(self, config: RunPromptsConfig) -> None:
        self._config = config

    def read(self) -> Iterator[Batch]:
        """Yield a batch for each shard.

        Raises:
            DataError: the run is gone, has not finished, or holds no prompts.
        """
        seen: set[str] = set()
        for read in self._config.tables():
            prompts: list[Prompt] = []
            rejects: list[Reject] = []
            for prompt in read:
                prompt_id = prompt_id_of(prompt.language, prompt.messages)
                if prompt_id in seen:
                    detail = f"the same text as an earlier {prompt_id}"
                    rejects.append(Reject(item_id=prompt.prompt_id, reason="duplicate_prompt", detail=detail))
                else:
                    seen.add(prompt_id)
                    prompts.append(prompt.model_copy(update={"prompt_id": prompt_id}))
            yield Batch(prompts, rejects)
        if not seen:
            raise DataError(f"{self._config.path}: data set '{self._config.dataset}' holds no prompts")
