"""How long the frames of a run are, round by round: what the bare rounds must carry as well."""

from __future__ import annotations

from node.messages import Empty, Frame, Oral, Signed, SignedOrder
from node.orders import Domain, Enumerated
from node.protocols import paths
from node.quorums import lockstep_rounds
from node.signatures import SIGNATURE_BYTES
from node.wire import encode

#: A run id is a digest.
RUN_BYTES = 32


def oral_frame_bytes(n: int, m: int, domain: Domain | None = None) -> list[int]:
    """OM(m): in round r a lieutenant relays his level r - 1, one value a path."""
    domain = domain or Enumerated()
    values = [1, *(paths.count(n - 2, r - 2) for r in range(2, lockstep_rounds(m) + 1))]
    return [
        _bytes(round, Oral(bytes(domain.packed_bytes(count))))
        for round, count in enumerate(values, start=1)
    ]


def signed_frame_bytes(m: int, *, two_faced: bool = False) -> list[int]:
    """SM(m): one chain a frame while there is news, which two-faced news is until round 3; that
    round's frames bring the proof against the commander along."""
    last = 3 if two_faced else 2
    proof = (_chain(1), _chain(1))
    return [
        _bytes(round, Signed((_chain(round),), proof if round == 3 else ()))
        if round <= last
        else _bytes(round, Empty())
        for round in range(1, lockstep_rounds(m) + 1)
    ]


def _chain(signatures: int) -> SignedOrder:
    token = Enumerated().token("attack")
    return SignedOrder(token, tuple(range(signatures)), (bytes(SIGNATURE_BYTES),) * signatures)


def _bytes(round: int, body: Empty | Oral | Signed) -> int:
    return len(encode(Frame(bytes(RUN_BYTES), round, body)))
