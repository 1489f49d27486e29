"""The command `byzantine` as its users meet it: what it says, where it says it, how it ends."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tracemalloc
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from node.control import Decided
from node.orders import GeneralId
from node.protocols.catalogue import PROTOCOLS
from node.traitors import STRATEGIES
from orchestrator import exitcodes
from orchestrator.__main__ import byzantine
from orchestrator.backends import BackendError
from orchestrator.backends.simulation import Simulation, _drawn
from orchestrator.cli.scenarios import shipped
from orchestrator.exitcodes import ExitCode
from orchestrator.results import Result
from orchestrator.scenario import Outcome
from tests.stage import A, R, a, play

ROOT = Path(__file__).parents[2]
COMMANDS = byzantine.list_commands(click.Context(byzantine))
#: A simulated run that takes minutes, so that it can be interrupted.
LONG = ("--protocol", "oral", "-n", "40", "-m", "4", "--set", "force=true")


class Said:
    """What a command printed, and the code it ended with."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def say(*arguments: str) -> Said:
    """Runs a command in this process. A traceback is never an answer."""
    done = CliRunner().invoke(byzantine, list(arguments), standalone_mode=False)
    code, fault = done.return_value, done.exception
    if isinstance(fault, SystemExit):
        code = fault.code
    elif fault is not None and hasattr(fault, "exit_code"):
        return Said(fault.exit_code, done.stdout, done.stderr + fault.format_message())
    elif fault is not None:
        raise fault
    return Said(int(code or 0), done.stdout, done.stderr)


def run(out: Path, *arguments: str) -> Said:
    return say("run", "--backend", "simulation", "--out", str(out), *arguments)


def words(text: str) -> list[str]:
    return text.split()


def environment(**others: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return {**kept, "PYTHONPATH": path, "TERM": "xterm-256color", **others}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "orchestrator", *arguments]


def process(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command as a process of its own, as a script does: nothing here is a terminal."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


# Help.


def test_these_commands_there_are_at_least() -> None:
    assert {"list", "logs", "run", "schema", "validate", "verify"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_explains_itself(name: str, flag: str) -> None:
    said = say(name, flag)
    assert said.code == 0
    assert said.out.startswith(f"Usage: byzantine {name}")


def test_the_help_has_every_command_in_a_whole_line_and_every_exit_code() -> None:
    said = say("--help")
    assert [name for name in COMMANDS if f"\n  {name} " not in said.out] == []
    assert "..." not in said.out.split("Commands:")[1]
    epilog = " ".join(said.out.split("Exit codes:")[1].split())
    assert [code for code in ExitCode if f"{code.value} " not in epilog] == []


def test_the_version_is_told() -> None:
    assert re.fullmatch(r"byzantine, version \d+\.\d+\.\d+\n", say("--version").out)


def test_without_a_command_help_is_what_you_get() -> None:
    said = say()
    assert said.code == 2
    assert "Commands:" in said.out + said.err


# Exit codes, by the shipped examples.


def test_0_everything_came_as_expected(tmp_path: Path) -> None:
    assert run(tmp_path, "exit-codes/0-as-expected").code == 0


def test_1_what_was_expected_did_not_come(tmp_path: Path) -> None:
    said = run(tmp_path, "exit-codes/1-wrong-prediction")
    assert said.code == 1
    assert "not as expected: the outcome is out-of-model, not pass" in said.out
    assert "not as expected: general 1 decides retreat, not attack" in said.out


def test_2_every_mistake_is_named_and_nothing_is_played(tmp_path: Path) -> None:
    said = run(tmp_path, "exit-codes/0-as-expected", "exit-codes/2-misspelt")
    assert (said.code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 5
    assert not list(tmp_path.iterdir())


def test_3_a_promise_broke_that_nobody_made(tmp_path: Path) -> None:
    said = run(tmp_path, "exit-codes/3-out-of-model")
    assert said.code == 3
    assert "warning: n = 3 is below 3m + 1 = 4" in said.err
    assert "  out-of-model: broken (IC2:" in said.out


def test_sc3_the_same_run_succeeds_where_its_failure_is_what_it_shows(tmp_path: Path) -> None:
    said = run(tmp_path, "exit-codes/3-out-of-model", "--set", "expect.outcome=out-of-model")
    assert said.code == 0
    assert "not as expected" not in said.out


def test_4_the_machine_has_no_room(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = run(tmp_path / "file" / "out", "oral-tie")
    assert said.code == 4
    assert said.out == ""
    assert re.fullmatch(r"oral-tie: .*/file/out/oral-tie.*: Not a directory\n", said.err)


def test_4_a_general_who_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_muster(monkeypatch, "oral-tie")
    said = run(tmp_path, "oral-tie")
    assert (said.code, said.err) == (4, "oral-tie: node 3 not ready: it never enrolled\n")


def test_5_a_run_directory_that_was_changed(tmp_path: Path) -> None:
    assert run(tmp_path, "oral-tie").code == 0
    journal = tmp_path / "oral-tie" / "latest" / "general-2.journal"
    journal.write_bytes(journal.read_bytes().replace(b"attack", b"defend", 1))
    said = say("verify", str(tmp_path / "oral-tie"))
    assert said.code == 5
    assert said.err == "general-2.journal:1: the hash chain breaks here\n"
    assert "\n  AUDIT FAILED 1 finding, the first: general-2.journal:1: " in said.out


def test_5_a_journal_that_was_changed_before_it_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_journal(monkeypatch)
    said = run(tmp_path, "oral-tie")
    assert said.code == 5
    assert "AUDIT FAILED" in said.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_130_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "runs"
    arguments = ("run", "--backend", "simulation", "--out", str(out), *LONG)
    with subprocess.Popen(
        command(*arguments), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        wait_for_files(child, out, "run.json")
        child.send_signal(number)
        printed, told = child.communicate(timeout=60)
    assert child.returncode == 130
    assert printed == b""
    assert told.strip().splitlines()[-1] == b"interrupted"
    assert b"Traceback" not in told


def wait_for_files(child: subprocess.Popen[bytes], out: Path, name: str) -> None:
    """Until a file of that name is there; pytest's timeout is the deadline."""
    while not list(out.rglob(name)):
        assert child.poll() is None, child.communicate()


def break_muster(monkeypatch: pytest.MonkeyPatch, scenario: str) -> None:
    muster = Simulation.muster

    def fail(self: Simulation, cast: Any, logs: Path | None) -> Any:
        if f"name: {scenario}\n".encode() in cast.scenario:
            raise BackendError("node 3 not ready: it never enrolled")
        return muster(self, cast, logs)

    monkeypatch.setattr(Simulation, "muster", fail)


def break_journal(monkeypatch: pytest.MonkeyPatch, n: int = 5) -> None:
    """General 1's journal arrives with another first entry, in runs of n generals."""
    collect = Simulation.collect

    def damage(self: Simulation) -> dict[GeneralId, bytes]:
        journals = collect(self)
        if len(journals) == n:
            journals[1] = journals[1].replace(b"opened", b"0pened", 1)
        return journals

    monkeypatch.setattr(Simulation, "collect", damage)


EXAMPLES = {
    0: "exit-codes/0-as-expected",
    1: "exit-codes/1-wrong-prediction",
    3: "exit-codes/3-out-of-model",
    4: "oral-commander-for-the-minority",
    5: "oral-tie",
}


@pytest.mark.parametrize(
    ("played", "gravest"),
    [
        ((0, 0), 0),
        ((0, 3), 3),
        ((3, 0), 3),
        ((3, 1), 1),
        ((1, 3, 0), 1),
        ((1, 5), 5),
        ((5, 3), 5),
        ((5, 4), 4),
        ((4, 1, 0), 4),
    ],
)
def test_of_several_scenarios_the_gravest_code_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, played: tuple[int, ...], gravest: int
) -> None:
    break_muster(monkeypatch, "oral-commander-for-the-minority")
    break_journal(monkeypatch)
    said = run(tmp_path, "--format", "json", *(EXAMPLES[code] for code in played))
    assert said.code == gravest
    assert len(said.lines) == sum(code != 4 for code in played)


# A run that is not known well enough, or that no expectation can excuse.


def lose(
    monkeypatch: pytest.MonkeyPatch, general: GeneralId, what: str, instead: Any = None
) -> None:
    """That general's decision or journal never arrives, or another one does."""
    whole = getattr(Simulation, what)

    def partly(self: Simulation, *arguments: Any) -> Any:
        found = whole(self, *arguments)
        del found[general]
        return found | ({} if instead is None else {general: instead})

    monkeypatch.setattr(Simulation, what, partly)


@pytest.mark.parametrize("what", ["command", "collect"])
def test_a_lost_general_makes_the_run_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    lose(monkeypatch, 2, what)
    said = run(tmp_path, "exit-codes/0-as-expected", "--set", "expect={}", "--format", "json")
    assert said.code == 3
    assert said.objects[0]["outcome"] == "unknown"
    assert said.objects[0]["expected"] is False
    assert said.objects[0]["audit"] == ("clean" if what == "command" else "incomplete")


@pytest.mark.parametrize("what", ["command", "collect"])
def test_what_is_expected_besides_the_outcome_does_not_excuse_a_lost_general(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    lose(monkeypatch, 2, what)
    settings = ("--set", "expect={decisions: {1: attack}}")
    said = run(tmp_path, "exit-codes/0-as-expected", *settings, "--format", "json")
    assert said.code == 1
    assert said.objects[0]["unmet"] == ["the outcome is unknown, which `expect` does not name"]


def test_who_expects_an_unknown_outcome_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch, 2, "command")
    said = run(tmp_path, "exit-codes/0-as-expected", "--set", "expect={outcome: unknown}")
    assert said.code == 0
    assert "  unknown: unknown (" in said.out


def test_a_lost_traitor_is_no_loss_but_the_audit_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch, 3, "command")
    lose(monkeypatch, 3, "collect")
    said = run(tmp_path, "exit-codes/0-as-expected")
    assert said.code == 0
    assert "general-3.journal: there is no journal: unverifiable" in said.out
    assert re.search(r"3 +traitorous lieutenant: flip +nothing", said.out)


def test_a_violation_fails_a_run_whatever_else_was_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch, 2, "command", Decided(R, ((R, 3),), 0.1))
    for expect in ("{}", "{messages: 9}", "{outcome: pass}"):
        said = run(tmp_path, "exit-codes/0-as-expected", "--set", f"expect={expect}")
        assert said.code == 1, expect
        assert "  violation: broken (IC1:" in said.out


def judged(outcome: Outcome, expect: dict[str, Any]) -> Result:
    result = play("oral", 4, 1, expect=expect)
    return replace(result, verdict=replace(result.verdict, outcome=outcome))


@pytest.mark.parametrize(
    ("outcome", "expect", "code"),
    [
        ("pass", {}, 0),
        ("violation", {}, 1),
        ("out-of-model", {}, 3),
        ("unknown", {}, 3),
        ("pass", {"outcome": "out-of-model"}, 1),
        ("out-of-model", {"outcome": "out-of-model"}, 0),
        ("out-of-model", {"messages": 9}, 0),
        ("violation", {"outcome": "violation"}, 0),
        ("violation", {"messages": 9}, 1),
        ("unknown", {"messages": 9}, 1),
        ("pass", {"messages": 9}, 0),
        ("pass", {"messages": [3, 5]}, 1),
        ("pass", {"ic2": "vacuous"}, 1),
        ("pass", {"tallies": {1: {A: 2}}}, 1),
        ("pass", {"refused": {"late": 1}}, 1),
    ],
)
def test_what_a_run_was_expected_to_come_to(
    outcome: str, expect: dict[str, Any], code: int
) -> None:
    assert exitcodes.of(judged(Outcome(outcome), expect)) == code


# JSON.


FIELDS: dict[str, type | tuple[type, ...]] = {
    "scenario": str,
    "backend": str,
    "seed": int,
    "protocol": str,
    "n": int,
    "m": int,
    "outcome": str,
    "expected": bool,
    "properties": dict,
    "faulty": list,
    "decisions": dict,
    "tallies": dict,
    "messages_by_round": list,
    "frames_by_round": list,
    "bytes": int,
    "seconds": float,
    "run": str,
}
#: What is told beside them.
MORE_FIELDS = {"unmet", "reasons", "why", "refused", "audit", "charges", "assumptions", "chaos"} | {
    "reputes",
    "proofs",
}


def test_json_is_an_object_a_run_with_every_field(tmp_path: Path) -> None:
    said = run(tmp_path, "--format", "json", "oral-traitorous-lieutenant", "consistency-vector")
    assert said.code == 0
    assert len(said.lines) == 2
    for found in said.objects:
        assert found.keys() == FIELDS.keys() | MORE_FIELDS
        assert all(isinstance(found[name], kind) for name, kind in FIELDS.items())
        assert list(found["properties"]) == ["ic1", "ic2", "termination"]
    first, second = said.objects
    assert first["scenario"] == "oral-traitorous-lieutenant"
    assert (first["backend"], first["protocol"], first["seed"]) == ("simulation", "oral", 1)
    assert (first["n"], first["m"], first["faulty"]) == (4, 1, [3])
    assert (first["outcome"], first["expected"]) == ("pass", True)
    assert first["properties"] == {"ic1": "held", "ic2": "held", "termination": "held"}
    assert first["decisions"] == {"0": A, "1": A, "2": A, "3": A}
    assert first["tallies"]["1"] == {A: 2, R: 1}
    assert first["messages_by_round"] == first["frames_by_round"] == [3, 6]
    assert first["bytes"] == 378
    assert Path(first["run"]) == tmp_path / "oral-traitorous-lieutenant" / Path(first["run"]).name
    assert second["decisions"]["0"] == [A, R, A, A]
    assert (second["messages_by_round"], second["frames_by_round"]) == ([12, 24], [12, 12])


def test_whole_numbers_are_told_as_they_were_written(tmp_path: Path) -> None:
    said = run(tmp_path, "--format", "json", "consistency-sensors-vector")
    assert said.objects[0]["decisions"]["0"] == [10, 11, 0]
    assert "10.0" not in said.out


def test_the_run_directory_holds_what_was_printed(tmp_path: Path) -> None:
    said = run(tmp_path, "--format", "json", "signed-forger")
    directory = tmp_path / "signed-forger" / "latest"
    assert json.loads((directory / "verdict.json").read_text()) == said.objects[0]
    metrics = json.loads((directory / "metrics.json").read_text())
    assert metrics["rounds"]["1"]["messages"] == 3
    assert metrics["refused"]["1"] == {"3:bad_signature": 1}


# JUnit.


def test_junit_has_a_case_a_run_and_says_why_one_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_muster(monkeypatch, "oral-commander-for-the-minority")
    break_journal(monkeypatch)
    said = run(tmp_path, "--format", "junit", *(EXAMPLES[code] for code in (0, 1, 4, 5)))
    suite = ElementTree.fromstring(said.out)
    assert suite.attrib == {"name": "byzantine", "tests": "4", "failures": "2", "errors": "2"}
    good, unmet, absent, damaged = suite.findall("testcase")
    assert (good.get("classname"), good.get("name")) == ("0-as-expected", "simulation seed 1")
    assert len(good) == 0
    failure = unmet.find("failure")
    assert failure is not None
    assert failure.get("message") == "the outcome is out-of-model, not pass"
    assert "general 1 decides retreat, not attack" in (failure.text or "")
    for case, message in ((absent, "node 3 not ready: it never enrolled"), (damaged, "the audit")):
        error = case.find("error")
        assert error is not None
        assert (error.get("message") or "").startswith(message)


def test_the_junit_file_of_a_run_holds_that_run(tmp_path: Path) -> None:
    run(tmp_path, "oral-tie")
    suite = ElementTree.parse(tmp_path / "oral-tie" / "latest" / "junit.xml").getroot()
    assert [case.get("classname") for case in suite] == ["oral-tie"]


# A scenario without a file, and changes to one with.


def test_a_scenario_is_as_well_given_by_options(tmp_path: Path) -> None:
    options = words("--protocol oral -n 4 -m 1 --traitor 3=flip --order attack --format json")
    [found] = run(tmp_path, *options).objects
    [shown] = run(tmp_path, "oral-traitorous-lieutenant", "--format", "json").objects
    same = ("decisions", "tallies", "messages_by_round", "frames_by_round", "bytes", "outcome")
    assert [found[name] for name in same] == [shown[name] for name in same]
    assert found["scenario"] == "oral"


def test_four_generals_and_one_traitor_to_withstand_if_nothing_is_said(tmp_path: Path) -> None:
    [found] = run(tmp_path, "--protocol", "signed", "--format", "json").objects
    assert (found["n"], found["m"], found["faulty"]) == (4, 1, [])
    [found] = run(tmp_path, "--protocol", "interactive-consistency", "--inputs", "attack",
                  "--format", "json").objects  # fmt: skip
    assert found["scenario"] == "interactive-consistency"
    assert found["decisions"]["3"] == [A] * 4


def test_traitors_one_by_one_and_several_at_once(tmp_path: Path) -> None:
    options = words("--protocol oral -n 10 -m 3 --traitor 3,7=flip --traitor 4=parity")
    [found] = run(tmp_path, *options, "--format", "json").objects
    assert found["faulty"] == [3, 4, 7]
    written = (Path(found["run"]) / "scenario.yaml").read_text()
    assert "generals: [3, 7]" in written or "- 3\n    - 7" in written
    assert "strategy: parity" in written


def test_values_and_inputs_are_lists_or_one_for_all(tmp_path: Path) -> None:
    numbers = words("--protocol exchange -n 3 --values numbers --combiner median")
    [found] = run(tmp_path, *numbers, "--inputs", "9, 10.5,-1", "--format", "json").objects
    assert found["decisions"] == {"0": 9, "1": 9, "2": 9}
    [found] = run(tmp_path, *numbers, "--inputs", "7", "--format", "json").objects
    assert found["decisions"] == {"0": 7, "1": 7, "2": 7}
    named = words("--protocol oral --values yes,no,1 --default no --order 1 --format json")
    assert run(tmp_path, *named).objects[0]["decisions"]["3"] == 1


def test_every_option_is_the_field_of_that_name(tmp_path: Path) -> None:
    options = (
        "--protocol interactive-consistency --over signed --combiner majority -n 5 -m 2 "
        "--inputs attack --delta 2s --seed 9 --force"
    )
    said = run(tmp_path, *options.split(), "--set", "name=mine")
    assert "interactive-consistency over signed, n=5, m=2, on simulation, seed 9" in said.out
    assert "rounds of at most 2000 ms" in said.out
    assert "force: true" in (tmp_path / "mine" / "latest" / "scenario.yaml").read_text()
    said = run(tmp_path, *["--protocol", "signed", "--commander", "2", "--order", "retreat"])
    assert re.search(r"\n +2 +loyal commander, retreat ", said.out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("oral-ti", "no shipped scenario of that name; did you mean 'oral-tie'?"),
        ("nonsense", "there is no such file, and no shipped scenario of that name"),
        ("gone.yaml", "there is no such file"),
        (".", ".: cannot be read: Is a directory"),
        ("oral-tie --traitor 3=flip -n 5", "it with --set 'traitors={3: flip}' and --set n=..."),
        ("-n 4", "name a scenario, or a --protocol"),
        ("", "name a scenario, or a --protocol"),
        ("--protocol orall", "did you mean 'oral'?"),
        ("--protocol 3", "protocol: must be one of oral"),
        ("--protocol oral --traitor 3=filp", "did you mean 'flip'?"),
        ("--protocol oral --traitor 3", "--traitor takes ID[,ID...]=STRATEGY, not '3'"),
        ("--protocol oral --traitor =flip", "--traitor takes ID[,ID...]=STRATEGY"),
        ("--protocol oral --traitor 3=", "--traitor takes ID[,ID...]=STRATEGY"),
        ("--protocol oral --traitor 1,,2=flip", "--traitor takes ID[,ID...]=STRATEGY"),
        ("--protocol oral --traitor 1_0=flip", "--traitor takes ID[,ID...]=STRATEGY"),
        ("--protocol oral --traitor -1=flip", "--traitor takes ID[,ID...]=STRATEGY"),
        ("--protocol oral --traitor 4=flip", "there is no general 4: n = 4 are 0 to 3"),
        ("--protocol oral --traitor 3=flip --traitor 3=silent", "general 3 is a traitor already"),
        ("--protocol oral --traitor 3=two-faced", "'two-faced' needs the parameter 'faces'"),
        ("--protocol oral --traitor 3=no.such:Thing", "cannot load the strategy"),
        ("--protocol oral --order atack", "did you mean 'attack'?"),
        ("--protocol oral --order null", "order: must be one value"),
        ("--protocol oral --values a --order a", "values: must be a list of values"),
        ("--protocol oral --values a,b --order a", "default: is missing"),
        ("--protocol exchange --inputs attack,,retreat,attack", "inputs.1: must be one value"),
        ("--protocol exchange --inputs attack,retreat", "none for 2, 3"),
        ("--protocol oral -m 4", "m: must be below n = 4"),
        ("--protocol oral --commander 4", "commander: there is no general 4"),
        ("--protocol oral --delta 0", "delta: must be from 1ms to 60s"),
        ("--protocol oral -n x", "'x' is not a valid integer"),
        ("--protocol oral --backend carrier-pigeons", "is not one of 'processes', 'simulation'"),
        ("--protocol oral --seed -1", "-1 is not in the range"),
        ("--protocol oral --bakend simulation", "Did you mean '--backend'?"),
        ("oral-tie --set bogus=3", "--set bogus=3: there is no field 'bogus'"),
        ("oral-tie --set expct.outcome=pass", "did you mean 'expect'?"),
        ("oral-tie --set traitors.0.stratgy=flip", "did you mean 'strategy'?"),
        ("oral-tie --set n", "must be FIELD=VALUE"),
        ("--protocol oral -n 31 -m 6", "takes 10 705 733 700 messages, more than 1 000 000"),
        (
            "--protocol oral -n 31 -m 6 --force --values a,b,c --order a --default b",
            "a frame would",
        ),
    ],
)
def test_what_cannot_be_played_is_refused_with_a_way_out(
    tmp_path: Path, arguments: str, told: str
) -> None:
    said = run(tmp_path / "runs", *arguments.split(" ") if arguments else ())
    assert told in said.err
    assert (said.code, said.out) == (2, "")
    assert not (tmp_path / "runs").exists()


def test_an_order_of_thousands_of_digits_is_only_too_long(tmp_path: Path) -> None:
    for order in ("9" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000):
        said = run(tmp_path, "--protocol", "oral", "--order", order)
        assert (said.code, said.err) == (
            2,
            "command line: order: must have at most 200 characters\n",
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--protocol", "oral", "--order", "\udcff\x1b[31m"),
        ("--protocol", "\x1b[31m"),
        ("--protocol", "oral", "--traitor", "3=\x1b[31m\n"),
        ("--protocol", "oral", "--traitor", "\x1b[31m\n"),
        ("oral-tie", "--set", "\x1b[31m\n=3"),
        ("\x1b[31m\n.yaml",),
        ("\udcff",),
        ("a\0b",),
    ],
)
def test_no_argument_reaches_the_terminal_as_it_is(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    said = run(tmp_path, *arguments)
    assert said.code == 2
    assert said.err.replace("\n", "").isprintable()


def test_a_folder_of_runs_does_not_hide_the_shipped_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "oral-tie").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(tmp_path, "oral-tie").code == 0


def test_set_and_seed_change_one_run(tmp_path: Path) -> None:
    settings = ("--seed", "7", "--set", "n=7", "--set", "m=2", "--set", "expect={}")
    [found] = run(tmp_path, "oral-tie", *settings, "--format", "json").objects
    assert (found["n"], found["m"], found["seed"]) == (7, 2, 7)
    assert Path(found["run"]).name.endswith("-7")


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    def decided(seed: str) -> tuple[Any, bytes]:
        said = run(tmp_path, "oral-random-traitors", "--seed", seed, "--format", "json")
        directory = Path(said.objects[0]["run"])
        return said.objects[0]["tallies"], (directory / "general-1.journal").read_bytes()

    assert decided("3") == decided("3")
    assert decided("3")[1] != decided("4")[1]


# The table.


def test_the_table_says_who_decided_what_and_why_it_counts(tmp_path: Path) -> None:
    said = run(tmp_path, "oral-traitorous-lieutenant")
    lines = [line.rstrip() for line in said.lines]
    assert lines[1].startswith("oral-traitorous-lieutenant  one of three lieutenants")
    assert lines[2] == "oral, n=4, m=1, on simulation, seed 1, rounds of at most 500 ms"
    assert lines[3].split() == ["general", "plays", "counted", "decides"]
    assert lines[8].split(maxsplit=1) == [
        "3",
        "traitorous lieutenant: flip   3 attack              attack",
    ]
    assert lines[9:] == [
        "  IC1         held     all decide attack",
        "  IC2         held     the loyal commander's order was attack",
        "  termination held     every loyal general decided",
        "  messages     3 + 6 = 9, in 9 frames of 378 bytes; 0.2 ms",
        "  verified     4 journals and their closing signatures",
        "  pass: every promise held",
        f"  {(tmp_path / 'oral-traitorous-lieutenant' / 'latest').resolve()}",
    ]


def test_a_line_of_the_table_is_a_line_however_long(tmp_path: Path) -> None:
    said = run(tmp_path, "exit-codes/1-wrong-prediction", "--set", f"summary={'word ' * 39}end")
    verdict = next(line for line in said.lines if line.startswith("  out-of-model: "))
    assert verdict.endswith("not owed: n = 3 is below 4, which m = 1 needs")
    assert said.lines[1].endswith("word end")


def test_numbers_are_not_mistaken_for_how_often_they_were_counted(tmp_path: Path) -> None:
    said = run(tmp_path, "consistency-sensors-vector")
    assert "1 x 0, 1 x 10, 1 x 11" in said.out


def test_refusals_and_proofs_are_counted_in_the_table(tmp_path: Path) -> None:
    said = run(tmp_path, "signed-forger", "signed-two-faced-commander")
    assert "  refused      2 bad_signature" in said.lines
    assert "4 that do not verify, all from traitors" in said.out
    assert "8 signed orders; 2 generals hold proof against 0" in said.out


# Terminals, pipes, and readers who leave.


def on_terminal(stream: str, *arguments: str, cwd: Path) -> tuple[str, str]:
    """Runs a command whose stdout or stderr is a terminal; returns both streams' text."""
    ours, theirs = pty.openpty()
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: theirs}
    with subprocess.Popen(command(*arguments), cwd=cwd, env=environment(), **streams) as child:
        os.close(theirs)
        shown = b"".join(until_hung_up(ours))
        out, err = child.communicate(timeout=60)
    assert child.returncode == 0
    other = (out or err or b"").decode()
    return (shown.decode(), other) if stream == "stdout" else (other, shown.decode())


def until_hung_up(terminal: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):
        while data := os.read(terminal, 1 << 16):
            yield data
    os.close(terminal)


def test_colour_and_no_progress_where_only_stdout_is_a_terminal(tmp_path: Path) -> None:
    out, err = on_terminal("stdout", "run", "--backend", "simulation", "oral-tie", cwd=tmp_path)
    assert "\x1b[32mheld" in out
    assert err == ""


def test_progress_and_no_colour_where_only_stderr_is_a_terminal(tmp_path: Path) -> None:
    out, err = on_terminal("stderr", "run", "--backend", "simulation", "oral-tie", cwd=tmp_path)
    assert "\x1b" not in out
    assert "  pass: every promise held\n" in out
    assert "oral-tie" in err
    assert "pass" not in err


def test_neither_where_nothing_is_a_terminal(tmp_path: Path) -> None:
    done = process("run", "--backend", "simulation", "oral-tie", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "  pass: every promise held\n" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--backend", "simulation", "oral-tie", "signed-forger"),
        ("run", "--backend", "simulation", "oral-tie", "signed-forger", "--format", "json"),
        ("list",),
    ],
)
def test_a_reader_who_leaves_is_no_verdict(tmp_path: Path, arguments: Sequence[str]) -> None:
    with subprocess.Popen(
        command(*arguments),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 128 + signal.SIGPIPE


def test_a_disk_that_is_full_is_the_machines_fault(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("list"), env=environment(), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 4
    assert done.stderr == b"byzantine: No space left on device\n"


def test_a_strategy_that_raises_is_no_verdict(tmp_path: Path) -> None:
    """It stands in the folder where the command is given, and that is where it is found."""
    (tmp_path / "my_lies.py").write_text(
        "from node.traitors import Strategy\n\n\nclass Stumble(Strategy):\n"
        '    summary = "raises"\n    powers = frozenset()\n\n'
        "    def tell(self, send, to):\n        raise RuntimeError('mine')\n"
    )
    options = ["--backend", "simulation", "--protocol", "oral", "--traitor", "3=my_lies:Stumble"]
    done = process("run", *options, cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.endswith("RuntimeError: mine\n")


# List, schema, validate.


def test_the_list_has_every_protocol_strategy_and_scenario_a_line_each() -> None:
    said = say("list")
    assert said.code == 0
    listed = {line.split("  ")[1] for line in said.lines if line.startswith("  ")}
    assert {*PROTOCOLS, *STRATEGIES, "module:Class", *(name for name, _ in shipped())} == listed
    assert "a commander splits four lieutenants two to two" in said.out


@pytest.mark.parametrize("kind", ["protocols", "strategies", "scenarios"])
def test_one_kind_can_be_listed_alone_and_as_json(kind: str) -> None:
    found = json.loads(say("list", kind, "--format", "json").out)
    assert list(found) == [kind]
    assert all(isinstance(text, str) and text for text in found[kind].values())


def test_there_are_only_three_kinds() -> None:
    said = say("list", "traitors")
    assert said.code == 2


def test_the_schema_is_one_and_fits_the_shipped_scenarios(tmp_path: Path) -> None:
    schema = json.loads(say("schema").out)
    Draft202012Validator.check_schema(schema)
    assert schema["required"] == ["protocol", "n"]


def test_validate_says_what_is_good_and_what_is_wrong_in_one_go() -> None:
    said = say("validate", "oral-tie", "exit-codes/2-misspelt", "exit-codes/3-out-of-model")
    assert said.code == 2
    assert [line.split("/")[-1] for line in said.lines] == [
        "oral-tie.yaml: valid",
        "3-out-of-model.yaml: valid",
    ]
    assert said.err.count("2-misspelt.yaml:") == 5
    assert "3-out-of-model: warning: n = 3 is below 3m + 1 = 4" in said.err


def test_every_shipped_scenario_but_the_misspelt_one_is_valid() -> None:
    names = [name for name, _ in shipped() if "misspelt" not in name]
    said = say("validate", *names)
    assert (said.code, len(said.lines)) == (0, len(names))


def test_what_run_would_refuse_validate_refuses_too(tmp_path: Path) -> None:
    story = tmp_path / "story.yaml"
    story.write_text(
        "protocol: oral\nn: 31\nm: 6\nforce: true\nvalues: [a, b, c]\ndefault: a\norder: b\n"
    )
    said = say("validate", str(story))
    assert (said.code, said.out) == (2, "")
    assert "a frame would take" in said.err


def test_a_file_with_a_hostile_name_is_named_harmlessly(tmp_path: Path) -> None:
    story = tmp_path / "a\n\x1b[31mb.yaml"
    story.write_text("protocol: oral\nn: 4\nm: 1\n")
    said = say("validate", str(story))
    assert said.code == 0
    assert len(said.lines) == 1
    assert said.out.rstrip("\n").isprintable()


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"# " + b"x" * 20_000_000, "is no larger than 1024 KiB"),
        (b"protocol: oral\n" + b"a" * 20_000_000, "is no larger than 1024 KiB"),
        (b"a: &a [x, x]\n" + b"".join(b"b%d: &b%d [*a, *a]\n" % (i, i) for i in range(2000)),
         "anchors are not accepted"),
        (b"[" * 900_000, "no longer than 64 KiB"),
        (b"- " * 30_000, "nested more than 20 deep"),
        (b"trators: 1\nn: four\nn: 4\nm: no\nprotocol: oral\n", "did you mean 'traitors'?"),
    ],
)  # fmt: skip
def test_sc1_a_hostile_file_costs_little_and_is_told_line_by_line(
    tmp_path: Path, content: bytes, told: str
) -> None:
    story = tmp_path / "story.yaml"
    story.write_bytes(content)
    tracemalloc.start()
    try:
        said = say("validate", str(story))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert said.code == 2
    assert told in said.err
    assert all(re.match(r".*story\.yaml:\d+:\d+: ", line) for line in said.err.splitlines())
    assert len(said.err.splitlines()) <= 101
    assert peak < 64 << 20


# Logs.


def test_logs_tell_every_general_or_one(tmp_path: Path) -> None:
    run(tmp_path, "oral-tie")
    said = say("logs", str(tmp_path / "oral-tie"))
    assert said.code == 0
    assert {line.split()[1] for line in said.lines} == {"0", "1", "2", "3", "4"}
    assert "general 0   round 1  ! lies to 3: retreat, not attack  [lie:two-faced]" in said.lines
    only = say("logs", str(tmp_path / "oral-tie"), "1")
    assert only.lines == [line for line in said.lines if line.startswith("general 1 ")]
    assert "decides retreat, having counted 2 x attack, 2 x retreat  [OM-3]" in only.out


def test_logs_as_json_are_the_events_themselves(tmp_path: Path) -> None:
    run(tmp_path, "signed-forger")
    said = say("logs", str(tmp_path / "signed-forger"), "1", "--format", "json")
    written = (tmp_path / "signed-forger" / "latest" / "general-1.log").read_text()
    assert said.objects == [json.loads(line) for line in written.splitlines()]
    refused = next(event for event in said.objects if event["event"] == "refused")
    assert (refused["sender"], refused["reason"]) == (3, "bad_signature")
    rounds = [event["round"] for event in said.objects if event["event"] == "heard"]
    assert rounds == sorted(rounds)
    assert set(rounds) == {1, 2}


GARBAGE = [
    b"garbage",
    b"\xff\xfe\x00",
    b"",
    b"42",
    b"{}",
    b"[" * 100_000,
    b'{"event":"noted","text":' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"event":"noted","text":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
    b'{"event":"noted"}',
    b'{"event":["a"],"level":[1],"round":{}}',
    b'{"event":"heard","round":"\\n\\u001b[2J","sender":1,"says":"{x}"}',
    b'{"event":"noted","text":"\xc2\x9b31m\xe2\x80\xae","rule":""}',
    b'{"event":"noted","text":"\\ud800","rule":""}',
    b'{"event":"noted","text":' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_line_of_garbage_spoils_no_other(tmp_path: Path, style: str) -> None:
    run(tmp_path, "oral-tie")
    log = tmp_path / "oral-tie" / "latest" / "general-1.log"
    whole = len(log.read_bytes().splitlines())
    with log.open("ab") as stream:
        stream.writelines(line + b"\n" for line in GARBAGE)
    said = say("logs", str(tmp_path / "oral-tie"), "1", "--format", style)
    assert said.code == 0
    assert len(said.lines) == whole + len(GARBAGE)
    assert said.out.replace("\n", "").isprintable()
    assert max(map(len, said.lines)) < 10_000
    if style == "json":
        assert all(isinstance(event, dict) for event in said.objects)
    else:
        assert "(no event) garbage" in said.out


def test_an_event_without_words_of_its_own_shows_what_it_has(tmp_path: Path) -> None:
    run(tmp_path, "oral-tie")
    log = tmp_path / "oral-tie" / "latest" / "general-1.log"
    log.write_bytes(
        b'{"time":"t","level":"WARNING","general":1,"event":"unknown_user","of":3,"count":2}\n'
        b'{"level":"ERROR","general":1,"event":"failed","reason":"no room"}\n'
        b'{"level":"WARNING","general":1,"event":"orphaned"}\n'
    )
    assert say("logs", str(tmp_path / "oral-tie"), "1").lines == [
        "general 1            ! unknown_user: of 3, count 2",
        "general 1            ! ends: no room",
        "general 1            ! has lost the orchestrator, and ends",
    ]


@pytest.mark.parametrize(
    ("place", "general", "told"),
    [
        ("oral-tie", "9", "there is no general 9: they are 0 to 4"),
        ("oral-tie", "-1", "-1 is not in the range"),
        ("nothing", "0", "no run directory, there is no run.json"),
        ("", "0", "no run directory, there is no run.json"),
    ],
)
def test_logs_of_what_is_not_there(tmp_path: Path, place: str, general: str, told: str) -> None:
    run(tmp_path, "oral-tie")
    said = say("logs", "--", str(tmp_path / place), general)
    assert said.code == 2
    assert told in said.err


def test_logs_that_were_lost_are_named(tmp_path: Path) -> None:
    run(tmp_path, "oral-tie")
    (tmp_path / "oral-tie" / "latest" / "general-1.log").unlink()
    said = say("logs", str(tmp_path / "oral-tie"))
    assert said.code == 2
    assert "general-1.log: No such file or directory" in said.err


# AU4: text of a user or a peer is data, wherever it is shown.


HOSTILE = [
    "<script>alert(1)</script>",
    "\x1b[31mred\x1b]0;title\x07",
    "x\n  pass: every promise held\n",
    "\u009b31m\u202e\u2028",
    "{x} {0} %s {level} $HOME",
    "]]>&amp;'\"",
    "[bold]not bold[/bold]",
    "\0",
]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("protocol", ["oral", "signed"])
def test_au4_a_hostile_order_is_shown_and_not_obeyed(
    tmp_path: Path, value: str, protocol: str
) -> None:
    story = tmp_path / "story.yaml"
    fields = {
        "protocol": protocol,
        "n": 4,
        "m": 1,
        "values": [value, "other"],
        "default": "other",
        "order": value,
        "traitors": [{"general": 3, "strategy": "flip" if protocol == "oral" else "forger"}],
        "expect": {"decisions": {"1": "other"}},
    }
    story.write_text(json.dumps(fields).replace('"1":', "1:"))
    shown = run(tmp_path, str(story))
    assert shown.code == 1
    assert shown.out.replace("\n", "").isprintable()
    assert not [line for line in shown.lines if line.startswith("  pass: every promise held\\")]
    assert sum(line == "  pass: every promise held" for line in shown.lines) == 1
    told = run(tmp_path, str(story), "--format", "json")
    assert told.objects[0]["decisions"]["1"] == value
    assert (len(told.lines), told.out.rstrip("\n").isprintable()) == (1, True)
    suite = ElementTree.fromstring(run(tmp_path, str(story), "--format", "junit").out)
    assert suite.get("failures") == "1"
    for style in ("text", "json"):
        logged = say("logs", str(tmp_path / "story"), "--format", style)
        assert logged.code == 0
        assert logged.out.replace("\n", "").isprintable()
    for log in (tmp_path / "story" / "latest").glob("*.log"):
        lines = log.read_text().split("\n")
        assert all(json.loads(line)["event"] for line in lines[:-1])
        assert log.read_text().replace("\n", "").isprintable()
    assert say("verify", str(tmp_path / "story")).code == 0


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "{x} [red]text[/red] %s", "]]>"])
def test_au4_a_hostile_summary_is_shown_as_it_is(tmp_path: Path, text: str) -> None:
    said = run(tmp_path, "oral-tie", "--set", f"summary='{text}'")
    assert said.lines[1] == f"oral-tie  {text}"


@pytest.mark.parametrize("field", ["name", "summary"])
def test_au4_a_summary_that_is_more_than_a_line_is_refused(tmp_path: Path, field: str) -> None:
    hostile = r'"x\n  pass: every promise held\n\e[31m"'
    said = run(tmp_path, "oral-tie", "--set", f"{field}={hostile}")
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert said.err.rstrip("\n").isprintable()


def test_au4_a_fake_verdict_cannot_be_wrapped_into_a_line_of_its_own(tmp_path: Path) -> None:
    summary = "x" * 108 + "   pass: every promise held" + " " * 30 + "y"
    said = run(tmp_path, "exit-codes/3-out-of-model", "--set", f"summary={summary}")
    assert not [line for line in said.lines if line.strip().startswith("pass")]


# SC2.


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("traitors=[{general: 4, strategy: flip}]", "there is no general 4"),
        ("traitors=[{general: -1, strategy: flip}]", "must be at least 0"),
        ("m=4", "must be below n = 4"),
        ("m=-1", "must be at least 0"),
        ("n=1", "must be at least 2"),
        ("commander=4", "there is no general 4"),
        ("n=four", "n: must be a whole number, not 'four'"),
    ],
)
def test_sc2_generals_who_do_not_exist_are_refused_with_the_reason(
    tmp_path: Path, setting: str, told: str
) -> None:
    said = run(tmp_path, "oral-traitorous-lieutenant", "--set", setting)
    assert said.code == 2
    assert told in said.err


# SC6: no secret leaves a general.


def spellings(secret: bytes) -> set[bytes]:
    """A secret as itself, in hex, and in base64 wherever it may begin."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), repr(secret).encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            text = encode(b"\0" * before + secret + b"\0" * 3)
            found.add(text[4 if before else 0 : -8])
    return found


def leaks(texts: Sequence[bytes], secrets: Sequence[bytes]) -> list[bytes]:
    return [
        spelt
        for secret in secrets
        for spelt in spellings(secret)
        if any(spelt in text for text in texts)
    ]


def test_a_leak_is_seen_in_every_spelling() -> None:
    secret = bytes(range(100, 132))
    for text in (
        secret,
        secret.hex().encode(),
        base64.b64encode(secret),
        base64.b64encode(b"1" + secret + b"2"),
        base64.b64encode(b"12" + secret),
        json.dumps({"key": base64.b64encode(secret + b"public").decode()}).encode(),
        repr({"seed": secret}).encode(),
    ):
        assert leaks([b"before " + text + b" after"], [secret])
    assert not leaks([secret[:16], base64.b64encode(secret[:16])], [secret])


@pytest.mark.parametrize(
    "story",
    [
        ("signed-two-faced-commander",),
        ("signed-order-held-back",),
        ("oral-random-traitors",),
        ("consistency-sensors-vector",),
        ("exit-codes/1-wrong-prediction",),
        ("--protocol", "signed", "-n", "4", "-m", "2", "--traitor", "0,3=many-faced"),
    ],
)
def test_sc6_no_signing_key_is_in_anything_that_a_run_leaves(
    tmp_path: Path, story: Sequence[str]
) -> None:
    texts = []
    for style in ("table", "json", "junit"):
        said = run(tmp_path, *story, "--format", style)
        texts += [said.out.encode(), said.err.encode()]
    [directory] = list(tmp_path.glob("*/latest"))
    for arguments in (["logs"], ["logs", "--format", "json"], ["verify", "--format", "json"]):
        said = say(arguments[0], str(directory), *arguments[1:])
        texts += [said.out.encode(), said.err.encode()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    texts += [path.read_bytes() for path in files]
    secrets = [_drawn(1, f"secret/{general}") for general in range(8)]
    assert leaks(texts, secrets) == []


def test_sc6_not_even_where_a_general_fails(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "attackers.py", tmp_path / "mine.py")
    with (tmp_path / "mine.py").open("a") as stream:
        stream.write(
            "\n\nclass Stumble(Strategy):\n    summary = 'raises'\n    powers = frozenset()\n\n"
            "    def tell(self, send, to):\n        raise RuntimeError(self.seat)\n"
        )
    options = ["--backend", "simulation", "--protocol", "signed", "--traitor", "3=mine:Stumble"]
    done = process("run", *options, cwd=tmp_path)
    assert done.returncode == 4
    secrets = [_drawn(1, f"secret/{general}") for general in range(4)]
    assert leaks([done.stdout.encode(), done.stderr.encode()], secrets) == []


def test_a_two_faced_coalition_is_played_with_what_a_file_says(tmp_path: Path) -> None:
    """The helper of the tests and the command agree on what is played."""
    result = play("signed", 3, 1, {0: a("two-faced", faces={A: [1], R: [2]})})
    [found] = run(tmp_path, "signed-two-faced-commander", "--format", "json").objects
    assert found["decisions"] == {str(g): value for g, value in result.decisions.items()}
