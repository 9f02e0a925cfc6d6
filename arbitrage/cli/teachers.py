"""`arbitrage teachers`: look at the pool before spending GPU hours on it."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from arbitrage.cli.options import JsonOption
from arbitrage.cli.screen import Screen
from arbitrage.cli.teachers_try import try_teachers

if TYPE_CHECKING:
    from arbitrage.teachers.check import TeacherStatus

teachers = typer.Typer(help="The pool of teachers.", no_args_is_help=True)


@teachers.callback()
def _group() -> None:
    """Look at the pool before spending GPU hours on it."""


@teachers.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Teachers to check; all by default.")] = None,
    pool: Annotated[Path, typer.Option("--pool", help="The pool file.")] = Path("teachers.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Check that each teacher could serve from here: packages, keys, endpoints, local models, pinned revisions.

    Needs no GPU and loads no weights. Exits with 4 if a teacher cannot serve.
    """
    from arbitrage.teachers.check import check_teacher
    from arbitrage.teachers.pool import load_pool

    found = load_pool(pool)
    chosen = found.select(names) if names else found.teachers
    statuses = [check_teacher(teacher) for teacher in chosen]
    if as_json:
        print(json.dumps([asdict(status) | {"is_usable": status.is_usable} for status in statuses]))
    else:
        table = Table("teacher", "engine", "languages", "findings")
        for teacher, status in zip(chosen, statuses, strict=True):
            table.add_row(teacher.name, teacher.engine.kind, " ".join(teacher.languages), _findings(status))
        Screen().print(table)
    sys.exit(0 if all(status.is_usable for status in statuses) else 4)


teachers.command("try")(try_teachers)


def _findings(status: "TeacherStatus") -> Text:
    marks = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "error": ("✗", "red")}
    lines = Text()
    for finding in status.findings:
        mark, style = marks[finding.level]
        lines.append(f"{mark} ", style=style).append(f"{finding.what}: {finding.detail}\n")
    return lines
