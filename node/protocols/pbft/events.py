"""What can happen to a replica: a closed union. Time, packets and the disk arrive here alone.

`at_s`: seconds since 1970, never running backwards; differences of it are what timers measure.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from node.protocols.pbft.messages import Message, ReplicaId, Request


class Started(msgspec.Struct, frozen=True):
    """The replica runs: for the first time, or again with what it had written down."""

    at_s: float


class Received(msgspec.Struct, frozen=True):
    """A message from the replica that the transport proved."""

    at_s: float
    sender: ReplicaId
    message: Message


class Requested(msgspec.Struct, frozen=True):
    """A request on the link of the very client that it names."""

    at_s: float
    request: Request


class TimerFired(msgspec.Struct, frozen=True):
    at_s: float
    name: str


class Persisted(msgspec.Struct, frozen=True):
    """All records up to and with this ticket are on stable storage."""

    at_s: float
    ticket: int


class TurnEnded(msgspec.Struct, frozen=True):
    """Nothing more has arrived for now: a primary may propose what came together."""

    at_s: float


Event: TypeAlias = Started | Received | Requested | TimerFired | Persisted | TurnEnded
