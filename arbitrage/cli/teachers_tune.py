"""`arbitrage teachers tune`: which engine settings are fastest on the user's own prompts."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arbitrage.cli.options import JsonOption
from arbitrage.cli.screen import Screen, say
from arbitrage.cli.teachers_try import KILLED, in_process

if TYPE_CHECKING:
    from arbitrage.records import Prompt
    from arbitrage.teachers.pool import TeacherConfig
    from arbitrage.teachers.tuning import Settings, Speed

KINDS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}


def tune(
    name: Annotated[str, typer.Argument(help="Teacher to tune.")],
    prompts: Annotated[Path, typer.Option("--prompts", help="File of prompts: JSON Lines, CSV or Parquet.")],
    pool: Annotated[Path, typer.Option("--pool", help="Pool file.")] = Path("teachers.yaml"),
    number: Annotated[int, typer.Option("--number", min=1, help="Number of prompts to send.")] = 256,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Limit of each completion (default: the teacher's).")
    ] = None,
    wanted: Annotated[
        list[str] | None,
        typer.Option("--try", metavar="KEY=V,V", help="Setting and values (default: a handful for its engine)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a teacher's speed here with several engine settings, and print the fastest one for the pool file.

    Each setting is changed alone, with a freshly started engine in a process of its own. None of those tried by
    default changes a completion. Exits with 4 if nothing could be measured.
    """
    from arbitrage.teachers.pool import load_pool
    from arbitrage.teachers.tuning import best_of, sweep

    [teacher] = load_pool(pool).select([name])
    sent = _read(prompts, number)
    speeds: list[Speed] = []
    for settings in sweep(teacher, _values(wanted or [])):
        speeds.append(_measured(teacher, settings, sent, max_tokens))
        if not as_json:
            say(f"{_named(settings)}: {_result(speeds[-1])}")
    best = best_of(speeds)
    if as_json:
        print(json.dumps({"speeds": [asdict(speed) for speed in speeds], "best": best and dict(best.settings)}))
    else:
        _show(speeds, best, teacher)
    sys.exit(0 if best else 4)


def _values(wanted: Sequence[str]) -> dict[str, list[int]]:
    from arbitrage.errors import UserError

    found: dict[str, list[int]] = {}
    for text in wanted:
        key, _, values = text.partition("=")
        try:
            found[key.strip()] = [int(value) for value in values.split(",")]
        except ValueError as error:
            raise UserError(f"--try {text}: expected KEY=NUMBER,NUMBER, such as max_num_seqs=128,256") from error
    return found


def _read(path: Path, number: int) -> "list[Prompt]":
    from pydantic import TypeAdapter

    from arbitrage.config import parse
    from arbitrage.errors import DataError
    from arbitrage.prompts.sources import CsvConfig, JsonlConfig, ParquetConfig

    kinds: dict[str, Any] = {"csv": CsvConfig, "parquet": ParquetConfig, "jsonl": JsonlConfig}
    kind = KINDS.get(path.suffix.lower(), "jsonl")
    config = parse({"kind": kind, "paths": str(path)}, TypeAdapter(kinds[kind]), "--prompts")
    found = list(islice((prompt for batch in config.build().read() for prompt in batch.prompts), number))
    if not found:
        raise DataError(f"{path}: has no prompt that can be read")
    return found


def _measured(
    teacher: "TeacherConfig", settings: "Settings", prompts: "Sequence[Prompt]", max_tokens: int | None
) -> "Speed":
    from arbitrage.teachers.tuning import Speed, measure

    lost = Speed(settings, error=KILLED)
    return in_process(measure, teacher, settings, prompts, max_tokens, lost=lost)


def _named(settings: "Settings") -> str:
    return ", ".join(f"{key}: {value}" for key, value in settings.items()) or "as it is"


def _result(speed: "Speed") -> str:
    return f"✗ {speed.error}" if speed.error else f"{speed.tokens_per_s:,.0f} tokens/s"


def _show(speeds: "Sequence[Speed]", best: "Speed | None", teacher: "TeacherConfig") -> None:
    from arbitrage.report.rendering import TextRow, text_table

    rows = [
        TextRow(
            (
                f"{'→ ' if speed is best else ''}{_named(speed.settings)}",
                speed.error if speed.error else f"{speed.tokens_per_s:,.0f}",
                "" if speed.error else f"{speed.prompts_per_s:,.1f}",
                "" if speed.error else f"{speed.num_failures:,}",
                "" if speed.error else f"{speed.start_s:,.1f} s",
            ),
            style="bold" if speed is best else "",
        )
        for speed in speeds
    ]
    numbers = ("tokens/s", "prompts/s", "failures", "start")
    Screen().print(text_table((f"{teacher.name}: engine",), rows, numbers=numbers))
    if best is None:
        return
    if not best.settings:
        say("the entry as it is was the fastest")
        return
    engine = {"kind": teacher.engine.kind} | teacher.engine.model_dump(mode="json", exclude_unset=True)
    text = ", ".join(f"{key}: {json.dumps(value)}" for key, value in (engine | dict(best.settings)).items())
    say(f"fastest; in the teacher's entry:\n  engine: {{{text}}}")
