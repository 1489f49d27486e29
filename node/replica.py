"""One whole replica of a PBFT cluster, still without I/O: machine, keys, packets.

Bytes and time come in; what is to be done comes out once a turn, so that all that one replica says
to another in it is one packet, each message encoded once for all who hear it. A host carries the
actions out: `Write` first reaches stable storage, then `persisted` is called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias, assert_never

import msgspec

from node.effects import Reason
from node.protocols.pbft import wire
from node.protocols.pbft.authentication import Authenticity
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.effects import (
    Accuse,
    Answer,
    CancelTimer,
    Effect,
    Executed,
    Moved,
    Persist,
    Record,
    Refuse,
    Restored,
    Send,
    SetTimer,
)
from node.protocols.pbft.events import (
    Event,
    Persisted,
    Received,
    Requested,
    Started,
    TimerFired,
    TurnEnded,
)
from node.protocols.pbft.messages import ClientId, Message, ReplicaId, Reply
from node.protocols.pbft.replica import Recovered, Replica
from node.protocols.pbft.service import Service
from node.traitors.replicas import LIE, ReplicaStrategy

#: Requests that a client may put into one packet.
REQUESTS_A_PACKET_MAX = 64


class Deliver(msgspec.Struct, frozen=True):
    """The same bytes to each of these replicas."""

    to: tuple[ReplicaId, ...]
    data: bytes


class Tell(msgspec.Struct, frozen=True):
    """Bytes to a client, if he has a link."""

    client: ClientId
    data: bytes


class Write(msgspec.Struct, frozen=True):
    """Records for stable storage; then `persisted(ticket)`."""

    ticket: int
    records: tuple[Record, ...]


#: What a replica lets its host know, for whoever judges it.
Note: TypeAlias = Executed | Restored | Moved | Accuse
Action: TypeAlias = Deliver | Tell | Write | SetTimer | CancelTimer


class ReplicaNode:
    """A replica from bytes to bytes. `on_note` hears what the verdict needs: Executed and such."""

    def __init__(
        self,
        *,
        me: ReplicaId,
        cluster: bytes,
        configuration: Configuration,
        service: Callable[[], Service],
        authenticity: Authenticity,
        draw: Callable[[], bytes],
        recovered: Recovered | None = None,
        on_note: Callable[[Note], None] = lambda note: None,
        traitor: ReplicaStrategy | None = None,
    ) -> None:
        self.machine = Replica(
            me=me,
            configuration=configuration,
            service=service,
            authenticity=authenticity,
            draw=draw,
            recovered=recovered,
        )
        self.me = me
        #: (who, why) it was refused; None is a client.
        self.refusals: Counter[tuple[ReplicaId | None, Reason]] = Counter()
        #: Messages sent, by kind: each copy counts.
        self.sent: Counter[str] = Counter()
        #: Replies sent to clients.
        self.answered = 0
        self._cluster = cluster
        self._others = tuple(r for r in range(configuration.n) if r != me)
        self._on_note = on_note
        self._traitor = traitor
        self._sends: list[tuple[tuple[ReplicaId, ...], Message]] = []
        self._replies: dict[ClientId, list[Reply]] = {}
        self._records: list[Record] = []
        self._ticket = 0
        self._actions: list[Action] = []

    def start(self, at_s: float) -> None:
        self._act(Started(at_s))

    def receive(self, sender: ReplicaId, data: bytes, at_s: float) -> None:
        """A packet from the replica that the transport proved. Total: any bytes will do."""
        packet = wire.decode_packet(data)
        if isinstance(packet, Reason):
            self.refusals[sender, packet] += 1
        elif packet.cluster != self._cluster:
            self.refusals[sender, Reason.WRONG_RUN] += 1
        else:
            for message in packet.messages:
                self._act(Received(at_s, sender, message))

    def ask(self, client: ClientId, data: bytes, at_s: float) -> None:
        """A packet on the link of the client that the transport proved. Total."""
        asked = wire.decode_asked(data)
        if isinstance(asked, Reason):
            self.refusals[None, asked] += 1
            return
        if asked.cluster != self._cluster or len(asked.requests) > REQUESTS_A_PACKET_MAX:
            self.refusals[None, Reason.WRONG_RUN] += 1
            return
        for request in asked.requests:
            if request.client == client:
                self._act(Requested(at_s, request))
            else:
                self.refusals[None, Reason.NOT_SENDER] += 1

    def wake(self, name: str, at_s: float) -> None:
        if self._traitor is not None and name.startswith(LIE):
            for effect in self._traitor.wake(name):
                self._perform(effect)
        else:
            self._act(TimerFired(at_s, name))

    def persisted(self, ticket: int, at_s: float) -> None:
        self._act(Persisted(at_s, ticket))

    def end_turn(self, at_s: float) -> list[Action]:
        """Nothing more has arrived for now: what is to be done, who waits first, the write last."""
        self._act(TurnEnded(at_s))
        actions: list[Action] = []
        for client, replies in self._replies.items():
            self.answered += len(replies)
            actions += [
                Tell(client, data) for data in self._packets(list(map(wire.encode, replies)))
            ]
        self._replies = {}
        if self._sends:
            self._pack(actions)
        actions += self._actions
        self._actions = []
        if self._records:
            actions.append(Write(self._ticket, tuple(self._records)))
            self._records = []
        return actions

    def _act(self, event: Event) -> None:
        effects = self.machine.on_event(event)
        if not effects:
            return
        if self._traitor is not None:
            effects = self._traitor.change(effects)
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(to, message):
                self._sends.append((to, message))
            case Answer(client, reply):
                self._replies.setdefault(client, []).append(reply)
            case Persist(ticket, records):
                self._ticket = ticket
                self._records += records
            case SetTimer() | CancelTimer():
                self._actions.append(effect)
            case Refuse(sender, reason):
                self.refusals[sender, reason] += 1
            case Executed() | Restored() | Moved() | Accuse():
                self._on_note(effect)
            case _:
                assert_never(effect)

    def _pack(self, actions: list[Action]) -> None:
        """One packet a receiver, the same bytes to all where all hear the same."""
        sends, self._sends = self._sends, []
        for to, message in sends:
            self.sent[type(message).__name__] += len(to)
        shared = [(wire.encode(message), to) for to, message in sends]
        if all(to == self._others for to, _ in sends):
            everything = [data for data, _ in shared]
            actions += [Deliver(self._others, data) for data in self._packets(everything)]
            return
        for receiver in self._others:
            theirs = [data for data, to in shared if receiver in to]
            actions += [Deliver((receiver,), data) for data in self._packets(theirs)]

    def _packets(self, encoded: list[bytes]) -> list[bytes]:
        """Encoded messages, or replies, in as few packets as their bound allows."""
        packets: list[bytes] = []
        held: list[msgspec.Raw] = []
        size = 0
        for data in encoded:
            if held and size + len(data) > wire.PACKET_BYTES_MAX - wire.MARGIN_BYTES:
                packets.append(wire.encode((self._cluster, held)))
                held, size = [], 0
            held.append(msgspec.Raw(data))
            size += len(data)
        if held:
            packets.append(wire.encode((self._cluster, held)))
        return packets
