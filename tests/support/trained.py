"""Small reward matrices whose answer is plain, and routers trained on them."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from arbitrage.candidates.matrix import RewardMatrix
from arbitrage.candidates.queries import Queries
from routers.learning import TableLearner
from routers.learning.artifact import save_artifact
from routers.learning.train import fit_router


def matrix_where(best: Mapping[str, str], teachers: Sequence[str], per_language: int = 20) -> RewardMatrix:
    """Return outcomes in which, of each language, one teacher is best: 1 + noise against noise."""
    names, noise = tuple(sorted(teachers)), np.random.default_rng(0)
    languages = [language for language in sorted(best) for _ in range(per_language)]
    rewards_PT = noise.normal(0.0, 0.1, (len(languages), len(names)))
    rewards_PT += [[float(name == best[language]) for name in names] for language in languages]
    texts = [f"Question {number}?" for number in range(len(languages))]
    return RewardMatrix(
        prompt_ids=tuple(str(number) for number in range(len(languages))),
        queries=Queries(texts, languages),
        cluster_P=np.arange(len(languages)),
        teachers=names,
        rewards_PT=rewards_PT,
    )


def trained_router(directory: Path, best: Mapping[str, str], teachers: Sequence[str]) -> Path:
    """Write a router that has learned who is best in which language."""
    save_artifact(directory, fit_router(TableLearner(), matrix_where(best, teachers)))
    return directory


@cache
def shared_router(best: tuple[tuple[str, str], ...], teachers: tuple[str, ...]) -> str:
    """Return the path of such a router, the same for all tests of a session."""
    return str(trained_router(Path(tempfile.mkdtemp(prefix="arbitrage-router-")), dict(best), teachers))
