"""Routers on real reward matrices: where language decides, where the topic does, and where there is little to gain."""

import json

import numpy as np
import pytest

from arbitrage.candidates.matrix_file import read_matrix
from routers.evaluation.evaluate import evaluate
from routers.learning.knn import KnnLearner
from routers.learning.ridge import RidgeLearner
from routers.learning.table import TableLearner
from tests.support.paths import SHARED

DATA = SHARED / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data is not at {DATA}")

FEW = (TableLearner(), TableLearner(by="language_task"), KnnLearner(k=100), RidgeLearner())


@pytest.mark.parametrize(
    ("pool", "file", "at_least"),
    [
        ("wmt25_small", "wmt25_teacher_matrix.parquet", 0.15),  # language decides
        ("policy_small", "textclass_policy_matrix.parquet", 0.12),  # the topic does
        ("wmt25_frontier", "wmt25_teacher_matrix.parquet", None),  # one model dominates
    ],
)
@pytest.mark.process
def test_auto_is_not_below_any_language_aware_baseline_by_more_than_noise(pool, file, at_least):
    models = json.loads((DATA / "pools.json").read_text())[pool]
    matrix = read_matrix([DATA / file], models=models).matrix
    part = matrix.take(np.flatnonzero(matrix.cluster_P % 3 == 0))  # a third of the documents, to be done in seconds
    found = evaluate(part, num_folds=3, learners=FEW, jobs=2)
    auto = found.routers[0]
    assert auto.name == "auto"
    assert auto.gain.interval.high >= 0
    assert found.comparison.difference.interval.high >= 0
    if at_least is not None:
        assert auto.gap_closed.value > at_least
        assert auto.gain.interval.low > 0
