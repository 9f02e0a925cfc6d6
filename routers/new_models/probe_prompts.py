"""Probe prompts: one fixed set for all new models, stratified by language and task."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from arbitrage.candidates.queries import Queries, Rows
from arbitrage.records import content_id

NUM_PROBE_PROMPTS: Final = 128
"""Usual number of probe prompts."""


def pick_probe_prompts(
    queries: Queries, cluster_P: Rows, prompt_ids: Sequence[str], size: int, seed: int = 0
) -> Rows:
    """Pick probe prompts: always the same, stratified by language and task.

    Each stratum gets its share of prompts, by largest remainders, after one for each language while there is room;
    within it clusters are taken in the order of a hash of the prompt's id, no cluster twice before all others.
    Another `seed` gives another hash.
    """
    strata = np.asarray([f"{lang}\t{task}" for lang, task in zip(queries.languages, queries.tasks, strict=True)])
    names, index_P, num_S = np.unique(strata, return_inverse=True, return_counts=True)
    take_S = _allot(num_S, min(size, len(prompt_ids)), [name.split("\t")[0] for name in names])
    name = f"calibration {seed}" if seed else "calibration"
    picked: list[int] = []
    used: set[int] = set()
    for stratum in range(len(names)):
        rows = np.flatnonzero(index_P == stratum)
        hashed = {row: content_id(name, prompt_ids[row]) for row in rows.tolist()}
        for _ in range(take_S[stratum]):
            row = min(hashed, key=lambda r: (cluster_P[r] in used, hashed[r]))
            used.add(int(cluster_P[row]))
            picked.append(row)
            del hashed[row]
    return np.asarray(sorted(picked), np.int64)


def _allot(num_S: Rows, size: int, languages: Sequence[str]) -> Rows:
    """Share `size` places among strata in proportion to their prompts, after one for each language."""
    take_S = np.zeros(len(num_S), np.int64)
    for language in dict.fromkeys(languages):
        if take_S.sum() < size:
            strata = [s for s, name in enumerate(languages) if name == language]
            take_S[max(strata, key=lambda s: num_S[s])] = 1
    wanted_S = num_S / num_S.sum() * size
    while take_S.sum() < size:
        short_S = np.where(take_S < num_S, wanted_S - take_S, -np.inf)
        take_S[int(np.argmax(short_S))] += 1
    return take_S
