"""How many rows of each strategy a student gets, at matched rows and at matched generations (METHODS §1, §10)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pyarrow.compute as pc

from arbitrage.candidates.table import CandidateShard, CandidateTable
from arbitrage.errors import DataError
from arbitrage.records import Route, SftExample
from arbitrage.runs.manifest import StepPlan
from arbitrage.runs.run import Run
from pipelines.students.strategies import StrategyConfig

Budget = Literal["rows", "generations"]
"""What is the same for all strategies."""

EXACT = "exact"


@dataclass(frozen=True, slots=True)
class StrategyRows:
    """What a strategy has made of the candidate table, by language.

    Attributes:
        rows: rows of its data set.
        price: completions sampled per row, on average; blank ones count as well.
        right: rows that the exact check calls right; empty where the run has no such check.
    """

    strategy: str
    rows: Mapping[str, int]
    price: Mapping[str, float]
    right: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The training set of one student.

    Attributes:
        budgets: the budgets at which the strategy affords exactly this.
        rows: language → rows, drawn by the hash of their prompts: a smaller training set is a subset of a larger one.
        generations: completions sampled for these rows, on average.
        right: part of the strategy's rows that are right; None where it is not known.
    """

    strategy: str
    budgets: tuple[Budget, ...]
    rows: Mapping[str, int]
    generations: float
    right: float | None


def strategy_rows(run: Run, strategies: Sequence[StrategyConfig]) -> list[StrategyRows]:
    """Count the completions that each strategy sampled and the rows that it kept."""
    table = CandidateTable.of(run)
    counts = {strategy.name: _Counts() for strategy in strategies}
    for shard in table.shards():
        exact = shard.scores(EXACT)
        right = frozenset(exact.filter(pc.equal(exact["value"], 1.0))["candidate_id"].to_pylist())
        for strategy in strategies:
            counts[strategy.name].add(shard, run.step(run.plan.datasets[strategy.name]), right)
    return [_rows_of(strategy, counts[strategy.name], EXACT in table.checks) for strategy in strategies]


def training_sets(holdings: Sequence[StrategyRows]) -> list[TrainingSet]:
    """Choose rows so that all strategies have the same number of rows, or the same number of generations.

    In every language, the scarcest strategy says how many rows there are at matched rows; and as many generations at
    matched generations, so that a strategy that samples one teacher has the same training set at both.

    Raises:
        DataError: a strategy has no rows in a language in which others have some.
    """
    languages = sorted({tag for one in holdings for tag in one.rows})
    for one in holdings:
        if missing := [tag for tag in languages if not one.rows.get(tag)]:
            raise DataError(
                f"strategy '{one.strategy}' has no rows in {', '.join(missing)}, where others have some; "
                "leave it out, or let its router send those prompts to some teacher (`language_filter: off`)"
            )
    room = {tag: min(one.rows[tag] for one in holdings) for tag in languages}
    return [training_set for one in holdings for training_set in _training_sets(one, room)]


def _training_sets(holding: StrategyRows, room: Mapping[str, int]) -> list[TrainingSet]:
    affordable = {tag: max(1, int(num / holding.price[tag] + 1e-9)) for tag, num in room.items()}
    wanted: dict[Budget, Mapping[str, int]] = {"rows": room, "generations": affordable}
    if affordable == room:
        return [_training_set(holding, ("rows", "generations"), room)]
    return [_training_set(holding, (budget,), rows) for budget, rows in wanted.items()]


def _training_set(holding: StrategyRows, budgets: tuple[Budget, ...], rows: Mapping[str, int]) -> TrainingSet:
    paid = sum(num * holding.price[tag] for tag, num in rows.items())
    known = sum(holding.right[tag] / holding.rows[tag] * num for tag, num in rows.items()) if holding.right else None
    right = None if known is None else known / sum(rows.values())
    return TrainingSet(holding.strategy, budgets, dict(rows), round(paid, 1), right)


@dataclass(slots=True)
class _Counts:
    """By language: rows, rows that are right, prompts routed, teachers they were sent to."""

    rows: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    prompts: Counter[str] = field(default_factory=Counter)
    teachers: Counter[str] = field(default_factory=Counter)

    def add(self, shard: CandidateShard, step: StepPlan, right: frozenset[str]) -> None:
        """Take in one shard of a strategy's data set; `right` are ids of candidates."""
        kept = shard.inputs.table(step.name, SftExample)
        for language, candidate_id in zip(
            kept["language"].to_pylist(), kept["candidate_id"].to_pylist(), strict=True
        ):
            self.rows[language] += 1
            self.right[language] += candidate_id in right
        for name in step.inputs["routes"]:
            routes = shard.inputs.table(name, Route)
            numbers = pc.list_value_length(routes["teachers"]).to_pylist()
            for language, number in zip(shard.languages_of(routes).to_pylist(), numbers, strict=True):
                self.prompts[language] += 1
                self.teachers[language] += number


def _rows_of(strategy: StrategyConfig, counts: _Counts, has_check: bool) -> StrategyRows:
    keeps_all = strategy.keep == "all"
    price = {
        tag: 1.0 if keeps_all else counts.teachers[tag] * strategy.samples / num
        for tag, num in counts.prompts.items()
    }
    return StrategyRows(strategy.name, counts.rows, price, counts.right if has_check else {})
