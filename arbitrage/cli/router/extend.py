"""`arbitrage router probe-prompts` and `add-teacher`: add a new model to a trained router."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbitrage.cli.options import JsonOption
from arbitrage.cli.router.evaluate import (
    GroupOption,
    LanguageOption,
    ModelsOption,
    RewardOption,
    RunOption,
    TaskOption,
    read_outcomes,
)
from arbitrage.cli.screen import say

if TYPE_CHECKING:
    from routers.learning.learned import Learned

RequiredMatrix = Annotated[
    list[Path],
    typer.Option(
        "--matrix", metavar="FILE", help="Rewards of the existing models, and of the new model on its prompts."
    ),
]


def pick_prompts(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the prompts, as JSON lines.")],
    matrix: Annotated[
        list[Path] | None, typer.Option("--matrix", metavar="FILE", help="The existing models' rewards. Repeatable.")
    ] = None,
    run: RunOption = None,
    models: ModelsOption = None,
    group_column: GroupOption = None,
    task_column: TaskOption = None,
    language_column: LanguageOption = "language",
    reward_column: RewardOption = None,
    size: Annotated[int, typer.Option("--size", min=1, help="How many prompts.")] = 128,
) -> None:
    """Pick the probe prompts of a new model: always the same ones, stratified by language and task.

    Sample the new model on them, score its candidates by the same reward, and run `add-teacher`.

    Example: `arbitrage router probe-prompts --matrix rewards.parquet --out probes.jsonl`
    """
    from arbitrage.cli.router.view import tell_left_out
    from routers.new_models.probe_prompts import pick_probe_prompts

    reading = read_outcomes(
        matrix, run, models, reward_column, group_column, None, task_column, language_column, None
    )
    tell_left_out(reading)
    found = reading.matrix
    rows = pick_probe_prompts(found.queries, found.cluster_P, found.prompt_ids, size)
    with out.open("w", encoding="utf-8") as file:
        for row in rows:
            prompt = {
                "prompt_id": found.prompt_ids[row],
                "prompt": found.queries.texts[found.queries.text_P[row]],
                "language": found.queries.languages[row],
                "task": found.queries.tasks[row],
            }
            file.write(json.dumps(prompt, ensure_ascii=False) + "\n")
    languages = len(set(found.queries.languages[rows].tolist()))
    say(f"{len(rows):,} of {len(found):,} prompts in {languages} languages: {out}")


def add_teacher(
    teacher: Annotated[str, typer.Argument(metavar="TEACHER", help="Name of the new model in the matrix.")],
    router: Annotated[Path, typer.Option("--router", metavar="DIR", help="The router that it joins.")],
    matrix: RequiredMatrix,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write the extended router.")],
    reward_column: Annotated[str, typer.Option("--reward-column", metavar="COLUMN")] = "reward",
    group_column: GroupOption = None,
    task_column: TaskOption = None,
    language_column: LanguageOption = "language",
    as_json: JsonOption = False,
) -> None:
    """Add a new model to a trained router without training it again.

    About 128 prompts are enough, each scored for the new model and for every existing model. With fewer than 32 the
    new model is in the pool but never chosen.

    Example: `arbitrage router add-teacher gemma-4-9b --router routers/mine --matrix rewards.parquet --matrix
    gemma.parquet --out routers/mine-2`
    """
    from arbitrage.candidates.matrix_file import MatrixColumns, read_matrix, read_rewards
    from arbitrage.errors import UserError
    from routers.learning.artifact import Artifact, load_artifact, save_artifact
    from routers.new_models.new_model import EXPLORE_ONLY_BELOW, add_new_model

    artifact = load_artifact(router)
    learned = _learned(artifact.kind, artifact.predictor, router)
    columns = MatrixColumns(language=language_column, rewards=(reward_column,), group=group_column, task=task_column)
    existing = read_matrix(matrix, columns, artifact.teachers).matrix
    rewards = read_rewards(matrix, columns, teacher)
    place = {prompt_id: row for row, prompt_id in enumerate(existing.prompt_ids)}
    scored = {prompt_id for prompt_id, reward in rewards.items() if math.isfinite(reward)}
    shared = sorted(place[prompt_id] for prompt_id in scored if prompt_id in place)
    unused = {"have no reward": len(rewards) - len(scored), "lack an existing model": len(scored) - len(shared)}
    for why, count in ((why, count) for why, count in unused.items() if count):
        say(f"of {len(rewards):,} prompts of '{teacher}' {count:,} {why}: they are not used", file=sys.stderr)
    if len(shared) < 2:
        raise UserError(
            f"add-teacher: '{teacher}' shares {len(shared)} prompts with all existing models; it takes about 128"
        )
    import numpy as np

    rows = np.asarray(shared, np.int64)
    values = np.array([rewards[existing.prompt_ids[row]] for row in shared])
    extended = add_new_model(learned, existing, teacher, rows, values)
    joined = {"teacher": teacher, "prompts": len(shared), "explore_only": extended.is_explore_only}
    about = {**artifact.about, "joined": [*artifact.about.get("joined", []), joined]}
    save_artifact(out, Artifact(artifact.kind, extended.teachers, extended.predictor, about))
    if as_json:
        print(json.dumps({"path": str(out), **joined, "teachers": extended.teachers}))
        return
    say(f"{out}: '{teacher}' joined {len(artifact.teachers)} existing models from {len(shared):,} prompts")
    if extended.is_explore_only:
        say(f"  fewer than {EXPLORE_ONLY_BELOW} prompts: it is not chosen until it has more scored prompts")


def _learned(kind: str, predictor: object, where: Path) -> "Learned":
    from arbitrage.errors import UserError
    from routers.learning.learned import Learned

    if not isinstance(predictor, Learned):
        raise UserError(f"{where}: a new model joins a router of kind learned; this is of kind {kind}")
    return predictor
