"""SFT examples: generate, score, keep the best."""

from typing import Literal

from arbitrage.contracts.steps import Pipeline
from arbitrage.prompts.step import read_prompts
from arbitrage.selection.sft import SftSelection
from arbitrage.teachers.generate import generate
from arbitrage.teachers.pool import pool_members
from pipelines.candidates import (
    TableBuild,
    calibrate_scores,
    combine_scores,
    compare_routers,
    score_candidates,
)
from pipelines.fusing import FusibleConfig, fuse_candidates, select_examples
from routers.step import route


class SftConfig(FusibleConfig):
    """Config of an SFT run.

    Attributes:
        sft: how SFT data are selected.
    """

    kind: Literal["sft"]
    sft: SftSelection = SftSelection()

    def build(self) -> Pipeline:
        """Build the steps."""
        pool = self.load_pool()
        teachers = self.select_teachers(pool)
        members = pool_members(teachers)
        prompts = read_prompts(self.prompts)
        routes = route(self.router, members, prompts)
        candidates = [generate(teacher, prompts, routes, self.sampling) for teacher in teachers]
        scores = score_candidates(self, pool, prompts, teachers, candidates)
        calibration = calibrate_scores(self, prompts, candidates, scores)
        final = combine_scores(self, prompts, candidates, scores, calibration)
        compared = compare_routers(self, members, prompts)
        table = TableBuild(prompts, routes, compared, tuple(candidates), scores, calibration, final)
        fused = fuse_candidates(self, pool, table)
        return table.pipeline({"sft": select_examples(self, self.sft, pool, table, fused)}, fused=fused)
