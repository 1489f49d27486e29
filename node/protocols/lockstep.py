"""What a lockstep protocol says of itself; `rounds.py` turns that into a machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from node.effects import Decide, Effect, Send
from node.messages import Body, Bundle
from node.orders import GeneralId


class Lockstep(Protocol):
    """One general's part in a protocol of rounds 1..`rounds`.

    `rounds.py` calls `say(r)`, then `hear(r, ...)`, for each round in turn, then `decide()` once.
    """

    rounds: int

    def speakers(self, round: int) -> frozenset[GeneralId]:
        """From whom a frame is owed to this general in `round`: those and no others are heard."""
        ...

    def say(self, round: int) -> list[Send]:
        """The frames of `round`, one a receiver, empty ones included."""
        ...

    def hear(self, round: int, heard: Mapping[GeneralId, Body | Bundle]) -> list[Effect]:
        """What the speakers said in `round`, in ascending order; absentees are missing."""
        ...

    def decide(self) -> Decide:
        """The decision, after the last round."""
        ...
