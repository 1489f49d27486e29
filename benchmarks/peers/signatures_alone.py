"""The limit of signed messages: libsodium's signatures and verifications, nothing around them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import nacl.bindings

#: What a general signs: a context, a digest of all before it, and who he is (`signatures.py`).
STATEMENT_BYTES = 57


@dataclass(frozen=True)
class Signatures:
    """How many signatures a run makes and how many verifications, over all generals."""

    signs: int
    verifies: int


def under_a_loyal_commander(n: int) -> Signatures:
    """SM(m), m >= 1: everyone signs one order, and everyone but the commander verifies one chain.

    Of a chain that repeats the order he holds, a lieutenant has nothing to verify.
    """
    return Signatures(signs=n, verifies=n - 1)


def under_a_two_faced_commander(n: int) -> Signatures:
    """SM(m), m >= 2, at most: the commander signs two orders and every lieutenant relays both.

    A lieutenant verifies the commander's signature on the order he got first, and on the other one
    the commander's and that of whoever relayed it: three in all.
    """
    return Signatures(signs=2 * n, verifies=3 * (n - 1))


def signatures_alone(work: Signatures) -> float:
    """Processor seconds of the work, by the bindings that `signatures.py` calls."""
    public, secret = nacl.bindings.crypto_sign_seed_keypair(bytes(range(32)))
    statements = [i.to_bytes(STATEMENT_BYTES, "big") for i in range(max(work.signs, work.verifies))]
    signed = [nacl.bindings.crypto_sign(statement, secret) for statement in statements]
    start = time.process_time()
    for statement in statements[: work.signs]:
        nacl.bindings.crypto_sign(statement, secret)
    for message in signed[: work.verifies]:
        nacl.bindings.crypto_sign_open(message, public)
    return time.process_time() - start
