"""The first seed's way to speak: a gRPC server a general, one unary call a path, in true OM(m).

A call carries one order over one path. Its handler keeps the order and calls on everyone who is not
yet on the path before it answers, so when the commander's calls have returned every message of the
paper has been carried. *Sequential* generals finish one call before the next, as the seed did;
*concurrent* ones start the calls on all receivers at once and then wait for all of them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

import grpc

from benchmarks.peers.message_by_message import (
    ATTACK,
    COMMANDER,
    RETREAT,
    Path,
    om_3,
    paper_messages,
    parity,
)
from benchmarks.peers.team import PATIENCE_S, Team, receive

METHOD = "/byzantine.General/Say"
#: A proxy of the host's is not for calls to itself; a port is one server's only.
CHANNEL_OPTIONS = (("grpc.enable_http_proxy", 0),)
SERVER_OPTIONS = (("grpc.so_reuseport", 0),)
THREADS_FOR_LEAVES = 8
ORDERS = (RETREAT, ATTACK)


@dataclass(frozen=True)
class GrpcRun:
    """One agreement: the commander's seconds, the calls that all generals answered, who decided."""

    seconds: float
    calls: int
    decisions: dict[int, str]


class GrpcGenerals:
    """n generals, their servers up and every channel ready, for as many runs as are wanted."""

    def __init__(self, n: int, m: int, traitors: Iterable[int] = ()) -> None:
        if n > 256:
            raise ValueError("a general's number travels in one byte")
        # gRPC's threads do not survive a fork: each general is a new interpreter.
        self._team = Team(n, _member, n, m, frozenset(traitors), start="spawn")

    def __enter__(self) -> Self:
        self._team.__enter__()
        try:
            self._team.tell(self._team.gather())
            self._team.gather()
        except BaseException as error:
            self._team.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if error is None:
            self._team.tell(None)
        self._team.__exit__(kind, error, at)

    def agree(self, order: str, *, concurrent: bool) -> GrpcRun:
        """One run of OM(m). The seconds are from the commander's first call to the last decision.

        A lieutenant decides within the call that brings him his last message.
        """
        self._team.tell(_Reset(concurrent))
        self._team.gather()
        seconds = self._team.ask(COMMANDER, _Command(order))
        self._team.tell(_Report())
        reports = self._team.gather()
        return GrpcRun(
            seconds=seconds,
            calls=sum(calls for calls, _ in reports),
            decisions={COMMANDER: order}
            | {me: decided for me, (_, decided) in enumerate(reports) if me != COMMANDER},
        )


def grpc_generals(
    n: int = 10,
    m: int = 3,
    order: str = ATTACK,
    traitors: Iterable[int] = (),
    *,
    concurrent: bool,
) -> GrpcRun:
    """One run with its own generals; starting them is not in its seconds."""
    with GrpcGenerals(n, m, traitors) as generals:
        return generals.agree(order, concurrent=concurrent)


@dataclass(frozen=True)
class _Reset:
    concurrent: bool


@dataclass(frozen=True)
class _Command:
    order: str


@dataclass(frozen=True)
class _Report:
    pass


class _General:
    """A server for what others say, a stub to each of them, and what was heard in this run."""

    def __init__(self, me: int, n: int, m: int, traitors: frozenset[int]) -> None:
        self._me, self._n, self._m = me, n, m
        self._tell = parity(traitors)
        self._owed = paper_messages(n, m) // (n - 1)
        self._lock = threading.Lock()
        self._channels: list[grpc.Channel] = []
        self._stubs: dict[int, Any] = {}
        self.reset(concurrent=False)
        # A handler waits for the calls that it makes, unless its path is a leaf. With more threads
        # than a general has inner paths, one is always left for a leaf and nobody waits for ever.
        inner_paths = self._owed - math.perm(n - 2, m)
        threads = ThreadPoolExecutor(max_workers=inner_paths + THREADS_FOR_LEAVES)
        self._server = grpc.server(threads, options=SERVER_OPTIONS)
        handler: Any = grpc.unary_unary_rpc_method_handler(self._hear)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("byzantine.General", {"Say": handler}),)
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def reset(self, *, concurrent: bool) -> None:
        self._concurrent = concurrent
        self._heard: dict[Path, str] = {}
        self.calls = 0
        self.decision: str | None = None

    def connect(self, ports: list[int]) -> None:
        for peer, port in enumerate(ports):
            if peer != self._me:
                channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS)
                grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
                self._channels.append(channel)
                self._stubs[peer] = channel.unary_unary(METHOD)

    def command(self, order: str) -> float:
        start = time.monotonic()
        self._say((COMMANDER,), order)
        return time.monotonic() - start

    def close(self) -> None:
        for channel in self._channels:
            channel.close()
        # A moment's grace, so that the peers are told of an end in order and log no error.
        self._server.stop(grace=1.0).wait(PATIENCE_S)

    def _hear(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        order, path = ORDERS[request[0]], tuple(request[1:])
        with self._lock:
            self._heard[path] = order
            self.calls += 1
            complete = self.calls == self._owed
        if complete:
            self.decision = om_3(self._me, (COMMANDER,), self._m, self._n, self._heard)
        if len(path) <= self._m:
            self._say((*path, self._me), order)
        return b""

    def _say(self, path: Path, order: str) -> None:
        calls = []
        for peer, stub in self._stubs.items():
            if peer not in path:
                told = self._tell(path, peer, order)
                request = bytes((ORDERS.index(told), *path))
                if self._concurrent:
                    calls.append(stub.future(request, timeout=PATIENCE_S))
                else:
                    stub(request, timeout=PATIENCE_S)
        for call in calls:
            call.result()


def _member(me: int, link: Connection, n: int, m: int, traitors: frozenset[int]) -> None:
    general = _General(me, n, m, traitors)
    link.send(general.port)
    general.connect(receive(link))
    link.send("ready")
    try:
        _obey(general, link)
    finally:
        general.close()


def _obey(general: _General, link: Connection) -> None:
    # No deadline: while this team is idle others are measured. If the caller dies, the pipe ends.
    while (task := link.recv()) is not None:
        match task:
            case _Reset(concurrent):
                general.reset(concurrent=concurrent)
                link.send("ready")
            case _Command(order):
                link.send(general.command(order))
            case _Report():
                link.send((general.calls, general.decision))
