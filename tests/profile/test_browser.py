"""The profile's page in a real Chromium: it is whole, fits narrow screens, raises no errors and makes no requests."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.browser import chromium, requests_of, require_chromium, resize
from tests.support.jsonl import write_jsonl
from tests.support.profiles import THREE_LANGUAGES, arbitrage_profile

pytestmark = pytest.mark.browser


def test_the_page_shows_shifts_and_profiles(tmp_path: Path) -> None:
    require_chromium()
    random = np.random.default_rng(0)
    for name, length in (("before", 1), ("after", 3)):
        rows = [
            {
                "text": f"{text} {i} " * int(length + random.integers(0, 3)),
                "language": tag,
                "teacher": f"teacher-{i % 3}",
            }
            for tag, text in THREE_LANGUAGES.items()
            for i in range(12)
        ]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    sets = [tmp_path / f"{name}.jsonl" for name in ("before", "after")]
    arbitrage_profile("--compare", *sets, "--html", tmp_path / "page.html", "--processes", 1)
    with chromium(tmp_path / "chromium") as driver:
        resize(driver, 1360)
        driver.get((tmp_path / "page.html").as_uri())
        requests_of(driver)  # what the browser itself asks when it starts
        driver.get((tmp_path / "page.html").as_uri())
        assert driver.get_log("browser") == []
        assert [url for url in requests_of(driver) if not url.startswith(("file:", "data:"))] == []
        text = driver.find_element("tag name", "main").text
        assert "before.jsonl → after.jsonl" in text
        assert "The largest clear shifts" in text
        assert "Chinese" in text
        resize(driver, 390)
        width = driver.execute_script("return document.documentElement.scrollWidth")
        assert width <= 390
