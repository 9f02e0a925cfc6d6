"""The data set card: YAML for the Hub and `datasets`, and text for people.

https://github.com/huggingface/hub-docs/blob/main/datasetcard.md
"""

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from arbitrage.export.card_text import body
from arbitrage.export.files import DataFile
from arbitrage.export.licences import hub_licence
from arbitrage.export.reading import CANDIDATES
from arbitrage.export.summary import ExportSummary
from arbitrage.languages import UNKNOWN, primary
from arbitrage.printable import one_line
from arbitrage.tables import arrow_schema

CARD_FILE = "README.md"
ALL = "all"
"""Name of the config of all languages, the default."""

SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"))


def card(summary: ExportSummary) -> str:
    """Return README.md."""
    head = yaml.safe_dump(front_matter(summary), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{head}---\n\n" + "\n\n".join(body(summary)) + "\n"


def front_matter(summary: ExportSummary) -> dict[str, Any]:
    """Return the card's metadata."""
    tags = list(summary.tally.languages())
    named = sorted({primary(tag) for tag in tags} - {UNKNOWN})
    found: dict[str, Any] = {"language": named} if named else {}
    return found | {
        "language_details": ", ".join(tags),
        **hub_licence(summary.licences()),
        "multilinguality": ["multilingual" if len(named) > 1 else "monolingual"],
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "source_datasets": ["original"],
        "size_categories": [next((name for limit, name in SIZES if summary.tally.num_rows < limit), "n>10M")],
        "task_categories": ["text-generation"],
        "tags": ["synthetic", "arbitrage", *_tags(summary)],
        "pretty_name": one_line(f"{summary.run.plan.name}: {summary.dataset}"),
        "configs": [_config(name, languages, summary) for name, languages in _configs(tags)],
        "dataset_info": [_info(name, languages, summary) for name, languages in _configs(tags)],
    }


def _tags(summary: ExportSummary) -> list[str]:
    kinds = {"SftExample": ["sft"], "PreferencePair": ["preference", "dpo"]}
    tags = kinds.get(summary.source.kind, [])
    return tags if summary.dataset == CANDIDATES else [*tags, summary.format.trainer]


def _configs(tags: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield ALL, tuple(tags)
    for tag in tags:
        # 'all' is also the ISO 639-3 code of Allar
        yield (tag if tag != ALL else "language-all"), (tag,)


def _config(name: str, languages: tuple[str, ...], summary: ExportSummary) -> dict[str, Any]:
    files = _files_of(summary, languages)
    stem = "*" if name == ALL else f"{languages[0]}.*"
    kind = summary.files[0].path.rpartition(".")[2]
    splits = list(dict.fromkeys(file.split for file in files))
    data_files = [{"split": split, "path": f"data/{split}/{stem}.{kind}"} for split in splits]
    return {"config_name": name, "data_files": data_files, **({"default": True} if name == ALL else {})}


def _info(name: str, languages: tuple[str, ...], summary: ExportSummary) -> dict[str, Any]:
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo

    files = _files_of(summary, languages)
    splits = SplitDict()
    for split in dict.fromkeys(file.split for file in files):
        part = [file for file in files if file.split == split]
        splits.add(
            SplitInfo(split, num_bytes=sum(f.num_bytes for f in part), num_examples=sum(f.num_rows for f in part))
        )
    info = DatasetInfo(
        features=Features.from_arrow_schema(arrow_schema(summary.source.record)),
        splits=splits,
        download_size=sum(file.size_bytes for file in files),
        dataset_size=sum(file.num_bytes for file in files),
    )
    return {"config_name": name, **info._to_yaml_dict()}


def _files_of(summary: ExportSummary, languages: tuple[str, ...]) -> list[DataFile]:
    return [file for file in summary.files if file.language in languages]
