"""File names of a run, and the assignment of prompts to shards.

    <run>/<step>-<fingerprint>/shard-00007.parquet            rows; a file that exists is complete
    <run>/<step>-<fingerprint>/_rejects/shard-00007.parquet   what stopped here, if anything did
    <run>/<step>-<fingerprint>/_stats/shard-00007.json        counts by language and teacher, seconds, tokens
    <run>/<step>-<fingerprint>/_journal/shard-00007/          results as they arrive, while the shard is under way
    <run>/_damaged/<step>-<fingerprint>/shard-00007.parquet   what was found damaged and is made again

On a disk a file is written beside its place and renamed. In an object store it is written once, under its final
name: an object that exists is complete. There a journal is made of segments.

Names with a leading '_' are skipped by Parquet data set readers, so a glob of a step finds its rows alone.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from arbitrage.config import Raw
from arbitrage.contracts.steps import Step
from arbitrage.runs.paths import AnyPath, names_in
from arbitrage.tables import SCHEMA_VERSION, arrow_schema

FINGERPRINT_DIGITS = 12

_SHARD = re.compile(r"shard-([0-9]{5,9})")


def shard_of(prompt_id: str, num_shards: int) -> int:
    """Return the shard of a prompt: a hash of its id, so every shard is a fair sample of the whole."""
    digest = hashlib.blake2b(prompt_id.encode(), digest_size=8, person=b"shard").digest()
    return int.from_bytes(digest, "big") % num_shards


def shard_path(directory: AnyPath, shard: int) -> AnyPath:
    """Return the path of a shard's rows."""
    return directory / f"shard-{shard:05d}.parquet"


def rejects_path(directory: AnyPath, shard: int) -> AnyPath:
    """Return the path of a shard's rejects."""
    return _part(directory, "_rejects") / f"shard-{shard:05d}.parquet"


def stats_path(directory: AnyPath, shard: int) -> AnyPath:
    """Return the path of a shard's counts."""
    return _part(directory, "_stats") / f"shard-{shard:05d}.json"


def journal_directory(directory: AnyPath, shard: int) -> AnyPath:
    """Return the directory of a shard's journal."""
    return _part(directory, "_journal") / f"shard-{shard:05d}"


@lru_cache(maxsize=1024)
def _part(directory: AnyPath, name: str) -> AnyPath:
    return directory / name


def shards_in(directory: AnyPath) -> set[int]:
    """Return the shards of a step that exist, from one listing of its directory."""
    return set(numbered(names_in(directory), ".parquet"))


def journaled_in(directory: AnyPath) -> set[int]:
    """Return the shards of a step that have a journal, from one listing of its directory."""
    return set(numbered(names_in(directory / "_journal"), ""))


def numbered(names: Iterable[str], suffix: str) -> dict[int, str]:
    """Return shard → name, of file names with this suffix; other names are ignored."""
    found = {}
    for name in names:
        match = _SHARD.fullmatch(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if match and name == f"shard-{int(match[1]):05d}{suffix}":
            found[int(match[1])] = name
    return found


def fingerprints(steps: Sequence[Step], num_shards: int, shards: Sequence[int]) -> dict[str, str]:
    """Return step name → fingerprint, for steps in topological order.

    Hashed: config identity, scope, version, produced schema and the fingerprints of the inputs; for a source the
    number of shards that it writes, for a corpus step the shards that it sees. Never hashed: workers, GPUs, batch
    sizes.
    """
    found: dict[str, str] = {}
    for step in steps:
        parts: Raw = {
            "kind": step.config.step_kind,
            "identity": step.config.identity(),
            "scope": step.scope,
            "version": step.version,
            "produces": [step.produces.__name__, str(arrow_schema(step.produces).remove_metadata())],
            "schema_version": SCHEMA_VERSION,
            "inputs": {
                role: step.narrows[role] if role in step.narrows else [_read(found[s.name], s, step) for s in sources]
                for role, sources in sorted(step.inputs.items())
            },
        }
        if step.scope == "source":
            parts["num_shards"] = num_shards
        if step.scope == "corpus":
            parts["shards"] = sorted(k for k in shards if k in step.span)
        found[step.name] = digest_json(parts)
    return found


def _read(fingerprint: str, source: Step, reader: Step) -> Raw | str:
    """Return an input's part of a reader's fingerprint: with the input's span, if the reader sees more shards.

    So a step's span can grow without invalidating its existing shards.
    """
    if source.scope == "corpus" or source.span.covers(reader.span):
        return fingerprint
    return {"of": fingerprint, "span": [source.span.first, source.span.end]}


def digest_json(value: object) -> str:
    """Return a short hex digest of a JSON value, equal for equal values whatever the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()[:FINGERPRINT_DIGITS]


def step_directory(name: str, fingerprint: str) -> str:
    """Return a step's directory name below the run directory."""
    return f"{name}-{fingerprint}"


def step_name(directory: str) -> str:
    """Return the name of the step that a directory is of."""
    return directory.rpartition("-")[0]
