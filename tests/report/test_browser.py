"""The report in a real Chromium: it works by mouse and keyboard, fits, reads right to left, and makes no requests."""

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from arbitrage.report.page import build_report
from tests.support.browser import chromium, prefer, requests_of, require_chromium, resize
from tests.support.report_runs import ReportCase, TeacherCase, make_run

pytestmark = pytest.mark.browser

CASE = ReportCase(
    teachers={
        "a-teacher-with-a-rather-long-name-8b": TeacherCase(skill=0.8, hostile=0.3),
        "b": TeacherCase(truncated=0.2, verbose=True),
        **{f"teacher-{i}": TeacherCase(skill=0.1 * i) for i in range(6)},
    },
    languages=("ar", "en", "zh"),
    per_language=12,
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    require_chromium()
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return build_report(make_run(tmp_path_factory.mktemp("runs") / "run", CASE).path).path


@pytest.fixture
def page(driver, report):
    resize(driver, 1360)
    prefer(driver, "light")
    driver.get(report.as_uri())
    driver.execute_script("localStorage.clear()")
    requests_of(driver)
    driver.get_log("browser")
    driver.get(report.as_uri())
    return driver


def _shown(page):
    return [case for case in page.find_elements(By.CSS_SELECTOR, ".case") if case.is_displayed()]


def _position(page):
    return page.find_element(By.ID, "gallery-position").text


def _paper(page):
    return page.execute_script("return getComputedStyle(document.body).backgroundColor")


def test_loads_without_errors_and_without_the_network(page, report):
    assert [entry for entry in page.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}] == []
    assert [url for url in requests_of(page) if not url.startswith("data:")] == [report.as_uri()]


def test_texts_in_answers_stay_texts(page):
    assert "window.pwned" in page.page_source  # some answer tried
    assert page.execute_script("return window.pwned === undefined")
    assert page.find_elements(By.CSS_SELECTOR, "main script, main img, main iframe") == []


def test_gallery_goes_by_click(page):
    first = _shown(page)
    assert len(first) == 1
    assert _position(page) == "1 of 30"
    page.find_element(By.ID, "gallery-next").click()
    assert _position(page) == "2 of 30"
    assert _shown(page) != first
    page.find_element(By.ID, "gallery-previous").click()
    assert _shown(page) == first
    page.find_element(By.ID, "gallery-previous").click()
    assert _position(page) == "30 of 30"


def test_gallery_goes_by_keyboard(page):
    page.execute_script("document.querySelector('.gallery').focus()")
    ActionChains(page).send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT).perform()
    assert _position(page) == "3 of 30"
    ActionChains(page).send_keys(Keys.ARROW_LEFT).perform()
    assert _position(page) == "2 of 30"
    ActionChains(page).send_keys(Keys.TAB, Keys.TAB, Keys.TAB, Keys.ENTER).perform()  # language, previous, next
    assert _position(page) == "3 of 30"


def test_gallery_filters_by_language(page):
    language = Select(page.find_element(By.ID, "gallery-language"))
    assert [option.get_attribute("value") for option in language.options] == ["", "ar", "en", "zh"]
    language.select_by_value("zh")
    assert _position(page) == "1 of 10"
    assert _shown(page)[0].get_attribute("data-language") == "zh"
    language.select_by_value("")
    assert _position(page) == "1 of 30"


def test_chosen_answer_comes_first_and_filtered_ones_say_why(page):
    for case in page.find_elements(By.CSS_SELECTOR, ".case"):
        answers = case.find_elements(By.CSS_SELECTOR, ".answer")
        assert ["chosen" in a.get_attribute("class").split() for a in answers].count(True) == 1
        assert "chosen" in answers[0].get_attribute("class").split()
    filtered = page.find_elements(By.CSS_SELECTOR, ".answer.filtered .why")
    assert filtered
    assert {f.get_attribute("textContent") for f in filtered} == {"not selectable: fails truncation"}


def test_arabic_reads_from_the_right_and_english_from_the_left(page):
    script = "const s = getComputedStyle(arguments[0]); return [s.direction, s.textAlign, arguments[0].textContent]"
    for tag, direction in (("ar", "rtl"), ("en", "ltr")):
        Select(page.find_element(By.ID, "gallery-language")).select_by_value(tag)
        question = _shown(page)[0].find_element(By.CSS_SELECTOR, ".question")
        found, align, _ = page.execute_script(script, question)
        assert (found, align) == (direction, "start")  # `start` of rtl text is the right
        right = page.execute_script(
            "const e = arguments[0], r = document.createRange(); r.selectNodeContents(e);"
            "const t = r.getBoundingClientRect(), b = e.getBoundingClientRect();"
            "return Math.abs(t.right - b.right) < Math.abs(t.left - b.left)",
            question,
        )
        assert right == (direction == "rtl")
    answers = page.find_elements(By.CSS_SELECTOR, ".case[data-language=ar] .answer .text")
    found = [page.execute_script(script, a) for a in answers]
    arabic = [direction for direction, _, text in found if "\u0600" <= text.strip()[0] <= "\u06ff"]
    latin = [direction for direction, _, text in found if text.strip()[0] == "<"]
    assert set(arabic) == {"rtl"}
    assert set(latin) == {"ltr"}


def test_theme_follows_the_system_until_told_otherwise_and_is_remembered(page, report):
    light = _paper(page)
    prefer(page, "dark")
    dark = _paper(page)
    assert light != dark
    button = page.find_element(By.ID, "theme")
    button.click()
    assert (button.text, _paper(page)) == ("Theme: light", light)
    button.click()
    assert (button.text, _paper(page)) == ("Theme: dark", dark)
    prefer(page, "light")
    page.get(report.as_uri())
    assert _paper(page) == dark
    page.find_element(By.ID, "theme").click()
    assert _paper(page) == light


@pytest.mark.parametrize("width", [320, 390, 600, 800, 1000, 1200, 1280, 1600])
def test_page_never_scrolls_sideways(page, width):
    resize(page, width)
    for _ in range(3):
        found = page.execute_script("return document.documentElement.scrollWidth")
        assert found <= width
        page.find_element(By.ID, "gallery-next").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(page, scheme):
    """WCAG AA: 4.5 : 1 for all text that carries words or numbers."""
    prefer(page, scheme)
    poor = page.execute_script(_CONTRAST)
    assert poor == []


def test_everything_that_acts_can_be_reached_by_keyboard_and_is_named(page):
    for element in page.find_elements(By.CSS_SELECTOR, "button, select, a, [tabindex]"):
        assert element.get_attribute("tabindex") != "-1"
        assert element.accessible_name, element.get_attribute("outerHTML")[:120]


def test_current_section_is_marked_in_the_navigation(page):
    page.execute_script("document.getElementById('tokens').scrollIntoView({behavior: 'instant'})")
    page.execute_async_script("setTimeout(arguments[0], 200)")
    assert [a.text for a in page.find_elements(By.CSS_SELECTOR, "nav a[aria-current]")] == ["Tokens and cost"]


_CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data]; };
const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255;
  return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = (e) => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor);
  if (c[3] === 255) return c; } };
const poor = [];
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.checkVisibility() || e.closest('script, style, noscript, .skip')) continue;
  const [a, b] = [light(rgba(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${e.tagName}.${e.className} ${e.textContent.trim().slice(0, 30)} ${e.getAttribute('style') || ''}`);
}
return poor;
"""
