"""Two signs of over-optimisation: the entropy falls after its maximum, or the top-10 probability mass falls.

A higher likelihood or margin is a sign of neither a better nor a worse model, so there are no alarms for them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from arbitrage.training.monitor.curves import Check, by_language
from arbitrage.training.monitor.settings import AlarmConfig


@dataclass(frozen=True, slots=True)
class TrainingAlarm:
    """One alarm.

    Attributes:
        kind: the curve.
        language: BCP-47, or `all`.
        step: the step of the first alarm.
        since: the step of the entropy's maximum, or of the mass's start.
        before, now: the curve there and here.
    """

    kind: Literal["entropy", "mass"]
    language: str
    step: int
    since: int
    before: float
    now: float

    @property
    def sentence(self) -> str:
        """The alarm in words."""
        what, unit = {"entropy": ("top-10 entropy", " bits"), "mass": ("top-10 probability mass", "")}[self.kind]
        return (
            f"step {self.step}, {self.language}: {what} fell from {self.before:.3f} at step {self.since} "
            f"to {self.now:.3f}{unit}"
        )


def find_alarms(checks: Iterable[Check], config: AlarmConfig) -> list[TrainingAlarm]:
    """Return the first alarm of each kind in each language, `all` first."""
    found = []
    for series in by_language(checks).values():
        found += [alarm for alarm in (entropy_alarm(series, config), mass_alarm(series, config)) if alarm]
    return found


def entropy_alarm(series: Sequence[Check], config: AlarmConfig) -> TrainingAlarm | None:
    """Return an alarm if the entropy has fallen at m checks in a row, all after its maximum, and by enough.

    Args:
        series: of one language, by step.
        config: m, and the fall that is enough.
    """
    peak, falls = 0, 0
    for i, (before, now) in enumerate(pairwise(series), start=1):
        falls = falls + 1 if now.entropy < before.entropy else 0
        if now.entropy >= series[peak].entropy:
            peak = i
        top = series[peak]
        if falls >= config.entropy_checks and now.entropy <= top.entropy * (1 - config.entropy_fall):
            return TrainingAlarm("entropy", now.language, now.step, top.step, top.entropy, now.entropy)
    return None


def mass_alarm(series: Sequence[Check], config: AlarmConfig) -> TrainingAlarm | None:
    """Return an alarm if the mass is below its first value by x."""
    start = series[0]
    for now in series[1:]:
        if start.mass - now.mass >= config.mass_drop:
            return TrainingAlarm("mass", now.language, now.step, start.step, start.mass, now.mass)
    return None
