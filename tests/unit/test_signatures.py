"""Ed25519, signed orders and verified prefixes (section 4, assumption A4)."""

from __future__ import annotations

import copy
import pickle
import random
import traceback

import msgspec
import nacl.bindings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import signatures
from node.messages import Conspire, SignedOrder
from node.signatures import (
    CONTEXT_CLOSING,
    CONTEXT_ORDER,
    Chains,
    Signer,
    is_admissible,
    verify,
)

RUN, OTHER_RUN = b"1" * 32, b"2" * 32
SIGNERS = {general: Signer(bytes([general + 1]) * 32) for general in range(5)}
PUBLICS = {general: signer.public for general, signer in SIGNERS.items()}

#: The order of the group of Ed25519's base point.
L = 2**252 + 27742317777372353535851937790883648493


def chains(run: bytes = RUN, protocol: str = "signed") -> Chains:
    return Chains(run, protocol, PUBLICS)


def order(*signers: int, token: bytes = b'"attack"', instance: int = 0) -> SignedOrder:
    """v:0:j1..jk with every signature."""
    return chains().complete(SignedOrder(token, signers, ()), instance, SIGNERS)


# One signature.


def test_a_signature_is_good_on_its_statement_in_its_context_by_its_key() -> None:
    signature = SIGNERS[0].sign(CONTEXT_ORDER, b"statement")
    assert verify(PUBLICS[0], CONTEXT_ORDER, b"statement", signature)


@pytest.mark.parametrize(
    ("general", "context", "statement"),
    [
        (1, CONTEXT_ORDER, b"statement"),
        (0, CONTEXT_CLOSING, b"statement"),
        (0, CONTEXT_ORDER, b"statements"),
        (0, CONTEXT_ORDER, b""),
    ],
    ids=["another key", "another context", "another statement", "no statement"],
)
def test_a4_it_is_good_on_nothing_else(general: int, context: bytes, statement: bytes) -> None:
    signature = SIGNERS[0].sign(CONTEXT_ORDER, b"statement")
    assert not verify(PUBLICS[general], context, statement, signature)


def test_no_context_begins_another() -> None:
    """So that a statement cannot be moved from one to the next by moving a byte."""
    contexts = [value for name, value in vars(signatures).items() if name.startswith("CONTEXT_")]
    assert len(contexts) >= 2
    assert not any(a != b and a.startswith(b) for a in contexts for b in contexts)


@given(st.integers(0, 511))
def test_a4_a_signature_with_any_one_bit_flipped_is_bad(bit: int) -> None:
    signature = bytearray(SIGNERS[0].sign(CONTEXT_ORDER, b"statement"))
    signature[bit // 8] ^= 1 << bit % 8
    assert not verify(PUBLICS[0], CONTEXT_ORDER, b"statement", bytes(signature))


def test_sm16_a_signature_malleated_by_the_group_order_is_bad() -> None:
    """S + L satisfies the same equation: only a check that S < L refuses it."""
    signature = SIGNERS[0].sign(CONTEXT_ORDER, b"statement")
    malleated = int.from_bytes(signature[32:], "little") + L
    twin = signature[:32] + malleated.to_bytes(32, "little")
    assert not verify(PUBLICS[0], CONTEXT_ORDER, b"statement", twin)


@pytest.mark.parametrize("length", [0, 1, 32, 63, 65, 128])
def test_a_signature_of_a_wrong_length_is_bad_and_raises_nothing(length: int) -> None:
    signature = (SIGNERS[0].sign(CONTEXT_ORDER, b"statement") * 2)[:length]
    assert not verify(PUBLICS[0], CONTEXT_ORDER, b"statement", signature)


def test_a_longer_signature_does_not_shift_the_statement() -> None:
    """65 bytes whose last is the context's first: together they are the same bytes."""
    signature = SIGNERS[0].sign(CONTEXT_ORDER, b"statement")
    shifted = signature + CONTEXT_ORDER[:1]
    assert not verify(PUBLICS[0], CONTEXT_ORDER[1:], b"statement", shifted)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_a_wrong_length_verifies_nothing_and_raises_nothing(length: int) -> None:
    signature = SIGNERS[0].sign(CONTEXT_ORDER, b"statement")
    assert not verify((PUBLICS[0] * 2)[:length], CONTEXT_ORDER, b"statement", signature)


# Keys that may enter a roster.


def test_a_generals_own_key_is_admissible() -> None:
    assert all(is_admissible(Signer().public) for _ in range(8))


#: A point of order 8 and, of smaller order, 2, 1 and 4 (the last two have y = 1 and y = 0).
SMALL_ORDER = [
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes([1]) + bytes(31),
    bytes(32),
]


@pytest.mark.parametrize("torsion", SMALL_ORDER[:2], ids=["order 8", "order 2"])
def test_a_key_of_mixed_order_is_not_admissible(torsion: bytes) -> None:
    """Verifiers differ about its signatures: one in eight here, all of them elsewhere."""
    mixed = nacl.bindings.crypto_core_ed25519_add(PUBLICS[0], torsion)
    assert mixed != PUBLICS[0]
    assert not is_admissible(mixed)


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_a_key_of_small_order_is_not_admissible(key: bytes) -> None:
    assert not is_admissible(key)


@pytest.mark.parametrize(
    "key", [b"", PUBLICS[0][:31], PUBLICS[0] + b"\0", b"\xff" * 32, b"\2" * 32]
)
def test_what_is_no_point_is_not_admissible(key: bytes) -> None:
    assert not is_admissible(key)


# Chains.


def test_a4_a_chain_is_good_where_every_signer_signed_all_before_him() -> None:
    assert chains().verify(order(0, 3, 1), 0)


@pytest.mark.parametrize("position", range(3))
def test_a4_a_chain_with_one_bad_signature_anywhere_is_bad(position: int) -> None:
    good = order(0, 3, 1)
    bad = list(good.signatures)
    bad[position] = bytes(64)
    assert not chains().verify(msgspec.structs.replace(good, signatures=tuple(bad)), 0)


def test_a4_a_signature_is_of_no_other_value() -> None:
    assert not chains().verify(msgspec.structs.replace(order(0, 1), token=b'"retreat"'), 0)


def test_sm10_a_signature_of_one_run_is_none_of_another() -> None:
    assert not chains(run=OTHER_RUN).verify(order(0, 1), 0)


def test_sm12_a_signature_of_one_protocol_is_none_of_another() -> None:
    assert not chains(protocol="pbft").verify(order(0, 1), 0)


def test_a_signature_of_one_instance_is_none_of_another() -> None:
    assert not chains().verify(order(0, 1), 1)


def test_a_signature_behind_one_prefix_is_none_behind_another() -> None:
    """Spliced: general 1 signed v:0:3, and his signature is shown behind v:0."""
    long = order(0, 3, 1)
    spliced = SignedOrder(long.token, (0, 1), (long.signatures[0], long.signatures[2]))
    assert not chains().verify(spliced, 0)


def test_a_signature_is_not_another_signers() -> None:
    good = order(0, 1)
    assert not chains().verify(msgspec.structs.replace(good, signers=(0, 2)), 0)


def test_a_signature_is_not_another_signers_even_where_two_share_a_key() -> None:
    good = order(0, 1)
    sharing = Chains(RUN, "signed", {**PUBLICS, 2: PUBLICS[1]})
    assert sharing.verify(good, 0)
    assert not sharing.verify(msgspec.structs.replace(good, signers=(0, 2)), 0)


def test_signatures_cannot_be_swapped_among_their_signers() -> None:
    good = order(0, 1)
    assert not chains().verify(msgspec.structs.replace(good, signatures=good.signatures[::-1]), 0)


def test_pieces_that_are_hashed_do_not_run_into_each_other() -> None:
    """The last byte of the protocol's name moved to the front of the run is another statement."""
    moved = Chains(b"d" + RUN, "signe", PUBLICS)
    assert not moved.verify(order(0), 0)


@pytest.mark.parametrize("signers", [(9,), (0, 99), (-1,), (0, -1), (2**63,), (0, 2**64 - 1)])
def test_a_chain_with_an_unknown_signer_is_bad_and_raises_nothing(signers: tuple[int, ...]) -> None:
    signature = order(0).signatures[0]
    unknown = SignedOrder(b'"attack"', signers, (signature,) * len(signers))
    assert not chains().verify(unknown, 0)


@pytest.mark.parametrize(("signers", "signatures"), [((), 0), ((0,), 0), ((0,), 2), ((), 1)])
def test_a_chain_needs_a_signature_for_each_signer_and_one_at_least(
    signers: tuple[int, ...], signatures: int
) -> None:
    good = order(0).signatures
    assert not chains().verify(SignedOrder(b'"attack"', signers, good * signatures), 0)


def test_two_valid_signatures_of_one_signer_on_one_order_are_both_good() -> None:
    """A signer can make many: nothing may be indexed by a signature."""
    good = order(0)
    secret = SIGNERS[0].secret_for_coalition()
    second = another_signature(secret, b'"attack"')
    assert second != good.signatures[0]
    verifier = chains()
    assert verifier.verify(good, 0)
    assert verifier.verify(msgspec.structs.replace(good, signatures=(second,)), 0)
    assert verifier.verifications == verifier.verified_count == 2


def test_a_verified_prefix_costs_nothing_again() -> None:
    verifier = chains()
    assert verifier.verify(order(0, 3), 0)
    assert verifier.verify(order(0, 3), 0)
    assert verifier.verifications == 2
    assert verifier.verify(order(0, 3, 1), 0)
    assert verifier.verifications == verifier.verified_count == 3


def test_a_bad_signature_is_not_remembered_as_good() -> None:
    verifier = chains()
    bad = msgspec.structs.replace(order(0), signatures=(bytes(64),))
    assert [verifier.verify(bad, 0) for _ in range(3)] == [False] * 3
    assert (verifier.verifications, verifier.verified_count) == (3, 0)


def test_what_was_verified_in_one_instance_is_verified_anew_in_another() -> None:
    verifier = chains()
    assert verifier.verify(order(0), 0)
    assert not verifier.verify(order(0), 1)
    assert verifier.verifications == 2


def test_a_chain_is_completed_with_the_keys_that_are_held() -> None:
    blank = SignedOrder(b'"attack"', (0, 3, 1), ())
    held = {general: SIGNERS[general] for general in (0, 3)}
    completed = chains().complete(blank, 0, held)
    assert completed.signers == (0, 3, 1)
    assert completed.signatures == order(0, 3, 1).signatures[:2]


def test_a_chain_is_completed_no_further_than_the_first_key_that_is_missing() -> None:
    blank = SignedOrder(b'"attack"', (0, 3, 1), ())
    assert chains().complete(blank, 0, {3: SIGNERS[3], 1: SIGNERS[1]}).signatures == ()


def test_a_complete_chain_is_left_as_it_is() -> None:
    good = order(0, 1)
    assert chains().complete(good, 0, {}) is good


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True), st.integers(0, 10**6))
def test_whoever_signs_in_turn_makes_a_good_chain(signers: list[int], instance: int) -> None:
    """As it happens among generals: each completes what he was handed with his own key alone."""
    passed = SignedOrder(b"1.5", (), ())
    for general in signers:
        named = SignedOrder(passed.token, (*passed.signers, general), passed.signatures)
        passed = chains().complete(named, instance, {general: SIGNERS[general]})
    assert chains().verify(passed, instance)


# Secrets.


def test_a_signer_of_a_given_secret_is_always_the_same_and_one_of_none_never() -> None:
    assert Signer(bytes([1]) * 32).public == PUBLICS[0]
    assert Signer().public != Signer().public


def test_sc6_neither_repr_nor_str_nor_format_of_a_signer_shows_its_secret() -> None:
    signer = Signer(random.Random("secret").randbytes(32))
    shown = f"{signer!r} {signer} {[signer]} {vars(signer)}"
    assert signer.public.hex() in shown
    assert_hidden(signer.secret_for_coalition(), shown.encode())


def test_sc6_a_signer_is_never_pickled_or_copied() -> None:
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never copied or pickled"):
            duplicate(SIGNERS[0])


def test_sc6_a_traceback_with_local_variables_shows_no_secret() -> None:
    signer = Signer(random.Random("secret").randbytes(32))
    conspire = Conspire(RUN, signer.secret_for_coalition())

    def fails(signer: Signer, message: Conspire) -> None:
        signer.sign(b"context", None)

    try:
        fails(signer, conspire)
    except TypeError as fault:
        shown = "".join(
            traceback.TracebackException.from_exception(fault, capture_locals=True).format()
        )
    # The caller's frame is this test's own, and holds the secret for comparison only.
    assert "Signer(public=" in shown
    assert "Conspire(run=" in shown
    assert_hidden(conspire.secret, shown.encode())


def assert_hidden(secret: bytes, shown: bytes) -> None:
    for spelling in (
        secret,
        secret.hex().encode(),
        repr(secret)[2:-1].encode(),
        ascii(list(secret)).encode(),
    ):
        assert spelling not in shown


def another_signature(secret: bytes, token: bytes) -> bytes:
    """A second signature of the same order: the same key, with a nonce of chance."""
    statement = CONTEXT_ORDER + statement_of(token)
    _, expanded = nacl.bindings.crypto_sign_seed_keypair(secret)
    scalar = nacl.bindings.crypto_sign_ed25519_sk_to_curve25519(expanded)
    nonce = nacl.bindings.crypto_core_ed25519_scalar_reduce(random.Random("nonce").randbytes(64))
    point = nacl.bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
    public = expanded[32:]
    digest = nacl.bindings.crypto_hash_sha512(point + public + statement)
    challenge = nacl.bindings.crypto_core_ed25519_scalar_reduce(digest)
    product = nacl.bindings.crypto_core_ed25519_scalar_mul(
        challenge, nacl.bindings.crypto_core_ed25519_scalar_reduce(scalar + bytes(32))
    )
    return point + nacl.bindings.crypto_core_ed25519_scalar_add(nonce, product)


def statement_of(token: bytes) -> bytes:
    """What the first signer of an order signs, in instance 0 of `RUN`."""
    verifier = chains()
    digest = verifier._start(SignedOrder(token, (0,), ()), 0)
    return signatures._statement(digest, 0)
