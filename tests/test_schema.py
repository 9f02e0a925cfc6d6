"""Every key of every config file has a description, and docs/config.md lists the keys as they are."""

from typing import Any, Literal

import pytest

from arbitrage.cli.schema import CONFIGS, config_schema
from arbitrage.config import Config
from tools.config_page import PAGE, config_page


class Fruit(Config):
    """A fruit.

    It grows on a tree.

    Attributes:
        colour: as seen
            from outside.
        width, height: in cm.
    """

    kind: Literal["fruit"] = "fruit"
    colour: str = "green"
    width: float = 1.0
    height: float = 1.0
    weight: float = 1.0


class Apple(Fruit):
    """A sweet fruit.

    Attributes:
        colour: of its skin.
    """


def undescribed(schema: dict[str, Any]) -> list[str]:
    parts = {"": schema, **schema.get("$defs", {})}
    return [
        f"{name}.{key}"
        for name, part in parts.items()
        for key, value in part.get("properties", {}).items()
        if not value.get("description", "").strip()
    ]


@pytest.mark.parametrize("what", CONFIGS)
def test_schema_describes_every_key(what: str) -> None:
    schema = config_schema(what)
    assert undescribed(schema) == []
    assert len(schema["$defs"]) > 5


def test_undescribed_keys_are_found() -> None:
    assert undescribed(Fruit.model_json_schema()) == [".weight"]


def test_schema_takes_descriptions_from_the_docstring() -> None:
    schema = Fruit.model_json_schema()
    found = {key: value.get("description") for key, value in schema["properties"].items()}
    assert found == {
        "kind": "A fruit.",
        "colour": "As seen from outside.",
        "width": "In cm.",
        "height": "In cm.",
        "weight": None,
    }
    assert schema["description"] == "A fruit.\n\nIt grows on a tree."


def test_schema_takes_inherited_descriptions_and_overrides_them() -> None:
    properties = Apple.model_json_schema()["properties"]
    assert properties["colour"]["description"] == "Of its skin."
    assert properties["width"]["description"] == "In cm."
    assert properties["kind"]["description"] == "A sweet fruit."


def test_docs_config_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == config_page(), "run `python -m tools.config_page`"
