"""The language × teacher tables, the rejects and the pairs, as heatmaps."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from arbitrage.report.charts import Heatmap, heatmap
from arbitrage.report.flow import RejectCount
from arbitrage.report.formatting import compact, decimal, metric_form, money, percent, share, signed
from arbitrage.report.pairing import PairSummary
from arbitrage.report.summary import Failed, RewardGrids, RunSummary
from arbitrage.report.tally import Grid
from arbitrage.report.wording import why_not

Labels = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class RewardView:
    """One reward before and after calibration."""

    name: str
    raw: Heatmap
    calibrated: Heatmap | None


@dataclass(frozen=True, slots=True)
class TableView:
    """All heatmaps of a run; None where there is nothing to show."""

    wins: Heatmap | None
    metric: Heatmap | None
    rewards: tuple[RewardView, ...]
    fails: tuple[Heatmap, ...]
    never_fails: tuple[str, ...]
    shut: Heatmap | None
    rejects: Heatmap | None
    prompt_tokens: Heatmap | None
    completion_tokens: Heatmap | None
    cost: Heatmap | None
    pairs: Heatmap | None


def table_view(summary: RunSummary) -> TableView:
    """Build all heatmaps of a run."""
    tables, teachers = summary.tables, summary.teachers
    labels = [(language.name, language.tag) for language in summary.languages]
    return TableView(
        wins=_any(
            heatmap(
                "Share of the chosen responses",
                labels,
                teachers,
                tables.wins,
                _short_percent,
                limits=(0.0, 1.0),
                total=("mean over languages", "mean"),
            )
        ),
        metric=_metric(summary, labels),
        rewards=tuple(_reward(grids, tables.answers, labels, teachers) for grids in tables.rewards),
        fails=tuple(_fails(check, tables.answers, labels, teachers) for check in tables.fails if check.has_any),
        never_fails=tuple(check.name for check in tables.fails if not check.has_any),
        shut=_shut(summary, labels),
        rejects=_rejects(summary.rejects, labels),
        prompt_tokens=_any(_summed("Prompt tokens", labels, teachers, tables.prompt_tokens)),
        completion_tokens=_any(_summed("Completion tokens", labels, teachers, tables.completion_tokens)),
        cost=_cost(labels, teachers, tables.cost_usd),
        pairs=_pairs(summary.pairs),
    )


def _metric(summary: RunSummary, labels: Labels) -> Heatmap | None:
    judged = summary.judged
    if judged is None:
        return None
    is_accuracy = judged.metric.kind == "accuracy"
    return _any(
        heatmap(
            "Right by the exact check, all samples" if is_accuracy else f"Mean of {judged.metric.name}",
            labels,
            summary.teachers,
            summary.tables.metric,
            _short_percent if is_accuracy else metric_form(judged.metric).value,
            hue="heat" if is_accuracy else "diverging",
            limits=(0.0, 1.0) if is_accuracy else None,
            total=("mean over languages", "mean"),
            notes=_shares(summary.tables.measured, summary.tables.answers),
        )
    )


def _fails(check: Failed, answers: Grid, labels: Labels, teachers: Sequence[str]) -> Heatmap:
    """Draw the share of candidates that fail a check; as numbers if they are few, because 1 of 1 is not 100 %."""
    cells = [list(zip(*rows, strict=True)) for rows in zip(check.failed, answers, strict=True)]
    grid = tuple(tuple((failed or 0.0) / num if num else None for failed, num in row) for row in cells)
    notes = tuple(
        tuple(f"{compact(failed or 0.0)} of {compact(num)}" if failed and num else "" for failed, num in row)
        for row in cells
    )
    untold = sum(v or 0.0 for row in answers for v in row) - sum(v or 0.0 for row in check.checked for v in row)
    caption = f"Fails {check.name}" + (f" (no result for {compact(untold)} candidates)" if untold > 0 else "")
    return heatmap(caption, labels, teachers, grid, _short_percent, hue="alarm", limits=(0.0, 0.5), notes=notes)


def _shares(counted: Grid, answers: Grid) -> tuple[tuple[str, ...], ...]:
    """Return for every mean the share of the candidates it covers; empty if it covers all."""
    return tuple(
        tuple(f"of {share(n / num)}" if n and num and n < num else "" for n, num in zip(*rows, strict=True))
        for rows in zip(counted, answers, strict=True)
    )


def _reward(grids: RewardGrids, answers: Grid, labels: Labels, teachers: Sequence[str]) -> RewardView:
    notes = _shares(grids.scored, answers)
    calibrated = None
    if grids.calibrated is not None:
        calibrated = heatmap(
            "After calibration, in standard deviations of the language",
            labels,
            teachers,
            grids.calibrated,
            signed,
            hue="diverging",
            total=("mean over languages", "mean"),
            notes=notes,
        )
    raw = heatmap("Before: raw score", labels, teachers, grids.raw, decimal, notes=notes)
    return RewardView(grids.name, raw, calibrated)


def _shut(summary: RunSummary, labels: Labels) -> Heatmap | None:
    """Languages × reasons, summed over teachers."""
    shut = summary.tables.shut
    grid = tuple(
        tuple(sum(v or 0.0 for v in measured.grid[i]) or None for measured in shut) for i in range(len(labels))
    )
    names = [why_not(measured.name) for measured in shut]
    return _any(
        heatmap(
            "Candidates that could not be selected",
            labels,
            names,
            grid,
            compact,
            hue="alarm",
            limits=_softly(grid),
            total=("all", "sum"),
        )
    )


def _rejects(rejects: Sequence[RejectCount], labels: Labels) -> Heatmap | None:
    """Languages × (stage, reason), summed over teachers; languages without a prompt come last."""
    counts: Counter[tuple[str, str]] = Counter()
    for r in rejects:
        counts[(r.language, f"{r.stage}: {r.reason}")] += r.count
    columns = sorted({column for _, column in counts})
    known = [tag for _, tag in labels]
    strange = sorted({language for language, _ in counts} - set(known))
    rows = [*labels, *((tag or "unknown", tag) for tag in strange)]
    grid = tuple(tuple(float(counts[(tag, c)]) or None for c in columns) for _, tag in rows)
    return _any(
        heatmap(
            "Rows that were rejected",
            rows,
            columns,
            grid,
            compact,
            hue="alarm",
            limits=_softly(grid),
            total=("all", "sum"),
        )
    )


def _pairs(pairs: PairSummary | None) -> Heatmap | None:
    if pairs is None:
        return None
    grid = tuple(tuple(float(n) or None for n in row) for row in pairs.chosen_by_rejected)
    labels = [(name, "") for name in pairs.teachers]
    corner = "chosen ↓ · rejected →"
    return heatmap("Pairs", labels, pairs.teachers, grid, compact, limits=_from_zero(grid), corner=corner)


def _summed(caption: str, labels: Labels, teachers: Sequence[str], grid: Grid) -> Heatmap:
    return heatmap(caption, labels, teachers, grid, compact, limits=_softly(grid), total=("all", "sum"))


def _cost(labels: Labels, teachers: Sequence[str], grid: Grid) -> Heatmap | None:
    if not _has_any(grid):
        return None
    return heatmap("Cost, US dollars", labels, teachers, grid, money, limits=_softly(grid), total=("all", "sum"))


def _from_zero(grid: Grid) -> tuple[float, float]:
    return 0.0, max((v for row in grid for v in row if v is not None), default=1.0)


def _softly(grid: Grid) -> tuple[float, float]:
    """Sums have no natural maximum, so the largest value gets a lighter colour."""
    return 0.0, 1.7 * _from_zero(grid)[1]


def _has_any(grid: Grid) -> bool:
    return any(v for row in grid for v in row)


def _any(found: Heatmap) -> Heatmap | None:
    has_values = any(cell.strength is not None for row in found.rows for cell in row.cells)
    return found if has_values else None


def _short_percent(value: float | None) -> str:
    return percent(value, 0).removesuffix(" %")
