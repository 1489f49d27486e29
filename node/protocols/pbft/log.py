"""The log between the watermarks: a slot a sequence number, the batches, and the sets P and Q."""

from __future__ import annotations

from node.protocols.pbft.authentication import NULL_BATCH
from node.protocols.pbft.messages import NULL, Batch, Checkpoint, ReplicaId, Vote
from node.protocols.pbft.view_change import PRE_PREPARED_MAX


class Slot:
    """What was said about one sequence number: `digest` is what this view's primary proposed."""

    __slots__ = (
        "accepted",
        "commits",
        "committed",
        "digest",
        "doubts",
        "is_commit_said",
        "is_known",
        "is_learning",
        "is_prepared",
        "prepares",
        "settled",
    )

    def __init__(self) -> None:
        self.digest: bytes | None = None
        #: Digests of requests in the proposal that this replica cannot tell to be authentic.
        self.doubts: set[bytes] = set()
        self.accepted = False
        self.is_prepared = False
        #: This replica's own commit is on stable storage, and said or to be said with what follows.
        self.is_commit_said = False
        #: It is on stable storage that something was executed, or prepared, at this number.
        self.is_known = self.is_learning = False
        self.prepares: dict[ReplicaId, bytes] = {}
        #: The last view's commit of each replica: (view, digest).
        self.commits: dict[ReplicaId, tuple[int, bytes]] = {}
        #: What others say is committed, in whichever view.
        self.settled: dict[ReplicaId, bytes] = {}
        #: The digest that a quorum has committed, once one has.
        self.committed: bytes | None = None

    def leave_view(self) -> None:
        """Forgets what belongs to one view alone. What is committed stays so."""
        self.digest = None
        self.doubts = set()
        self.accepted = self.is_prepared = self.is_commit_said = False
        self.prepares = {}


class Log:
    """`low` is h: nothing at or below it is kept."""

    def __init__(self, low: int, window: int) -> None:
        self.low = low
        self._window = window
        self.slots: dict[int, Slot] = {}
        self._batches: dict[bytes, Batch] = {}
        #: P: what prepared last at a number, and in which view.
        self.prepared: dict[int, tuple[bytes, int]] = {}
        #: Q: all that pre-prepared at a number, each with its last view.
        self.pre_prepared: dict[int, dict[bytes, int]] = {}

    def is_within(self, sequence: int) -> bool:
        return self.low < sequence <= self.low + self._window

    def slot(self, sequence: int) -> Slot:
        """The slot of a number within the watermarks."""
        slot = self.slots.get(sequence)
        if slot is None:
            slot = self.slots[sequence] = Slot()
        return slot

    def batch(self, digest: bytes) -> Batch | None:
        return NULL_BATCH if digest == NULL else self._batches.get(digest)

    def keep(self, digest: bytes, batch: Batch) -> None:
        if digest != NULL:
            self._batches[digest] = batch

    def enter_pre_prepared(self, sequence: int, digest: bytes, view: int) -> None:
        """Enters into Q. Of many digests at one number the latest views stay."""
        seen = self.pre_prepared.setdefault(sequence, {})
        seen[digest] = max(view, seen.get(digest, 0))
        if len(seen) > PRE_PREPARED_MAX:
            del seen[min(seen, key=lambda d: (seen[d], d))]

    def p(self) -> tuple[Vote, ...]:
        return tuple(Vote(n, d, v) for n, (d, v) in sorted(self.prepared.items()))

    def q(self) -> tuple[Vote, ...]:
        return tuple(
            Vote(n, d, v) for n, seen in sorted(self.pre_prepared.items()) for d, v in seen.items()
        )

    def collect(self, low: int) -> None:
        """Garbage collection (1999, section 4.3): forgets all up to a stable checkpoint."""
        self.low = low
        for numbered in (self.slots, self.prepared, self.pre_prepared):
            for sequence in [n for n in numbered if n <= low]:
                del numbered[sequence]
        used = {d for seen in self.pre_prepared.values() for d in seen}
        used |= {s.committed for s in self.slots.values() if s.committed}
        used |= {s.digest for s in self.slots.values() if s.digest}
        self._batches = {d: b for d, b in self._batches.items() if d in used}


class CheckpointVotes:
    """Who says that the state at a number has a digest: of each replica the last few numbers."""

    KEPT = 4

    def __init__(self) -> None:
        self._said: dict[ReplicaId, dict[int, bytes]] = {}

    def enter(self, sender: ReplicaId, vote: Checkpoint) -> bool:
        """Counts a vote, the first of its sender for its number; whether it is new."""
        said = self._said.setdefault(sender, {})
        if vote.sequence in said:
            return False
        said[vote.sequence] = vote.digest
        if len(said) > self.KEPT:
            del said[min(said)]
        return True

    def voters(self, sequence: int, digest: bytes) -> tuple[ReplicaId, ...]:
        return tuple(r for r, said in self._said.items() if said.get(sequence) == digest)

    def last_with(self, count: int) -> tuple[int, bytes] | None:
        """The last number whose digest `count` replicas name alike."""
        named: dict[tuple[int, bytes], int] = {}
        for said in self._said.values():
            for place in said.items():
                named[place] = named.get(place, 0) + 1
        return max((place for place, voters in named.items() if voters >= count), default=None)
