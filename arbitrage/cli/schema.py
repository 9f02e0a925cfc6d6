"""`arbitrage schema`: the JSON schema of a config, for editors; or the Arrow schema of the rows."""

import json
from typing import Annotated

import typer

from arbitrage.cli.screen import say


def schema(
    what: Annotated[
        str, typer.Argument(help="`pipeline`, `online`, `teachers`, `metrics`, or a record: `Candidate` …")
    ] = "pipeline",
) -> None:
    """Print a schema: JSON Schema of pipeline and pool files, or the columns of a record.

    Point your editor at `arbitrage schema pipeline > pipeline.schema.json` to get completion and checks in YAML.
    """
    if what == "pipeline":
        from pipelines.loading import ADAPTER

        print(json.dumps(ADAPTER.json_schema(), indent=1))
    elif what == "online":
        from pipelines.online.config import OnlineConfig

        print(json.dumps(OnlineConfig.model_json_schema(), indent=1))
    elif what == "teachers":
        from arbitrage.teachers.pool import TeacherPool

        print(json.dumps(TeacherPool.model_json_schema(), indent=1))
    elif what == "metrics":
        from arbitrage.profile.settings import ProfileSettings

        print(json.dumps(ProfileSettings.model_json_schema(), indent=1))
    else:
        _print_record(what)


def _print_record(name: str) -> None:
    from arbitrage import records
    from arbitrage.errors import UserError
    from arbitrage.tables import arrow_schema

    known = {r.__name__: r for r in records.Record.__subclasses__()}
    if name not in known:
        raise UserError(f"schema: '{name}' is not one of pipeline, online, teachers, metrics, {', '.join(known)}")
    for field in arrow_schema(known[name]):
        say(f"{field.name}: {field.type}{'' if field.nullable else ' not null'}")
