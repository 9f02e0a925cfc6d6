"""Metrics of texts: one file a metric, each with its source, range, unit, and where it is defined."""

from typing import Annotated

from pydantic import Field

from arbitrage.metrics.classifier import ClassifierMetricConfig
from arbitrage.metrics.code_switch import CodeSwitchConfig
from arbitrage.metrics.compression import CompressionConfig
from arbitrage.metrics.dispersion import DispersionConfig
from arbitrage.metrics.distinct import DistinctConfig
from arbitrage.metrics.formatting import FormattingConfig
from arbitrage.metrics.hdd import HddConfig
from arbitrage.metrics.language_confusion import LanguageConfusionMetricConfig
from arbitrage.metrics.length import LengthConfig
from arbitrage.metrics.likelihood import LikelihoodConfig
from arbitrage.metrics.mtld import MtldConfig
from arbitrage.metrics.near_duplicates import NearDuplicatesConfig
from arbitrage.metrics.readability import ReadabilityConfig
from arbitrage.metrics.repetition import RepetitionMetricConfig
from arbitrage.metrics.script_share import ScriptShareConfig
from arbitrage.metrics.tokens import TokensConfig
from arbitrage.metrics.vocabulary import VocabularyConfig

MetricConfig = Annotated[
    ClassifierMetricConfig
    | CodeSwitchConfig
    | CompressionConfig
    | DistinctConfig
    | LanguageConfusionMetricConfig
    | FormattingConfig
    | HddConfig
    | LengthConfig
    | LikelihoodConfig
    | MtldConfig
    | ReadabilityConfig
    | RepetitionMetricConfig
    | ScriptShareConfig
    | TokensConfig,
    Field(discriminator="kind"),
]
"""A property of one text."""

SetMetricConfig = Annotated[
    DispersionConfig | NearDuplicatesConfig | VocabularyConfig,
    Field(discriminator="kind"),
]
"""A property of a set of texts."""
