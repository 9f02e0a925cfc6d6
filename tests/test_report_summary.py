"""What the report says of real runs, against numbers computed the long way from their rows."""

import json
from collections import defaultdict

import pytest
from rich.console import Console

from arbitrage.errors import DataError, RunDirectoryError
from arbitrage.records import Candidate, PreferencePair, Prompt, Score, SftExample
from arbitrage.report.summary import read, summarise
from arbitrage.report.terminal import strategy_table
from arbitrage.report.wording import caveats, matched_verdict, verdict
from arbitrage.shards.run import open_run
from arbitrage.tables import from_table
from tests.support.report_runs import ReportCase, TeacherCase, make_run

CASE = ReportCase(
    teachers={
        "west": TeacherCase(skills={"en": 0.9}, skill=0.2, truncated=0.1),
        "east": TeacherCase(skills={"ar": 0.9}, skill=0.2, languages=("ar", "hi"), rejected=0.1),
        "weak": TeacherCase(skill=0.3),
    },
    per_language=24,
    num_samples=2,
    language_route={"en": "west", "ar": "east", "hi": "weak"},
    language_bias={"en": 3.0},
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "rich", CASE)


@pytest.fixture(scope="module")
def reading(run):
    return read(run)


def _rows(run, record, *steps):
    return [row for step in steps for table in run.tables(step) for row in from_table(table, record)]


def _candidates(run):
    return _rows(run, Candidate, *run.plan.candidates["drafts"])


def _exact(run):
    checks = [s for s in run.plan.candidates["scores"] if s.startswith("check-")]
    return {s.candidate_id: s.value for s in _rows(run, Score, *checks) if s.reward == "exact@1"}


def test_counts_are_those_of_the_rows(run, reading):
    summary = reading.summary
    assert summary.num_answers == len(_candidates(run))
    assert summary.num_prompts == len(_rows(run, Prompt, "prompts"))
    assert {language.tag: language.num_prompts for language in summary.languages} == {"ar": 24, "en": 24, "hi": 24}
    assert [language.tag for language in summary.languages if language.is_rtl] == ["ar"]
    assert summary.teachers == ("east", "weak", "west")


def test_single_teacher_accuracy_is_that_of_its_first_answers(run, reading):
    exact = _exact(run)
    for teacher in reading.summary.teachers:
        first = [c for c in _candidates(run) if c.teacher == teacher and c.sample_index == 0]
        row = reading.summary.judged.row(f"single:{teacher}", "one")
        assert row.value.value == pytest.approx(sum(exact[c.candidate_id] for c in first) / 72)
        assert row.coverage == pytest.approx(len(first) / 72)


def test_reward_over_all_answers_is_the_accuracy_of_the_sft_rows(run, reading):
    exact = _exact(run)
    rows = _rows(run, SftExample, "select-sft")
    # equal scores share their mean in the report, the selection takes the first id: same texts, so the same metric
    found = reading.summary.judged.row("reward", "all")
    assert found.value.value == pytest.approx(sum(exact[r.candidate_id] for r in rows) / 72, abs=1e-9)
    assert found.generations_per_prompt == pytest.approx(2 * (2 * 24 + 3 * 24 + 3 * 24) / 72)


def test_language_router_is_followed(run, reading):
    exact = _exact(run)
    languages = {p.prompt_id: p.language for p in _rows(run, Prompt, "prompts")}
    asked = [
        c
        for c in _candidates(run)
        if c.sample_index == 0 and CASE.language_route[languages[c.prompt_id]] == c.teacher
    ]
    row = reading.summary.judged.row("language", "one")
    assert row.value.value == pytest.approx(sum(exact[c.candidate_id] for c in asked) / 72)


def test_language_bias_shows_before_calibration_and_not_after(reading):
    (reward,) = reading.summary.tables.rewards
    english = [language.tag for language in reading.summary.languages].index("en")
    raw = [v for v in reward.raw[english] if v is not None]
    calibrated = [v for v in reward.calibrated[english] if v is not None]
    assert min(raw) > 2
    assert max(map(abs, calibrated)) < 1


def test_wins_are_the_teachers_of_the_sft_rows(run, reading):
    counts = defaultdict(int)
    for row in _rows(run, SftExample, "select-sft"):
        counts[(row.language, row.teacher)] += 1
    for language, shares in zip(reading.summary.languages, reading.summary.tables.wins, strict=True):
        whole = sum(n for (tag, _), n in counts.items() if tag == language.tag)
        for teacher, share in zip(reading.summary.teachers, shares, strict=True):
            if teacher == "east" and language.tag == "en":
                assert share is None  # never asked
            else:
                assert share == pytest.approx(counts[(language.tag, teacher)] / whole)


def test_truncation_rejects_tokens_and_cost_are_counted(run, reading):
    summary = reading.summary
    (cut,) = [m for m in summary.tables.fails if m.name == "truncation"]
    west = summary.teachers.index("west")
    candidates = [c for c in _candidates(run) if c.teacher == "west"]
    num_cut = sum(row[west] or 0 for row in cut.failed)
    assert num_cut == sum(c.finish_reason == "length" for c in candidates) > 0
    assert sum(row[west] for row in cut.checked) == len(candidates)
    timeouts = sum(r.count for r in summary.rejects if r.reason == "timeout")
    assert timeouts == 96 - sum(c.teacher == "east" for c in _candidates(run))
    tokens = sum(v for row in summary.tables.completion_tokens for v in row if v is not None)
    assert tokens == sum(c.completion_tokens for c in _candidates(run))
    (shut,) = [m for m in summary.tables.shut if m.name == "gate:truncation"]
    assert sum(v or 0 for row in shut.grid for v in row) == sum(c.finish_reason == "length" for c in _candidates(run))


def test_truncation_is_told_by_the_engine_where_no_check_looks(tmp_path):
    teachers = {"a": TeacherCase(truncated=0.3), "b": TeacherCase()}
    summary = summarise(make_run(tmp_path / "run", ReportCase(teachers=teachers, has_truncation_check=False)))
    (cut,) = [m for m in summary.tables.fails if m.name == "truncation"]
    assert all(
        0 < cut_off[0] / of[0] < 0.7 and cut_off[1] == 0 for cut_off, of in zip(cut.failed, cut.checked, strict=True)
    )


def test_pairs_are_summed_up(run, reading):
    rows = _rows(run, PreferencePair, "select-preference")
    pairs = reading.summary.pairs
    assert pairs.num_pairs == len(rows) == sum(b.count for b in pairs.gaps) == sum(pairs.by_language.values())
    assert sum(map(sum, pairs.chosen_by_rejected)) == len(rows)
    for chosen, counts in zip(pairs.teachers, pairs.chosen_by_rejected, strict=True):
        for rejected, count in zip(pairs.teachers, counts, strict=True):
            assert count == sum((r.chosen_teacher, r.rejected_teacher) == (chosen, rejected) for r in rows)


def test_stages_stand_in_the_order_of_the_data(reading):
    depth = {stage.name: stage.depth for stage in reading.summary.stages}
    assert depth["prompts"] < depth["route-reward"] < depth["generate"] < depth["check"] == depth["score"]
    assert depth["score"] < depth["calibrate"] < depth["ensemble"] < depth["select-sft"] == depth["select-preference"]
    assert "route-language" not in depth  # made for comparison, feeds nothing


def test_parallel_questions_are_one_cluster(reading):
    judged = reading.summary.judged
    assert judged.overall.num_clusters < judged.overall.num_prompts == 72


def test_summary_is_the_same_every_time_and_is_json(run, reading):
    assert summarise(run) == reading.summary
    assert json.loads(reading.summary.to_json())["judged"]["best_single"] in CASE.teachers


def test_gallery_is_a_bounded_sample_by_id_with_the_chosen_answer_first(run, reading):
    chosen = {r.candidate_id for r in _rows(run, SftExample, "select-sft")}
    by_language = defaultdict(list)
    for prompt in reading.gallery:
        by_language[prompt.language].append(prompt.prompt_id)
        assert prompt.candidates[0].is_chosen == any(c.candidate_id in chosen for c in prompt.candidates)
    for language, ids in by_language.items():
        every = sorted(p.prompt_id for p in _rows(run, Prompt, "prompts") if p.language == language)
        assert ids == every[:10]


def test_terminal_table_fits_80_columns_and_names_every_strategy(reading):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(strategy_table(reading.summary))
    text = console.export_text()
    assert "…" not in text
    for row in reading.summary.judged.overall.rows:
        assert row.name in text


def test_verdict_states_the_difference_of_its_own_values(reading):
    found = verdict(reading.summary.judged)
    value, base = (float(text.removesuffix(" %")) for text in (found.value, found.base_value))
    shown = float(found.difference.removesuffix(" points").replace("−", "-"))
    assert shown == pytest.approx(value - base, abs=0.11)
    assert "at 2 generations per prompt each" in matched_verdict(reading.summary.judged).budget


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"has_reference": False}, "a score that also selects"),
        ({"has_reference": False, "has_reward": False}, "Nothing judges"),
        ({"num_samples": 1}, "One sample was drawn"),
        ({"shards": (0,)}, "A pilot: 1 of 3 shards"),
        ({"teachers": {"solo": TeacherCase()}}, "Only one teacher was asked"),
        ({"per_language": 4}, "independent groups"),
        (
            {"teachers": {"a": TeacherCase(rejected=0.4), "b": TeacherCase(rejected=0.4)}},
            "Absent answers count as wrong",
        ),
    ],
)
def test_what_is_missing_is_said(tmp_path, changes, words):
    plain = {"teachers": {"a": TeacherCase(), "b": TeacherCase(skill=0.8)}, "per_language": 12, **changes}
    summary = summarise(make_run(tmp_path / "run", ReportCase(**plain)))
    assert any(words in text for text in caveats(summary)), caveats(summary)
    assert json.loads(summary.to_json())


def test_without_an_sft_step_the_best_scored_answers_are_the_wins(run, reading, tmp_path):
    plan = run.plan.model_copy(update={"datasets": {}})
    without = type(run)(run.path, plan)
    assert summarise(without).tables.wins == reading.summary.tables.wins


def test_lost_shard_is_named(tmp_path):
    run = make_run(tmp_path / "run", ReportCase(teachers={"a": TeacherCase(), "b": TeacherCase()}))
    (run.directory("check-b") / "shard-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"check-b-\w+: shard 1 is gone"):
        summarise(run)


def test_unfinished_run_and_run_without_a_table_are_refused(run, tmp_path):
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        open_run(tmp_path)
    bare = type(run)(run.path, run.plan.model_copy(update={"candidates": {}}))
    with pytest.raises(DataError, match="no candidate table"):
        summarise(bare)
