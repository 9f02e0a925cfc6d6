"""The exam: held-out prompts put to a student by the same engines and the same exact check as to any teacher.

prompts ─> route (the student alone) ─> generate ─> check
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from arbitrage.candidates.queries import cluster_key
from arbitrage.contracts.engines import SamplingParams
from arbitrage.contracts.steps import Pipeline
from arbitrage.errors import DataError
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.progress import NoProgress
from arbitrage.execution.run import RunRequest, execute
from arbitrage.prompts import PromptsConfig
from arbitrage.prompts.step import read_prompts
from arbitrage.records import Prompt, Score
from arbitrage.report.students import EvaluationSet
from arbitrage.rewards.score import check
from arbitrage.rewards.text_checks import ExactConfig
from arbitrage.runs.run import MANIFEST_FILE, open_run
from arbitrage.statistics import Floats
from arbitrage.tables import from_table
from arbitrage.teachers.generate import generate
from arbitrage.teachers.pool import TeacherConfig, pool_members
from arbitrage.text.exact_match import Match
from routers.all import AllConfig
from routers.step import route

FOLDER = "exam"
NUM_SHARDS = 1
"""A student answers in seconds; what is resumed is the next student."""


def is_examined(directory: Path) -> bool:
    """Tell whether a student has done its exam."""
    return (directory / FOLDER / MANIFEST_FILE).exists()


def examine(student: TeacherConfig, prompts: PromptsConfig, max_tokens: int, directory: Path) -> None:
    """Ask a student every question, greedily, and check the answers; all of it lies in `<directory>/exam`.

    Raises:
        RejectBudgetError: the student fails to answer more than a fifth of the questions.
    """
    asked = read_prompts(prompts)
    routes = route(AllConfig(language_filter="off"), pool_members([student]), asked)
    answers = generate(student, asked, routes, SamplingParams(n=1, temperature=0.0, max_tokens=max_tokens))
    match: Match = "whole" if prompts.kind == "demo" else "auto"  # a sentence is no answer in the demo world
    verdicts = check([ExactConfig(match=match)], student.name, asked, answers)
    request = RunRequest(
        name="exam",
        kind="exam",
        pipeline=Pipeline({}, {"prompts": (asked,), "drafts": (answers,), "scores": (verdicts,)}),
        run_dir=directory / FOLDER,
        num_shards=NUM_SHARDS,
        shards=range(NUM_SHARDS),
        max_rejected=0.2,
        config={"prompts": json.loads(prompts.model_dump_json())},
    )
    execute(request, LocalBackend(), NoProgress())


def questions_in(directory: Path, left_out: frozenset[str]) -> list[Prompt]:
    """Return the questions of a student's exam that count, in order of their ids.

    Args:
        directory: of a student that was examined.
        left_out: ids of prompts that students were trained on.

    Raises:
        DataError: none is left that has an answer to compare with.
    """
    run = open_run(directory / FOLDER)
    [asked] = run.plan.candidates["prompts"]
    prompts = [p for table in run.tables(asked) for p in from_table(table, Prompt) if p.prompt_id not in left_out]
    found = [p for p in prompts if p.reference is not None]
    if not found:
        why = "has a reference, which the exact check needs" if prompts else "was not asked in the candidate table"
        raise DataError(f"{run.path}: no prompt of the exam {why}")
    return sorted(found, key=lambda p: p.prompt_id)


def exam_of(questions: Sequence[Prompt]) -> EvaluationSet:
    """Return languages and clusters of questions."""
    clusters: dict[str, int] = {}
    keys = [cluster_key(p.prompt_id, p.source_id, p.language) for p in questions]
    codes = [clusters.setdefault(key, len(clusters)) for key in keys]
    return EvaluationSet(tuple(p.language for p in questions), np.array(codes, dtype=np.int64))


def right_answers(directory: Path, questions: Sequence[Prompt]) -> Floats:
    """Return 1 for each question that a student answered right, 0 where wrong or not at all."""
    run = open_run(directory / FOLDER)
    [checks] = run.plan.candidates["scores"]
    right = {s.prompt_id for table in run.tables(checks) for s in from_table(table, Score) if s.value == 1.0}
    return np.array([float(p.prompt_id in right) for p in questions])
