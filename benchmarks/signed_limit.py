"""Signature chains of SM(10) with n=31: their processor time against libsodium's alone.

Ours is `signatures.Chains` doing what all generals of a run ask of it: digests, prefixes and
signatures of whole chains. The limit is the same number of signatures and verifications, bare.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.measure import Row, Within, interleaved
from benchmarks.peers.signatures_alone import (
    signatures_alone,
    under_a_loyal_commander,
    under_a_two_faced_commander,
)
from node.messages import SignedOrder
from node.orders import Enumerated, GeneralId
from node.signatures import Chains, Signer

N = 31
COMMANDER = 0
ATTACK, RETREAT = (Enumerated().token(value) for value in ("attack", "retreat"))
#: One run takes a few milliseconds: enough of them for a steady median.
RUNS_EACH = 10


def rows(times: int) -> Iterator[Row]:
    for who, tokens, work in (
        ("loyal", (ATTACK,), under_a_loyal_commander(N)),
        ("two-faced", (ATTACK, RETREAT), under_a_two_faced_commander(N)),
    ):
        ours, limit = interleaved(
            times * RUNS_EACH,
            lambda tokens=tokens, work=work: chains_s(tokens, work.verifies),  # type: ignore[misc]
            lambda work=work: signatures_alone(work),  # type: ignore[misc]
        )
        what = f"SM(10) n={N}, {who} commander, {work.signs} signed, {work.verifies} verified"
        yield Within(what, ours, limit, at_most=1.5)


def chains_s(tokens: tuple[bytes, ...], verifications: int) -> float:
    """Processor seconds of all generals' chains when the commander signs `tokens`, dealt in turn.

    Each lieutenant verifies what the commander gave him and signs it on; where another order went
    to others, he also verifies that one, relayed once, and signs it on.
    """
    signers = {general: Signer() for general in range(N)}
    publics = {general: signer.public for general, signer in signers.items()}
    chains = [Chains(bytes(32), "signed", publics) for _ in range(N)]
    start = time.process_time()
    given = [
        _sign(chains[COMMANDER], SignedOrder(token, (), ()), COMMANDER, signers) for token in tokens
    ]
    relayed: dict[GeneralId, SignedOrder] = {}
    for me in range(1, N):
        order = given[me % len(given)]
        assert chains[me].verify(order, instance=0)
        relayed[me] = _sign(chains[me], order, me, signers)
    if len(tokens) > 1:
        for me in range(1, N):
            news = relayed[me - 1 if me > 1 else 2]
            assert chains[me].verify(news, instance=0)
            _sign(chains[me], news, me, signers)
    elapsed = time.process_time() - start
    done = sum(chain.verifications for chain in chains)
    if done != verifications:
        raise AssertionError(f"{done} verifications done, {verifications} are due")
    return elapsed


def _sign(
    chains: Chains, order: SignedOrder, me: GeneralId, signers: dict[GeneralId, Signer]
) -> SignedOrder:
    longer = SignedOrder(order.token, (*order.signers, me), order.signatures)
    return chains.complete(longer, 0, {me: signers[me]})
