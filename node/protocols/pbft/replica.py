"""One replica of PBFT, a pure machine: `on_event(event) -> list[Effect]`.

Rules are methods named after the paper's words, and their labels are in the effects. Whatever a
replica promises others is first a record on stable storage: `_promise` asks for the record to be
persisted, and the message leaves, and counts as this replica's own, when `Persisted` comes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeVar, assert_never

import msgspec

from node.effects import Reason
from node.protocols.pbft.authentication import (
    Authenticity,
    batch_digest,
    request_digest,
    results_digest,
)
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.effects import (
    Accuse,
    Answer,
    CancelTimer,
    Effect,
    Executed,
    Learnt,
    Moved,
    Persist,
    Prepared,
    PrePrepared,
    Record,
    Refuse,
    Restored,
    Send,
    SetTimer,
    Stable,
    Taken,
    ViewEntered,
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
from node.protocols.pbft.execution import Execution, Results
from node.protocols.pbft.log import CheckpointVotes, Log, Slot
from node.protocols.pbft.messages import (
    CLIENT_WINDOW,
    NULL,
    OPERATIONS_MAX,
    REQUEST_BYTES_MAX,
    Batch,
    BatchFound,
    Checkpoint,
    ClientId,
    Commit,
    FetchBatch,
    FetchManifest,
    FetchPage,
    Manifest,
    Message,
    NewView,
    Page,
    Prepare,
    PrePrepare,
    ReplicaId,
    Reply,
    Request,
    Settled,
    Snapshot,
    Status,
    ViewChange,
)
from node.protocols.pbft.service import Service
from node.protocols.pbft.transfer import Transfer
from node.protocols.pbft.view_change import CHECKPOINTS_MAX, choose, is_justified, is_well_formed

T = TypeVar("T")

STATUS, REQUEST, NEW_VIEW = "status", "request", "new-view"

#: A replica that lacks nothing says where it stands in every so many-th status period only.
QUIET_PERIODS = 10
#: Sequence numbers that are said again for one who lacks them, a status.
RESENT_MAX = 64
#: Messages of one sender that are kept for a view which this replica has not entered yet.
EARLY_MAX = 64

_Early = PrePrepare | Prepare
#: What follows once a record is on stable storage: words to all, or a step of this replica's own.
_Promise = Message | Learnt | Snapshot | None
_Key = tuple[ClientId, int]


class Recovered(msgspec.Struct):
    """What a replica had written down before it was started again."""

    view: int = 0
    view_change: ViewChange | None = None
    new_view: NewView | None = None
    prepared: dict[int, tuple[bytes, int]] = {}
    pre_prepared: dict[int, dict[bytes, int]] = {}
    batches: dict[bytes, Batch] = {}
    stable: int = 0
    #: The last number that was prepared, or executed, here.
    learnt: int = 0
    snapshots: dict[int, Snapshot] = {}


class Waiting(msgspec.Struct):
    """A request that is known and not yet executed. `is_direct`: from the client himself."""

    request: Request
    digest: bytes
    since_s: float
    is_direct: bool


class Replica:
    """A replica of one cluster. `draw` gives 16 bytes of chance for a batch."""

    def __init__(
        self,
        *,
        me: ReplicaId,
        configuration: Configuration,
        service: Callable[[], Service],
        authenticity: Authenticity,
        draw: Callable[[], bytes],
        recovered: Recovered | None = None,
    ) -> None:
        self.me = me
        self._c = configuration
        self._authenticity = authenticity
        self._draw = draw
        self._make_service = service
        self._others = tuple(r for r in range(configuration.n) if r != me)
        self._effects: list[Effect] = []
        self._now_s = 0.0
        # Requests.
        self._waiting: dict[_Key, Waiting] = {}
        self._waiting_of: Counter[ClientId] = Counter()
        self._unproposed: dict[_Key, Waiting] = {}
        self._reads: list[Request] = []
        #: Clients whose authenticator was good for some replicas only: they must sign.
        self.distrusted: set[ClientId] = set()
        #: Proposals with a request that may be none of its client's, and since when.
        self._doubtful: dict[int, float] = {}
        # Promises: what leaves once its record is on stable storage.
        self._ticket = 0
        self._promised: list[tuple[int, _Promise]] = []
        # Views.
        self.view = 0
        self.is_active = True
        self._attempts = 0
        self._view_change: ViewChange | None = None
        self._view_changes: dict[ReplicaId, ViewChange] = {}
        self._accused: set[ReplicaId] = set()
        self._new_view: NewView | None = None
        self._is_quorum_seen = False
        self._early: dict[ReplicaId, list[_Early]] = {}
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
        if recovered is not None:
            self._recover(recovered)

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

    def on_event(self, event: Event) -> list[Effect]:
        self._now_s = event.at_s
        match event:
            case Received():
                self._hear(event.sender, event.message)
            case Requested():
                self._hear_request(event.request, None)
            case TurnEnded():
                self._propose()
            case Persisted():
                self._keep_promises(event.ticket)
            case TimerFired():
                self._wake(event.name)
            case Started():
                self._start()
            case _:
                assert_never(event)
        effects, self._effects = self._effects, []
        return effects

    def _hear(self, sender: ReplicaId, message: Message) -> None:
        match message:
            case Prepare():
                self._hear_prepare(sender, message)
            case Commit():
                self._hear_commit(sender, message)
            case PrePrepare():
                self._hear_pre_prepare(sender, message)
            case Request():
                self._hear_request(message, sender)
            case Checkpoint():
                self._hear_checkpoint(sender, message)
            case ViewChange():
                self._hear_view_change(sender, message)
            case NewView():
                self._hear_new_view(sender, message)
            case Status():
                self._hear_status(sender, message)
            case FetchBatch():
                self._hear_fetch_batch(sender, message)
            case BatchFound():
                self._hear_batch_found(sender, message)
            case FetchManifest():
                self._hear_fetch_manifest(sender, message)
            case FetchPage():
                self._hear_fetch_page(sender, message)
            case Settled():
                self._hear_settled(sender, message)
            case Manifest() | Page():
                self._hear_state(sender, message)
            case _:
                assert_never(message)

    def _wake(self, name: str) -> None:
        if name == STATUS:
            self._tell_status()
        elif name == REQUEST:
            self._suspect_primary()
        elif name == NEW_VIEW and not self.is_active:
            self._begin_view_change(self.view + 1, "1999-4.4 new-view timeout")

    # Request (1999, sections 4.1 and 4.2).

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

    def _take_request(self, key: _Key, request: Request, digest: bytes, *, is_direct: bool) -> None:
        """Notes a request that is to be executed, at most a window of each client's."""
        if self._waiting_of[key[0]] >= CLIENT_WINDOW:
            return
        waiting = self._wait_for(key, request, digest, is_direct=is_direct)
        self._unproposed[key] = waiting
        self._arm_request_timer()

    def _wait_for(self, key: _Key, request: Request, digest: bytes, *, is_direct: bool) -> Waiting:
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

    def _wait_no_more(self, key: _Key) -> None:
        self._unproposed.pop(key, None)
        if self._waiting.pop(key, None) is not None:
            self._waiting_of[key[0]] -= 1

    def _answer_again(self, key: _Key) -> None:
        """A request that was executed is answered with what was kept (1999, section 4.1)."""
        results = self._execution.answer(*key)
        if results is not None:
            is_tentative = self._tentative is not None
            reply = self._reply(key[1], results, is_full=True, is_tentative=is_tentative)
            self._effects.append(Answer(key[0], reply, "1999-4.1 reply again"))

    def _read(self, request: Request) -> None:
        """A read-only request is answered from the committed state (2002, section 5.1.3)."""
        rule = "2002-5.1.3 read-only"
        if not self._c.has_read_only:
            return self._refuse(None, Reason.NOT_AWAITED, rule)
        if self._tentative is not None or self.executed < self._read_floor:
            if len(self._reads) < 2 * CLIENT_WINDOW:
                self._reads.append(request)
            return None
        results = self._execution.read(request)
        if results is None:
            return self._refuse(None, Reason.BAD_VALUE, rule)
        reply = self._reply(request.timestamp, results, is_full=False, is_tentative=True)
        self._effects.append(Answer(request.client, reply, rule))
        return None

    # Pre-prepare (1999, section 4.2).

    @property
    def _is_primary(self) -> bool:
        return self._c.primary(self.view) == self.me

    def _propose(self) -> None:
        """The primary gives the next numbers to what came together."""
        if not (self._unproposed and self.is_active and self._is_primary):
            return
        under_way = self._c.pipeline if self._c.has_batching else self._c.window
        while (
            self._unproposed
            and self._log.is_within(self._next)
            and self._next - 1 - self.executed < under_way
        ):
            self._pre_prepare(self._next_batch())

    def _next_batch(self) -> list[Waiting]:
        requests_max = self._c.batch_requests_max if self._c.has_batching else 1
        taken: list[Waiting] = []
        size = 0
        for waiting in self._unproposed.values():
            size += 64 + sum(map(len, waiting.request.operations))
            if taken and (len(taken) == requests_max or size > self._c.batch_bytes_max):
                break
            taken.append(waiting)
        for waiting in taken:
            del self._unproposed[waiting.request.client, waiting.request.timestamp]
        return taken

    def _pre_prepare(self, taken: list[Waiting]) -> None:
        time_ns = int(self._now_s * 1e9)
        batch = Batch(time_ns, self._draw(), tuple(w.request for w in taken))
        digest = batch_digest(batch, [w.digest for w in taken])
        sequence, self._next = self._next, self._next + 1
        slot = self._log.slot(sequence)
        slot.digest = digest
        self._enter(slot, sequence, digest, batch)
        record = PrePrepared(self.view, sequence, digest, batch)
        self._promise((record,), PrePrepare(self.view, sequence, batch), "1999-4.2 pre-prepare")

    def _hear_pre_prepare(self, sender: ReplicaId, message: PrePrepare) -> None:
        rule = "1999-4.2 pre-prepare"
        if sender != self._c.primary(message.view):
            return self._refuse(sender, Reason.NOT_PRIMARY, rule)
        if self._is_early(message.view):
            return self._keep_early(sender, message)
        if message.view != self.view:
            return self._refuse(sender, Reason.BAD_VIEW, rule)
        if not self._log.is_within(message.sequence):
            return self._refuse(sender, Reason.OUTSIDE_WATERMARKS, rule)
        batch = message.batch
        if not 0 < len(batch.requests) <= self._c.batch_requests_max:
            return self._refuse(sender, Reason.BAD_SHAPE, rule)
        digests = [request_digest(request) for request in batch.requests]
        digest = batch_digest(batch, digests)
        slot = self._log.slot(message.sequence)
        if slot.digest is not None:
            if slot.digest != digest:
                self._refuse(sender, Reason.CONFLICTING, rule)
            elif not slot.accepted:
                # The content, or a signature, that was missing may have come with it.
                self._reconsider(slot, message.sequence, batch, digests)
            return None
        if abs(batch.time_ns * 1e-9 - self._now_s) > self._c.clock_skew_s:
            return self._refuse(sender, Reason.BAD_VALUE, "1999-4.6 nondeterminism")
        slot.digest = digest
        return self._reconsider(slot, message.sequence, batch, digests)

    def _reconsider(self, slot: Slot, sequence: int, batch: Batch, digests: list[bytes]) -> None:
        """Accepts a proposal unless a request in it may be none of its client's."""
        assert slot.digest is not None
        self._log.keep(slot.digest, batch)
        slot.doubts = {
            digest
            for request, digest in zip(batch.requests, digests, strict=True)
            if not self._is_known(request, digest)
        }
        if not slot.doubts or self._is_vouched_for(slot):
            self._accept(slot, sequence, slot.digest, batch)
        else:
            self._doubtful.setdefault(sequence, self._now_s)
            self._distrust(batch, digests, slot.doubts)
        return

    def _is_known(self, request: Request, digest: bytes) -> bool:
        waiting = self._waiting.get((request.client, request.timestamp))
        if waiting is not None and waiting.digest == digest:
            return True
        return self._authenticity.of_request(request, digest)

    def _is_vouched_for(self, slot: Slot) -> bool:
        """f + 1 backups prepared it: one of them is correct and could tell (2002, section 5.2)."""
        return sum(d == slot.digest for d in slot.prepares.values()) >= self._c.weak

    def _distrust(self, batch: Batch, digests: list[bytes], doubts: set[bytes]) -> None:
        """Client or primary lies. From now on such a client has to sign, which all can verify."""
        for request, digest in zip(batch.requests, digests, strict=True):
            if digest in doubts:
                self.distrusted.add(request.client)
        self._refuse(self._c.primary(self.view), Reason.NOT_AUTHENTIC, "2002-3 authenticator")
        self._arm_request_timer()

    def _clear_doubts(self, digest: bytes) -> None:
        """A request has turned out to be its client's: what waited for that is accepted."""
        for sequence in tuple(self._doubtful):
            slot = self._log.slot(sequence)
            if digest in slot.doubts:
                slot.doubts.discard(digest)
                batch = self._log.batch(slot.digest or NULL)
                if not slot.doubts and slot.digest is not None and batch is not None:
                    self._accept(slot, sequence, slot.digest, batch)

    def _accept(self, slot: Slot, sequence: int, digest: bytes, batch: Batch) -> None:
        """A backup accepts the primary's word, and says so to all (1999, section 4.2)."""
        slot.doubts = set()
        self._doubtful.pop(sequence, None)
        self._enter(slot, sequence, digest, batch)
        self._wait_for_all(batch)
        self._arm_request_timer()
        record = PrePrepared(self.view, sequence, digest, batch)
        prepare = None if self._is_primary else Prepare(self.view, sequence, digest)
        self._promise((record,), prepare, "1999-4.2 prepare")
        self._check_prepared(slot, sequence)
        self._check_committed(slot, sequence)

    def _enter(self, slot: Slot, sequence: int, digest: bytes, batch: Batch) -> None:
        slot.accepted = True
        self._wanted.discard(digest)
        self._log.keep(digest, batch)
        self._log.enter_pre_prepared(sequence, digest, self.view)

    # Prepare and commit (1999, section 4.2).

    def _hear_prepare(self, sender: ReplicaId, message: Prepare) -> None:
        rule = "1999-4.2 prepare"
        if sender == self._c.primary(message.view):
            return self._refuse(sender, Reason.BAD_SHAPE, rule)
        if self._is_early(message.view):
            return self._keep_early(sender, message)
        if message.view != self.view:
            return self._refuse(sender, Reason.BAD_VIEW, rule)
        if not self._log.is_within(message.sequence):
            return self._refuse(sender, Reason.OUTSIDE_WATERMARKS, rule)
        slot = self._log.slot(message.sequence)
        said = slot.prepares.setdefault(sender, message.digest)
        if said != message.digest:
            return self._refuse(sender, Reason.CONFLICTING, rule)
        if slot.doubts and self._is_vouched_for(slot):
            assert slot.digest is not None
            batch = self._log.batch(slot.digest)
            assert batch is not None
            return self._accept(slot, message.sequence, slot.digest, batch)
        return self._check_prepared(slot, message.sequence)

    def _check_prepared(self, slot: Slot, sequence: int) -> None:
        """Prepared: the proposal, and 2f backups who agree with it."""
        if slot.is_prepared or not slot.accepted or slot.digest is None:
            return
        agreeing = sum(digest == slot.digest for digest in slot.prepares.values())
        if agreeing < self._c.quorum - 1:
            return
        slot.is_prepared = True
        self._log.prepared[sequence] = (slot.digest, self.view)
        record = Prepared(self.view, sequence, slot.digest)
        self._promise((record,), Commit(self.view, sequence, slot.digest), "1999-4.2 commit")

    def _hear_commit(self, sender: ReplicaId, message: Commit) -> None:
        rule = "1999-4.2 commit"
        if not self._log.is_within(message.sequence):
            if message.sequence > self._log.low:
                self._refuse(sender, Reason.OUTSIDE_WATERMARKS, rule)
            return
        slot = self._log.slot(message.sequence)
        view, digest = slot.commits.get(sender, (-1, NULL))
        if message.view == view and message.digest != digest:
            self._refuse(sender, Reason.CONFLICTING, rule)
        elif message.view > view:
            slot.commits[sender] = (message.view, message.digest)
            self._check_committed(slot, message.sequence)

    def _check_committed(self, slot: Slot, sequence: int) -> None:
        """Committed: a quorum has prepared the same batch in the same view, whichever it was."""
        if slot.committed is None:
            digest = self._committed_digest(slot)
            if digest is None:
                return None
            if self._log.batch(digest) is None:
                return self._want(digest)
            slot.committed = digest
        return self._execute()

    def _committed_digest(self, slot: Slot) -> bytes | None:
        """What a quorum has committed in one view, or f + 1 replicas know to be committed."""
        place = _most_named(slot.commits)
        if place is not None and place[1] >= self._c.quorum:
            return place[0][1]
        settled = _most_named(slot.settled)
        if settled is not None and settled[1] >= self._c.weak:
            return settled[0]
        return None

    def _hear_settled(self, sender: ReplicaId, message: Settled) -> None:
        if self._log.is_within(message.sequence):
            slot = self._log.slot(message.sequence)
            slot.settled.setdefault(sender, message.digest)
            self._check_committed(slot, message.sequence)

    # Execution and reply (1999, section 4.2; 2002, section 5.1).

    def _execute(self) -> None:
        """Executes in order: what is committed, and tentatively what is prepared after that."""
        while True:
            self._settle_tentative()
            if self._tentative is not None:
                return
            sequence = self._execution.sequence + 1
            slot = self._log.slots.get(sequence)
            if slot is None:
                break
            if slot.committed is not None:
                if not slot.is_known and self._c.is_durable:
                    self._learn(slot, sequence)
                    return
                if not self._execute_one(sequence, slot.committed, is_tentative=False):
                    break
                self._note_executed(sequence, slot.committed)
            elif self._c.has_tentative_execution and slot.is_commit_said and self.is_active:
                assert slot.digest is not None
                if self._execute_one(sequence, slot.digest, is_tentative=True):
                    self._tentative = slot.digest
                return
            else:
                break
        self._read_now()

    def _learn(self, slot: Slot, sequence: int) -> None:
        """Before clients hear of it: a replica that comes back must know what it answered from, or
        its reads would be of an older state than its answers were."""
        if not slot.is_learning:
            slot.is_learning = True
            record = Learnt(sequence)
            self._promise((record,), record, "2002-5.1.3 read-only")

    def _settle_tentative(self) -> None:
        """What was executed early is committed, or must be undone for another."""
        if self._tentative is None:
            return
        sequence = self._execution.sequence
        committed = self._log.slots[sequence].committed
        if committed is None:
            return
        if committed == self._tentative:
            self._tentative = None
            self._note_executed(sequence, committed)
        else:
            self._roll_back()

    def _execute_one(self, sequence: int, digest: bytes, *, is_tentative: bool) -> bool:
        """Carries a batch out and answers its clients; whether the batch is here."""
        batch = self._log.batch(digest)
        if batch is None:
            self._want(digest)
            return False
        for request, results in self._execution.execute(sequence, batch, digest):
            reply = self._reply(
                request.timestamp, results, is_full=False, is_tentative=is_tentative
            )
            self._effects.append(Answer(request.client, reply, "1999-4.2 reply"))
        for request in batch.requests:
            # It waits until it is committed: an early execution may come to nothing.
            self._unproposed.pop((request.client, request.timestamp), None)
        return True

    def _note_executed(self, sequence: int, digest: bytes) -> None:
        """A committed batch is executed: progress, and now and then a checkpoint."""
        batch = self._log.batch(digest)
        assert batch is not None
        self._attempts = 0
        named = tuple((r.client, r.timestamp) for r in batch.requests)
        for key in named:
            self._wait_no_more(key)
        self._effects.append(Executed(sequence, digest, named, "1999-4.2 committed-local"))
        if not self._waiting and self._request_timer:
            self._request_timer = False
            self._effects.append(CancelTimer(REQUEST, "1999-4.4 request timer"))
        if sequence % self._c.interval == 0:
            self._take_checkpoint()

    def _roll_back(self) -> None:
        """Undoes what was executed early (2002, section 5.1.2): from the last checkpoint on."""
        if self._tentative is None:
            return
        undone, self._tentative = self._execution.sequence, None
        self._read_floor = max(self._read_floor, undone)
        start = max(n for n in self._snapshots if n < undone)
        self._execution.restore(self._snapshots[start])
        for sequence in range(start + 1, undone):
            committed = self._log.slots[sequence].committed
            assert committed is not None
            batch = self._log.batch(committed)
            assert batch is not None
            self._execution.execute(sequence, batch, committed)

    def _read_now(self) -> None:
        if self._reads and self.executed >= self._read_floor:
            reads, self._reads = self._reads, []
            for request in reads:
                self._read(request)

    def _reply(
        self, timestamp: int, results: Results, *, is_full: bool, is_tentative: bool
    ) -> Reply:
        """One replica's answer: the full results from one of all, a digest from the others."""
        is_mine = timestamp % self._c.n == self.me
        shown = results if is_full or is_mine or not self._c.has_digest_replies else None
        return Reply(self.view, timestamp, results_digest(results), shown, is_tentative)

    # Checkpoints (1999, section 4.3).

    def _take_checkpoint(self) -> None:
        snapshot = self._execution.snapshot()
        self._hold(snapshot)
        checkpoint = Checkpoint(snapshot.sequence, snapshot.digest)
        self._promise((Taken(snapshot),), checkpoint, "1999-4.3 checkpoint")

    def _hold(self, snapshot: Snapshot) -> None:
        self._snapshots[snapshot.sequence] = snapshot
        while len(self._snapshots) > CHECKPOINTS_MAX:
            # Between the stable one, which others may ask for, and the last.
            del self._snapshots[sorted(self._snapshots)[1]]

    def _hear_checkpoint(self, sender: ReplicaId, message: Checkpoint) -> None:
        rule = "1999-4.3 checkpoint"
        if message.sequence % self._c.interval or len(message.digest) != 32:
            return self._refuse(sender, Reason.BAD_SHAPE, rule)
        if message.sequence > self._log.low and self._votes.enter(sender, message):
            self._check_stable(message.sequence, message.digest)
        return None

    def _check_stable(self, sequence: int, digest: bytes) -> None:
        """A quorum of equal digests makes a checkpoint stable, and what is older is forgotten."""
        voters = self._votes.voters(sequence, digest)
        if len(voters) < self._c.weak:
            return
        snapshot = self._snapshots.get(sequence)
        if snapshot is None:
            if sequence > self._log.low + self._c.window:
                self._fetch_state(sequence, digest, voters)
        elif snapshot.digest == digest and len(voters) >= self._c.quorum:
            self._make_stable(sequence)

    def _make_stable(self, sequence: int) -> None:
        self._snapshots = {n: s for n, s in self._snapshots.items() if n >= sequence}
        self._collect(sequence)
        self._persist((Stable(sequence),), "1999-4.3 garbage collection")

    def _collect(self, low: int) -> None:
        self._log.collect(low)
        self._next = max(self._next, low + 1)
        self._doubtful = {n: since for n, since in self._doubtful.items() if n > low}

    # State transfer (1999, section 4.3; 2002, section 5.3.2).

    def _fetch_state(self, sequence: int, digest: bytes, voters: tuple[ReplicaId, ...]) -> None:
        if self._transfer is not None and self._transfer.sequence >= sequence:
            return
        sources = tuple(r for r in voters if r != self.me) or self._others
        held: tuple[bytes, ...] = self._snapshots[max(self._snapshots)].pages
        if self._transfer is not None:
            held = (*held, *self._transfer.pages)
        self._transfer = Transfer(sequence, digest, sources, held)
        self._ask_state(self._transfer.begin())

    def _ask_state(self, messages: list[Message]) -> None:
        assert self._transfer is not None
        for message in messages:
            self._send((self._transfer.source,), message, "2002-5.3.2 fetch")

    def _hear_fetch_manifest(self, sender: ReplicaId, message: FetchManifest) -> None:
        snapshot = self._snapshots.get(message.sequence)
        if snapshot is not None and snapshot.digest == message.digest:
            manifest = Manifest(snapshot.sequence, snapshot.page_digests)
            self._send((sender,), manifest, "2002-5.3.2 manifest")

    def _hear_fetch_page(self, sender: ReplicaId, message: FetchPage) -> None:
        snapshot = self._snapshots.get(message.sequence)
        if snapshot is not None and message.page in snapshot.page_digests:
            page = snapshot.pages[snapshot.page_digests.index(message.page)]
            self._send((sender,), Page(page), "2002-5.3.2 page")

    def _hear_state(self, sender: ReplicaId, message: Manifest | Page) -> None:
        if self._transfer is None:
            return
        if isinstance(message, Manifest):
            asked = self._transfer.hear_manifest(message)
        else:
            asked = self._transfer.hear_page(message)
        if asked is None:
            self._refuse(sender, Reason.BAD_STATE, "2002-5.3.2 state")
            return
        self._ask_state(asked)
        if (snapshot := self._transfer.snapshot()) is not None:
            self._transfer = None
            records = (Taken(snapshot), Stable(snapshot.sequence))
            self._promise(records, snapshot, "2002-5.3.2 state transfer")

    def _restore(self, snapshot: Snapshot) -> None:
        """The state of f + 1 others becomes this replica's own, unless it got there by itself."""
        if snapshot.sequence <= self.executed:
            return
        self._tentative = None
        self._execution.restore(snapshot)
        self._snapshots = {snapshot.sequence: snapshot}
        self._collect(snapshot.sequence)
        for key in [key for key in self._waiting if self._execution.is_over(*key)]:
            self._wait_no_more(key)
        rule = "2002-5.3.2 state transfer"
        self._effects.append(Restored(snapshot.sequence, snapshot.digest, rule))
        checkpoint = Checkpoint(snapshot.sequence, snapshot.digest)
        self._say(checkpoint)
        self._execute()

    # View changes (1999, section 4.4; 2002, section 4.4).

    def _arm_request_timer(self) -> None:
        """A backup waits so long for the request that it has known longest."""
        if not self._request_timer and self.is_active and not self._is_primary:
            self._request_timer = True
            self._set_timer(REQUEST, self._patience_s, "1999-4.4 request timer")

    @property
    def _patience_s(self) -> float:
        """Doubled for every view but the first that came to nothing (1999, section 4.5.2)."""
        return self._c.timeout_s * float(1 << min(max(self._attempts - 1, 0), 16))

    def _suspect_primary(self) -> None:
        """A request has waited too long for this view; a younger one has time left."""
        if not self.is_active or self._is_primary:
            return
        self._request_timer = False
        since_s = [w.since_s for w in self._waiting.values()] + [*self._doubtful.values()]
        if not since_s:
            return
        left_s = min(since_s) + self._patience_s - self._now_s
        if left_s <= 1e-6:
            self._begin_view_change(self.view + 1, "1999-4.4 request timeout")
        else:
            self._request_timer = True
            self._set_timer(REQUEST, left_s, "1999-4.4 request timer")

    def _begin_view_change(self, view: int, rule: str) -> None:
        """Leaves this view for a later one, and tells what it takes along."""
        self._roll_back()
        self.view, self.is_active = view, False
        self._attempts += 1
        self._request_timer = False
        self._is_quorum_seen = False
        self._drop_early()
        self._doubtful.clear()
        for slot in self._log.slots.values():
            slot.leave_view()
        held = tuple(Checkpoint(n, s.digest) for n, s in sorted(self._snapshots.items()))
        message = self._authenticity.signed_view_change(
            ViewChange(view, self.me, self._log.low, held, self._log.p(), self._log.q())
        )
        self._view_change = message
        self._new_view = None
        self._effects.append(Moved(view, is_active=False, rule=rule))
        self._effects.append(CancelTimer(REQUEST, rule))
        self._effects.append(CancelTimer(NEW_VIEW, rule))
        self._promise((ViewEntered(view, message, None),), message, "1999-4.4 view-change")

    def _hear_view_change(self, sender: ReplicaId, message: ViewChange) -> None:
        rule = "1999-4.4 view-change"
        if message.replica != sender or not is_well_formed(message, self._c):
            return self._refuse(sender, Reason.BAD_SHAPE, rule)
        if message.view < self.view or (message.view == self.view and self.is_active):
            return None
        known = self._view_changes.get(sender)
        if known is not None and known.view >= message.view:
            if known.view == message.view and known != message:
                self._refuse(sender, Reason.CONFLICTING, rule)
                self._compare(message)
            return None
        if not self._authenticity.of_view_change(message):
            return self._refuse(sender, Reason.BAD_SIGNATURE, rule)
        self._view_changes[sender] = message
        self._join_view_change()
        return self._check_view_changes()

    def _compare(self, message: ViewChange) -> None:
        """Two view-changes for one view under one signature: a correct replica signs one, and
        writes it down before it says it."""
        known = self._view_changes.get(message.replica)
        if known is None or known.view != message.view or known == message:
            return
        if message.replica not in self._accused and self._authenticity.of_view_change(message):
            self._accused.add(message.replica)
            proof = (known, message)
            self._effects.append(Accuse(message.replica, proof, "1999-4.4 view-change"))

    def _join_view_change(self) -> None:
        """f + 1 replicas are beyond this view: a correct one is (1999, section 4.5.2)."""
        beyond = [m.view for m in self._view_changes.values() if m.view > self.view]
        if len(beyond) >= self._c.weak:
            self._begin_view_change(min(beyond), "1999-4.5.2 join")

    def _check_view_changes(self) -> None:
        """A quorum wants this view: its primary begins it, and the others wait for that.

        Who is already beyond it counts for the waiting: he may have been in this view before a
        restart made this replica forget it, and would else be waited for in vain.
        """
        if self.is_active or self.view == 0:
            return
        beyond = [m for _, m in sorted(self._view_changes.items()) if m.view >= self.view]
        if len(beyond) < self._c.quorum:
            return
        if not self._is_quorum_seen:
            self._is_quorum_seen = True
            self._set_timer(NEW_VIEW, self._patience_s, "1999-4.4 new-view timer")
        wanting = [m for m in beyond if m.view == self.view]
        if len(wanting) >= self._c.quorum and self._is_primary and self._new_view is None:
            self._begin_new_view(wanting)

    def _begin_new_view(self, view_changes: list[ViewChange]) -> None:
        choice = choose(view_changes, self._c)
        if choice is None:
            return  # Another view-change will tell.
        message = self._authenticity.signed_new_view(
            NewView(
                self.view,
                tuple(view_changes),
                choice.stable,
                choice.stable_digest,
                choice.chosen,
            )
        )
        self._new_view = message
        records: list[Record] = [ViewEntered(self.view, self._view_change, message)]
        for sequence, digest in enumerate(choice.chosen, choice.stable + 1):
            if sequence > self._log.low:
                self._log.enter_pre_prepared(sequence, digest, self.view)
                batch = self._log.batch(digest)
                records.append(PrePrepared(self.view, sequence, digest, batch))
        self._promise(tuple(records), message, "1999-4.4 new-view")

    def _hear_new_view(self, sender: ReplicaId, message: NewView) -> None:
        rule = "1999-4.4 new-view"
        if message.view < self.view or (message.view == self.view and self.is_active):
            return None
        primary = self._c.primary(message.view)
        if primary == self.me or message.view == 0:
            return None  # Mine is on its way out of my own promises, if it is mine.
        if not self._authenticity.of_new_view(message, primary):
            return self._refuse(sender, Reason.BAD_SIGNATURE, rule)
        is_good = is_justified(message, self._c) and all(
            map(self._authenticity.of_view_change, message.view_changes)
        )
        if not is_good:
            self._refuse(primary, Reason.BAD_NEW_VIEW, rule)
            if message.view == self.view:
                self._begin_view_change(self.view + 1, "1999-4.4 new-view refused")
            return None
        for change in message.view_changes:
            self._compare(change)
        self._roll_back()
        self._new_view = message
        self._persist((ViewEntered(message.view, self._view_change, message),), rule)
        return self._enter_view(message)

    def _enter_view(self, message: NewView) -> None:
        """Takes up the new view: its checkpoint, its O, and what still waits."""
        self.view, self.is_active = message.view, True
        rule = "1999-4.4 new-view"
        self._effects.append(Moved(self.view, is_active=True, rule=rule))
        self._effects.append(CancelTimer(NEW_VIEW, rule))
        self._doubtful.clear()
        for slot in self._log.slots.values():
            slot.leave_view()
        if message.stable > self.executed:
            holders = tuple(
                m.replica
                for m in message.view_changes
                if Checkpoint(message.stable, message.stable_digest) in m.checkpoints
            )
            self._fetch_state(message.stable, message.stable_digest, holders)
        chosen: set[_Key] = set()
        for sequence, digest in enumerate(message.chosen, message.stable + 1):
            if self._log.is_within(sequence):
                chosen |= self._take_over(sequence, digest)
        self._next = max(message.stable + len(message.chosen), self._log.low) + 1
        self._begin_anew(chosen)
        self._replay_early()
        self._execute()

    def _take_over(self, sequence: int, digest: bytes) -> set[_Key]:
        """One number of O is pre-prepared again; the requests in it, as far as they are here."""
        slot = self._log.slot(sequence)
        slot.digest = digest
        batch = self._log.batch(digest)
        if batch is None:
            self._want(digest)
            return set()
        self._accept(slot, sequence, digest, batch)
        return {(r.client, r.timestamp) for r in batch.requests}

    def _begin_anew(self, chosen: set[_Key]) -> None:
        """What waits has this view's whole time, and its primary is told of it.

        What is not signed is left to its client to say again, under his signature: an
        authenticator that was good for some replicas only has cost one view, and costs no other.
        """
        self._unproposed = {}
        for key in [k for k, w in self._waiting.items() if not w.request.signature]:
            if key not in chosen:
                self._wait_no_more(key)
        for key, waiting in self._waiting.items():
            waiting.since_s = self._now_s
            if key in chosen:
                continue
            if self._is_primary:
                self._unproposed[key] = waiting
            elif waiting.is_direct:
                primary = self._c.primary(self.view)
                self._send((primary,), waiting.request, "1999-4.1 forward")
        if self._waiting:
            self._arm_request_timer()

    # Views that others have entered before this replica.

    def _is_early(self, view: int) -> bool:
        return view > self.view or (view == self.view and not self.is_active)

    def _keep_early(self, sender: ReplicaId, message: _Early) -> None:
        kept = self._early.setdefault(sender, [])
        if len(kept) < EARLY_MAX:
            kept.append(message)

    def _drop_early(self) -> None:
        self._early = {
            sender: later
            for sender, kept in self._early.items()
            if (later := [m for m in kept if m.view >= self.view])
        }

    def _replay_early(self) -> None:
        early, self._early = self._early, {}
        for sender, kept in early.items():
            for message in kept:
                if message.view >= self.view:
                    self._hear(sender, message)

    # Catching up (2002, section 5.2): who lacks something says where he stands.

    def _start(self) -> None:
        self._set_timer(STATUS, self._c.status_s, "2002-5.2 status")
        if self._view_change is not None or self.view > 0 or self._log.pre_prepared:
            self._say_status()
        if not self.is_active and self._view_change is not None:
            self._send(self._others, self._view_change, "1999-4.4 view-change")
        for sequence, slot in sorted(self._log.slots.items()):
            batch = self._log.batch(slot.digest) if slot.digest is not None else None
            if batch is None or slot.digest is None:
                continue
            if slot.accepted:
                self._wait_for_all(batch)
            else:
                self._accept(slot, sequence, slot.digest, batch)
        if self._waiting:
            self._arm_request_timer()

    def _tell_status(self) -> None:
        self._set_timer(STATUS, self._c.status_s, "2002-5.2 status")
        self._quiet += 1
        self._catch_up_state()
        if self._lacks_something or self._quiet >= QUIET_PERIODS:
            self._quiet = 0
            self._say_status()
        for digest in self._wanted:
            self._send(self._others, FetchBatch(digest), "2002-5.2 fetch batch")
        if not self.is_active and self._view_change is not None and self._is_said():
            self._send(self._others, self._view_change, "1999-4.4 view-change")
        if self.executed == self._executed_at_tick and self.is_active and self._is_primary:
            self._pre_prepare_again()
        self._executed_at_tick = self.executed

    def _pre_prepare_again(self) -> None:
        """Nothing has moved: the next proposals may have been lost."""
        for sequence in range(self.executed + 1, self.executed + 1 + self._c.pipeline):
            slot = self._log.slots.get(sequence)
            if slot is None or not slot.accepted or self._is_of_new_view(sequence):
                continue
            batch = self._log.batch(slot.digest or NULL)
            if batch is not None and batch.requests and self._is_said():
                message = PrePrepare(self.view, sequence, batch)
                self._send(self._others, message, "2002-5.2 retransmission")

    def _is_said(self) -> bool:
        """Whether every promise so far is kept: nothing is said again before it was said."""
        return not self._promised

    @property
    def _lacks_something(self) -> bool:
        return (
            not self.is_active
            or self._transfer is not None
            or bool(self._wanted)
            or (bool(self._log.slots) and max(self._log.slots) > self._complete)
        )

    @property
    def _complete(self) -> int:
        """Up to here all is executed, and prepared in this view, so that others can rely on it."""
        if not self.is_active:
            return self.executed
        unprepared = (n for n, s in self._log.slots.items() if s.accepted and not s.is_prepared)
        return min(self.executed, min(unprepared, default=self.executed + 1) - 1)

    def _say_status(self) -> None:
        status = Status(self.view, self.is_active, self._log.low, self._complete)
        self._send(self._others, status, "2002-5.2 status")

    def _catch_up_state(self) -> None:
        """Fetches the state that f + 1 others name, where this replica gets there no other way."""
        place = self._votes.last_with(self._c.weak)
        if place is not None and place[0] > self.executed == self._executed_at_tick:
            self._fetch_state(*place, self._votes.voters(*place))
        if self._transfer is None:
            return
        if self._transfer.sequence <= self.executed:
            self._transfer = None
        else:
            self._ask_state(self._transfer.turn())

    def _hear_status(self, sender: ReplicaId, message: Status) -> None:
        """Says again what the sender lacks."""
        if not self._is_said():
            return
        rule = "2002-5.2 retransmission"
        if message.view < self.view or (message.view == self.view and not message.is_active):
            if self.is_active and self._new_view is not None:
                self._send((sender,), self._new_view, rule)
            elif not self.is_active and self._view_change is not None:
                self._send((sender,), self._view_change, rule)
        for sequence, snapshot in sorted(self._snapshots.items()):
            if sequence > message.stable:
                self._send((sender,), Checkpoint(sequence, snapshot.digest), rule)
        self._say_again(sender, message.complete)

    def _say_again(self, sender: ReplicaId, complete: int) -> None:
        rule = "2002-5.2 retransmission"
        first = max(complete, self._log.low) + 1
        last = min(max(self._log.slots, default=0), first + RESENT_MAX - 1)
        for sequence in range(first, last + 1):
            slot = self._log.slots.get(sequence)
            if slot is None:
                continue
            if slot.committed is not None:
                self._send((sender,), Settled(sequence, slot.committed), rule)
            if not slot.accepted or slot.digest is None:
                continue
            if self._is_primary:
                batch = self._log.batch(slot.digest)
                if batch is not None and batch.requests and not self._is_of_new_view(sequence):
                    self._send((sender,), PrePrepare(self.view, sequence, batch), rule)
            else:
                self._send((sender,), Prepare(self.view, sequence, slot.digest), rule)
            if slot.is_prepared:
                self._send((sender,), Commit(self.view, sequence, slot.digest), rule)

    def _is_of_new_view(self, sequence: int) -> bool:
        """Whether the new-view itself is what pre-prepared a number in this view."""
        new = self._new_view
        return new is not None and sequence <= new.stable + len(new.chosen)

    def _want(self, digest: bytes) -> None:
        """A batch that is known by its digest alone is asked for."""
        if digest not in self._wanted:
            self._wanted.add(digest)
            self._send(self._others, FetchBatch(digest), "2002-5.2 fetch batch")

    def _hear_fetch_batch(self, sender: ReplicaId, message: FetchBatch) -> None:
        batch = self._log.batch(message.digest)
        if batch is not None and batch.requests:
            self._send((sender,), BatchFound(batch), "2002-5.2 batch")

    def _hear_batch_found(self, sender: ReplicaId, message: BatchFound) -> None:
        digest = batch_digest(message.batch)
        if digest not in self._wanted:
            return
        self._wanted.discard(digest)
        self._log.keep(digest, message.batch)
        for sequence, slot in sorted(self._log.slots.items()):
            if slot.digest == digest and not slot.accepted and self.is_active:
                self._accept(slot, sequence, digest, message.batch)
            self._check_committed(slot, sequence)

    # Promises.

    def _promise(self, records: tuple[Record, ...], message: _Promise, rule: str) -> None:
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

    def _say(self, message: Message | Learnt | Snapshot) -> None:
        """Says to all what was promised, unless its view is over, and counts it as one's own."""
        match message:
            case PrePrepare(view, sequence):
                if self._is_of_now(view) and self._log.is_within(sequence):
                    self._send(self._others, message, "1999-4.2 pre-prepare")
                    self._check_prepared(self._log.slot(sequence), sequence)
            case Prepare(view, sequence, digest):
                if self._is_of_now(view) and self._log.is_within(sequence):
                    self._send(self._others, message, "1999-4.2 prepare")
                    slot = self._log.slot(sequence)
                    slot.prepares[self.me] = digest
                    self._check_prepared(slot, sequence)
            case Commit(view, sequence, digest):
                if self._is_of_now(view) and self._log.is_within(sequence):
                    self._send(self._others, message, "1999-4.2 commit")
                    slot = self._log.slot(sequence)
                    slot.is_commit_said = slot.is_known = True
                    slot.commits[self.me] = (view, digest)
                    self._check_committed(slot, sequence)
                    self._execute()
            case Learnt(sequence):
                if self._log.is_within(sequence):
                    self._log.slot(sequence).is_known = True
                    self._execute()
            case Snapshot():
                self._restore(message)
            case Checkpoint(sequence, digest):
                self._send(self._others, message, "1999-4.3 checkpoint")
                if sequence > self._log.low and self._votes.enter(self.me, message):
                    self._check_stable(sequence, digest)
            case ViewChange(view):
                if view == self.view and not self.is_active:
                    self._send(self._others, message, "1999-4.4 view-change")
                    self._view_changes[self.me] = message
                    self._check_view_changes()
            case NewView(view):
                if view == self.view and not self.is_active:
                    self._send(self._others, message, "1999-4.4 new-view")
                    self._enter_view(message)

    def _is_of_now(self, view: int) -> bool:
        return view == self.view and self.is_active

    # Coming back.

    def _recover(self, recovered: Recovered) -> None:
        """Takes up where the records end; what was promised is said again to whoever lacks it."""
        self.view = recovered.view
        self._view_change = recovered.view_change
        self._new_view = recovered.new_view
        self.is_active = self.view == 0 or (
            self._new_view is not None and self._new_view.view == self.view
        )
        if recovered.snapshots:
            if recovered.stable > 0:
                self._snapshots.clear()
            self._snapshots.update(recovered.snapshots)
            self._execution.restore(self._snapshots[max(self._snapshots)])
        self._log = Log(recovered.stable, self._c.window)
        for sequence, snapshot in self._snapshots.items():
            if sequence > recovered.stable:
                self._votes.enter(self.me, Checkpoint(sequence, snapshot.digest))
        self._log.prepared = dict(recovered.prepared)
        self._log.pre_prepared = {n: dict(seen) for n, seen in recovered.pre_prepared.items()}
        for digest, batch in recovered.batches.items():
            self._log.keep(digest, batch)
        new = self._new_view
        self._next = recovered.stable + 1
        self._read_floor = recovered.learnt
        if self.is_active and new is not None:
            self._next = max(self._next, new.stable + len(new.chosen) + 1)
            for sequence, digest in enumerate(new.chosen, new.stable + 1):
                if self._log.is_within(sequence):
                    self._log.slot(sequence).digest = digest
        if self.is_active:
            self._recover_slots()
        elif self._view_change is not None:
            self._view_changes[self.me] = self._view_change

    def _recover_slots(self) -> None:
        """Each number that this replica had accepted in the view where it stopped."""
        for sequence, seen in self._log.pre_prepared.items():
            for digest, view in seen.items():
                if view != self.view:
                    continue
                self._next = max(self._next, sequence + 1)
                slot = self._log.slot(sequence)
                slot.digest = digest
                slot.accepted = self._log.batch(digest) is not None
                if not slot.accepted:
                    self._wanted.add(digest)
                    continue
                if not self._is_primary:
                    slot.prepares[self.me] = digest
                if self._log.prepared.get(sequence) == (digest, view):
                    slot.is_prepared = slot.is_commit_said = slot.is_known = True
                    slot.commits[self.me] = (view, digest)
        for slot in self._log.slots.values():
            if slot.digest is not None and self._log.batch(slot.digest) is None:
                self._wanted.add(slot.digest)

    # Asking.

    def _send(self, to: tuple[ReplicaId, ...], message: Message, rule: str) -> None:
        self._effects.append(Send(to, message, rule))

    def _set_timer(self, name: str, after_s: float, rule: str) -> None:
        self._effects.append(SetTimer(name, after_s, rule))

    def _refuse(self, sender: ReplicaId | None, reason: Reason, rule: str) -> None:
        self._effects.append(Refuse(sender, reason, rule))


def _most_named(said: Mapping[ReplicaId, T]) -> tuple[T, int] | None:
    """What most replicas say, and how many they are."""
    counts: dict[T, int] = {}
    for one in said.values():
        counts[one] = counts.get(one, 0) + 1
    return max(counts.items(), key=lambda item: item[1], default=None)
