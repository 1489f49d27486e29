"""The command `byzantine` over real processes: what only they can show."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from node.orders import GeneralId
from orchestrator import trial
from orchestrator.backends.fork_client import ForkServer
from orchestrator.backends.processes import Processes
from orchestrator.headquarters import Headquarters
from orchestrator.scenario import load
from tests.live.conftest import until
from tests.simulated.test_cli import leaks

ROOT = Path(__file__).parents[2]


def started(*arguments: str, out: Path) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "orchestrator", "run", "--out", str(out), *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def descendants(pid: int) -> set[int]:
    """All processes below one, by their parents."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found, fresh = set[int](), {pid}
    while fresh := {child for child, parent in parents.items() if parent in fresh} - found:
        found |= fresh
    return found


def are_gone(pids: set[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_130_interrupted_in_mid_run_and_nobody_is_left(
    tmp_path: Path, number: signal.Signals
) -> None:
    child = started("exit-codes/130-interrupt-me", out=tmp_path)
    assert until(lambda: bool(list(tmp_path.rglob("run.json"))))
    below = descendants(child.pid)
    assert len(below) >= 5
    child.send_signal(number)
    out, err = child.communicate(timeout=20)
    assert (child.returncode, out) == (130, b""), err
    assert err.strip().splitlines()[-1] == b"interrupted"
    assert b"Traceback" not in err
    assert until(lambda: are_gone(below))


def test_130_interrupted_while_the_generals_come_up(tmp_path: Path) -> None:
    child = started("exit-codes/130-interrupt-me", "--set", "n=40", out=tmp_path)
    below: set[int] = set()

    def some_are_there() -> bool:
        below.update(descendants(child.pid))
        return len(below) >= 5

    assert until(some_are_there)
    child.send_signal(signal.SIGINT)
    below |= descendants(child.pid)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 130, err
    assert b"Traceback" not in err
    assert until(lambda: are_gone(below))


def test_an_orchestrator_who_is_killed_leaves_nobody_behind(tmp_path: Path) -> None:
    child = started("exit-codes/130-interrupt-me", out=tmp_path)
    assert until(lambda: bool(list(tmp_path.rglob("run.json"))))
    below = descendants(child.pid)
    child.kill()
    child.communicate(timeout=20)
    assert until(lambda: are_gone(below))


def test_4_a_port_that_is_taken(tmp_path: Path) -> None:
    base = free_stretch(6)
    port = base + 2  # general 2's
    with socket.create_server(("127.0.0.1", port)):
        child = started("oral-tie", "--base-port", str(base), out=tmp_path)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (4, b"")
    assert err.startswith(b"oral-tie: node 2 not ready: ")
    assert str(port).encode() in err
    assert b"Traceback" not in err


def free_stretch(ports: int) -> int:
    """The first of so many ports in a row that nobody listens at, out of the way of other tests."""

    def is_free(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    return next(
        base for base in range(5000, 9000, 10) if all(is_free(base + i) for i in range(ports))
    )


def test_3_a_general_who_is_killed_makes_the_run_unknown(tmp_path: Path) -> None:
    settings = ("--set", "delta=2s", "--set", "expect={}", "--format", "json")
    child = started("oral-silent-lieutenant", *settings, out=tmp_path)
    assert until(lambda: bool(list(tmp_path.rglob("run.json"))))
    [run_file] = tmp_path.glob("oral-silent-lieutenant/2*/run.json")
    os.kill(pid_of(run_file, 1), signal.SIGKILL)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (3, b"")
    assert b'"outcome":"unknown"' in out
    assert b'"audit":"incomplete"' in out


def pid_of(run_file: Path, general: GeneralId) -> int:
    import json

    assert until(lambda: run_file.read_text().endswith("}\n"))
    return int(json.loads(run_file.read_text())["hosts"][str(general)])


def test_sc6_no_token_is_in_anything_that_a_run_leaves(
    tmp_path: Path, forks: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: list[bytes] = []
    expect = Headquarters.expect

    def overheard(self: Headquarters, general: GeneralId) -> bytes:
        tokens.append(expect(self, general))
        return tokens[-1]

    monkeypatch.setattr(Headquarters, "expect", overheard)
    scenario = load(ROOT / "scenarios" / "signed-two-faced-commander.yaml")
    result = trial.play(scenario, Processes(forks=forks), tmp_path)
    assert result.path is not None
    assert len(tokens) == 3
    texts = [path.read_bytes() for path in result.path.rglob("*") if path.is_file()]
    assert len(texts) >= 13
    assert leaks(texts, tokens) == []
