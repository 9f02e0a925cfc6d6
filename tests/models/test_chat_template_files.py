"""Whether a model comes with a chat template is told by its files alone."""

import json
from pathlib import Path

import pytest

from arbitrage.models.chat_template import has_chat_template


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"tokenizer_config.json": {"chat_template": "{{ messages }}"}}, True),
        ({"tokenizer_config.json": {"chat_template": [{"name": "default", "template": "x"}]}}, True),
        ({"tokenizer_config.json": {}, "chat_template.jinja": {}}, True),
        ({"tokenizer_config.json": {}, "chat_template.json": {}}, True),
        ({"tokenizer_config.json": {}, "processor_config.json": {"chat_template": "{{ messages }}"}}, True),
        ({"tekken.json": {}}, True),
        ({"tokenizer_config.json": {}, "processor_config.json": {}}, False),
        ({"tokenizer_config.json": {"chat_template": None}}, False),
        ({"tokenizer_config.json": {"chat_template": ""}}, False),
        ({"tokenizer_config.json": []}, None),
        ({"config.json": {}}, None),
    ],
)
def test_a_chat_template_is_found_in_all_places_where_it_may_be(
    tmp_path: Path, files: dict[str, object], expected: bool | None
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert has_chat_template(str(tmp_path)) is expected


def test_nothing_is_said_of_a_model_that_cannot_be_seen(tmp_path: Path) -> None:
    assert has_chat_template("nobody/has-this-model-here") is None
    assert has_chat_template(str(tmp_path / "gone")) is None
    (tmp_path / "tokenizer_config.json").write_text("[" * 100_000)
    assert has_chat_template(str(tmp_path)) is None
