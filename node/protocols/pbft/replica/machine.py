"""The machine: what happens goes to the rule that it concerns, and what was promised is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from node.protocols.pbft.authentication import Authenticity
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.effects import Effect, Learnt
from node.protocols.pbft.events import (
    Event,
    Persisted,
    Received,
    Requested,
    Started,
    TimerFired,
    TurnEnded,
)
from node.protocols.pbft.messages import (
    BatchFound,
    Checkpoint,
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
    Request,
    Settled,
    Snapshot,
    Status,
    ViewChange,
)
from node.protocols.pbft.replica.coming_back import ComingBack, Recovered
from node.protocols.pbft.replica.standing import COMMIT, NEW_VIEW, REQUEST, STATUS
from node.protocols.pbft.service import Service


class Replica(ComingBack):
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
        super().__init__(
            me=me,
            configuration=configuration,
            service=service,
            authenticity=authenticity,
            draw=draw,
        )
        if recovered is not None:
            self._recover(recovered)

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
        elif name == COMMIT:
            self._send_late_commits()
        elif name == NEW_VIEW and not self.is_active:
            self._begin_view_change(self.view + 1, "1999-4.4 new-view timeout")

    def _say(self, message: Message | Learnt | Snapshot) -> None:
        """Says to all what was promised, unless its view is over, and counts it as one's own."""
        match message:
            case PrePrepare(view, sequence):
                if self._is_of_now(view) and self._log.is_within(sequence):
                    self._send_commits()
                    self._send(self._others, message, "1999-4.2 pre-prepare")
                    self._check_prepared(self._log.slot(sequence), sequence)
            case Prepare(view, sequence, digest):
                if self._is_of_now(view) and self._log.is_within(sequence):
                    self._send_commits()
                    self._send(self._others, message, "1999-4.2 prepare")
                    slot = self._log.slot(sequence)
                    slot.prepares[self.me] = digest
                    self._check_prepared(slot, sequence)
            case Commit(view, sequence, digest):
                if self._is_of_now(view) and self._log.is_within(sequence):
                    self._piggyback(message)
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
