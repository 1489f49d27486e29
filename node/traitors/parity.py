"""Says what he should to odd-numbered generals and the opposite to even ones."""

from __future__ import annotations

from node.orders import Codes, GeneralId
from node.traitors.traitor import Power, Strategy


class Parity(Strategy):
    summary = "says the truth to odd-numbered generals and the opposite to even ones"
    powers = frozenset({Power.ALTER})

    def lie(self, codes: Codes, to: GeneralId, round: int) -> Codes:
        return codes if to % 2 else self.domain.opposites(codes)
