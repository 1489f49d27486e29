"""Says everything many times over, under this round's number and under all others."""

from __future__ import annotations

import msgspec

from node.effects import Effect, Lie, Send
from node.orders import GeneralId
from node.traitors.traitor import Power, Seat, Strategy

#: No flood has more frames: they have to be made, too.
FRAMES_MAX = 10_000


class Flooder(Strategy):
    """`frames`: how many more a receiver and round get than they are owed."""

    summary = "sends each frame over and over, under this round's number and others: frames: 100"
    powers = frozenset({Power.INJECT})

    def __init__(self, seat: Seat, *, frames: int = 100) -> None:
        super().__init__(seat)
        if not 1 <= frames <= FRAMES_MAX:
            raise ValueError(f"frames is {frames}, not within 1 and {FRAMES_MAX}")
        self._frames = frames

    def tell(self, send: Send, to: GeneralId) -> list[Effect]:
        truth = self.describe(send.body, send.round)
        lie = Lie(to, send.round, truth, f"the same, {self._frames} times more", f"lie:{self.name}")
        more = [
            msgspec.structs.replace(send, round=send.round + number % 3, messages=0)
            for number in range(self._frames)
        ]
        return [lie, send, *more]
