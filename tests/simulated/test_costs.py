"""`byzantine compare` and `plot`: numbers out of ledgers, in tables and in pictures."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from node.protocols.catalogue import PROTOCOLS
from orchestrator.costs import COMPARABLE, measured
from tests.simulated.test_cli import say

ALL = ",".join(COMPARABLE)


def test_one_story_by_every_rule_book() -> None:
    rows = say("compare", "oral-ten-generals", "--protocols", ALL, "--format", "json").objects
    assert [row["protocol"] for row in rows] == list(COMPARABLE)
    by_name = {row["protocol"]: row for row in rows}
    assert by_name["oral"]["messages"] == 3609
    assert by_name["flat-vote"]["messages"] == 5841
    assert by_name["phase-king"]["rounds"] == 13
    assert by_name["reliable-broadcast"]["rounds"] == 3
    assert by_name["signed"]["verifications"] > 0 == by_name["oral"]["verifications"]
    # Ten generals are below the 4m + 1 that two rounds a phase need.
    assert {row["outcome"] for name, row in by_name.items() if name != "phase-queen"} == {"pass"}


def test_the_size_can_be_changed() -> None:
    rows = say("compare", "oral-all-loyal", "--set", "n=7", "--set", "m=2", "--format", "csv")
    found = {row["protocol"]: row for row in csv.DictReader(rows.lines)}
    assert found["oral"]["messages"] == "156"


def test_what_is_expected_of_one_is_expected_of_no_other() -> None:
    said = say("compare", "flat-vote-breaks", "--protocols", "flat-vote,oral", "--format", "json")
    assert said.code == 0
    assert [row["outcome"] for row in said.objects] == ["out-of-model", "pass"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("oral-tie", "--protocols", "oral,tmr"), "'tmr' is none of"),
        (("oral-tie", "--protocols", "orl"), "'orl' is none of"),
        (("exchange-split-vote",), "has nothing in common"),
        (("two-generals-all-arrive",), "has nothing in common"),
        (("nowhere",), "there is no such file"),
    ],
)
def test_what_cannot_be_compared_is_said(arguments: tuple[str, ...], reason: str) -> None:
    said = say("compare", *arguments)
    assert said.code == 2
    assert reason in said.err


@pytest.mark.parametrize("name", COMPARABLE)
@pytest.mark.parametrize("m", [1, 2])
def test_a_loyal_run_costs_what_its_rule_book_says(name: str, m: int) -> None:
    n = 4 * m + 1
    cost = measured(name, n, m)
    assert cost.messages == PROTOCOLS[name].messages(n, m)
    assert cost.rounds == PROTOCOLS[name].rounds(m)
    assert cost.outcome == "pass"


def test_the_numbers_of_a_figure_are_rows() -> None:
    said = say("plot", "cost", "-n", "4,5", "-m", "1,2", "--protocols", "oral,phase-queen")
    rows = list(csv.DictReader(said.lines))
    # Four generals are below phase queen's bound.
    assert [(r["against"], r["protocol"], r["n"]) for r in rows] == [
        ("n", "oral", "4"),
        ("n", "oral", "5"),
        ("m", "oral", "5"),
        ("m", "oral", "9"),
        ("n", "phase-queen", "5"),
        ("m", "phase-queen", "5"),
        ("m", "phase-queen", "9"),
    ]


def test_a_run_too_large_is_left_out_and_said_to_be() -> None:
    said = say("plot", "cost", "-n", "4", "-m", "1,5", "--protocols", "oral")
    assert "left out: m: oral with n = 21, m = 5 takes" in said.err
    assert len(said.lines) == 3


@pytest.mark.parametrize("figure", ["cost", "losses"])
@pytest.mark.parametrize("ending", [".svg", ".png", ".pdf"])
def test_a_picture_and_its_numbers(figure: str, ending: str, tmp_path: Path) -> None:
    small = ("-n", "4,5", "-m", "1") if figure == "cost" else ("--messages", "1,2")
    out = tmp_path / f"figure{ending}"
    said = say("plot", figure, *small, "--out", str(out))
    assert said.code == 0
    marks = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}
    assert out.read_bytes().startswith(marks[ending])
    assert len(list(csv.DictReader((tmp_path / "figure.csv").open()))) > 8
    if ending == ".svg":
        first = out.read_bytes()
        say("plot", figure, *small, "--out", str(out))
        assert out.read_bytes() == first


def test_another_ending_is_refused(tmp_path: Path) -> None:
    said = say("plot", "losses", "--out", str(tmp_path / "figure.gif"))
    assert said.code == 2
    assert "--out takes .svg, .png or .pdf, not '.gif'" in said.err


def test_only_a_picture_imports_the_library_that_draws() -> None:
    program = (
        "import sys; from orchestrator.__main__ import byzantine\n"
        "byzantine(['plot', 'losses', '--messages', '1'], standalone_mode=False)\n"
        "print('matplotlib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
