"""TRL (read from 1.16): preference rows of three message lists, SFT rows of prompt and completion.

SFTTrainer computes the loss only on the completion if there is a `prompt` column, and also on the prompt if there is
a `messages` column; so we split the conversation. https://huggingface.co/docs/trl/dataset_formats
"""

from arbitrage.export.format import (
    KEY_OR_INLINE,
    DatasetShape,
    Format,
    PairFacts,
    RowFormat,
    SftFacts,
    pair_facts,
    sft_facts,
)
from arbitrage.export.origin import Origin
from arbitrage.records import PreferencePair, Record, SftExample, TextMessage


class PromptCompletion(Record):
    """Columns that SFTTrainer reads."""

    prompt: tuple[TextMessage, ...]
    completion: tuple[TextMessage, ...]


class PromptChosenRejected(Record):
    """Columns that DPOTrainer, RewardTrainer and (after TRL's own unpairing) KTOTrainer read."""

    prompt: tuple[TextMessage, ...]
    chosen: tuple[TextMessage, ...]
    rejected: tuple[TextMessage, ...]


class TrlSft(SftFacts, PromptCompletion):
    """An SFT row (bases are listed last columns first: that is pydantic's order)."""


class TrlPreference(PairFacts, PromptChosenRejected):
    """A preference row."""


def sft_row(example: SftExample, origin: Origin) -> TrlSft:
    """Split a conversation before its last turn."""
    *prompt, completion = example.messages
    return TrlSft(prompt=tuple(prompt), completion=(completion,), **sft_facts(example, origin))


def preference_row(pair: PreferencePair, origin: Origin) -> TrlPreference:
    """Keep the three message lists as they are."""
    return TrlPreference(prompt=pair.prompt, chosen=pair.chosen, rejected=pair.rejected, **pair_facts(pair, origin))


def usage(shape: DatasetShape) -> str:
    """Show how to train."""
    name, trainer = ("sft", "SFT") if shape.kind == "SftExample" else ("dpo", "DPO")
    return f"""```python
from datasets import load_dataset
from trl import {trainer}Config, {trainer}Trainer

rows = load_dataset("path/to/this/directory", split="train")
trainer = {trainer}Trainer(model="…", args={trainer}Config(output_dir="out"), train_dataset=rows)
trainer.train()
```

or `trl {name} --dataset_name path/to/this/directory --model_name_or_path … --output_dir out`."""


def mixed_note(shape: DatasetShape) -> str:
    """Say how to keep an empty chain of thought out of the loss."""
    if shape.kind != "SftExample" or shape.reasoning == "inline":
        return ""
    return f"""The chat templates of some reasoning models, such as Qwen3, write an empty chain of thought before an
answer without reasoning, and it counts in the loss. A column `chat_template_kwargs` moves it into the prompt:

```python
def options(row):
    return {{"chat_template_kwargs": {{"enable_thinking": "{shape.reasoning}" in row["completion"][-1]}}}}

rows = rows.map(options)
```

`arbitrage train sft` does so by itself."""


FORMAT = Format(
    trainer="trl",
    file_type="parquet",
    rows={
        "SftExample": RowFormat(TrlSft, sft_row),
        "PreferencePair": RowFormat(TrlPreference, preference_row),
    },
    usage=usage,
    mixed_note=mixed_note,
    reasoning={"SftExample": KEY_OR_INLINE, "PreferencePair": KEY_OR_INLINE},
    tools={"SftExample": "openai", "PreferencePair": "openai"},
)
