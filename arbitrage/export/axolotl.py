"""axolotl (read from 0.21): `chat_template.default` takes TRL's preference rows, `chat_template` a message list.

https://docs.axolotl.ai/docs/rlhf.html#chat_template.default

Reasoning of pairs stands in the text: the strategy takes further keys of a message by `message_property_mappings`,
but the config of a DPO data set has no such field, so validation drops it and the reasoning with it (0.21).
"""

from collections.abc import Mapping

import yaml

from arbitrage.export.format import INLINE, KEY_OR_INLINE, DatasetShape, Format, RowFormat, SftFacts, sft_facts
from arbitrage.export.origin import Origin
from arbitrage.export.trl import TrlPreference, preference_row
from arbitrage.records import Record, SftExample, TextMessage

CONFIG_FILE = "axolotl.yaml"


class AxolotlConversation(Record):
    """A whole conversation in one column."""

    messages: tuple[TextMessage, ...]


class ConversationSft(SftFacts, AxolotlConversation):
    """An SFT row."""


def conversation_row(example: SftExample, origin: Origin) -> ConversationSft:
    """Keep the conversation in one column; the loss is computed on assistant turns."""
    return ConversationSft(messages=example.messages, **sft_facts(example, origin))


def sidecars(shape: DatasetShape) -> Mapping[str, str]:
    """Write the part of an axolotl config that names the data."""
    config: dict[str, object] = {} if shape.kind == "SftExample" else {"rl": "dpo"}
    config["datasets"] = [_entry(shape, "train")]
    if "test" in shape.splits:
        config["test_datasets"] = [_entry(shape, "test")]
    head = "# Merge into your config; `path` is this directory. Add `name: sw` to an entry for one language.\n"
    return {CONFIG_FILE: head + yaml.safe_dump(config, sort_keys=False)}


def _entry(shape: DatasetShape, split: str) -> dict[str, str]:
    if shape.kind == "SftExample":
        fields = {"type": "chat_template", "field_messages": "messages"}
    else:
        fields = {
            "type": "chat_template.default",
            "field_messages": "prompt",
            "field_chosen": "chosen",
            "field_rejected": "rejected",
        }
    if shape.reasoning == "thinking":
        fields |= {"field_thinking": "thinking", "template_thinking_key": "thinking"}
    return {"path": ".", "split": split, **fields}


def usage(shape: DatasetShape) -> str:
    """Show how to train."""
    return f"""Merge `{CONFIG_FILE}` into your config and train from this directory, or put its path into `path`:

```sh
axolotl train {CONFIG_FILE}
```"""


FORMAT = Format(
    trainer="axolotl",
    file_type="parquet",
    rows={
        "SftExample": RowFormat(ConversationSft, conversation_row),
        "PreferencePair": RowFormat(TrlPreference, preference_row),
    },
    sidecars=sidecars,
    usage=usage,
    reasoning={"SftExample": KEY_OR_INLINE, "PreferencePair": INLINE},
    tools={"SftExample": "openai"},
)
