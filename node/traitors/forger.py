"""Alters the value of a signed order and keeps the signatures, his own among them."""

from __future__ import annotations

import msgspec

from node.messages import Body, Signed, SignedOrder
from node.orders import Codes, GeneralId
from node.traitors.traitor import Power, Strategy


class Forger(Strategy):
    summary = "alters the value of signed orders and keeps the signatures (oral values: flips them)"
    powers = frozenset({Power.ALTER})

    def alter(self, body: Body, to: GeneralId, round: int, instance: int) -> Body:
        if not isinstance(body, Signed):
            return super().alter(body, to, round, instance)
        forged = (self._forged(order, to, round, instance) for order in body.orders)
        return msgspec.structs.replace(body, orders=tuple(forged))

    def lie(self, codes: Codes, to: GeneralId, round: int) -> Codes:
        return self.domain.opposites(codes)

    def _forged(self, order: SignedOrder, to: GeneralId, round: int, instance: int) -> SignedOrder:
        """Signed as it should be, then altered: every signature on it is of another value."""
        true = self.seat.chains.complete(order, instance, self.seat.keys)
        told = self._falsified(order, to, round)
        return msgspec.structs.replace(true, token=told.token)
