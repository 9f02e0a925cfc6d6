"""Concentration of next-token distributions, by their ten likeliest tokens."""

from dataclasses import dataclass
from typing import Any

TOP = 10


@dataclass(frozen=True, slots=True)
class Concentration:
    """Two figures for each distribution, tensors of shape (A,).

    Attributes:
        entropy_A: −Σ pᵢ log₂ pᵢ over the ten likeliest tokens, pᵢ as they are under the whole vocabulary; bits.
        mass_A: Σ pᵢ over them, 0..1.
    """

    entropy_A: Any
    mass_A: Any


def concentration(logits_AV: Any) -> Concentration:
    """Measure the distributions given by logits; vocabularies of fewer than ten tokens are used completely."""
    import torch

    top_AK = logits_AV.float().log_softmax(-1).topk(min(TOP, logits_AV.shape[-1]), dim=-1).values
    mass_AK = top_AK.exp()
    # 0 · log 0 is 0, and exp(−∞) · −∞ is not a number
    bits_AK = torch.where(mass_AK > 0, -mass_AK * top_AK / torch.log(torch.tensor(2.0)), 0.0)
    return Concentration(bits_AK.sum(-1), mass_AK.sum(-1))
