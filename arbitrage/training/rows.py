"""The rows of a trainer: read from exports, runs or files, in TRL's shape, mixed by language."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from arbitrage.errors import DataError
from arbitrage.inputs.files import Found
from arbitrage.inputs.notes import note_text
from arbitrage.inputs.tables import find_tables
from arbitrage.training.mix import RowMixConfig, choose_rows
from arbitrage.training.reasoning import ReasoningRule
from arbitrage.training.settings import Method
from arbitrage.training.shapes import KEY, LANGUAGE, REASONED, TOOLS, UNDETERMINED, have_tools, read_shaped

if TYPE_CHECKING:
    from datasets import Dataset

Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")

WITHOUT = ReasoningRule()
"""Rows are read without their reasoning."""


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Training rows, and held-out rows from the export's `test` split.

    Attributes:
        train: only columns of TRL's shape.
        test: likewise; None if nothing was held out.
        by_language: language → training rows.
        digest: digest of the training rows, in order.
        notes: files beside the data that were not read, and what became of reasoning.
    """

    train: "Dataset"
    test: "Dataset | None"
    by_language: Mapping[str, int]
    digest: str
    notes: tuple[str, ...] = ()


def load_rows(
    sources: Sequence[Path], method: Method, mix: RowMixConfig, reasoning: ReasoningRule = WITHOUT
) -> TrainingRows:
    """Read rows and select a mix of them.

    Args:
        sources: exports' directories, files, globs.
        method: training method, which determines the columns.
        mix: mix of the training rows; held-out rows are not mixed.
        reasoning: how the student gets rows with reasoning.

    Raises:
        ConfigError: a source matches no file.
        DataError: a file cannot be read, lacks columns, or there are too few rows of a language.
    """
    train, held_out = (read_split(sources, method, split, reasoning) for split in SPLITS)
    if train is None or not len(train):
        raise DataError(f"{', '.join(map(str, sources))}: no rows to train on")
    languages, keys = list(train[LANGUAGE]), list(train[KEY])
    if not mix.is_all and set(languages) == {UNDETERMINED}:
        raise DataError(f"mix: the rows of {', '.join(map(str, sources))} have no column '{LANGUAGE}'")
    chosen = choose_rows(languages, keys, mix)
    picked = train if mix.is_all else train.select(chosen)
    num_reasoned = sum(picked[REASONED])
    is_mixed = reasoning.form is not None and 0 < num_reasoned < len(picked)
    is_switched = reasoning.has_switch and is_mixed and method != "reward"
    return TrainingRows(
        train=_finished(picked, is_switched=is_switched),
        test=None if held_out is None else _finished(held_out, is_switched=is_switched),
        by_language=dict(sorted(Counter(languages[i] for i in chosen).items())),
        digest=digest_rows(picked.remove_columns([KEY, REASONED])),
        notes=(
            *_reasoning_notes(reasoning, num_reasoned, len(picked), is_switched=is_switched),
            *_tool_notes(reasoning, picked),
            *(
                f"{source}: {count:,} {note_text(note)}"
                for source in sources
                for note, count in sorted(_files(source, "train").notes.items())
            ),
        ),
    )


def _reasoning_notes(rule: ReasoningRule, num_reasoned: int, total: int, *, is_switched: bool) -> list[str]:
    """Say what became of reasoning."""
    empty = "the chat template writes an empty chain of thought before answers without reasoning"
    if num_reasoned and rule.form is not None:
        where = f"in the key `{rule.form}` of the message" if rule.is_key else "as `<think>…</think>` in the answer"
        notes = [f"{num_reasoned:,} of {total:,} rows have reasoning, {where}"]
        return [*notes, f"{empty}: the prompt holds it, by `enable_thinking: false`"] if is_switched else notes
    if num_reasoned and rule.is_ignored:
        ignored = (
            f"the chat template ignores reasoning: {num_reasoned:,} of {total:,} rows are trained on without theirs; "
            "`reasoning: inline` writes it into the answers, `drop` leaves it out without this note"
        )
        return [ignored]
    notes = [f"the reasoning of {num_reasoned:,} of {total:,} rows is left out"] if num_reasoned else []
    return [*notes, f"{empty}, and it counts in the loss"] if rule.has_switch else notes


def _tool_notes(rule: ReasoningRule, rows: "Dataset") -> list[str]:
    """Say that tools are lost on a template that ignores them."""
    declared = sum(tools != "[]" for tools in rows[TOOLS]) if TOOLS in rows.column_names else 0
    if not declared or rule.takes_tools:
        return []
    return [f"the chat template ignores tools: {declared:,} of {len(rows):,} rows are trained on without theirs"]


def read_split(
    sources: Sequence[Path], method: Method, split: Split, reasoning: ReasoningRule = WITHOUT
) -> "Dataset | None":
    """Read one split of each source: the columns of TRL's shape, `language`, `row_key` and `row_has_reasoning`.

    Sources that are not exports have only `train`. None if no source has the split. Raises like `load_rows`.
    """
    parts = [files for source in sources if (files := _files(source, split).files)]
    has_tools = have_tools(file for files in parts for file in files)
    found = [read_shaped(files, method, reasoning, has_tools=has_tools) for files in parts]
    return _joined(found) if found else None


def digest_rows(rows: "Dataset") -> str:
    """Hash rows in their order to 20 hex digits, whatever file or format they came from; 50,000 rows a second."""
    digest = hashlib.blake2b(digest_size=10)
    is_json = {field.name for field in rows.data.schema if field.type == pa.list_(pa.json_())}
    for batch in rows.with_format("arrow").iter(batch_size=1000):
        for row in batch.to_pylist():
            row |= {name: [json.loads(each) for each in row[name]] for name in is_json}
            digest.update(
                json.dumps(row, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass") + b"\n"
            )
    return digest.hexdigest()


def _files(source: Path, split: str) -> Found:
    """Return the files of a split of an export, or whatever files a path or glob stands for."""
    is_export = (source / "data" / "train").is_dir() or (source / "data" / "test").is_dir()
    folder = source / "data" / split if is_export else source
    if (is_export and not folder.is_dir()) or (not is_export and split == "test"):
        return Found(())
    return find_tables([str(folder)], "data")


def _joined(parts: Sequence["Dataset"]) -> "Dataset":
    from datasets import concatenate_datasets

    try:
        return parts[0] if len(parts) == 1 else concatenate_datasets(list(parts))
    except ValueError as error:
        raise DataError(f"data: the sources do not fit together: {' '.join(str(error).split())}") from error


def _finished(rows: "Dataset", *, is_switched: bool) -> "Dataset":
    """Return the columns that the trainer reads. It hands `chat_template_kwargs` to the template, row by row."""
    plain = rows.remove_columns([LANGUAGE, KEY, REASONED])
    if not is_switched:
        return plain
    return plain.add_column("chat_template_kwargs", [{"enable_thinking": each} for each in rows[REASONED]])
