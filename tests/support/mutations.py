"""Seeded damage to valid input: what disks, editors, exporters and careless scripts make of a file.

    for mutation in mutations(path.read_bytes(), "jsonl", seed=7, num=200):
        path.write_bytes(mutation.data)
        ...  # whatever reads it: a sentence or counted rejects, never another exception

`bytes` mutations are blind. `json`, `jsonl` and `yaml` also change the values behind the text: types, depth, size, names.
The same seed gives the same mutations on every machine.
"""

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

Format = Literal["bytes", "json", "jsonl", "yaml"]


@dataclass(frozen=True)
class Mutation:
    """A damaged file: `label` says what was done to it."""

    label: str
    data: bytes


def mutations(data: bytes, form: Format, seed: int, num: int) -> Iterator[Mutation]:
    """Yield `num` mutations of a valid file; half of them structural where the format has a structure."""
    for index in range(num):
        rng = Random(f"{seed}/{form}/{index}")
        if form != "bytes" and index % 2:
            yield _structural(data, form, rng)
        else:
            name = rng.choice(sorted(_BLIND))
            yield Mutation(name, _BLIND[name](data, rng))


def parquet_mutations(rows: list[dict[str, Any]], seed: int, num: int) -> Iterator[Mutation]:
    """Yield `num` mutations of a Parquet file of rows: half in its bytes (no checksums guard them), half in its values.

    A column whose values are of several types is written as a union of objects, else as JSON text.
    """
    blind = mutations(parquet_bytes(rows), "bytes", seed, num)
    for index in range(num):
        rng = Random(f"{seed}/parquet/{index}")
        if index % 2:
            at = rng.randrange(len(rows))
            label, value = mutate_value(rows[at], rng)
            changed = [value if i == at else row for i, row in enumerate(rows)]
            yield Mutation(f"row {at + 1}: {label}", parquet_bytes([r for r in changed if isinstance(r, dict)]))
        else:
            yield next(blind)


def parquet_bytes(rows: list[dict[str, Any]]) -> bytes:
    """Return rows as a Parquet file without page checksums."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, ValueError, OverflowError, TypeError, RecursionError):
        return pa.array([None if value is None else json.dumps(value) for value in values])


def odd_names(suffix: str) -> list[str]:
    """Return file names that trip careless code, each valid on Linux."""
    return [
        f"a b{suffix}",
        f"a[1]{suffix}",
        f"a*b{suffix}",
        f"a?{suffix}",
        f"{{a,b}}{suffix}",
        f"'quoted' \"twice\"{suffix}",
        f"line\nbreak{suffix}",
        f"tab\t{suffix}",
        f"\x1b[31mred{suffix}",
        f"[bold]markup[b]{suffix}",
        f"-rf{suffix}",
        f"~{suffix}",
        f"$HOME{suffix}",
        f"100%{suffix}",
        f"ünïcödé-ما-日本{suffix}",
        f"\u202eback{suffix}",
        f"bad-\udcff-byte{suffix}",
        f"#hash{suffix}",
        f"a=b{suffix}",
        "n" * (250 - len(suffix)) + suffix,
    ]


def mutate_value(value: Any, rng: Random) -> tuple[str, Any]:
    """Return what was changed, and a copy of a JSON-like value in which one place is changed."""
    paths = list(_paths(value))
    path = rng.choice(paths)
    kind = rng.choice(("replace", "replace", "replace", "drop", "rename", "wrap", "repeat"))
    label, change = _CHANGES[kind]
    return f"{label} at {'.'.join(map(str, path)) or 'the root'}", _at(value, path, lambda found: change(found, rng))


ODD_VALUES: Sequence[Any] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    10**18,
    10**30,
    -(10**30),
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    " ",
    "0",
    "1e400",
    "\x00",
    "\ud83d",
    "\u202e\x1b[31m",
    "../../etc/passwd",
    "[/]",
    "é" * 3,
    "x" * 70_000,
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {"$oid": "64b0"},
    [{"role": "user", "content": "hello"}],
    {"role": ["user"], "content": ["hello"]},
)
"""Values of every type, and those that are at the edge of one."""


def _structural(data: bytes, form: Format, rng: Random) -> Mutation:
    if form == "jsonl":
        lines = data.splitlines(keepends=True)
        index = rng.randrange(len(lines))
        label, value = mutate_value(json.loads(lines[index]), rng)
        lines[index] = _dumped(value) + b"\n"
        return Mutation(f"line {index + 1}: {label}", b"".join(lines))
    label, value = mutate_value(yaml.safe_load(data) if form == "yaml" else json.loads(data), rng)
    # JSON is YAML in flow style, and `json` dumps what `yaml` cannot: half a surrogate pair, 400 levels.
    return Mutation(label, _dumped(value))


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def _paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _paths(inner, (*at, index))


def _at(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    first, *rest = path
    if isinstance(value, dict):
        return {key: _at(inner, tuple(rest), change) if key == first else inner for key, inner in value.items()}
    return [_at(inner, tuple(rest), change) if index == first else inner for index, inner in enumerate(value)]


def _replaced(value: Any, rng: Random) -> Any:
    return rng.choice(ODD_VALUES)


def _dropped(value: Any, rng: Random) -> Any:
    if not value or not isinstance(value, dict | list):
        return None
    gone = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    if isinstance(value, dict):
        return {key: inner for key, inner in value.items() if key != gone}
    return value[:gone] + value[gone + 1 :]


def _renamed(value: Any, rng: Random) -> Any:
    if not value or not isinstance(value, dict):
        return {"unexpected": value}
    old = rng.choice(list(value))
    new = rng.choice(("", old.upper(), old + " ", "__proto__", "../x", "x" * 300, "\u202e", "name", "id"))
    return {new if key == old else key: inner for key, inner in value.items()}


def _wrapped(value: Any, rng: Random) -> Any:
    depth = rng.choice((1, 2, 30, 400))
    for level in range(depth):
        value = [value] if level % 2 else {"in": value}
    return value


def _repeated(value: Any, rng: Random) -> Any:
    times = rng.choice((2, 50, 1000))
    if isinstance(value, str):
        return (value * times)[:200_000]
    return [value] * min(times, 50)


_CHANGES: dict[str, tuple[str, Callable[[Any, Random], Any]]] = {
    "replace": ("another value", _replaced),
    "drop": ("a part dropped", _dropped),
    "rename": ("a key renamed", _renamed),
    "wrap": ("nested deeper", _wrapped),
    "repeat": ("repeated", _repeated),
}


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _cut_front(data: bytes, rng: Random) -> bytes:
    return data[rng.randrange(len(data) + 1) :]


def _flip(data: bytes, rng: Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 4, 32))):
        if found:
            found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def _hole(data: bytes, rng: Random) -> bytes:
    """A block of zeros, as a file system leaves behind after a crash."""
    start = rng.randrange(len(data) + 1)
    size = min(rng.choice((1, 16, 512, 4096)), len(data) - start)
    return data[:start] + b"\0" * size + data[start + size :]


def _insert(data: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    odd = rng.choice((b"\xff", b"\x00", b"\n", b'"', b"{", b"[", b"\xef\xbb\xbf", b"\x1a", b"\xe2\x80", b"\\ud83d"))
    return data[:start] + odd * rng.choice((1, 2, 100)) + data[start:]


def _delete(data: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 2, 8, 100)) :]


def _repeat_block(data: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((1, 20, 400)))
    return data[:end] + data[start:end] * rng.choice((1, 3)) + data[end:]


def _deep(data: bytes, rng: Random) -> bytes:
    depth = rng.choice((50, 2000, 100_000))
    opened = rng.choice((b"[", b'{"a":'))
    return rng.choice((opened * depth, data + opened * depth + b"\n", opened * depth + b"0" + b"]" * depth + b"\n"))


def _encoded(data: bytes, rng: Random) -> bytes:
    text = data.decode("utf-8", "replace")
    codec = rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "utf-8-sig"))
    return text.encode(codec, "replace")


def _packed(data: bytes, rng: Random) -> bytes:
    """Compressed under a name that does not say so, perhaps cut."""
    packed = rng.choice((gzip.compress, bz2.compress, lzma.compress))(data)
    return packed if rng.random() < 0.5 else packed[: rng.randrange(len(packed))]


def _other_lines(data: bytes, rng: Random) -> bytes:
    ending = rng.choice((b"\r\n", b"\r", b"\n\n", b"\x0b", b"\xe2\x80\xa8", b" "))
    return data.replace(b"\n", ending)


def _empty(data: bytes, rng: Random) -> bytes:
    return rng.choice(
        (b"", b"\n", b" ", b"\0", b"null\n", b"[]", b"{}", b"\xef\xbb\xbf", b"PAR1", b"\x1f\x8b", b"PK\x03\x04")
    )


def _noise(data: bytes, rng: Random) -> bytes:
    return rng.randbytes(rng.choice((1, 64, 4096)))


_BLIND: dict[str, Callable[[bytes, Random], bytes]] = {
    "cut off": _cut,
    "beginning lost": _cut_front,
    "bits flipped": _flip,
    "zeros": _hole,
    "bytes inserted": _insert,
    "bytes lost": _delete,
    "block repeated": _repeat_block,
    "nested deep": _deep,
    "another encoding": _encoded,
    "compressed": _packed,
    "other line ends": _other_lines,
    "next to nothing": _empty,
    "noise": _noise,
}
