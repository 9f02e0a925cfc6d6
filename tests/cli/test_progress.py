"""What a run says of its progress: rows and tokens a second by the wall clock, and the time left."""

import io
import time
from types import SimpleNamespace

import pytest

from arbitrage.cli.progress import BarProgress, LineProgress, live_sentence, rates
from arbitrage.cli.screen import Screen
from arbitrage.execution.pace import Pace
from arbitrage.runs.manifest import LiveStep, ShardStats
from tests.support.step_facts import facts_of


def _stats(num_rows=100, seconds=10.0, tokens=5000):
    return ShardStats(num_in=num_rows, num_rows=num_rows, accounts=(), seconds=seconds, completion_tokens=tokens)


def _execution(name="generate-aya", num_shards=4, num_missing=4):
    step = SimpleNamespace(name=name, facts=facts_of(name), scope="shard")
    planned = SimpleNamespace(step=step, missing=range(num_missing), outputs=range(num_shards))
    return SimpleNamespace(steps=[planned], num_missing=num_missing), planned


LIVE = LiveStep(
    num_items=400,
    num_answered=100,
    num_in_flight=64,
    completion_tokens=10_000,
    num_shards=2,
    seconds=20.0,
    shards_done=1,
    shards_left=7,
    rows_done=200,
    tokens_done=20_000,
)


def test_rates_count_what_is_done_and_what_has_arrived():
    assert LIVE.rows_per_s == pytest.approx((200 + 100) / 20)
    assert LIVE.tokens_per_s == pytest.approx((20_000 + 10_000) / 20)


def test_time_left_is_that_of_the_shards_left_at_the_pace_so_far():
    # 1 shard and 2 × 100 / 400 of others are done in 20 s; 7 are left but for that half
    assert LIVE.seconds_left == pytest.approx(20.0 * 6.5 / 1.5)


def test_what_an_earlier_pass_answered_makes_nothing_faster_and_is_not_left_either():
    resumed = LIVE.model_copy(update={"num_replayed": 200})
    assert resumed.rows_per_s == LIVE.rows_per_s
    assert resumed.seconds_left == pytest.approx(20.0 * 5.5 / 1.5)


@pytest.mark.parametrize("changes", [{"seconds": 0.2}, {"num_answered": 0, "shards_done": 0}, {"shards_left": 0}])
def test_no_time_left_is_made_up(changes):
    assert LIVE.model_copy(update=changes).seconds_left is None


def test_a_step_under_way_is_said_in_one_line():
    text = live_sentence(LIVE)
    assert text == "1 of 8 shards, 100 of 400 answered, 15 rows/s, 1,500 tokens/s, 1 min 27 s left, 64 in flight"


def test_slow_rates_are_not_rounded_to_nothing():
    assert rates(0.034, 1204.0) == ["0.034 rows/s", "1,204 tokens/s"]
    assert rates(0.0, 0.0) == []


def test_lines_say_rates_by_the_wall_clock_when_a_step_ends(capsys, monkeypatch):
    """The time that a model took to load is not the step's."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    execution, step = _execution()
    progress = LineProgress()
    progress.planned(execution)
    clock.now += 30.0  # the model loads
    for shard in range(4):
        clock.now += 10.0
        progress.shard_done(step, shard, _stats())
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith("generate aya: done, 400 rows in 40 s, 10 rows/s, 500 tokens/s")
    assert "per worker" not in last


def test_bars_show_rates_and_time_left():
    execution, step = _execution(num_shards=8, num_missing=8)
    screen = Screen(file=io.StringIO(), width=160, force_terminal=True, color_system=None)
    with BarProgress(screen) as progress:
        progress.planned(execution)
        progress.shard_done(step, 0, _stats(num_rows=200))
        progress.live({"generate-aya": LIVE})
    text = screen.file.getvalue()
    assert "300 rows 15 rows/s, 1,500 tokens/s, 64 in flight, 1 min 27 s left" in text
    assert "1/8" in text


def test_pace_counts_shards():
    pace = Pace(0.0, 3)
    pace.shard_done(_stats(num_rows=7, tokens=70))
    assert (pace.shards_done, pace.shards_left, pace.rows_done, pace.tokens_done) == (1, 2, 7, 70)
