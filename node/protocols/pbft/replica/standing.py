"""What a replica knows and where it stands: the ground that all parts share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from node.effects import Reason
from node.protocols.pbft.authentication import Authenticity, request_digest
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.effects import Effect, Learnt, Persist, Record, Refuse, Send, SetTimer
from node.protocols.pbft.execution import Execution
from node.protocols.pbft.log import CheckpointVotes, Log
from node.protocols.pbft.messages import (
    Batch,
    ClientId,
    Commit,
    FetchBatch,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ReplicaId,
    Request,
    Snapshot,
    ViewChange,
)
from node.protocols.pbft.service import Service
from node.protocols.pbft.transfer import Transfer

STATUS, REQUEST, NEW_VIEW, COMMIT = "status", "request", "new-view", "commit"

Early: TypeAlias = PrePrepare | Prepare
#: What follows once a record is on stable storage: words to all, or a step of this replica's own.
Promise: TypeAlias = Message | Learnt | Snapshot | None
Key: TypeAlias = tuple[ClientId, int]


class Waiting(msgspec.Struct):
    """A request that is known and not yet executed. `is_direct`: from the client himself."""

    request: Request
    digest: bytes
    since_s: float
    is_direct: bool


class Standing(ABC):
    """Everything that one replica remembers. `draw` gives 16 bytes of chance for a batch."""

    def __init__(
        self,
        *,
        me: ReplicaId,
        configuration: Configuration,
        service: Callable[[], Service],
        authenticity: Authenticity,
        draw: Callable[[], bytes],
    ) -> None:
        self.me = me
        self._c = configuration
        self._authenticity = authenticity
        self._draw = draw
        self._others = tuple(r for r in range(configuration.n) if r != me)
        self._effects: list[Effect] = []
        self._now_s = 0.0
        # Requests.
        self._waiting: dict[Key, Waiting] = {}
        self._waiting_of: Counter[ClientId] = Counter()
        self._unproposed: dict[Key, Waiting] = {}
        self._reads: list[Request] = []
        #: Clients whose authenticator was good for some replicas only: they must sign.
        self.distrusted: set[ClientId] = set()
        #: Proposals with a request that may be none of its client's, and since when.
        self._doubtful: dict[int, float] = {}
        # Promises: what leaves once its record is on stable storage.
        self._ticket = 0
        self._promised: list[tuple[int, Promise]] = []
        #: Commits that wait for a message to travel with, and since when.
        self._held: list[Commit] = []
        self._held_since_s = 0.0
        self._commit_timer = False
        # Views.
        self.view = 0
        self.is_active = True
        self._attempts = 0
        self._view_change: ViewChange | None = None
        self._view_changes: dict[ReplicaId, ViewChange] = {}
        self._accused: set[ReplicaId] = set()
        self._new_view: NewView | None = None
        self._is_quorum_seen = False
        self._early: dict[ReplicaId, list[Early]] = {}
        # State.
        self._execution = Execution(service)
        genesis = self._execution.snapshot()
        self._snapshots: dict[int, Snapshot] = {0: genesis}
        self._votes = CheckpointVotes()
        self._log = Log(0, configuration.window)
        self._next = 1
        #: The digest of the last executed batch while that is only prepared here.
        self._tentative: bytes | None = None
        #: Reads wait until this is executed: clients were answered from a state with it.
        self._read_floor = 0
        self._transfer: Transfer | None = None
        self._wanted: set[bytes] = set()
        self._quiet = 0
        self._executed_at_tick = 0
        self._request_timer = False

    @property
    def executed(self) -> int:
        """The last sequence number that is executed and committed here."""
        return self._execution.sequence - (self._tentative is not None)

    @property
    def stable(self) -> int:
        return self._log.low

    @property
    def state(self) -> tuple[int, bytes]:
        """How far this replica has executed, tentatively too, and the digest of its state there."""
        return self._execution.sequence, self._execution.snapshot().digest

    @property
    def _is_primary(self) -> bool:
        return self._c.primary(self.view) == self.me

    def _is_of_now(self, view: int) -> bool:
        return view == self.view and self.is_active

    # Requests that wait for their execution.

    def _wait_for(self, key: Key, request: Request, digest: bytes, *, is_direct: bool) -> Waiting:
        waiting = self._waiting[key] = Waiting(request, digest, self._now_s, is_direct)
        self._waiting_of[key[0]] += 1
        return waiting

    def _wait_for_all(self, batch: Batch) -> None:
        """What is proposed waits for its execution, and for no other proposal."""
        for request in batch.requests:
            key = (request.client, request.timestamp)
            if key not in self._waiting and not self._execution.is_over(*key):
                self._wait_for(key, request, request_digest(request), is_direct=False)
            self._unproposed.pop(key, None)

    def _wait_no_more(self, key: Key) -> None:
        self._unproposed.pop(key, None)
        if self._waiting.pop(key, None) is not None:
            self._waiting_of[key[0]] -= 1

    # A backup's patience (1999, section 4.4).

    def _arm_request_timer(self) -> None:
        """A backup waits so long for the request that it has known longest."""
        if not self._request_timer and self.is_active and not self._is_primary:
            self._request_timer = True
            self._set_timer(REQUEST, self._patience_s, "1999-4.4 request timer")

    @property
    def _patience_s(self) -> float:
        """Doubled for every view but the first that came to nothing (1999, section 4.5.2)."""
        return self._c.timeout_s * float(1 << min(max(self._attempts - 1, 0), 16))

    # Promises: a message leaves when its record is on stable storage.

    def _promise(self, records: tuple[Record, ...], message: Promise, rule: str) -> None:
        """The message leaves when its records, and all before them, are on stable storage."""
        self._persist(records, rule)
        self._promised.append((self._ticket, message))
        if not self._c.is_durable:
            self._keep_promises(self._ticket)

    def _persist(self, records: tuple[Record, ...], rule: str) -> None:
        self._ticket += 1
        if self._c.is_durable:
            self._effects.append(Persist(self._ticket, records, rule))

    def _keep_promises(self, ticket: int) -> None:
        while self._promised and self._promised[0][0] <= ticket:
            _, message = self._promised.pop(0)
            if message is not None:
                self._say(message)

    def _is_said(self) -> bool:
        """Whether every promise so far is kept: nothing is said again before it was said."""
        return not self._promised

    # Asking.

    def _send(self, to: tuple[ReplicaId, ...], message: Message, rule: str) -> None:
        self._effects.append(Send(to, message, rule))

    def _set_timer(self, name: str, after_s: float, rule: str) -> None:
        self._effects.append(SetTimer(name, after_s, rule))

    def _refuse(self, sender: ReplicaId | None, reason: Reason, rule: str) -> None:
        self._effects.append(Refuse(sender, reason, rule))

    def _want(self, digest: bytes) -> None:
        """A batch that is known by its digest alone is asked for."""
        if digest not in self._wanted:
            self._wanted.add(digest)
            self._send(self._others, FetchBatch(digest), "2002-5.2 fetch batch")

    def _piggyback(self, commit: Commit) -> None:
        """A commit leaves with the next pre-prepare or prepare, or alone once it has waited long
        enough (Castro 2001, section 5.1.2): the clients were answered before it."""
        if not self._held:
            self._held_since_s = self._now_s
        self._held.append(commit)
        is_last = commit.sequence + 1 not in self._log.slots
        if not (is_last and self._c.has_early_answers) or self._reads:
            self._send_commits()
        elif not self._commit_timer:
            self._commit_timer = True
            self._set_timer(COMMIT, self._c.commit_s, "2001-5.1.2 commit timer")

    def _send_commits(self) -> None:
        held, self._held = self._held, []
        for commit in held:
            self._send(self._others, commit, "1999-4.2 commit")

    def _collect(self, low: int) -> None:
        """Forgets what a stable checkpoint replaces."""
        self._log.collect(low)
        self._next = max(self._next, low + 1)
        self._doubtful = {n: since for n, since in self._doubtful.items() if n > low}

    # What the later parts do, and an earlier one asks for.

    @abstractmethod
    def _hear(self, sender: ReplicaId, message: Message) -> None:
        """A message of the replica that the transport proved."""

    @abstractmethod
    def _say(self, message: Message | Learnt | Snapshot) -> None:
        """What was promised, and is on stable storage, is said and counts."""

    @abstractmethod
    def _execute(self) -> None:
        """Carries out, in order, what is committed."""

    @abstractmethod
    def _clear_doubts(self, digest: bytes) -> None:
        """A request has turned out to be its client's."""
