"""What a user means by a side: a teacher of the pool, a run, or files, all or one teacher's: `runs/x#sft`."""

from pathlib import Path

from arbitrage.errors import UserError
from arbitrage.judging.answers import DataSide
from arbitrage.judging.columns import AnswerColumns
from arbitrage.shards.layout import shard_path
from arbitrage.shards.run import PLAN_FILE, Run, open_run

PREFERRED = ("sft", "steered", "preference")
"""Of a run's data sets, the one that stands for it where none is named: the first of these."""


def data_side(given: str, label: str, columns: AnswerColumns) -> DataSide | None:
    """Return the data set that is meant, or None where nothing on the disk is.

    Args:
        given: by the user.
        label: what reports call it.
        columns: which column holds what.

    Raises:
        UserError: a run has no such part, or is not finished.
    """
    path, _, part = given.partition("#")
    if (Path(path) / PLAN_FILE).is_file():
        return _run_side(given, label, open_run(Path(path)), part, columns)
    if Path(given).exists():
        path, part = given, ""
    if not Path(path).exists() and not any(sign in path for sign in "*?["):
        return None
    return DataSide(label=label, paths=(str(Path(path).absolute()),), teacher=part or None, columns=columns)


def _run_side(given: str, label: str, run: Run, part: str, columns: AnswerColumns) -> DataSide:
    _ = run.manifest  # says so if the run has not finished
    paths = [path for step in _steps_of(given, run, part) for path in _shards(run, step)]
    [prompts] = run.plan.candidates["prompts"]
    return DataSide(label=label, paths=tuple(paths), prompts=tuple(_shards(run, prompts)), columns=columns)


def _steps_of(given: str, run: Run, part: str) -> list[str]:
    """Return the steps that hold a run's part: a data set, or what one teacher answered."""
    parts = {name: [step] for name, step in run.plan.datasets.items()}
    for draft in run.plan.candidates.get("drafts", ()):
        parts.setdefault(str(run.step(draft).config["teacher"]["name"]), []).append(draft)
    if fused := run.plan.candidates.get("fused"):
        parts["fused"] = list(fused)
    wanted = part or next((name for name in PREFERRED if name in parts), "")
    if wanted not in parts:
        raise UserError(f"{given}: the run has no part '{part}'; parts: {', '.join(parts) or 'none'}")
    return parts[wanted]


def _shards(run: Run, step: str) -> list[str]:
    run.require_sound(step)  # the files are read by their paths from here on
    paths = [shard_path(run.directory(step), shard) for shard in run.shards(step)]
    return [str(Path(str(path)).absolute()) for path in paths if path.exists()]
