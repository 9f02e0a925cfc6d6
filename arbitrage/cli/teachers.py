"""`arbitrage teachers`: check the pool before a run."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from arbitrage.cli.options import JsonOption
from arbitrage.cli.screen import Screen
from arbitrage.cli.teachers_fetch import fetch
from arbitrage.cli.teachers_try import try_teachers
from arbitrage.cli.teachers_tune import tune

if TYPE_CHECKING:
    from arbitrage.teachers.check import TeacherStatus

teachers = typer.Typer(help="The pool of teachers.", no_args_is_help=True)


@teachers.callback()
def _group() -> None:
    """Check the pool before a run."""


@teachers.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Teachers to check (default: all).")] = None,
    pool: Annotated[Path, typer.Option("--pool", help="The pool file.")] = Path("teachers.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Check that every teacher is usable from this machine: packages, keys, endpoints, local models, revisions.

    Needs no GPU and loads no weights. Exits with 4 if a teacher is not usable.
    """
    from arbitrage.report.rendering import TextRow, text_table
    from arbitrage.teachers.check import check_teacher
    from arbitrage.teachers.pool import load_pool

    found = load_pool(pool)
    chosen = found.select(names) if names else found.teachers
    statuses = [check_teacher(teacher) for teacher in chosen]
    if as_json:
        print(json.dumps([asdict(status) | {"is_usable": status.is_usable} for status in statuses]))
    else:
        rows = [
            TextRow((teacher.name, teacher.engine.kind, " ".join(teacher.languages), _findings(status)))
            for teacher, status in zip(chosen, statuses, strict=True)
        ]
        Screen().print(text_table(("teacher", "engine", "languages", "findings"), rows))
    sys.exit(0 if all(status.is_usable for status in statuses) else 4)


teachers.command("try")(try_teachers)
teachers.command("fetch")(fetch)
teachers.command("tune")(tune)


def _findings(status: "TeacherStatus") -> Text:
    marks = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "error": ("✗", "red")}
    lines = Text()
    for finding in status.findings:
        mark, style = marks[finding.level]
        lines.append(f"{mark} ", style=style).append(f"{finding.what}: {finding.detail}\n")
    return lines
