"""Execution in order (1999, section 4.2), tentative too (2002, section 5.1.2)."""

from __future__ import annotations

from node.protocols.pbft.effects import Answer, CancelTimer, Executed, Learnt
from node.protocols.pbft.log import Slot
from node.protocols.pbft.replica.requests import Requests
from node.protocols.pbft.replica.standing import REQUEST


class Delivery(Requests):
    """Committed batches are carried out, and the next one early, once it is prepared."""

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
