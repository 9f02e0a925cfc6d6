"""`arbitrage schema`: the JSON Schema of a config file, for editors; or the Arrow schema of a record."""

import json
from typing import Annotated, Any

import typer

from arbitrage.cli.screen import say

CONFIGS = ("pipeline", "online", "teachers", "metrics")
"""Config files that have a schema."""


def schema(
    what: Annotated[
        str,
        typer.Argument(
            help="A config file: `pipeline`, `online`, `teachers` or `metrics`; or a record: `Candidate` …"
        ),
    ] = "pipeline",
) -> None:
    """Print the JSON Schema of a config file, with a description of every key; or the columns of a record.

    An editor with the YAML language server completes and checks a file whose first line is
    `# yaml-language-server: $schema=pipeline.schema.json`, after `arbitrage schema pipeline > pipeline.schema.json`.
    """
    if what in CONFIGS:
        print(json.dumps(config_schema(what), indent=1))
    else:
        _print_record(what)


def config_schema(what: str) -> dict[str, Any]:
    """Return the JSON Schema of one of CONFIGS."""
    if what == "pipeline":
        from pipelines.loading import ADAPTER

        return ADAPTER.json_schema()
    if what == "online":
        from pipelines.online.config import OnlineConfig

        return OnlineConfig.model_json_schema()
    if what == "teachers":
        from arbitrage.teachers.pool import TeacherPool

        return TeacherPool.model_json_schema()
    from arbitrage.profile.settings import ProfileSettings

    return ProfileSettings.model_json_schema()


def _print_record(name: str) -> None:
    from arbitrage import records
    from arbitrage.errors import UserError
    from arbitrage.tables import arrow_schema

    known = {r.__name__: r for r in records.Record.__subclasses__()}
    if name not in known:
        raise UserError(f"schema: '{name}' is not one of {', '.join((*CONFIGS, *known))}")
    for field in arrow_schema(known[name]):
        say(f"{field.name}: {field.type}{'' if field.nullable else ' not null'}")
