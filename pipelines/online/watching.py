"""The monitor's curves over all preference phases, as if they were one training."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from arbitrage.training.monitor.alarms import Alarm, find_alarms
from arbitrage.training.monitor.curves import CURVES_FILE, Check, read_checks, write_checks
from arbitrage.training.monitor.picture import PICTURE_FILE, write_picture
from arbitrage.training.monitor.settings import MonitorConfig
from pipelines.online.config import OnlineMonitorConfig


def monitor_of(config: OnlineMonitorConfig, held_out: Path) -> MonitorConfig:
    """Return the monitor of a phase; `held_out`: pairs that no phase trains on, where the config names no probe."""
    given = {name: getattr(config, name) for name in MonitorConfig.model_fields}
    return MonitorConfig(**given | {"probe": config.probe or (str(held_out),)})


def joined_curves(phases: Sequence[Path]) -> list[Check]:
    """Return the checks of phases one after the other; each begins at the step at which the one before ended.

    A phase begins with the weights that the one before it ended with: its first check is left out.

    Raises:
        DataError: a file is not one of a monitor's.
    """
    found: list[Check] = []
    for phase in phases:
        before = max((check.step for check in found), default=0)
        checks = [check for check in read_checks(phase / CURVES_FILE) if check.step or not found]
        found += [replace(check, step=check.step + before) for check in checks]
    return found


def watch_phases(config: OnlineMonitorConfig, phases: Sequence[Path], out: Path) -> list[Alarm]:
    """Write the joined curves as `monitor.jsonl` and `monitor.svg`; return the alarms over all of them."""
    checks = joined_curves(phases)
    alarms = find_alarms(checks, config.alarms)
    write_checks(out / CURVES_FILE, checks)
    write_picture(out / PICTURE_FILE, checks, alarms)
    return alarms
