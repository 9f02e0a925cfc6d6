"""The fenced blocks of a page of documentation, and running those that are console sessions.

    ```console                        the lines after `$ ` are run, and must print what follows them
    ```console approximate            numbers may differ by 3 or by 5 %: floating point differs between CPUs
    ```console not run: REASON        needs a GPU, a network, or minutes
    ```yaml my.yaml                   is written as that file, for the commands of the page

`...` in what a command prints stands for anything: within a line, or alone for any number of lines.
"""

import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.own_process import own_process
from tests.support.paths import ROOT
from tests.support.waiting import WITHIN_S

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```(\w*) *(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\\?\.\d+)?")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, what stands behind that, its text, and the line where it begins."""

    language: str
    info: str
    text: str
    line: int

    @property
    def is_run(self) -> bool:
        """Whether its commands are run."""
        return self.language == "console" and not self.info.startswith("not run")

    @property
    def file_name(self) -> str | None:
        """The file it is written as."""
        return self.info if self.language != "console" and re.fullmatch(r"[\w./-]+\.\w+", self.info) else None

    def commands(self) -> Iterator[tuple[str, str]]:
        """Yield each command of a console block and what it prints."""
        command, output = "", list[str]()
        for line in self.text.splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, "\n".join(output)
                command, output = line[2:], []
            elif line.startswith("# "):
                continue
            elif command.endswith("\\"):
                command = f"{command[:-1]}{line.strip()}"
            else:
                output.append(line)
        if command:
            yield command, "\n".join(output)


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2], m[3], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)]


def run_command(command: str, directory: Path) -> str:
    """Run a command of a page in a directory; return what it prints: stdout, and stderr where it fails.

    `arbitrage` runs in this process, which saves a second each; `> FILE` writes its output there.
    """
    command, _, target = command.partition(" > ")
    words = split_words(command)
    if words[0] == "arbitrage":
        code, out, err = run_arbitrage(words[1:], directory)
    else:
        done = subprocess.run(command, shell=True, cwd=directory, capture_output=True, text=True, timeout=WITHIN_S)
        code, out, err = done.returncode, done.stdout, done.stderr
    if target:
        (directory / target.strip()).write_text(out, encoding="utf-8")
        out = ""
    return out if code == 0 else out + err


def split_words(command: str) -> list[str]:
    """Split a command into words, without a comment behind it: `RUN#sft` holds none, unlike for `shlex`."""
    return shlex.split(re.split(r"\s#\s", command)[0])


def run_arbitrage(arguments: Sequence[str], directory: Path) -> tuple[int, str, str]:
    """Run the command line in this process, 80 columns wide; return its exit code, stdout and stderr."""
    from arbitrage.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with (
        own_process(),
        chdir(directory),
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["arbitrage", *arguments])
        patch.setenv("COLUMNS", "80")
        patch.setenv("TERMINAL_WIDTH", "80")  # Typer's own, for --help
        try:
            main()
            code: str | int | None = 0
        except SystemExit as stop:
            code = stop.code
    return (code if isinstance(code, int) else 0), out.getvalue(), err.getvalue()


def matches(shown: str, printed: str, is_approximate: bool = False) -> bool:
    """Say whether a page shows what a command printed. Blank lines and the number of spaces do not count."""
    patterns = (
        r"(?:.*\n)*?" if line == "..." else f"{_line_pattern(line, is_approximate)}\n" for line in _lines(shown)
    )
    found = re.fullmatch("".join(patterns), "".join(f"{line}\n" for line in _lines(printed)))
    if found is None or not is_approximate:
        return found is not None
    return all(map(_is_near, _NUMBER.findall("\n".join(_lines(shown))), found.groups()))


def _line_pattern(line: str, is_approximate: bool) -> str:
    parts = (re.escape(part) for part in line.split("..."))
    if is_approximate:
        # a function, as a replacement would need its backslashes doubled
        parts = (_NUMBER.sub(lambda _: f"({_NUMBER.pattern})", part) for part in parts)
    return ".*?".join(parts)


def _is_near(shown: str, printed: str) -> bool:
    wanted, found = (float(number.replace(",", "")) for number in (shown, printed))
    return abs(wanted - found) <= max(3.0, 0.05 * abs(wanted))


def _lines(text: str) -> list[str]:
    """Return the lines that say something, with one space for several and one length of rules."""
    lines = (re.sub(r"─+", "───", re.sub(r" +", " ", line)).strip() for line in text.splitlines())
    return [line for line in lines if line]
