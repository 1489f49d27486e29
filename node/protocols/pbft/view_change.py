"""View-change and new-view as pure functions: what is well-formed, and which batches O holds.

Source: 2002, section 4.4, figure 2. The primary of a new view chooses a checkpoint and, for each
sequence number after it, the batch that may have committed, or the null request where none can
have; every backup repeats the choice from the same signed view-changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.messages import DIGEST_BYTES, NULL, NewView, ViewChange, Vote

#: Entries of Q that a view-change lists for one sequence number: the last views of each digest.
PRE_PREPARED_MAX = 8
#: Checkpoints that a replica holds at a time.
CHECKPOINTS_MAX = 8


class Choice(msgspec.Struct, frozen=True):
    """Where a view starts, and the digests at the sequence numbers that follow."""

    stable: int
    stable_digest: bytes
    chosen: tuple[bytes, ...]


def is_well_formed(message: ViewChange, configuration: Configuration) -> bool:
    """Whether the sets of a view-change are what a correct replica could list."""
    stable, top = message.stable, message.stable + configuration.window
    if not 0 <= message.replica < configuration.n or message.view == 0:
        return False
    if not 0 < len(message.checkpoints) <= CHECKPOINTS_MAX:
        return False
    if any(c.sequence < stable or len(c.digest) != DIGEST_BYTES for c in message.checkpoints):
        return False
    votes = (*message.prepared, *message.pre_prepared)
    if any(not stable < v.sequence <= top or v.view >= message.view for v in votes):
        return False
    numbers = [v.sequence for v in message.prepared]
    places = [(v.sequence, v.digest) for v in message.pre_prepared]
    return (
        len(set(numbers)) == len(numbers)
        and len(set(places)) == len(places)
        and len(places) <= PRE_PREPARED_MAX * configuration.window
    )


def is_evidence(
    proof: Sequence[ViewChange], culprit: int, is_signed: Callable[[ViewChange], bool]
) -> bool:
    """Whether two view-changes prove that `culprit` said two things about one view."""
    if len(proof) != 2 or proof[0] == proof[1] or proof[0].view != proof[1].view:
        return False
    return all(one.replica == culprit and is_signed(one) for one in proof)


def choose(view_changes: Sequence[ViewChange], configuration: Configuration) -> Choice | None:
    """What the new view starts from, or None where more view-changes are needed to tell."""
    start = _starting_checkpoint(view_changes, configuration)
    if start is None:
        return None
    stable, digest = start
    top = max((v.sequence for m in view_changes for v in m.prepared), default=stable)
    chosen: list[bytes] = []
    for sequence in range(stable + 1, top + 1):
        one = _choose_one(sequence, view_changes, configuration)
        if one is None:
            return None
        chosen.append(one)
    while chosen and chosen[-1] == NULL:
        chosen.pop()
    return Choice(stable, digest, tuple(chosen))


def is_justified(message: NewView, configuration: Configuration) -> bool:
    """Whether a new-view follows from the view-changes that it carries. Signatures aside."""
    changes = message.view_changes
    if len({change.replica for change in changes}) != len(changes):
        return False
    if len(changes) < configuration.quorum or len(changes) > configuration.n:
        return False
    for change in changes:
        if change.view != message.view or not is_well_formed(change, configuration):
            return False
    return choose(changes, configuration) == Choice(
        message.stable, message.stable_digest, message.chosen
    )


def _starting_checkpoint(
    view_changes: Sequence[ViewChange], configuration: Configuration
) -> tuple[int, bytes] | None:
    """The last checkpoint that f + 1 hold and that no log of a quorum starts after."""
    held: dict[tuple[int, bytes], set[int]] = {}
    for message in view_changes:
        for one in message.checkpoints:
            held.setdefault((one.sequence, one.digest), set()).add(message.replica)
    good = [
        place
        for place, holders in held.items()
        if len(holders) >= configuration.weak
        and sum(m.stable <= place[0] for m in view_changes) >= configuration.quorum
    ]
    return max(good, default=None)


def _choose_one(
    sequence: int, view_changes: Sequence[ViewChange], configuration: Configuration
) -> bytes | None:
    """The digest for one number: condition A, else the null request by condition B, else None."""
    open_at = [message for message in view_changes if message.stable < sequence]
    prepared = {
        message.replica: vote
        for message in open_at
        for vote in message.prepared
        if vote.sequence == sequence
    }
    for vote in sorted(prepared.values(), key=lambda v: (v.view, v.digest), reverse=True):
        if _is_supported(vote, len(open_at), prepared, view_changes, configuration):
            return vote.digest
    if len(open_at) - len(prepared) >= configuration.quorum:
        return NULL
    return None


def _is_supported(
    vote: Vote,
    open_at: int,
    prepared: dict[int, Vote],
    view_changes: Sequence[ViewChange],
    configuration: Configuration,
) -> bool:
    """A1: a quorum prepared nothing later or else. A2: f + 1 pre-prepared it then or later."""
    against = sum(
        other.view > vote.view or (other.view == vote.view and other.digest != vote.digest)
        for other in prepared.values()
    )
    if open_at - against < configuration.quorum:
        return False
    vouchers = sum(
        any(
            q.sequence == vote.sequence and q.digest == vote.digest and q.view >= vote.view
            for q in message.pre_prepared
        )
        for message in view_changes
    )
    return vouchers >= configuration.weak
