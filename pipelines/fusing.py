"""SFT data: the best candidate of each prompt, or a fusion of its candidates."""

from collections import Counter
from typing import Self

from pydantic import model_validator

from arbitrage.contracts.steps import Step
from arbitrage.runs.manifest import Notes
from arbitrage.runs.paths import AnyPath
from arbitrage.runs.run import open_run
from arbitrage.selection.fused import FUSION, FusedSelection, Scored, select_fused
from arbitrage.selection.sft import SftSelection, select_sft
from arbitrage.teachers.fuse import FusionConfig, fuse
from arbitrage.teachers.pool import TeacherConfig, TeacherPool
from pipelines.candidates import CandidatesConfig, TableBuild, combine_scores, score_candidates

FUSED = "fused"
"""Name of the fusing teacher in the steps that score fused responses; its own name is that of its candidates."""


class FusibleConfig(CandidatesConfig):
    """Fields of a pipeline with optional fusion.

    Attributes:
        sft: how SFT data are selected; null writes none.
        fusion: the teacher that fuses the candidates of a prompt for the SFT data; null keeps the best candidate.
    """

    sft: SftSelection | None = SftSelection()
    fusion: FusionConfig | None = None

    @model_validator(mode="after")
    def _fuses_what_is_selected(self) -> Self:
        if self.fusion is not None and (self.sft is None or self.sft.mode != "best"):
            raise ValueError("fusion: needs `sft` with `mode: best`: a fused candidate replaces the best one")
        return self

    def fusers(self, pool: TeacherPool) -> tuple[TeacherConfig, ...]:
        """Return the fusing teacher, if there is one."""
        return () if self.fusion is None else pool.select([self.fusion.teacher])

    def finish(self, run_dir: AnyPath) -> Notes:
        """Report how many SFT rows are fused."""
        if self.fusion is None:
            return super().finish(run_dir)
        run = open_run(run_dir)
        counts = Counter(name for table in run.tables("select-sft") for name in table["strategy"].to_pylist())
        line = f"fusion: {counts[FUSION]:,} of {counts.total():,} SFT rows are fused by {self.fusion.teacher}"
        return Notes(lines=(line,), figures={"fusion": {"fused": counts[FUSION], "rows": counts.total()}})


def fuse_candidates(config: FusibleConfig, pool: TeacherPool, table: TableBuild) -> Step | None:
    """Fuse the candidates of each prompt into one response; None if the config has no fusion."""
    if config.fusion is None:
        return None
    [fuser] = config.fusers(pool)
    licences = [teacher.licence or "unknown" for teacher in config.select_teachers(pool)]
    return fuse(config.fusion, fuser, table.prompts, table.candidates, table.final, licences)


def select_examples(
    config: FusibleConfig, sft: SftSelection, pool: TeacherPool, table: TableBuild, fused: Step | None
) -> Step:
    """Select SFT data: the best candidates, or fused responses, which are scored like candidates."""
    if config.fusion is None or fused is None:
        return select_sft(sft, table.prompts, table.candidates, table.final)
    [fuser] = config.fusers(pool)
    # The fusing teacher may also be in the pool. Without a family it is its own family, also under this name, because
    # it must not review its own text.
    author = fuser.model_copy(update={"name": FUSED, "family": fuser.family or fuser.name})
    scores = score_candidates(config, pool, table.prompts, [author], [fused], levels=table.scores.levels)
    final = combine_scores(config, table.prompts, [fused], scores, table.calibration).part(FUSED)
    selection = FusedSelection(sft=sft, only_if_better=config.fusion.only_if_better)
    candidates, new = Scored(table.candidates, table.final), Scored((fused,), final)
    return select_fused(selection, table.prompts, candidates, new)
