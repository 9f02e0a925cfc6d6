"""The mix of preference pairs: rows by language, and the share of them that is about safety (METHODS §6).

    pair-preference ─> mix-preference (corpus) ─┐
          └────────────────────────────────────┴─> select-preference

What exceeds a quota is left out in the order of a hash of the prompt, so that what remains is a fair sample. Within a
language, safety pairs are reduced to the wanted fraction; where there are too few, no other pair is dropped for them.
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
        default: of languages not named; null keeps all of theirs.
        languages: tag → rows.
        seed: of the lots.
    """

    default: int | None = Field(default=None, ge=0)
    languages: Annotated[Mapping[LanguageTag, Annotated[int, Field(ge=0)]], EachLanguageOnce] = {}
    seed: int = 0

    def wanted(self, language: str) -> int | None:
        """Return how many rows of a language are wanted; None for all."""
        return self.languages.get(language, self.default)

    def lot(self, prompt_id: str) -> str:
        """Return the lot a prompt draws: the lowest are kept."""
        return content_id("quota", self.seed, prompt_id)


Kind = Literal["general", "safety"]
KINDS: tuple[Kind, Kind] = ("general", "safety")

MixReject = Literal["quota_filled", "safety_share_filled"]
"""Why a prompt's pairs are left out: its language has enough, or safety has its share."""


class SafetyShare(Config):
    """How much of the pairs is about safety.

    Attributes:
        tasks: values of `Prompt.task` that mark a prompt as one about safety.
        fraction: share of the pairs of each language, at most.
    """

    tasks: tuple[str, ...] = Field(default=("safety",), min_length=1)
    fraction: float = Field(ge=0.0, lt=1.0)


class MixConfig(Config):
    """What the set of pairs is made of.

    Attributes:
        quotas: pairs wanted of each language, both kinds together; null keeps all.
        safety: the share of safety pairs; null does not tell them apart.
        seed: of the lots by which prompts are left out.
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
        """Tell whether a prompt is about safety."""
        return "safety" if self.safety is not None and prompt.task in self.safety.tasks else "general"

    def lot(self, prompt_id: str) -> str:
        """Return the lot a prompt draws: the lowest are kept."""
        return QuotaConfig(seed=self.seed).lot(prompt_id)

    def general_wanted(self, language: str, general: int, safety: int) -> int:
        """Return how many pairs not about safety are kept at most, of so many of both kinds that there are."""
        quota = self._quota(language)
        if quota is None:
            return general
        # 1e-9, here and below: 0.29 * 100 is 28.999…, not 29
        return quota if self.safety is None else quota - min(safety, floor(self.safety.fraction * quota + 1e-9))

    def safety_wanted(self, language: str, num_general: int) -> int:
        """Return how many pairs about safety are kept at most beside so many others."""
        fraction, quota = 0.0 if self.safety is None else self.safety.fraction, self._quota(language)
        share = floor(fraction / (1 - fraction) * num_general + 1e-9)
        return share if quota is None else min(share, quota - num_general)

    def _quota(self, language: str) -> int | None:
        return self.quotas.wanted(language) if self.quotas is not None else None


def mixed(config: MixConfig, prompts: Step, pairs: Step, facts: StepFacts) -> Step:
    """Return the step that keeps the mix; the table of what was kept is its input `mix`.

    Args:
        config: the mix.
        prompts: step of Prompt rows; they say the task.
        pairs: step of PreferencePair rows.
        facts: of the step.
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
    """Finds the highest lot that is kept of each language and kind. Holds about a hundred bytes for each prompt."""

    step_kind: ClassVar[str] = "mix"

    mix: MixConfig

    def run(self, shards: Iterable[Inputs]) -> Output:
        """Return a row for each language and kind, sorted; a language with a quota and no pair is named too."""
        lots: defaultdict[tuple[str, Kind], list[tuple[str, int]]] = defaultdict(list)
        for shard in shards:
            for prompt, pairs in _by_prompt(shard):
                lots[prompt.language, self.mix.kind(prompt)].append((self.mix.lot(prompt.prompt_id), len(pairs)))
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
"""The lot of each prompt, and how many pairs it has."""


def _total(lots: Lots) -> int:
    return sum(num for _, num in lots)


def _row(language: str, kind: Kind, lots: Lots, wanted: int) -> MixQuota:
    """Keep whole prompts, lowest lots first, while their pairs fit."""
    kept, last = 0, ""
    for lot, num in lots:
        if kept + num > wanted:
            break
        kept, last = kept + num, lot
    return MixQuota(language=language, kind=kind, wanted=wanted, available=_total(lots), kept=kept, last_lot=last)


class KeepStep(PureStep):
    """Keeps the pairs of the prompts whose lots are low enough."""

    step_kind: ClassVar[str] = "keep"

    mix: MixConfig

    def items(self, inputs: Inputs) -> list[Item]:
        """Owe pairs or a Reject for each prompt that has a pair."""
        return [Item(prompt.prompt_id, prompt.language) for prompt, _ in _by_prompt(inputs)]

    async def run(self, inputs: Inputs) -> Output:
        """Keep or leave out all pairs of a prompt."""
        last = {(row.language, row.kind): row.last_lot for row in inputs.records("mix", MixQuota)}
        kept: list[PreferencePair] = []
        rejects: list[Reject] = []
        for prompt, pairs in _by_prompt(inputs):
            kind = self.mix.kind(prompt)
            if self.mix.lot(prompt.prompt_id) <= last[prompt.language, kind]:
                kept += pairs
                continue
            reason: MixReject = "safety_share_filled" if kind == "safety" else "quota_filled"
            rejects.append(Reject(item_id=prompt.prompt_id, reason=reason))
        return Output(to_table(kept, PreferencePair), to_table(rejects, Reject))


def _by_prompt(inputs: Inputs) -> list[tuple[Prompt, list[PreferencePair]]]:
    """Return the prompts that have a pair beside their pairs, in order of prompt id."""
    pairs: defaultdict[str, list[PreferencePair]] = defaultdict(list)
    for pair in inputs.records("pairs", PreferencePair):
        pairs[pair.prompt_id].append(pair)
    prompts = sorted(inputs.records("prompts", Prompt), key=lambda p: p.prompt_id)
    return [(prompt, pairs[prompt.prompt_id]) for prompt in prompts if prompt.prompt_id in pairs]
