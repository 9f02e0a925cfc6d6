"""NeMo-RL (read from 0.6): `context` and two ranked `completions`, the lower rank preferred; SFT as `messages`.

Its OpenAI-format SFT data set reads only JSON lines, so these files are JSON lines. JSON readers guess
types file by file, so no column here is ever null.
https://docs.nvidia.com/nemo/rl/latest/guides/dpo.html#datasets
"""

from arbitrage.export.format import KEY_OR_INLINE, DatasetShape, Format, RowFormat
from arbitrage.export.origin import Origin
from arbitrage.records import PreferencePair, Record, SftExample, TextMessage


class RankedCompletion(Record):
    """One side of a pair: rank 0 is better."""

    rank: int
    completion: tuple[TextMessage, ...]


class NemoPreference(Record):
    """A preference row."""

    context: tuple[TextMessage, ...]
    completions: tuple[RankedCompletion, ...]
    prompt_id: str
    language: str
    licences: tuple[str, ...]


class NemoSft(Record):
    """An SFT row."""

    messages: tuple[TextMessage, ...]
    prompt_id: str
    language: str
    teacher: str
    licences: tuple[str, ...]


def sft_row(example: SftExample, origin: Origin) -> NemoSft:
    """Keep the conversation in one piece."""
    return NemoSft(
        messages=example.messages,
        prompt_id=example.prompt_id,
        language=example.language,
        teacher=example.teacher,
        licences=origin.licences(example.teacher),
    )


def preference_row(pair: PreferencePair, origin: Origin) -> NemoPreference:
    """Rank the two responses."""
    return NemoPreference(
        context=pair.prompt,
        completions=(
            RankedCompletion(rank=0, completion=pair.chosen),
            RankedCompletion(rank=1, completion=pair.rejected),
        ),
        prompt_id=pair.prompt_id,
        language=pair.language,
        licences=origin.licences(pair.chosen_teacher, pair.rejected_teacher),
    )


def usage(shape: DatasetShape) -> str:
    """Show how to train."""
    script, reader = ("sft", "openai_format") if shape.kind == "SftExample" else ("dpo", "PreferenceDataset")
    if shape.has_tools and shape.kind == "SftExample":
        return f"""Rows have tools, and only `use_preserving_dataset` reads them as they stand; it reads one file at a
time, so name one, or join them with `cat`:

```yaml
data:
  train:
    dataset_name: {reader}
    data_path: path/to/this/directory/data/train/{shape.languages[0]}.00000.jsonl
    use_preserving_dataset: true
```

```sh
uv run examples/run_{script}.py --config your.yaml
```"""
    return f"""```yaml
data:
  train:
    dataset_name: {reader}
    data_path: path/to/this/directory/data/train/*.jsonl
```

```sh
uv run examples/run_{script}.py --config your.yaml
```"""


FORMAT = Format(
    trainer="nemo-rl",
    file_type="jsonl",
    rows={
        "SftExample": RowFormat(NemoSft, sft_row),
        "PreferencePair": RowFormat(NemoPreference, preference_row),
    },
    usage=usage,
    reasoning={"SftExample": KEY_OR_INLINE, "PreferencePair": KEY_OR_INLINE},
    tools={"SftExample": "openai"},
)
