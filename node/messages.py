"""What generals say to one another: frozen types, one frame a (round, sender, receiver).

`wire.py` turns them into bytes and back. Bounds that need the run (how many values, which signers)
are the rule books' to check; bounds that do not are in `wire.py`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TypeAlias

import msgspec

from node.orders import GeneralId


class Empty(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=0):
    """A loyal general who has nothing to say this round says so."""


class Oral(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """Oral values, packed by the run's domain, in the canonical order of the rule book's paths."""

    values: bytes


class SignedOrder(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`v:0:j1..jk` of section 4: a value's token, its signers in order, a signature of each.

    Inside a general a chain may lack its last signatures: the general adds those whose keys he
    holds before it leaves (a machine never holds a key).
    """

    token: bytes
    signers: tuple[GeneralId, ...]
    signatures: tuple[bytes, ...]

    def __str__(self) -> str:
        value = self.token.decode("utf-8", "backslashreplace").strip('"')
        return ":".join([value, *map(str, self.signers)])


class Signed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """Signed orders, at most two from a loyal general (Dolev and Strong 1983).

    `proof`: two orders under the commander's signature alone, of different value, from who has just
    found him out; else nothing. It is no message of the paper's, and no rule counts it as an order.
    """

    orders: tuple[SignedOrder, ...]
    proof: tuple[SignedOrder, ...] = ()


#: What one instance of a lockstep protocol says to one receiver in one round.
Body: TypeAlias = Empty | Oral | Signed


@lru_cache(maxsize=64)
def kind_of(body: type) -> str:
    """The name that a kind of message has in scenarios: `signed`, `pre-prepare`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", body.__name__).lower()


class Bundle(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """The bodies of n instances of one protocol in one frame, by instance."""

    parts: tuple[Body, ...]


class Parcel(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one general says to another who is no neighbour, on one path from him to the other."""

    path: tuple[GeneralId, ...]
    body: Empty | Oral | Signed | Bundle


class Parcels(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """All that a general hands to a neighbour in one hop of a relay, his own and others'."""

    parcels: tuple[Parcel, ...]


#: What one general says to another in one round.
Content: TypeAlias = Body | Bundle | Parcels

#: Every kind of message that the faults of a link can single out.
KINDS = tuple(kind_of(body) for body in (Empty, Oral, Signed, Bundle, Parcels))


class Frame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=0):
    """All that one general says to another in one round of one run."""

    run: bytes
    round: int
    body: Empty | Oral | Signed | Bundle | Parcels


class Vouched(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """A frame under its sender's authenticator (`authenticators.py`): his journal's entry of it.

    `frame` is a Frame's bytes, `before` the head of his journal before the entry, `sequence` the
    entry's line; `signature` is over the head after it.
    """

    run: bytes
    before: bytes
    sequence: int
    to: tuple[GeneralId, ...]
    messages: int
    rule: str
    frame: bytes
    signature: bytes


class Probe(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """The start barrier's question: a peer of the same run answers it with an Echo."""

    run: bytes


class Echo(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """The answer to a Probe: the link carries both ways."""

    run: bytes


class Conspire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """A traitor hands his signing key to another of his coalition (section 4 allows it)."""

    run: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"Conspire(run={self.run!r})"


Message: TypeAlias = Frame | Probe | Echo | Conspire | Vouched
