"""Pre-prepare, prepare, commit (1999, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from node.effects import Reason
from node.protocols.pbft.authentication import batch_digest, request_digest
from node.protocols.pbft.effects import Prepared, PrePrepared
from node.protocols.pbft.log import Slot
from node.protocols.pbft.messages import (
    NULL,
    Batch,
    Commit,
    Prepare,
    PrePrepare,
    ReplicaId,
    Request,
    Settled,
)
from node.protocols.pbft.replica.delivery import Delivery
from node.protocols.pbft.replica.standing import COMMIT, Early, Waiting

T = TypeVar("T")

#: Messages of one sender that are kept for a view which this replica has not entered yet.
EARLY_MAX = 64


class NormalCase(Delivery):
    """How batches get their numbers within one view."""

    # Pre-prepare.

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
        if not self._is_in_place(sender, message, rule):
            return None
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

    # Prepare.

    def _hear_prepare(self, sender: ReplicaId, message: Prepare) -> None:
        rule = "1999-4.2 prepare"
        if sender == self._c.primary(message.view):
            return self._refuse(sender, Reason.BAD_SHAPE, rule)
        if not self._is_in_place(sender, message, rule):
            return None
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

    # Commit.

    def _send_late_commits(self) -> None:
        """No other message came for them to travel with."""
        self._commit_timer = False
        left_s = self._held_since_s + self._c.commit_s - self._now_s
        if left_s <= 1e-6:
            self._send_commits()
        elif self._held:
            self._commit_timer = True
            self._set_timer(COMMIT, left_s, "2001-5.1.2 commit timer")

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

    # What is said in another view, or in one that others have entered before this replica.

    def _is_in_place(self, sender: ReplicaId, message: Early, rule: str) -> bool:
        """Of this view and within the watermarks; what is early is kept, all else refused."""
        if self._is_early(message.view):
            self._keep_early(sender, message)
        elif message.view != self.view:
            self._refuse(sender, Reason.BAD_VIEW, rule)
        elif not self._log.is_within(message.sequence):
            self._refuse(sender, Reason.OUTSIDE_WATERMARKS, rule)
        else:
            return True
        return False

    def _is_early(self, view: int) -> bool:
        return view > self.view or (view == self.view and not self.is_active)

    def _keep_early(self, sender: ReplicaId, message: Early) -> None:
        kept = self._early.setdefault(sender, [])
        if len(kept) < EARLY_MAX:
            kept.append(message)


def _most_named(said: Mapping[ReplicaId, T]) -> tuple[T, int] | None:
    """What most replicas say, and how many they are."""
    counts: dict[T, int] = {}
    for one in said.values():
        counts[one] = counts.get(one, 0) + 1
    return max(counts.items(), key=lambda item: item[1], default=None)
