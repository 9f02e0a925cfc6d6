"""What the report says of real runs, against numbers computed the long way from their rows."""

import json
from collections import defaultdict
from dataclasses import replace
from datetime import datetime

import pytest
from rich.console import Console

from arbitrage.errors import DataError, RunDirectoryError
from arbitrage.execution.run import seconds_so_far
from arbitrage.records import Candidate, PreferencePair, Prompt, Score, SftExample
from arbitrage.report.alarms import ReportAlarm, TeacherCounts, teacher_alarms
from arbitrage.report.flow import stages_of
from arbitrage.report.formatting import share
from arbitrage.report.losses import Loss, Note, describe_note, loss_lines, shorter_losses, shorter_notes
from arbitrage.report.page import render
from arbitrage.report.rendering import terminal_table
from arbitrage.report.strategy_view import strategy_figures
from arbitrage.report.summary import Failed, read, summarise
from arbitrage.report.table_view import _fails
from arbitrage.report.wording import NOT_EVIDENCE, caveats, headline, matched_headline
from arbitrage.runs.manifest import Manifest, RunPlan, StepPlan, StepReport
from arbitrage.runs.run import open_run
from arbitrage.statistics import Estimate
from arbitrage.tables import from_table
from tests.support.report_runs import ReportCase, TeacherCase, make_run
from tests.support.step_facts import facts_of

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
    return _rows(run, Candidate, *run.plan.table["candidates"])


def _exact(run):
    checks = [s for s in run.plan.table["scores"] if s.startswith("check-")]
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
        for teacher, part in zip(reading.summary.teachers, shares, strict=True):
            if teacher == "east" and language.tag == "en":
                assert part is None  # never asked
            else:
                assert part == pytest.approx(counts[(language.tag, teacher)] / whole)


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
    (shut,) = [m for m in summary.tables.shut if m.name == "filter:truncation"]
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
    assert depth["prompts"] < depth["route-all"] < depth["generate"] < depth["check"] == depth["score"]
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
    console.print(terminal_table(strategy_figures(reading.summary.judged)))
    text = console.export_text()
    assert "…" not in text
    for row in reading.summary.judged.overall.rows:
        assert row.name in text


def test_verdict_states_the_difference_of_its_own_values(reading):
    found = headline(reading.summary.judged)
    value, base = (float(text.removesuffix(" %")) for text in (found.value, found.base_value))
    shown = float(found.difference.removesuffix(" points").replace("−", "-"))
    assert shown == pytest.approx(value - base, abs=0.11)
    assert "at 2 generations per prompt each" in matched_headline(reading.summary.judged).budget


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"has_reference": False}, "a score that also selects"),
        ({"has_reference": False, "has_reward": False}, "There is no score to compare by"),
        ({"num_samples": 1}, "One sample was drawn"),
        ({"shards": (0,)}, "A pilot: 1 of 3 shards"),
        ({"teachers": {"solo": TeacherCase()}}, "Only one teacher was sampled"),
        ({"per_language": 4}, "independent groups"),
        (
            {"teachers": {"a": TeacherCase(rejected=0.4), "b": TeacherCase(rejected=0.4)}},
            "Absent responses count as wrong",
        ),
    ],
)
def test_what_is_missing_is_said(tmp_path, changes, words):
    plain = {"teachers": {"a": TeacherCase(), "b": TeacherCase(skill=0.8)}, "per_language": 12, **changes}
    summary = summarise(make_run(tmp_path / "run", ReportCase(**plain)))
    assert any(words in text for text in caveats(summary)), caveats(summary)
    assert json.loads(summary.to_json())


def test_a_score_that_selects_is_not_named_as_the_remedy(reading):
    summary = reading.summary
    metric = replace(summary.judged.metric, is_held_out=False)
    for kind, is_said in (("accuracy", False), ("reward", True)):
        judged = replace(summary.judged, metric=replace(metric, kind=kind))
        [said] = [text for text in caveats(replace(summary, judged=judged)) if "also selects" in text]
        assert ("the check “exact”" in said) is is_said


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
    bare = type(run)(run.path, run.plan.model_copy(update={"table": {}}))
    with pytest.raises(DataError, match="no candidate table"):
        summarise(bare)


PLAIN = {"a": TeacherCase(), "b": TeacherCase(skill=0.8), "c": TeacherCase(skill=0.2)}


def _summary(tmp_path, **changes):
    return summarise(make_run(tmp_path / "run", ReportCase(**({"teachers": PLAIN, "per_language": 24} | changes))))


def _printed(summary, width=80):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal_table(strategy_figures(summary.judged)))
    return console.export_text()


def test_a_check_without_a_say_in_the_selection_is_the_metric(tmp_path):
    summary = _summary(tmp_path, exact_weight=0.0)
    assert (summary.judged.metric.name, summary.judged.metric.is_held_out) == ("exact@1", True)
    assert headline(summary.judged).is_evidence
    assert NOT_EVIDENCE not in _printed(summary)


def test_a_check_that_selects_is_no_evidence(tmp_path):
    summary = _summary(tmp_path, exact_weight=1.0)
    assert (summary.judged.metric.name, summary.judged.metric.is_held_out) == ("exact@1", False)
    assert not headline(summary.judged).is_evidence


def test_a_reward_without_a_say_in_the_selection_is_preferred_to_the_ensemble(tmp_path):
    """Both rewards are noise. By the one that selects the lead is large and clear, by the other it is none."""
    by_same = _summary(tmp_path / "same", has_reference=False)
    by_other = _summary(tmp_path / "other", has_reference=False, has_second_reward=True)
    assert (by_same.judged.metric.name, by_same.judged.metric.is_held_out) == ("ensemble@1", False)
    assert (by_other.judged.metric.name, by_other.judged.metric.is_held_out) == ("judge@1", True)
    same, other = (each.judged.row("reward", "all").difference for each in (by_same, by_other))
    assert same.interval.low > 0.3
    assert other.interval.low < 0.0 < other.interval.high


def test_what_the_selecting_score_says_is_called_no_evidence_everywhere(tmp_path):
    run = make_run(tmp_path / "run", ReportCase(teachers=PLAIN, per_language=24, has_reference=False))
    found = read(run)
    text = _printed(found.summary)
    assert NOT_EVIDENCE in text.splitlines()[1]
    page = render(found.summary, found.gallery)
    header = page[page.index("<header") : page.index("</header>")]
    assert "This run cannot show whether" in header
    assert NOT_EVIDENCE in header
    assert 'class="delta"' not in header  # the difference is not what is printed large
    assert page.lower().count(NOT_EVIDENCE) >= 3  # headline, strategies, languages
    assert json.loads(found.summary.to_json())["judged"]["metric"]["is_held_out"] is False


def test_a_high_mean_over_few_prompts_does_not_come_first(tmp_path):
    """Teacher b is asked in one of three languages, where the reward is 5 higher, and is not calibrated away."""
    teachers = {"a": TeacherCase(), "b": TeacherCase(languages=("en",))}
    summary = _summary(tmp_path, teachers=teachers, has_reference=False, language_bias={"en": 5.0})
    judged = replace(summary.judged, overall=_with_mean(summary.judged.overall, "single:b", 9.0))
    lines = [row for group in strategy_figures(judged).groups if group.short == "one answer" for row in group.rows]
    marks = {row.name: [badge.word for badge in row.badges] for row in lines}
    assert [name for name, words in marks.items() if "answers few" in words] == ["single:b"]
    assert lines[-1].name == "single:b" or "hindsight" in marks[lines[-1].name]
    assert " 33 %" in _printed(summary)


def _with_mean(rows, name, value):
    changed = [replace(row, value=Estimate(value, None)) if row.name == name else row for row in rows.rows]
    return replace(rows, rows=tuple(changed))


def test_the_share_answered_stands_beside_every_mean(run, reading):
    text = _printed(reading.summary)
    for row in reading.summary.judged.overall.rows:
        if row.coverage not in (0.0, 1.0):
            [line] = [
                line
                for line in text.splitlines()
                if line.startswith(f"   {row.name} ") and share(row.coverage) in line
            ][:1]
            assert line.index("%") < line.index(share(row.coverage))


def test_one_failure_is_never_all_of_them(tmp_path):
    """A check that can tell of 1 of 48 answers and finds it bad fails 2 %, not 100 %."""
    summary = _summary(tmp_path)
    untold = Failed("language", failed=((1.0, None), (None, None)), checked=((1.0, None), (None, None)))
    tables = replace(summary.tables, fails=(untold,), answers=((48.0, 48.0), (3.0, None)))
    shown = replace(summary, tables=tables, languages=summary.languages[:2], teachers=("a", "b"))
    [found] = [m for m in table_view_fails(shown) if m.caption.startswith("Fails language")]
    assert [(cell.text, cell.note) for cell in found.rows[0].cells] == [("2", "1 of 48"), ("0", "")]
    assert "no result for 98 candidates" in found.caption


def table_view_fails(summary):
    labels = [(language.name, language.tag) for language in summary.languages]
    return [_fails(check, summary.tables.answers, labels, summary.teachers) for check in summary.tables.fails]


def test_wall_clock_is_that_of_all_passes(tmp_path):
    run = make_run(tmp_path / "run", ReportCase(teachers=PLAIN))
    first = summarise(run).seconds
    (run.directory("check-b") / "shard-00001.parquet").unlink()
    summary = summarise(make_run(tmp_path / "run", ReportCase(teachers=PLAIN)))
    assert summary.seconds == pytest.approx(first + summary.seconds_last, abs=0.002)
    assert summary.seconds_last > 0
    (tmp_path / "run" / "manifest.json").write_text("garbage")  # costs the figure, not the run
    make_run(tmp_path / "run", ReportCase(teachers=PLAIN))


def test_wall_clock_counts_a_killed_pass_until_it_was_last_seen(tmp_path):
    run = make_run(tmp_path / "run", ReportCase(teachers=PLAIN))
    (run.path / "manifest.json").unlink()
    started = datetime.fromisoformat(run.plan.started_at).timestamp()
    (run.path / "_live.json").write_text(json.dumps({"at": started + 100.0, "steps": {}}))
    assert seconds_so_far(run.path) == pytest.approx(100.0)
    assert summarise(make_run(tmp_path / "run", ReportCase(teachers=PLAIN))).seconds > 100.0


def test_rejects_notes_and_alarms_are_said_on_the_terminal_and_the_page(run, reading):
    notes = tuple(
        Note("prompts", key, count, describe_note(key, count))
        for key, count in {"language_disagreement:kk>ky": 7, "new_key:<b>": 3, "empty_file": 1}.items()
    )
    alarm = ReportAlarm("cut_off", "west", "100 of 100 candidates are cut off")
    summary = replace(reading.summary, step_notes=notes, alarms=(alarm,))
    said = "\n".join([alarm.sentence, *loss_lines(summary.losses, summary.step_notes)])
    page = render(summary, ())
    timeouts = sum(r.count for r in summary.rejects if r.reason == "timeout")
    for text in (
        "west: 100 of 100 candidates are cut off",
        "7 prompts whose text is in another language than their tag says (kk>ky)",
        "new_key:<b>: 3",
        f"generate-east: {timeouts} of 96 rejected (timeout {timeouts})",
    ):
        assert text in said
    assert "7 prompts whose text is in another language than their tag says (kk&gt;ky)" in page
    assert "new_key:&lt;b&gt;: 3" in page
    assert page.index("100 of 100 candidates are cut off") < page.index('id="flow"')
    assert {note["key"] for note in json.loads(summary.to_json())["step_notes"]} == {note.key for note in notes}


def test_many_notes_of_one_kind_are_joined_on_the_terminal():
    notes = tuple(Note("prompts", f"language_disagreement:aa>{i}", i, str(i)) for i in range(1, 21))
    assert shorter_notes(notes, 2) == ["prompts: 20; 19; and 18 more kinds: 171"]


def test_alarms_of_teachers_that_are_cut_off_or_unscored(tmp_path):
    teachers = {"a": TeacherCase(truncated=0.9), "b": TeacherCase(), "c": TeacherCase(skill=0.9)}
    found = _summary(tmp_path, teachers=teachers).alarms
    assert [(alarm.kind, alarm.what) for alarm in found] == [("cut_off", "a")]
    counts = {"x": TeacherCounts(100, 0, {"committee": 100}), "y": TeacherCounts(100, 0, {"committee": 2})}
    [alarm] = teacher_alarms(counts)
    assert (alarm.kind, alarm.what) == ("unscored", "x")
    assert alarm.detail.startswith("100 of 100 candidates have no score by committee")
    assert teacher_alarms({"z": TeacherCounts(4, 4, {})}) == ()
    [alarm] = teacher_alarms(
        {"x": TeacherCounts(100, 0, {}, num_with_reasoning=9), "y": TeacherCounts(100, 0, {}, 1)}
    )
    assert (alarm.kind, alarm.what) == ("reasoning_left", "x")
    assert alarm.detail.startswith("9 of 100 candidates hold reasoning in their text")


def test_committee_and_fusion_are_stages_in_the_order_of_the_data():
    names = {
        "prompts": ("Prompt", []),
        "route-all": ("Route", ["prompts"]),
        "generate-a": ("Candidate", ["route-all"]),
        "generate-b": ("Candidate", ["route-all"]),
        "score-rm-a": ("Score", ["generate-a"]),
        "score-rm-b": ("Score", ["generate-b"]),
        "review-x-a": ("Candidate", ["generate-a"]),
        "review-y-b": ("Candidate", ["generate-b"]),
        "adjudicate-a": ("Candidate", ["review-x-a"]),
        "adjudicate-b": ("Candidate", ["review-y-b"]),
        "score-committee-a": ("Score", ["adjudicate-a"]),
        "score-committee-b": ("Score", ["adjudicate-b"]),
        "ensemble": ("Score", ["score-rm-a", "score-rm-b", "score-committee-a", "score-committee-b"]),
        "fuse-f": ("Candidate", ["ensemble"]),
        "score-rm-fused": ("Score", ["fuse-f"]),
        "ensemble-fused": ("Score", ["score-rm-fused"]),
        "select-sft": ("SftExample", ["ensemble-fused"]),
    }
    manifest = _manifest_of(names)
    stages = stages_of(manifest, ())
    assert [(stage.title, len(stage.steps)) for stage in stages] == [
        ("prompts", 1),
        ("route all", 1),
        ("generate", 2),
        ("score: rm", 2),
        ("review", 2),
        ("adjudicate", 2),
        ("score: committee", 2),
        ("ensemble", 1),
        ("fuse f", 1),
        ("score: rm (fused)", 1),
        ("ensemble fused", 1),
        ("select sft", 1),
    ]
    assert stages[-1].rows == "SFT examples"


def _manifest_of(names):
    def config(name):
        return {"reward": {"name": name.split("-")[1]}} if name.startswith("score-") else {}

    plans = tuple(
        StepPlan(
            name=name,
            facts=facts_of(name),
            record=record,
            scope="shard",
            directory=name,
            fingerprint="",
            inputs={"in": tuple(inputs)},
            config=config(name),
        )
        for name, (record, inputs) in names.items()
    )
    plan = RunPlan(
        name="r", pipeline="p", fingerprint="", num_shards=1, shards=(0,), config={}, steps=plans, datasets={}
    )
    reports = tuple(
        StepReport(
            name=name,
            num_shards=1,
            num_reused=0,
            num_in=1,
            num_rows=1,
            num_rejected=0,
            rejected={},
            accounts=(),
            seconds=0.0,
            prompt_tokens=0,
            completion_tokens=0,
            cost_usd=0.0,
        )
        for name in names
    )
    return Manifest(
        plan=plan, status="complete", steps=reports, seconds=0.0, finished_at="", git_commit=None, packages={}
    )


def test_losses_of_many_teachers_are_one_line_on_the_terminal():
    losses = [Loss(f"generate-t{i}", 100, i, {"timeout": i}, "generate") for i in range(1, 13)]
    assert shorter_losses([*losses, Loss("select-sft", 9, 1, {"no_candidate": 1}, "select")], 4) == [
        "generate, 12 steps: 78 of 1,200 rejected (timeout 78); most at generate-t12: 12",
        "select-sft: 1 of 9 rejected (no_candidate 1)",
    ]
    assert shorter_losses(losses[:2], 4) == [f"generate-t{i}: {i} of 100 rejected (timeout {i})" for i in (1, 2)]
