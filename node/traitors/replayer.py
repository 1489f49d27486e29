"""Says what he should, and says again what he said a round before: as it was, and as if new."""

from __future__ import annotations

import msgspec

from node.effects import Effect, Lie, Send
from node.orders import GeneralId
from node.traitors.traitor import Power, Seat, Strategy


class Replayer(Strategy):
    summary = "sends last round's frame again, under its own round and under this one"
    powers = frozenset({Power.INJECT})

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._last: dict[GeneralId, Send] = {}

    def tell(self, send: Send, to: GeneralId) -> list[Effect]:
        """The stale frame goes first, so that the true one is the second of its round."""
        stale = self._last.get(to)
        self._last[to] = send
        if stale is None or stale.round >= send.round:
            return [send]
        renewed = msgspec.structs.replace(stale, round=send.round)
        told = f"{self.describe(stale.body, stale.round)} again"
        lie = Lie(
            to, send.round, self.describe(send.body, send.round), told, rule=f"lie:{self.name}"
        )
        return [lie, stale, renewed, send]
