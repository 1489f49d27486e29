"""What the orchestrator may tell a general, and the answers.

Control is a second link, apart from the field. Its messages are MessagePack arrays, decoded by type
and bounded by the socket's message size; `decode_order` and `decode_report` are total.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeAlias

import msgspec

from node.effects import Milestone
from node.link_faults import LinkRule
from node.orders import Brief, Decision, GeneralId, Value

#: A control message is no larger, in bytes: journals travel in pieces.
CONTROL_BYTES_MAX = 1 << 22


class Enlisted(msgspec.Struct, frozen=True):
    """One line of the roster: who a general is to the others."""

    general: GeneralId
    endpoint: str
    curve_public: bytes
    signing_public: bytes


class Roster(msgspec.Struct, frozen=True):
    """The public keys of a run, in ascending order of general."""

    generals: tuple[Enlisted, ...]

    def fingerprint(self) -> bytes:
        """BLAKE2b-256 of the canonical encoding: what a run id commits to."""
        return hashlib.blake2b(msgspec.json.encode(self.generals), digest_size=32).digest()

    def signing_publics(self) -> dict[GeneralId, bytes]:
        return {entry.general: entry.signing_public for entry in self.generals}


def run_id(roster: Roster, scenario: bytes, nonce: bytes) -> bytes:
    """The id of a run: it commits to the roster, the scenario as resolved, and a fresh nonce."""
    state = hashlib.blake2b(b"byzantine/1/run", digest_size=32)
    for part in (roster.fingerprint(), hashlib.blake2b(scenario, digest_size=32).digest(), nonce):
        state.update(part)
    return state.digest()


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a traitor plays. Loyal generals are given none.

    `strategy` is a name of `node.traitors` or a user's `module:Class`; `params` are its arguments;
    `trigger` says when he lies; `coalition` lists the traitors who hold each other's signing keys.
    `conceals`: he keeps a log apart for each audience, and hands in a loyal general's journal.
    """

    strategy: str
    params: dict[str, Any] = {}
    trigger: dict[str, Any] = {}
    coalition: tuple[GeneralId, ...] = ()
    conceals: bool = False


# What the orchestrator says.


class Muster(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="muster"):
    """Who is who, what is played, and as whom: the general brings his links up and reports Ready.

    `seed` keys a traitor's chance; `wait_s` bounds how long he waits for the barrier.
    """

    me: GeneralId
    run: bytes
    roster: Roster
    brief: Brief
    role: Role | None
    seed: int
    wait_s: float


class Start(msgspec.Struct, frozen=True, array_like=True, tag="start"):
    """The barrier opens: round 1 begins at `at_s`, on receipt where that is None.

    The moment is one of the monotonic clock that all generals on one host have in common: a common
    start is what the deadlines of a round rest on, and nobody's word can be late for it.
    """

    at_s: float | None = None


class Resume(msgspec.Struct, frozen=True, array_like=True, tag="resume"):
    """The barrier before `round` opens at `at_s`, as with Start."""

    round: int
    at_s: float | None = None


class Suffer(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="suffer"):
    """What befalls this general from now on: all of it, so that what is left out is healed.

    `rules` are of the links that lead out of him, `skew_s` is how far his clock is ahead.
    """

    number: int
    rules: tuple[LinkRule, ...] = ()
    skew_s: float = 0.0


class Turn(msgspec.Struct, frozen=True, array_like=True, tag="turn"):
    """Play another role from now on; none is a loyal general's."""

    number: int
    role: Role | None


class Collect(msgspec.Struct, frozen=True, array_like=True, tag="collect"):
    """Close the journal and hand it in."""


class Disband(msgspec.Struct, frozen=True, array_like=True, tag="disband"):
    """End the process."""


Order: TypeAlias = Muster | Start | Resume | Suffer | Turn | Collect | Disband


# What a general answers.


class Enrol(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="enrol"):
    """First words: the token that was handed to this general, and the keys that he made."""

    token: bytes
    pid: int
    endpoint: str
    curve_public: bytes
    signing_public: bytes


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """Every peer has answered a probe: the links carry both ways."""


class NotReady(msgspec.Struct, frozen=True, array_like=True, tag="not_ready"):
    """The barrier's time is over and these peers never answered."""

    missing: tuple[GeneralId, ...]


class Decided(msgspec.Struct, frozen=True, array_like=True, tag="decided"):
    """The general has decided, or will not. Told again once `is_done`: no more will come of him.

    `seconds` are since his Start. `at_s` is the moment on his monotonic clock, which generals on
    one host have in common; virtual time has none.
    """

    value: Decision | None
    tally: tuple[tuple[Value, int], ...]
    seconds: float
    at_s: float | None = None
    is_done: bool = True


class Reached(msgspec.Struct, frozen=True, array_like=True, tag="reached"):
    """The general has come so far; of a round, he halts before it."""

    milestone: Milestone
    number: int


class Done(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """The Suffer or Turn of that number is carried out."""

    number: int


class JournalPart(msgspec.Struct, frozen=True, array_like=True, tag="journal"):
    """A piece of the journal file, in order; `last` marks the end."""

    data: bytes
    last: bool


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The general could not go on, and why, in one sentence."""

    reason: str


Report: TypeAlias = Enrol | Ready | NotReady | Reached | Done | Decided | JournalPart | Failed

_encoder = msgspec.msgpack.Encoder()
_orders = msgspec.msgpack.Decoder(Order)
_reports = msgspec.msgpack.Decoder(Report)


def encode(message: Order | Report) -> bytes:
    return _encoder.encode(message)


def decode_order(data: bytes) -> Order | None:
    """What the orchestrator said, or None where it is nothing he may say."""
    order: Order | None = _decoded(_orders, data)
    return order


def decode_report(data: bytes) -> Report | None:
    """What a general answered, or None where it is no answer."""
    report: Report | None = _decoded(_reports, data)
    return report


def _decoded(decoder: Any, data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
