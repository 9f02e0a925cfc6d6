"""The default metrics: all that need no model."""

from arbitrage.metrics import MetricConfig, SetMetricConfig
from arbitrage.metrics.code_switch import CodeSwitchConfig
from arbitrage.metrics.compression import CompressionConfig
from arbitrage.metrics.dispersion import DispersionConfig
from arbitrage.metrics.distinct import DistinctConfig
from arbitrage.metrics.formatting import FormattingConfig
from arbitrage.metrics.hdd import HddConfig
from arbitrage.metrics.language_confusion import LanguageConfusionMetricConfig
from arbitrage.metrics.length import LengthConfig
from arbitrage.metrics.mtld import MtldConfig
from arbitrage.metrics.near_duplicates import NearDuplicatesConfig
from arbitrage.metrics.readability import ReadabilityConfig
from arbitrage.metrics.repetition import RepetitionMetricConfig
from arbitrage.metrics.script_share import ScriptShareConfig
from arbitrage.metrics.vocabulary import VocabularyConfig

CHEAP_METRICS: tuple[MetricConfig, ...] = (
    LengthConfig(unit="characters"),
    LengthConfig(unit="words"),
    LengthConfig(unit="sentences"),
    MtldConfig(),
    HddConfig(),
    DistinctConfig(),
    ReadabilityConfig(formula="gunning_fog"),
    ReadabilityConfig(formula="flesch"),  # before formulas that need fewer counts
    ReadabilityConfig(formula="lix"),
    ReadabilityConfig(formula="rix"),
    RepetitionMetricConfig(unit="ngrams"),
    RepetitionMetricConfig(unit="lines"),
    CompressionConfig(),
    ScriptShareConfig(),
    LanguageConfusionMetricConfig(),
    CodeSwitchConfig(),
    FormattingConfig(aspect="lists"),
    FormattingConfig(aspect="markdown"),
    FormattingConfig(aspect="code"),
    FormattingConfig(aspect="emoji"),
)

CHEAP_SET_METRICS: tuple[SetMetricConfig, ...] = (
    NearDuplicatesConfig(),
    VocabularyConfig(),
    VocabularyConfig(report="growth"),
    DispersionConfig(),
)
