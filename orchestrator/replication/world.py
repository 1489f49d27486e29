"""A cluster of PBFT in one thread and virtual time: real replicas, clients, packets and signatures.

Only clock, network and disk are replaced. A packet takes a time drawn from the seed; links can be
cut, and lose and duplicate packets; a write reaches the disk after a while, and a crash forgets
what has not. A run depends on its arguments alone.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

import numpy as np

from node.effects import Reason
from node.protocols.pbft import wire
from node.protocols.pbft.authentication import ClientAuthentication, ReplicaAuthentication
from node.protocols.pbft.client import Ask, ClientMachine
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.effects import (
    Accuse,
    CancelTimer,
    Executed,
    Moved,
    Record,
    Restored,
    SetTimer,
)
from node.protocols.pbft.key_value import KeyValueStore
from node.protocols.pbft.messages import Asked, ClientId, ReplicaId, Result
from node.protocols.pbft.recovery import recovered
from node.protocols.pbft.service import Service
from node.replica import Action, Deliver, Note, ReplicaNode, Tell, Write
from node.signatures import Signer, exchange_public
from node.traitors.replicas import Corruption, ReplicaSeat, ReplicaStrategy

#: The moment at which a simulated run begins, in seconds since 1970.
EPOCH_S = 1_000_000.0


@dataclass(frozen=True)
class Weather:
    """How links and disks behave: times in seconds, chances from 0 to 1."""

    latency_s: tuple[float, float] = (0.0002, 0.002)
    write_s: tuple[float, float] = (0.0001, 0.002)
    lose: float = 0.0
    duplicate: float = 0.0


@dataclass
class Operation:
    """One operation of the history: when it was invoked, and what came of it, if anything."""

    client: ClientId
    data: bytes
    invoked_s: float
    returned_s: float | None = None
    result: Result | None = None
    is_read_only: bool = False


@dataclass(frozen=True)
class Said:
    """One message as it set out. A client is None."""

    at_s: float
    sender: ReplicaId | None
    receivers: tuple[ReplicaId | None, ...]
    kind: str
    message: object


@dataclass
class Disk:
    """What a replica wrote, and how much of it is safe."""

    records: list[Record] = field(default_factory=list)
    pending: list[tuple[int, tuple[Record, ...]]] = field(default_factory=list)


@dataclass
class Seat:
    """One replica's place: whoever runs there now, its disk, and what it says it executed."""

    node: ReplicaNode | None
    disk: Disk
    life: int = 0
    executed: dict[int, bytes] = field(default_factory=dict)
    restored: list[tuple[int, bytes]] = field(default_factory=list)
    views: list[tuple[float, int, bool]] = field(default_factory=list)
    refusals: Counter[tuple[ReplicaId | None, Reason]] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    accusations: list[Accuse] = field(default_factory=list)
    #: Executions that contradict an earlier one of the same replica.
    contradictions: list[int] = field(default_factory=list)


class World:
    """`traitors` are replicas that play a strategy. They hold their own keys alone."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        seed: int,
        clients: int = 2,
        weather: Weather | None = None,
        service: Callable[[], Service] = KeyValueStore,
        traitors: Mapping[ReplicaId, Corruption] | None = None,
        requests_max: int = 4,
    ) -> None:
        self.configuration = configuration
        self.now_s = EPOCH_S
        self.weather = weather or Weather()
        self.chance = random.Random(seed)
        self.traitors = dict(traitors or {})
        self.history: list[Operation] = []
        #: Directed links between replicas that carry nothing now.
        self.cut: set[tuple[ReplicaId, ReplicaId]] = set()
        #: All that was said, once somebody wants to know it.
        self.said: list[Said] | None = None
        self.cluster = _drawn(seed, "cluster")
        self._service = service
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._entered = 0
        self._timers: dict[tuple[ReplicaId, str], tuple[float, int]] = {}
        self._keep_keys(seed, clients)
        self.clients = {c: self._client(c, requests_max) for c in range(clients)}
        self._tickets: dict[tuple[ClientId, int], Operation] = {}
        self._client_alarms: dict[ClientId, float] = {}
        self.seats = {r: Seat(None, Disk()) for r in range(configuration.n)}
        for replica in self.seats:
            self.start(replica)

    # What a test or a timetable does.

    def invoke(self, client: ClientId, data: bytes, *, is_read_only: bool = False) -> Operation:
        operation = Operation(client, data, self.now_s, is_read_only=is_read_only)
        self.history.append(operation)
        machine = self.clients[client]
        ticket = machine.submit(data, is_read_only=is_read_only)
        self._tickets[client, ticket] = operation
        self._client_says(client, machine.flush(self.now_s))
        return operation

    def at(self, after_s: float, what: Callable[[], None]) -> None:
        """Enters something into the agenda, seconds from now."""
        self._entered += 1
        heapq.heappush(self._agenda, (self.now_s + after_s, self._entered, what))

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Works the agenda off until the condition holds; whether it did within the time."""
        end_s = self.now_s + limit_s
        while not until():
            if not self._agenda or self._agenda[0][0] > end_s:
                self.now_s = end_s
                return until()
            self.now_s, _, what = heapq.heappop(self._agenda)
            what()
        return True

    def run_for(self, seconds: float) -> None:
        self.run(lambda: False, seconds)

    def crash(self, replica: ReplicaId) -> None:
        """SIGKILL and a lost cache: what is not on the disk is gone."""
        seat = self.seats[replica]
        if seat.node is not None:
            seat.refusals += seat.node.refusals
            seat.sent += seat.node.sent
        seat.node = None
        seat.life += 1
        seat.disk.pending.clear()

    def start(self, replica: ReplicaId) -> None:
        """A replica begins, with whatever its disk holds."""
        seat = self.seats[replica]
        if seat.node is not None:
            return
        seat.life += 1
        authenticity = self._authentication(replica)
        seat.node = ReplicaNode(
            me=replica,
            cluster=self.cluster,
            configuration=self.configuration,
            service=self._service,
            authenticity=authenticity,
            draw=lambda: self.chance.randbytes(16),
            recovered=recovered(seat.disk.records),
            on_note=lambda note: self._note(replica, note),
            traitor=self._traitor(replica, authenticity),
        )
        seat.node.start(self.now_s)
        self._end_turn(replica)

    def partition(self, *groups: Iterable[ReplicaId]) -> None:
        """Nothing passes between the groups, until `heal`."""
        side = {replica: number for number, group in enumerate(groups) for replica in group}
        self.cut = {(a, b) for a in side for b in side if side[a] != side[b]}

    def heal(self) -> None:
        self.cut = set()

    def forget_packets(self) -> None:
        """Whatever is on its way between replicas is lost."""
        self._agenda = [
            item for item in self._agenda if getattr(item[2], "func", None) != self._receive
        ]
        heapq.heapify(self._agenda)

    def deliver(self, sender: ReplicaId, to: Sequence[ReplicaId], data: bytes) -> None:
        """A packet sets out, under the proven name of its sender."""
        if self.said is not None:
            packet = wire.decode_packet(data)
            for message in () if isinstance(packet, Reason) else packet.messages:
                self._record(sender, tuple(to), message)
        for receiver in to:
            for _ in range(self._copies(sender, receiver)):
                self.at(self._takes(), partial(self._receive, sender, receiver, data))

    # Inside.

    def _keep_keys(self, seed: int, clients: int) -> None:
        n = self.configuration.n
        self.signers = {r: Signer(_drawn(seed, f"replica/{r}")) for r in range(n)}
        self.secrets = {r: _drawn(seed, f"exchange/{r}") for r in range(n)}
        self._client_signers = {c: Signer(_drawn(seed, f"client/{c}")) for c in range(clients)}
        self._client_secrets = {c: _drawn(seed, f"client-exchange/{c}") for c in range(clients)}
        self._client_publics = {
            c: (exchange_public(self._client_secrets[c]), self._client_signers[c].public)
            for c in range(clients)
        }

    def _traitor(self, replica: ReplicaId, keys: ReplicaAuthentication) -> ReplicaStrategy | None:
        make = self.traitors.get(replica)
        if make is None:
            return None
        chance = np.random.default_rng(self.chance.getrandbits(64))
        return make(ReplicaSeat(replica, self.configuration, keys, chance))

    def _authentication(self, replica: ReplicaId) -> ReplicaAuthentication:
        return ReplicaAuthentication(
            me=replica,
            cluster=self.cluster,
            signer=self.signers[replica],
            secret=self.secrets[replica],
            replicas={r: signer.public for r, signer in self.signers.items()},
            clients=self._client_publics,
        )

    def client_authentication(self, client: ClientId) -> ClientAuthentication:
        return ClientAuthentication(
            cluster=self.cluster,
            signer=self._client_signers[client],
            secret=self._client_secrets[client],
            replicas=[exchange_public(self.secrets[r]) for r in range(self.configuration.n)],
        )

    def _client(self, client: ClientId, requests_max: int) -> ClientMachine:
        return ClientMachine(
            client=client,
            configuration=self.configuration,
            authentication=self.client_authentication(client),
            first=0,
            requests_max=requests_max,
        )

    def _copies(self, sender: ReplicaId, receiver: ReplicaId) -> int:
        if (sender, receiver) in self.cut:
            return 0
        if self.weather.lose and self.chance.random() < self.weather.lose:
            return 0
        if self.weather.duplicate and self.chance.random() < self.weather.duplicate:
            return 2
        return 1

    def _takes(self) -> float:
        return self.chance.uniform(*self.weather.latency_s)

    def _receive(self, sender: ReplicaId, receiver: ReplicaId, data: bytes) -> None:
        node = self.seats[receiver].node
        if node is not None:
            node.receive(sender, data, self.now_s)
            self._end_turn(receiver)

    def ask(self, client: ClientId, replica: ReplicaId, data: bytes) -> None:
        """A client's packet arrives, under his proven name."""
        node = self.seats[replica].node
        if node is not None:
            node.ask(client, data, self.now_s)
            self._end_turn(replica)

    def _end_turn(self, replica: ReplicaId) -> None:
        node = self.seats[replica].node
        if node is not None:
            for action in node.end_turn(self.now_s):
                self._carry_out(replica, action)

    def _carry_out(self, replica: ReplicaId, action: Action) -> None:
        match action:
            case Deliver(to, data):
                self.deliver(replica, to, data)
            case Tell(client, data):
                if self.said is not None:
                    self.said.append(Said(self.now_s, replica, (None,), "Reply", data))
                self.at(self._takes(), lambda: self._answer(replica, client, data))
            case Write(ticket, records):
                self._write(replica, ticket, records)
            case SetTimer(name, after_s):
                self._set_timer(replica, name, after_s)
            case CancelTimer(name):
                self._timers.pop((replica, name), None)
            case _:
                assert_never(action)

    def _write(self, replica: ReplicaId, ticket: int, records: tuple[Record, ...]) -> None:
        seat = self.seats[replica]
        seat.disk.pending.append((ticket, records))
        life = seat.life
        self.at(
            self.chance.uniform(*self.weather.write_s), lambda: self._written(replica, life, ticket)
        )

    def _written(self, replica: ReplicaId, life: int, ticket: int) -> None:
        """The disk has taken all writes up to that ticket: they go in order."""
        seat = self.seats[replica]
        if seat.life != life or seat.node is None:
            return
        while seat.disk.pending and seat.disk.pending[0][0] <= ticket:
            seat.disk.records += seat.disk.pending.pop(0)[1]
        seat.node.persisted(ticket, self.now_s)
        self._end_turn(replica)

    def _set_timer(self, replica: ReplicaId, name: str, after_s: float) -> None:
        life, at_s = self.seats[replica].life, self.now_s + after_s
        self._timers[replica, name] = (at_s, life)
        self.at(after_s, lambda: self._ring(replica, name, at_s, life))

    def _ring(self, replica: ReplicaId, name: str, at_s: float, life: int) -> None:
        if self._timers.get((replica, name)) != (at_s, life):
            return
        del self._timers[replica, name]
        node = self.seats[replica].node
        if node is not None and self.seats[replica].life == life:
            node.wake(name, self.now_s)
            self._end_turn(replica)

    def _note(self, replica: ReplicaId, note: Note) -> None:
        seat = self.seats[replica]
        match note:
            case Executed(sequence, digest):
                if seat.executed.setdefault(sequence, digest) != digest:
                    seat.contradictions.append(sequence)
            case Restored(sequence, digest):
                seat.restored.append((sequence, digest))
            case Accuse():
                seat.accusations.append(note)
            case Moved(view, is_active):
                seat.views.append((self.now_s, view, is_active))

    def _record(
        self, sender: ReplicaId | None, receivers: tuple[ReplicaId, ...], message: object
    ) -> None:
        assert self.said is not None
        kind = type(message).__name__
        self.said.append(Said(self.now_s, sender, receivers, kind, message))

    # Clients.

    def _client_says(self, client: ClientId, said: list[Ask]) -> None:
        for ask in said:
            data = wire.encode(Asked(self.cluster, (ask.request,)))
            if self.said is not None:
                self._record(None, ask.to, ask.request)
            for replica in ask.to:
                for _ in range(self._copies(-1, replica)):
                    self.at(self._takes(), partial(self.ask, client, replica, data))
        deadline_s = self.clients[client].deadline_s
        if deadline_s is not None and self._client_alarms.get(client) != deadline_s:
            self._client_alarms[client] = deadline_s
            wakes = partial(self._client_wakes, client, deadline_s)
            self.at(max(0.0, deadline_s - self.now_s), wakes)

    def _client_wakes(self, client: ClientId, deadline_s: float) -> None:
        if self._client_alarms.get(client) != deadline_s:
            return  # Another deadline has taken its place.
        del self._client_alarms[client]
        self._client_says(client, self.clients[client].wake(self.now_s))

    def _answer(self, replica: ReplicaId, client: ClientId, data: bytes) -> None:
        if client not in self.clients:
            return
        answered = wire.decode_answered(data)
        if isinstance(answered, Reason) or answered.cluster != self.cluster:
            return
        machine = self.clients[client]
        for reply in answered.replies:
            done = machine.hear(replica, reply, self.now_s)
            for ticket, result in done.results.items() if done else ():
                operation = self._tickets.pop((client, ticket))
                operation.returned_s, operation.result = self.now_s, result
        self._client_says(client, machine.flush(self.now_s))


def _drawn(seed: int, purpose: str) -> bytes:
    return hashlib.blake2b(f"byzantine/1/pbft/{purpose}/{seed}".encode(), digest_size=32).digest()
