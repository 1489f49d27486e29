"""Crashes between two sends: some hear him in that round, the others never again."""

from __future__ import annotations

from node.effects import Effect, Halt, Send
from node.events import Event
from node.orders import GeneralId
from node.traitors.traitor import Power, Seat, Strategy


class Crasher(Strategy):
    """`round`: the round he crashes in. `after`: how many receivers still get his frame of it."""

    summary = "crashes in a round after some of its sends: round: 1, after: 1"
    powers = frozenset({Power.WITHHOLD})

    def __init__(self, seat: Seat, *, round: int = 1, after: int = 1) -> None:
        super().__init__(seat)
        self._round = round
        self._left = after
        self._crashed = False

    def on_event(self, event: Event, effects: list[Effect]) -> list[Effect]:
        if self._crashed:
            return []
        changed = super().on_event(event, effects)
        if not self._crashed:
            return changed
        end = next(i for i, effect in enumerate(changed) if isinstance(effect, Halt))
        return changed[: end + 1]

    def tell(self, send: Send, to: GeneralId) -> list[Effect]:
        if send.round < self._round:
            return [send]
        if send.round == self._round and self._left > 0:
            self._left -= 1
            return [send]
        self._crashed = True
        return [Halt(rule=f"lie:{self.name}")]
