"""The probe set: the same preference rows of each language at every check, as token ids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from arbitrage.errors import DataError
from arbitrage.models.chat import ChatTokenizer
from arbitrage.records import Message
from arbitrage.training.mix import rank_rows
from arbitrage.training.monitor.settings import MonitorConfig
from arbitrage.training.rows import read_split
from arbitrage.training.shapes import KEY, LANGUAGE
from arbitrage.training.sources import local_sources

PROBE_FOLDER = "probe"


@dataclass(frozen=True, slots=True)
class Answered:
    """Token ids of a prompt with a response; the response's are those from `start` on."""

    ids: tuple[int, ...]
    start: int


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """One preference row."""

    prompt: tuple[int, ...]
    chosen: Answered
    rejected: Answered


Probe = Mapping[str, Sequence[ProbeRow]]
"""Language → its rows, the languages sorted."""


def load_probe(config: MonitorConfig, tokenizer: Any, folder: Path, *, is_main: bool = True) -> Probe:
    """Choose and encode the probe rows.

    Args:
        config: the sources, and the number of rows.
        tokenizer: the model's tokenizer; without a chat template it writes plain text.
        folder: runs are exported to `probe/` below it.
        is_main: whether this process may write.

    Raises:
        DataError: no rows, no conversations, or no row of a language fits; otherwise like
            `local_sources` and `load_rows`.
    """
    sources = local_sources(config.probe, config.dataset, folder / PROBE_FOLDER, is_main=is_main)
    held_out = read_split(sources, "dpo", "test")
    rows = read_split(sources, "dpo", "train") if held_out is None else held_out
    if rows is None or not len(rows):
        raise DataError(f"probe: {', '.join(config.probe)}: no rows")
    ranked = rank_rows(rows[LANGUAGE], rows[KEY], config.seed)
    encoder = _Encoder(ChatTokenizer(tokenizer), config.max_tokens)
    probe = {
        tag: _first(config.per_language, (encoder.encode(rows[i]) for i in ranked[tag])) for tag in sorted(ranked)
    }
    if none := [tag for tag, found in probe.items() if not found]:
        raise DataError(
            f"probe: {', '.join(none)}: no prompt leaves room for a response within max_tokens ({config.max_tokens})"
        )
    return probe


def _first(number: int, rows: Iterable[ProbeRow | None]) -> list[ProbeRow]:
    """Return the first rows that can be measured."""
    return list(islice((row for row in rows if row is not None), number))


class _Encoder:
    def __init__(self, chat: ChatTokenizer, max_tokens: int) -> None:
        self._chat, self._max_tokens = chat, max_tokens

    def encode(self, row: Mapping[str, Any]) -> ProbeRow | None:
        """Encode a row of message lists, with or without a column `prompt`; None if none fits in `max_tokens`."""
        if isinstance(row["chosen"], str):
            raise DataError("probe: expected conversations, found texts; see `arbitrage export --for trl`")
        prompt, chosen, rejected = (_messages(row.get(name) or ()) for name in ("prompt", "chosen", "rejected"))
        prompt_ids = tuple(self._chat.encode(prompt or chosen[:-1]))
        good, bad = (self._answered(prompt_ids, [*prompt, *side]) for side in (chosen, rejected))
        return None if good is None or bad is None else ProbeRow(prompt_ids, good, bad)

    def _answered(self, prompt_ids: tuple[int, ...], conversation: Sequence[Message]) -> Answered | None:
        whole = self._chat.encode(conversation, is_complete=True)
        # A template may render a finished turn differently from one to be generated.
        pairs = zip(prompt_ids, whole, strict=False)
        start = max(1, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)))
        kept = tuple(whole[: self._max_tokens])
        return Answered(kept, start) if start < len(kept) else None


def _messages(turns: Sequence[Mapping[str, Any]]) -> list[Message]:
    return [Message(role=turn["role"], content=turn["content"]) for turn in turns]
