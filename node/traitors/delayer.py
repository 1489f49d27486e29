"""Holds his frames back until their round is over."""

from __future__ import annotations

from collections.abc import Mapping

from node.effects import Effect, Lie, Send, SetTimer
from node.events import Event, Resumed, Started, TimerFired
from node.orders import GeneralId
from node.traitors.traitor import Power, Seat, Strategy


class Delayer(Strategy):
    """`late_ms`: how long after the round's deadline a frame leaves; negative is before it.

    One number for all, or one for each receiver; whom it does not name is told in time.
    """

    summary = "holds each frame until late_ms after its round's deadline"
    powers = frozenset({Power.DELAY})

    def __init__(self, seat: Seat, *, late_ms: float | Mapping[GeneralId, float] = 50.0) -> None:
        super().__init__(seat)
        self._late_ms = late_ms
        self._started_s = 0.0
        self._held: dict[str, Send] = {}

    def on_event(self, event: Event, effects: list[Effect]) -> list[Effect]:
        match event:
            case Started(at_s):
                self._started_s = at_s
            case Resumed(round, at_s):
                self._started_s = at_s - (round - 1) * self.seat.brief.delta_s
            case TimerFired(name) if name in self._held:
                return [self._held.pop(name)]
            case _:
                pass
        return super().on_event(event, effects)

    def tell(self, send: Send, to: GeneralId) -> list[Effect]:
        late_ms = self._late_ms.get(to) if isinstance(self._late_ms, Mapping) else self._late_ms
        if late_ms is None:
            return [send]
        name = f"delayer/{send.round}/{to}"
        self._held[name] = send
        due_s = self._started_s + send.round * self.seat.brief.delta_s + late_ms / 1000
        rule = f"lie:{self.name}"
        truth = self.describe(send.body, send.round)
        lie = Lie(to, send.round, truth, "the same, late", rule=rule)
        return [lie, SetTimer(name, due_s, rule=rule)]
