"""LLaMA-Factory (read from 0.9.5): sharegpt formatting with OpenAI's tags, chosen and rejected as single messages.

Given a list for `chosen` it silently makes a plain SFT example of the prompt; given turns that do not alternate it
silently trains on an empty one. So we never write such lists, and skip and count such turns.
"""

import json
from collections.abc import Mapping
from itertools import cycle

import yaml

from arbitrage.export.axolotl import ConversationSft, conversation_row
from arbitrage.export.format import INLINE, DatasetShape, Format, Objection, PairFacts, RowFormat, pair_facts
from arbitrage.export.origin import Origin
from arbitrage.export.tools import merged_results
from arbitrage.records import Message, PreferencePair, Record, TextMessage

INFO_FILE = "dataset_info.json"
CONFIG_FILE = "llamafactory.yaml"
TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
    "observation_tag": "tool",
    "function_tag": "function_call",
}


class LlamaFactoryRanking(Record):
    """Columns of a `ranking: true` data set."""

    prompt: tuple[TextMessage, ...]
    chosen: TextMessage
    rejected: TextMessage


class LlamaFactoryPreference(PairFacts, LlamaFactoryRanking):
    """A preference row."""


def preference_row(pair: PreferencePair, origin: Origin) -> LlamaFactoryPreference:
    """Take the one message of each side."""
    [chosen], [rejected] = pair.chosen, pair.rejected
    return LlamaFactoryPreference(prompt=pair.prompt, chosen=chosen, rejected=rejected, **pair_facts(pair, origin))


def reject_reason(prompt: tuple[Message, ...]) -> Objection | None:
    """Return `turns_do_not_alternate` unless the prompt is (system)? user (assistant user)*."""
    turns = merged_results(prompt[1:] if prompt[0].role == "system" else prompt)
    wanted = cycle((("user", "tool"), ("assistant",)))
    in_order = all(turn.role in roles for turn, roles in zip(turns, wanted, strict=False))
    return None if in_order and len(turns) % 2 else "turns_do_not_alternate"


def sidecars(shape: DatasetShape) -> Mapping[str, str]:
    """Write `dataset_info.json`: one data set of all languages for each split, one of the train rows of each."""
    entries: dict[str, object] = {}
    for split in shape.splits:
        name = shape.dataset if split == "train" else f"{shape.dataset}-{split}"
        entries[name] = {"file_name": f"data/{split}"} | _columns(shape)
    for language in shape.languages:  # `script_url` with a subset: a config of this directory's card
        entries[f"{shape.dataset}-{language}"] = {"script_url": ".", "subset": language} | _columns(shape)
    return {INFO_FILE: json.dumps(entries, indent=1, ensure_ascii=False) + "\n", CONFIG_FILE: config_snippet(shape)}


def config_snippet(shape: DatasetShape) -> str:
    """Write the part of a training config that names the data and says how answers without reasoning are trained on.

    The templates of reasoning models put an empty chain of thought before such answers. With `enable_thinking: true`,
    the default, it counts in the loss; with `false` it belongs to the prompt, and reasoning is cut off all answers;
    with null it belongs to the prompt, and reasoning stays. Both sides of a pair have one prompt, that of the chosen
    side, so pairs take `true`: what both sides begin with cancels out of the loss.
    """
    value, why = _thinking(shape)
    head = f"""# Merge into your training config; `dataset_dir` is this directory.
# {why}
# Another `template` than the default's `<think>` (gpt_oss, gemma4, seed_oss, kimi_vl) does not know this reasoning.
"""
    config = {
        "stage": "sft" if shape.kind == "SftExample" else "dpo",
        "dataset_dir": ".",
        "dataset": shape.dataset,
        "enable_thinking": value,
    }
    return head + yaml.safe_dump(config, sort_keys=False)


def _thinking(shape: DatasetShape) -> tuple[bool | None, str]:
    if shape.reasoning is None:
        return False, "No answer has reasoning: the empty chain of thought of reasoning models stays out of the loss."
    if not shape.lacks_reasoning:
        return True, "Every answer has reasoning."
    if shape.kind == "SftExample":
        return None, "Some answers have no reasoning: null keeps their empty chain of thought out of the loss."
    return True, "Some answers have no reasoning: their empty chain of thought is compared with the other answer's."


def _columns(shape: DatasetShape) -> dict[str, object]:
    tools = {"tools": "tools"} if shape.has_tools else {}
    if shape.kind == "SftExample":
        return {"formatting": "sharegpt", "columns": {"messages": "messages", **tools}, "tags": TAGS}
    columns = {"messages": "prompt", "chosen": "chosen", "rejected": "rejected", **tools}
    return {"formatting": "sharegpt", "ranking": True, "columns": columns, "tags": TAGS}


def usage(shape: DatasetShape) -> str:
    """Show how to train."""
    stage = "sft" if shape.kind == "SftExample" else "dpo"
    names = ", ".join(f"`{shape.dataset}-{language}`" for language in shape.languages[:3])
    return f"""`{INFO_FILE}` names the data sets: `{shape.dataset}` is all languages, {names}, … are one each.

```sh
llamafactory-cli train --stage {stage} --do_train --dataset_dir path/to/this/directory \\
  --dataset {shape.dataset} --model_name_or_path … --template … --output_dir out
```

`{CONFIG_FILE}` says the same, and `enable_thinking`, which matters where the student is a reasoning model."""


FORMAT = Format(
    trainer="llamafactory",
    file_type="parquet",
    rows={
        "SftExample": RowFormat(ConversationSft, conversation_row),
        "PreferencePair": RowFormat(LlamaFactoryPreference, preference_row),
    },
    reject_reason=reject_reason,
    sidecars=sidecars,
    mixed_note=lambda shape: f"`{CONFIG_FILE}`: {_thinking(shape)[1]}",
    usage=usage,
    reasoning={"SftExample": INLINE, "PreferencePair": INLINE},
    tools={"SftExample": "sharegpt", "PreferencePair": "sharegpt"},
)
