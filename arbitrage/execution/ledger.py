"""The books of a run: sum the counts, check the conservation law against the files, hold the reject budget."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from arbitrage.errors import ConservationError
from arbitrage.execution.environment import git_commit, package_versions
from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.shards.layout import rejects_path, shard_path, stats_path
from arbitrage.shards.manifest import Account, Manifest, RunPlan, ShardStats, StepReport
from arbitrage.shards.place import for_each
from arbitrage.shards.store import count_rows

BUDGETED = ("prompts", "generate")
"""Steps whose rejects are losses. A selector's rejects are its decisions, a router's the pool's gaps."""


def balance_books(planned: RunPlan, execution: ExecutionPlan, seconds: float, max_rejected: float) -> Manifest:
    """Return the manifest of a run whose shards are all complete.

    Raises:
        ConservationError: the files do not hold what the counts say, or rows in ≠ rows out + rejected.
    """
    steps = tuple(_report(step) for step in execution.steps)
    return Manifest(
        plan=planned,
        status="complete" if len(planned.shards) == planned.num_shards else "pilot",
        over_budget=over_budget(steps, max_rejected),
        steps=steps,
        seconds=round(seconds, 3),
        finished_at=now(),
        git_commit=git_commit(),
        packages=package_versions(),
    )


def over_budget(steps: Sequence[StepReport], max_rejected: float) -> tuple[str, ...]:
    """Return a sentence for each step that lost more than its share of rows, and why."""
    problems = []
    for step in steps:
        share = step.num_rejected / step.num_in if step.num_in else 0.0
        if step.name.split("-")[0] in BUDGETED and share > max_rejected:
            reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(step.rejected.items()))
            problems.append(
                f"{step.name}: {step.num_rejected} of {step.num_in} rows were rejected ({reasons}); "
                f"max_rejected allows {max_rejected:.0%}"
            )
    return tuple(problems)


def now() -> str:
    """Return the time as it is written into plans and manifests: UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _report(planned: PlannedStep) -> StepReport:
    shards = for_each(planned.job.directory, lambda k: _balanced_stats(planned, k), planned.outputs)
    accounts = _sum_accounts([a for stats in shards for a in stats.accounts])
    rejected: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    for account in accounts:
        rejected.update(account.rejected)
    for stats in shards:
        notes.update(stats.notes)
    return StepReport(
        name=planned.step.name,
        num_shards=len(shards),
        num_reused=len(shards) - len(planned.missing),
        num_in=sum(stats.num_in for stats in shards),
        num_rows=sum(stats.num_rows for stats in shards),
        num_rejected=rejected.total(),
        rejected=dict(sorted(rejected.items())),
        accounts=accounts,
        seconds=round(sum(stats.seconds for stats in shards), 3),
        prompt_tokens=sum(stats.prompt_tokens for stats in shards),
        completion_tokens=sum(stats.completion_tokens for stats in shards),
        cost_usd=sum(stats.cost_usd for stats in shards),
        num_replayed=sum(stats.num_replayed for stats in shards),
        notes=dict(sorted(notes.items())),
    )


def _balanced_stats(planned: PlannedStep, shard: int) -> ShardStats:
    stats = ShardStats.model_validate_json(stats_path(planned.job.directory, shard).read_text(encoding="utf-8"))
    _require_balance(planned, shard, stats)
    return stats


def _require_balance(planned: PlannedStep, shard: int, stats: ShardStats) -> None:
    """Check the counts against the files: the law again, this time from what really lies there."""
    where = f"step {planned.step.name} shard {shard}"
    rows = count_rows(shard_path(planned.job.directory, shard))
    path = rejects_path(planned.job.directory, shard)
    rejects = count_rows(path) if path.exists() else 0
    if rows != stats.num_rows:
        raise ConservationError(f"{where}: {stats.num_rows} rows were written and {rows} are there")
    if planned.step.scope == "corpus":
        return
    num_out = sum(a.num_out for a in stats.accounts)
    if stats.num_in != num_out + rejects or rejects != sum(sum(a.rejected.values()) for a in stats.accounts):
        raise ConservationError(f"{where}: {stats.num_in} items in, {num_out} out, {rejects} rejected")


def _sum_accounts(accounts: Sequence[Account]) -> tuple[Account, ...]:
    found: dict[tuple[str, str | None], list[Account]] = {}
    for account in accounts:
        found.setdefault((account.language, account.teacher), []).append(account)
    summed = []
    for (language, teacher), parts in sorted(found.items(), key=lambda entry: (entry[0][0], entry[0][1] or "")):
        rejected: Counter[str] = Counter()
        for part in parts:
            rejected.update(part.rejected)
        summed.append(
            Account(
                language=language,
                teacher=teacher,
                num_in=sum(p.num_in for p in parts),
                num_out=sum(p.num_out for p in parts),
                rejected=dict(sorted(rejected.items())),
            )
        )
    return tuple(summed)
