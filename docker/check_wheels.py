"""Check that no two wheels of an install own one file: the one that is installed last would overwrite the other's.

    pip install --dry-run --ignore-installed --report report.json -c constraints-gpu.txt '.[vllm,train,cluster]'
    python docker/check_wheels.py report.json

Reads only the list of files of each wheel, in ranges, through pip.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlparse
from zipfile import ZipFile

HARMLESS = {"build_backend.py"}
"""Read only when a wheel is built; some land in site-packages by mistake."""


def owned_twice(files: Mapping[str, Mapping[str, int]]) -> dict[tuple[str, ...], list[str]]:
    """Return which wheels share which paths with other contents. `files`: wheel → path → checksum."""
    owners: dict[str, dict[str, int]] = defaultdict(dict)
    for wheel, paths in files.items():
        for path, checksum in paths.items():
            if not path.endswith("/") and ".dist-info/" not in path and path not in HARMLESS:
                owners[path][wheel] = checksum
    shared: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path, wheels in sorted(owners.items()):
        if len(set(wheels.values())) > 1:
            shared[tuple(sorted(wheels))].append(path)
    return dict(shared)


def files_of(url: str) -> dict[str, int]:
    """Return the paths within a wheel, each with its checksum."""
    if url.startswith("file:"):
        with ZipFile(Path(unquote(urlparse(url).path))) as wheel:
            return {entry.filename: entry.CRC for entry in wheel.infolist()}
    from pip._internal.network.lazy_wheel import LazyZipOverHTTP
    from pip._internal.network.session import PipSession

    with LazyZipOverHTTP(url, PipSession()) as remote, ZipFile(remote) as wheel:  # type: ignore[arg-type]
        return {entry.filename: entry.CRC for entry in wheel.infolist()}


def main() -> int:
    """Print what is owned twice; 1 if anything is."""
    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    urls = {
        f"{item['metadata']['name']} {item['metadata']['version']}": item["download_info"]["url"]
        for item in report["install"]
        if item["download_info"]["url"].endswith(".whl")
    }
    shared = owned_twice({wheel: files_of(url) for wheel, url in urls.items()})
    for wheels, paths in shared.items():
        print(f"{' and '.join(wheels)}: {len(paths)} files, such as {paths[0]}")
    print(f"{len(urls)} wheels, {len(shared)} pairs that own one file")
    return 1 if shared else 0


if __name__ == "__main__":
    sys.exit(main())
