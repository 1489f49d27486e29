"""What can happen to a machine: a closed union. Time and frames arrive here and nowhere else."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from node.messages import Frame
from node.orders import GeneralId


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The start barrier opened. `at_s` is on the general's own monotonic clock, in seconds."""

    at_s: float


class Received(msgspec.Struct, frozen=True, tag="received"):
    """A well-formed frame of this run, from the sender that the transport proved (A2)."""

    sender: GeneralId
    frame: Frame


class Resumed(msgspec.Struct, frozen=True, tag="resumed"):
    """The barrier before `round` opened: that round begins at `at_s`, on the clock of `Started`."""

    round: int
    at_s: float


class TimerFired(msgspec.Struct, frozen=True, tag="timer"):
    """A timer that this machine had set is due."""

    name: str


Event: TypeAlias = Started | Resumed | Received | TimerFired
