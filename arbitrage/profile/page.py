"""Profiles and comparisons as one self-contained page, in the looks of the run report."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from arbitrage.languages import name_of
from arbitrage.profile.compare import Comparison
from arbitrage.profile.page_views import (
    Section,
    ShiftLine,
    language_map,
    sections,
    set_shift_map,
    shift_lines,
    shift_map,
)
from arbitrage.profile.profile import Profile
from arbitrage.profile.summary import CellSummary
from arbitrage.report import formatting
from arbitrage.report.heatmap import Heatmap


@dataclass(frozen=True, slots=True)
class ProfileView:
    """One data set as it is shown."""

    profile: Profile
    languages: Heatmap
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """One comparison as it is shown."""

    comparison: Comparison
    num_tested: int
    num_clear: int
    map: Heatmap | None
    set_map: Heatmap | None
    lines: tuple[ShiftLine, ...]


def render(
    profiles: Sequence[Profile], summaries: Sequence[Sequence[CellSummary]], comparisons: Sequence[Comparison]
) -> str:
    """Return the page: comparisons first, then each data set by language and teacher, then what is measured."""
    style, script = _asset("report.css"), _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    views = [
        ProfileView(profile, language_map(profile, cells), sections(profile, cells))
        for profile, cells in zip(profiles, summaries, strict=True)
    ]
    return (
        _environment()
        .get_template("profile.html.j2")
        .render(
            title=" → ".join(profile.name for profile in profiles),
            style=Markup(style),
            script=Markup(script),
            policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:",
            profiles=views,
            comparisons=[_comparison_view(each) for each in comparisons],
            metrics=(*profiles[0].metrics, *profiles[0].set_metrics),
        )
    )


def _comparison_view(found: Comparison) -> ComparisonView:
    return ComparisonView(
        found,
        sum(shift.q is not None for shift in found.shifts),
        sum(shift.is_clear for shift in found.shifts),
        shift_map(found),
        set_shift_map(found),
        shift_lines(found),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("arbitrage.profile"), PackageLoader("arbitrage.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["compact"] = formatting.compact
    environment.globals.update(name_of=name_of)
    return environment


def _asset(name: str) -> str:
    return (files("arbitrage.report") / "templates" / name).read_text(encoding="utf-8")
