"""Requests and replies (1999, sections 4.1 and 4.2), and reads (2002, section 5.1.3)."""

from __future__ import annotations

from node.effects import Reason
from node.protocols.pbft.authentication import request_digest, results_digest
from node.protocols.pbft.effects import Answer
from node.protocols.pbft.execution import Results
from node.protocols.pbft.messages import (
    CLIENT_WINDOW,
    OPERATIONS_MAX,
    REQUEST_BYTES_MAX,
    ReplicaId,
    Reply,
    Request,
)
from node.protocols.pbft.replica.checkpoints import Checkpoints
from node.protocols.pbft.replica.standing import Key


class Requests(Checkpoints):
    """What clients ask, and what they are told."""

    def _hear_request(self, request: Request, forwarder: ReplicaId | None) -> None:
        rule = "1999-4.1 request"
        if not 0 < len(request.operations) <= OPERATIONS_MAX or request.timestamp == 0:
            return self._refuse(forwarder, Reason.BAD_SHAPE, rule)
        if sum(map(len, request.operations)) > REQUEST_BYTES_MAX:
            return self._refuse(forwarder, Reason.OVERSIZE, rule)
        key = (request.client, request.timestamp)
        known = self._waiting.get(key)
        if self._execution.is_over(*key) and not request.is_read_only:
            self._answer_again(key)
            if known is None:
                return None
        digest = request_digest(request)
        if not self._is_authentic(request, digest, forwarder):
            return self._refuse(forwarder, Reason.NOT_AUTHENTIC, rule)
        if request.is_read_only:
            return self._read(request) if forwarder is None else None
        if not request.signature and not self._is_primary:
            # Only what every replica can verify may set a backup against the primary.
            return None
        if known is None:
            self._take_request(key, request, digest, is_direct=forwarder is None)
        elif known.digest == digest:
            known.is_direct |= forwarder is None
            if request.signature:
                # From now on everybody can tell that it is the client's.
                known.request = request
        self._clear_doubts(digest)
        if forwarder is None and not self._is_primary and self.is_active:
            self._send((self._c.primary(self.view),), request, "1999-4.1 forward")
        return None

    def _is_authentic(self, request: Request, digest: bytes, sender: ReplicaId | None) -> bool:
        if not request.signature and request.client in self.distrusted:
            return False
        return self._authenticity.of_request(request, digest)

    def _take_request(self, key: Key, request: Request, digest: bytes, *, is_direct: bool) -> None:
        """Notes a request that is to be executed: at most a window of each client's, and another of
        those that are answered and not yet committed."""
        if self._waiting_of[key[0]] >= 2 * CLIENT_WINDOW:
            return
        waiting = self._wait_for(key, request, digest, is_direct=is_direct)
        self._unproposed[key] = waiting
        self._arm_request_timer()

    def _answer_again(self, key: Key) -> None:
        """A request that was executed is answered with what was kept (1999, section 4.1)."""
        results = self._execution.answer(*key)
        if results is not None:
            is_tentative = self._tentative is not None
            reply = self._reply(key[1], results, is_full=True, is_tentative=is_tentative)
            self._effects.append(Answer(key[0], reply, "1999-4.1 reply again"))

    def _reply(
        self, timestamp: int, results: Results, *, is_full: bool, is_tentative: bool
    ) -> Reply:
        """One replica's answer: the full results from one of all, a digest from the others."""
        is_mine = self._c.sender(timestamp) == self.me
        shown = results if is_full or is_mine or not self._c.has_digest_replies else None
        return Reply(self.view, timestamp, results_digest(results), shown, is_tentative)

    def _read(self, request: Request) -> None:
        """A read-only request is answered from the committed state (2002, section 5.1.3)."""
        rule = "2002-5.1.3 read-only"
        if not self._c.has_read_only:
            return self._refuse(None, Reason.NOT_AWAITED, rule)
        if self._tentative is not None or self.executed < self._read_floor:
            self._send_commits()
            if len(self._reads) < 2 * CLIENT_WINDOW:
                self._reads.append(request)
            return None
        results = self._execution.read(request)
        if results is None:
            return self._refuse(None, Reason.BAD_VALUE, rule)
        reply = self._reply(request.timestamp, results, is_full=False, is_tentative=True)
        self._effects.append(Answer(request.client, reply, rule))
        return None

    def _read_now(self) -> None:
        if self._reads and self.executed >= self._read_floor:
            reads, self._reads = self._reads, []
            for request in reads:
                self._read(request)
