"""What a replica can ask for: a closed union. Each effect names the rule that asked."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from node.effects import Reason
from node.protocols.pbft.messages import (
    Batch,
    ClientId,
    Message,
    NewView,
    ReplicaId,
    Reply,
    Snapshot,
    ViewChange,
)


class PrePrepared(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """An entry of Q, with the batch itself where this replica has it."""

    view: int
    sequence: int
    digest: bytes
    batch: Batch | None


class Prepared(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """An entry of P."""

    view: int
    sequence: int
    digest: bytes


class Learnt(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """This replica answers clients from a state that has `sequence` in it."""

    sequence: int


class ViewEntered(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """This replica left all earlier views: by its view-change, or by a new-view that began one."""

    view: int
    view_change: ViewChange | None
    new_view: NewView | None


class Taken(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """A checkpoint that this replica has taken, or fetched."""

    snapshot: Snapshot


class Stable(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Nothing at or below `sequence` is needed but the checkpoint there."""

    sequence: int


Record: TypeAlias = PrePrepared | Prepared | Learnt | ViewEntered | Taken | Stable


class Persist(msgspec.Struct, frozen=True):
    """Put the records on stable storage, after all of earlier tickets; then say Persisted."""

    ticket: int
    records: tuple[Record, ...]
    rule: str


class Send(msgspec.Struct, frozen=True):
    to: tuple[ReplicaId, ...]
    message: Message
    rule: str


class Answer(msgspec.Struct, frozen=True):
    client: ClientId
    reply: Reply
    rule: str


class SetTimer(msgspec.Struct, frozen=True):
    """Wake the machine in `after_s` seconds. The same name again replaces it."""

    name: str
    after_s: float
    rule: str


class CancelTimer(msgspec.Struct, frozen=True):
    name: str
    rule: str


class Executed(msgspec.Struct, frozen=True):
    """The batch of that digest is committed and executed here: for the verdict."""

    sequence: int
    digest: bytes
    requests: tuple[tuple[ClientId, int], ...]
    rule: str


class Restored(msgspec.Struct, frozen=True):
    """The state is the checkpoint at `sequence`, which was fetched from others."""

    sequence: int
    digest: bytes
    rule: str


class Moved(msgspec.Struct, frozen=True):
    """The replica has given up earlier views; `is_active` once the new one has begun for it."""

    view: int
    is_active: bool
    rule: str


class Accuse(msgspec.Struct, frozen=True):
    """`culprit` signed two different view-changes for one view: proof to anybody."""

    culprit: ReplicaId
    proof: tuple[ViewChange, ViewChange]
    rule: str


class Refuse(msgspec.Struct, frozen=True):
    """Something heard is ignored and counted. `sender` is None where it was a client."""

    sender: ReplicaId | None
    reason: Reason
    rule: str


Effect: TypeAlias = (
    Persist | Send | Answer | SetTimer | CancelTimer | Executed | Restored | Moved | Accuse | Refuse
)
