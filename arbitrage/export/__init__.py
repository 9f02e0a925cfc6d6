"""Exports: a run's data sets as files that a trainer reads without conversion. The formats:"""

from collections.abc import Mapping

from arbitrage.export import axolotl, llamafactory, nemo_rl, open_instruct, trl
from arbitrage.export.format import Format

FORMATS: Mapping[str, Format] = {
    format.trainer: format
    for format in (trl.FORMAT, axolotl.FORMAT, llamafactory.FORMAT, open_instruct.FORMAT, nemo_rl.FORMAT)
}
"""Trainer → its format."""
