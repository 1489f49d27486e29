"""Reliable broadcast: no rounds and no clock (Bracha, Information and Computation 75, 1987).

RB-1  The commander sends (initial, v) to all.
RB-2  On (initial, v) from the commander, or v echoed by more than (n + m) / 2, or v called ready by
      m + 1, a general sends (echo, v) to all, once.
RB-3  On v echoed by more than (n + m) / 2, or called ready by m + 1, he sends (ready, v), once.
RB-4  On v called ready by 2m + 1, he accepts v.

With n > 3m, if the commander is loyal all loyal generals accept his order, however late what they
send arrives. If he is not, either all of them accept the same value or none accepts any: nobody can
tell a silent commander from a slow link, so that not deciding is allowed, which agreement in rounds
never allows. The words initial, echo and ready travel as rounds 1, 2 and 3 of a frame.

Each general counts his own echo and his own ready. The first frame of each kind from each sender
counts and no other. The laboratory watches for a while and then ends the run: `watch_s` is a matter
of the laboratory's patience and of no rule.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, assert_never

import numpy as np

from node.effects import CancelTimer, Decide, Effect, Halt, Reason, Refuse, Send, SetTimer
from node.events import Event, Received, Resumed, Started, TimerFired
from node.messages import Frame, Oral
from node.orders import Domain, GeneralId, Value, others
from node.protocols.oral import read_oral
from node.quorums import echoes_min, readies_min, readies_to_join
from node.quorums import tally as counted

INITIAL: Final = 1
ECHO: Final = 2
READY: Final = 3
WATCH: Final = "watch"


class ReliableBroadcast:
    """One general's part, a machine of its own. `order` is the commander's and nobody else's."""

    def __init__(
        self,
        *,
        me: GeneralId,
        n: int,
        m: int,
        commander: GeneralId,
        domain: Domain,
        watch_s: float,
        order: Value | None = None,
    ) -> None:
        self._me = me
        self._n = n
        self._m = m
        self._commander = commander
        self._domain = domain
        self._order = order
        self._watch_s = watch_s
        self._peers = others(range(n), me)
        #: What each general said, by kind; a loyal general says each kind once.
        self._said: dict[int, dict[GeneralId, Value]] = {INITIAL: {}, ECHO: {}, READY: {}}
        self._has_accepted = False

    def on_event(self, event: Event) -> list[Effect]:
        match event:
            case Started(at_s):
                watch = SetTimer(WATCH, at_s + self._watch_s, rule=WATCH)
                return [watch, *self._rb_1_order()]
            case Received(sender, frame):
                return self._hear(sender, frame)
            case TimerFired(name):
                is_over = name == WATCH and not self._has_accepted
                return [Halt(rule=WATCH, text="accepts nothing while watched")] if is_over else []
            case Resumed():
                return []
            case _:
                assert_never(event)

    def _hear(self, sender: GeneralId, frame: Frame) -> list[Effect]:
        value = self._read(sender, frame)
        if isinstance(value, Reason):
            return [Refuse(sender, value, rule=f"RB-{min(max(frame.round, 1), READY) + 1}")]
        self._said[frame.round][sender] = value
        return self._act()

    def _read(self, sender: GeneralId, frame: Frame) -> Value | Reason:
        if frame.round not in self._said:
            return Reason.BAD_ROUND
        if frame.round == INITIAL and sender != self._commander:
            return Reason.NOT_AWAITED
        if sender in self._said[frame.round]:
            return Reason.DUPLICATE
        codes = read_oral(frame.body, 1, self._domain)
        return codes if isinstance(codes, Reason) else self._domain.value(codes[0])

    def _act(self) -> list[Effect]:
        """Every rule that what was said so far allows, in their order: each says more."""
        return [*self._rb_2_echo(), *self._rb_3_ready(), *self._rb_4_accept()]

    def _rb_1_order(self) -> list[Effect]:
        if self._order is None:
            return []
        self._said[INITIAL][self._me] = self._order
        return [*self._tell(INITIAL, self._order, "RB-1"), *self._act()]

    def _rb_2_echo(self) -> list[Effect]:
        if self._me in self._said[ECHO]:
            return []
        told = self._said[INITIAL].get(self._commander, self._supported())
        return [] if told is None else self._say(ECHO, told, "RB-2")

    def _rb_3_ready(self) -> list[Effect]:
        value = self._supported()
        if value is None or self._me in self._said[READY]:
            return []
        return self._say(READY, value, "RB-3")

    def _rb_4_accept(self) -> list[Effect]:
        value = self._named_by(READY, readies_min(self._m))
        if value is None or self._has_accepted:
            return []
        self._has_accepted = True
        tally = counted(self._said[READY].values())
        return [CancelTimer(WATCH, rule=WATCH), Decide(value, tally, rule="RB-4")]

    def _supported(self) -> Value | None:
        """What enough have echoed, or m + 1 have called ready, one of whom is loyal."""
        echoed = self._named_by(ECHO, echoes_min(self._n, self._m))
        return self._named_by(READY, readies_to_join(self._m)) if echoed is None else echoed

    def _named_by(self, kind: int, least: int) -> Value | None:
        """The value that at least so many named; of several, as only traitors can cause, the most
        named."""
        named = Counter(self._said[kind].values()).most_common(1)
        return named[0][0] if named and named[0][1] >= least else None

    def _say(self, kind: int, value: Value, rule: str) -> list[Effect]:
        self._said[kind][self._me] = value
        return list(self._tell(kind, value, rule))

    def _tell(self, kind: int, value: Value, rule: str) -> list[Send]:
        code = np.array([self._domain.code(value)], dtype=self._domain.dtype)
        return [Send(self._peers, kind, Oral(self._domain.pack(code)), messages=1, rule=rule)]


def messages(n: int, m: int) -> int:
    """The commander's, and an echo and a ready of each to all others."""
    return (n - 1) + 2 * n * (n - 1)
