"""Ed25519: keys, signed orders, verified prefixes. The one importer of nacl's signatures.

A4 (section 4): a loyal general's signature cannot be forged, any alteration can be detected, and
anyone can verify it. What is signed is a digest of everything before it:

    d_0 = H(context, protocol, run, instance, token)        d_k = H(d_k-1, signer_k, signature_k)
    signature_k = Sign(key of signer_k, context | d_k-1 | signer_k)

so that a signature of one run, protocol, instance, value or prefix is none of another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn, TypeAlias

import nacl.bindings
import nacl.exceptions
import nacl.signing

from node.messages import SignedOrder
from node.orders import GeneralId

SIGNATURE_BYTES: Final = nacl.bindings.crypto_sign_BYTES
PUBLIC_KEY_BYTES: Final = nacl.bindings.crypto_sign_PUBLICKEYBYTES
SECRET_BYTES: Final = nacl.bindings.crypto_sign_SEEDBYTES

CONTEXT_ORDER: Final = b"byzantine/1/order"
CONTEXT_CLOSING: Final = b"byzantine/1/journal-closing"


class Signer:
    """One general's signing key, made here and never shown: `repr` gives the public half."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._key = (
            nacl.signing.SigningKey(secret) if secret else nacl.signing.SigningKey.generate()
        )
        self.public = bytes(self._key.verify_key)

    def __repr__(self) -> str:
        return f"Signer(public={self.public.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key is never copied or pickled")

    def sign(self, context: bytes, statement: bytes) -> bytes:
        return self._key.sign(context + statement).signature

    def secret_for_coalition(self) -> bytes:
        """The seed, for another traitor of the same coalition and for nobody else."""
        return bytes(self._key)


@lru_cache(maxsize=1024)
def is_admissible(public: bytes) -> bool:
    """Whether a key may enter a roster: of prime order, so that all verifiers agree about it."""
    return len(public) == PUBLIC_KEY_BYTES and nacl.bindings.crypto_core_ed25519_is_valid_point(
        public
    )


def verify(public: bytes, context: bytes, statement: bytes, signature: bytes) -> bool:
    """Whether `signature` is one of `public` on this statement in this context. Total."""
    if len(signature) != SIGNATURE_BYTES or len(public) != PUBLIC_KEY_BYTES:
        return False
    try:
        nacl.bindings.crypto_sign_open(signature + context + statement, public)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


#: To be checked: that under this public key, in this context, to this statement belongs this
#: signature. A plain tuple, since an audit makes and sends round a hundred thousand.
Claim: TypeAlias = tuple[bytes, bytes, bytes, bytes]


def check_each(claims: Iterable[Claim]) -> Iterator[bool]:
    """Whether each claim is true, in their order."""
    return (verify(*claim) for claim in claims)


class Link(NamedTuple):
    """One signature of a chain. `key` is of this signature on everything before it in its chain,
    and of no other."""

    key: bytes
    signer: GeneralId
    claim: Claim


class Chains:
    """Signs and verifies the signed orders of one run; remembers each prefix it has verified.

    One object serves a general, and the auditor uses another: both check by the same code.
    `verifications` counts Ed25519 verifications done, known prefixes not among them.
    """

    def __init__(self, run: bytes, protocol: str, publics: Mapping[GeneralId, bytes]) -> None:
        self.run = run
        base = _hash(CONTEXT_ORDER, protocol.encode(), run)
        self._begun = hashlib.blake2b(_framed(base), digest_size=32)
        self._publics = publics
        self._verified: set[bytes] = set()
        self.verifications = 0

    def complete(
        self, order: SignedOrder, instance: int, signers: Mapping[GeneralId, Signer]
    ) -> SignedOrder:
        """The order with its missing last signatures added, as far as `signers` has the keys."""
        if len(order.signatures) >= len(order.signers):
            return order
        digest = self._start(order, instance)
        signatures = list(order.signatures)
        for position, general in enumerate(order.signers):
            if position >= len(signatures):
                if general not in signers:
                    break
                signatures.append(signers[general].sign(CONTEXT_ORDER, _statement(digest, general)))
            digest = _extend(digest, general, signatures[position])
        return SignedOrder(order.token, order.signers, tuple(signatures))

    def verify(self, order: SignedOrder, instance: int) -> bool:
        """Whether every signature of the chain is good. A chain costs its unknown suffix only."""
        if len(order.signers) != len(order.signatures) or not self.are_known(order.signers):
            return False
        for link in self.links(order, instance):
            if link.key in self._verified:
                continue
            self.verifications += 1
            if not verify(*link.claim):
                return False
            self._verified.add(link.key)
        return True

    def are_known(self, signers: tuple[GeneralId, ...]) -> bool:
        """Whether there are signers, and the key of each is in the roster."""
        return bool(signers) and all(map(self._publics.__contains__, signers))

    def links(self, order: SignedOrder, instance: int) -> list[Link]:
        """The chain, signature by signature; all its signers must be known."""
        links = []
        digest = self._start(order, instance)
        last = len(order.signers) - 1
        for position, general in enumerate(order.signers):
            signature = order.signatures[position]
            statement = _statement(digest, general)
            claim = (self._publics[general], CONTEXT_ORDER, statement, signature)
            links.append(Link(statement + signature, general, claim))
            if position < last:
                digest = _extend(digest, general, signature)
        return links

    @property
    def verified_count(self) -> int:
        """How many distinct signatures were found good."""
        return len(self._verified)

    def _start(self, order: SignedOrder, instance: int) -> bytes:
        state = self._begun.copy()
        state.update(_framed(instance.to_bytes(4, "big"), order.token))
        return state.digest()


def _statement(digest: bytes, signer: GeneralId) -> bytes:
    return digest + signer.to_bytes(8, "big", signed=True)


def _extend(digest: bytes, signer: GeneralId, signature: bytes) -> bytes:
    return _hash(digest, signer.to_bytes(8, "big", signed=True), signature)


def _hash(*parts: bytes) -> bytes:
    """BLAKE2b-256."""
    return hashlib.blake2b(_framed(*parts), digest_size=32).digest()


def _framed(*parts: bytes) -> bytes:
    """The parts, each under its length so that no two lists collide."""
    return b"".join([piece for part in parts for piece in (len(part).to_bytes(8, "big"), part)])


def pairwise_key(secret: bytes, public: bytes) -> bytes:
    """32 bytes that the owners of two X25519 keys share and nobody else knows.

    ValueError where `public` is of small order: everybody would know what comes of it.
    """
    try:
        shared = nacl.bindings.crypto_scalarmult(secret, public)
    except (nacl.exceptions.CryptoError, TypeError, ValueError) as error:
        raise ValueError("no X25519 key") from error
    return hashlib.blake2b(shared, digest_size=32, person=b"byz-pairwise").digest()


def exchange_public(secret: bytes) -> bytes:
    """The public half of an X25519 key."""
    return nacl.bindings.crypto_scalarmult_base(secret)
