"""Measurements of every candidate, by language and teacher: tokens, cost, cut-off, failed checks, rewards."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from arbitrage.candidates.calibration import CalibrationTable, calibrated_values
from arbitrage.candidates.table import CandidateShard, CandidateTable
from arbitrage.records import Calibration, SftExample, base_name
from arbitrage.report.tally import Tally
from arbitrage.tables import from_table

ANSWERS, WON, FINAL, EXACT, CUT_OFF = "answers", "won", "final", "exact ", "cut off"
TOKENS = ("prompt_tokens", "completion_tokens")
COST = "cost_usd"
RAW, CALIBRATED, FAILS, UNUSABLE = "raw ", "calibrated ", "fails ", "unusable "

UNSCORED = "unscored:"
"""Beginning of the ensemble's error for a missing score."""

DEFAULT_MINIMUM = 0.5


class MeasureBuilder:
    """Adds shards to a tally."""

    def __init__(self, table: CandidateTable, calibrations: CalibrationTable | None) -> None:
        self.tally = Tally()
        self._table = table
        self._calibrations = calibrations

    def add(self, shard: CandidateShard) -> None:
        """Add one shard."""
        self._add_candidates(shard)
        self._add_rewards(shard)
        self._add_checks(shard)
        final = shard.final.filter(pc.is_valid(shard.final["value"]))
        self._add_scores(FINAL, shard, final, final["value"].combine_chunks())
        self._add_unusable(shard)
        won = _best_of(shard, final) if self._table.sft is None else shard.inputs.table(self._table.sft, SftExample)
        language, teacher = (won[column].combine_chunks() for column in ("language", "teacher"))
        self.tally.add(WON, language, teacher, pa.array([1] * won.num_rows, pa.int64()))

    def _add_candidates(self, shard: CandidateShard) -> None:
        candidates, language = shard.candidates, shard.languages_of(shard.candidates)
        teacher = candidates["teacher"].combine_chunks()
        for name in (*TOKENS, COST):
            self.tally.add(name, language, teacher, candidates[name].combine_chunks())
        cut_off = pc.equal(candidates["finish_reason"], "length").combine_chunks().cast(pa.int64())
        self.tally.add(CUT_OFF, language, teacher, cut_off)

    def _add_rewards(self, shard: CandidateShard) -> None:
        for scores in _by_reward(shard, self._table.rewards):
            name, scores = scores["reward"][0].as_py(), scores.filter(pc.is_valid(scores["value"]))
            self._add_scores(RAW + name, shard, scores, scores["value"].combine_chunks())
            if self._calibrations is not None:
                values = calibrated_values(self._calibrations, shard, scores)
                self._add_scores(CALIBRATED + name, shard, scores, values)

    def _add_checks(self, shard: CandidateShard) -> None:
        for scores in _by_reward(shard, tuple(self._table.checks)):
            reward, values = scores["reward"][0].as_py(), scores["value"].combine_chunks()
            name = base_name(reward)
            if name in self._table.exact:
                self._add_scores(EXACT + reward, shard, scores, values)
            else:
                minimum = float(self._table.checks[name].get("minimum", DEFAULT_MINIMUM))
                self._add_scores(FAILS + name, shard, scores, pc.less(values, minimum).cast(pa.int64()))

    def _add_unusable(self, shard: CandidateShard) -> None:
        """Count the candidates that cannot be selected, by what the ensemble gives as the reason."""
        errors = shard.final.filter(pc.is_valid(shard.final["error"]))
        for reason in pc.unique(errors["error"]).to_pylist():
            scores = errors.filter(pc.equal(errors["error"], reason))
            self._add_scores(UNUSABLE + reason, shard, scores, pa.array([1] * scores.num_rows, pa.int64()))

    def _add_scores(self, measure: str, shard: CandidateShard, scores: pa.Table, values: pa.Array) -> None:
        teacher = shard.candidates["teacher"].take(pa.array(shard.candidate_rows(scores))).combine_chunks()
        self.tally.add(measure, shard.languages_of(scores), teacher, values)


def _by_reward(shard: CandidateShard, names: Sequence[str]) -> Iterator[pa.Table]:
    found = (shard.scores(name) for name in names)
    return (scores for scores in found if scores.num_rows)


def calibrations_of(table: CandidateTable) -> CalibrationTable | None:
    """Read the calibration of a run, or None if it made none."""
    steps = table.steps["calibration"][:1]
    if not steps:
        return None
    return CalibrationTable(row for step in steps for row in from_table(table.run.table(step), Calibration))


def _best_of(shard: CandidateShard, final: pa.Table) -> pa.Table:
    """Return the language and teacher of each prompt's best-scored answer: what `select_sft` would keep."""
    rows = pa.array(shard.candidate_rows(final))
    table = pa.table(
        {
            "prompt_id": final["prompt_id"],
            "language": shard.languages_of(final),
            "teacher": shard.candidates["teacher"].take(rows),
            "value": final["value"],
            "candidate_id": final["candidate_id"],
        }
    )
    order = [("prompt_id", "ascending"), ("value", "descending"), ("candidate_id", "ascending")]
    ids = table.sort_by(order)["prompt_id"].to_pylist()
    first = [i for i, prompt_id in enumerate(ids) if i == 0 or ids[i - 1] != prompt_id]
    return table.sort_by(order).take(pa.array(first, pa.int64()))
