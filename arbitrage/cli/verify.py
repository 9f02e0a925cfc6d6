"""`arbitrage verify`: check every file of a run for damage."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbitrage.cli.options import JsonOption, RunArgument, find_run
from arbitrage.cli.screen import Screen, say, to_json
from arbitrage.errors import DataError, UserError

if TYPE_CHECKING:
    from arbitrage.runs.audit import Audit, Finding
    from arbitrage.runs.paths import AnyPath

RepairOption = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Set damaged files aside in `_damaged/`, so that the next run makes them again. Nothing is deleted.",
    ),
]


def verify(run: RunArgument, repair: RepairOption = False, as_json: JsonOption = False) -> None:
    """Check every file of a run: shards, rejects, counts, journals, manifest, exports.

    Exit codes: 0 all files are intact; 3 a file is damaged or missing, also if it was set aside.
    """
    from arbitrage.execution.lock import hold_run_lock
    from arbitrage.runs.audit import audit
    from arbitrage.runs.audit import repair as set_aside

    path = _find(run)
    with hold_run_lock(path) if repair else nullcontext():
        found = audit(path)
        found.findings += _exports(path)
        if repair:
            set_aside(path, found)
    if as_json:
        print(to_json(_as_dict(path, found)))
    else:
        _print(path, found)
    if found.damage:
        raise typer.Exit(DataError.exit_code)


def _find(run: str) -> "AnyPath":
    """Return the directory of a run, also of one that has lost its `run.json`."""
    from arbitrage.runs.audit import is_run_directory
    from arbitrage.runs.paths import parse_path

    try:
        return find_run(run)
    except UserError:
        place = parse_path(run)
        if is_run_directory(place):
            return place.absolute() if isinstance(place, Path) else place
        raise


def _exports(path: "AnyPath") -> "list[Finding]":
    """Compare the exports in a run directory with their provenance."""
    from arbitrage.export.provenance import PROVENANCE_FILE
    from arbitrage.export.verification import damaged_files
    from arbitrage.runs.audit import EXPORTS, Finding

    found = []
    for file in sorted((path / EXPORTS).glob(f"*/{PROVENANCE_FILE}")) if isinstance(path, Path) else ():
        name = f"{EXPORTS}/{file.parent.name}"
        try:
            problems = damaged_files(file.parent)
        except DataError as error:
            problems = {PROVENANCE_FILE: str(error)}
        found += [Finding(f"{name}/{each}", "export", f"{what}; export again") for each, what in problems.items()]
    return found


def _as_dict(path: "AnyPath", found: "Audit") -> dict[str, object]:
    def listed(is_damage: bool) -> list[dict[str, str]]:
        return [
            {"path": each.path, "kind": each.kind, "what": each.what}
            for each in found.findings
            if each.is_damage == is_damage
        ]

    return {
        "run": str(path),
        "files": found.num_files,
        "bytes": found.num_bytes,
        "damage": listed(True),
        "strays": listed(False),
        "set_aside": found.set_aside,
    }


def _print(path: "AnyPath", found: "Audit") -> None:
    from arbitrage.report.rendering import TextRow, text_table

    if found.findings:
        rows = [
            TextRow((each.path, each.kind, each.what), style="red" if each.is_damage else "")
            for each in found.findings
        ]
        Screen().print(text_table(("file", "", "what"), rows))
    for old, new in found.set_aside.items():
        say(f"{old} is set aside as {new}")
    counted = f"{found.num_files:,} files, {found.num_bytes / 1e6:,.1f} MB read"
    if not found.damage:
        say(f"{counted}: all files are intact")
    elif found.set_aside:
        say(f"{counted}: {len(found.damage)} damaged; rerun the run's command to make them again")
    else:
        say(f"{counted}: {len(found.damage)} damaged; `arbitrage verify {path} --repair` sets them aside")
