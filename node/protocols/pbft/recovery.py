"""What a replica's records add up to: the fold that every store of them has in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from node.protocols.pbft.effects import (
    Learnt,
    Prepared,
    PrePrepared,
    Record,
    Stable,
    Taken,
    ViewEntered,
)
from node.protocols.pbft.log import Log
from node.protocols.pbft.replica import Recovered

#: The fold needs no watermarks: what is beyond them was never recorded.
_NO_WINDOW = 1 << 62


def recovered(records: Iterable[Record]) -> Recovered:
    """What a replica knows again from all its records, in the order in which it made them."""
    log = Log(0, _NO_WINDOW)
    known = Recovered(
        prepared=log.prepared, pre_prepared=log.pre_prepared, batches={}, snapshots={}
    )
    for record in records:
        match record:
            case PrePrepared(view, sequence, digest, batch):
                log.enter_pre_prepared(sequence, digest, view)
                if batch is not None:
                    known.batches[digest] = batch
            case Prepared(view, sequence, digest):
                log.prepared[sequence] = (digest, view)
                known.learnt = max(known.learnt, sequence)
            case Learnt(sequence):
                known.learnt = max(known.learnt, sequence)
            case ViewEntered(view, view_change, new_view):
                known.view, known.view_change, known.new_view = view, view_change, new_view
            case Taken(snapshot):
                known.snapshots[snapshot.sequence] = snapshot
                known.learnt = max(known.learnt, snapshot.sequence)
            case Stable(sequence):
                log.collect(sequence)
                known.stable = sequence
                for older in [n for n in known.snapshots if n < sequence]:
                    del known.snapshots[older]
            case _:
                assert_never(record)
    used = {digest for seen in log.pre_prepared.values() for digest in seen}
    known.batches = {d: b for d, b in known.batches.items() if d in used}
    return known
