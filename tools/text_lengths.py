"""Measure how long texts are by language: `python -m tools.text_lengths FILE` writes the table in arbitrage/text.

FILE: NTREX-128 as Parquet with the columns lang, seg and text (see benchmarks' data); `eng` is the source.
"""

import json
from math import log
from pathlib import Path
from statistics import median
from typing import Annotated

import pyarrow.parquet as pq
import typer

import arbitrage.text
from arbitrage.languages import read_language
from arbitrage.translation.marks import ends_in_mark

SOURCE, MISLABELLED = "eng", ("nso", "eng-US", "eng-GB")
NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


def main(file: Annotated[Path, typer.Argument(help="NTREX-128 as Parquet: columns lang, seg, text.")]) -> None:
    """Write the table of lengths by language."""
    texts: dict[str, dict[int, str]] = {}
    for row in pq.read_table(file, columns=["lang", "seg", "text"]).to_pylist():
        texts.setdefault(row["lang"], {})[row["seg"]] = row["text"].strip()
    english = texts[SOURCE]
    languages = {"en": (0.0, 0.0, 1.0)}
    for lang in sorted(texts.keys() - {SOURCE, *MISLABELLED}):
        tag = read_language(lang) or read_language(lang.partition("-")[0])  # gsw-ZH is no tag
        if tag is None:
            raise SystemExit(f"{lang}: is no language")
        logs = [log(len(text) / len(english[seg])) for seg, text in texts[lang].items() if text and english[seg]]
        middle = median(logs)
        spread = NORMAL * median(abs(each - middle) for each in logs)
        ended = [ends_in_mark(text) for seg, text in texts[lang].items() if ends_in_mark(english[seg])]
        languages[tag] = (round(middle, 4), round(spread, 4), round(sum(ended) / len(ended), 4))
    table = {"source": "NTREX-128, sentences 0 to 499, beside English", "languages": dict(sorted(languages.items()))}
    target = Path(arbitrage.text.__file__).parent / "text_lengths.json"
    target.write_text(
        json.dumps(table, indent=1).replace("[\n   ", "[").replace(",\n   ", ", ").replace("\n  ]", "]") + "\n"
    )
    print(f"{target}: {len(languages)} languages")


if __name__ == "__main__":
    typer.run(main)
