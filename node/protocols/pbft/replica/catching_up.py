"""Catching up (2002, section 5.2): who lacks something says where he stands."""

from __future__ import annotations

from node.protocols.pbft.authentication import batch_digest
from node.protocols.pbft.messages import (
    NULL,
    BatchFound,
    Checkpoint,
    Commit,
    FetchBatch,
    Prepare,
    PrePrepare,
    ReplicaId,
    Settled,
    Status,
)
from node.protocols.pbft.replica.standing import STATUS
from node.protocols.pbft.replica.view_changes import ViewChanges

#: A replica that lacks nothing says where it stands in every so many-th status period only.
QUIET_PERIODS = 10
#: Sequence numbers that are said again for one who lacks them, a status.
RESENT_MAX = 64


class CatchingUp(ViewChanges):
    """Status messages, and what is said again to whoever sends one."""

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

    def _say_status(self) -> None:
        status = Status(self.view, self.is_active, self._log.low, self._complete)
        self._send(self._others, status, "2002-5.2 status")

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
