"""The mix of preference pairs: rows by language, and the share of safety pairs (METHODS §6).

    pair-preference ─> mix-preference (corpus) ─┐
          └────────────────────────────────────┴─> select-preference

Pairs beyond a quota are dropped in the order of a hash of the prompt, so that the rest is a fair sample. Within a
language, safety pairs are reduced to the wanted fraction; if there are too few, no other pair is dropped for them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import floor
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from arbitrage.config import Config, EachLanguageOnce, LanguageTag
from arbitrage.contracts.steps import PureCorpusStep, PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.records import MixQuota, PreferencePair, Prompt, Reject, content_id
from arbitrage.tables import to_table


class QuotaConfig(Config):
    """Rows wanted of each language.

    Attributes:
        default: rows of each language that is not named; null keeps all of them.
        languages: tag → rows.
        seed: seed of the priority hash.
    """

    default: int | None = Field(default=None, ge=0)
    languages: Annotated[Mapping[LanguageTag, Annotated[int, Field(ge=0)]], EachLanguageOnce] = {}
    seed: int = 0

    def wanted(self, language: str) -> int | None:
        """Return how many rows of a language are wanted; None for all."""
        return self.languages.get(language, self.default)

    def priority(self, prompt_id: str) -> str:
        """Return the priority hash of a prompt: the smallest ones are kept."""
        return content_id("quota", self.seed, prompt_id)


Kind = Literal["general", "safety"]
KINDS: tuple[Kind, Kind] = ("general", "safety")

MixReject = Literal["quota_filled", "safety_share_filled"]
"""Why a prompt's pairs are dropped: its language has enough rows, or safety has its share."""


class SafetyShare(Config):
    """The share of safety pairs.

    Attributes:
        tasks: values of `Prompt.task` that mark safety prompts.
        fraction: maximum share of safety pairs in each language.
    """

    tasks: tuple[str, ...] = Field(default=("safety",), min_length=1)
    fraction: float = Field(ge=0.0, lt=1.0)


class MixConfig(Config):
    """Quotas of preference pairs by language, and the share of safety.

    Attributes:
        quotas: pairs wanted of each language, safety included; null keeps all.
        safety: the share of safety pairs; null does not distinguish them.
        seed: seed of the priority hash by which prompts are dropped.
    """

    quotas: QuotaConfig | None = None
    safety: SafetyShare | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.quotas is None and self.safety is None:
            raise ValueError("a mix needs quotas or safety; leave it out to keep all pairs")
        return self

    def kind(self, prompt: Prompt) -> Kind:
        """Tell whether a prompt is a safety prompt."""
        return "safety" if self.safety is not None and prompt.task in self.safety.tasks else "general"

    def priority(self, prompt_id: str) -> str:
        """Return the priority hash of a prompt: the smallest ones are kept."""
        return QuotaConfig(seed=self.seed).priority(prompt_id)

    def general_wanted(self, language: str, general: int, safety: int) -> int:
        """Return the maximum number of pairs that are not about safety, given the numbers available of both kinds."""
        quota = self._quota(language)
        if quota is None:
            return general
        # 1e-9, here and below: 0.29 * 100 is 28.999…, not 29
        return quota if self.safety is None else quota - min(safety, floor(self.safety.fraction * quota + 1e-9))

    def safety_wanted(self, language: str, num_general: int) -> int:
        """Return the maximum number of safety pairs beside a number of others."""
        fraction, quota = 0.0 if self.safety is None else self.safety.fraction, self._quota(language)
        share = floor(fraction / (1 - fraction) * num_general + 1e-9)
        return share if quota is None else min(share, quota - num_general)

    def _quota(self, language: str) -> int | None:
        return self.quotas.wanted(language) if self.quotas is not None else None


def mixed(config: MixConfig, prompts: Step, pairs: Step, facts: StepFacts) -> Step:
    """Return the step that keeps the mix; its input `mix` is the table of what is kept.

    Args:
        config: the mix.
        prompts: step of Prompt rows, with their tasks.
        pairs: step of PreferencePair rows.
        facts: facts of the step.
    """
    inputs = {"prompts": (prompts,), "pairs": (pairs,)}
    mix = Step(
        facts=StepFacts(verb="mix", label=facts.label),
        config=MixStep(mix=config),
        produces=MixQuota,
        inputs=inputs,
        scope="corpus",
    )
    return Step(facts, KeepStep(mix=config), PreferencePair, inputs | {"mix": (mix,)})


class MixStep(PureCorpusStep):
    """Finds the largest priority hash that is kept of each language and kind."""

    step_kind: ClassVar[str] = "mix"

    mix: MixConfig

    def run(self, shards: Iterable[Inputs]) -> Output:
        """Return a row for each language and kind, sorted; also for a language with a quota but no pair."""
        lots: defaultdict[tuple[str, Kind], list[tuple[str, int]]] = defaultdict(list)
        for shard in shards:
            for prompt, pairs in _by_prompt(shard):
                lots[prompt.language, self.mix.kind(prompt)].append((self.mix.priority(prompt.prompt_id), len(pairs)))
        named = set(self.mix.quotas.languages) if self.mix.quotas is not None else set()
        rows: list[MixQuota] = []
        for language in sorted(named | {language for language, _ in lots}):
            general, safety = (sorted(lots.get((language, kind), ())) for kind in KINDS)
            rows += self._rows(language, general, safety)
        return Output(to_table(rows, MixQuota))

    def _rows(self, language: str, general: "Lots", safety: "Lots") -> Iterator[MixQuota]:
        wanted = self.mix.general_wanted(language, _total(general), _total(safety))
        first = _row(language, "general", general, wanted)
        yield first
        if self.mix.safety is not None:
            yield _row(language, "safety", safety, self.mix.safety_wanted(language, first.kept))


Lots = Sequence[tuple[str, int]]
"""Priority hash of each prompt, and its number of pairs."""


def _total(lots: Lots) -> int:
    return sum(num for _, num in lots)


def _row(language: str, kind: Kind, lots: Lots, wanted: int) -> MixQuota:
    """Keep whole prompts, smallest priority hashes first, while their pairs fit."""
    kept, last = 0, ""
    for priority, num in lots:
        if kept + num > wanted:
            break
        kept, last = kept + num, priority
    return MixQuota(language=language, kind=kind, wanted=wanted, available=_total(lots), kept=kept, last_lot=last)


class KeepStep(PureStep):
    """Keeps the pairs of prompts up to the last priority hash."""

    step_kind: ClassVar[str] = "keep"

    mix: MixConfig

    def items(self, inputs: Inputs) -> list[Item]:
        """List the prompts that have a pair; each gives pairs or a Reject."""
        return [Item(prompt.prompt_id, prompt.language) for prompt, _ in _by_prompt(inputs)]

    async def run(self, inputs: Inputs) -> Output:
        """Keep or drop all pairs of a prompt."""
        last = {(row.language, row.kind): row.last_lot for row in inputs.records("mix", MixQuota)}
        kept: list[PreferencePair] = []
        rejects: list[Reject] = []
        for prompt, pairs in _by_prompt(inputs):
            kind = self.mix.kind(prompt)
            if self.mix.priority(prompt.prompt_id) <= last[prompt.language, kind]:
                kept += pairs
                continue
            reason: MixReject = "safety_share_filled" if kind == "safety" else "quota_filled"
            rejects.append(Reject(item_id=prompt.prompt_id, reason=reason))
        return Output(to_table(kept, PreferencePair), to_table(rejects, Reject))


def _by_prompt(inputs: Inputs) -> list[tuple[Prompt, list[PreferencePair]]]:
    """Return the prompts that have a pair, with their pairs, in order of prompt id."""
    pairs: defaultdict[str, list[PreferencePair]] = defaultdict(list)
    for pair in inputs.records("pairs", PreferencePair):
        pairs[pair.prompt_id].append(pair)
    prompts = sorted(inputs.records("prompts", Prompt), key=lambda p: p.prompt_id)
    return [(prompt, pairs[prompt.prompt_id]) for prompt in prompts if prompt.prompt_id in pairs]
