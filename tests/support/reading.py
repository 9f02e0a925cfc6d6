"""Reads prompt sources in tests."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from arbitrage.config import parse
from arbitrage.prompts import PromptsConfig
from arbitrage.records import Prompt, Reject

ADAPTER: TypeAdapter[PromptsConfig] = TypeAdapter(PromptsConfig)


@dataclass(frozen=True)
class Reading:
    prompts: list[Prompt]
    rejects: list[Reject]
    notes: Mapping[str, int]

    @property
    def reasons(self) -> dict[str, int]:
        return dict(Counter(reject.reason for reject in self.rejects))

    @property
    def texts(self) -> list[str]:
        return [prompt.messages[-1].content for prompt in self.prompts]


def config_of(kind: str, paths: object = None, **options: Any) -> PromptsConfig:
    where = {} if paths is None else {"paths": [str(p) for p in paths] if isinstance(paths, list) else str(paths)}
    return parse({"kind": kind, **where, **options}, ADAPTER, "test.yaml")


def read(kind: str, paths: object = None, **options: Any) -> Reading:
    """Read a source to its end, checking the rules that hold for all of them."""
    batches = list(config_of(kind, paths, **options).build().read())
    prompts = [prompt for batch in batches for prompt in batch.prompts]
    rejects = [reject for batch in batches for reject in batch.rejects]
    assert len({prompt.prompt_id for prompt in prompts}) == len(prompts)
    assert len({reject.item_id for reject in rejects}) == len(rejects)
    notes: Counter[str] = Counter()
    for batch in batches:
        notes.update(batch.notes)
    return Reading(prompts, rejects, dict(notes))
