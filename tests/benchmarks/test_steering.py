"""How the steering benchmarks compare students, and how their figures come into the documents."""

import numpy as np
import pytest

from arbitrage.demo.tasks import DemoItem
from benchmarks.documents import between
from benchmarks.steering_document import student_part
from benchmarks.steering_student import compare


def test_students_are_compared_question_by_question_and_drawn_by_facts() -> None:
    items = [DemoItem("en", "colours", f"q{i}", "white", f"colours/{i % 20}") for i in range(40)]
    random = np.random.default_rng(0)
    control = np.stack([random.normal(4, 1, (2, 40)), random.integers(0, 2, (2, 40))], axis=-1)
    steered = control + np.array([0.5, 0.0])
    steered[:, 0, 0] = np.nan  # an answer without a value: its question is left out
    found = compare(items, {"steered": steered, "control": control, "unsteered": control})
    assert found["value_steered_minus_control"] == pytest.approx([0.5, 0.5, 0.5])
    assert found["right_steered_minus_control"] == pytest.approx([0.0, 0.0, 0.0])
    assert found["value_by_seed"]["control"] == pytest.approx(control[:, :, 0].mean(axis=1).tolist())


def test_a_lost_bound_is_said() -> None:
    shift = {
        "value": {"control": 3.8, "steered": 4.4, "unsteered": 4.0},
        "value_by_seed": {"steered": [4.4], "control": [3.8]},
    }
    one = {
        "label": "characters:up",
        "untrained": {"value": 4.0, "right": 0.5},
        "right": shift["value"],
        "right_by_seed": shift["value_by_seed"],
        **shift,
        **{
            f"{what}_steered_minus_{other}": [0.1, 0.0, 0.2]
            for what in ("value", "right")
            for other in ("control", "unsteered")
        },
    }
    figures = {"objectives": {"length": one}, "bound": 0.05, "seeds": 1, "asked": 50, "epochs": 2}
    assert "It holds" in student_part(figures)
    one["right_steered_minus_control"] = [-0.02, -0.06, 0.01]
    assert "It does **not** hold" in student_part(figures)


def test_a_document_without_marks_is_an_error() -> None:
    text = "a\n<!-- x: written by s.py -->\nold\n<!-- end of x -->\nb"
    assert between(text, "x", "s.py", "new") == "a\n<!-- x: written by s.py -->\n\nnew\n<!-- end of x -->\nb"
    with pytest.raises(ValueError, match=r"no part 'y' of s\.py"):
        between(text, "y", "s.py", "new")
