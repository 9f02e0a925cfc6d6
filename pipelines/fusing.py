"""SFT data by best-of, or by fusion of the answers of the same candidate table."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from pydantic import model_validator

from arbitrage.contracts.steps import Pipeline, Step
from arbitrage.runs.manifest import Notes
from arbitrage.runs.paths import AnyPath
from arbitrage.runs.run import open_run
from arbitrage.selection.fused import FUSION, FusedSelection, Scored, select_fused
from arbitrage.selection.sft import SftSelection, select_sft
from arbitrage.teachers.fuse import FusionConfig, fuse
from arbitrage.teachers.pool import TeacherConfig, load_pool
from pipelines.candidates import CandidatesConfig, TableBuild, combine_scores, score_steps

FUSED = "fused"
"""Stands for the fuser in the names of the steps that score what it wrote: it may be one of the pool as well."""


class FusibleConfig(CandidatesConfig):
    """Config of a pipeline that may fuse.

    Attributes:
        sft: which answers are worth imitating; null writes no SFT data.
        fusion: who fuses the answers for the SFT data; null keeps the best one.
    """

    sft: SftSelection | None = SftSelection()
    fusion: FusionConfig | None = None

    @model_validator(mode="after")
    def _fuses_what_is_selected(self) -> Self:
        if self.fusion is not None and (self.sft is None or self.sft.mode != "best"):
            raise ValueError("fusion: needs `sft` with `mode: best`: a fused answer stands for the best one")
        return self

    def fuser(self) -> TeacherConfig | None:
        """Return the teacher that fuses."""
        return None if self.fusion is None else load_pool(Path(self.teachers)).select([self.fusion.teacher])[0]

    def engines(self) -> tuple[tuple[str, TeacherConfig], ...]:
        """Return every teacher that is asked, beside the pool of workers that asks it."""
        fuser = self.fuser()
        return super().engines() + (((f"fuse-{fuser.name}", fuser),) if fuser else ())

    def finish(self, run_dir: AnyPath) -> Notes:
        """Say how much was fused."""
        if self.fusion is None:
            return super().finish(run_dir)
        run = open_run(run_dir)
        counts = Counter(name for table in run.tables("select-sft") for name in table["strategy"].to_pylist())
        line = f"fusion: {counts[FUSION]:,} of {counts.total():,} SFT rows are fused by {self.fusion.teacher}"
        return Notes(lines=(line,), figures={"fusion": {"fused": counts[FUSION], "rows": counts.total()}})


@dataclass(frozen=True, slots=True)
class Selected:
    """The step that selects SFT data, and the one that fuses, if any does."""

    sft: Step
    fused: Step | None = None

    def add_to(self, pipeline: Pipeline) -> Pipeline:
        """Return the pipeline with the fused answers among its roles."""
        roles = {FUSED: (self.fused,)} if self.fused else {}
        return replace(pipeline, candidates={**pipeline.candidates, **roles})


def select_examples(config: FusibleConfig, sft: SftSelection, table: TableBuild) -> Selected:
    """Return the step that selects SFT data, by fusion where the config asks for it."""
    fuser = config.fuser()
    if config.fusion is None or fuser is None:
        return Selected(select_sft(sft, table.prompts, table.drafts, table.final))
    licences = [teacher.licence or "unknown" for teacher in config.selected_teachers()]
    fused = fuse(config.fusion, fuser, table.prompts, table.drafts, table.final, licences)
    # who names no family is one of its own: under another name, too, nobody reviews what he wrote
    written_by = fuser.model_copy(update={"name": FUSED, "family": fuser.family or fuser.name})
    asked = score_steps(config, table.prompts, [(written_by, fused)], levels=table.levels)
    final = combine_scores(config, table.prompts, asked, table.calibration).part(FUSED)
    selection = FusedSelection(sft=sft, only_if_better=config.fusion.only_if_better)
    answers, new = Scored(table.drafts, table.final), Scored((fused,), final)
    return Selected(select_fused(selection, table.prompts, answers, new), fused)
