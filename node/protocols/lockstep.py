"""What a protocol is: a machine, or what `rounds.py` makes one of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias, runtime_checkable

from node.effects import Decide, Effect, Send
from node.events import Event
from node.messages import Content
from node.orders import GeneralId


@runtime_checkable
class Machine(Protocol):
    """One general's part in a protocol: what he asks for at each event."""

    def on_event(self, event: Event) -> list[Effect]: ...


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

    def hear(self, round: int, heard: Mapping[GeneralId, Content]) -> list[Effect]:
        """What the speakers said in `round`, in ascending order; absentees are missing."""
        ...

    def decide(self) -> Decide:
        """The decision, after the last round."""
        ...


#: What a rule book gives a general: his part in rounds, or a machine of its own.
Part: TypeAlias = Lockstep | Machine
