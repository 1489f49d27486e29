"""Digests, authenticators and signatures: who asked for a request, who stands by a view change.

A request's digest covers what it asks for and not how that is proven, so that it is the same
request under MACs and, retransmitted, under a signature. MAC keys are pairwise, from the X25519
keys that client and replica already have for CURVE (2002, section 3).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from node.protocols.pbft.messages import (
    NULL,
    Batch,
    ClientId,
    NewView,
    ReplicaId,
    Request,
    Result,
    ViewChange,
)
from node.signatures import Signer, pairwise_key, verify

MAC_BYTES: Final = 16

CONTEXT_REQUEST: Final = b"byzantine/1/pbft-request"
CONTEXT_VIEW_CHANGE: Final = b"byzantine/1/pbft-view-change"
CONTEXT_NEW_VIEW: Final = b"byzantine/1/pbft-new-view"

NULL_BATCH: Final = Batch(0, b"", ())

_encode = msgspec.msgpack.Encoder().encode
_blake2b = hashlib.blake2b


def request_digest(request: Request) -> bytes:
    """32 bytes for who asks for what, and when."""
    core = _encode(
        (
            request.client,
            request.timestamp,
            request.acknowledged,
            request.operations,
            request.is_read_only,
        )
    )
    return _blake2b(core, digest_size=32, person=b"pbft-request").digest()


def batch_digest(batch: Batch, requests: Sequence[bytes] | None = None) -> bytes:
    """32 bytes over the primary's values and `requests`, the digests of the batch's requests."""
    if batch == NULL_BATCH:
        return NULL
    if requests is None:
        requests = [request_digest(request) for request in batch.requests]
    head = _encode((batch.time_ns, batch.seed, len(requests)))
    return _blake2b(head + b"".join(requests), digest_size=32, person=b"pbft-batch").digest()


def results_digest(results: Sequence[Result]) -> bytes:
    return _blake2b(_encode(results), digest_size=32, person=b"pbft-results").digest()


class Authenticity(Protocol):
    """What the machine asks about proofs. The keys are its host's."""

    def of_request(self, request: Request, digest: bytes) -> bool:
        """Whether the client vouches for this request towards this very replica."""
        ...

    def is_signed(self, request: Request, digest: bytes) -> bool:
        """Whether the client vouches for it towards everybody."""
        ...

    def signed_view_change(self, unsigned: ViewChange) -> ViewChange: ...

    def signed_new_view(self, unsigned: NewView) -> NewView: ...

    def of_view_change(self, message: ViewChange) -> bool: ...

    def of_new_view(self, message: NewView, primary: ReplicaId) -> bool: ...


class ReplicaAuthentication:
    """A replica's keys at work. `secret` is its X25519 key, `clients` the two public keys of each:
    X25519 and Ed25519; `verifications` counts Ed25519 verifications."""

    def __init__(
        self,
        *,
        me: ReplicaId,
        cluster: bytes,
        signer: Signer,
        secret: bytes,
        replicas: Mapping[ReplicaId, bytes],
        clients: Mapping[ClientId, tuple[bytes, bytes]],
    ) -> None:
        self._at = me * MAC_BYTES
        self._macs_bytes = len(replicas) * MAC_BYTES
        self._cluster = cluster
        self._signer = signer
        self._secret = secret
        self._replicas = dict(replicas)
        self._clients = dict(clients)
        self._keys: dict[ClientId, bytes] = {}
        self._verified: dict[bytes, None] = {}
        self.verifications = 0

    def of_request(self, request: Request, digest: bytes) -> bool:
        if request.signature:
            return self.is_signed(request, digest)
        if len(request.macs) != self._macs_bytes or request.client not in self._clients:
            return False
        mine = request.macs[self._at : self._at + MAC_BYTES]
        return hmac.compare_digest(mine, _mac(self._key(request.client), digest))

    def is_signed(self, request: Request, digest: bytes) -> bool:
        known = self._clients.get(request.client)
        return known is not None and self._is_good(
            known[1], CONTEXT_REQUEST, self._cluster + digest, request.signature
        )

    def signed_view_change(self, unsigned: ViewChange) -> ViewChange:
        signature = self._signer.sign(CONTEXT_VIEW_CHANGE, self._statement(unsigned))
        return msgspec.structs.replace(unsigned, signature=signature)

    def signed_new_view(self, unsigned: NewView) -> NewView:
        signature = self._signer.sign(CONTEXT_NEW_VIEW, self._statement(unsigned))
        return msgspec.structs.replace(unsigned, signature=signature)

    def of_view_change(self, message: ViewChange) -> bool:
        public = self._replicas.get(message.replica)
        return public is not None and self._is_good(
            public, CONTEXT_VIEW_CHANGE, self._statement(message), message.signature
        )

    def of_new_view(self, message: NewView, primary: ReplicaId) -> bool:
        return self._is_good(
            self._replicas[primary], CONTEXT_NEW_VIEW, self._statement(message), message.signature
        )

    def _statement(self, message: ViewChange | NewView) -> bytes:
        bare = msgspec.structs.replace(message, signature=b"")
        return self._cluster + _blake2b(_encode(bare), digest_size=32).digest()

    def _key(self, client: ClientId) -> bytes:
        key = self._keys.get(client)
        if key is None:
            public = self._clients[client][0]
            key = self._keys[client] = mac_key(self._secret, public, self._cluster)
        return key

    def _is_good(self, public: bytes, context: bytes, statement: bytes, signature: bytes) -> bool:
        """Verifies, and remembers the last ones: a forwarded proof is seen more than once."""
        name = public + context + statement + signature
        if name in self._verified:
            return True
        self.verifications += 1
        if not verify(public, context, statement, signature):
            return False
        self._verified[name] = None
        if len(self._verified) > _VERIFIED_MAX:
            del self._verified[next(iter(self._verified))]
        return True


_VERIFIED_MAX: Final = 1_024


class ClientAuthentication:
    """A client's keys at work. `replicas` are the replicas' X25519 public keys, in their order."""

    def __init__(
        self, *, cluster: bytes, signer: Signer, secret: bytes, replicas: Sequence[bytes]
    ) -> None:
        self._cluster = cluster
        self._signer = signer
        self._keys = [mac_key(secret, public, cluster) for public in replicas]

    def with_macs(self, request: Request) -> Request:
        digest = request_digest(request)
        macs = b"".join([_mac(key, digest) for key in self._keys])
        return msgspec.structs.replace(request, macs=macs)

    def with_signature(self, request: Request) -> Request:
        digest = request_digest(request)
        signature = self._signer.sign(CONTEXT_REQUEST, self._cluster + digest)
        return msgspec.structs.replace(request, macs=b"", signature=signature)


def mac_key(secret: bytes, public: bytes, cluster: bytes) -> bytes:
    """The key that two parties share in one cluster, from one's X25519 secret, the other's public
    half. ValueError where the public key is one of those that give no secret."""
    shared = pairwise_key(secret, public)
    return _blake2b(cluster, key=shared, digest_size=32, person=b"pbft-mac-key").digest()


def _mac(key: bytes, digest: bytes) -> bytes:
    return _blake2b(digest, key=key, digest_size=MAC_BYTES).digest()
