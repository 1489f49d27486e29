"""What replicas and clients of PBFT say: frozen types. `wire.py` makes bytes of them.

Sequence numbers and views are at most `NUMBER_MAX`; a digest has 32 bytes, or none where it stands
for the null request.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

ReplicaId: TypeAlias = int
ClientId: TypeAlias = int

NUMBER_MAX: Final = (1 << 63) - 1
DIGEST_BYTES: Final = 32
#: The digest of the null request (1999, section 4.4): a sequence number at which nothing happens.
NULL: Final = b""
#: Operations of one request, and the bytes that all of them may have.
OPERATIONS_MAX: Final = 512
REQUEST_BYTES_MAX: Final = 1 << 18
#: Requests of one client that may be under way at a time.
CLIENT_WINDOW: Final = 32

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
Digest: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=DIGEST_BYTES)]
Signature: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=64)]


class Failed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Why an operation gave nothing."""

    reason: str


#: What one operation gave: the service's bytes, or why there is none.
Result: TypeAlias = bytes | Failed


class Request(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=0):
    """Operations of one client, executed together, once (1999, section 4.1).

    `acknowledged`: the client has all replies up to that timestamp. `macs` has an authenticator for
    each replica in turn; `signature` is of the client, or empty. Neither is part of the digest.
    """

    client: Number
    timestamp: Number
    acknowledged: Number
    operations: tuple[bytes, ...]
    is_read_only: bool
    macs: bytes = b""
    signature: Signature = b""


class Batch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one sequence number stands for: requests, and the values that the primary chose."""

    time_ns: Number
    seed: Annotated[bytes, msgspec.Meta(max_length=16)]
    requests: tuple[Request, ...]


class PrePrepare(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    view: Number
    sequence: Number
    batch: Batch


class Prepare(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    view: Number
    sequence: Number
    digest: Digest


class Commit(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    view: Number
    sequence: Number
    digest: Digest


class Checkpoint(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """The state after `sequence` has this digest, and its sender holds it durably."""

    sequence: Number
    digest: Digest


class Vote(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An entry of P or Q: a batch's digest at a sequence number, and the last view of it there."""

    sequence: Number
    digest: Digest
    view: Number


class ViewChange(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=5):
    """<VIEW-CHANGE, v, h, C, P, Q, i> signed by i (2002, section 4.4)."""

    view: Number
    replica: Number
    stable: Number
    checkpoints: tuple[Checkpoint, ...]
    prepared: tuple[Vote, ...]
    pre_prepared: tuple[Vote, ...]
    signature: Signature = b""


class NewView(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=6):
    """<NEW-VIEW, v, V, X> signed by the primary: `chosen[k]` goes to `stable + 1 + k`."""

    view: Number
    view_changes: tuple[ViewChange, ...]
    stable: Number
    stable_digest: Digest
    chosen: tuple[Digest, ...]
    signature: Signature = b""


class Status(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=7):
    """Where its sender stands, so that others can send what he lacks (2002, section 5.2).

    `complete`: up to that number he has executed all, and prepared all in the view he is in.
    """

    view: Number
    is_active: bool
    stable: Number
    complete: Number


class FetchBatch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=8):
    digest: Digest


class BatchFound(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=9):
    """A batch for whoever asked: its digest proves it, whoever sends it."""

    batch: Batch


class FetchManifest(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=10
):
    sequence: Number
    digest: Digest


class Manifest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=11):
    """The digests of a checkpoint's pages; together they give the checkpoint's own."""

    sequence: Number
    pages: tuple[Digest, ...]


class FetchPage(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=12):
    sequence: Number
    page: Digest


class Page(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=13):
    data: bytes


class Settled(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=14):
    """Its sender knows that this digest is committed at `sequence`, in whichever view."""

    sequence: Number
    digest: Digest


#: What one replica says to another.
Message: TypeAlias = (
    Request
    | PrePrepare
    | Prepare
    | Commit
    | Checkpoint
    | ViewChange
    | NewView
    | Status
    | FetchBatch
    | BatchFound
    | FetchManifest
    | Manifest
    | FetchPage
    | Page
    | Settled
)


class Reply(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A replica's answer to one request: the results, or only their digest where another sends them
    (2002, section 5.1.1). The client knows from his link which replica says so."""

    view: Number
    timestamp: Number
    digest: Digest
    results: tuple[Result, ...] | None
    is_tentative: bool


class Packet(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All that one replica says to another in one turn."""

    cluster: bytes
    messages: tuple[Message, ...]


class Asked(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a client says: requests, or none where he only tells that he is there."""

    cluster: bytes
    requests: tuple[Request, ...]


class Answered(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All that one replica answers to one client in one turn."""

    cluster: bytes
    replies: tuple[Reply, ...]


class Snapshot(msgspec.Struct, frozen=True):
    """A checkpoint's state in pages, and their digests in the same order."""

    sequence: int
    digest: bytes
    pages: tuple[bytes, ...]
    page_digests: tuple[bytes, ...]
