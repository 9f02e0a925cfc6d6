"""`arbitrage show`: print the rows of a step in a readable layout."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from arbitrage.cli.options import JsonOption, RunArgument, find_run
from arbitrage.cli.screen import Screen, to_json
from arbitrage.errors import UserError
from arbitrage.printable import printable

FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"
"""Keep a right-to-left value from reordering the line around it (Unicode TR9)."""

MAX_CHARS = 2000


def show(
    run: RunArgument,
    step: Annotated[str, typer.Argument(help="A step, such as `select-sft`, or a data set, such as `sft`.")],
    language: Annotated[str | None, typer.Option("--language", "-l", help="Only rows of this language.")] = None,
    num_rows: Annotated[int, typer.Option("-n", min=1, help="Rows to show.")] = 5,
    rejects: Annotated[bool, typer.Option("--rejects", help="Show what the step rejected instead.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show rows of a step: conversations laid out for reading, right-to-left text isolated."""
    from arbitrage.runs.run import open_run

    if rejects and language:
        raise UserError("--rejects and --language exclude each other: what was rejected may have no language yet")
    found = open_run(find_run(run))
    name = found.plan.datasets.get(step, step)
    languages = _languages(found) if language else {}
    shown = 0
    # not a Screen, which would escape the isolates that are put around each line: texts are made printable first
    console = Console(soft_wrap=True, markup=False, emoji=False, highlight=False)
    for table in found.rejects(name) if rejects else found.tables(name):
        for row in table.to_pylist():
            if language and row.get("language", languages.get(row.get("prompt_id", ""))) != language:
                continue
            print(to_json(row)) if as_json else _print(console, row)
            shown += 1
            if shown == num_rows:
                return
    if not shown:
        Screen(stderr=True).print(f"{name}: no such rows", style="yellow")


def _languages(run: Any) -> dict[str, str]:
    """Return prompt id → language, for steps whose rows have no language."""
    found: dict[str, str] = {}
    for step in run.plan.table.get("prompts", ()):
        for table in run.tables(step):
            found |= zip(table.column("prompt_id").to_pylist(), table.column("language").to_pylist(), strict=True)
    return found


def _print(console: Console, row: dict[str, Any]) -> None:
    console.rule(style="dim")
    for key, value in row.items():
        if value is None or value == []:
            continue
        if isinstance(value, list) and isinstance(value[0], dict) and "role" in value[0]:
            for turn in value:
                _line(console, f"{key} · {turn['role']}", turn["content"], row.get("language"))
        else:
            _line(console, key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), None)


def _line(console: Console, key: str, value: str, language: str | None) -> None:
    from arbitrage.languages import is_rtl

    clipped = value if len(value) <= MAX_CHARS else value[:MAX_CHARS] + f"… ({len(value):,} characters)"
    lines = [f"{FIRST_STRONG_ISOLATE}{line}{POP_ISOLATE}" for line in printable(clipped).split("\n")]
    mark = " ←" if language and is_rtl(language) else ""
    console.print(Text(f"{printable(key)}{mark}: ", style="bold") + Text("\n".join(lines)))
