"""Settings for all tests."""

import atexit
import os
import shutil
import tempfile

from hypothesis import settings

# Tests assert on results, never on wall-clock time.
settings.register_profile("arbitrage", deadline=None)
settings.load_profile("arbitrage")

# Nothing is fetched at run time: a test that tries fails at once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

# Nothing is left in the user's caches.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="arbitrage-tests-")
atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)
