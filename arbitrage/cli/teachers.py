"""`arbitrage teachers`: look at the pool before spending GPU hours on it."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from arbitrage.cli.options import JsonOption

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
    statuses = [check_teacher(t) for t in (found.select(names) if names else found.teachers)]
    if as_json:
        print(json.dumps([status.model_dump(mode="json") for status in statuses]))
    else:
        table = Table("teacher", "engine", "model", "languages", "licence", "findings")
        for status in statuses:
            table.add_row(*status.row())
        Console().print(table)
    sys.exit(0 if all(status.can_serve for status in statuses) else 4)
