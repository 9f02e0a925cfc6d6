"""The evaluation of a student: held-out prompts, the engines of teachers, and the exact check.

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
from arbitrage.report.students import EvalSet
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

FOLDER = "evaluation"
NUM_SHARDS = 1
"""One shard: sampling a student takes seconds, so an interrupted evaluation is repeated."""


def is_evaluated(directory: Path) -> bool:
    """Tell whether a student has been evaluated."""
    return (directory / FOLDER / MANIFEST_FILE).exists()


def evaluate_student(student: TeacherConfig, prompts: PromptsConfig, max_tokens: int, directory: Path) -> None:
    """Sample a student greedily on every prompt, and check the responses; the run is `<directory>/evaluation`.

    Raises:
        RejectBudgetError: more than a fifth of the prompts got no completion.
    """
    read = read_prompts(prompts)
    routes = route(AllConfig(language_filter="off"), pool_members([student]), read)
    answers = generate(student, read, routes, SamplingParams(n=1, temperature=0.0, max_tokens=max_tokens))
    match: Match = "whole" if prompts.kind == "demo" else "auto"  # responses in the demo world are single words
    verdicts = check([ExactConfig(match=match)], student.name, read, answers)
    request = RunRequest(
        name="evaluation",
        kind="evaluation",
        pipeline=Pipeline({}, {"prompts": (read,), "candidates": (answers,), "scores": (verdicts,)}),
        run_dir=directory / FOLDER,
        num_shards=NUM_SHARDS,
        shards=range(NUM_SHARDS),
        max_rejected=0.2,
        config={"prompts": json.loads(prompts.model_dump_json())},
    )
    execute(request, LocalBackend(), NoProgress())


def eval_prompts(directory: Path, left_out: frozenset[str]) -> list[Prompt]:
    """Return the prompts of a student's evaluation, in order of their ids.

    Args:
        directory: directory of a student that was evaluated.
        left_out: ids of prompts that students were trained on.

    Raises:
        DataError: no prompt with a reference is left.
    """
    run = open_run(directory / FOLDER)
    [step] = run.plan.table["prompts"]
    prompts = [p for table in run.tables(step) for p in from_table(table, Prompt) if p.prompt_id not in left_out]
    found = [p for p in prompts if p.reference is not None]
    if not found:
        why = "has a reference, which the exact check needs" if prompts else "is absent from the candidate table"
        raise DataError(f"{run.path}: no prompt of the evaluation {why}")
    return sorted(found, key=lambda p: p.prompt_id)


def eval_set_of(questions: Sequence[Prompt]) -> EvalSet:
    """Return the languages and clusters of prompts."""
    clusters: dict[str, int] = {}
    keys = [cluster_key(p.prompt_id, p.source_id, p.language) for p in questions]
    codes = [clusters.setdefault(key, len(clusters)) for key in keys]
    return EvalSet(tuple(p.language for p in questions), np.array(codes, dtype=np.int64))


def right_answers(directory: Path, questions: Sequence[Prompt]) -> Floats:
    """Return 1 for each prompt with a correct response of the student, else 0."""
    run = open_run(directory / FOLDER)
    [checks] = run.plan.table["scores"]
    right = {s.prompt_id for table in run.tables(checks) for s in from_table(table, Score) if s.value == 1.0}
    return np.array([float(p.prompt_id in right) for p in questions])
