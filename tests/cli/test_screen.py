"""What reaches the terminal: no control character, no markup, no encoding that cannot write it."""

import ast
import io
import json
import os
import re
import subprocess
import sys

import pytest
from rich.live import Live
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from arbitrage.cli.screen import Screen, to_json
from arbitrage.printable import one_line, printable
from tests.support.paths import ROOT
from tests.support.report_runs import ReportCase, TeacherCase, make_run
from tests.support.waiting import WITHIN_S

CLI = ROOT / "arbitrage" / "cli"

EVIL = "a\x1b]0;owned\x07\x1b[2J\x9b31m\u202eb\u2066c\x85\u2028\r\ud83d[/][red]:bomb:"
OBEYED = ["\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\x85", "\u2028", "\r", "\ud83d"]


def _screen(**options):
    return Screen(file=io.StringIO(), width=200, **options)


def _unharmed(text):
    assert [sign for sign in OBEYED if sign in text] == []
    assert "[/][red]:bomb:" in text


def test_printable_shows_what_a_terminal_would_obey():
    assert printable(EVIL) == r"a\x1b]0;owned\x07\x1b[2J\x9b31m\u202eb\u2066c\x85\u2028\x0d\ud83d[/][red]:bomb:"
    assert printable("tab\tand\nline, العربية, 中文, क्षि, 👩‍👩‍👧") == "tab\tand\nline, العربية, 中文, क्षि, 👩‍👩‍👧"
    assert one_line("a\n b\x1b") == r"a b\x1b"


def test_json_is_printable_and_loses_nothing():
    text = to_json({EVIL: [EVIL, 1, None, "é"]})
    assert [sign for sign in OBEYED if sign in text] == []
    assert json.loads(text) == {EVIL: [EVIL, 1, None, "é"]}
    assert "é" in text


@pytest.mark.parametrize("make", [str, Text, lambda text: Text(text, style="bold"), lambda t: Text("x ").append(t)])
def test_screen_prints_foreign_texts_as_they_are_spelt(make):
    screen = _screen()
    screen.print(make(EVIL))
    _unharmed(screen.file.getvalue())


def test_tables_with_hostile_titles_headings_and_cells_are_drawn():
    table = Table(EVIL, title=EVIL, caption=EVIL)
    table.add_column(Text(EVIL))
    table.add_row(EVIL, Text(EVIL, style="red"))
    screen = _screen()
    screen.print(table)
    text = screen.file.getvalue()
    _unharmed(text)
    assert text.count("[/][red]:bomb:") >= 4  # what was made a Text before it came here may be folded


def test_escaping_keeps_the_styles_of_the_rest():
    screen = _screen(force_terminal=True, color_system="standard")
    screen.print(Text("ok ", style="green").append("b\x1b[2J", style="red"))
    assert "\x1b[32mok" in screen.file.getvalue()
    assert "\x1b[2J" not in screen.file.getvalue()


def test_live_tables_and_bars_are_safe_too():
    screen = _screen()
    table = Table(EVIL)
    with Live(table, console=screen, auto_refresh=False):
        pass
    with Progress(TextColumn("{task.description}", markup=False), console=screen) as bars:
        bars.add_task(EVIL)
    _unharmed(screen.file.getvalue())


def test_every_command_writes_through_the_screen():
    """A bare `print` or a plain rich Console would pass foreign texts on; JSON is escaped by itself."""
    found = []
    for path in sorted(CLI.glob("*.py")):
        if path.name == "screen.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            source = ast.unparse(node)
            is_json = any(word in source for word in ("json.dumps(", "to_json(", "print(text)"))
            if node.func.id == "print" and not is_json:
                found.append(f"{path.name}:{node.lineno}: {source}")
            if node.func.id == "Console" and path.name != "show.py":  # it makes its texts printable line by line
                found.append(f"{path.name}:{node.lineno}: {source}")
            if "ensure_ascii=False" in source and node.func.id == "print":
                found.append(f"{path.name}:{node.lineno}: {source}")
            if node.func.id == "TextColumn" and "{task.description" in source and "markup=False" not in source:
                found.append(f"{path.name}:{node.lineno}: {source}")
    assert found == []


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    teachers = {"west": TeacherCase(hostile=1.0), "east": TeacherCase(skill=0.8)}
    return make_run(tmp_path_factory.mktemp("runs") / "run", ReportCase(teachers=teachers, languages=("ar", "en")))


def _environment(**more):
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    return keep | {"PYTHONIOENCODING": "utf-8"} | more


def _arbitrage(*arguments, cwd=None, **environment):
    command = [sys.executable, "-m", "arbitrage.cli.main", *arguments]
    env = _environment(**environment)
    return subprocess.run(command, capture_output=True, env=env, cwd=cwd, check=False, timeout=WITHIN_S)


SEVERAL = """
import json, sys
from arbitrage.cli.main import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["arbitrage", *command]
    try:
        main()
    except SystemExit as end:
        assert not end.code, command
    print("the end of", command[0])
"""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "shift_jis"])
@pytest.mark.process
def test_no_encoding_ends_a_command(run, encoding):
    path = str(run.path)
    commands = [("status", path), ("show", path, "prompts"), ("report", path)]
    env = _environment(PYTHONIOENCODING=encoding)
    program = [sys.executable, "-c", SEVERAL, json.dumps(commands)]
    done = subprocess.run(program, capture_output=True, env=env, check=False, timeout=WITHIN_S)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    told = [text.strip() for text in re.split(rb"the end of \w+", done.stdout)]
    assert [bool(text) for text in told] == [True, True, True, False]


@pytest.mark.process
def test_a_minus_sign_stays_a_minus_sign_where_the_encoding_has_none(tmp_path):
    code = "from arbitrage.cli.screen import prepare_streams; prepare_streams(); print('−1 … 中 │─┌█ \\ud83d')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}, check=True
    )
    assert done.stdout.decode().strip() == r"-1 ... \u4e2d |-+# \ud83d"


@pytest.mark.process
def test_a_reader_that_leaves_early_ends_a_command_without_a_traceback(run):
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-m", "arbitrage.cli.main", "show", str(run.path), "prompts", "-n", "9999"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=keep)
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.wait(WITHIN_S)
    assert said == b""


@pytest.mark.process
def test_errors_spell_hostile_arguments():
    done = _arbitrage("status", "no\x1b[2Jsuch[/]run")
    assert done.returncode == 2
    assert done.stderr.decode().startswith(r"error: no\x1b[2Jsuch[/]run: is neither")


@pytest.mark.process
def test_hostile_names_crash_no_command_and_reach_no_terminal(tmp_path):
    """Names of models in a matrix, of files, of models at an endpoint: `[/]` is a closing tag of rich's markup."""
    names = ("[/]", "[red]x\x1b[2J\u202e", "c")
    rows = [
        {"prompt_id": str(i), "prompt": f"q {i}", "language": "en", "model": name, "reward": (i * 7 + place) % 11}
        for i in range(60)
        for place, name in enumerate(names)
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "[").mkdir()
    answers = [{"prompt": f"q{i}", "response": "words \x1b[2J", "language": "en"} for i in range(20)]
    for name in ("[/].jsonl", "[red]b\x1b[2J.jsonl"):
        (tmp_path / name).write_text("\n".join(map(json.dumps, answers)))
    (tmp_path / "t.yaml").write_text(
        'teachers: [{name: a, model: "[/]m\\e[2J", engine: {kind: openai, base_url: "http://127.0.0.1:9/[/]"}, '
        "languages: [en]}]"
    )
    for command, code in (
        (("router", "eval", "--matrix", "m.jsonl", "--jobs", "1"), 0),
        (("profile", "--compare", "[/].jsonl", "[[]red]b\x1b[[]2J.jsonl", "--processes", "1"), 0),
        (("teachers", "check", "--pool", "t.yaml"), 4),
    ):
        done = _arbitrage(*command, cwd=tmp_path)
        assert done.returncode == code, done.stderr.decode()
        assert b"\x1b" not in done.stdout + done.stderr
        assert "\u202e" not in (done.stdout + done.stderr).decode()
        assert b"Traceback" not in done.stderr
