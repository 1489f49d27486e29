"""Says whatever chance says, the same for the same seed."""

from __future__ import annotations

from node.orders import Codes, GeneralId
from node.traitors.traitor import Power, Strategy


class RandomValues(Strategy):
    summary = "says random values of the domain, drawn from the scenario's seed"
    powers = frozenset({Power.ALTER})

    def lie(self, codes: Codes, to: GeneralId, round: int) -> Codes:
        return self.domain.draw(self.seat.chance(to, round, "random"), len(codes))
