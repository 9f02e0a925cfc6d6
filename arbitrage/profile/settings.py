"""The YAML file of a profile's metrics."""

from collections import Counter
from pathlib import Path

from pydantic import Field

from arbitrage.config import Config, parse
from arbitrage.errors import ConfigError
from arbitrage.metrics import MetricConfig, SetMetricConfig
from arbitrage.metrics.defaults import CHEAP_METRICS, CHEAP_SET_METRICS
from arbitrage.yaml_text import load_yaml


class ProfileSettings(Config):
    """The metrics of a profile.

    Attributes:
        defaults: whether the metrics that need no model are measured, too.
        metrics: metrics of texts.
        set_metrics: metrics of sets of texts: of a language, and of a teacher in it.
    """

    defaults: bool = True
    metrics: tuple[MetricConfig, ...] = ()
    set_metrics: tuple[SetMetricConfig, ...] = Field(default=())

    @property
    def all_metrics(self) -> tuple[MetricConfig, ...]:
        """All metrics of texts; one in this file replaces the default of its name."""
        own = {config.metric_name for config in self.metrics}
        kept = [config for config in CHEAP_METRICS if config.metric_name not in own]
        return (*(kept if self.defaults else ()), *self.metrics)

    @property
    def all_set_metrics(self) -> tuple[SetMetricConfig, ...]:
        """All metrics of sets; one in this file replaces the default of its name."""
        own = {config.metric_name for config in self.set_metrics}
        kept = [config for config in CHEAP_SET_METRICS if config.metric_name not in own]
        return (*(kept if self.defaults else ()), *self.set_metrics)


def load_settings(path: Path | None) -> ProfileSettings:
    """Read a file of metrics, or return the defaults.

    Raises:
        ConfigError: it cannot be read, does not validate, or gives two metrics one name.
    """
    if path is None:
        return ProfileSettings()
    found = parse(load_yaml(path), ProfileSettings, str(path))
    names = Counter(config.metric_name for config in (*found.all_metrics, *found.all_set_metrics))
    if twice := sorted(name for name, times in names.items() if times > 1):
        raise ConfigError(f"{path}: metrics: {', '.join(twice)}: measured twice; give one of them another `name`")
    if not names:
        raise ConfigError(f"{path}: metrics: is empty, and `defaults` is false")
    return found
