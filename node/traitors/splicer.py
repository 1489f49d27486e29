"""Puts the signatures of one chain under another value: his coalition's own made anew, the loyal
generals' as they stood."""

from __future__ import annotations

import msgspec

from node.messages import Body, Signed, SignedOrder
from node.orders import Codes, GeneralId
from node.traitors.traitor import Power, Strategy


class Splicer(Strategy):
    summary = "turns a signed order's value over and splices loyal signatures into the new chain"
    powers = frozenset({Power.ALTER, Power.SIGN})

    def alter(self, body: Body, to: GeneralId, round: int, instance: int) -> Body:
        if not isinstance(body, Signed):
            return super().alter(body, to, round, instance)
        return Signed(tuple(self._spliced(order, to, round, instance) for order in body.orders))

    def lie(self, codes: Codes, to: GeneralId, round: int) -> Codes:
        return self.domain.opposites(codes)

    def _spliced(self, order: SignedOrder, to: GeneralId, round: int, instance: int) -> SignedOrder:
        keys, chains = self.seat.keys, self.seat.chains
        true = chains.complete(order, instance, keys)
        told = msgspec.structs.replace(self._falsified(order, to, round), signatures=())
        for length, signature in enumerate(true.signatures):
            told = chains.complete(told, instance, keys)
            if len(told.signatures) == length:
                told = msgspec.structs.replace(told, signatures=(*told.signatures, signature))
        return told
