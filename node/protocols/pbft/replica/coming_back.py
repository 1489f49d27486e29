"""Coming back from stable storage: a replica takes up where its records end."""

from __future__ import annotations

import msgspec

from node.protocols.pbft.log import Log
from node.protocols.pbft.messages import Batch, Checkpoint, NewView, Snapshot, ViewChange
from node.protocols.pbft.replica.catching_up import CatchingUp
from node.protocols.pbft.replica.standing import STATUS


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


class ComingBack(CatchingUp):
    """What was promised before a death is kept, and said again to whoever lacks it."""

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
