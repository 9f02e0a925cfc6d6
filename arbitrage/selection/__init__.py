"""Select from the candidate table: SFT examples and preference pairs."""

from typing import Annotated

from pydantic import Field

from arbitrage.selection.policies import BestVsRandom, BestVsWorst, MaxGap, NativeVsTranslated, OnPolicy, StrongVsWeak

PairPolicy = Annotated[
    BestVsWorst | BestVsRandom | MaxGap | StrongVsWeak | NativeVsTranslated | OnPolicy,
    Field(discriminator="kind"),
]
"""Policy that proposes pairs of candidates."""
