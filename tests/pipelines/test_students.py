"""The students' table on scores made by hand: means, differences, intervals over facts and seeds, text and picture."""

from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest

from arbitrage.errors import DataError
from arbitrage.report.students import EvalSet, StudentFigures, StudentResults, compare_students, figures_from
from arbitrage.report.students_view import students_lines, students_markdown, students_picture
from pipelines.students.budgets import StrategyRows, training_sets

NUM = 200
BOTH = ("rows", "generations")


def evaluation(num: int = NUM) -> EvalSet:
    """Half of the questions in either language; two wordings of each fact."""
    return EvalSet(tuple("en" if i % 4 < 2 else "sw" for i in range(num)), np.arange(num) // 2)


def taught(name: str, shares: Sequence[float], budgets: tuple[str, ...] = BOTH, num: int = NUM) -> StudentResults:
    """Students that answer a number of first questions right, one share for each seed."""
    right_PS = np.array([[float(i < share * num) for share in shares] for i in range(num)])
    return StudentResults(name, budgets, 100, 250.0, 0.5, right_PS)


def figures() -> StudentFigures:
    students = [
        taught("single-ant", (0.2, 0.2, 0.2)),
        taught("single-bee", (0.3, 0.4, 0.5)),
        taught("reward", (0.6, 0.7, 0.8), ("rows",)),
        taught("reward", (0.5, 0.5, 0.5), ("generations",)),
        taught("uniform", (0.3, 0.4, 0.5)),
    ]
    return compare_students(evaluation(), students, (1, 2, 3), np.zeros(NUM))


def test_accuracy_is_the_mean_over_seeds_and_the_best_single_is_the_baseline() -> None:
    found = figures()
    assert found.best_single == "single-bee"
    assert (found.num_questions, found.num_clusters, found.start) == (200, 100, 0.0)
    [ant, bee, reward, cheap, uniform] = found.rows
    assert reward.by_seed == pytest.approx((0.6, 0.7, 0.8))
    assert reward.overall.accuracy.value == pytest.approx(0.7)
    assert bee.overall.difference is None
    gains = [row.overall.difference.value for row in (ant, reward, cheap, uniform) if row.overall.difference]
    assert gains == pytest.approx([-0.2, 0.3, 0.1, 0.0])
    assert [row.strategy for row in found.at("rows")] == ["reward", "single-bee", "uniform", "single-ant"]
    assert found.at("generations")[0] is cheap


def test_a_language_is_judged_on_its_own_questions() -> None:
    one = evaluation()
    inside = np.array([tag == "sw" for tag in one.language_P], dtype=float)
    swahili = StudentResults("single-ant", BOTH, 1, 1.0, None, np.stack([inside] * 2, axis=1))
    [row] = compare_students(one, [swahili], (1, 2)).rows
    assert row.languages["sw"].accuracy.value == 1.0
    assert row.languages["en"].accuracy.value == 0.0
    assert row.overall.accuracy.value == 0.5


def test_seeds_widen_the_interval() -> None:
    alike, unlike = taught("single-ant", (0.5, 0.5, 0.5)), taught("single-bee", (0.2, 0.5, 0.8))
    rows = compare_students(evaluation(), [alike, unlike], (1, 2, 3)).rows
    width = [
        r.overall.accuracy.interval.high - r.overall.accuracy.interval.low
        for r in rows
        if r.overall.accuracy.interval
    ]
    assert width[1] > 1.5 * width[0] > 0


def test_facts_not_questions_are_drawn() -> None:
    questions = evaluation()
    alone = EvalSet(questions.language_P, np.arange(NUM))
    widths = []
    for one in (questions, alone):
        [row] = compare_students(one, [taught("single-ant", (0.5,))], (1,)).rows
        assert row.overall.accuracy.interval is not None
        widths.append(row.overall.accuracy.interval.high - row.overall.accuracy.interval.low)
    assert widths[0] == pytest.approx(widths[1] * 2**0.5, rel=0.15)


def test_equal_students_differ_by_nothing_for_sure() -> None:
    pair = [taught("single-ant", (0.4,)), taught("uniform", (0.4,))]
    difference = compare_students(evaluation(), pair, (1,)).rows[1].overall.difference
    assert difference is not None
    assert difference.interval is not None
    assert (difference.value, difference.interval.low, difference.interval.high) == (0.0, 0.0, 0.0)


def test_figures_survive_json() -> None:
    found = figures()
    assert figures_from(found.to_json().encode()) == found


def test_the_text_tells_both_budgets_best_first() -> None:
    text = students_markdown(figures())
    rows, generations, languages = text.split("### ")[1:]
    assert rows.index("| reward |") < rows.index("**single-bee** (best single)") < rows.index("| single-ant |")
    assert "| reward | 100 | 250 | 50 % | 70.0 % [" in rows
    assert "| reward | 100 | 250 | 50 % | 50.0 % [" in generations
    assert "reward − best single" in languages
    assert "Swahili (sw)" in languages
    assert students_lines(figures())[0].startswith("students at matched rows: reward 70.0 % > ")


def test_the_picture_has_a_dot_for_every_figure() -> None:
    root = ElementTree.fromstring(students_picture(figures()))
    dots = root.findall(".//{http://www.w3.org/2000/svg}circle")
    kinds = [dot.get("class") for dot in dots]
    assert kinds.count("full") == 4 + 2  # strategies, and languages
    assert kinds.count("hollow") == 1  # the one strategy whose training_set differs


def holding(name: str, rows: int, price: float, right: int = 0) -> StrategyRows:
    tags = ("en", "sw")
    return StrategyRows(name, dict.fromkeys(tags, rows), dict.fromkeys(tags, price), dict.fromkeys(tags, right))


def test_budgets_match_rows_and_generations() -> None:
    cheap, expensive, thrifty, every = training_sets(
        [holding("single-ant", 90, 1.0), holding("reward", 100, 3.0, 80), holding("mix_all", 300, 1.0)]
    )
    assert cheap.budgets == BOTH
    assert cheap.rows == {"en": 90, "sw": 90}
    assert (expensive.budgets, expensive.rows, expensive.generations) == (("rows",), {"en": 90, "sw": 90}, 540.0)
    assert (thrifty.budgets, thrifty.rows, thrifty.generations) == (("generations",), {"en": 30, "sw": 30}, 180.0)
    assert (every.budgets, every.rows) == (BOTH, cheap.rows)
    assert expensive.right == pytest.approx(0.8)


def test_a_strategy_without_rows_in_a_language_is_refused() -> None:
    mute = StrategyRows("single-ant", {"en": 5}, {"en": 1.0}, {})
    with pytest.raises(DataError, match=r"strategy 'single-ant' has no rows in sw, where others have some"):
        training_sets([mute, holding("reward", 5, 2.0)])
