"""Fetching the state of others (1999, section 4.3; 2002, section 5.3.2)."""

from __future__ import annotations

from node.effects import Reason
from node.protocols.pbft.effects import Restored, Stable, Taken
from node.protocols.pbft.messages import (
    Checkpoint,
    FetchManifest,
    FetchPage,
    Manifest,
    Message,
    Page,
    ReplicaId,
    Snapshot,
)
from node.protocols.pbft.replica.standing import Standing
from node.protocols.pbft.transfer import Transfer


class StateTransfer(Standing):
    """A replica that is far behind takes the state that f + 1 others name, from any of them."""

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
