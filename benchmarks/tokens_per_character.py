"""Tokens per character by script, on 500 parallel sentences in 130 languages (NTREX-128).

Prints the table of `arbitrage.teachers.tokens` as one JSON line. Tokenizer: Mistral's Tekken (131k entries), which
ships inside the `mistral_common` package. Run: python benchmarks/tokens_per_character.py DATA/ntrex128/….parquet
"""

import json
import sys
from collections import defaultdict
from importlib.resources import files

import pyarrow.parquet as pq

from arbitrage.languages import normalise_tag, script_of

TOKENIZER = "tekken_240911.json"


def main(path: str) -> None:
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    tokenizer = Tekkenizer.from_file(str(files("mistral_common") / "data" / TOKENIZER))
    table = pq.read_table(path)
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, text in zip(table.column("lang").to_pylist(), table.column("text").to_pylist(), strict=True):
        tag = normalise_tag(name)
        if tag:
            totals[script_of(tag)][0] += len(tokenizer.encode(text, bos=False, eos=False))
            totals[script_of(tag)][1] += len(text)
    ratios = {script: round(tokens / characters, 2) for script, (tokens, characters) in sorted(totals.items())}
    print(json.dumps({"benchmark": "tokens_per_character", "tokenizer": TOKENIZER, "ratios": ratios}))


if __name__ == "__main__":
    main(sys.argv[1])
