"""A finished run looked at again: views compared, journals spelt out, events in causal order."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from node.journal import Heard, Said
from orchestrator.__main__ import byzantine
from orchestrator.rundir import RunDir
from orchestrator.trace import events
from tests.stage import A, R, a, play

RUNS: dict[str, dict[str, Any]] = {
    "r4": {"protocol": "oral", "n": 3, "m": 1, "traitors": {2: "flip"}},
    "r5": {
        "protocol": "oral",
        "n": 3,
        "m": 1,
        "traitors": {0: a("two-faced", faces={A: [1], R: [2]})},
    },
    "signed": {
        "protocol": "signed",
        "n": 4,
        "m": 2,
        "traitors": {0: a("two-faced", faces={A: [1], R: [2, 3]}), 3: "replayer"},
    },
    "late": {"protocol": "oral", "n": 4, "m": 1, "traitors": {3: a("delayer", late_ms=50.0)}},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("runs")
    played = {name: play(**fields, name=name, out=out) for name, fields in RUNS.items()}
    return {name: result.path for name, result in played.items() if result.path}


def said(*words: object) -> tuple[int, str, str]:
    """What the command answers: exit code, output, errors."""
    result = CliRunner().invoke(byzantine, list(map(str, words)), standalone_mode=False)
    if isinstance(result.exception, SystemExit):
        return int(result.exception.code or 0), result.stdout, result.stderr
    assert result.exception is None, result.exception
    return int(result.return_value or 0), result.stdout, result.stderr


# Views.


def test_r5_general_1_cannot_tell_who_lies(runs: dict[str, Path]) -> None:
    """The impossibility with three generals: the same view, byte for byte, in two runs."""
    code, out, _ = said("views", runs["r4"], runs["r5"], "--general", 1)
    assert code == 0
    assert out.startswith("general 1 saw the same in both runs, byte for byte: ")


def test_views_that_differ_say_where(runs: dict[str, Path]) -> None:
    code, out, _ = said("views", runs["r4"], runs["r5"], "--general", 2)
    assert code == 1
    assert "in round 1, 0 says ['attack'] in the first, in round 1, 0 says ['retreat']" in out
    code, out, _ = said("views", runs["r4"], runs["late"], "--general", 1)
    assert code == 1
    assert "in the first, nothing more in the second" not in out


def test_views_of_a_broken_journal_are_not_compared(runs: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(runs["r5"], tmp_path / "copy"))
    path = copy / "general-1.journal"
    path.write_bytes(path.read_bytes().replace(b'"rule":"OM-3"', b'"rule":"OM-4"'))
    code, out, err = said("views", runs["r4"], copy, "--general", 1)
    assert (code, out) == (5, "")
    assert err.startswith("general-1.journal:")


# Journals.


def test_a_journal_is_printed_entry_by_entry(runs: dict[str, Path]) -> None:
    code, out, err = said("journal", runs["signed"], 1)
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["line"] for line in lines] == list(range(1, len(lines) + 1))
    assert [lines[0]["kind"], lines[-1]["kind"]] == ["opened", "closed"]
    heard = next(line for line in lines if line["kind"] == "heard")
    assert heard["says"] == "round 1: attack:0"
    assert said("journal", runs["signed"], 9)[0] == 2


# Causal order.


@pytest.mark.parametrize("name", RUNS)
def test_every_cause_stands_before_its_effect(runs: dict[str, Path], name: str) -> None:
    transcript = RunDir.find(runs[name]).exhibits().transcript
    ordered = events(transcript)
    assert len(ordered) == sum(len(record.entries) for record in transcript.records.values())
    seen: set[int] = set()
    for event in ordered:
        if isinstance(event.entry, Heard):
            assert event.cause is not None
            assert isinstance(event.cause.entry, Said)
            assert event.cause.entry.data == event.entry.data
            assert id(event.cause) in seen
            assert all(event.clock[g] >= time for g, time in event.cause.clock.items())
        seen.add(id(event))
    for general in transcript.records:
        mine = [event for event in ordered if event.general == general]
        assert [event.clock[general] for event in mine] == list(range(1, len(mine) + 1))
        assert [event.line for event in mine] == list(range(1, len(mine) + 1))
        times = [event.at_us for event in mine]
        assert times == sorted(set(times))


def test_what_nobody_said_is_heard_without_a_cause(runs: dict[str, Path]) -> None:
    """A traitor may leave out of his journal what he said: the order still comes to its end."""
    transcript = RunDir.find(runs["signed"]).exhibits().transcript
    record = transcript.records[0]
    record.entries = [entry for entry in record.entries if not isinstance(entry, Said)]
    causeless = [e for e in events(transcript) if isinstance(e.entry, Heard) and e.cause is None]
    assert {e.entry.sender for e in causeless if isinstance(e.entry, Heard)} == {0}


def test_journals_that_wait_for_one_another_come_to_an_end(runs: dict[str, Path]) -> None:
    """Each claims to have heard the other before he spoke."""
    transcript = RunDir.find(runs["late"]).exhibits().transcript
    for record in transcript.records.values():
        record.entries.sort(key=lambda entry: not isinstance(entry, Heard))
    assert len(events(transcript)) == sum(len(r.entries) for r in transcript.records.values())


def test_shiviz_finds_an_event_in_every_two_lines(runs: dict[str, Path]) -> None:
    code, out, _ = said("trace", runs["signed"], "--format", "shiviz")
    assert code == 0
    expression, divider, log = out.split("\n", 2)
    assert divider == ""
    found = re.findall(expression.replace("(?<", "(?P<"), log)
    assert len(found) == log.count("\n") / 2
    clocks = [json.loads(clock) for _, _, clock in found]
    assert all(host in clock for (_, host, _), clock in zip(found, clocks, strict=True))


def test_perfetto_gets_a_thread_a_general_and_an_arrow_a_frame(runs: dict[str, Path]) -> None:
    code, out, _ = said("trace", runs["signed"], "--format", "chrome")
    assert code == 0
    told = json.loads(out)["traceEvents"]
    assert [e["args"]["name"] for e in told if e["ph"] == "M"] == [f"general {g}" for g in range(4)]
    slices = {(e["tid"], e["ts"]): e for e in told if e["ph"] == "X"}
    begins, ends = ({e["id"]: e for e in told if e["ph"] == ph} for ph in "sf")
    transcript = RunDir.find(runs["signed"]).exhibits().transcript
    heard = sum(isinstance(e, Heard) for r in transcript.records.values() for e in r.entries)
    assert len(begins) == len(ends) == heard > 0
    for number, end in ends.items():
        assert slices[end["tid"], end["ts"]]["cat"] == "heard"
        assert slices[begins[number]["tid"], begins[number]["ts"]]["cat"] == "said"
