"""Sends no frame at all."""

from __future__ import annotations

from node.effects import Effect, Send
from node.orders import GeneralId
from node.traitors.traitor import Power, Strategy


class Silent(Strategy):
    summary = "sends no frame"
    powers = frozenset({Power.WITHHOLD})

    def tell(self, send: Send, to: GeneralId) -> list[Effect]:
        return self.substitute(send, to, None)
