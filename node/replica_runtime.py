"""One replica's loop: packets go to the `ReplicaNode`, what it asks for is carried out.

One thread and one poll without fixed ticks. All that has arrived is heard before the turn ends, so
that a busy replica answers many at once: one packet a peer, one fsync, one proposal. What rests on
a record leaves after the write of it has returned.
"""

from __future__ import annotations

import gc
import heapq
import json
import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, assert_never

import msgspec
from zmq.utils import z85

from node import cluster
from node.client_links import Door
from node.cluster import Cluster, ClusterError, Identity
from node.control import Enlisted, Roster, Suffer
from node.durable import Store, StoreError
from node.endings import STATUS_DISBANDED, STATUS_FAILED, STATUS_NOWHERE
from node.link_faults import LinkFaults, Passage
from node.links import Field, KeyPair, TransportError
from node.protocols.pbft import wire
from node.protocols.pbft.effects import (
    Accuse,
    CancelTimer,
    Executed,
    Moved,
    Restored,
    SetTimer,
)
from node.protocols.pbft.messages import ReplicaId
from node.replica import Deliver, Note, ReplicaNode, Tell, Write
from node.traitors.replicas import REPLICA_STRATEGIES, ReplicaSeat

FRAMES_PER_TURN: Final = 256
POLL_S_MAX: Final = 3600.0
#: Messages make no cycles to speak of: garbage is looked for after so many new objects.
GC_ALLOCATIONS: Final = 100_000
#: Where a replica writes what it did, for whoever watches: one JSON line a view, a state fetched.
STATUS_FILE: Final = "status.json"
#: What befalls the links that lead out of a replica; SIGHUP says that it is another now.
LINKS_FILE: Final = "links.json"
#: The status is written so often at most, in seconds.
STATUS_S: Final = 0.5


class Place(msgspec.Struct, frozen=True):
    """Where to listen: exactly there."""

    bind_host: str
    advertised_host: str
    port_first: int
    ports: int = 1


def play(
    folder: Path, strategy: str | None = None, when_up: Callable[[], None] = lambda: None
) -> int:
    """A replica from its folder, until SIGTERM; its exit status. The folder holds `cluster.json`,
    the replica's number in `replica`, its key and its storage. `when_up` is called once its links
    stand and its storage is read."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        runtime = Runtime(folder, strategy)
    except (ClusterError, StoreError, TransportError, OSError, ValueError) as error:
        _tell("failed", reason=str(error))
        return STATUS_NOWHERE
    try:
        signal.signal(signal.SIGHUP, lambda number, frame: runtime.look_at_links())
        when_up()
        runtime.run(ended)
    except (StoreError, TransportError) as error:
        _tell("failed", reason=str(error))
        return STATUS_FAILED
    finally:
        runtime.close()
    return STATUS_DISBANDED


class Runtime:
    """The loop. Time is seconds since 1970 by the monotonic clock, which never runs back."""

    def __init__(self, folder: Path, strategy: str | None) -> None:
        self._folder = folder
        description = cluster.read(folder)
        self._me = int((folder / "replica").read_text("ascii"))
        member = description.members[self._me]
        identity = cluster.read_identity(folder / cluster.KEY_FILE)
        if identity.exchange_public != member.exchange_public:
            raise ClusterError(f"{folder}: the key is not replica {self._me}'s")
        self._epoch_s = time.time() - time.monotonic()
        c = description.configuration
        self._store = Store(folder, description.id, self._me) if c.is_durable else None
        authentication = cluster.replica_authentication(description, self._me, identity)
        traitor = None
        if strategy is not None:
            import numpy as np

            seat = ReplicaSeat(self._me, c, authentication, np.random.default_rng())
            traitor = REPLICA_STRATEGIES[strategy](seat)
        self._node = ReplicaNode(
            me=self._me,
            cluster=description.id,
            configuration=c,
            service=cluster.service_maker(description.service),
            authenticity=authentication,
            draw=lambda: os.urandom(16),
            recovered=self._store.load() if self._store else None,
            on_note=self._note,
            traitor=traitor,
        )
        self._field = Field(_place(member.endpoint), _keys(identity))
        self._field.deploy(self._me, _roster(description))
        clients = {c.client: c.exchange_public for c in description.customers}
        self._door = Door(_place(member.client_endpoint), identity.exchange_secret, clients)
        self._timers: dict[str, float] = {}
        self._status_s = 0.0
        self._links = LinkFaults(self._me, seed=0)
        #: Packets that a fault of their link delays: when they leave, in order.
        self._delayed: list[tuple[float, int, Passage]] = []
        self._passed = 0
        self._are_links_old = True
        self._suffers = 0
        self._poll = select.poll()
        self._busy: set[int] = set()
        self._handlers: dict[int, Callable[[], bool]] = {}
        self._listen(self._field.fd, self._hear)
        self._listen(self._field.gate_fd, lambda: self._field.admit(FRAMES_PER_TURN))
        self._listen(self._field.alarm_fd, self._hear_alarms)
        self._listen(self._door.fd, self._attend)
        self._listen(self._door.gate_fd, self._door.admit)

    def run(self, ended: list[int]) -> None:
        """Turns until `ended` has something in it."""
        gc.freeze()
        gc.set_threshold(GC_ALLOCATIONS)
        self._node.start(self._at_s(time.monotonic()))
        self._end_turn()
        _tell("started", replica=self._me, pid=os.getpid(), view=self._node.machine.view)
        while not ended:
            ready = self._poll.poll(self._wait_ms())
            self._busy.update([fd for fd, _ in ready])
            for fd in tuple(self._busy):
                if not self._handlers[fd]():
                    self._busy.discard(fd)
            self._keep_time()
            self._end_turn()
        _tell("ended", replica=self._me)

    def look_at_links(self) -> None:
        """Something else befalls the links: soon this replica sees what."""
        self._are_links_old = True

    def close(self) -> None:
        self._door.close()
        self._field.close()
        if self._store is not None:
            self._store.close()

    def _at_s(self, monotonic_s: float) -> float:
        return monotonic_s + self._epoch_s

    def _listen(self, fd: int, handler: Callable[[], bool]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)
        self._busy.add(fd)

    def _wait_ms(self) -> int:
        if self._busy:
            return 0
        next_s = min(self._timers.values(), default=math.inf)
        if self._delayed:
            next_s = min(next_s, self._delayed[0][0])
        wait_s = min(next_s - time.monotonic(), POLL_S_MAX)
        return max(0, math.ceil(wait_s * 1000))

    def _hear(self) -> bool:
        heard = self._field.drain(FRAMES_PER_TURN)
        at_s = self._at_s(time.monotonic())
        receive = self._node.receive
        for sender, data in heard:
            receive(sender, data, at_s)
        return len(heard) == FRAMES_PER_TURN

    def _attend(self) -> bool:
        heard = self._door.drain(FRAMES_PER_TURN)
        at_s = self._at_s(time.monotonic())
        for client, data in heard:
            self._node.ask(client, data, at_s)
        return len(heard) == FRAMES_PER_TURN

    def _hear_alarms(self) -> bool:
        self._field.hear_alarms()
        return False

    def _keep_time(self) -> None:
        now_s = time.monotonic()
        if self._are_links_old:
            self._read_links()
        while self._delayed and self._delayed[0][0] <= now_s:
            _, _, passage = heapq.heappop(self._delayed)
            self._field.deliver((passage.to,), passage.data)
        for name in [name for name, at_s in self._timers.items() if at_s <= now_s]:
            del self._timers[name]
            self._node.wake(name, self._at_s(now_s))

    def _end_turn(self) -> None:
        """Carries out what the turn gave; what follows from a write belongs to the same turn."""
        written: int | None = None
        while True:
            now_s = time.monotonic()
            for action in self._node.end_turn(self._at_s(now_s)):
                match action:
                    case Deliver(to, data):
                        self._deliver(to, data)
                    case Tell(client, data):
                        self._door.tell(client, data)
                        # A send may take in what the descriptor would have told of.
                        self._busy.add(self._door.fd)
                    case SetTimer(name, after_s):
                        self._timers[name] = now_s + after_s
                    case CancelTimer(name):
                        self._timers.pop(name, None)
                    case Write(ticket, records):
                        assert self._store is not None
                        self._store.write(records)
                        written = ticket
                    case _:
                        assert_never(action)
            if written is None:
                break
            self._node.persisted(written, self._at_s(time.monotonic()))
            written = None
        if time.monotonic() >= self._status_s:
            self._write_status()

    def _deliver(self, to: tuple[ReplicaId, ...], data: bytes) -> None:
        if self._links.are_idle:
            return self._field.deliver(to, data)
        for receiver in to:
            passages, _ = self._links.send(receiver, 0, "", data)
            self._pass(passages)
        return None

    def _pass(self, passages: list[Passage]) -> None:
        for passage in passages:
            if passage.delay_s == 0.0:
                self._field.deliver((passage.to,), passage.data)
            else:
                self._passed += 1
                at_s = time.monotonic() + passage.delay_s
                heapq.heappush(self._delayed, (at_s, self._passed, passage))

    def _read_links(self) -> None:
        """What befalls the links is in a file, so that who is started again bears it too."""
        self._are_links_old = False
        try:
            order = msgspec.json.decode((self._folder / LINKS_FILE).read_bytes(), type=Suffer)
        except FileNotFoundError:
            return
        self._pass(self._links.impose(order.rules))
        self._suffers = order.number
        self._status_s = 0.0

    def _note(self, note: Note) -> None:
        match note:
            case Moved(view, is_active, rule):
                _tell("view", replica=self._me, view=view, is_active=is_active, rule=rule)
            case Restored(sequence):
                _tell("restored", replica=self._me, sequence=sequence)
            case Accuse(culprit, proof):
                told = [wire.encode(one).hex() for one in proof]
                _tell("accusation", replica=self._me, culprit=culprit, proof=told)
            case Executed():
                pass

    def _write_status(self) -> None:
        """Where this replica stands, for `byzantine kv status`: replaced whole, never half."""
        self._status_s = time.monotonic() + STATUS_S
        machine = self._node.machine
        refusals = {
            f"{'client' if sender is None else sender}/{reason.value}": count
            for (sender, reason), count in sorted(self._node.refusals.items(), key=str)
        }
        told = {
            "replica": self._me,
            "pid": os.getpid(),
            "at_s": time.time(),
            "view": machine.view,
            "is_active": machine.is_active,
            "executed": machine.executed,
            "stable": machine.stable,
            "suffers": self._suffers,
            "sent": dict(self._node.sent),
            "refusals": refusals,
        }
        cluster.put_whole(self._folder / STATUS_FILE, json.dumps(told).encode())


def _keys(identity: Identity) -> KeyPair:
    secret = z85.encode(identity.exchange_secret)
    return KeyPair(z85.encode(identity.exchange_public), secret)


def _roster(description: Cluster) -> Roster:
    return Roster(
        tuple(
            Enlisted(m.replica, m.endpoint, z85.encode(m.exchange_public), m.signing_public)
            for m in description.members
        )
    )


def _place(endpoint: str) -> Place:
    """Where an endpoint says to listen: there alone, or on every address, where its name leads to
    another host, which passes on what comes."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    bind_host = host if host.replace(".", "").isdigit() else _own_address(host) or "*"
    return Place(bind_host, host, int(port))


def _own_address(name: str) -> str | None:
    """The address of this host that a name stands for, if it does."""
    try:
        with socket.socket() as probe:
            address = socket.gethostbyname(name)
            probe.bind((address, 0))
    except OSError:
        return None
    return address


def _tell(event: str, **fields: object) -> None:
    """One JSON line on stdout."""
    print(json.dumps({"at_s": time.time(), "event": event, **fields}), file=sys.stdout, flush=True)
