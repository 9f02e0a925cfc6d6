"""Write docs/config.md: every key of every config file, from the schemas that `arbitrage schema` prints.

python -m tools.config_page          # write the page
python -m tools.config_page --print  # print it
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from arbitrage.cli.schema import config_schema

PAGE = Path(__file__).parents[1] / "docs" / "config.md"
Schema = dict[str, Any]

JSON_VALUE = "JsonValue"
"""pydantic's name of a value of any type."""

INTRODUCTION = """\
# Configuration

This page lists every key of every YAML file that `arbitrage` reads. It is generated from the configs themselves by
`python -m tools.config_page`. On the command line, `--set key.sub.0=value` sets one key.

The same descriptions appear in an editor that uses the YAML language server (VS Code with the YAML extension, Neovim,
Helix, …). Write the schema once:

```console
$ arbitrage schema pipeline > pipeline.schema.json
```

and name it in the first line of the YAML file. The editor then completes keys, shows their descriptions, and marks
what is not allowed:

```yaml
# yaml-language-server: $schema=pipeline.schema.json
kind: preference
name: my-run
```

`arbitrage schema teachers`, `online` and `metrics` print the schemas of the other files.
"""

FILES = (
    ("online", "Online rounds", "The file that `arbitrage online` reads. See [online.md](online.md)."),
    ("teachers", "Teacher pool", "`teachers.yaml`: the models that can generate data."),
    ("metrics", "Metrics", "The file of `arbitrage profile --metrics`. See [metrics.md](metrics.md)."),
)


def config_page() -> str:
    """Return the page."""
    pipelines = config_schema("pipeline")
    definitions: Schema = dict(pipelines["$defs"])
    lines = [INTRODUCTION, *_pipelines(pipelines)]
    tops = set(_members(pipelines).values())
    for name, title, text in FILES:
        schema = config_schema(name)
        definitions |= schema.get("$defs", {})
        lines += [f"## {title}\n", f"{text}\n", *_table(schema["properties"], schema.get("required", ()))]
    lines += ["## Parts\n", "The values of the keys above that are mappings themselves, in alphabetical order.\n"]
    for name in sorted(set(definitions) - tops - {JSON_VALUE}):
        lines += _part(name, definitions[name])
    page = "\n".join(lines).rstrip() + "\n"
    for kind, name in _members(pipelines).items():
        page = page.replace(f"(#{name.lower()})", f"(#kind-{kind})")
    return page


def _pipelines(schema: Schema) -> Iterator[str]:
    """Yield a table of the keys that all pipelines share, and one of the other keys of each."""
    members = {kind: schema["$defs"][name] for kind, name in _members(schema).items()}
    first = next(iter(members.values()))
    shared = {
        key: value
        for key, value in first["properties"].items()
        if all(each["properties"].get(key) == value for each in members.values())
    }
    yield "## Pipelines\n"
    yield "The files that `arbitrage run` and `arbitrage plan` read. `kind` names the pipeline.\n"
    yield "### Keys of every pipeline\n"
    yield from _table(shared, first.get("required", ()))
    for kind, each in members.items():
        own = {key: value for key, value in each["properties"].items() if key not in shared and key != "kind"}
        yield f"### `kind: {kind}`\n"
        yield f"{_text(each.get('description', ''))}\n"
        yield from _table(own, each.get("required", ()))


def _members(schema: Schema) -> dict[str, str]:
    """Return the kinds of a union and the names of their definitions."""
    return {kind: _name(reference) for kind, reference in schema["discriminator"]["mapping"].items()}


def _part(name: str, part: Schema) -> Iterator[str]:
    yield f"### {name}\n"
    properties = dict(part.get("properties", {}))
    kind = properties.pop("kind", {}).get("const")
    described = part.get("description", "")
    yield f"{f'`kind: {kind}`. ' if kind else ''}{_text(described)}\n"
    if "enum" in part:
        yield f"One of {_type(part)}.\n"
    yield from _table(properties, part.get("required", ()))


def _table(properties: Schema, required: Iterable[str]) -> Iterator[str]:
    if not properties:
        return
    yield "| key | type | default | description |"
    yield "|---|---|---|---|"
    needed = set(required)
    for key, value in properties.items():
        default = "required" if key in needed else _default(value)
        yield f"| `{key}` | {_cell(_type(value))} | {_cell(default)} | {_cell(_text(value.get('description', '')))} |"
    yield ""


def _type(schema: Schema) -> str:
    """Return the type of a value in words, with the values and range that are allowed."""
    if "$ref" in schema:
        name = _name(schema["$ref"])
        return "any" if name == JSON_VALUE else _link(name)
    if "discriminator" in schema:
        links = [_link(name, kind) for kind, name in _members(schema).items()]
        return f"one of {', '.join(links)}"
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[union]))
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        items = schema.get("prefixItems") or [schema.get("items", {})]
        return f"list of {' and '.join(dict.fromkeys(_type(each) for each in items))}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"mapping of text to {_type(values)}" if isinstance(values, dict) else "mapping"
    words = {"string": "text", "null": "null", "boolean": "true or false"}
    kind = schema.get("type", "any")
    return words.get(kind, kind) + _range(schema)


def _range(schema: Schema) -> str:
    signs = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    limits = [f"{sign} {schema[key]}" for key, sign in signs if key in schema]
    return f" {', '.join(limits)}" if limits else ""


def _default(schema: Schema) -> str:
    if "default" not in schema:
        return ""
    value = schema["default"]
    if isinstance(value, dict) and len(json.dumps(value)) > 60:
        return f"`kind: {value['kind']}`" if "kind" in value else "the defaults of its keys"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _text(description: str) -> str:
    return " ".join(description.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _link(name: str, text: str | None = None) -> str:
    return f"[{f'`{text}`' if text else name}](#{name.lower()})"


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        print(config_page(), end="")
    else:
        PAGE.write_text(config_page(), encoding="utf-8")
