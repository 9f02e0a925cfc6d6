"""How well a text compresses: redundancy of any kind."""

from typing import Literal

from arbitrage.contracts.metrics import Metric
from arbitrage.metrics.options import Facts, Family, TextMetric, TextMetricOptions
from arbitrage.text.measured import NO_TEXT, TOO_SHORT, Measured
from arbitrage.text.repetition import COMPRESSION_PROBE_BYTES, compression_ratio
from arbitrage.text.text import Text


class CompressionConfig(TextMetricOptions):
    """Compression ratio: UTF-8 bytes divided by zlib's (level 6). It depends on length and on the script's bytes."""

    kind: Literal["compression"] = "compression"

    @property
    def usual_name(self) -> str:
        """Return 'compression_ratio'."""
        return "compression_ratio"

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "repetition"

    @property
    def facts(self) -> Facts:
        """Shaib et al. 2024."""
        defined = f"{COMPRESSION_PROBE_BYTES} bytes and more"
        return Facts("compression ratio", "ratio", 0.0, None, "Shaib et al. 2024 [2403.00553]; RFC 1950", defined)

    def metric(self) -> Metric:
        """Build the metric."""
        return TextMetric(self.metric_name, _measure)


def _measure(text: Text) -> Measured:
    ratio = compression_ratio(text.text)
    if ratio is None:
        return TOO_SHORT if text.text.strip() else NO_TEXT
    return Measured(ratio)
