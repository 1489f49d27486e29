"""A flat vote over everything that was relayed: it looks like OM(m), and is not Lamport's.

The program of a report on the Byzantine generals, in frames. Its recursion is proc(g, t, o), begun
as proc(0, m, order):

FV-1  If t > 0, g tells o to every lieutenant other than himself, each of whom goes on with t - 1.
FV-2  If t = 0, g tells o to every general, himself and the commander among them.
FV-3  Each counts all that he was told in FV-2, one vote a word, and obeys what more than half say.

So words may go round in circles by way of the same generals, what traitors relay counts as often
as what loyal ones do, and no majority is taken before the last. With m = 1 it comes to what OM(1)
comes to; beyond that some m traitors break it among 3m + 1 generals.

Unrolled it is m + 1 rounds: in round r each lieutenant relays all that he was told in round r - 1.
What a general tells himself needs no frame, and a traitor does not lie to himself.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from node.effects import Decide, Effect, Reason, Refuse, Send
from node.messages import Content, Oral
from node.orders import Codes, Domain, GeneralId, Value, others
from node.protocols.oral import read_oral
from node.quorums import lockstep_rounds, majority, tally


class FlatVote:
    """One general's part in the flat vote. `order` is the commander's own and nobody else's."""

    def __init__(
        self,
        *,
        me: GeneralId,
        n: int,
        m: int,
        commander: GeneralId,
        domain: Domain,
        order: Value | None = None,
    ) -> None:
        self.rounds = lockstep_rounds(m)
        self._me = me
        self._n = n
        self._commander = commander
        self._domain = domain
        self._peers = others(range(n), commander, me)
        #: What I was told in the last round, speaker by speaker; the commander's own order.
        self._told: Codes = self._codes(0 if order is None else 1, order)

    def speakers(self, round: int) -> frozenset[GeneralId]:
        if self._me == self._commander:
            return frozenset(self._peers if self.rounds > 1 and round == self.rounds else ())
        return frozenset([self._commander] if round == 1 else self._peers)

    def say(self, round: int) -> list[Send]:
        if (self._me == self._commander) is not (round == 1):
            return []
        if round == self.rounds:
            return self._fv_2_tell_everyone(round)
        return self._fv_1_relay(round)

    def hear(self, round: int, heard: Mapping[GeneralId, Content]) -> list[Effect]:
        if self._me == self._commander and round < self.rounds:
            return []
        refused: list[Effect] = []
        count = values_in_frame(self._n, round)
        told = self._own_votes(round)
        for speaker in sorted(self.speakers(round)):
            codes: Codes | Reason = self._codes(count)
            if speaker in heard:
                codes = read_oral(heard[speaker], count, self._domain)
            if isinstance(codes, Reason):
                refused.append(Refuse(speaker, codes, rule="FV-2"))
                codes = self._codes(count)
            told[speaker] = codes
        self._told = np.concatenate([self._codes(0), *(told[g] for g in sorted(told))])
        return refused

    def decide(self) -> Decide:
        return self._fv_3_count()

    def _fv_1_relay(self, round: int) -> list[Send]:
        return self._send(self._peers, round, "FV-1")

    def _fv_2_tell_everyone(self, round: int) -> list[Send]:
        return self._send(others(range(self._n), self._me), round, "FV-2")

    def _fv_3_count(self) -> Decide:
        values = [self._domain.value(code) for code in self._told]
        return Decide(majority(values, self._domain), tally(values), rule="FV-3")

    def _send(self, to: tuple[GeneralId, ...], round: int, rule: str) -> list[Send]:
        if not to:
            return []
        body = Oral(self._domain.pack(self._told))
        return [Send(to, round, body, messages=len(self._told), rule=rule)]

    def _own_votes(self, round: int) -> dict[GeneralId, Codes]:
        """What I tell myself, which is in the last round alone."""
        speaks = (self._me == self._commander) is (round == 1)
        return {self._me: self._told} if speaks and round == self.rounds else {}

    def _codes(self, count: int, value: Value | None = None) -> Codes:
        code = self._domain.code(self._domain.default if value is None else value)
        return np.full(count, code, dtype=self._domain.dtype)


def values_in_frame(n: int, round: int) -> int:
    """How many values a frame of `round` holds: each of n - 2 others told its sender so many."""
    return int((n - 2) ** max(0, round - 2))


def messages(n: int, m: int) -> int:
    """Words that are told to others: the program's calls, but for those of FV-2 to oneself."""
    if m == 0:
        return n - 1
    relayed = sum((n - 1) * (n - 2) ** (round - 1) for round in range(1, m + 1))
    return int(relayed + (n - 1) ** 2 * (n - 2) ** (m - 1))
