"""Count what makes a source tree easy or hard to read: sizes, names with two meanings, private words.

    python -m tools.tree_figures                  this checkout
    python -m tools.tree_figures ../other         another one, to compare

Counted are the packages `arbitrage`, `routers` and `pipelines`; words also in the docs and the README.
"""

import ast
import io
import json
import re
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("arbitrage", "routers", "pipelines")
SMALL_FILE_LINES = 50
PRIVATE_WORDS = {
    "ask a model": r"\b(ask|asks|asked|asking)\b",
    "dear": r"\bdear(er|est)?\b",
    "nobody, somebody, everybody": r"\b(nobody|somebody|everybody|anybody)('s)?\b",
    "opinion": r"\bopinions?\b",
    "owe": r"\b(owe|owes|owed)\b",
    "lie (of files)": r"\b(lies|lie|lay)\b",
    "so many": r"\bso many\b",
    "go on": r"\b(goes|go|going|went) on\b",
    "micro-world": r"\bmicro-world\b",
    "newcomer": r"\bnewcomers?\b",
}
STEP_NAME_PARSERS = re.compile(
    r"\b(?:step|name|reader)(?:\.step)?(?:\.name)?\.(?:r?partition|split|startswith|removeprefix)\(\"-?(?:[a-z]+-)?\""
)

TABLE = Path("arbitrage/candidates/table.py")
_ID = r"(?:\.(?:prompt|candidate)_id|\[\"(?:prompt|candidate)_id\"\])"
TABLE_JOINS = re.compile(
    rf"""
    \{{\s*\w+{_ID}\s*:                                  # {{row.prompt_id: row for row in rows}}
    | \w+\[\w+{_ID}\](?:\.append|\[[^\]]*\]\s*=|\s*=)   # found[row.candidate_id].append(row)
    | setdefault\(\s*\w+{_ID}
    | (?:index_in|is_in)\([^)]*(?:prompt|candidate)_id
    | dict\(\s*zip\([^)]*(?:prompt|candidate)_id
    | \w+_pairs\([^)]*"(?:prompt|candidate)_id"
    """,
    re.VERBOSE,
)
"""Places that find rows by the id of their prompt or candidate; those of `TABLE` itself are not counted."""


def sources(root: Path) -> Iterator[Path]:
    """Yield the Python files of the packages, in a fixed order."""
    for package in PACKAGES:
        yield from sorted((root / package).rglob("*.py"))


def line_kinds(text: str) -> Counter[str]:
    """Count a file's lines: blank, comment, docstring, code; a comment behind code is a comment as well."""
    lines = text.splitlines()
    found: Counter[str] = Counter(blank=sum(not line.strip() for line in lines))
    in_docstrings = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        for each in body if isinstance(body, list) else []:
            if (
                isinstance(each, ast.Expr)
                and isinstance(each.value, ast.Constant)
                and isinstance(each.value.value, str)
            ):
                in_docstrings |= set(range(each.lineno, (each.end_lineno or each.lineno) + 1))
    found["docstring"] = sum(bool(lines[number - 1].strip()) for number in in_docstrings)
    found["comment"] = sum(t.type == tokenize.COMMENT for t in tokenize.generate_tokens(io.StringIO(text).readline))
    alone = sum(line.lstrip().startswith("#") for line in lines)
    found["code"] = len(lines) - found["blank"] - found["docstring"] - alone
    return found


def public_names(text: str) -> Iterator[str]:
    """Yield the public classes and functions that a module defines at its top."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node.name


def prose_of(root: Path) -> str:
    """Return the text that people read: sources, docs and README."""
    pages = [*sources(root), *sorted((root / "docs").rglob("*.md")), root / "README.md"]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def measure(root: Path) -> dict[str, object]:
    """Return all figures of a checkout."""
    kinds: Counter[str] = Counter()
    homes: defaultdict[str, set[str]] = defaultdict(set)
    names: Counter[str] = Counter()
    small = files = parsers = joins = 0
    for path in sources(root):
        text = path.read_text(encoding="utf-8")
        num_lines = len(text.splitlines())
        kinds += line_kinds(text)
        files += 1
        small += num_lines < SMALL_FILE_LINES and path.name != "__init__.py"
        names[path.name] += path.name != "__init__.py"
        parsers += len(STEP_NAME_PARSERS.findall(text))
        joins += len(TABLE_JOINS.findall(text)) if path != root / TABLE else 0
        for name in public_names(text):
            homes[name].add(str(path.relative_to(root)))
    several = {name: sorted(where) for name, where in sorted(homes.items()) if len(where) > 1}
    prose = prose_of(root)
    return {
        "files": files,
        "lines": dict(kinds) | {"all": sum(kinds[k] for k in ("blank", "docstring", "code"))},
        "comments per 100 lines of code": round(100 * kinds["comment"] / kinds["code"], 2),
        "files under 50 lines": small,
        "file names that occur three times or more": {n: c for n, c in sorted(names.items()) if c > 2},
        "public names with several definitions": several,
        "number of public names with several definitions": len(several),
        "places that parse step names": parsers,
        "places that join rows by id outside the candidate table": joins,
        "private words": {word: len(re.findall(pattern, prose, re.I)) for word, pattern in PRIVATE_WORDS.items()},
    }


def main() -> None:
    """Print the figures as JSON."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]
    print(json.dumps(measure(root), indent=1))


if __name__ == "__main__":
    main()
