"""What the README promises: its commands run, its output is true, its files and links are there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
BYZANTINE = shlex.join([sys.executable, "-P", "-m", "orchestrator"])


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def block(text: str, language: str) -> str:
    """The first fenced block of that language."""
    return text.split(f"```{language}\n")[1].split("\n```")[0]


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a line of the README in a scratch folder, with this checkout's `byzantine`."""
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return subprocess.run(
        ["bash", "-c", line.replace(".venv/bin/byzantine", BYZANTINE)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def normal(page: str) -> list[str]:
    """A page without what may differ from run to run: milliseconds, and a directory's time."""
    page = re.sub(r"[\d.,]+ ms$", "0 ms", page, flags=re.MULTILINE)
    page = re.sub(r"\d{8}T\d{6}-", "TIME-", page)
    return [line.rstrip() for line in page.strip("\n").splitlines()]


# The first screen.


def test_the_first_output_is_true(tmp_path: Path) -> None:
    done = shell(".venv/bin/byzantine run oral-traitorous-lieutenant", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert normal(done.stdout) == normal(block(README, "text"))


def test_that_output_is_what_make_demo_begins_with() -> None:
    recipe = (ROOT / "Makefile").read_text().split("\ndemo: ")[1].split("\n\n")[0]
    assert "byzantine run oral-traitorous-lieutenant " in recipe


def test_every_target_of_make_that_is_named_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {name for page in PAGES for name in re.findall(r"\bmake (\w+)`", page.read_text())}
    assert {"test", "bench"} <= named
    assert [name for name in named if f"\n{name}:" not in makefile] == []


# What you can do.


COMMANDS = [line for line in block(section("What you can do"), "sh").splitlines() if line.strip()]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README's commands are given, in their order: later ones look at earlier runs."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "my-scenario.yaml").write_text(block(section("What you can do"), "yaml"))
    (folder / "my_lies.py").write_text(block(section("What you can do"), "python"))
    return folder


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: line.split("#")[0].strip()[19:])
def test_every_command_runs(scratch: Path, line: str) -> None:
    if line.startswith(
        tuple(f".venv/bin/byzantine {of}" for of in ("logs", "verify", "audit", "trace"))
    ):
        assert shell(COMMANDS[1], scratch).returncode == 0
    done = shell(line, scratch)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_scenario_of_the_readme_comes_out_as_it_says(scratch: Path) -> None:
    done = shell(".venv/bin/byzantine run my-scenario.yaml", scratch)
    assert done.returncode == 0
    assert "not as expected" not in done.stdout


def test_the_strategy_of_the_readme_lies_as_it_says(scratch: Path) -> None:
    option = re.search(r"--traitor \S+:\w+", section("What you can do"))
    assert option is not None
    for backend in ("processes", "simulation"):
        run = f".venv/bin/byzantine run --protocol oral {option[0]} --backend {backend}"
        done = shell(run, scratch)
        assert (done.returncode, done.stderr) == (0, "")
        assert "traitorous lieutenant: my_lies:Sulk" in done.stdout


# Files and links.


def links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"[a-z]+:|#", target):
            yield target.partition("#")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    assert [target for target in links(page) if not (page.parent / target).exists()] == []


def named_files(text: str) -> Iterator[tuple[str, str]]:
    """Every file that is named, and the folder of the one before it, which it may be short for."""
    folder = ""
    for name in re.findall(r"`([\w./-]+(?:\.py|/))`", text):
        yield name, folder
        folder = name.rpartition("/")[0] or folder


@pytest.mark.parametrize("title", ["From question to file", "The walk of a run through the files"])
def test_every_file_that_is_named_is_there(title: str) -> None:
    names = list(named_files(section(title)))
    assert len(names) > 8
    roots = ("", "orchestrator", "node")
    missing = [
        name
        for name, folder in names
        if not any((ROOT / at / name).exists() for at in (*roots, folder))
    ]
    assert missing == []


def test_every_row_of_the_table_names_a_place() -> None:
    rows = section("From question to file").strip().splitlines()[2:]
    assert len(rows) > 10
    places = [row.split("|")[2] for row in rows]
    assert [place for place in places if not re.search(r"`\S|\]\(", place)] == []
