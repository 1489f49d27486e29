"""Says the opposite of what he should."""

from __future__ import annotations

from node.orders import Codes, GeneralId
from node.traitors.traitor import Power, Strategy


class Flip(Strategy):
    summary = "says the opposite of every value, to all"
    powers = frozenset({Power.ALTER})

    def lie(self, codes: Codes, to: GeneralId, round: int) -> Codes:
        return self.domain.opposites(codes)
