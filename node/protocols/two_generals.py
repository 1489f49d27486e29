"""Two generals and messengers who may be caught (Akkoyunlu, Ekanadham, Huber 1975; Gray 1978).

TG-1  General 0 sends his order as message 1.
TG-2  Whoever received message k sends message k + 1 back, until `messages` were sent.
TG-3  A general obeys the order if he received every message that was due to him, else the default.

Nobody betrays here: the links lose. However many messages are agreed on, the sender of the last one
that arrives cannot know that it did, so that some loss leaves one attacking alone: there is no
protocol for this, and more messages only make it less likely.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from node.effects import Decide, Effect, Reason, Refuse, Send
from node.messages import Content, Oral
from node.orders import Domain, GeneralId, Value
from node.protocols.oral import read_oral

#: More would be no other story.
MESSAGES_MAX = 64


class TwoGenerals:
    """One general's part. `messages`: how many go to and fro in all, at most one a round."""

    def __init__(
        self, *, me: GeneralId, messages: int, domain: Domain, order: Value | None = None
    ) -> None:
        self.rounds = messages
        self._me = me
        self._domain = domain
        self._order = order
        self._received = 0

    def speakers(self, round: int) -> frozenset[GeneralId]:
        return frozenset({sender(round)} - {self._me})

    def say(self, round: int) -> list[Send]:
        if sender(round) != self._me or not self._has_heard_all(round - 1):
            return []
        return self._tg_1_order(round)

    def hear(self, round: int, heard: Mapping[GeneralId, Content]) -> list[Effect]:
        refused: list[Effect] = []
        for speaker, body in heard.items():
            codes = read_oral(body, 1, self._domain)
            if isinstance(codes, Reason):
                refused.append(Refuse(speaker, codes, rule="TG-2"))
            else:
                self._received += 1
                self._order = self._domain.value(codes[0])
        return refused

    def decide(self) -> Decide:
        """The tally is of messages: how many of those that were due to me came."""
        heard_all = self._has_heard_all(self.rounds) and self._order is not None
        value = self._order if heard_all and self._order is not None else self._domain.default
        return Decide(value, ((value, self._received),), rule="TG-3")

    def _tg_1_order(self, round: int) -> list[Send]:
        assert self._order is not None
        code = np.array([self._domain.code(self._order)], dtype=self._domain.dtype)
        rule = "TG-1" if round == 1 else "TG-2"
        body = Oral(self._domain.pack(code))
        return [Send((1 - self._me,), round, body, messages=1, rule=rule)]

    def _has_heard_all(self, round: int) -> bool:
        """Whether every message due to me up to `round` came."""
        due = sum(1 for earlier in range(1, round + 1) if sender(earlier) != self._me)
        return self._received == due


def sender(round: int) -> GeneralId:
    return (round - 1) % 2
