"""How many rows of each strategy a student gets, at matched rows and at matched generations (METHODS §1, §10)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from arbitrage.errors import DataError
from arbitrage.rewards.options import base_name
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
    languages = {
        row["prompt_id"]: row["language"]
        for table in run.tables(run.plan.candidates["prompts"][0])
        for row in table.select(["prompt_id", "language"]).to_pylist()
    }
    right = _right(run)
    return [_holding(run, strategy, languages, right) for strategy in strategies]


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


def _holding(run: Run, strategy: StrategyConfig, languages: Mapping[str, str], right: frozenset[str]) -> StrategyRows:
    step = run.step(run.plan.datasets[strategy.name])
    rows: Counter[str] = Counter()
    correct: Counter[str] = Counter()
    for table in run.tables(step.name):
        for language, candidate in zip(table["language"].to_pylist(), table["candidate_id"].to_pylist(), strict=True):
            rows[language] += 1
            correct[language] += candidate in right
    sampled: Counter[str] = Counter()
    prompts: Counter[str] = Counter()
    for table in chain.from_iterable(run.tables(routes) for routes in step.inputs["routes"]):
        for prompt, named in zip(table["prompt_id"].to_pylist(), table["teachers"].to_pylist(), strict=True):
            prompts[languages[prompt]] += 1
            sampled[languages[prompt]] += len(named) * strategy.samples
    keeps_all = strategy.keep == "all"
    price = {tag: 1.0 if keeps_all else sampled[tag] / num for tag, num in prompts.items()}
    return StrategyRows(strategy.name, rows, price, correct if right else {})


def _right(run: Run) -> frozenset[str]:
    """Return the candidates that the exact check calls right."""
    return frozenset(
        row["candidate_id"]
        for step in run.plan.candidates["scores"]
        for table in run.tables(step)
        for row in table.select(["candidate_id", "reward", "value"]).to_pylist()
        if base_name(row["reward"]) == EXACT and row["value"] == 1.0
    )
