"""Preference pairs of a candidate table, their policy checked against the pool."""

from collections.abc import Sequence

from arbitrage.contracts.steps import Step
from arbitrage.selection.pairs import PairSelection, select_pairs
from arbitrage.teachers.pool import TeacherConfig
from pipelines.candidates import CandidateTable


def preference_pairs(config: PairSelection, pool: Sequence[TeacherConfig], table: CandidateTable) -> Step:
    """Return the step that selects the pairs.

    Raises:
        ConfigError: the policy cannot be followed with these teachers.
    """
    config.policy.require([teacher.name for teacher in pool])
    return select_pairs(config, table.prompts, table.drafts, table.final)
