"""Accounting of a run: rows in = rows out + rejects, checked against the files; the reject budget.

A step over its reject budget is reported with the number of rejects, the reasons, one example of each, and the path
of the rejects.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from arbitrage.errors import ArbitrageError, ConservationError, DamagedFileError
from arbitrage.execution.environment import git_commit, package_versions
from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.printable import one_line
from arbitrage.runs.layout import shard_path, stats_path
from arbitrage.runs.lineage import read_stats
from arbitrage.runs.manifest import Account, Manifest, RunPlan, ShardStats, StepReport
from arbitrage.runs.paths import for_each, sizes_in
from arbitrage.runs.verified import read_rejects

MAX_DETAIL = 300
"""Maximum number of characters shown of a reject's detail."""

MAX_REASONS = 20
"""Number of reasons with an example, the most frequent first."""


def describe_loss(report: StepReport, planned: PlannedStep, max_rejected: float) -> str:
    """Describe a step's rejects in some lines, to repair a source or a teacher."""
    ranked = sorted(report.rejected.items(), key=lambda item: (-item[1], item[0]))
    reasons = ", ".join(f"{reason} {number}" for reason, number in ranked)
    head = (
        f"{report.name}: {report.num_rejected} of {report.num_in} rows were rejected ({reasons}); "
        f"max_rejected allows {100 * max_rejected:.3g}%"
    )
    wanted = [reason for reason, _ in ranked[:MAX_REASONS]]
    lines = [f"  {line}" for line in _examples(planned, wanted)]
    more = [f"  and {len(ranked) - len(wanted)} more reasons"] if len(ranked) > len(wanted) else []
    directory = planned.job.directory
    command = f"arbitrage show {directory.parent} {report.name} --rejects"
    where = f"  all rejects: {directory / '_rejects'}; to read them: {command}"
    return "\n".join([head, *lines, *more, where])


def _examples(planned: PlannedStep, reasons: Sequence[str]) -> list[str]:
    """Return one reject of each reason, in the order of the reasons: '<reason>: <row>: <column and value>'."""
    found: dict[str, str] = {}
    for shard in planned.outputs:
        if len(found) == len(reasons):
            break
        try:
            table = read_rejects(planned.job.directory, shard)
        except ArbitrageError:  # a missing example is no error
            continue
        rows = table.select(["item_id", "reason", "detail"]).to_pylist() if table is not None else ()
        for row in rows:
            if row["reason"] in reasons and row["reason"] not in found:
                found[row["reason"]] = _example(row["item_id"], row["detail"])
    return [f"{reason}: {found[reason]}" for reason in reasons if reason in found]


def _example(item_id: str, detail: str | None) -> str:
    text = one_line(detail or "")
    clipped = text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]}… ({len(text):,} characters)"
    return f"{one_line(item_id)}: {clipped}" if clipped else one_line(item_id)


class _Sums:
    """Sums of the counts of some of a step's shards."""

    def __init__(self) -> None:
        self.shards: set[int] = set()
        self.totals: Counter[str] = Counter()
        self.seconds = self.cost_usd = 0.0
        self.notes: Counter[str] = Counter()
        self.accounts: dict[tuple[str, str | None], _Account] = {}

    def add(self, shard: int, stats: ShardStats) -> None:
        """Add a shard's counts, once."""
        if shard in self.shards:
            return
        self.shards.add(shard)
        for name in _TOTALS:
            self.totals[name] += getattr(stats, name)
        self.seconds += stats.seconds
        self.cost_usd += stats.cost_usd
        self.notes.update(stats.notes)
        for account in stats.accounts:
            self.accounts.setdefault((account.language, account.teacher), _Account()).add(account)


_TOTALS = ("num_in", "num_rows", "prompt_tokens", "completion_tokens", "num_replayed", "num_damaged_lines")


class _Account:
    def __init__(self) -> None:
        self.num_in = self.num_out = 0
        self.rejected: Counter[str] = Counter()

    def add(self, account: Account) -> None:
        self.num_in += account.num_in
        self.num_out += account.num_out
        self.rejected.update(account.rejected)


class Accounts:
    """Counts of the shards done in this run, by step; `num_kept`: shards that turned out to be up to date."""

    def __init__(self) -> None:
        self.num_kept: Counter[str] = Counter()
        self._sums: dict[str, _Sums] = {}

    def enter(self, step: str, shard: int, stats: ShardStats) -> None:
        """Add a shard's counts."""
        self.of(step).add(shard, stats)

    def of(self, step: str) -> _Sums:
        """Return the sums of a step."""
        return self._sums.setdefault(step, _Sums())


def check_accounts(
    planned: RunPlan, execution: ExecutionPlan, accounts: Accounts, seconds: float, max_rejected: float
) -> Manifest:
    """Return the manifest of a run whose shards are all complete.

    Raises:
        ConservationError: the files do not match the counts, or rows in ≠ rows out + rejected.
    """
    steps = tuple(_report(step, accounts) for step in execution.steps)
    return Manifest(
        plan=planned,
        status="complete" if len(planned.shards) == planned.num_shards else "pilot",
        over_budget=over_budget(steps, execution.steps, max_rejected),
        steps=steps,
        seconds=round(seconds, 3),
        finished_at=now(),
        git_commit=git_commit(),
        packages=package_versions(),
    )


def over_budget(
    reports: Sequence[StepReport], planned: Sequence[PlannedStep], max_rejected: float
) -> tuple[str, ...]:
    """Return lines for each step with more rejects than allowed: why, with examples, and where."""
    problems = []
    for report, step in zip(reports, planned, strict=True):
        share = report.num_rejected / report.num_in if report.num_in else 0.0
        if step.step.facts.is_budgeted and share > max_rejected:
            problems.append(describe_loss(report, step, max_rejected))
    return tuple(problems)


def now() -> str:
    """Return the time for plans and manifests: UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _report(planned: PlannedStep, accounts: Accounts) -> StepReport:
    """Add earlier shards to those of this run, and check each shard's counts against its files."""
    sums = accounts.of(planned.step.name)
    directory = planned.job.directory
    sizes = sizes_in(directory)
    rejects = sizes_in(directory / "_rejects")
    reused = [k for k in planned.outputs if k not in sums.shards]
    for shard, stats in zip(reused, for_each(directory, lambda k: read_stats(directory, k), reused), strict=True):
        if stats is None:
            raise DamagedFileError(f"{stats_path(directory, shard)}: is missing or damaged; rerun the command")
        _require_files(planned, shard, stats, sizes, rejects)
        sums.add(shard, stats)
    missing = [k for k in planned.outputs if shard_path(directory, k).name not in sizes]
    if missing:
        raise ConservationError(f"step {planned.step.name}: shard {missing[0]} was written and has disappeared")
    by_group = tuple(
        Account(
            language=language,
            teacher=teacher,
            num_in=each.num_in,
            num_out=each.num_out,
            rejected=dict(sorted(each.rejected.items())),
        )
        for (language, teacher), each in sorted(sums.accounts.items(), key=lambda one: (one[0][0], one[0][1] or ""))
    )
    rejected: Counter[str] = Counter()
    for account in by_group:
        rejected.update(account.rejected)
    return StepReport(
        name=planned.step.name,
        num_shards=len(planned.outputs),
        num_reused=len(planned.outputs) - len(planned.missing) + accounts.num_kept[planned.step.name],
        num_rejected=rejected.total(),
        rejected=dict(sorted(rejected.items())),
        accounts=by_group,
        seconds=round(sums.seconds, 3),
        cost_usd=sums.cost_usd,
        notes=dict(sorted(sums.notes.items())),
        **{name: sums.totals[name] for name in _TOTALS},
    )


def _require_files(
    planned: PlannedStep, shard: int, stats: ShardStats, sizes: Mapping[str, int], rejects: Mapping[str, int]
) -> None:
    """Check a shard's counts against the files on disk: rows in = rows out + rejects."""
    where = f"step {planned.step.name} shard {shard}"
    name = shard_path(planned.job.directory, shard).name
    if sizes.get(name) != stats.size_bytes:
        raise ConservationError(f"{where}: {stats.size_bytes} bytes were written and {sizes.get(name)} are there")
    wanted = stats.rejects.size_bytes if stats.rejects else None
    if rejects.get(name) != wanted:
        raise ConservationError(f"{where}: {wanted} bytes of rejects were written and {rejects.get(name)} are there")
    if planned.step.scope == "corpus":
        return
    num_out = sum(a.num_out for a in stats.accounts)
    num_rejected = sum(sum(a.rejected.values()) for a in stats.accounts)
    if stats.num_in != num_out + num_rejected:
        raise ConservationError(f"{where}: {stats.num_in} items in, {num_out} out, {num_rejected} rejected")
