"""A client of a cluster, for Python: `with Client(folder) as kv: kv.put("key", b"value")`.

One thread of its own speaks to the replicas. Operations of many threads, or of `submit`, travel
together: a request holds what came since the last one left.
"""

from __future__ import annotations

import fcntl
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, TypeAlias

from node import cluster
from node.client_links import Counterpart
from node.cluster import ClusterError, Identity
from node.effects import Reason
from node.protocols.pbft import key_value as kv
from node.protocols.pbft import wire
from node.protocols.pbft.client import Ask, ClientMachine
from node.protocols.pbft.messages import Asked, ClientId, Failed, ReplicaId

CLIENTS: Final = "clients"
#: Operations wait so long for an answer before they are given up, in seconds.
PATIENCE_S: Final = 30.0
#: Requests under way at a time: what comes meanwhile travels together in the next one.
REQUESTS_MAX: Final = 2

_OnResult: TypeAlias = Callable[[bytes | Exception], None]


class NoAnswer(Exception):  # noqa: N818 - what it says
    """Too few replicas agreed on an answer in time. The operation may still take effect."""


class Refused(Exception):  # noqa: N818
    """The service did not carry the operation out; the text says why."""


class Client:
    """A connection to a cluster. `folder` is what `byzantine up` made; without a number, the first
    client key that no other process uses. ClusterError where there is none."""

    def __init__(
        self,
        folder: str | Path,
        client: ClientId | None = None,
        *,
        patience_s: float = PATIENCE_S,
        requests_max: int = REQUESTS_MAX,
    ) -> None:
        self._patience_s = patience_s
        self._cluster = cluster.read(Path(folder))
        self.client, identity, self._lock = _take_key(
            Path(folder), len(self._cluster.customers), client
        )
        self._id = self._cluster.id
        self._machine = ClientMachine(
            client=self.client,
            configuration=self._cluster.configuration,
            authentication=cluster.client_authentication(self._cluster, identity),
            # A clock that does not run back: no timestamp is used twice.
            first=time.time_ns(),
            requests_max=requests_max,
        )
        members = [(m.client_endpoint, m.exchange_public) for m in self._cluster.members]
        self._links = Counterpart(identity.exchange_secret, identity.exchange_public, members)
        self._new: deque[tuple[bytes, bool, _OnResult]] = deque()
        self._waiting: dict[int, _OnResult] = {}
        self._bell, self._ear = os.pipe()[::-1]
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ear, False)
        self._is_rung = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="byzantine-client", daemon=True)
        self._thread.start()

    def put(self, key: str, value: bytes) -> None:
        self.call(kv.Put(key, value))

    def get(self, key: str) -> bytes | None:
        """The value of a key, None where there is none."""
        found = self.call(kv.Get(key))
        assert isinstance(found, kv.Found)
        return found.value

    def delete(self, key: str) -> bool:
        """Whether there was such a key."""
        return self.call(kv.Delete(key)) == kv.Done(True)

    def cas(self, key: str, expected: bytes | None, value: bytes) -> bool:
        """Sets a key that has the value `expected`, None for no such key; whether it had."""
        return self.call(kv.CompareAndSwap(key, expected, value)) == kv.Done(True)

    def scan(self, prefix: str = "") -> list[tuple[str, bytes]]:
        """All keys that begin so, in order. More than one answer's worth are not of one moment."""
        entries: list[tuple[str, bytes]] = []
        after = ""
        while True:
            found = self.call(kv.Scan(prefix, after))
            assert isinstance(found, kv.Entries)
            entries += found.entries
            if found.is_complete:
                return entries
            after = found.entries[-1][0]

    def submit(self, operation: bytes, *, is_read_only: bool = False) -> Future[bytes]:
        """An operation of any service; its result comes by the future, or NoAnswer, or Refused."""
        future: Future[bytes] = Future()

        def settle(result: bytes | Exception) -> None:
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        self.ask(operation, settle, is_read_only=is_read_only)
        return future

    def ask(self, operation: bytes, on_result: _OnResult, *, is_read_only: bool = False) -> None:
        """As `submit`, for many at a time: `on_result` is called in the client's own thread, and
        must neither wait nor raise."""
        if self._is_closed:
            raise ValueError("the client is closed")
        self._new.append((operation, is_read_only, on_result))
        self._ring()

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._ring()
            self._thread.join()
            self._links.close()
            os.close(self._bell)
            os.close(self._ear)
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def call(self, operation: kv.Operation) -> kv.Outcome:
        """An operation of the key-value store, and what came of it. NoAnswer, or Refused."""
        is_read_only = isinstance(operation, kv.Get | kv.Scan)
        future = self.submit(kv.encode(operation), is_read_only=is_read_only)
        try:
            outcome = kv.outcome(future.result(self._patience_s))
        except TimeoutError:
            raise NoAnswer(
                f"no {self._cluster.configuration.weak} replicas agreed on an answer in "
                f"{self._patience_s:g} s: `byzantine kv status` shows who is there"
            ) from None
        if isinstance(outcome, kv.Invalid):
            raise Refused("a key has 1 to 512 characters, a value at most 65,536 bytes")
        return outcome

    def _ring(self) -> None:
        if not self._is_rung:
            self._is_rung = True
            try:
                os.write(self._bell, b"!")
            except BlockingIOError:
                return

    # The thread.

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._ear, select.POLLIN)
        replicas = self._links.fds
        for fd in replicas:
            poll.register(fd, select.POLLIN)
        hello = wire.encode(Asked(self._id, ()))
        for replica in replicas.values():
            self._links.say(replica, hello)
        busy = set(replicas.values())
        while not self._is_closed:
            for replica in busy:
                self._hear(replica)
            self._take_new()
            now_s = time.monotonic()
            told = self._say(self._machine.flush(now_s))
            deadline_s = self._machine.deadline_s
            if deadline_s is not None and deadline_s <= now_s:
                told |= self._say(self._machine.wake(now_s))
                deadline_s = self._machine.deadline_s
            wait_ms = None if deadline_s is None else max(0, int((deadline_s - now_s) * 1e3) + 1)
            # A link's descriptor tells of a change alone: a send may have taken it in.
            busy = {replica for replica in told if self._links.has_more(replica)}
            ready = poll.poll(0 if busy else wait_ms)
            busy |= {replicas[fd] for fd, _ in ready if fd in replicas}
            if any(fd == self._ear for fd, _ in ready):
                os.read(self._ear, 4096)
                self._is_rung = False

    def _take_new(self) -> None:
        while self._new:
            operation, is_read_only, on_result = self._new.popleft()
            try:
                ticket = self._machine.submit(operation, is_read_only=is_read_only)
            except ValueError as error:
                on_result(error)
            else:
                self._waiting[ticket] = on_result

    def _hear(self, replica: ReplicaId) -> None:
        now_s = time.monotonic()
        for data in self._links.drain(replica):
            answered = wire.decode_answered(data)
            if isinstance(answered, Reason) or answered.cluster != self._id:
                continue
            for reply in answered.replies:
                done = self._machine.hear(replica, reply, now_s)
                for ticket, result in done.results.items() if done else ():
                    told = Refused(result.reason) if isinstance(result, Failed) else result
                    self._waiting.pop(ticket)(told)

    def _say(self, said: list[Ask]) -> set[ReplicaId]:
        """Says it; to whom."""
        told: set[ReplicaId] = set()
        for ask in said:
            data = wire.encode(Asked(self._id, (ask.request,)))
            for replica in ask.to:
                self._links.say(replica, data)
            told.update(ask.to)
        return told


def _take_key(
    folder: Path, count: int, wanted: ClientId | None
) -> tuple[ClientId, Identity, IO[str]]:
    """A client's key, locked so that no other process uses it at the same time."""
    if wanted is not None and not 0 <= wanted < count:
        raise ClusterError(f"there are clients 0 .. {count - 1}, and no client {wanted}")
    for client in range(count) if wanted is None else (wanted,):
        path = folder / CLIENTS / f"{client}.key"
        try:
            stream = path.open()
        except OSError as error:
            if wanted is None and isinstance(error, FileNotFoundError):
                continue
            raise ClusterError(f"{path}: {error.strerror}") from error
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            continue
        return client, cluster.read_identity(path), stream
    raise ClusterError(
        f"every client key in {folder / CLIENTS} is in use: wait, or make the cluster with "
        "`byzantine up --service kv --clients N`"
    )
