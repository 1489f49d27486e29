"""The links between replicas and their clients: CURVE, as in `links.py`, apart from the field.

A replica binds one ROUTER for all clients of its cluster; a client connects to each replica and
hears from each over a link of its own, so that both know whom they hear. Who sent a packet is the
CURVE key that the transport proved. A routing id is used to find the way back and for nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import zmq
from zmq.utils import z85

from node.links import (
    CURVE_OVERHEAD_BYTES,
    Gate,
    Place,
    TransportError,
    Trouble,
    Troubles,
    Verdict,
    bind,
    descriptor,
    guard,
    introduce,
)
from node.protocols.pbft.messages import ClientId, ReplicaId
from node.protocols.pbft.wire import PACKET_BYTES_MAX

CLIENT_DOMAIN: Final = b"clients"
#: Packets that wait at each end of a link.
PACKETS_MAX: Final = 256
REQUESTS_PER_TURN: Final = 32
#: A plain number: the flags of an enumeration are slow to compare.
_POLLIN: Final = int(zmq.POLLIN)


class Door:
    """A replica's side: packets of proven clients come in, replies find their way back."""

    def __init__(self, place: Place, secret: bytes, clients: Mapping[ClientId, bytes]) -> None:
        """`secret` and the clients' public keys are X25519, 32 bytes."""
        self.troubles: Troubles = Counter()
        self._client_of_key = {key: client for client, key in clients.items()}
        self._client_of_user = {z85.encode(k).decode(): c for k, c in self._client_of_key.items()}
        self._routes: dict[ClientId, bytes] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._gate = Gate(self._context, self._admit, self.troubles)
        self._router = self._context.socket(zmq.ROUTER)
        guard(self._router, CLIENT_DOMAIN, z85.encode(secret), PACKET_BYTES_MAX)
        self._router.rcvhwm = self._router.sndhwm = PACKETS_MAX
        try:
            port = bind(self._router, place.bind_host, place.port_first, place.ports)
        except TransportError:
            self._context.destroy(linger=0)
            raise
        self.endpoint = f"tcp://{place.advertised_host}:{port}"
        self.fd = descriptor(self._router)
        self.gate_fd = self._gate.fd

    def drain(self, packets_max: int) -> list[tuple[ClientId, bytes]]:
        """What clients have said; fewer than asked: that was all."""
        heard: list[tuple[ClientId, bytes]] = []
        while len(heard) < packets_max:
            try:
                parts = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            client = self._client_of_user.get(str(parts[-1].get("User-Id")))
            if client is None:
                raise TransportError("a client's packet without a proven sender")
            if len(parts) != 2:
                self.troubles[Trouble.MULTIPART, None] += 1
                continue
            self._routes[client] = parts[0].bytes
            heard.append((client, parts[1].bytes))
        return heard

    def tell(self, client: ClientId, data: bytes) -> None:
        """To a client, if he has a link: who is gone, or hears nothing, asks again."""
        route = self._routes.get(client)
        if route is None:
            return
        try:
            self._router.send_multipart((route, data), zmq.NOBLOCK)
        except zmq.ZMQError:
            self.troubles[Trouble.LINK_FULL, None] += 1

    def admit(self) -> bool:
        return self._gate.serve(REQUESTS_PER_TURN)

    def close(self) -> None:
        self._router.close(linger=0)
        self._gate.close()
        self._context.term()

    def _admit(self, key: bytes) -> Verdict:
        if key in self._client_of_key:
            return Verdict.ADMITTED
        self.troubles[Trouble.UNKNOWN_KEY, None] += 1
        return Verdict.REFUSED


class Counterpart:
    """A client's side: a link to each replica, `fds` by replica to poll."""

    def __init__(self, secret: bytes, public: bytes, replicas: Sequence[tuple[str, bytes]]) -> None:
        """`replicas`: of each in turn its endpoint for clients and its X25519 public key."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._links: list[zmq.Socket[bytes]] = []
        for endpoint, key in replicas:
            link = self._context.socket(zmq.DEALER)
            introduce(link, z85.encode(public), z85.encode(secret), z85.encode(key))
            link.maxmsgsize = PACKET_BYTES_MAX + CURVE_OVERHEAD_BYTES
            link.sndhwm = link.rcvhwm = PACKETS_MAX
            link.connect(endpoint)
            self._links.append(link)
        self.fds = {descriptor(link): replica for replica, link in enumerate(self._links)}

    def say(self, replica: ReplicaId, data: bytes) -> None:
        """To a replica. A full link drops: what is not answered is said again."""
        try:
            self._links[replica].send(data, zmq.NOBLOCK)
        except zmq.Again:
            return

    def has_more(self, replica: ReplicaId) -> bool:
        """Whether something waits on a link whose descriptor may not tell of it any more."""
        return bool(int(self._links[replica].get(zmq.EVENTS)) & _POLLIN)

    def drain(self, replica: ReplicaId) -> list[bytes]:
        heard: list[bytes] = []
        while True:
            try:
                frame = self._links[replica].recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return heard
            if not frame.more:
                heard.append(frame.bytes)

    def close(self) -> None:
        for link in self._links:
            link.close(linger=0)
        self._context.term()
