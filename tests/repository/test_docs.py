"""The documentation shows what the program prints, and names commands, options, keys, files and sections that exist."""

import ast
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from arbitrage.yaml_text import read_yaml
from tests.support.pages import PAGES, ROOT, Block, blocks, matches, run_arbitrage, run_command, split_words

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
RUN = [name for name in NAMES if any(block.is_run for block in blocks(ROOT / name))]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run of `arbitrage quickstart --local`, and what it printed."""
    directory = tmp_path_factory.mktemp("quickstart")
    code, out, err = run_arbitrage(["quickstart", "--local"], directory)
    assert code == 0, err
    return directory, out


@pytest.fixture
def scratch(quickstart: tuple[Path, str], tmp_path: Path) -> Path:
    """A directory as a reader has it after the quickstart: pipelines, pool and the finished run."""
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copy(ROOT / "teachers.yaml", tmp_path)
    shutil.copytree(quickstart[0] / "runs", tmp_path / "runs")
    return tmp_path


@pytest.mark.model  # the quickstart's; shells run the few commands that are not `arbitrage`
@pytest.mark.process
@pytest.mark.parametrize("name", RUN)
def test_page_shows_what_its_commands_print(name: str, scratch: Path, quickstart: tuple[Path, str]) -> None:
    wrong = []
    for block in blocks(ROOT / name):
        if block.file_name:
            (scratch / block.file_name).write_text(block.text, encoding="utf-8")
        if not block.is_run:
            continue
        for command, shown in block.commands():
            is_done = command == "arbitrage quickstart --local"
            printed = quickstart[1] if is_done else run_command(command, scratch)
            if not matches(shown, printed, is_approximate="approximate" in block.info):
                wrong.append(f"{name}:{block.line}: $ {command}\n--- shown\n{shown}\n--- printed\n{printed}")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize(
    ("shown", "printed", "is_approximate", "expected"),
    [
        ("a\nb", "a\nb\n", False, True),
        ("a  1", "a      1   ", False, True),
        ("a", "b", False, False),
        ("a\n...\nd", "a\nb\nc\nd", False, True),
        ("a\n...\nd", "a\nb\nc", False, False),
        ("took ... s", "took 1.5 s", False, True),
        ("took ... s", "took\n1.5 s", False, False),
        ("71.4 %", "70.1 %", False, False),
        ("71.4 %", "70.1 %", True, True),
        ("71.4 %", "41.4 %", True, False),
        ("71.4 %", "71.4", True, False),
        ("1 row", "1 row\n1 more", True, False),
        ("1 row\n...\n12 of 1,400", "1 row\n7 rows\n8.5 rows\n12 of 1,390", True, True),
        ("1 row\n...\n12 of 1,400", "1 row\n7 rows\n8.5 rows\n12 of 139", True, False),
        ("", "", False, True),
        ("...", "a\nb", False, True),
        ("(a+b)*", "(a+b)*", False, True),
    ],
)
def test_matches_tells_shown_from_printed(shown: str, printed: str, is_approximate: bool, expected: bool) -> None:
    assert matches(shown, printed, is_approximate) is expected


@pytest.mark.parametrize("name", NAMES)
def test_page_marks_every_command_as_run_or_not_run(name: str) -> None:
    for block in blocks(ROOT / name):
        where = f"{name}:{block.line}"
        if block.language == "console":
            assert block.text.startswith(("$ ", "# ")), f"{where}: a console block begins with a command: `$ …`"
            assert block.info in ("", "approximate") or re.fullmatch(r"not run: \w.+", block.info), where
        elif block.language != "yaml":
            assert not re.search(r"^(\$ )?arbitrage ", block.text, re.MULTILINE), f"{where}: mark it `console`"


def command_lines(name: str) -> Iterator[tuple[str, str]]:
    """Yield every `arbitrage …` of a page, in blocks and in running text, with its place."""
    page = ROOT / name
    for block in blocks(page):
        if block.language == "console":
            yield from ((f"{name}:{block.line}", command) for command, _ in block.commands())
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    yield from ((name, " ".join(words.split())) for words in re.findall(r"`(arbitrage [^`]+)`", prose))


@pytest.mark.parametrize("name", NAMES)
def test_page_names_commands_and_options_that_exist(name: str) -> None:
    from arbitrage.cli.main import app

    root = typer.main.get_command(app)
    for where, line in command_lines(name):
        for part in re.split(r" (?:\||&&|>) ", line):
            words = split_words(part)
            if words and words[0] == "arbitrage":
                assert not (problem := unknown_word(root, words[1:])), f"{where}: {line}: {problem}"


def unknown_word(command: Any, words: list[str]) -> str | None:
    """Return the first word that is neither a command nor an option that exists, of a command of Typer's."""
    options = {"--help", "-h"} | {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    for position, word in enumerate(words):
        if hasattr(command, "commands") and not word.startswith("-"):
            if not re.fullmatch(r"[a-z][a-z-]*", word):
                return None  # `arbitrage …`
            below = command.commands.get(word)
            return f"no command '{word}'" if below is None else unknown_word(below, words[position + 1 :])
        if word.startswith("-") and not re.fullmatch(r"-[\d.]+", word) and word.partition("=")[0] not in options:
            return f"no option '{word}'"
    return None


@pytest.mark.parametrize("name", NAMES)
def test_page_sets_keys_that_exist(name: str) -> None:
    from pipelines.loading import load_pipeline

    for where, line in command_lines(name):
        found = re.match(r"arbitrage (?:run|plan) (pipelines/\w+\.yaml)", line)
        if found:
            assert (ROOT / found[1]).exists(), f"{where}: {line}"
            load_pipeline(ROOT / found[1], re.findall(r"--set (\S+=\S+)", line))


@pytest.mark.parametrize("name", NAMES)
def test_page_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page if not path else (page.parent / path)
        assert file.exists(), f"{name}: {target}: no such file"
        if anchor:
            assert anchor in anchors(file), f"{name}: {target}: no such heading"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_page_python_imports_what_exists(name: str) -> None:
    for block in blocks(ROOT / name):
        if block.language == "python":
            text = block.text.replace("…", "...")
            imports = [
                node
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("arbitrage", "routers")
            ]
            exec(compile(ast.Module(imports, []), f"{name}:{block.line}", "exec"), {})


@pytest.mark.parametrize("name", NAMES)
def test_page_yaml_is_a_config(name: str) -> None:
    for block in blocks(ROOT / name):
        if block.language == "yaml" and not block.info.startswith("not ours"):
            for key, value in (read_yaml(block.text) or {}).items():
                problem = key_problem(key, value, block)
                assert problem is None, f"{name}:{block.line}: {key}: {problem}"


def key_problem(key: str, value: Any, block: Block) -> str | None:
    """Return why no config takes a key with this value; None if one does."""
    problems = []
    for field in fields_named(key):
        try:
            TypeAdapter(field.rebuild_annotation()).validate_json(json.dumps(value, default=str))
        except ValidationError as error:
            problems.append("; ".join(f"{detail['loc']}: {detail['msg']}" for detail in error.errors()))
        else:
            return None
    return "\n".join(problems) or "is a key of no config"


def fields_named(key: str) -> Iterator[FieldInfo]:
    """Yield the fields of this name of the configs that stand at the top of a file, and of a teacher."""
    from arbitrage.profile.settings import ProfileSettings
    from arbitrage.teachers.pool import TeacherConfig, TeacherPool
    from arbitrage.training.settings import TrainConfig
    from pipelines import PipelineConfig
    from pipelines.online.config import OnlineConfig

    union = get_args(get_args(PipelineConfig)[0])
    tops: tuple[type[BaseModel], ...] = (
        *union,
        OnlineConfig,
        TeacherPool,
        TeacherConfig,
        ProfileSettings,
        TrainConfig,
    )
    yield from (top.model_fields[key] for top in tops if key in top.model_fields)
