"""Checkpoints and garbage collection (1999, section 4.3)."""

from __future__ import annotations

from node.effects import Reason
from node.protocols.pbft.effects import Stable, Taken
from node.protocols.pbft.messages import Checkpoint, ReplicaId, Snapshot
from node.protocols.pbft.replica.state_transfer import StateTransfer
from node.protocols.pbft.view_change import CHECKPOINTS_MAX


class Checkpoints(StateTransfer):
    """Every so many numbers a replica tells the digest of its state; a quorum makes it stable."""

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
