"""As the last-round injector, with a chain that is made long enough by signing it again."""

from __future__ import annotations

from node.orders import GeneralId
from node.traitors.last_round import LastRound


class Padder(LastRound):
    summary = "in the last round, signs again and again until his chain is as long as it must be"

    def chain(self, to: GeneralId, round: int, instance: int) -> tuple[GeneralId, ...] | None:
        chain = super().chain(to, round, instance)
        return chain and (*chain, *(self.seat.me,) * (round - len(chain)))
