"""Read a reward matrix from Parquet, JSON Lines or CSV: one row for each prompt and model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arbitrage.candidates.matrix import Floats, RewardMatrix
from arbitrage.candidates.queries import NO_TASK, Queries, Rows
from arbitrage.errors import DataError, UserError, closest, did_you_mean
from arbitrage.inputs.columns import ColumnMap, ColumnNames
from arbitrage.inputs.files import Found, shown_path
from arbitrage.inputs.notes import note_text
from arbitrage.inputs.tables import find_tables, read_columns
from arbitrage.inputs.values import id_text
from arbitrage.languages import UNKNOWN, read_language, suggest_tag

MatrixRole = Literal["prompt_id", "prompt", "language", "model", "group", "task", "judge", "cost"]
REQUIRED: tuple[MatrixRole, ...] = ("prompt_id", "prompt", "language", "model")


class MatrixColumns(ColumnNames[str]):
    """Which column of a reward matrix holds what.

    Attributes:
        rewards: one, or several whose standardised mean is the reward.
        group: clusters; without them each prompt is its own.
        judge: a second score that routers are not trained for.
    """

    usual = {
        "prompt_id": ("prompt_id",),
        "prompt": ("prompt",),
        "language": ("language",),
        "model": ("model",),
        "group": ("group", "doc_group"),
        "task": ("task", "domain"),
        "judge": (),
        "cost": ("cost", "cost_usd"),
    }
    setting = ""

    prompt_id: str | None = None
    prompt: str | None = None
    language: str | None = None
    model: str | None = None
    rewards: tuple[str, ...] = ("reward",)
    group: str | None = None
    task: str | None = None
    judge: str | None = None
    cost: str | None = None

    def mapping(self) -> ColumnMap[str]:
        """Return the columns of each role; each reward is one."""
        columns = super().mapping()
        rewards = {_reward(name): (name,) for name in self.rewards}
        return ColumnMap({**columns.names, **rewards}, columns.given | rewards.keys())


LARGEST = 1e100
KEY = "key of the prompt"
"""Column: the prompt's id, with its language where prompts of several languages share one."""


@dataclass(frozen=True, slots=True)
class MatrixReading:
    """A matrix, and what was left out of it.

    Attributes:
        dropped: prompts by reason; they are in no figure.
        missing: by model, of how many prompts it lacks a reward.
        notes: sentences about what else is incomplete.
    """

    matrix: RewardMatrix
    dropped: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_matrix(
    paths: Sequence[Path], columns: MatrixColumns | None = None, models: Sequence[str] | None = None
) -> MatrixReading:
    """Read the rewards of `models` (by default of all) on the prompts that each of them answered.

    Several answers of one model to one prompt are averaged. Where prompts of several languages share an id, they
    translate each other: each is a prompt named `id/language`, and together they are a cluster.

    Raises:
        UserError: a file, column or model that is not there.
        DataError: a file that is not Parquet, a column of the wrong type, an id that stands for different prompts, or
            no prompt that all models answered.
    """
    columns = columns or MatrixColumns()
    left_out: Counter[str] = Counter()
    everything = _read_files(paths, columns, left_out)
    names = _chosen_models(everything, models)
    table = everything.filter(pc.is_in(everything["model"], pa.array(names)))
    prompts, prompt_R = _prompts(table)
    column_R = np.searchsorted(names, _strings(table, "model"))
    shape = (len(prompts), len(names))
    numbers = [role for role in table.column_names if _is_number(role)]
    values = {role: _pivot(table, role, prompt_R, column_R, shape) for role in numbers}
    kept, missing = _complete([values[_reward(name)] for name in columns.rewards], names)
    if not len(kept):
        lacking = ", ".join(f"{name} ({count:,})" for name, count in sorted(missing.items(), key=lambda x: -x[1])[:5])
        raise DataError(
            f"{_where(paths)}: no prompt was answered by all {len(names)} models; most lacking: {lacking}"
        )
    judge_PT, cost_PT, notes = _beside_rewards(values, columns.judge, kept)
    first = prompts.take(kept)
    languages = [_canonical(language) for language in _strings(first, "language")]
    by_name = {name: values[_reward(name)][kept] for name in columns.rewards}
    matrix = RewardMatrix(
        prompt_ids=tuple(_strings(first, KEY)),
        queries=Queries(
            _strings(first, "prompt"), languages, _strings(first, "task") if "task" in first.column_names else None
        ),
        cluster_P=_clusters(first),
        teachers=tuple(names),
        rewards_PT=blend_rewards(by_name, languages),
        rewards_by_name=by_name if len(by_name) > 1 else {},
        judge_PT=judge_PT,
        cost_PT=cost_PT,
    )
    num_dropped = len(prompts) - len(kept)
    dropped = {"a model's reward is missing": num_dropped} if num_dropped else {}
    unread = [f"{count:,} {what}" for what, count in sorted(left_out.items())]
    notes = (*unread, *_of_rows(table, everything), *notes, *_of_tags(languages))
    return MatrixReading(matrix, dropped, missing, notes)


def read_rewards(paths: Sequence[Path], columns: MatrixColumns, model: str) -> dict[str, float]:
    """Read one model's mean reward on each prompt that it has rows for; NaN where none of them holds a number.

    Raises:
        UserError: a file or column is not there, the model is not, or several rewards are named.
    """
    if len(columns.rewards) != 1:
        raise UserError("--reward-column: give one")
    table = _read_files(paths, columns, Counter())
    _chosen_models(table, [model], at_least=1)
    table = table.filter(pc.equal(table["model"], model))
    prompts, prompt_R = _prompts(table)
    column_P1 = _pivot(
        table, _reward(columns.rewards[0]), prompt_R, np.zeros(len(prompt_R), np.int64), (len(prompts), 1)
    )
    return {key: float(value) for key, value in zip(_strings(prompts, KEY), column_P1[:, 0], strict=True)}


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
    """Take each language's mean from its rewards and divide by the deviation of teachers within its prompts.

    NaN stays NaN: a teacher that was not sampled.
    """
    scaled_PT = np.empty_like(reward_PT)
    for code in np.unique(code_P):
        rows = code_P == code
        part_PT = reward_PT[rows]
        asked_PT = np.isfinite(part_PT)
        filled_PT = np.where(asked_PT, part_PT, 0.0)
        prompt_P1 = filled_PT.sum(axis=1, keepdims=True) / np.maximum(asked_PT.sum(axis=1, keepdims=True), 1)
        within = float((part_PT - prompt_P1)[asked_PT].std()) if asked_PT.any() else 0.0
        mean = float(part_PT[asked_PT].mean()) if asked_PT.any() else 0.0
        scaled_PT[rows] = (part_PT - mean) / max(within, 1e-9)
    return scaled_PT


def _read_files(paths: Sequence[Path], columns: MatrixColumns, left_out: Counter[str]) -> pa.Table:
    """Return one table whose columns are named by their roles, and `KEY`."""
    tables: list[pa.Table] = []
    for path in paths:
        if not path.exists() and not has_magic(str(path)):
            raise UserError(f"{shown_path(path)}: is not there")
    files = find_tables([str(path) for path in paths], "--matrix") if paths else Found(())
    left_out.update({note_text(note): count for note, count in files.notes.items()})
    for file in files.files:
        faults: Counter[str] = Counter()
        tables.append(_typed(read_columns(file, columns.mapping(), REQUIRED, faults), file.path))
        left_out.update({f"rows cannot be read: {reason}": count for reason, count in faults.items()})
    if not tables:
        raise UserError("--matrix: give at least one file")
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"{_where(paths)}: the files do not fit together: {error}") from error
    return table.append_column(KEY, _keys(table, paths))


def _reward(name: str) -> str:
    """Return the role of a column of rewards."""
    return f"reward {name}"


def _is_number(role: str) -> bool:
    return role in ("judge", "cost") or role.startswith("reward ")


def _keys(table: pa.Table, paths: Sequence[Path]) -> pa.Array:
    """Name the prompt of each row: by its id, and by its language too where one model has the id in several."""
    ids = pc.fill_null(table["prompt_id"], "")
    given = table["language"].unique().to_pylist()
    canonical = {tag: _canonical(tag) for tag in given}
    languages = pa.array([canonical[tag] for tag in table["language"].to_pylist()], pa.string())
    rows = pa.table({"id": ids, "model": table["model"], "language": languages, "text": table["prompt"]})
    shared = _differing(rows.filter(pc.not_equal(languages, UNKNOWN)), "id", "language")["id"]
    keys = pc.if_else(pc.is_in(ids, shared), pc.binary_join_element_wise(ids, languages, "/"), ids)
    for one in _differing(rows.set_column(0, "id", keys), "id", "text").slice(0, 1).to_pylist():
        raise DataError(
            f"{_where(paths)}: prompt_id '{one['id']}' stands for {one['text_count_distinct']} different "
            f"texts that '{one['model']}' answered: give each prompt an id of its own"
        )
    return keys


def _differing(rows: pa.Table, key: str, column: str) -> pa.Table:
    """Return what is not the same in all rows of a key and a model."""
    counted = rows.group_by([key, "model"]).aggregate([(column, "count_distinct")])
    return counted.filter(pc.greater(counted[f"{column}_count_distinct"], 1))


def _typed(table: pa.Table, path: Path) -> pa.Table:
    """Return the table with numbers as doubles and everything else as text."""
    for role in table.column_names:
        kind = "numbers" if _is_number(role) else "text"
        try:
            column = _as_numbers(table[role]) if _is_number(role) else _as_text(table[role])
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise DataError(
                f"{path}: column '{role.removeprefix('reward ')}' is {table[role].type}, expected {kind}: {error}"
            ) from error
        table = table.set_column(table.column_names.index(role), role, column)
    return table


def _as_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return doubles. A blank, as CSV writes a missing number, is null."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), None, column)
    return column.cast(pa.float64())


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text, every value written as ids are: the same prompt may be 7 in one file and 7.0 in another."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_nested(kind):
        raise pa.ArrowInvalid("lists and objects are no text")
    return pa.chunked_array([pa.array([id_text(value) for value in column.to_pylist()], pa.string())])


def _chosen_models(table: pa.Table, models: Sequence[str] | None, at_least: int = 2) -> list[str]:
    present = sorted({str(name) for name in table["model"].unique().to_pylist() if name is not None})
    for name in models or ():
        if name not in present:
            hint = did_you_mean(closest(name, present))
            raise UserError(f"--models: '{name}' is not in the matrix{hint}; it holds {', '.join(present)}")
    names = sorted(set(models)) if models else present
    if len(names) < at_least:
        raise UserError(f"--models: a router chooses among at least two models; found {', '.join(names) or 'none'}")
    return names


def _prompts(table: pa.Table) -> tuple[pa.Table, Rows]:
    """Return the prompts, sorted by key, with what the first row that has it says of each; and each row's prompt."""
    roles = [role for role in (*REQUIRED, "group", "task") if role in table.column_names and role != "model"]
    keyed = table.group_by(KEY, use_threads=False).aggregate([(role, "first") for role in roles])
    prompts = keyed.rename_columns([name.removesuffix("_first") for name in keyed.column_names]).sort_by(KEY)
    keys = np.asarray(_strings(prompts, KEY), dtype=object)
    return prompts, np.searchsorted(keys, np.asarray(_strings(table, KEY), dtype=object))


def _strings(table: pa.Table, column: str) -> list[str]:
    return [value if value is not None else NO_TASK for value in table[column].to_pylist()]


def _pivot(table: pa.Table, column: str, prompt_R: Rows, column_R: Rows, shape: tuple[int, int]) -> Floats:
    """Average the values of each cell; NaN where there is none."""
    values_R = table[column].to_numpy()
    usable = np.isfinite(values_R)
    if (most := np.abs(values_R[usable]).max(initial=0.0)) > LARGEST:
        name = column.removeprefix("reward ")
        raise DataError(f"column '{name}' holds {most:.3g}: too large to compute with (at most {LARGEST:g})")
    cell_R = prompt_R[usable] * shape[1] + column_R[usable]
    num = np.bincount(cell_R, minlength=shape[0] * shape[1])
    sums = np.bincount(cell_R, weights=values_R[usable], minlength=shape[0] * shape[1])
    return np.where(num > 0, sums / np.maximum(num, 1), np.nan).reshape(shape)


def _beside_rewards(
    values: Mapping[str, Floats], judge: str | None, kept: Rows
) -> tuple[Floats | None, Floats | None, tuple[str, ...]]:
    """Return the judge's scores and the costs, and notes about their gaps."""
    judge_PT = values["judge"][kept] if "judge" in values else None
    cost_PT = values["cost"][kept] if "cost" in values else None
    notes = []
    if judge_PT is not None and (lacking := int((~np.isfinite(judge_PT)).any(axis=1).sum())):
        notes.append(f"'{judge}' lacks a score for {lacking:,} prompts: its figures are of the others")
        judge_PT = None if lacking == len(kept) else judge_PT
    if cost_PT is not None and (lacking := int((~np.isfinite(cost_PT)).sum())):
        notes.append(f"the cost of {lacking:,} answers is missing: costs are left out")
        cost_PT = None
    return judge_PT, cost_PT, tuple(notes)


def _of_rows(table: pa.Table, everything: pa.Table) -> list[str]:
    """Say what rows do not count, or not as they stand."""
    counts = {
        "rows name no model: they do not count": everything["model"].null_count,
        "rewards are infinite: they count as missing": sum(
            int(np.isinf(table[role].to_numpy()).sum()) for role in table.column_names if role.startswith("reward ")
        ),
        "rows repeat a prompt and model: their values are averaged": len(table)
        - len(table.group_by([KEY, "model"]).aggregate([])),
    }
    return [f"{count:,} {what}" for what, count in counts.items() if count]


def _canonical(language: str | None) -> str:
    """Return one tag for all spellings of a language; what is none stays as it is."""
    return read_language(language or "") or language or UNKNOWN


def _of_tags(languages: Sequence[str]) -> list[str]:
    """Name languages that are no tags."""
    odd = Counter(tag for tag in languages if tag != UNKNOWN and not read_language(tag))
    named = [f"'{tag}' ({count:,} prompts){did_you_mean(suggest_tag(tag))}" for tag, count in odd.most_common(3)]
    if not named:
        return []
    more = f" and {len(odd) - len(named)} more" if len(odd) > len(named) else ""
    return [f"no BCP-47 tags, each a language of its own: {', '.join(named)}{more}"]


def _complete(rewards: Sequence[Floats], names: Sequence[str]) -> tuple[Rows, dict[str, int]]:
    has_PT = np.logical_and.reduce([np.isfinite(reward_PT) for reward_PT in rewards])
    missing = {name: int(count) for name, count in zip(names, (~has_PT).sum(axis=0), strict=True) if count}
    return np.flatnonzero(has_PT.all(axis=1)), missing


def _clusters(first: pa.Table) -> Rows:
    """Return the cluster codes; prompts without a group are one where they share an id."""
    ids = _strings(first, "prompt_id")
    groups = _strings(first, "group") if "group" in first.column_names else [""] * len(ids)
    named = [f"g{group}" if group else f"p{prompt_id}" for group, prompt_id in zip(groups, ids, strict=True)]
    return np.unique(np.asarray(named, dtype=object), return_inverse=True)[1]


def _where(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
