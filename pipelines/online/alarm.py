"""Reward hacking: the reward used in training rises while the win rate by a held-out judge falls.

Gao et al. (2023, "Scaling laws for reward model overoptimization", arXiv 2210.10760): the proxy reward keeps rising
after the gold reward has turned. The monitor's curves of all preference phases are joined as if they were one
training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from arbitrage.statistics import LEVEL, lower_bound
from arbitrage.training.monitor.alarms import TrainingAlarm, find_alarms
from arbitrage.training.monitor.curves import CURVES_FILE, Check, read_checks, write_checks
from arbitrage.training.monitor.picture import PICTURE_FILE, write_picture
from arbitrage.training.monitor.settings import MonitorConfig
from pipelines.online.config import OnlineMonitorConfig
from pipelines.online.evaluation import SEED, EvalGains, EvalScores


@dataclass(frozen=True, slots=True)
class HackingAlarm:
    """One alarm.

    Attributes:
        stage: the student of the alarm.
        since: the earlier student it is compared with.
        reward, judge: their names.
        reward_gain, judge_gain: mean paired differences of the two students' scores.
    """

    stage: str
    since: str
    reward: str
    judge: str
    reward_gain: float
    judge_gain: float

    @property
    def sentence(self) -> str:
        """The alarm in words."""
        return (
            f"{self.stage}: since {self.since} the reward '{self.reward}' rose by {self.reward_gain:.3f} while the "
            f"unseen judge '{self.judge}' fell by {-self.judge_gain:.3f}"
        )


def hacking_alarms(
    scores: Mapping[str, Mapping[str, EvalScores]], rewards: Sequence[str], judges: Sequence[str]
) -> list[HackingAlarm]:
    """Return alarms if a reward scores the last student higher, and an unseen judge lower, than an earlier one.

    Both differences must be significant: the bounds are those of a 95 % interval of paired differences, clustered by
    prompt, corrected for the number of earlier students (Bonferroni).

    Args:
        scores: stage → judge → scores, in the order of training.
        rewards, judges: names, of those that training uses and of those it never sees.
    """
    *earlier, last = scores
    found = []
    for since, reward, judge in product(earlier, rewards, judges):
        up = scores[last][reward].against(scores[since][reward])
        down = scores[since][judge].against(scores[last][judge])
        if _is_positive(up, len(earlier)) and _is_positive(down, len(earlier)):
            gains = float(up.values_P.mean()), -float(down.values_P.mean())
            found.append(HackingAlarm(last, since, reward, judge, *gains))
    return found


def before_hacking(stages: Sequence[str], sound: str, alarms: Sequence[HackingAlarm]) -> str:
    """Return the last trusted student: of `sound` and those before a hacked reward, the earliest."""
    return min([sound, *(alarm.since for alarm in alarms)], key=stages.index)


def _is_positive(gains: EvalGains, num_tests: int) -> bool:
    confidence = 1 - (1 - LEVEL) / 2 / num_tests
    return lower_bound(gains.values_P, gains.cluster_P, confidence, seed=SEED, num_resamples=2000) > 0


def monitor_of(config: OnlineMonitorConfig, held_out: Path) -> MonitorConfig:
    """Return the monitor of a phase; `held_out`: pairs that no phase trains on, used if the config names no probe."""
    given = {name: getattr(config, name) for name in MonitorConfig.model_fields}
    return MonitorConfig(**given | {"probe": config.probe or (str(held_out),)})


def joined_curves(phases: Sequence[Path]) -> list[Check]:
    """Return the checks of the phases one after the other, with continuous steps.

    A phase starts with the final weights of the one before, so its first check is left out.

    Raises:
        DataError: a file is not one of a monitor's.
    """
    found: list[Check] = []
    for phase in phases:
        before = max((check.step for check in found), default=0)
        checks = [check for check in read_checks(phase / CURVES_FILE) if check.step or not found]
        found += [replace(check, step=check.step + before) for check in checks]
    return found


def watch_phases(config: OnlineMonitorConfig, phases: Sequence[Path], out: Path) -> list[TrainingAlarm]:
    """Write the joined curves as `monitor.jsonl` and `monitor.svg`; return the alarms over all of them."""
    checks = joined_curves(phases)
    alarms = find_alarms(checks, config.alarms)
    write_checks(out / CURVES_FILE, checks)
    write_picture(out / PICTURE_FILE, checks, alarms)
    return alarms
