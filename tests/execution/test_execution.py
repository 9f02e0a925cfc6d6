"""The step and shard engine: same bytes on both backends, exact resume, the conservation law, refusals."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.contracts.steps import Pipeline, Step
from arbitrage.errors import (
    ConservationError,
    ExecutionError,
    PlacementError,
    RejectBudgetError,
    RunDirectoryError,
    UserError,
)
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.plan import ExecutionPlan, plan
from arbitrage.execution.progress import NoProgress, RunMonitor
from arbitrage.execution.ray.backend import RayBackend
from arbitrage.execution.run import Backend, RunRequest, execute
from arbitrage.records import Candidate, Prompt
from arbitrage.runs.journal import Journal
from arbitrage.runs.layout import shard_of, shard_path
from arbitrage.runs.run import open_run
from tests.support.paths import ROOT
from tests.support.runs import run, shard_bytes, shard_times
from tests.support.step_facts import facts_of
from tests.support.toy import ToyAnswer, ToySource, toy_explorer, toy_pipeline, two_teachers
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("pipeline", "num_files"), [(two_teachers(cpus=1.0), 4 * 4 + 1), (toy_explorer(), 3 * 4 + 1)]
)
def test_local_and_ray_write_the_same_bytes(
    tmp_path: Path, ray_backend: RayBackend, pipeline: Pipeline, num_files: int
) -> None:
    for backend in (LocalBackend(), ray_backend):
        run(tmp_path / backend.name, pipeline, backend)
    local, on_ray = shard_bytes(tmp_path / "local"), shard_bytes(tmp_path / "ray")
    assert len(local) == num_files
    assert local == on_ray


def test_counts_are_kept_by_language_and_teacher(tmp_path: Path) -> None:
    manifest = run(tmp_path / "r", two_teachers())
    step = next(s for s in manifest.steps if s.name == "generate-b")
    assert [(a.language, a.teacher, a.num_in, a.num_out) for a in step.accounts] == [
        ("ar", "b", 14, 14),
        ("en", "b", 26, 26),
    ]
    assert (step.prompt_tokens, step.completion_tokens, step.cost_usd) == (40, 80, 2.0)
    assert manifest.status == "complete"


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    run(tmp_path / "r", two_teachers())
    before = shard_times(tmp_path / "r")
    manifest = run(tmp_path / "r", two_teachers())
    assert shard_times(tmp_path / "r") == before
    assert all(s.num_reused == s.num_shards for s in manifest.steps)


def test_a_deleted_shard_is_made_again_and_what_was_made_from_it_stays(tmp_path: Path, backend: Backend) -> None:
    directory = tmp_path / "r"
    pipeline = two_teachers(cpus=1.0)
    run(directory, pipeline)
    before, bytes_before = shard_times(directory), shard_bytes(directory)
    opened = open_run(directory)
    shard_path(opened.directory("generate-a"), 2).unlink()
    manifest = run(directory, pipeline, backend)
    redone = {name for name, when in shard_times(directory).items() if before[name] != when}
    assert redone == {f"{opened.step('generate-a').directory}/shard-00002.parquet"}
    assert shard_bytes(directory) == bytes_before
    reused = {s.name: s.num_reused for s in manifest.steps}
    assert reused == {"prompts": 4, "generate-a": 3, "generate-b": 4, "calibrate": 1, "ensemble": 4}


def test_a_shard_that_comes_out_otherwise_redoes_exactly_what_depends_on_it(tmp_path: Path, backend: Backend) -> None:
    directory, marker = tmp_path / "r", tmp_path / "changes"
    marker.write_text("1")
    pipeline = toy_pipeline(ToySource(num_rows=40), ToyAnswer(teacher="a", echo=str(marker)), cpus=1.0)
    run(directory, pipeline)
    before, opened = shard_times(directory), open_run(directory)
    shard_path(opened.directory("generate-a"), 2).unlink()
    marker.write_text("2")
    run(directory, pipeline, backend)
    redone = {name for name, when in shard_times(directory).items() if before[name] != when}
    wanted = {f"{opened.step('generate-a').directory}/shard-00002.parquet"}
    wanted |= {f"{opened.step('calibrate').directory}/shard-00000.parquet"}  # a corpus step depends on every shard
    wanted |= {
        f"{opened.step('ensemble').directory}/shard-00002.parquet"
    }  # the others: calibration came out the same
    assert redone == wanted


def test_a_changed_teacher_redoes_only_what_is_its_own(tmp_path: Path) -> None:
    run(tmp_path / "r", two_teachers())
    before = shard_times(tmp_path / "r")
    changed = toy_pipeline(ToySource(num_rows=40), ToyAnswer(teacher="a"), ToyAnswer(teacher="c"))
    run(tmp_path / "r", changed)
    after = shard_times(tmp_path / "r")
    assert all(after[name] == when for name, when in before.items())
    new = {name.split("/")[0].rsplit("-", 1)[0] for name in after.keys() - before.keys()}
    assert new == {"generate-c", "calibrate", "ensemble"}


def test_a_pilot_is_reused_by_the_whole(tmp_path: Path) -> None:
    pilot = run(tmp_path / "r", two_teachers(), only=1)
    assert pilot.status == "pilot"
    before = shard_times(tmp_path / "r")
    whole = run(tmp_path / "r", two_teachers())
    after = shard_times(tmp_path / "r")
    assert all(after[name] == when for name, when in before.items() if name.startswith(("prompts", "generate")))
    assert whole.status == "complete"
    assert next(s for s in whole.steps if s.name == "generate-a").num_reused == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("lose", "vanished"),
        ("double", "is both in the output and rejected"),
        ("invent", "is unexpected in the output"),
        ("repeat", "occurs twice"),
    ],
)
def test_the_conservation_law_is_enforced(tmp_path: Path, fault: str, message: str) -> None:
    pipeline = toy_pipeline(ToySource(num_rows=40), ToyAnswer.model_validate({"fault": fault}))
    with pytest.raises(ConservationError, match=message):
        run(tmp_path / "r", pipeline)
    assert not (tmp_path / "r" / "manifest.json").exists()


def test_a_shard_of_another_size_is_set_aside_and_made_again(tmp_path: Path) -> None:
    directory = tmp_path / "r"
    run(directory, two_teachers())
    bytes_before = shard_bytes(directory)
    opened = open_run(directory)
    a, b = (shard_path(opened.directory("ensemble"), k) for k in (0, 1))
    a.write_bytes(b.read_bytes())
    run(directory, two_teachers())
    aside = directory / "_damaged" / a.relative_to(directory)
    assert aside.read_bytes() == b.read_bytes()
    aside.unlink()
    assert shard_bytes(directory) == bytes_before


def test_rejects_are_counted_and_budgeted(tmp_path: Path) -> None:
    few = toy_pipeline(ToySource(num_rows=40, num_bad=4), ToyAnswer(fault="reject"))
    manifest = run(tmp_path / "few", few)
    assert manifest.steps[0].rejected == {"empty": 4}
    assert manifest.steps[0].notes == {"bad": 4}
    assert next(s for s in manifest.steps if s.name == "generate-toy").rejected == {"bad_request": 4}
    with pytest.raises(RejectBudgetError, match=r"prompts: 30 of 70 rows were rejected \(empty 30\)"):
        run(tmp_path / "many", toy_pipeline(ToySource(num_rows=40, num_bad=30), ToyAnswer()), max_rejected=0.2)
    assert (tmp_path / "many" / "manifest.json").exists()


def test_a_directory_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "r", two_teachers())
    before = shard_bytes(tmp_path / "r")
    other = RunRequest("other", "toy", two_teachers(), tmp_path / "r", 4, range(4), 0.2, {})
    with pytest.raises(RunDirectoryError, match="holds run 'toy' of pipeline 'toy', not 'other' of 'toy'"):
        execute(other, LocalBackend(), NoProgress())
    assert shard_bytes(tmp_path / "r") == before
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(RunDirectoryError, match=r"cat\.jpg"):
        run(tmp_path / "photos", two_teachers())


def test_changed_prompts_make_everything_again_beside_what_was(tmp_path: Path) -> None:
    run(tmp_path / "r", two_teachers())
    manifest = run(tmp_path / "r", two_teachers(num_rows=41))
    assert all(s.num_reused == 0 for s in manifest.steps)
    assert manifest.steps[0].num_rows == 41
    assert all(s.num_reused == s.num_shards for s in run(tmp_path / "r", two_teachers()).steps)


def test_a_failed_first_run_can_be_mended_in_place(tmp_path: Path) -> None:
    broken = toy_pipeline(ToySource(num_rows=40), ToyAnswer(fault="lose"))
    with pytest.raises(ConservationError):
        run(tmp_path / "r", broken)
    run(tmp_path / "r", toy_pipeline(ToySource(num_rows=40), ToyAnswer()))


def test_what_was_made_from_an_older_answer_is_made_again(tmp_path: Path) -> None:
    """Config A, then a lost and re-made shard under config B, then A again: A's own selection is out of date."""
    directory = tmp_path / "r"
    marker = tmp_path / "changes"
    marker.write_text("1")
    teacher = ToyAnswer(teacher="a", echo=str(marker))
    run(directory, toy_pipeline(ToySource(num_rows=40), teacher))
    candidates = open_run(directory).directory("generate-a")
    shard_path(candidates, 1).unlink()
    marker.write_text("2")  # an engine never says the same thing twice
    run(directory, toy_pipeline(ToySource(num_rows=40), teacher, ToyAnswer(teacher="b")))
    manifest = run(directory, toy_pipeline(ToySource(num_rows=40), teacher))
    reused = {s.name: s.num_reused for s in manifest.steps}
    assert reused == {"prompts": 4, "generate-a": 4, "calibrate": 0, "ensemble": 3}


def test_a_lost_shard_of_prompts_leaves_the_others_untouched(tmp_path: Path) -> None:
    directory = tmp_path / "r"
    run(directory, two_teachers())
    before, bytes_before = shard_times(directory), shard_bytes(directory)
    shard_path(open_run(directory).directory("prompts"), 3).unlink()
    run(directory, two_teachers())
    kept = [n for n in before if n.startswith(("prompts", "generate")) and not n.endswith("shard-00003.parquet")]
    after = shard_times(directory)
    assert all(after[name] == before[name] for name in kept)
    assert shard_bytes(directory) == bytes_before


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    directory = tmp_path / "r"
    run(directory, two_teachers())
    litter = [open_run(directory).directory("generate-a") / "_tmp-1-shard-00000.parquet"]
    litter.append(directory / "_tmp-1-_live.json")
    for file in litter:
        file.touch()
    run(directory, two_teachers())
    assert not any(file.exists() for file in litter)


def test_what_a_worker_of_a_dead_run_leaves_meanwhile_is_removed_at_the_end(tmp_path: Path) -> None:
    class Haunted(LocalBackend):
        def run(self, execution: ExecutionPlan, watch: RunMonitor) -> None:
            super().run(execution, watch)
            directory = execution.step("generate-a").job.directory
            (directory / "_tmp-1-shard-00000.parquet").touch()
            late = Journal(directory, 0, Candidate, {})
            late.open(died=False)
            late.close()

    run(tmp_path / "r", two_teachers(), Haunted())
    assert not list((tmp_path / "r").rglob("_tmp-*")) + list((tmp_path / "r").glob("*/_journal/*"))


def test_steps_of_one_pool_must_want_the_same_worker(tmp_path: Path) -> None:
    prompts = Step(facts_of("prompts"), ToySource(num_rows=4), Prompt, scope="source")
    steps = [
        Step(facts_of(f"generate-{t}"), ToyAnswer(teacher=t), Candidate, {"prompts": (prompts,)}, pool="shared")
        for t in "ab"
    ]
    with pytest.raises(UserError, match="'generate-a' and 'generate-b' would share a worker"):
        plan(tmp_path, steps, 1, [0])


def test_a_source_larger_than_the_buffer_is_written_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole", two_teachers(num_rows=200))
    monkeypatch.setattr("arbitrage.execution.source_task.BUFFERED_ROWS", 16)
    run(tmp_path / "pieces", two_teachers(num_rows=200))
    tables = [list(open_run(tmp_path / name).tables("prompts")) for name in ("whole", "pieces")]
    assert tables[0] == tables[1]
    assert shard_bytes(tmp_path / "whole") == shard_bytes(tmp_path / "pieces")
    assert not list(tmp_path.rglob("_tmp-*"))


@pytest.mark.process
def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    code = "import fcntl,sys,time; f=open(sys.argv[1],'a'); fcntl.flock(f,fcntl.LOCK_EX); print('held',flush=True); time.sleep(600)"
    (tmp_path / "r").mkdir()
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "r" / "_lock")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RunDirectoryError, match="another process"):
            run(tmp_path / "r", two_teachers())
    finally:
        holder.kill()
        holder.wait()
    run(tmp_path / "r", two_teachers())


def test_a_pool_that_can_never_be_placed_is_named_at_once(tmp_path: Path, ray_backend: RayBackend) -> None:
    with pytest.raises(PlacementError, match=r"generate-a: a replica needs 9999 CPUs.*the nodes have: \d+ CPUs"):
        run(tmp_path / "r", two_teachers(cpus=9999.0), ray_backend)


def test_a_worker_that_dies_once_is_started_again(tmp_path: Path, ray_backend: RayBackend) -> None:
    answer = ToyAnswer(fault="die_once", die_marker=str(tmp_path / "died"))
    run(tmp_path / "died-once", toy_pipeline(ToySource(num_rows=20), answer, cpus=1.0), ray_backend)
    run(tmp_path / "healthy", toy_pipeline(ToySource(num_rows=20), ToyAnswer(), cpus=1.0))
    assert (tmp_path / "died").exists()
    assert sorted(shard_bytes(tmp_path / "died-once").values()) == sorted(shard_bytes(tmp_path / "healthy").values())


def test_a_worker_that_always_dies_ends_the_run_with_its_name(tmp_path: Path, ray_backend: RayBackend) -> None:
    with pytest.raises(ExecutionError, match=r"generate-toy shard \d: its worker died 3 times"):
        run(tmp_path / "r", toy_pipeline(ToySource(num_rows=20), ToyAnswer(fault="die"), cpus=1.0), ray_backend)


def test_an_unwritable_directory_is_one_sentence() -> None:
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        run(Path("/proc/nowhere"), two_teachers())


KILLED = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from arbitrage.execution.progress import NoProgress
    from tests.support.runs import run
    from tests.support.toy import two_teachers
    import arbitrage.execution.local as local
    do, num_left = local.do_shard, int(sys.argv[2])
    async def slow(*arguments):
        global num_left
        num_left -= 1
        time.sleep(0.05 if num_left >= 0 else 0.5)
        return await do(*arguments)
    local.do_shard = slow
    run(Path(sys.argv[1]), two_teachers(), shards=16)
""")


@pytest.mark.parametrize("after_shards", [3, 20, 37])
@pytest.mark.process
def test_sigkill_loses_and_doubles_nothing(tmp_path: Path, after_shards: int) -> None:
    directory = tmp_path / "killed"
    driver = subprocess.Popen([sys.executable, "-c", KILLED, str(directory), str(after_shards)], cwd=ROOT)
    folders = ("generate-*", "ensemble-*")
    wait_until(lambda: sum(len(list(directory.glob(f"{f}/shard-*"))) for f in folders) >= after_shards, driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert not (directory / "manifest.json").exists()
    before = shard_times(directory)
    run(directory, two_teachers(), shards=16)
    after = shard_times(directory)
    assert all(after[name] == when for name, when in before.items())
    run(tmp_path / "whole", two_teachers(), shards=16)
    assert shard_bytes(directory) == shard_bytes(tmp_path / "whole")
    assert not list(directory.rglob("_tmp*"))


@given(st.lists(st.text(min_size=1), min_size=1, max_size=50), st.integers(1, 64))
@settings(max_examples=50)
def test_every_id_has_one_shard_in_range(ids: list[str], num_shards: int) -> None:
    assert all(0 <= shard_of(i, num_shards) < num_shards for i in ids)
    assert [shard_of(i, num_shards) for i in ids] == [shard_of(i, num_shards) for i in list(ids)]


def test_operational_fields_stay_out_of_fingerprints(tmp_path: Path) -> None:
    light, heavy = (plan(tmp_path, two_teachers(cpus=c).targets, 4, range(4)) for c in (0.0, 2.0))
    assert [s.fingerprint for s in light.steps] == [s.fingerprint for s in heavy.steps]
    fewer = plan(tmp_path, two_teachers().targets, 5, range(4))
    assert fewer.steps[0].fingerprint != light.steps[0].fingerprint


def test_a_renamed_class_keeps_its_fingerprint_and_another_kind_does_not(tmp_path: Path) -> None:
    class Renamed(ToySource):
        pass

    class OtherKind(ToySource):
        step_kind = "test_other"

    def fingerprint(config: ToySource) -> str:
        return (
            plan(tmp_path, [Step(facts_of("prompts"), config, Prompt, scope="source")], 4, range(4))
            .steps[0]
            .fingerprint
        )

    assert fingerprint(Renamed(num_rows=3)) == fingerprint(ToySource(num_rows=3))
    assert fingerprint(OtherKind(num_rows=3)) != fingerprint(ToySource(num_rows=3))
