"""What the report says of reasoning, against the rows of a run counted the long way; alarms; nothing where nobody reasons."""

import json

import pytest
from rich.console import Console
from selenium.webdriver.common.by import By

from arbitrage.records import Candidate, Reject
from arbitrage.report.alarms import TeacherCounts, teacher_alarms
from arbitrage.report.page import render
from arbitrage.report.reasoning_view import language_pairs, reasoning_by_language, reasoning_figures
from arbitrage.report.rendering import markdown_table, terminal_table
from arbitrage.report.summary import read
from arbitrage.runs.run import open_run
from arbitrage.tables import from_table
from tests.support.browser import chromium, require_chromium
from tests.support.pipelines import QUESTIONS, run_file, write_pipeline, write_pool

PRICES = {"usd_per_million_prompt_tokens": 1000.0, "usd_per_million_completion_tokens": 4000.0}


def _run(directory, teachers, **changes):
    path = write_pipeline(directory, **changes)
    pool = write_pool(directory / "teachers.yaml", **teachers)
    text = pool.read_text(encoding="utf-8").replace("licence:", f"cost: {json.dumps(PRICES)}\n  licence:")
    pool.write_text(text, encoding="utf-8")
    run_file(path, directory / "run")
    return open_run(directory / "run")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    teachers = {
        "english": {"reasoning": "en", "failures": {"reasoning_unfinished": 0.2}},
        "native": {"reasoning": "prompt"},
        "plain": {"wrong_language": 0.5},
    }
    checks = [{"kind": "language_confusion"}, {"kind": "reasoning_language"}]
    return _run(tmp_path_factory.mktemp("reasoning"), teachers, checks=checks, max_rejected=0.5)


@pytest.fixture(scope="module")
def reading(made):
    return read(made)


def _candidates(made, teacher):
    return [row for table in made.tables(f"generate-{teacher}") for row in from_table(table, Candidate)]


def test_figures_are_those_of_the_rows(made, reading):
    rows = {row.teacher: row for row in reading.summary.reasoning.by_teacher}
    assert list(rows) == ["english", "native"]
    for teacher, row in rows.items():
        found = _candidates(made, teacher)
        assert (row.num_candidates, row.num_reasoned, row.num_uncounted) == (len(found), len(found), 0)
        reasoning, whole = sum(c.reasoning_tokens for c in found), sum(c.completion_tokens for c in found)
        assert row.reasoning_tokens == pytest.approx(reasoning / len(found))
        assert row.response_tokens == pytest.approx((whole - reasoning) / len(found))
        assert row.token_share == pytest.approx(reasoning / whole)
        assert row.cost_usd == pytest.approx(sum(c.cost_usd for c in found))
        assert row.reasoning_cost_usd == pytest.approx(reasoning * 4000 / 1e6)
        assert row.cost_share == pytest.approx(row.reasoning_cost_usd / row.cost_usd)
    rejects = [r for table in made.rejects("generate-english") for r in from_table(table, Reject)]
    assert {r.reason for r in rejects} == {"reasoning_unfinished"}
    assert (rows["english"].num_unfinished, rows["native"].num_unfinished) == (len(rejects), 0)
    by_language = [row for row in reading.summary.reasoning.by_language if row.teacher == "english"]
    assert {row.language for row in by_language} == set(QUESTIONS)
    assert sum(row.num_candidates for row in by_language) == rows["english"].num_candidates
    assert sum(row.num_unfinished for row in by_language) == len(rejects)


def test_languages_of_response_and_reasoning_are_figures_of_their_own(reading):
    rows = {row.teacher: row for row in reading.summary.reasoning.by_teacher}
    assert rows["native"].response_in_language == rows["native"].reasoning_in_language == 1.0
    assert rows["english"].response_in_language == 1.0
    share_of_english = sum(
        row.num_candidates
        for row in reading.summary.reasoning.by_language
        if (row.teacher, row.language) == ("english", "en")
    )
    assert rows["english"].reasoning_in_language == pytest.approx(share_of_english / rows["english"].num_candidates)
    pairs = {(response, reasoning) for response, reasoning, _ in rows["english"].languages}
    assert pairs == {(tag, "en") for tag in QUESTIONS}
    assert {(a, b) for a, b, _ in rows["native"].languages} == {(tag, tag) for tag in QUESTIONS}


def test_all_renderers_show_the_tables(reading):
    found = reading.summary.reasoning
    page = render(reading.summary, reading.gallery)
    for figures in (reasoning_figures(found), reasoning_by_language(found), language_pairs(found)):
        console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        console.print(terminal_table(figures))
        terminal, markdown = console.export_text(), markdown_table(figures)
        assert all(len(line) <= 80 for line in terminal.splitlines())
        for teacher in ("english", "native"):
            assert all(teacher in text for text in (terminal, markdown, page))
        assert figures.columns[0].heading in markdown
    assert 'id="reasoning"' in page
    assert '<a href="#reasoning">' in page


def test_examples_show_reasoning_folded(reading):
    assert all((c.reasoning is None) == (c.teacher == "plain") for p in reading.gallery for c in p.candidates)
    [arabic] = [p for p in reading.gallery if p.language == "ar"][:1]
    page = render(reading.summary, (arabic,))
    folded = page.count('<details class="thought">')
    assert folded == sum(c.reasoning is not None for c in arabic.candidates) > 0
    native = next(c for c in arabic.candidates if c.teacher == "native")
    assert f'dir="auto" tabindex="0">{native.reasoning}</div></details>' in page


def test_a_teacher_that_ends_inside_its_reasoning_is_an_alarm_with_a_remedy(reading):
    [alarm] = [alarm for alarm in reading.summary.alarms if alarm.kind == "reasoning_unfinished"]
    assert alarm.what == "english"
    assert "raise sampling.max_tokens, or set sampling.reasoning_budget" in alarm.detail
    assert [a.kind for a in teacher_alarms({"x": TeacherCounts(95, 0, {}, num_unfinished=5)})] == [alarm.kind]
    assert teacher_alarms({"x": TeacherCounts(96, 0, {}, num_unfinished=4)}) == ()
    assert teacher_alarms({"x": TeacherCounts(5, 0, {}, num_unfinished=4)}) == ()
    [alone] = teacher_alarms({"x": TeacherCounts(0, 0, {}, num_unfinished=40)})
    assert alone.detail.startswith("40 of 40 completions end before an answer")


def test_a_teacher_without_any_answer_has_its_alarm(tmp_path):
    teachers = {"lost": {"failures": {"reasoning_unfinished": 1.0}}, "plain": {}, "other": {}}
    summary = read(_run(tmp_path, teachers, max_rejected=1.0)).summary
    assert [(a.kind, a.what) for a in summary.alarms] == [("reasoning_unfinished", "lost")]
    assert summary.reasoning is None


def test_there_is_no_section_where_nobody_reasons(tmp_path):
    reading = read(_run(tmp_path, {"plain": {}, "other": {}}))
    assert reading.summary.reasoning is None
    assert "reasoning" not in render(reading.summary, reading.gallery).partition("<body>")[2].casefold().replace(
        "reasoning-left", ""
    ).replace("reasoning_left", "")


@pytest.mark.browser
def test_a_browser_unfolds_reasoning_in_the_direction_of_its_script(made, reading, tmp_path):
    require_chromium()
    page = tmp_path / "report.html"
    page.write_text(render(reading.summary, reading.gallery), encoding="utf-8")
    directions = {c.teacher: "rtl" if c.teacher == "native" else "ltr" for p in reading.gallery for c in p.candidates}
    with chromium(tmp_path / "profile") as driver:
        driver.get(page.as_uri())
        shown = driver.find_elements(By.CSS_SELECTOR, "article.case:not([hidden]) li.answer")  # the first is Arabic
        folded = [answer for answer in shown if answer.find_elements(By.CSS_SELECTOR, "details.thought")]
        assert 0 < len(folded) < len(shown)
        for answer in folded:
            thought = answer.find_element(By.CSS_SELECTOR, "details.thought .text")
            assert not thought.is_displayed()
            answer.find_element(By.TAG_NAME, "summary").click()
            assert thought.is_displayed()
            teacher = answer.find_element(By.TAG_NAME, "b").text
            assert thought.value_of_css_property("direction") == directions[teacher]
        assert not [line for line in driver.get_log("browser") if line["level"] == "SEVERE"]
