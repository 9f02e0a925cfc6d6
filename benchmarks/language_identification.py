"""Accuracy and speed of `arbitrage.text.identify` on NTREX-128 and Tatoeba; prints one JSON line.

    python benchmarks/language_identification.py DATA_DIR

Rows of languages that the detector does not know are counted apart; NTREX's `nso`, really Sesotho, is left out.
`false_alarm`: share of rows that contradict their own tag. `english_found`: share of English rows that contradict
Spanish, German, Swahili and Turkish.
"""

import json
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from arbitrage.languages import normalise_tag
from arbitrage.text.identify import find_contradiction, identify, is_identifiable, is_same_language

FILES = {"ntrex128": "ntrex128/ntrex_first500.parquet", "tatoeba112": "tatoeba112/tatoeba112.parquet"}
TARGETS = ("es", "de", "sw", "tr")


def measure(path: Path) -> dict[str, object]:
    table = pq.read_table(path)
    rows = list(zip(table.column("lang").to_pylist(), table.column("text").to_pylist(), strict=True))
    started = time.perf_counter()
    for _, text in rows:
        identify(text)
    seconds = time.perf_counter() - started
    known = [
        (tag, text)
        for name, text in rows
        if name != "nso" and (tag := normalise_tag(name)) is not None and is_identifiable(tag)
    ]
    found = [(is_same_language(tag, f.language), f.is_reliable) for tag, text in known for f in [identify(text)]]
    alarms = [(len(text) >= 60, find_contradiction(text, tag) is not None) for tag, text in known]
    long = [alarm for is_long, alarm in alarms if is_long]
    english = [text for name, text in rows if name == "eng"]
    caught = [find_contradiction(text, target) is not None for text in english for target in TARGETS]
    return {
        "rows": len(rows),
        "rows_of_known_languages": len(known),
        "known_languages": len({tag for tag, _ in known}),
        "sentences_per_second": round(len(rows) / seconds),
        "accuracy": share([right for right, _ in found]),
        "reliable": share([reliable for _, reliable in found]),
        "accuracy_when_reliable": share([right for right, reliable in found if reliable]),
        "false_alarm": share([alarm for _, alarm in alarms]),
        "false_alarm_from_60_characters": share(long),
        "english_found": share(caught),
    }


def share(values: list[bool]) -> float:
    return round(sum(values) / len(values), 4)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print(json.dumps({name: measure(folder / file) for name, file in FILES.items()}, sort_keys=True))
