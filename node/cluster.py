"""A cluster as its replicas and clients know it: who they are, where, and what they agreed on.

One file, `cluster.json`, is the same for everybody and holds public keys alone. Its fingerprint is
the cluster's id, which every packet and every signature bears. A key file holds one secret and is
its owner's only.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from node.protocols.pbft.authentication import ClientAuthentication, ReplicaAuthentication
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.key_value import KeyValueStore
from node.protocols.pbft.messages import ClientId, ReplicaId
from node.protocols.pbft.service import Service
from node.signatures import Signer, exchange_public, is_admissible

FILE: Final = "cluster.json"
KEY_FILE: Final = "key"
FORMAT: Final = 1
SECRET_BYTES: Final = 32


class ClusterError(Exception):
    """A cluster's files cannot be used; the text says which, why, and what to do."""


class Member(msgspec.Struct, frozen=True):
    """A replica to others: where it hears replicas and clients, and its two public keys."""

    replica: ReplicaId
    endpoint: str
    client_endpoint: str
    exchange_public: bytes
    signing_public: bytes


class Customer(msgspec.Struct, frozen=True):
    """A client who may ask."""

    client: ClientId
    exchange_public: bytes
    signing_public: bytes


class Cluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Members and customers stand in ascending order. `nonce` makes each cluster another."""

    format: int = FORMAT
    service: str = "kv"
    configuration: Configuration
    members: tuple[Member, ...]
    customers: tuple[Customer, ...]
    nonce: bytes

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"format {self.format}, and this program knows {FORMAT}")
        if [m.replica for m in self.members] != list(range(self.configuration.n)):
            raise ValueError(f"the members are not replicas 0 .. {self.configuration.n - 1}")
        if [c.client for c in self.customers] != list(range(len(self.customers))):
            raise ValueError("the customers are not numbered from 0 on")
        everybody: tuple[Member | Customer, ...] = (*self.members, *self.customers)
        for field in ("exchange_public", "signing_public"):
            keys = {getattr(one, field) for one in everybody}
            if len(keys) != len(everybody):
                raise ValueError(f"two of the cluster share a {field}")
        if not all(is_admissible(one.signing_public) for one in everybody):
            raise ValueError("a signing_public is no Ed25519 key")

    @property
    def id(self) -> bytes:
        """32 bytes that commit to everything here."""
        digest = hashlib.blake2b(digest_size=32, person=b"byz-pbft-cluster")
        digest.update(msgspec.json.encode(self))
        return digest.digest()


class Identity:
    """One secret, and the two keys that come of it. Never printed, copied or sent."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a secret has {SECRET_BYTES} bytes")
        self.signer = Signer(_derived(secret, b"byz-signing"))
        self.exchange_secret = _derived(secret, b"byz-exchange")
        self.exchange_public = exchange_public(self.exchange_secret)

    def __repr__(self) -> str:
        return f"Identity(signing_public={self.signer.public.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never copied or pickled")


def replica_authentication(
    cluster: Cluster, me: ReplicaId, identity: Identity
) -> ReplicaAuthentication:
    return ReplicaAuthentication(
        me=me,
        cluster=cluster.id,
        signer=identity.signer,
        secret=identity.exchange_secret,
        replicas={m.replica: m.signing_public for m in cluster.members},
        clients={c.client: (c.exchange_public, c.signing_public) for c in cluster.customers},
    )


def client_authentication(cluster: Cluster, identity: Identity) -> ClientAuthentication:
    return ClientAuthentication(
        cluster=cluster.id,
        signer=identity.signer,
        secret=identity.exchange_secret,
        replicas=[m.exchange_public for m in cluster.members],
    )


def read(folder: Path) -> Cluster:
    """The cluster of a folder. ClusterError where there is none, or none that can be used."""
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Cluster)
    except FileNotFoundError:
        raise ClusterError(f"{path}: no cluster; `byzantine up --service kv` makes one") from None
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise ClusterError(f"{path}: {error}") from error


def write(folder: Path, cluster: Cluster) -> None:
    """Whole or not at all, whenever this is cut short."""
    text = msgspec.json.format(msgspec.json.encode(cluster), indent=2)
    put_whole(folder / FILE, text + b"\n", is_synced=True)


def put_whole(path: Path, data: bytes, *, is_synced: bool = False) -> None:
    """A file that whoever reads it meanwhile finds as it was or as it is now, and never half.

    `is_synced`: even where the machine loses its power.
    """
    partial = path.with_name(f"{path.name}.new")
    with partial.open("wb") as stream:
        stream.write(data)
        if is_synced:
            stream.flush()
            os.fsync(stream.fileno())
    partial.replace(path)


def make_identity(path: Path) -> Identity:
    """A new secret in a file that nobody else may read. ClusterError where there is one already."""
    secret = secrets.token_bytes(SECRET_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ClusterError(f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secret.hex() + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return Identity(secret)


def read_identity(path: Path) -> Identity:
    """The keys of a key file. ClusterError where it holds none."""
    try:
        return Identity(bytes.fromhex(path.read_text("ascii").strip()))
    except OSError as error:
        raise ClusterError(f"{path}: {error.strerror}") from error
    except ValueError:
        # Not chained: the text of the original error would show a piece of the secret.
        raise ClusterError(f"{path} does not hold a secret in hex") from None


def service_maker(name: str) -> Callable[[], Service]:
    """The service of that name: `kv`, or a user's own as `module:Class`. ClusterError: no such."""
    if name == "kv":
        return KeyValueStore
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ClusterError(f"no service {name!r}: there is kv, or your own as module:Class")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ClusterError(f"service {name!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Service)):
        raise ClusterError(f"service {name!r} is no subclass of Service")
    return found


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return hashlib.blake2b(secret, digest_size=32, person=purpose).digest()
