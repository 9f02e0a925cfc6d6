"""Read an outcome matrix from Parquet: one row for each prompt and model."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arbitrage.errors import DataError, UserError
from arbitrage.languages import UNKNOWN
from arbitrage.outcomes.matrix import Floats, OutcomeMatrix
from arbitrage.outcomes.queries import NO_TASK, Queries, Rows


@dataclass(frozen=True, slots=True)
class MatrixColumns:
    """Where the matrix's values lie. Columns that are None are looked for under their usual names.

    Attributes:
        rewards: one, or several whose standardised mean is the reward.
        group: clusters; `group` or `doc_group` where present, else each prompt is its own.
        task: `task` or `domain` where present.
        judge: a second opinion that routers are not trained for.
        cost: `cost` or `cost_usd` where present.
    """

    prompt_id: str = "prompt_id"
    prompt: str = "prompt"
    language: str = "language"
    model: str = "model"
    rewards: tuple[str, ...] = ("reward",)
    group: str | None = None
    task: str | None = None
    judge: str | None = None
    cost: str | None = None


USUAL: Mapping[str, tuple[str, ...]] = {
    "group": ("group", "doc_group"),
    "task": ("task", "domain"),
    "cost": ("cost", "cost_usd"),
}


@dataclass(frozen=True, slots=True)
class MatrixReading:
    """A matrix, and what was left out of it.

    Attributes:
        dropped: prompts by reason; they are in no figure.
        missing: by model, of how many prompts it lacks a reward.
    """

    matrix: OutcomeMatrix
    dropped: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)


def read_matrix(
    paths: Sequence[Path], columns: MatrixColumns = MatrixColumns(), models: Sequence[str] | None = None
) -> MatrixReading:
    """Read the rewards of `models` (by default of all) on the prompts that each of them answered.

    Several answers of one model to one prompt are averaged.

    Raises:
        UserError: a file, column or model that is not there.
        DataError: a file that is not Parquet, a column of the wrong type, or no prompt that all models answered.
    """
    table, found = _read_files(paths, columns)
    names = _chosen_models(table, found.model, models)
    table = table.filter(pc.is_in(table[found.model], pa.array(names)))
    ids, row_P, prompt_R = _prompts(table, found)
    column_R = np.searchsorted(names, _strings(table, found.model))
    values = {name: _pivot(table, name, prompt_R, column_R, (len(ids), len(names))) for name in _numbers(found)}
    kept, missing = _complete([values[name] for name in found.rewards], names)
    if not len(kept):
        lacking = ", ".join(f"{name} ({count:,})" for name, count in sorted(missing.items(), key=lambda x: -x[1])[:5])
        raise DataError(
            f"{_where(paths)}: no prompt was answered by all {len(names)} models; most lacking: {lacking}"
        )
    first = table.take(row_P[kept])
    languages = [language or UNKNOWN for language in _strings(first, found.language)]
    by_name = {name: values[name][kept] for name in found.rewards}
    matrix = OutcomeMatrix(
        prompt_ids=tuple(ids[row] for row in kept),
        queries=Queries(
            _strings(first, found.prompt), languages, _strings(first, found.task) if found.task else None
        ),
        cluster_P=_clusters(first, found, [ids[row] for row in kept]),
        teachers=tuple(names),
        rewards_PT=blend_rewards(by_name, languages),
        rewards_by_name=by_name if len(by_name) > 1 else {},
        judge_PT=values[found.judge][kept] if found.judge else None,
        cost_PT=values[found.cost][kept] if found.cost else None,
    )
    dropped = {"a model's reward is missing": len(ids) - len(kept)} if len(ids) > len(kept) else {}
    return MatrixReading(matrix, dropped, missing)


def read_rewards(paths: Sequence[Path], columns: MatrixColumns, model: str) -> dict[str, float]:
    """Read one model's mean reward on each prompt it answered.

    Raises:
        UserError: a file or column is not there, the model is not, or several rewards are asked for.
    """
    if len(columns.rewards) != 1:
        raise UserError("--reward-column: give one")
    table, found = _read_files(paths, columns)
    _chosen_models(table, found.model, [model], at_least=1)
    table = table.filter(pc.equal(table[found.model], model))
    ids, _, prompt_R = _prompts(table, found)
    column_P1 = _pivot(table, found.rewards[0], prompt_R, np.zeros(len(prompt_R), np.int64), (len(ids), 1))
    return {name: float(value) for name, value in zip(ids, column_P1[:, 0], strict=True) if np.isfinite(value)}


def blend_rewards(by_name: Mapping[str, Floats], languages: Sequence[str]) -> Floats:
    """Return the mean of several rewards, each standardised within its language; a single one is left as it is.

    Rewards of different scales, and of different reach in different languages, so weigh the same.
    """
    if len(by_name) == 1:
        return next(iter(by_name.values()))
    _, code_P = np.unique(np.asarray(languages, dtype=str), return_inverse=True)
    blended_PT: Floats = np.mean([_standardised(by_name[name], code_P) for name in sorted(by_name)], axis=0)
    return blended_PT


def _standardised(reward_PT: Floats, code_P: Rows) -> Floats:
    """Take each language's mean from its rewards and divide by the deviation of teachers within its prompts."""
    scaled_PT = np.empty_like(reward_PT)
    for code in np.unique(code_P):
        rows = code_P == code
        within_PT = reward_PT[rows] - reward_PT[rows].mean(axis=1, keepdims=True)
        scaled_PT[rows] = (reward_PT[rows] - reward_PT[rows].mean()) / max(float(within_PT.std()), 1e-9)
    return scaled_PT


def _read_files(paths: Sequence[Path], columns: MatrixColumns) -> tuple[pa.Table, MatrixColumns]:
    tables: list[pa.Table] = []
    found: MatrixColumns | None = None
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: is not there")
        try:
            present = pq.read_schema(path).names
            found = _resolved(columns, present, path)
            tables.append(_typed(pq.read_table(path, columns=sorted(set(_wanted(found)))), found, path))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: cannot be read as Parquet: {error}") from error
    if found is None:
        raise UserError("--matrix: give at least one Parquet file")
    try:
        return pa.concat_tables(tables, promote_options="permissive"), found
    except pa.ArrowException as error:
        raise DataError(f"{_where(paths)}: the files do not fit together: {error}") from error


def _typed(table: pa.Table, found: MatrixColumns, path: Path) -> pa.Table:
    """Return the table with numbers as doubles and everything else as text."""
    numbers = _numbers(found)
    for name in table.column_names:
        wanted, kind = (pa.float64(), "numbers") if name in numbers else (pa.string(), "text")
        try:
            table = table.set_column(table.column_names.index(name), name, table[name].cast(wanted))
        except pa.ArrowException as error:
            raise DataError(f"{path}: column '{name}' is {table[name].type}, expected {kind}: {error}") from error
    return table


def _resolved(columns: MatrixColumns, present: Sequence[str], path: Path) -> MatrixColumns:
    optional = {}
    for role, usual in USUAL.items():
        given = getattr(columns, role)
        optional[role] = given or next((name for name in usual if name in present), None)
    found = MatrixColumns(
        columns.prompt_id,
        columns.prompt,
        columns.language,
        columns.model,
        columns.rewards,
        judge=columns.judge,
        **optional,
    )
    for name in _wanted(found):
        if name not in present:
            near = difflib.get_close_matches(name, present, n=1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise UserError(f"{path}: has no column '{name}'{hint}; it has {', '.join(present)}")
    return found


def _wanted(found: MatrixColumns) -> list[str]:
    optional = [name for name in (found.group, found.task, found.judge, found.cost) if name]
    return [found.prompt_id, found.prompt, found.language, found.model, *found.rewards, *optional]


def _numbers(found: MatrixColumns) -> list[str]:
    return sorted({*found.rewards, *(name for name in (found.judge, found.cost) if name)})


def _chosen_models(table: pa.Table, column: str, models: Sequence[str] | None, at_least: int = 2) -> list[str]:
    present = sorted({str(name) for name in table[column].unique().to_pylist() if name is not None})
    for name in models or ():
        if name not in present:
            near = difflib.get_close_matches(name, present, n=1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise UserError(f"--models: '{name}' is not in the matrix{hint}; it holds {', '.join(present)}")
    names = sorted(set(models)) if models else present
    if len(names) < at_least:
        raise UserError(f"--models: a router chooses among at least two models; found {', '.join(names) or 'none'}")
    return names


def _prompts(table: pa.Table, found: MatrixColumns) -> tuple[list[str], Rows, Rows]:
    """Return the ids of the prompts, sorted; the first row of each; and the prompt of each row."""
    ids, first, inverse = np.unique(
        np.asarray(_strings(table, found.prompt_id), dtype=object), return_index=True, return_inverse=True
    )
    return list(ids), first, inverse


def _strings(table: pa.Table, column: str | None) -> list[str]:
    if column is None:
        return []
    return [value if value is not None else NO_TASK for value in table[column].to_pylist()]


def _pivot(table: pa.Table, column: str, prompt_R: Rows, column_R: Rows, shape: tuple[int, int]) -> Floats:
    """Average the values of each cell; NaN where there is none."""
    values_R = table[column].to_numpy()
    usable = np.isfinite(values_R)
    cell_R = prompt_R[usable] * shape[1] + column_R[usable]
    num = np.bincount(cell_R, minlength=shape[0] * shape[1])
    sums = np.bincount(cell_R, weights=values_R[usable], minlength=shape[0] * shape[1])
    return np.where(num > 0, sums / np.maximum(num, 1), np.nan).reshape(shape)


def _complete(rewards: Sequence[Floats], names: Sequence[str]) -> tuple[Rows, dict[str, int]]:
    has_PT = np.logical_and.reduce([np.isfinite(reward_PT) for reward_PT in rewards])
    missing = {name: int(count) for name, count in zip(names, (~has_PT).sum(axis=0), strict=True) if count}
    return np.flatnonzero(has_PT.all(axis=1)), missing


def _clusters(first: pa.Table, found: MatrixColumns, ids: Sequence[str]) -> Rows:
    """Return the cluster codes; a prompt without a group is its own cluster."""
    groups = _strings(first, found.group) if found.group else [""] * len(ids)
    named = [f"g{group}" if group else f"p{prompt_id}" for group, prompt_id in zip(groups, ids, strict=True)]
    return np.unique(np.asarray(named, dtype=object), return_inverse=True)[1]


def _where(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
