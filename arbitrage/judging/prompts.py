"""The prompts of two data sets to compare: taken from a run, or from the rows themselves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from arbitrage.contracts.steps import Step, StepConfig
from arbitrage.contracts.workers import Batch
from arbitrage.errors import DataError
from arbitrage.inputs.columns import ResponseRole
from arbitrage.inputs.rows import InputFile, InputRow
from arbitrage.inputs.values import id_text
from arbitrage.judging.answers import ResponseFiles, messages_in, text_key
from arbitrage.prompts.options import ReadOptions
from arbitrage.prompts.reader import PromptReader
from arbitrage.prompts.source import PROMPTS
from arbitrage.records import Prompt, nfc
from arbitrage.runs.store import read_table
from arbitrage.tables import from_table

Keys = dict[str, dict[str | None, InputRow]]
"""Key of a prompt → declared language → a row with the prompt."""

_COPIED: tuple[ResponseRole, ...] = ("prompt", "language", "reference")


class JudgePrompts(StepConfig):
    """All prompts of the data sets. The step that reads the responses rejects prompts with only one response."""

    step_kind: ClassVar[str] = "judge_prompts"

    sides: tuple[ResponseFiles, ...]

    def build(self) -> "JudgePromptReader":
        """Build the worker."""
        return JudgePromptReader(self.sides)


def judge_prompts(sides: Sequence[ResponseFiles]) -> Step:
    """Return the step that reads the prompts of data sets."""
    return Step(PROMPTS, JudgePrompts(sides=tuple(sides)), Prompt, scope="source")


class JudgePromptReader:
    """Reads prompts of runs, then the remaining prompts from the rows of files. Holds all prompts in memory."""

    def __init__(self, sides: Sequence[ResponseFiles]) -> None:
        self._sides = sides

    def read(self) -> Iterator[Batch]:
        """Yield batches.

        Raises:
            DataError: a file cannot be read, there is no row at all, an id stands for different prompts, or for
                several languages in one set and for none in the other.
        """
        known: set[str] = set()
        for path in (path for side in self._sides for path in side.prompts):
            prompts = [p for p in from_table(read_table(Path(path)), Prompt) if p.prompt_id not in known]
            known |= {key for prompt in prompts for key in (prompt.prompt_id, prompt.source_id)}
            yield Batch(prompts, ())
        files = [side for side in self._sides if not side.prompts]
        if files:
            yield from self._from_rows(files, known)

    def _from_rows(self, sides: Sequence[ResponseFiles], known: set[str]) -> Iterator[Batch]:
        keys = _joined(_keys(sides, known))
        if known and not keys:
            return
        groups = {
            str(row.values["id"]): str(row.values["source_id"])
            for by_language in keys.values()
            for row in by_language.values()
            if row.values.get("id") and row.values.get("source_id")
        }
        rows = (row for key in sorted(keys) for row in _one_each(key, keys[key]))
        reader = PromptReader(ReadOptions(), lambda: iter([InputFile("rows", None, rows)]))
        for batch in reader.read():
            prompts = [_grouped(prompt, groups) for prompt in batch.prompts if prompt.prompt_id not in known]
            yield replace(batch, prompts=prompts)


def _keys(sides: Sequence[ResponseFiles], known: set[str]) -> Keys:
    found: Keys = {}
    for number, side in enumerate(sides):
        for row in side.rows(f"side {number}"):
            key = side.key(row.values)
            if key is None or key in known:
                continue
            language = side.language(row.values)
            values = _values(side, row.values)
            earlier = found.setdefault(key, {}).get(language)
            found[key][language] = InputRow(
                row.position, values if earlier is None else _one_of(key, values, earlier.values)
            )
    return found


def _joined(keys: Keys) -> Keys:
    """Join rows without an id with rows of the same prompt and language that have one."""
    ids: dict[str, dict[str | None, str]] = {}
    for key, by_language in keys.items():
        for language, row in by_language.items():
            prompt_messages = messages_in(row.values["prompt"]) if row.values["id"] is not None else None
            if prompt_messages is not None:
                ids.setdefault(text_key(prompt_messages), {}).setdefault(language, key)
    for text in sorted(ids.keys() & keys.keys()):
        for language, row in sorted(keys.pop(text).items(), key=str):
            key, tag = _home(text, language, ids[text])
            earlier = keys.setdefault(key, {}).get(tag)
            keys[key][tag] = (
                row if earlier is None else InputRow(earlier.position, {**row.values, **_said(earlier.values)})
            )
    return keys


def _home(text: str, language: str | None, ids: Mapping[str | None, str]) -> tuple[str, str | None]:
    """Return the id and language of a row; if one side does not state the language, the only one."""
    if language not in ids and len(ids) == 1 and (language is None or None in ids):
        [(tag, key)] = ids.items()
        return key, tag
    return ids.get(language, text), language


def _one_of(key: str, values: dict[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of two rows of one id, the earlier one first.

    Raises:
        DataError: their prompts differ, so the id joins different prompts.
    """
    prompt_messages = [_last_turn(each["prompt"]) for each in (earlier, values)]
    if None not in prompt_messages and prompt_messages[0] != prompt_messages[1]:
        one, other = (str(text)[:60] for text in prompt_messages)
        raise DataError(
            f"the id '{key}' stands for different prompts, '{one}' and '{other}'; name the column of the id "
            "(--column id=NAME) or of the prompt, or give --prompts"
        )
    return values | _said(earlier)


def _last_turn(prompt: Any) -> str | None:
    """Return the last message of the prompt, without extra white space."""
    prompt_messages = messages_in(prompt)
    return " ".join(nfc(prompt_messages[-1].content).split()) if prompt_messages else None


def _one_each(key: str, by_language: Mapping[str | None, InputRow]) -> Iterator[InputRow]:
    """Yield one row for each language of a key; a row that declares none belongs to the only language."""
    silent = by_language.get(None)
    declared = [row for language, row in sorted(by_language.items(), key=str) if language is not None]
    if silent is not None and len(declared) > 1:
        raise DataError(
            f"the id '{key}' stands for {len(declared)} languages in one data set and for none in the other; "
            "name the column of the language, or give --prompts"
        )
    if not declared:
        yield from by_language.values()
    for row in declared:
        yield row if silent is None else InputRow(row.position, _one_of(key, dict(silent.values), row.values))


def _values(side: ResponseFiles, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's values under the column names of prompt readers."""
    found: dict[str, Any] = {role: side.columns.value(values, role) for role in _COPIED}
    return {
        **found,
        "id": id_text(side.columns.value(values, "id")),
        "source_id": id_text(side.columns.value(values, "source_id")),
    }


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _grouped(prompt: Prompt, groups: Mapping[str, str]) -> Prompt:
    """Return a prompt with the source id that its translations share."""
    group = groups.get(prompt.prompt_id) if prompt.source_id == prompt.prompt_id else None
    return prompt if group is None else prompt.model_copy(update={"source_id": group})
