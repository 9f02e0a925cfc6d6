"""Profiles and comparisons as one self-contained page, in the style of the run report."""

from collections.abc import Sequence
from dataclasses import dataclass

from arbitrage.profile.compare import ProfileComparison
from arbitrage.profile.page_views import (
    Section,
    language_map,
    sections,
    set_shift_map,
    shift_map,
)
from arbitrage.profile.profile import Profile
from arbitrage.profile.summary import CellSummary
from arbitrage.profile.view import clear_shifts, shift_figures
from arbitrage.report.charts import Heatmap
from arbitrage.report.page import render_page
from arbitrage.report.rendering import Column, Figures, Row, ungrouped


@dataclass(frozen=True, slots=True)
class ProfileView:
    """One data set as shown."""

    profile: Profile
    languages: Heatmap
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """One comparison as shown."""

    comparison: ProfileComparison
    num_tested: int
    num_clear: int
    map: Heatmap | None
    set_map: Heatmap | None
    shifts: Figures | None


def render(
    profiles: Sequence[Profile], summaries: Sequence[Sequence[CellSummary]], comparisons: Sequence[ProfileComparison]
) -> str:
    """Return the page: comparisons first, then each data set by language and teacher, then the definitions."""
    views = [
        ProfileView(profile, language_map(profile, cells), sections(profile, cells))
        for profile, cells in zip(profiles, summaries, strict=True)
    ]
    return render_page(
        "profile.html.j2",
        package="arbitrage.profile",
        title=" → ".join(profile.name for profile in profiles),
        profiles=views,
        comparisons=[_comparison_view(each) for each in comparisons],
        metrics=_metric_facts(profiles[0]),
    )


def _metric_facts(profile: Profile) -> Figures:
    facts = [(config.metric_name, config.stated) for config in (*profile.metrics, *profile.set_metrics)]
    return Figures(
        title="What is measured",
        corner="metric",
        columns=tuple(Column(heading) for heading in ("what", "unit", "range", "source", "defined for")),
        groups=ungrouped([Row(name, (f.title, f.unit, f.range, f.source, f.defined)) for name, f in facts]),
    )


def _comparison_view(found: ProfileComparison) -> ComparisonView:
    return ComparisonView(
        found,
        sum(shift.q is not None for shift in found.shifts),
        sum(shift.is_clear for shift in found.shifts),
        shift_map(found),
        set_shift_map(found),
        shift_figures(found) if clear_shifts(found) else None,
    )
