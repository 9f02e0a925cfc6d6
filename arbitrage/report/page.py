"""`report.html`: one self-contained page without network access, in which no text of a candidate can run as code.

Texts pass through Jinja's autoescape; a content security policy allows only the page's own script, by its hash.
"""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from arbitrage.languages import is_rtl, name_of
from arbitrage.report import formatting, wording
from arbitrage.report.engines_view import engine_figures
from arbitrage.report.gallery import GalleryPrompt
from arbitrage.report.reasoning import ReasoningSummary
from arbitrage.report.reasoning_view import language_pairs, reasoning_by_language, reasoning_figures
from arbitrage.report.rendering import Figures, page_table
from arbitrage.report.steering import (
    SteeringSummary,
    aim_figures,
    cost_figures,
    moved_figures,
    shortfall_figures,
)
from arbitrage.report.strategy_view import budget_chart, language_figures, strategy_figures
from arbitrage.report.summary import RunSummary, read
from arbitrage.report.table_view import table_view
from arbitrage.runs.paths import AnyPath
from arbitrage.runs.run import open_run
from arbitrage.runs.store import commit_bytes


def render_page(template: str, *, package: str = "arbitrage.report", **values: Any) -> str:
    """Render a template that takes `title`, `style`, `script` and `policy` besides its own values.

    Args:
        template: name of the template.
        package: whose templates are looked through before those of reports.
        values: values of the template.
    """
    style, script = _asset("report.css"), _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    page = _environment(package).get_template(template)
    return page.render(style=Markup(style), script=Markup(script), policy=policy, **values)


@cache
def _environment(package: str) -> Environment:
    """Kept, because compiling the templates takes as long as a small run."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("arbitrage.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("percent", "decimal", "signed", "compact", "money", "duration", "moment"):
        environment.filters[name] = getattr(formatting, name)
    environment.filters["why_not"] = wording.why_not
    environment.filters["table"] = page_table
    environment.globals.update(name_of=name_of, is_rtl=is_rtl)
    return environment


def _asset(name: str) -> str:
    return (files("arbitrage.report") / "templates" / name).read_text(encoding="utf-8")


REPORT_FILE = "report.html"


@dataclass(frozen=True, slots=True)
class Report:
    """A written page, and its figures."""

    path: AnyPath
    summary: RunSummary


def build_report(run_dir: AnyPath) -> Report:
    """Write the report of a finished run into its directory.

    Raises:
        RunDirectoryError: there is no run, or it has not finished.
        DataError: the run has no candidate table, or its rows do not fit together.
        StorageError: the file cannot be written.
    """
    found = read(open_run(run_dir))
    path = run_dir / REPORT_FILE
    commit_bytes(path, render(found.summary, found.gallery).encode("utf-8", errors="replace"))
    return Report(path, found.summary)


def render(summary: RunSummary, gallery: tuple[GalleryPrompt, ...]) -> str:
    """Return the page."""
    judged = summary.judged
    return render_page(
        "report.html.j2",
        summary=summary,
        verdict=wording.headline(judged),
        matched=wording.matched_headline(judged),
        not_evidence=wording.NOT_EVIDENCE,
        caveats=wording.caveats(summary),
        tables=table_view(summary),
        strategies=strategy_figures(judged) if judged else None,
        languages=language_figures(summary, judged) if judged else None,
        curve=budget_chart(judged) if judged else None,
        steering_tables=_steering_tables(summary.steering) if summary.steering else None,
        reasoning=_reasoning_tables(summary.reasoning) if summary.reasoning else None,
        engines=engine_figures(summary.engines) if summary.engines else None,
        gallery=gallery,
        gallery_languages=tuple(dict.fromkeys(prompt.language for prompt in gallery)),
    )


def _reasoning_tables(found: ReasoningSummary) -> dict[str, Figures]:
    return {
        "by_teacher": reasoning_figures(found),
        "by_language": reasoning_by_language(found),
        "pairs": language_pairs(found),
    }


def _steering_tables(found: SteeringSummary) -> dict[str, Any]:
    return {
        "aims": [(aim, aim_figures(aim, found)) for aim in found.aims],
        "cost": cost_figures(found),
        "moved": moved_figures(found),
        "shortfalls": shortfall_figures(found),
    }
