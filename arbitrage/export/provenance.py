"""`provenance.json`: trace an exported file back to the run, the models and the prompts."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from arbitrage.export.summary import ExportSummary

PROVENANCE_FILE = "provenance.json"
FORMAT_VERSION = 1


def provenance(summary: ExportSummary) -> str:
    """Return the file's text, without time or host name: the same export gives the same bytes."""
    manifest, tally = summary.run.manifest, summary.tally
    value = {
        "format_version": FORMAT_VERSION,
        "dataset": summary.dataset,
        "trainer": summary.format.trainer,
        "record": summary.source.kind,
        "run": {
            "name": manifest.plan.name,
            "pipeline": manifest.plan.pipeline,
            "fingerprint": manifest.plan.fingerprint,
            "status": manifest.status,
            "shards": len(manifest.plan.shards),
            "num_shards": manifest.plan.num_shards,
            "finished_at": manifest.finished_at,
            "git_commit": manifest.git_commit,
            "packages": dict(sorted(manifest.packages.items())),
            "config": manifest.plan.config,
        },
        "steps": {step.name: step.fingerprint for step in manifest.plan.steps},
        "teachers": {name: _teacher(summary, name) for name in summary.source.teachers},
        "licences": licence_table(tally.licences),
        "options": {
            "test_fraction": summary.test_fraction,
            "licences": None if summary.allowed is None else sorted(summary.allowed),
            "reasoning": summary.reasoning,
        },
        "rows": {
            "in_run": tally.num_read,
            "exported": tally.num_rows,
            "skipped": dict(sorted(tally.skipped.items())),
            "by_split": tally.splits(),
            "by_language": tally.languages(),
            "with_reasoning": tally.num_reasoned,  # in the run; dropped where the option says so
        },
        "files": [asdict(file) for file in summary.files],
    }
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def licence_table(licences: Counter[tuple[str, ...]]) -> list[dict[str, Any]]:
    """Return the sets of licences that bind rows together, most rows first."""
    ranked = sorted(licences.items(), key=lambda item: (-item[1], item[0]))
    return [{"licences": list(found), "rows": count} for found, count in ranked]


def _teacher(summary: ExportSummary, name: str) -> Mapping[str, Any]:
    facts = asdict(summary.source.teachers[name])
    rows = sum(n for (teacher, _), n in summary.tally.chosen.items() if teacher == name)
    return {**facts, "rows": rows, "rows_as_rejected": summary.tally.rejected[name]}
