"""The hash-chained record of all that a general received, sent and decided.

A journal file has an entry a line: the chain's head after that entry in hex, a space, the entry as
JSON. `head_k = SHA-256(head_k-1 | entry_k)`, head_0 is 32 zero bytes. The last entry is `closed`,
and bears a signature over the run, the general and the head before it; a journal without it is
unverifiable, never clean. What is here is enough to run the general again: machines are
deterministic, and every event that reached this one is here in its order.

Entries are kept as they come and hashed when the chain's head is asked for, so that a round pays
for an append and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from node.effects import Reason
from node.link_faults import Mishap
from node.messages import SignedOrder
from node.orders import Brief, Decision, GeneralId, Value
from node.signatures import CONTEXT_CLOSING, Signer, verify

FORMAT = 1
GENESIS = bytes(32)


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="opened"):
    """Whose journal this is, of which run, under which brief. `strategy`: of a traitor."""

    format: int
    general: GeneralId
    run: bytes
    brief: Brief
    strategy: str | None


class Began(msgspec.Struct, frozen=True, tag_field="kind", tag="began"):
    """The start barrier opened, at `at_s` on the general's monotonic clock."""

    at_s: float


class Resumed(msgspec.Struct, frozen=True, tag_field="kind", tag="resumed"):
    """The barrier before `round` opened: that round began at `at_s`."""

    round: int
    at_s: float


class Heard(msgspec.Struct, frozen=True, tag_field="kind", tag="heard"):
    """A frame of this run, byte for byte, from the sender that the transport proved."""

    at_s: float
    sender: GeneralId
    data: bytes


class Woke(msgspec.Struct, frozen=True, tag_field="kind", tag="woke"):
    """A timer was due."""

    at_s: float
    timer: str


class Said(msgspec.Struct, frozen=True, tag_field="kind", tag="said"):
    """The same frame to each of `to`; each copy carries `messages` of the paper's."""

    to: tuple[GeneralId, ...]
    round: int
    messages: int
    rule: str
    data: bytes


class Lied(msgspec.Struct, frozen=True, tag_field="kind", tag="lied"):
    """What a traitor made of what his loyal self would have said. Traitors' journals only."""

    to: GeneralId
    round: int
    truth: str
    told: str
    rule: str


class Missed(msgspec.Struct, frozen=True, tag_field="kind", tag="missed"):
    """What `general` owed had not come by the deadline of `round`: he is unheard from then on."""

    general: GeneralId
    round: int
    rule: str


class Hindered(msgspec.Struct, frozen=True, tag_field="kind", tag="hindered"):
    """What befell a frame on its link, told by its sender. No rule of his has to do with it."""

    to: GeneralId
    round: int
    mishap: Mishap


class Suffered(msgspec.Struct, frozen=True, tag_field="kind", tag="suffered"):
    """The laboratory did something to this general, in a few words."""

    what: str


class Turned(msgspec.Struct, frozen=True, tag_field="kind", tag="turned"):
    """In mid-run he became a traitor with that strategy, or loyal again."""

    strategy: str | None


class Refused(msgspec.Struct, frozen=True, tag_field="kind", tag="refused"):
    """Something from `sender` was ignored."""

    sender: GeneralId
    reason: Reason
    rule: str


class Noted(msgspec.Struct, frozen=True, tag_field="kind", tag="noted"):
    """A rule acted."""

    text: str
    rule: str


class Accused(msgspec.Struct, frozen=True, tag_field="kind", tag="accused"):
    """Two orders of different value under one general's signature, in one instance."""

    culprit: GeneralId
    instance: int
    proof: tuple[SignedOrder, SignedOrder]
    rule: str


class Settled(msgspec.Struct, frozen=True, tag_field="kind", tag="decided"):
    """The decision and what the last rule counted."""

    value: Decision
    tally: tuple[tuple[Value, int], ...]
    rule: str


class LedgerLine(msgspec.Struct):
    """What a general sent in one round: the paper's messages, frames, and their bytes."""

    round: int
    messages: int = 0
    frames: int = 0
    bytes: int = 0


class Closed(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="closed"):
    """The end: the ledger, counts of all refusals, also of those too many to be entered, and the
    signature."""

    refusals: tuple[tuple[GeneralId, Reason, int], ...]
    ledger: tuple[LedgerLine, ...]
    verifications: int
    signature: bytes


Entry: TypeAlias = (
    Opened
    | Began
    | Resumed
    | Heard
    | Woke
    | Said
    | Lied
    | Missed
    | Hindered
    | Suffered
    | Turned
    | Refused
    | Noted
    | Accused
    | Settled
    | Closed
)

_encoder = msgspec.json.Encoder()
decoder = msgspec.json.Decoder(Entry)


class Journal:
    """Grows by `append`; `close` ends it under the general's signature."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._lines: list[bytes] = []
        self._head = GENESIS
        self.append = self.entries.append

    @property
    def head(self) -> bytes:
        """The chain's head over all entries so far."""
        for entry in self.entries[len(self._lines) :]:
            text = spelt(entry)
            self._head = extend(self._head, text)
            self._lines.append(self._head.hex().encode() + b" " + text + b"\n")
        return self._head

    @property
    def is_closed(self) -> bool:
        return bool(self.entries) and isinstance(self.entries[-1], Closed)

    def close(self, signer: Signer, run: bytes, unsigned: Closed) -> None:
        """Ends the journal with `unsigned` under `signer`'s signature."""
        statement = closing_statement(run, self.head, unsigned)
        signature = signer.sign(CONTEXT_CLOSING, statement)
        self.append(msgspec.structs.replace(unsigned, signature=signature))

    def lines(self) -> Iterator[bytes]:
        """The journal file, a line at a time."""
        _ = self.head
        yield from self._lines


def spelt(entry: Entry) -> bytes:
    """The one JSON text of an entry: the closing signature covers what it says and nothing else."""
    return _encoder.encode(entry)


def extend(head: bytes, text: bytes) -> bytes:
    return hashlib.sha256(head + text).digest()


def closing_statement(run: bytes, head: bytes, closed: Closed) -> bytes:
    """What the closing signature covers: the run, the chain before it, and the entry itself."""
    unsigned = spelt(msgspec.structs.replace(closed, signature=b""))
    return run + extend(head, unsigned)


def is_closing(closed: Closed, run: bytes, head: bytes, public: bytes) -> bool:
    """Whether a closing entry after `head` bears its general's signature."""
    statement = closing_statement(run, head, closed)
    return verify(public, CONTEXT_CLOSING, statement, closed.signature)
