"""A cluster of real replicas: processes, CURVE links, SQLite, and a client who uses them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from node import cluster
from node.client_links import Counterpart
from node.cluster import ClusterError
from node.durable import Store, StoreError
from node.protocols.pbft import key_value as kv
from node.protocols.pbft import wire
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.messages import Asked, Request
from orchestrator.__main__ import byzantine
from orchestrator.backends.fork_client import state_of
from orchestrator.client import Client
from orchestrator.replication import household

pytestmark = pytest.mark.live


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "cluster"
    yield path
    if (path / "cluster.json").exists():
        household.stop(path)


def up(folder: Path, n: int = 4, **switches: Any) -> None:
    """A new cluster, or the rest of one that is there."""
    if not (folder / "cluster.json").exists():
        household.found(folder, Configuration(n=n, **switches), "kv", 4)
    for replica in range(n):
        if household.pid_of(household.replica_folder(folder, replica)) is None:
            household.start(folder, replica)
    household.await_started(folder, n)


def told(folder: Path, replica: int) -> dict[str, Any]:
    return household.standings(folder)[replica].told


def await_told(folder: Path, replica: int, **wanted: Any) -> None:
    deadline_s = time.monotonic() + 10
    while {name: told(folder, replica).get(name) for name in wanted} != wanted:
        assert time.monotonic() < deadline_s, told(folder, replica)
        time.sleep(0.02)


def test_the_store_is_used_and_survives_the_death_of_its_primary(folder: Path) -> None:
    up(folder, timeout_s=1.0)
    with Client(folder) as client:
        client.put("a", b"1")
        assert client.get("a") == b"1"
        assert client.cas("a", b"0", b"2") is False
        assert client.cas("a", b"1", b"2") is True
        assert client.cas("b", None, b"3") is True
        assert client.delete("nothing") is False
        assert client.scan() == [("a", b"2"), ("b", b"3")]
        household.kill(folder, 0)
        began_s = time.monotonic()
        client.put("c", b"4")
        # Within 1.5 timeouts on a quiet machine: the simulator and benchmarks hold it to that.
        assert 1.0 <= time.monotonic() - began_s < 5.0
        up(folder)
        client.put("d", b"5")
        assert [key for key, _ in client.scan()] == ["a", "b", "c", "d"]
    executed = told(folder, 1)["executed"]
    await_told(folder, 0, view=1, is_active=True)
    assert executed >= 5


def test_many_operations_are_answered_by_call(folder: Path) -> None:
    """`ask`: no future each; what cannot be carried out is told too."""
    up(folder, is_durable=False)
    answers: dict[int, bytes | Exception] = {}
    with Client(folder) as client:
        for number in range(300):
            client.ask(kv.encode(kv.Put(f"k{number}", b"v")), partial(answers.__setitem__, number))
        client.ask(b"x" * (1 << 20), partial(answers.__setitem__, 300))
        deadline_s = time.monotonic() + 10
        while len(answers) < 301:
            assert time.monotonic() < deadline_s, len(answers)
            time.sleep(0.01)
    assert isinstance(answers.pop(300), ValueError)
    assert set(answers.values()) == {kv.encode(kv.Done(True))}


def test_all_are_killed_at_once_and_nothing_is_lost(folder: Path) -> None:
    up(folder)
    with Client(folder) as client:
        for number in range(50):
            client.put(f"key-{number:02}", str(number).encode())
    for replica in range(4):
        household.kill(folder, replica)
    up(folder)
    with Client(folder) as client:
        assert client.scan() == [(f"key-{n:02}", str(n).encode()) for n in range(50)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """He dies at a few of his first eight writes; with `--exhaustive` at each."""
    if "dies_at" in metafunc.fixturenames:
        is_whole = metafunc.config.getoption("--exhaustive")
        metafunc.parametrize("dies_at", range(1, 9) if is_whole else (1, 2, 7))


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("victim", [0, 2])
def test_sigkill_at_a_write_loses_nothing_and_says_nothing_twice(
    folder: Path, victim: int, dies_at: int, moment: str
) -> None:
    """Each number k: the k-th write of the victim, 1, 2 and 7 a pre-prepare, a prepare, a
    checkpoint."""
    household.found(
        folder, Configuration(n=4, interval=2, window=4, timeout_s=0.3), "kv", clients=2
    )
    own = household.replica_folder(folder, victim)
    for replica in range(4):
        if replica != victim:
            household.start(folder, replica)
    dying = subprocess.Popen(
        [sys.executable, "-m", "tests.live.dying_replica", str(own), str(dies_at), moment],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        stdout=subprocess.DEVNULL,
    )
    with Client(folder) as client:
        number, deadline_s = 0, time.monotonic() + 30
        while number < 8 or dying.poll() is None:
            assert time.monotonic() < deadline_s, "the step was never reached"
            client.put(f"k{number}", b"x")
            number += 1
        assert dying.wait() == -signal.SIGKILL
        assert household.pid_of(own) is None
        household.start(folder, victim)
        client.put("last", b"x")
        # With one of the others gone, the one who came back is needed for every answer.
        household.kill(folder, 1 if victim == 0 else 3)
        client.put("after", b"y")
        assert len(client.scan()) == number + 2


def test_operations_of_many_threads_travel_together(folder: Path) -> None:
    up(folder, is_durable=False)
    with Client(folder) as client:
        futures = [client.submit(kv.encode(kv.Put(f"{n}", b"v"))) for n in range(500)]
        assert all(kv.outcome(f.result(20)) == kv.Done(True) for f in futures)
        assert len(client.scan()) == 500


def test_a_lying_replica_changes_no_answer(folder: Path) -> None:
    household.found(folder, Configuration(n=4, timeout_s=0.3), "kv", 2)
    for replica in range(4):
        household.start(folder, replica, "liar" if replica == 3 else None)
    household.await_started(folder, 4)
    with Client(folder) as client:
        for number in range(20):
            client.put("k", str(number).encode())
            assert client.get("k") == str(number).encode()
    refusals = told(folder, 0).get("refusals", {})
    assert refusals is not None


@pytest.mark.parametrize(
    ("strategy", "place"),
    [
        ("equivocator", 0),
        ("silent", 0),
        ("inventor", 0),
        ("starver", 0),
        ("babbler", 3),
        ("view-change-spammer", 3),
        ("checkpoint-forger", 3),
    ],
)
def test_a_traitor_among_processes_changes_nothing_but_the_view(
    folder: Path, strategy: str, place: int
) -> None:
    """PB1, PB2, PB7, PB9, PB12: the lies of the simulator, over sockets."""
    household.found(folder, Configuration(n=4, interval=4, window=8, timeout_s=0.3), "kv", 2)
    for replica in range(4):
        household.start(folder, replica, strategy if replica == place else None)
    household.await_started(folder, 4)
    with Client(folder, 0) as client:
        for number in range(12):
            client.put("k", str(number).encode())
            assert client.get("k") == str(number).encode()
    time.sleep(2 * 0.5)
    loyal = [told(folder, r) for r in range(4) if r != place]
    assert {one["view"] for one in loyal} == ({0} if place == 3 else {loyal[0]["view"]})
    assert place == 3 or loyal[0]["view"] > 0
    if strategy == "babbler":
        assert all(any(name.startswith("3/") for name in one["refusals"]) for one in loyal)
    if strategy == "inventor":
        assert any("0/not_authentic" in one["refusals"] for one in loyal)


def test_strangers_and_noise_at_the_door_are_refused(folder: Path) -> None:
    """NT2, NT5: a key that is in no roster; bytes that are no packet; another's number."""
    up(folder)
    described = cluster.read(folder)
    stranger = cluster.Identity(b"s" * 32)
    members = [(m.client_endpoint, m.exchange_public) for m in described.members]
    outside = Counterpart(stranger.exchange_secret, stranger.exchange_public, members)
    known = cluster.read_identity(folder / "clients" / "1.key")
    inside = Counterpart(known.exchange_secret, known.exchange_public, members)
    claimed = wire.encode(Asked(described.id, (Request(0, 1, 0, (b"",), False),)))
    for data in (b"", b"\xff" * 100, claimed):
        outside.say(0, data)
        inside.say(0, data)
    with Client(folder, 0) as client:
        client.put("a", b"1")
        deadline_s = time.monotonic() + 5
        while told(folder, 0).get("refusals", {}).get("client/not_sender") != 1:
            assert time.monotonic() < deadline_s, told(folder, 0)
            time.sleep(0.05)
        assert told(folder, 0)["refusals"]["client/malformed"] == 2
        assert client.get("a") == b"1"
    outside.close()
    inside.close()


def test_a_pause_that_was_told_has_happened(tmp_path: Path) -> None:
    own = household.replica_folder(tmp_path, 0)
    own.mkdir()
    # More of them than processors: a signal waits until its process has one.
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass", str(own)])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        (own / household.PID_FILE).write_text(f"{busy[0].pid}\n")
        for _ in range(100):
            household.pause(tmp_path, 0)
            assert state_of(busy[0].pid) == "T"
            household.resume(tmp_path, 0)
            assert state_of(busy[0].pid) in tuple("RSD")
    finally:
        for process in busy:
            process.kill()
            process.wait()
    with pytest.raises(ClusterError, match="not running"):
        household.pause(tmp_path, 0)


def test_the_commands(tmp_path: Path) -> None:
    path = str(tmp_path / "c")

    def say(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(byzantine, [*words, "--cluster", path], standalone_mode=False)
        assert (result.return_value or result.exit_code) == code, result.output
        return result.output

    try:
        assert "4 replicas of kv are up" in say("up", "--service", "kv")
        say("kv", "put", "name", "Lamport")
        assert say("kv", "get", "name") == "Lamport\n"
        say("kv", "cas", "name", "Pease", "x", code=1)
        say("kv", "cas", "name", "Lamport", "Shostak")
        assert say("kv", "scan") == "'name' 'Shostak'\n"
        say("kv", "kill", "3")
        assert "replica 3  down" in say("kv", "status")
        assert "up" in say("up", "--service", "kv")
        say("kv", "pause", "2")
        assert "paused" in say("kv", "status")
        say("kv", "delete", "name")
        say("kv", "resume", "2")
        assert "paused" not in say("kv", "status")
        told = [
            json.loads(line) for line in say("kv", "logs", "3", "--format", "json").splitlines()
        ]
        assert [one["event"] for one in told] == ["started", "started"]
        assert "replica 3  started as process" in say("kv", "logs")
        say("kv", "pause", "1")
        say("kv", "get", "name", code=1)
    finally:
        assert say("kv", "down") == "stopped: 0, 1, 2, 3\n"
    say("kv", "status", code=3)
    ends = [line for line in say("kv", "logs").splitlines() if line.endswith("  ended")]
    assert len(ends) == 4


def test_a_store_of_another_replica_is_refused(tmp_path: Path) -> None:
    Store(tmp_path, b"c" * 32, 1).close()
    with pytest.raises(StoreError, match="belongs to replica 1 of another cluster"):
        Store(tmp_path, b"c" * 32, 2)


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"no cluster; `byzantine up --service kv` makes one"):
        Client(tmp_path)
