"""`auto` on pools drawn at random: some models of a matrix, mostly on some of its languages and documents."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from arbitrage.candidates.matrix import RewardMatrix, best_admitted
from arbitrage.candidates.matrix_file import MatrixColumns, read_matrix
from routers.evaluation.evaluate import evaluate
from routers.evaluation.figures import mean_differences
from routers.evaluation.policy import follow
from routers.learning.knn import KnnLearner
from routers.learning.table import TableLearner

NUM_POOLS = 30
BESIDE = (TableLearner(), KnnLearner(k=40))
"""What `auto` is compared with, beside the best single model."""
MODELS = (2, 11)
"""Range of the number, upper end exclusive."""
SHARE_OF_CLUSTERS = (0.05, 0.7)
NEARLY_ALL = 0.95
"""Of the prompts, answered by a model that may be drawn: a pool is evaluated on what all of its models answered."""


def measure_drawn_pools(path: Path, jobs: int) -> list[dict[str, Any]]:
    """Evaluate `auto` on `NUM_POOLS` pools of one matrix; the same are drawn each time."""
    answered = Counter(pq.read_table(path, columns=["model"])["model"].to_pylist())
    names = sorted(name for name, num in answered.items() if num >= NEARLY_ALL * max(answered.values()))
    found = []
    for seed in range(NUM_POOLS):
        matrix = _draw(path, names, np.random.default_rng(seed))
        evaluation = evaluate(matrix, learners=BESIDE, jobs=jobs, seed=seed)
        reward = {
            name: follow(name, best_admitted(expected_PT, matrix), matrix).reward_P
            for name, expected_PT in evaluation.expected.items()
        }
        others = ["best_single", *(learner.label for learner in BESIDE)]
        differences = {
            name: mean_differences([reward["auto"]], reward[name], matrix.cluster_P, seed)[0] for name in others
        }
        gaps = {figures.name: figures.gap_closed for figures in evaluation.routers}
        found.append(
            {
                "seed": seed,
                "models": matrix.teachers,
                "languages": sorted(set(matrix.queries.languages.tolist())),
                "prompts": len(matrix),
                "clusters": len(np.unique(matrix.cluster_P)),
                "gap_closed": {name: gap.value for name in ("auto", *others) if (gap := gaps[name])},
                "auto_above": {name: asdict(one) for name, one in differences.items() if one},
                "chose": [choice.learner.label for choice in evaluation.choices],
            }
        )
    return found


def _draw(path: Path, names: list[str], random: np.random.Generator) -> RewardMatrix:
    """Draw models, half the time some of the languages, and mostly some of the clusters."""
    models = sorted(random.choice(names, int(random.integers(*MODELS)), replace=False).tolist())
    matrix = read_matrix([path], MatrixColumns(), models).matrix
    languages = np.unique(matrix.queries.languages)
    if random.random() < 0.5 and len(languages) > 3:
        kept = random.choice(languages, int(random.integers(2, len(languages))), replace=False)
        matrix = matrix.take(np.flatnonzero(np.isin(matrix.queries.languages, kept)))
    if random.random() < 0.7:
        clusters = np.unique(matrix.cluster_P)
        num = max(10, int(len(clusters) * random.uniform(*SHARE_OF_CLUSTERS)))
        kept = random.choice(clusters, num, replace=False)
        matrix = matrix.take(np.flatnonzero(np.isin(matrix.cluster_P, kept)))
    return matrix
