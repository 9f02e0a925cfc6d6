"""Write `report.html` of a run."""

from dataclasses import dataclass

from arbitrage.report import wording
from arbitrage.report.curve_view import curve_view
from arbitrage.report.gallery import GalleryPrompt
from arbitrage.report.page import render_page
from arbitrage.report.strategy_view import language_view, strategy_view
from arbitrage.report.summary import RunSummary, read
from arbitrage.report.table_view import table_view
from arbitrage.shards.place import Place
from arbitrage.shards.run import open_run
from arbitrage.shards.store import commit_bytes

REPORT_FILE = "report.html"


@dataclass(frozen=True, slots=True)
class Report:
    """A page that was written, and the figures on it."""

    path: Place
    summary: RunSummary


def build_report(run_dir: Place) -> Report:
    """Write the report of a finished run into its directory.

    Raises:
        RunDirectoryError: no run lies there, or it has not finished.
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
        verdict=wording.verdict(judged),
        matched=wording.matched_verdict(judged),
        not_evidence=wording.NOT_EVIDENCE,
        caveats=wording.caveats(summary),
        tables=table_view(summary),
        strategies=strategy_view(judged) if judged else None,
        languages=language_view(summary, judged) if judged else None,
        curves=curve_view(judged) if judged else None,
        gallery=gallery,
        gallery_languages=tuple(dict.fromkeys(prompt.language for prompt in gallery)),
    )
