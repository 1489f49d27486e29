"""One exchange: every general tells every other his own value once, and combines what he has.

Section 1 of the paper begins here: each general observes the enemy, communicates his observation,
and combines the n values by majority or median. It is what interactive consistency mends, since a
traitor can tell each general another value.

EX-1  Each general sends his value to every other.
EX-2  He combines his own value and what he heard, the default where he heard nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from node.effects import Decide, Effect, Reason, Refuse, Send
from node.messages import Content, Oral
from node.orders import Combiner, Domain, GeneralId, Value, others
from node.protocols.oral import read_oral
from node.quorums import combine, tally


class Exchange:
    """One general's part in an exchange of n values."""

    rounds = 1

    def __init__(
        self, *, me: GeneralId, n: int, domain: Domain, combiner: Combiner, value: Value
    ) -> None:
        self._me = me
        self._domain = domain
        self._combiner = combiner
        self._peers = others(range(n), me)
        self._values: list[Value] = [domain.default] * n
        self._values[me] = value

    def speakers(self, round: int) -> frozenset[GeneralId]:
        return frozenset(self._peers)

    def say(self, round: int) -> list[Send]:
        return self._ex_1_tell(round)

    def hear(self, round: int, heard: Mapping[GeneralId, Content]) -> list[Effect]:
        refused: list[Effect] = []
        for speaker, body in heard.items():
            value = self._read(body)
            if isinstance(value, Reason):
                refused.append(Refuse(speaker, value, rule="EX-2"))
            else:
                self._values[speaker] = value
        return refused

    def decide(self) -> Decide:
        return self._ex_2_combine()

    def _ex_1_tell(self, round: int) -> list[Send]:
        code = self._domain.code(self._values[self._me])
        body = Oral(self._domain.pack(np.array([code], dtype=self._domain.dtype)))
        return [Send(self._peers, round, body, messages=1, rule="EX-1")]

    def _ex_2_combine(self) -> Decide:
        value = combine(self._values, self._combiner, self._domain)
        return Decide(value=value, tally=tally(self._values), rule="EX-2")

    def _read(self, body: Content) -> Value | Reason:
        codes = read_oral(body, 1, self._domain)
        return codes if isinstance(codes, Reason) else self._domain.value(codes[0])
