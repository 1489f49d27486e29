"""A client of PBFT, a pure machine (1999, section 4.1; 2002, section 5.1).

Operations that come while enough requests are under way travel together in the next one. A result
counts once f + 1 replicas gave it, 2f + 1 where replicas may answer before a batch is committed or
where reads are not ordered: two such quorums have a correct replica in common, so that no read can
miss what an earlier write was answered.
"""

from __future__ import annotations

from collections import deque

import msgspec

from node.protocols.pbft.authentication import ClientAuthentication, results_digest
from node.protocols.pbft.configuration import Authentication, Configuration
from node.protocols.pbft.messages import (
    CLIENT_WINDOW,
    OPERATIONS_MAX,
    REQUEST_BYTES_MAX,
    ClientId,
    ReplicaId,
    Reply,
    Request,
    Result,
)

#: The retransmission timeout at first, and between which bounds it adapts, in seconds.
TIMEOUT_S = 0.25
TIMEOUT_S_MIN = 0.02
TIMEOUT_S_MAX = 2.0
#: A replica that owed a result and did not send it is asked for none for so long, in seconds.
AVOIDED_S = 1.0


class Ask(msgspec.Struct, frozen=True):
    """The request is to be said to each of `to`."""

    to: tuple[ReplicaId, ...]
    request: Request


class Finished(msgspec.Struct, frozen=True):
    """What the operations of one request gave, by their tickets."""

    results: dict[int, Result]


class _Operation(msgspec.Struct):
    ticket: int
    data: bytes


class _UnderWay(msgspec.Struct):
    operations: list[_Operation]
    request: Request
    said_s: float
    deadline_s: float
    attempts: int = 0
    votes: dict[ReplicaId, tuple[bytes, bool]] = {}
    views: dict[ReplicaId, int] = {}
    results: dict[bytes, tuple[Result, ...]] = {}


class ClientMachine:
    """One client. `first` is a timestamp above all that he ever used."""

    def __init__(
        self,
        *,
        client: ClientId,
        configuration: Configuration,
        authentication: ClientAuthentication,
        first: int,
        requests_max: int = 4,
    ) -> None:
        self._client = client
        self._c = configuration
        self._authentication = authentication
        self._timestamp = first
        self._requests_max = min(requests_max, CLIENT_WINDOW)
        self._all = tuple(range(configuration.n))
        self._queue: deque[_Operation] = deque()
        self._reads: deque[_Operation] = deque()
        self._under_way: dict[int, _UnderWay] = {}
        #: Replicas that owed a result and did not send it, and until when they are asked for none.
        self._avoided: dict[ReplicaId, float] = {}
        self._tickets = 0
        self._smooth_s = 0.0
        self._spread_s = 0.0
        self.view = 0
        self.retransmissions = 0

    @property
    def is_idle(self) -> bool:
        return not (self._under_way or self._queue or self._reads)

    @property
    def deadline_s(self) -> float | None:
        """When something is to be said again, on the clock of `at_s`."""
        return min((one.deadline_s for one in self._under_way.values()), default=None)

    @property
    def timeout_s(self) -> float:
        """Adaptive, after what replies took of late (Jacobson 1988).

        At most a quarter of the view-change timeout, which begins when the backups hear of it.
        """
        if not self._smooth_s:
            return min(TIMEOUT_S, self._timeout_s_max)
        return min(max(self._smooth_s + 4 * self._spread_s, TIMEOUT_S_MIN), self._timeout_s_max)

    @property
    def _timeout_s_max(self) -> float:
        return max(self._c.timeout_s / 4, TIMEOUT_S_MIN)

    def submit(self, operation: bytes, *, is_read_only: bool = False) -> int:
        """Queues an operation; the ticket under which its result will come. ValueError: too big."""
        if len(operation) > REQUEST_BYTES_MAX:
            raise ValueError(f"an operation has at most {REQUEST_BYTES_MAX} bytes")
        self._tickets += 1
        queue = self._reads if is_read_only and self._c.has_read_only else self._queue
        queue.append(_Operation(self._tickets, operation))
        return self._tickets

    def flush(self, at_s: float) -> list[Ask]:
        """Says what waits, as far as there is room for another request.

        Replicas keep a window of a client's answers and execute nothing below it: no request may
        run ahead of one that is under way by more than that, or the older one would be lost.
        """
        said = []
        while (
            self._queue
            and len(self._under_way) < self._requests_max
            and (following := self._next(at_s)) - self._oldest(following) < CLIENT_WINDOW
        ):
            said.append(self._say(self._queue, at_s, is_read_only=False))
        while self._reads and len(self._under_way) < self._requests_max:
            said.append(self._say(self._reads, at_s, is_read_only=True))
        return said

    def hear(self, replica: ReplicaId, reply: Reply, at_s: float) -> Finished | None:
        """Counts one replica's answer; the results, if they are certain with it."""
        one = self._under_way.get(reply.timestamp)
        if one is None or replica not in self._all:
            return None
        if reply.results is not None:
            is_fit = len(reply.results) == len(one.operations)
            if not is_fit or results_digest(reply.results) != reply.digest:
                return None
            one.results[reply.digest] = reply.results
        one.votes[replica] = (reply.digest, reply.is_tentative)
        one.views[replica] = reply.view
        results = self._certain(one)
        if results is None:
            return None
        self._finish(one, at_s)
        tickets = [operation.ticket for operation in one.operations]
        return Finished(dict(zip(tickets, results, strict=True)))

    def wake(self, at_s: float) -> list[Ask]:
        """Says again, to all and under a signature, what has waited too long."""
        said = []
        for one in list(self._under_way.values()):
            if one.deadline_s > at_s:
                continue
            self.retransmissions += 1
            self._avoided[self._c.sender(one.request.timestamp)] = at_s + AVOIDED_S
            one.attempts += 1
            if one.request.is_read_only:
                # Replies differ, or are too few: the read is ordered like any other request.
                del self._under_way[one.request.timestamp]
                self._queue.extend(one.operations)
                continue
            wait_s = self.timeout_s * (1 << min(one.attempts, 6))
            one.deadline_s = at_s + min(wait_s, TIMEOUT_S_MAX)
            one.request = self._authentication.with_signature(one.request)
            said.append(Ask(self._all, one.request))
        return said + self.flush(at_s)

    def _say(self, queue: deque[_Operation], at_s: float, *, is_read_only: bool) -> Ask:
        taken: list[_Operation] = []
        size = 0
        while queue and len(taken) < OPERATIONS_MAX:
            size += len(queue[0].data)
            if taken and size > REQUEST_BYTES_MAX:
                break
            taken.append(queue.popleft())
        self._timestamp = self._next(at_s)
        bare = Request(
            self._client,
            self._timestamp,
            self._oldest(self._timestamp) - 1,
            tuple(operation.data for operation in taken),
            is_read_only,
        )
        if self._c.authentication is Authentication.MACS:
            request = self._authentication.with_macs(bare)
        else:
            request = self._authentication.with_signature(bare)
        one = _UnderWay(taken, request, at_s, at_s + self.timeout_s, votes={}, views={}, results={})
        self._under_way[self._timestamp] = one
        to = self._all if is_read_only else (self._c.primary(self.view),)
        return Ask(to, request)

    def _next(self, at_s: float) -> int:
        """The next timestamp. It says who sends the result: nobody who did not, of late."""
        following = range(self._timestamp + 1, self._timestamp + 1 + self._c.n)
        return next(
            (t for t in following if self._avoided.get(self._c.sender(t), 0.0) <= at_s),
            self._timestamp + 1,
        )

    def _oldest(self, default: int) -> int:
        """The first of the timestamps that are to be ordered and are under way."""
        ordered = (t for t, one in self._under_way.items() if not one.request.is_read_only)
        return min(ordered, default=default)

    def _certain(self, one: _UnderWay) -> tuple[Result, ...] | None:
        """The results that enough replicas gave, once one of them has shown them in full."""
        counts: dict[bytes, tuple[int, int]] = {}
        for digest, is_tentative in one.votes.values():
            every, final = counts.get(digest, (0, 0))
            counts[digest] = (every + 1, final + (not is_tentative))
        for digest, (every, final) in counts.items():
            # Where reads are not ordered, f + 1 final answers could be unknown to a reader.
            is_final = final >= self._c.weak and not self._c.has_read_only
            if (is_final or every >= self._c.quorum) and digest in one.results:
                return one.results[digest]
        return None

    def _finish(self, one: _UnderWay, at_s: float) -> None:
        del self._under_way[one.request.timestamp]
        # One of f + 1 replicas is correct about the view it is in.
        views = sorted(one.views.values(), reverse=True)
        if len(views) >= self._c.weak:
            self.view = max(self.view, views[self._c.weak - 1])
        if one.attempts == 0:
            took_s = at_s - one.said_s
            if not self._smooth_s:
                self._smooth_s, self._spread_s = took_s, took_s / 2
            self._spread_s += (abs(took_s - self._smooth_s) - self._spread_s) / 4
            self._smooth_s += (took_s - self._smooth_s) / 8
