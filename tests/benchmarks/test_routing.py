"""The routing benchmark's own parts, in the small: pools drawn at random, and its tables."""

from dataclasses import asdict

import pytest

from benchmarks import drawn_pools
from benchmarks.drawn_pools import measure_drawn_pools
from benchmarks.routing_document import _drawn, _new_models
from routers.evaluation.new_models import study_new_models
from tests.support.reward_matrices import TEACHERS, toy_outcomes, write_matrix

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    path = write_matrix(tmp_path_factory.mktemp("drawn") / "rewards.parquet", toy_outcomes(24))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawn_pools, "NUM_POOLS", 3)
        patch.setattr(drawn_pools, "MODELS", (2, 4))
        yield measure_drawn_pools(path, jobs=1), measure_drawn_pools(path, jobs=1)


def test_the_same_pools_are_drawn_each_time(drawn):
    once, again = drawn
    assert once == again
    assert len({(tuple(pool["models"]), pool["prompts"]) for pool in once}) > 1
    for pool in once:
        assert set(pool["models"]) < set(TEACHERS)
        assert 2 <= len(pool["models"]) < 4
        assert set(pool["auto_above"]) == {"best_single", "per_language", "knn_40"}


def test_the_table_counts_pools_whose_interval_leaves_zero_out(drawn):
    pools = [
        pool | {"auto_above": dict.fromkeys(pool["auto_above"], difference)}
        for pool, difference in zip(
            drawn[0],
            [{"value": v, "interval": {"low": v - 0.01, "high": v + 0.01}} for v in (0.02, 0.005, -0.02)],
            strict=True,
        )
    ]
    row = _drawn({"toy": pools}).splitlines()[2]
    assert row.startswith("| toy | 3 | 2 to 3; ")
    assert row.endswith("| 1, 1 | 1, 1 | 1, 1 |")


def test_the_table_of_new_models_tells_those_apart_that_bring_something():
    study = asdict(study_new_models(toy_outcomes(90), sizes=(48, 128), num_folds=2))
    sized = {
        key: {str(size): one for size, one in study[key].items()} if isinstance(study[key], dict) else study[key]
        for key in study
    }
    table = _new_models({"wmt25_toy": sized}).splitlines()
    assert table[2].startswith(f"| wmt25_toy | {len(study['helpful'])} of 4 | +")
    assert "mean of wmt25_* | | | " in table[3]
    assert any(line.startswith("| wmt25_toy | +0.") for line in table[4:])
