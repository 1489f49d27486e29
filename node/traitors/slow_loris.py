"""Makes everybody wait: each frame leaves when its round is almost over, and is still in time."""

from __future__ import annotations

from node.traitors.delayer import Delayer
from node.traitors.traitor import Seat


class SlowLoris(Delayer):
    """`early_ms`: how long before the round's deadline a frame leaves."""

    summary = "sends every frame at the last moment, early_ms before its round's deadline"

    def __init__(self, seat: Seat, *, early_ms: float = 100.0) -> None:
        super().__init__(seat, late_ms=-early_ms)
