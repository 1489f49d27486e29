"""Keeps silent about what he knows, and brings it up in the last round, when nobody can pass it on.

The attack that takes SM m + 1 rounds: what a general first hears in the last round only he has
heard, unless its chain is so long that a loyal general stands on it.
"""

from __future__ import annotations

from collections.abc import Iterator

from node.messages import Body, Oral, Signed, SignedOrder
from node.orders import Codes, Enumerated, GeneralId
from node.protocols import catalogue
from node.traitors.traitor import Power, Strategy


class LastRound(Strategy):
    summary = "in the last round only, brings odd-numbered receivers orders of the coalition's own"
    powers = frozenset({Power.ALTER, Power.INJECT, Power.SIGN})

    def alter(self, body: Body, to: GeneralId, round: int, instance: int) -> Body:
        if round < catalogue.rounds(self.seat.brief) or to % 2 == 0:
            return body
        if isinstance(body, Oral):
            return super().alter(body, to, round, instance)
        chain = self.chain(to, round, instance)
        if chain is None or not isinstance(self.domain, Enumerated):
            return body
        said = body.orders if isinstance(body, Signed) else ()
        return Signed((*self.injected(chain, instance), *said))

    def lie(self, codes: Codes, to: GeneralId, round: int) -> Codes:
        return self.domain.opposites(codes)

    def chain(self, to: GeneralId, round: int, instance: int) -> tuple[GeneralId, ...] | None:
        """The commander's name, as many of the coalition as fit, and his own; None if he is none
        of the commander's friends."""
        me = self.seat.me
        if instance not in self.seat.keys or instance in (me, to):
            return None
        friends = (g for g in sorted(self.seat.keys) if g not in (me, instance, to))
        return (instance, *list(friends)[: max(0, round - 2)], me)

    def injected(self, chain: tuple[GeneralId, ...], instance: int) -> Iterator[SignedOrder]:
        assert isinstance(self.domain, Enumerated)
        for value in self.domain.values[:2]:
            yield self.order(value, chain, instance)
