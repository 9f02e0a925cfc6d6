"""Settings for all tests."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

from arbitrage.shards.place import StorePath

# Tests assert on results, never on wall-clock time.
settings.register_profile("arbitrage", deadline=None)
settings.load_profile("arbitrage")

# Nothing is fetched at run time: a test that tries fails at once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

# Nothing is left in the user's caches.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="arbitrage-tests-")
atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)


@pytest.fixture(scope="module")
def store() -> Iterator[None]:
    """A store with the bucket `bucket`, for a module that asks for it; drivers are in no hurry to settle."""
    from arbitrage.execution import lease
    from tests.support.object_store import object_store

    with object_store("bucket"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "SETTLE_S", 0.0)
        yield


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> StorePath:
    """A place in the store that no other test uses."""
    return StorePath(f"s3://bucket/{abs(hash(request.node.name))}/run")
