"""Every command on the pages of docs/stories, given again: their output is true.

`pytest tests/simulated/test_stories.py --regenerate` writes the outputs anew; commit one only if
each of its lines can be explained.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.__main__ import byzantine
from orchestrator.backends.simulation import Simulation
from orchestrator.cli.scenarios import shipped
from orchestrator.scenario import load
from orchestrator.transcript import view
from orchestrator.trial import play
from tests.simulated.test_cli import process

ROOT = Path(__file__).parents[2]
STORIES = ROOT / "docs" / "stories"
PAGES = sorted(STORIES.glob("*.md"))
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def without_time(printed: str) -> str:
    """A run directory without its time, and without the number of a second one in that second."""
    return re.sub(r"\d{8}T\d{6}-(\d+)(-\d+)?", r"TIME-\1", printed)


def given_again(page: str) -> str:
    """The page with what each of its commands prints now."""
    last = [0]
    return BLOCK.sub(lambda block: f"```console\n{_output(block[1], last)}```", page)


def _output(block: str, last: list[int]) -> str:
    told = []
    for line in block.splitlines():
        if line.startswith("$ "):
            printed = _printed(line[2:], last)
            told += [line, *([printed] if printed else []), ""]
    return "\n".join(told[:-1]) + "\n"


def _printed(command: str, last: list[int]) -> str:
    if command == "echo $?":
        return str(last[0])
    program, *arguments = shlex.split(command)
    if program == "python3":
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, check=False
        )
        last[0] = done.returncode
        return (done.stdout + done.stderr).strip("\n")
    assert program == "byzantine", command
    ran = CliRunner().invoke(byzantine, arguments, standalone_mode=False)
    assert ran.exception is None or hasattr(ran.exception, "exit_code"), ran.exception
    last[0] = int(ran.return_value or getattr(ran.exception, "exit_code", 0) or 0)
    lines = [line.rstrip() for line in ran.output.strip("\n").splitlines()]
    return without_time("\n".join(lines))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_story_prints_what_its_page_shows(
    page: Path, regenerate: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = page.read_text()
    now = given_again(written)
    if regenerate:
        page.write_text(now)
        written = now
    assert now == written


def test_there_are_stories_and_each_but_the_list_of_them_plays_something() -> None:
    assert len(PAGES) > 9
    silent = [page.stem for page in PAGES if not BLOCK.search(page.read_text())]
    assert silent == ["README"]


def test_the_list_leads_to_every_story() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (STORIES / "README.md").read_text())
    assert sorted(listed) == [page.name for page in PAGES if page.stem != "README"]


def test_a_story_comes_out_the_same_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The commands of the pages are given in this process; one of them is given as users do."""
    page = (STORIES / "flat-vote.md").read_text()
    command, _, shown = BLOCK.findall(page)[0].partition("\n")
    done = process(*shlex.split(command[2:])[1:], cwd=tmp_path)
    printed = without_time(done.stderr + done.stdout)
    assert [line.rstrip() for line in printed.strip("\n").splitlines()] == shown.splitlines()


# Three generals: what the page says of all rules.

TRIO = (
    "oral-three-generals-lieutenant",
    "oral-three-generals-commander",
    "oral-three-generals-other-lieutenant",
)


def seen(name: str, general: int) -> bytes:
    """A general's view without his decision: what a rule has to go by."""
    result = play(load(dict(shipped())[name]), Simulation())
    return view(result.transcript.records[general]).rpartition(b",")[0]


def test_of_256_pairs_of_rules_none_keeps_its_promises_in_all_three_runs() -> None:
    """A rule maps each of a general's four possible views to attack or retreat."""
    lieutenant, commander, other = TRIO
    views = {(name, g): seen(name, g) for name in TRIO for g in (1, 2)}
    assert views[lieutenant, 1] == views[commander, 1]
    assert views[commander, 2] == views[other, 2]
    heard = list(product(("attack", "retreat"), repeat=2))
    spelt = {
        general: {
            f'[[[1,0,["{order}"]],[2,{3 - general},["{word}"]]]'.encode(): (order, word)
            for order, word in heard
        }
        for general in (1, 2)
    }
    rules = [
        dict(zip(heard, told, strict=True)) for told in product(("attack", "retreat"), repeat=4)
    ]
    assert len(rules) == 16
    kept = 0
    for first, second in product(rules, repeat=2):

        def does(rule: dict[tuple[str, str], str], name: str, general: int) -> str:
            return rule[spelt[general][views[name, general]]]

        kept += (
            does(first, lieutenant, 1) == "attack"
            and does(first, commander, 1) == does(second, commander, 2)
            and does(second, other, 2) == "retreat"
        )
    assert kept == 0
