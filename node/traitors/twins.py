"""Two of one name: loyal generals with one key, each of whom speaks and listens to one half.

No rule of theirs is broken by either, and together they are two-faced with a consistent story on
each side (Bano and others, "Twins: BFT Systems Made Robust", OPODIS 2021).
"""

from __future__ import annotations

import msgspec

from node.effects import CancelTimer, Decide, Effect, Lie, Send, SetTimer
from node.events import Event, Received, Resumed, Started, TimerFired
from node.orders import Enumerated, GeneralId, Value
from node.traitors.traitor import Power, Seat, Strategy

_TWIN = "twin/"


class Twins(Strategy):
    """`second`: whom the second one has for his half; the odd-numbered if not given."""

    summary = "is two generals with one key, each loyal to his own half: second: [1, 3]"
    powers = frozenset({Power.ALTER, Power.INJECT})

    def __init__(self, seat: Seat, *, second: tuple[GeneralId, ...] | None = None) -> None:
        super().__init__(seat)
        odd = tuple(g for g in range(seat.brief.n) if g % 2)
        self._second = frozenset(odd if second is None else second)
        brief = msgspec.structs.replace(seat.brief, value=self._other(seat.brief.value))
        self._twin = seat.another(brief) if seat.another is not None else None

    def hears(self, event: Event) -> bool:
        match event:
            case Received(sender):
                return sender not in self._second
            case TimerFired(name):
                return not name.startswith(_TWIN)
            case _:
                return True

    def on_event(self, event: Event, effects: list[Effect]) -> list[Effect]:
        """The first one's words to his half, and the second one's to the other."""
        if self._twin is None:
            return super().on_event(event, effects)
        said: list[Effect] = []
        for effect in effects:
            said += self._of_half(effect, is_second=False)
        for effect in self._twin.on_event(self._of_twin(event)) if self._reaches(event) else ():
            said += self._of_half(effect, is_second=True)
        return said

    def _reaches(self, event: Event) -> bool:
        match event:
            case Started() | Resumed():
                return True
            case Received(sender):
                return sender in self._second
            case TimerFired(name):
                return name.startswith(_TWIN)

    def _of_twin(self, event: Event) -> Event:
        if isinstance(event, TimerFired):
            return TimerFired(event.name.removeprefix(_TWIN))
        return event

    def _of_half(self, effect: Effect, *, is_second: bool) -> list[Effect]:
        match effect:
            case Send(to=receivers):
                half = tuple(g for g in receivers if (g in self._second) is is_second)
                told = msgspec.structs.replace(effect, to=half)
                lies = self._confessed(told) if is_second else []
                return [*lies, told] if half else []
            case SetTimer(name) | CancelTimer(name) if is_second:
                return [msgspec.structs.replace(effect, name=_TWIN + name)]
            case Decide() if is_second:
                return []
            case _:
                return [effect] if not is_second else []

    def _confessed(self, send: Send) -> list[Effect]:
        told, rule = self.describe(send.body, send.round), f"lie:{self.name}"
        truth = "what the first twin would have said"
        return [Lie(to, send.round, truth, told, rule) for to in send.to]

    def _other(self, value: Value | None) -> Value | None:
        """The order that the second one has: another, where there is one to be had."""
        if value is None or not isinstance(self.domain, Enumerated):
            return value
        values = self.domain.values
        return values[(values.index(value) + 1) % len(values)]
