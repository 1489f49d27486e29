"""View changes (1999, section 4.4; 2002, section 4.4)."""

from __future__ import annotations

from node.effects import Reason
from node.protocols.pbft.effects import Accuse, CancelTimer, Moved, PrePrepared, Record, ViewEntered
from node.protocols.pbft.messages import Checkpoint, NewView, ReplicaId, ViewChange
from node.protocols.pbft.replica.normal_case import NormalCase
from node.protocols.pbft.replica.standing import NEW_VIEW, REQUEST, Key
from node.protocols.pbft.view_change import choose, is_justified, is_well_formed


class ViewChanges(NormalCase):
    """A primary that stands still is left for the next. `view_change.py` has the choice of O."""

    # View-change.

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
        self._held.clear()
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

    # New-view.

    def _begin_new_view(self, view_changes: list[ViewChange]) -> None:
        choice = choose(view_changes, self._c)
        if choice is None:
            return  # Another view-change will tell.
        message = self._authenticity.signed_new_view(
            NewView(
                self.view, tuple(view_changes), choice.stable, choice.stable_digest, choice.chosen
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
        chosen: set[Key] = set()
        for sequence, digest in enumerate(message.chosen, message.stable + 1):
            if self._log.is_within(sequence):
                chosen |= self._take_over(sequence, digest)
        self._next = max(message.stable + len(message.chosen), self._log.low) + 1
        self._begin_anew(chosen)
        self._replay_early()
        self._execute()

    def _take_over(self, sequence: int, digest: bytes) -> set[Key]:
        """One number of O is pre-prepared again; the requests in it, as far as they are here."""
        slot = self._log.slot(sequence)
        slot.digest = digest
        batch = self._log.batch(digest)
        if batch is None:
            self._want(digest)
            return set()
        self._accept(slot, sequence, digest, batch)
        return {(r.client, r.timestamp) for r in batch.requests}

    def _begin_anew(self, chosen: set[Key]) -> None:
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

    # What came early.

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
