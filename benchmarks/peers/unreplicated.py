"""The limit of a replicated store: one process over the same sockets, proofs and operations.

What replication costs is what lies between this and a cluster. A request holds one operation.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import select
import time
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

import msgspec

from node.client_links import Counterpart, Door
from node.cluster import Identity
from node.protocols.pbft import key_value as kv
from node.protocols.pbft import wire
from node.protocols.pbft.authentication import (
    ClientAuthentication,
    ReplicaAuthentication,
    request_digest,
    results_digest,
)
from node.protocols.pbft.messages import Answered, Asked, Reply, Request
from node.protocols.pbft.service import Nondeterminism

CLUSTER = b"u" * 32


class _Place(msgspec.Struct, frozen=True):
    bind_host: str = "127.0.0.1"
    advertised_host: str = "127.0.0.1"
    port_first: int = 10_000
    ports: int = 20_000


class Unreplicated:
    """A store in one process, and a client of it, one operation at a time."""

    def __init__(self, is_signed: bool) -> None:
        self._is_signed = is_signed
        server, client = secrets.token_bytes(32), secrets.token_bytes(32)
        mine, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(server, client, theirs), daemon=True)
        self._process.start()
        endpoint = mine.recv()
        own, other = Identity(client), Identity(server)
        self._authentication = ClientAuthentication(
            cluster=CLUSTER, signer=own.signer, secret=own.exchange_secret,
            replicas=[other.exchange_public],
        )  # fmt: skip
        self._links = Counterpart(
            own.exchange_secret, own.exchange_public, [(endpoint, other.exchange_public)]
        )
        self._poll = select.poll()
        self._poll.register(next(iter(self._links.fds)), select.POLLIN)
        self._timestamp = time.time_ns()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.join()
        self._links.close()

    def put_and_wait(self, key: str, value: bytes) -> None:
        self._timestamp += 1
        bare = Request(0, self._timestamp, 0, (kv.encode(kv.Put(key, value)),), False)
        prove = (
            self._authentication.with_signature
            if self._is_signed
            else self._authentication.with_macs
        )
        self._links.say(0, wire.encode(Asked(CLUSTER, (prove(bare),))))
        while not (heard := self._links.drain(0)):
            self._poll.poll(100)
        answered = wire.decode_answered(heard[0])
        assert isinstance(answered, Answered)
        assert answered.replies[0].results == (kv.encode(kv.Done(True)),)


def _serve(server: bytes, client: bytes, pipe: Connection) -> None:
    own, other = Identity(server), Identity(client)
    authentication = ReplicaAuthentication(
        me=0, cluster=CLUSTER, signer=own.signer, secret=own.exchange_secret,
        replicas={0: own.signer.public},
        clients={0: (other.exchange_public, other.signer.public)},
    )  # fmt: skip
    store = kv.KeyValueStore()
    door = Door(_Place(), own.exchange_secret, {0: other.exchange_public})
    pipe.send(door.endpoint)
    poll = select.poll()
    for fd in (door.fd, door.gate_fd):
        poll.register(fd, select.POLLIN)
    parent = os.getppid()
    values = Nondeterminism(0, b"")
    while os.getppid() == parent:
        door.admit()
        heard = door.drain(256)
        for who, data in heard:
            asked = wire.decode_asked(data)
            assert isinstance(asked, Asked)
            for request in asked.requests:
                assert authentication.of_request(request, request_digest(request))
                results = tuple(store.execute(one, who, values) for one in request.operations)
                reply = Reply(0, request.timestamp, results_digest(results), results, False)
                door.tell(who, wire.encode(Answered(CLUSTER, (reply,))))
        if not heard:
            poll.poll(100)
