"""The steering section in a real Chromium: it says what moved, fits narrow screens, and complains of nothing."""

from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from arbitrage.report.page import build_report
from tests.support.browser import chromium, requests_of, require_chromium, resize
from tests.support.pipelines import run_file, steering_pipeline

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    require_chromium()
    directory = tmp_path_factory.mktemp("steering")
    run_file(steering_pipeline(directory), directory / "run")
    report = build_report(directory / "run").path
    with chromium(directory / "chromium") as driver:
        resize(driver, 1360)
        driver.get(report.as_uri())
        requests_of(driver)  # what the browser itself asks when it starts
        driver.get(report.as_uri())
        yield driver


def test_it_loads_without_errors_and_without_requests(page: webdriver.Chrome) -> None:
    assert page.get_log("browser") == []
    assert [url for url in requests_of(page) if not url.startswith(("file:", "data:"))] == []


def test_objective_cost_side_effects_and_rows_are_told(page: webdriver.Chrome) -> None:
    section = page.find_element(By.ID, "steering")
    page.find_element(By.CSS_SELECTOR, 'a[href="#steering"]').click()
    assert 0 <= page.execute_script("return arguments[0].getBoundingClientRect().top", section) < 200
    captions = [caption.text for caption in section.find_elements(By.TAG_NAME, "figcaption")]
    assert captions[:2] == ["characters:up", "words:within"]
    assert [text.split(":")[0] for text in captions[2:4]] == ["What it cost", "What else moved"]
    tables = section.find_elements(By.TAG_NAME, "table")
    [language, num, before, control, steered, difference, _] = (
        tables[0].find_element(By.CSS_SELECTOR, "tbody tr").text.split(None, 6)
    )
    assert (language, int(num) > 20, float(steered) > float(control)) == ("all", True, True)
    assert difference.startswith("+")
    assert before
    assert "quota_filled" in tables[-1].text


def test_examples_set_two_different_answers_side_by_side(page: webdriver.Chrome) -> None:
    cases = page.find_elements(By.CSS_SELECTOR, "#steering [data-steering]")
    pairs = [[text.text for text in case.find_elements(By.CSS_SELECTOR, ".answer .text")] for case in cases]
    assert len(pairs) >= 6
    assert all(steered != control for steered, control in pairs)
    assert (
        page.find_element(By.CSS_SELECTOR, '#steering .question[lang="ar"]').value_of_css_property("direction")
        == "rtl"
    )


@pytest.mark.parametrize("width", [390, 1360])
def test_figures_stay_on_one_line_and_the_page_within_the_screen(page: webdriver.Chrome, width: int) -> None:
    resize(page, width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    heights = page.execute_script(
        "return [...document.querySelectorAll('#steering table td.num')].map(td => td.clientHeight)"
    )
    assert max(heights) < 2 * min(heights)
