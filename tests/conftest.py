"""Settings for all tests."""

import os

from hypothesis import settings

# Tests assert on results, never on wall-clock time.
settings.register_profile("arbitrage", deadline=None)
settings.load_profile("arbitrage")

# Nothing is fetched at run time: a test that tries fails at once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
