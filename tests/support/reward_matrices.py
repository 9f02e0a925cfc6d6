"""Outcomes of a toy pool: each teacher is good in some languages and on some topics."""

from pathlib import Path

import numpy as np
import pandas as pd

from arbitrage.candidates.matrix import RewardMatrix
from arbitrage.candidates.queries import Queries

TEACHERS = ("anna", "bert", "carl", "dora")
LANGUAGES = ("de", "ja", "pt", "sw")
TOPICS = ("farm", "law", "sky")
WORDS = {
    "farm": ["wheat", "barley", "tractor", "harvest", "cattle", "soil", "plough", "meadow", "orchard", "hay"],
    "law": ["court", "statute", "judge", "appeal", "contract", "clause", "verdict", "tribunal", "treaty", "lawyer"],
    "sky": ["planet", "comet", "telescope", "orbit", "galaxy", "nebula", "eclipse", "meteor", "lunar", "solar"],
}
SPEAKS = {"anna": {"de"}, "bert": {"ja", "pt"}, "carl": {"sw"}, "dora": set()}
KNOWS = {"anna": {"farm"}, "bert": {"law"}, "carl": set(), "dora": {"sky", "law"}}


def toy_outcomes(
    num_sources: int = 120,
    *,
    seed: int = 0,
    language_gain: float = 0.3,
    topic_gain: float = 0.2,
    noise: float = 0.05,
    with_gaps: bool = False,
) -> RewardMatrix:
    """Ask `num_sources` questions in four languages each; a question and its translations are one cluster.

    Texts are in one language, as in "translate this": what a router does not read in the tag it does not know.

    Args:
        num_sources: questions; there are four prompts for each.
        seed: of texts, difficulty and noise.
        language_gain: what a teacher gains in a language it speaks.
        topic_gain: what it gains on a topic it knows.
        noise: standard deviation of a single reward.
        with_gaps: whether "dora" may not be asked in Swahili and "anna" not in Japanese (NaN).
    """
    random = np.random.default_rng(seed)
    topics = [TOPICS[i % len(TOPICS)] for i in range(num_sources)]
    texts = [" ".join(random.choice(WORDS[topic], 8)) for topic in topics]
    hard = random.normal(0.0, 0.1, num_sources)
    rewards = np.array(
        [
            [
                0.4 - hard[i] + language_gain * (language in SPEAKS[t]) + topic_gain * (topics[i] in KNOWS[t])
                for t in TEACHERS
            ]
            for i in range(num_sources)
            for language in LANGUAGES
        ]
    )
    rewards += random.normal(0.0, noise, rewards.shape)
    languages = list(LANGUAGES) * num_sources
    if with_gaps:
        rewards[[language == "sw" for language in languages], TEACHERS.index("dora")] = np.nan
        rewards[[language == "ja" for language in languages], TEACHERS.index("anna")] = np.nan
    source_P = np.repeat(np.arange(num_sources), len(LANGUAGES))
    queries = Queries([texts[i] for i in source_P], languages, ["essay" if i % 2 else "quiz" for i in source_P])
    ids = tuple(f"{i}-{language}" for i, language in zip(source_P, languages, strict=True))
    return RewardMatrix(ids, queries, source_P.astype(np.int64), TEACHERS, rewards)


def write_matrix(path: Path, matrix: RewardMatrix) -> Path:
    """Write a matrix as a file that the command line reads, with a second reward and a cost."""
    rows = [
        {
            "prompt_id": matrix.prompt_ids[p],
            "prompt": matrix.queries.texts[matrix.queries.text_P[p]],
            "language": matrix.queries.languages[p],
            "group": f"g{matrix.cluster_P[p]}",
            "model": name,
            "reward": matrix.rewards_PT[p, t],
            "second": matrix.rewards_PT[p, t] ** 3,
            "cost": float(t + 1),
        }
        for p in range(len(matrix))
        for t, name in enumerate(matrix.teachers)
    ]
    pd.DataFrame(rows).to_parquet(path)
    return path


def split(matrix: RewardMatrix, share: float = 0.7) -> tuple[RewardMatrix, RewardMatrix]:
    """Part a matrix into training and test, clusters kept whole."""
    border = np.quantile(matrix.cluster_P, share)
    rows = np.arange(len(matrix))
    return matrix.take(rows[matrix.cluster_P < border]), matrix.take(rows[matrix.cluster_P >= border])


def regret(matrix: RewardMatrix, expected_PT: np.ndarray) -> float:
    """Return how much the admitted teacher expected to be best falls short of the best, on average."""
    choice_P = np.where(matrix.admitted_PT, expected_PT, -np.inf).argmax(axis=1)
    chosen_P = matrix.rewards_PT[np.arange(len(matrix)), choice_P]
    return float((np.nanmax(matrix.rewards_PT, axis=1) - chosen_P).mean())
