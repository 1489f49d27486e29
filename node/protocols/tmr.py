"""Triple modular redundancy: three replicas of one function, and voters (Lyons, Vanderkulk 1962).

Section 1 of the generals' paper begins here: a majority masks a wrong replica only if all replicas
worked on the same input, and if what is no replica's fault, a sensor that says two things, has been
agreed on first.

The commander is the sensor, the next three generals are replicas, the others vote. The function is
an inverter: the opposite of two orders, the negative of a number.

TMR-1  The sensor sends his reading to each replica.
TMR-2  Over a protocol of agreement, the replicas tell one another what they were told.
TMR-3  Each replica computes the function of his input and sends the result to every voter.
TMR-4  Each voter takes the majority of what the replicas sent, the default if there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from node.effects import Decide, Effect, Reason, Refuse, Send
from node.messages import Content, Oral
from node.orders import Domain, GeneralId, Value
from node.protocols.lockstep import Lockstep
from node.protocols.oral import OralMessages, read_oral
from node.quorums import majority, tally

SENSOR: Final = 0
REPLICAS: Final = (1, 2, 3)
#: The sensor and his replicas, among whom the input is agreed on.
INPUT_SIDE: Final = 1 + len(REPLICAS)
ANSWERS: Final = 3


class TripleModular:
    """One general's part. `order` is the sensor's reading and nobody else's.

    `agreement`: his part in the agreement on it, OM(0) where it is sent and no more.
    """

    rounds = ANSWERS

    def __init__(self, *, me: GeneralId, n: int, domain: Domain, agreement: Lockstep) -> None:
        self._me = me
        self._domain = domain
        self._agreement = agreement
        self._voters = tuple(range(INPUT_SIDE, n))
        self._answers: dict[GeneralId, Value] = {}

    def speakers(self, round: int) -> frozenset[GeneralId]:
        if round == ANSWERS:
            return frozenset(REPLICAS if self._me in self._voters else ())
        return self._agreement.speakers(round) if self._agrees_in(round) else frozenset()

    def say(self, round: int) -> list[Send]:
        if round == ANSWERS:
            return self._tmr_3_answer() if self._me in REPLICAS else []
        return self._agreement.say(round) if self._agrees_in(round) else []

    def hear(self, round: int, heard: Mapping[GeneralId, Content]) -> list[Effect]:
        if round < ANSWERS:
            return self._agreement.hear(round, heard) if self._agrees_in(round) else []
        refused: list[Effect] = []
        for replica, body in heard.items():
            codes = read_oral(body, 1, self._domain)
            if isinstance(codes, Reason):
                refused.append(Refuse(replica, codes, rule="TMR-4"))
            else:
                self._answers[replica] = self._domain.value(codes[0])
        return refused

    def decide(self) -> Decide:
        if self._me in self._voters:
            return self._tmr_4_vote()
        if self._me == SENSOR:
            return self._agreement.decide()
        answer = inverted(self._input(), self._domain)
        return Decide(answer, ((answer, 1),), rule="TMR-3")

    def _tmr_3_answer(self) -> list[Send]:
        code = self._domain.code(inverted(self._input(), self._domain))
        body = Oral(self._domain.pack(np.array([code], dtype=self._domain.dtype)))
        return [Send(self._voters, ANSWERS, body, messages=1, rule="TMR-3")]

    def _tmr_4_vote(self) -> Decide:
        votes = [self._answers.get(replica, self._domain.default) for replica in REPLICAS]
        return Decide(majority(votes, self._domain), tally(votes), rule="TMR-4")

    def _input(self) -> Value:
        value = self._agreement.decide().value
        assert not isinstance(value, tuple)
        return value

    def _agrees_in(self, round: int) -> bool:
        return self._me < INPUT_SIDE and round <= self._agreement.rounds


def only_sent(me: GeneralId, domain: Domain, order: Value | None) -> OralMessages:
    """The sensor's reading sent to each replica, and no agreement on it: OM(0)."""
    return OralMessages(me=me, n=INPUT_SIDE, m=0, commander=SENSOR, domain=domain, order=order)


def inverted(value: Value, domain: Domain) -> Value:
    """The function that is replicated: any one would do, if it is the same everywhere."""
    codes = np.array([domain.code(value)], dtype=domain.dtype)
    return domain.value(domain.opposites(codes)[0])


def messages(n: int, m: int) -> int:
    """The reading to three replicas, and from each a result to each voter."""
    return len(REPLICAS) * (1 + n - INPUT_SIDE)
