"""Runs among real processes: with a saboteur on the wire, a late general, an interrupted master."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from node import wire
from node.control import Decided, Role
from node.links import LINK_FRAMES_MAX, Field
from node.logs import Log
from node.messages import Frame, Oral
from node.orders import Brief, GeneralId
from node.runtime import Runtime, wait_until
from node.wire import FRAME_BYTES_MAX
from orchestrator.backends import BackendError
from orchestrator.backends.fork_client import Child, ForkServer
from orchestrator.backends.processes import Processes
from orchestrator.casting import Cast, Part
from tests.live.conftest import free_ports, raw_connections, until
from tests.live.test_field import Strangers, keys_of, strangers
from tests.live.test_forks import runs

__all__ = ["strangers"]

DELTA_S = 2.0
#: What a saboteur does instead of his part, over and over until it says that it is done.
Sabotage = Callable[["Saboteur"], bool]


def cast(
    n: int = 4,
    m: int = 1,
    roles: dict[GeneralId, Role] | None = None,
    delta_s: float = DELTA_S,
    protocol: str = "oral",
) -> Cast:
    """OM(m) or SM(m) under commander 0, who orders attack."""
    parts = tuple(
        Part(
            general=general,
            brief=Brief(
                protocol=protocol,
                n=n,
                m=m,
                commander=0,
                value="attack" if general == 0 else None,
                delta_s=delta_s,
            ),
            role=(roles or {}).get(general),
        )
        for general in range(n)
    )
    return Cast(parts, scenario=b"a test", seed=1)


def values(decided: dict[GeneralId, Decided]) -> dict[GeneralId, object]:
    return {general: one.value for general, one in decided.items()}


class Saboteur(Runtime):
    """A general of the run in a thread of this process: his keys are good and his manners are not.

    He enrols and gets ready as everybody does, and once the barrier opens he commits his sabotage.
    """

    sabotage: Sabotage

    def _begin(self) -> None:
        assert self._started_s is not None
        wait_until(self._started_s)
        self._first_words = []
        while not self.sabotage(self):
            pass
        self._general._halted = True
        self._report_decision(None, ())

    @property
    def field(self) -> Field:
        return self._field

    @property
    def run_id(self) -> bytes:
        return self._general._run


class Sabotaged(Processes):
    """Processes, but for one general who is a saboteur."""

    def __init__(self, forks: ForkServer, who: GeneralId, sabotage: Sabotage) -> None:
        super().__init__(forks=forks)
        self._who = who
        self._sabotage = sabotage
        self._thread: threading.Thread | None = None
        self.saboteur: Saboteur | None = None

    def _call_up(self, general: GeneralId, log: Path | None) -> Child:
        if general != self._who:
            return super()._call_up(general, log)
        child = Child(ticket=-1, pid=os.getpid())
        saboteur = self.saboteur = Saboteur(self._settings(general), Log(), None)
        saboteur.sabotage = self._sabotage

        def play() -> None:
            saboteur.run()
            saboteur.close()
            child.status = 0

        self._thread = threading.Thread(target=play, daemon=True)
        self._thread.start()
        return child

    def disband(self) -> None:
        super().disband()
        if self._thread is not None:
            self._thread.join(10.0)


def played(
    backend: Processes, parts: Cast, logs: Path | None = None
) -> tuple[dict[GeneralId, Decided], dict[GeneralId, bytes]]:
    with backend:
        backend.muster(parts, logs)
        return backend.command(lambda general: None), backend.collect()


def refusals(journal: bytes) -> dict[tuple[GeneralId, str], int]:
    """By sender and reason, from a journal's closing entry."""
    closing = msgspec.json.decode(journal.splitlines()[-1].partition(b" ")[2])
    return {(general, reason): times for general, reason, times in closing["refusals"]}


@pytest.mark.parametrize("protocol", ["oral", "signed"])
def test_generals_in_processes_agree(forks: ForkServer, tmp_path: Path, protocol: str) -> None:
    with Processes(forks=forks) as backend:
        mustered = backend.muster(cast(protocol=protocol), tmp_path)
        decided = backend.command(lambda general: None)
        journals = backend.collect()
    assert values(decided) == dict.fromkeys(range(4), "attack")
    assert len(set(mustered.hosts.values())) == 4
    assert sorted(journals) == [0, 1, 2, 3]
    for general in range(4):
        lines = (tmp_path / f"general-{general}.log").read_bytes().splitlines()
        events = [msgspec.json.decode(line)["event"] for line in lines]
        assert events[0] == "opened"
        assert events[-1] == "closed"


def test_one_fork_server_serves_many_runs_and_ports_can_be_given(forks: ForkServer) -> None:
    base = free_ports(5)
    for base_port in (None, base, base):
        backend = Processes(base_port=base_port, forks=forks)
        with backend:
            mustered = backend.muster(cast(), None)
            ports = [int(e.endpoint.rpartition(":")[2]) for e in mustered.roster.generals]
            assert all(10_000 <= port < 32_768 for port in ports)
            assert base_port is None or ports == list(range(base_port, base_port + 4))
            assert len(backend.command(lambda general: None)) == 4


def test_a_silent_traitor_costs_his_deadlines_and_no_more(forks: ForkServer) -> None:
    """OM10: the default, and a decision by (m + 1) x delta and a fifth."""
    decided, _ = played(
        Processes(forks=forks), cast(roles={3: Role(strategy="silent")}, delta_s=1.0)
    )
    assert {decided[general].value for general in (0, 1, 2)} == {"attack"}
    assert max(decided[general].seconds for general in (1, 2)) < 1.2 * 2 * 1.0
    assert min(decided[general].seconds for general in (1, 2)) >= 2 * 1.0


def test_what_comes_after_the_deadline_is_late(forks: ForkServer) -> None:
    """SM13: held back until 50 ms after the deadline."""
    role = Role(strategy="delayer", params={"late_ms": 50})
    parts = cast(roles={3: role}, delta_s=0.4, protocol="signed")
    decided, journals = played(Processes(forks=forks), parts)
    assert {decided[general].value for general in (0, 1, 2)} == {"attack"}
    for general in (1, 2):
        assert refusals(journals[general]) == {(3, "late"): 1}


def test_a_crowd_that_says_nothing_changes_nothing(forks: ForkServer) -> None:
    """NT7: 200 raw connections to each general from before the start on."""
    with Processes(forks=forks) as backend:
        mustered = backend.muster(cast(), None)
        crowd = [
            one
            for entry in mustered.roster.generals
            for one in raw_connections(entry.endpoint, 200)
        ]
        decided = backend.command(lambda general: None)
        for connection in crowd:
            connection.close()
    assert values(decided) == dict.fromkeys(range(4), "attack")


def test_five_hundred_connections_of_one_general_change_nothing(
    forks: ForkServer, tmp_path: Path, strangers: Strangers
) -> None:
    """NT8: the traitor sends what he owes nobody; the others decide and warn."""

    def betray(saboteur: Saboteur) -> bool:
        return True

    backend = Sabotaged(forks, 3, betray)
    with backend:
        mustered = backend.muster(cast(delta_s=1.0), tmp_path)
        victim = mustered.roster.generals[1]
        assert backend.saboteur is not None
        crowd = []
        for _ in range(500):
            client = strangers.client(victim.curve_public, keys_of(backend.saboteur.field))
            client.connect(victim.endpoint)
            crowd.append(client)
        log = tmp_path / "general-1.log"
        deadline_s = time.monotonic() + 20.0
        while '"event":"connections_refused"' not in log.read_text():
            assert time.monotonic() < deadline_s, "nobody who knocked was refused"
            time.sleep(0.01)
        decided = backend.command(lambda general: None)
    assert {decided[general].value for general in (0, 1, 2)} == {"attack"}


def test_oversized_and_empty_frames_are_a_traitors_silence(forks: ForkServer) -> None:
    """NT5."""

    def abuse(saboteur: Saboteur) -> bool:
        saboteur.field.deliver((1,), bytes(FRAME_BYTES_MAX + 1))
        for _ in range(LINK_FRAMES_MAX // 2):
            saboteur.field.deliver((2,), b"")
        return True

    decided, journals = played(Sabotaged(forks, 3, abuse), cast(delta_s=0.5))
    assert {decided[general].value for general in (0, 1, 2)} == {"attack"}
    assert refusals(journals[2])[3, "malformed"] == LINK_FRAMES_MAX // 2


def test_a_flood_keeps_nobody_elses_word_from_being_heard(forks: ForkServer) -> None:
    """NT11: valid small frames as fast as one process can send them, for a second at least."""
    sent = 0
    since_s = 0.0

    def flood(saboteur: Saboteur) -> bool:
        nonlocal sent, since_s
        since_s = since_s or time.monotonic()
        frame = wire.encode(Frame(saboteur.run_id, 2, Oral(b"\x80")))
        for _ in range(1000):
            saboteur.field.deliver((1, 2), frame)
        sent += 2000
        return time.monotonic() - since_s > 1.0

    decided, journals = played(Sabotaged(forks, 3, flood), cast())
    assert sent > 20_000
    for general in (1, 2):
        assert decided[general].value == "attack"
        assert decided[general].seconds < 1.5 * DELTA_S
        # His first frame of round 2 was good; nobody else was ever late or missed.
        assert {sender for sender, _ in refusals(journals[general])} <= {3}
        assert b"is silent" not in journals[general]


def test_a_general_who_is_not_ready_is_an_error_and_names_him(forks: ForkServer) -> None:
    """NT12: stopped as soon as he has enrolled, so that his links never come up."""

    class Stopped(Processes):
        def _await_enrolment(self, deadline_s: float) -> None:
            super()._await_enrolment(deadline_s)
            self._server.kill(self._children[3], signal.SIGSTOP)

    backend = Stopped(forks=forks, muster_s=1.5)
    with backend, pytest.raises(BackendError, match="node 3 not ready"):
        backend.muster(cast(), None)
    assert all(child.has_ended for child in forks._children.values())


def test_a_general_who_starts_late_is_waited_for(forks: ForkServer) -> None:
    """NT12: as long as the barrier's patience lasts, nothing begins without him."""

    class Late(Processes):
        def _await_enrolment(self, deadline_s: float) -> None:
            for child in self._children.values():
                assert until(lambda child=child: child.pid is not None, self._server.listen)  # type: ignore[misc]
            self._server.kill(self._children[3], signal.SIGSTOP)
            self._hq.attend(lambda: False, time.monotonic() + 1.0)
            assert any(one.enrolment is not None for one in self._hq.standing.values())
            self._server.kill(self._children[3], signal.SIGCONT)
            super()._await_enrolment(deadline_s)

    decided, _ = played(Late(forks=forks), cast())
    assert values(decided) == dict.fromkeys(range(4), "attack")


def test_a_general_who_cannot_play_says_why(forks: ForkServer) -> None:
    parts = cast(roles={2: Role(strategy="no-such-strategy")})
    with (
        Processes(forks=forks) as backend,
        pytest.raises(BackendError, match=r"node 2 not ready: .*no-such-strategy"),
    ):
        backend.muster(parts, None)


def test_a_port_that_is_taken_names_the_general(forks: ForkServer) -> None:
    base = free_ports(9)
    with Processes(base_port=base, forks=forks) as first:
        first.muster(cast(), None)
        # Headquarters of the first run has the port behind its generals'.
        second = Processes(base_port=base + 4, forks=forks)
        told = rf"node 0 not ready: it could not listen on port {base + 4}: .*--base-port"
        with second, pytest.raises(BackendError, match=told):
            second.muster(cast(), None)


def test_a_general_who_is_killed_in_the_run_is_missing_and_nobody_waits(forks: ForkServer) -> None:
    """CH6: default for his silence."""

    class Assassin(Processes):
        def _decisions(self) -> dict[GeneralId, Decided]:
            self._server.kill(self._children[3])
            return super()._decisions()

    start_s = time.monotonic()
    decided, journals = played(
        Assassin(forks=forks), cast(roles={3: Role(strategy="silent")}, delta_s=0.5)
    )
    assert {decided[general].value for general in (0, 1, 2)} == {"attack"}
    assert 3 not in decided
    assert sorted(journals) == [0, 1, 2]
    assert time.monotonic() - start_s < 10.0


@pytest.mark.parametrize("moment", ["muster", "command", "collect"])
def test_an_interruption_leaves_no_process(moment: str) -> None:
    """CH10: at any moment. The fork server is the run's own, and goes with it."""

    class Interrupted(Processes):
        pids: tuple[int, ...] = ()

        def _note(self) -> None:
            self.pids = (self._server.pid, *(c.pid for c in self._children.values() if c.pid))

    backend = Interrupted()

    def interrupt(_general: GeneralId = 0) -> None:
        backend._note()
        raise KeyboardInterrupt

    if moment == "muster":
        backend._await_barrier = interrupt  # type: ignore[method-assign,assignment]
    with pytest.raises(KeyboardInterrupt), backend:  # noqa: PT012
        backend.muster(cast(), None)
        backend.command(interrupt if moment == "command" else lambda general: None)
        interrupt()
    assert len(backend.pids) == 5
    assert until(lambda: not any(runs(pid) for pid in backend.pids))


def test_whoever_never_mustered_can_disband(forks: ForkServer) -> None:
    backend = Processes(forks=forks)
    backend.disband()
    backend.disband()
    with pytest.raises(BackendError, match="nobody is mustered"):
        backend.command(lambda general: None)
