"""The runs of an online training: complete what is missing; skip finished ones."""

import json

from arbitrage.execution.context import RunContext
from arbitrage.execution.plan import plan
from arbitrage.execution.run import RunRequest, describe
from arbitrage.runs.paths import AnyPath
from arbitrage.runs.run import MANIFEST_FILE, open_run
from pipelines.judge import JudgeRunConfig
from pipelines.loading import require_teachers
from pipelines.preference import PreferenceConfig


def complete_run(
    context: RunContext, config: PreferenceConfig | JudgeRunConfig, run: AnyPath, shards: range | None = None
) -> None:
    """Complete a run; `shards`: only these. Raises like `execute`.

    A finished run is not locked, so that several students can share it.
    """
    if isinstance(config, JudgeRunConfig):
        kind, max_rejected = "judge", 1.0  # rows that an evaluation loses are shown beside its figures
    else:
        kind, max_rejected = config.kind, config.max_rejected
    request = RunRequest(
        name=config.name,
        kind=kind,
        pipeline=config.build(),
        run_dir=run,
        num_shards=config.num_shards,
        shards=range(config.num_shards) if shards is None else shards,
        max_rejected=max_rejected,
        config=json.loads(config.model_dump_json()),
    )
    if not _is_finished(request):
        context.execute(request, require_teachers)


def _is_finished(request: RunRequest) -> bool:
    """Tell whether a directory holds exactly this run, finished."""
    if not (request.run_dir / MANIFEST_FILE).exists():
        return False
    execution = plan(request.run_dir, request.pipeline.targets, request.num_shards, request.shards)
    found, wanted = open_run(request.run_dir).plan, describe(request, execution, "")
    return not execution.num_missing and (found.fingerprint, found.shards) == (wanted.fingerprint, wanted.shards)
