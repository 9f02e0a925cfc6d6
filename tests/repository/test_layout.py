"""Where tests and their helpers are."""

import ast
import re
from pathlib import Path
from textwrap import dedent

from tests.support.paths import ROOT

TEST_MODULE = re.compile(r"tests\.(\w+\.)*test_\w+")


def imports_of(source: str) -> list[str]:
    """Return the dotted names of what a module imports, wherever in it; of `from a import b`, both a and a.b."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def programs_in(source: str) -> list[str]:
    """Return the texts in a module that are programs: it starts them."""
    constants = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    texts = [dedent(text) for text in constants if isinstance(text, str) and "import " in text]
    return [text for text in texts if _is_program(text)]


def _is_program(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def imported_tests(source: str) -> list[str]:
    names = [name for text in (source, *programs_in(source)) for name in imports_of(text)]
    return [name for name in names if TEST_MODULE.fullmatch(name)]


def test_no_module_imports_a_test_module() -> None:
    """What several tests need is in tests/support, where it can be found and has no tests of its own."""
    modules = [path for part in ("tests", "benchmarks", "tools") for path in (ROOT / part).rglob("*.py")]
    modules.remove(Path(__file__))  # it shows below what is not to be
    found = {path.relative_to(ROOT).as_posix(): imported_tests(path.read_text()) for path in modules}
    assert {name: imported for name, imported in found.items() if imported} == {}


def test_an_import_of_a_test_module_is_found_wherever_it_is() -> None:
    source = "from tests.a.test_b import run\nfrom tests.a import test_c\nPROGRAM = 'import tests.test_d'\n"
    assert imported_tests(source) == ["tests.a.test_b", "tests.a.test_c", "tests.test_d"]
