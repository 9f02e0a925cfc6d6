"""Compare data sets: teachers' data, the data selected from it, and the output of a student trained on it.

Given several sets in the order of inheritance, each is compared with the next, and the first with the last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from arbitrage.errors import UserError
from arbitrage.profile.effects import Effect, effects, false_discovery_rates
from arbitrage.profile.profile import CellKey, Profile
from arbitrage.text.measured import Measured

RATE = 0.05
"""False discovery rate."""


@dataclass(frozen=True, slots=True)
class MetricShift:
    """One metric in one language, from one set to another.

    Attributes:
        q: smallest false discovery rate at which the shift is a discovery; None without an interval.
    """

    language: str
    metric: str
    effect: Effect
    q: float | None

    @property
    def is_clear(self) -> bool:
        """Whether the shift is a discovery at `RATE`."""
        return self.q is not None and self.q <= RATE


@dataclass(frozen=True, slots=True)
class SetShift:
    """A metric of the whole set, in one language; without an interval."""

    language: str
    metric: str
    before: Measured
    after: Measured


@dataclass(frozen=True, slots=True)
class ProfileComparison:
    """Comparison of two data sets."""

    before: str
    after: str
    languages: tuple[str, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    shifts: tuple[MetricShift, ...]
    set_shifts: tuple[SetShift, ...]


def compare_all(profiles: Sequence[Profile]) -> list[ProfileComparison]:
    """Compare each set with the next, and the first with the last.

    Raises:
        UserError: there are fewer than two.
    """
    if len(profiles) < 2:
        raise UserError(f"--compare: needs two data sets or more, found {len(profiles)}")
    pairs = list(pairwise(profiles))
    if len(profiles) > 2:
        pairs.append((profiles[0], profiles[-1]))
    return [compare_profiles(before, after) for before, after in pairs]


def compare_profiles(before: Profile, after: Profile) -> ProfileComparison:
    """Compare two sets, language by language."""
    common = [tag for tag in before.languages if tag in after.languages]
    found: list[tuple[str, str, Effect]] = []
    set_shifts = []
    for seed, language in enumerate(sorted(common)):
        one, other = (profile.cells[CellKey(language=language)] for profile in (before, after))
        names = [config.metric_name for config in before.metrics]
        found += [(language, name, e) for name, e in zip(names, effects(one, other, seed), strict=True)]
        for config, old, new in zip(before.set_metrics, one.sketches, other.sketches, strict=True):
            set_shifts.append(SetShift(language, config.metric_name, old.value(), new.value()))
    tested = [i for i, (_, _, effect) in enumerate(found) if effect.p is not None]
    rates = dict(zip(tested, false_discovery_rates([found[i][2].p or 0.0 for i in tested]), strict=True))
    return ProfileComparison(
        before.name,
        after.name,
        tuple(common),
        tuple(tag for tag in before.languages if tag not in common),
        tuple(tag for tag in after.languages if tag not in common),
        tuple(MetricShift(*item, rates.get(i)) for i, item in enumerate(found)),
        tuple(set_shifts),
    )


def as_json(found: ProfileComparison) -> dict[str, Any]:
    """Return a comparison as JSON values."""
    return {
        "before": found.before,
        "after": found.after,
        "languages": list(found.languages),
        "only_before": list(found.only_before),
        "only_after": list(found.only_after),
        "false_discovery_rate": RATE,
        "shifts": [_shift_json(shift) for shift in found.shifts],
        "set": [
            {
                "language": s.language,
                "metric": s.metric,
                "before": s.before.value,
                "before_null": s.before.reason,
                "after": s.after.value,
                "after_null": s.after.reason,
            }
            for s in found.set_shifts
        ],
    }


def _shift_json(shift: MetricShift) -> dict[str, Any]:
    effect = shift.effect
    return {
        "language": shift.language,
        "metric": shift.metric,
        "before": effect.before,
        "after": effect.after,
        "texts_before": effect.num_before,
        "texts_after": effect.num_after,
        "cohens_d": effect.d,
        "interval": [effect.interval.low, effect.interval.high] if effect.interval else None,
        "cliffs_delta": effect.delta,
        "p": effect.p,
        "q": shift.q,
        "is_clear": shift.is_clear,
    }
