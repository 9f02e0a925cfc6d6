"""The report as a file: self-contained, escaped, complete, whatever the run lacks."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.report.charts import axis_over, heatmap
from arbitrage.report.formatting import compact, decimal, duration, moment, money, percent, signed
from arbitrage.report.gallery import MAX_CHARACTERS, GalleryCandidate, GalleryPrompt, GalleryScore, shorten
from arbitrage.report.page import build_report, render
from arbitrage.report.summary import read
from tests.support.report_runs import HOSTILE, ReportCase, TeacherCase, make_run

CASES = {
    "rich": ReportCase(
        teachers={"a": TeacherCase(skill=0.8, hostile=0.4, truncated=0.2), "b": TeacherCase(rejected=0.2)},
        language_route={"en": "a", "ar": "b", "hi": "b"},
    ),
    "no reference": ReportCase(teachers={"a": TeacherCase(), "b": TeacherCase()}, has_reference=False),
    "no reward": ReportCase(teachers={"a": TeacherCase(), "b": TeacherCase()}, has_reward=False),
    "nothing judges": ReportCase(teachers={"a": TeacherCase()}, has_reward=False, has_reference=False),
    "one teacher, one sample": ReportCase(teachers={"solo": TeacherCase()}, num_samples=1),
    "no pairs": ReportCase(teachers={"a": TeacherCase(), "b": TeacherCase()}, has_pairs=False),
    "one prompt": ReportCase(teachers={"a": TeacherCase(), "b": TeacherCase()}, languages=("en",), per_language=1),
    "no completions": ReportCase(teachers={"a": TeacherCase(rejected=1.0), "b": TeacherCase(rejected=1.0)}),
    "everything cut off": ReportCase(teachers={"a": TeacherCase(truncated=1.0), "b": TeacherCase(truncated=1.0)}),
    "pilot": ReportCase(teachers={"a": TeacherCase(), "b": TeacherCase()}, shards=(1,)),
    "many": ReportCase(
        teachers={f"teacher-number-{i}-8b": TeacherCase(skill=i / 12) for i in range(12)},
        languages=("en", "es", "fr", "de", "pt", "tr", "ru", "ar", "hi", "zh", "ja", "ko", "th", "sw"),
        per_language=3,
        num_samples=1,
    ),
}

VOID = {"meta", "link", "br", "img", "input"}


class _Tree(HTMLParser):
    """Checks that elements nest, and collects what could reach out or run."""

    def __init__(self):
        super().__init__()
        self.open, self.scripts, self.attributes, self.ids = [], 0, [], []

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in {"li", "option", "td", "th", "tr", "p"} and tag not in self.open:
            raise AssertionError(f"</{tag}> closes nothing")
        assert self.open.pop() == tag, f"</{tag}> closes another element"


def _parsed(html):
    tree = _Tree()
    tree.feed(html)
    tree.close()
    assert tree.open == []
    return tree


@pytest.fixture(scope="module", params=CASES, ids=str)
def page(request, tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("runs") / "report", CASES[request.param])
    path = build_report(run.path).path
    assert path == run.path / "report.html"
    return path.read_text(encoding="utf-8")


def test_page_is_whole_and_reaches_out_to_nothing(page):
    tree = _parsed(page)
    assert tree.scripts == 1
    assert len(tree.ids) == len(set(tree.ids))
    outward = [(t, n, v) for t, n, v in tree.attributes if n in {"src", "href", "srcset", "action", "data"}]
    assert {value[0] for _, _, value in outward if not value.startswith("data:")} <= {"#"}
    assert {value[1:] for _, name, value in outward if name == "href" and value.startswith("#")} <= set(tree.ids)
    assert not [name for _, name, _ in tree.attributes if name.startswith("on")]
    assert "url(" not in page
    assert "@import" not in page


def test_page_says_no_nonsense(page):
    visible = re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)
    for word in ("nan", "None", "inf", "Undefined", "undefined"):
        assert not re.search(rf"(?<![\w-]){word}(?![\w-])", re.sub(r"<[^>]*>", " ", visible)), word


def test_texts_cannot_become_markup(tmp_path):
    run = make_run(tmp_path / "run", CASES["rich"])
    found = read(run)
    assert any(c.text == HOSTILE for prompt in found.gallery for c in prompt.candidates)
    html = render(found.summary, found.gallery)
    assert "<script>window.pwned" not in html
    assert "&lt;/script&gt;&lt;script&gt;window.pwned = 1" in html
    assert _parsed(html).scripts == 1


@settings(max_examples=12, deadline=None)
@given(
    text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
    | st.sampled_from([HOSTILE, "{{ 7*7 }}", "]]>"])
)
def test_every_text_field_is_escaped(reading, text):
    score = GalleryScore(f"{text}@1", None, text)
    candidate = GalleryCandidate("id", text, 0, "stop", text, text, score, (score,), True)
    prompt = GalleryPrompt(text, "ar", text, (("user", text),), text, (candidate,), 0)
    tree = _parsed(render(reading.summary, (prompt,)))
    assert tree.scripts == 1
    assert not [name for _, name, _ in tree.attributes if name.startswith("on")]


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    return read(make_run(tmp_path_factory.mktemp("runs") / "small", CASES["one teacher, one sample"]))


def test_same_run_same_page(tmp_path):
    run = make_run(tmp_path / "run", CASES["no pairs"])
    first = build_report(run.path).path.read_bytes()
    assert build_report(run.path).path.read_bytes() == first
    assert not list(run.path.glob("_tmp*"))


def test_long_texts_are_cut_and_say_so():
    assert shorten("x" * MAX_CHARACTERS) == "x" * MAX_CHARACTERS
    assert shorten("x" * (MAX_CHARACTERS + 1234)).endswith("… [+1,234 characters]")


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (percent(0.1234), "12.3 %"),
        (percent(None), "–"),
        (decimal(-0.004), "0.00"),
        (decimal(-1.5), "−1.50"),
        (signed(0.0), "0.00"),
        (signed(0.25), "+0.25"),
        (compact(9999), "9,999"),
        (compact(10_000), "10 k"),
        (compact(1_234_567), "1.23 M"),
        (money(0.000067), "$0.000067"),
        (money(12.5), "$12.50"),
        (money(0.0), "$0.00"),
        (duration(3725), "1 h 2 min"),
        (duration(59.7), "60 s"),
        (moment("2026-11-21T02:26:07+00:00"), "2026-11-21 02:26 UTC"),
        (moment("yesterday"), "yesterday"),
    ],
)
def test_numbers_are_written_for_people(shown, wanted):
    assert shown == wanted


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8))
def test_axis_holds_its_values_on_few_round_ticks(values):
    axis = axis_over(values)
    assert axis.low <= min(values)
    assert axis.high >= max(values)
    assert 2 <= len(axis.ticks) <= 9
    assert all(0 <= axis.place(v) <= 100 for v in values)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_axis_of_one_share_stays_within_its_bounds(value):
    axis = axis_over([value, value], num_ticks=4, bounds=(0.0, 1.0))
    assert 0.0 <= axis.low < axis.high <= 1.0
    assert axis.low <= value <= axis.high
    assert 0 <= axis.place(value) <= 100


def test_heatmap_colours_by_value_and_leaves_absent_cells_blank():
    found = heatmap("x", [("r", "")], ["a", "b", "c"], ((1.0, None, 3.0),), decimal)
    assert [cell.strength for cell in found.rows[0].cells] == [0.0, None, 1.0]
    both = heatmap("x", [("r", "")], ["a", "b"], ((-2.0, 1.0),), signed, hue="diverging")
    assert [(cell.strength, cell.is_negative) for cell in both.rows[0].cells] == [(1.0, True), (0.5, False)]
