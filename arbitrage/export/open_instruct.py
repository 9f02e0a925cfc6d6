"""open-instruct (and alignment-handbook): full conversations, which differ only in their last turn.

Its mixer reads the split `train` by default, so the splits keep their names.
https://github.com/allenai/open-instruct/blob/main/open_instruct/dataset_transformation.py
"""

from arbitrage.export.axolotl import ConversationSft, conversation_row
from arbitrage.export.format import INLINE, DatasetShape, Format, PairFacts, RowFormat, pair_facts
from arbitrage.export.origin import Origin
from arbitrage.records import PreferencePair, Record, TextMessage


class TwoConversations(Record):
    """Both conversations, prompt included."""

    chosen: tuple[TextMessage, ...]
    rejected: tuple[TextMessage, ...]


class OpenInstructPreference(PairFacts, TwoConversations):
    """A preference row."""


def preference_row(pair: PreferencePair, origin: Origin) -> OpenInstructPreference:
    """Put the prompt before both responses."""
    return OpenInstructPreference(
        chosen=pair.prompt + pair.chosen, rejected=pair.prompt + pair.rejected, **pair_facts(pair, origin)
    )


def usage(shape: DatasetShape) -> str:
    """Show how to train."""
    script = "finetune.py" if shape.kind == "SftExample" else "dpo_tune_cache.py"
    return f"""```sh
python open_instruct/{script} --dataset_mixer_list path/to/this/directory 1.0 \\
  --dataset_mixer_list_splits train …
```"""


FORMAT = Format(
    trainer="open-instruct",
    file_type="parquet",
    rows={
        "SftExample": RowFormat(ConversationSft, conversation_row),
        "PreferencePair": RowFormat(OpenInstructPreference, preference_row),
    },
    usage=usage,
    reasoning={"SftExample": INLINE, "PreferencePair": INLINE},
    tools={"SftExample": "openai"},
)
