"""What was measured of every answer, by language and teacher: tokens, cost, cut-off, checks failed, rewards."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from arbitrage.candidates.calibration import CalibrationTable
from arbitrage.candidates.cube import calibrated_values
from arbitrage.candidates.table import CandidateShard, TableSteps
from arbitrage.records import Calibration
from arbitrage.report.tally import Tally
from arbitrage.rewards.options import base_name
from arbitrage.runs.run import Run
from arbitrage.tables import from_table

ANSWERS, WON, FINAL, EXACT, CUT_OFF = "answers", "won", "final", "exact ", "cut off"
TOKENS = ("prompt_tokens", "completion_tokens")
COST = "cost_usd"
RAW, CALIBRATED, FAILS, SHUT = "raw ", "calibrated ", "fails ", "shut "

UNSCORED = "unscored:"
"""How the ensemble's error begins where a score is missing."""

DEFAULT_MINIMUM = 0.5


class MeasureBuilder:
    """Takes in shards and fills a tally."""

    def __init__(
        self,
        calibrations: CalibrationTable | None,
        minimums: Mapping[str, float],
        has_sft: bool,
        exact: Sequence[str] = (),
    ) -> None:
        self.tally = Tally()
        self._calibrations = calibrations
        self._minimums = minimums
        self._has_sft = has_sft
        self._exact = frozenset(exact)

    def add(self, shard: CandidateShard) -> None:
        """Take in one shard."""
        self._add_drafts(shard)
        self._add_rewards(shard)
        self._add_checks(shard)
        final = shard.final.filter(pc.is_valid(shard.final["value"]))
        self._add_scores(FINAL, shard, final, final["value"].combine_chunks())
        self._add_shut(shard)
        won = shard.sft if self._has_sft else _best_of(shard, final)
        language, teacher = (won[column].combine_chunks() for column in ("language", "teacher"))
        self.tally.add(WON, language, teacher, pa.array([1] * won.num_rows, pa.int64()))

    def _add_drafts(self, shard: CandidateShard) -> None:
        drafts, language = shard.drafts, shard.language_of_draft
        teacher = drafts["teacher"].combine_chunks()
        for name in (*TOKENS, COST):
            self.tally.add(name, language, teacher, drafts[name].combine_chunks())
        cut_off = pc.equal(drafts["finish_reason"], "length").combine_chunks().cast(pa.int64())
        self.tally.add(CUT_OFF, language, teacher, cut_off)

    def _add_rewards(self, shard: CandidateShard) -> None:
        for name in pc.unique(shard.rewards["reward"]).to_pylist():
            scores = shard.rewards.filter(pc.equal(shard.rewards["reward"], name))
            scores = scores.filter(pc.is_valid(scores["value"]))
            self._add_scores(RAW + name, shard, scores, scores["value"].combine_chunks())
            if self._calibrations is not None:
                values = calibrated_values(self._calibrations, name, shard, scores)
                self._add_scores(CALIBRATED + name, shard, scores, values)

    def _add_checks(self, shard: CandidateShard) -> None:
        for name in pc.unique(shard.checks["reward"]).to_pylist():
            scores = shard.checks.filter(pc.equal(shard.checks["reward"], name))
            values = scores["value"].combine_chunks()
            if base_name(name) in self._exact:
                self._add_scores(EXACT + name, shard, scores, values)
            else:
                minimum = self._minimums.get(base_name(name), DEFAULT_MINIMUM)
                self._add_scores(FAILS + base_name(name), shard, scores, pc.less(values, minimum).cast(pa.int64()))

    def _add_shut(self, shard: CandidateShard) -> None:
        """Count the answers that may not be chosen, by what the ensemble gives as the reason."""
        errors = shard.final.filter(pc.is_valid(shard.final["error"]))
        for reason in pc.unique(errors["error"]).to_pylist():
            scores = errors.filter(pc.equal(errors["error"], reason))
            self._add_scores(SHUT + reason, shard, scores, pa.array([1] * scores.num_rows, pa.int64()))

    def _add_scores(self, measure: str, shard: CandidateShard, scores: pa.Table, values: pa.Array) -> None:
        draft = shard.draft_of(scores)
        teacher = shard.drafts["teacher"].combine_chunks().take(draft)
        self.tally.add(measure, shard.language_of_draft.take(draft), teacher, values)


def calibrations_of(run: Run, roles: TableSteps) -> CalibrationTable | None:
    """Read the calibration of a run, or None if it made none."""
    if roles.calibration is None:
        return None
    rows = [row for table in run.tables(roles.calibration) for row in from_table(table, Calibration)]
    return CalibrationTable(rows)


def minimums_of(run: Run, roles: TableSteps) -> dict[str, float]:
    """Read from the plan the value below which an answer fails each check."""
    found: dict[str, float] = {}
    for step in roles.checks:
        for check in run.step(step).config.get("checks", ()):
            if "name" in check:
                found[str(check["name"])] = float(check.get("minimum", DEFAULT_MINIMUM))
    return found


def _best_of(shard: CandidateShard, final: pa.Table) -> pa.Table:
    """Return the language and teacher of each prompt's best-scored answer: what `select_sft` would keep."""
    draft = shard.draft_of(final)
    table = pa.table(
        {
            "prompt_id": final["prompt_id"].combine_chunks(),
            "language": shard.language_of_draft.take(draft),
            "teacher": shard.drafts["teacher"].combine_chunks().take(draft),
            "value": final["value"].combine_chunks(),
            "candidate_id": final["candidate_id"].combine_chunks(),
        }
    )
    order = [("prompt_id", "ascending"), ("value", "descending"), ("candidate_id", "ascending")]
    ids = table.sort_by(order)["prompt_id"].to_pylist()
    first = [i for i, prompt_id in enumerate(ids) if i == 0 or ids[i - 1] != prompt_id]
    return table.sort_by(order).take(pa.array(first, pa.int64()))
