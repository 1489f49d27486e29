"""Phase king: agreement in polynomially many messages (Berman, Garay, Perry, FOCS 1989).

The paper has each general begin with a value of his own. Here the commander's order comes first,
so that it solves what OM(m) solves: whoever is loyal begins with what he was told. Then there are
m + 1 phases, each under another king, so that one of them is loyal.

PK-0  The commander sends his order to all. V is what a general was told, the default if nothing.
PK-1  All send V to all. V becomes the value that n - m name, or none.
PK-2  All send V to all. V becomes the value that more than m name, or none.
PK-3  The king sends V, the default for none. Who has none, or whose value fewer than n - m named in
      PK-2, takes the king's.

The shorter form, also known as phase queen, does without PK-1 and needs n > 4m:

PQ-1  All send V to all. V becomes the value that most name.
PQ-2  The king sends V. Whose value no more than n / 2 + m named takes the king's.

Everyone counts his own value as well, and who is silent names none.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from node.effects import Decide, Effect, Reason, Refuse, Send
from node.messages import Content, Empty, Oral
from node.orders import Domain, GeneralId, Value, others
from node.protocols.oral import read_oral
from node.quorums import phase_kings, tally


class _Phases:
    """What both forms share: the order, and phases of `steps` rounds, the king's round last."""

    steps: int

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
        self.rounds = 1 + self.steps * phase_kings(m)
        self._me = me
        self._n = n
        self._m = m
        self._commander = commander
        self._domain = domain
        self._peers = others(range(n), me)
        #: V, and who named what in the last round in which all spoke.
        self._value: Value | None = domain.default if order is None else order
        self._tally: tuple[tuple[Value, int], ...] = ()

    def speakers(self, round: int) -> frozenset[GeneralId]:
        speaker = self._only_speaker(round)
        return frozenset(self._peers if speaker is None else {speaker} - {self._me})

    def say(self, round: int) -> list[Send]:
        if self._only_speaker(round) not in (None, self._me) or not self._peers:
            return []
        if self._is_kings(round):
            return self._tell(round, self._value_or_default())
        return self._tell(round, self._value)

    def hear(self, round: int, heard: Mapping[GeneralId, Content]) -> list[Effect]:
        refused: list[Effect] = []
        named: dict[GeneralId, Value] = {}
        for speaker, body in heard.items():
            if isinstance(body, Empty) and self._only_speaker(round) is None:
                continue
            codes = read_oral(body, 1, self._domain)
            if isinstance(codes, Reason):
                refused.append(Refuse(speaker, codes, rule=self._rule(round)))
            else:
                named[speaker] = self._domain.value(codes[0])
        self._take(round, named)
        return refused

    def decide(self) -> Decide:
        return Decide(self._value_or_default(), self._tally, rule=self._rule(self.rounds))

    def _take(self, round: int, named: Mapping[GeneralId, Value]) -> None:
        """What becomes of V after a round in which each of `named` named a value."""
        if round == 1:
            if self._me != self._commander:
                self._value = named.get(self._commander, self._domain.default)
        elif self._is_kings(round):
            self._obey(self._kings_word(round, named))
        else:
            own = () if self._value is None else (self._value,)
            self._tally = tally([*own, *named.values()])
            self._count((round - 2) % self.steps + 1)

    def _count(self, step: int) -> None:
        raise NotImplementedError

    def _obey(self, word: Value) -> None:
        raise NotImplementedError

    def _kings_word(self, round: int, named: Mapping[GeneralId, Value]) -> Value:
        king = self._only_speaker(round)
        assert king is not None
        return (
            self._value_or_default() if king == self._me else named.get(king, self._domain.default)
        )

    def _most_named(self) -> tuple[Value | None, int]:
        """The value that most name, and how many do; of equals always the same one."""
        return self._tally[0] if self._tally else (None, 0)

    def _tell(self, round: int, value: Value | None) -> list[Send]:
        body: Oral | Empty = Empty()
        if value is not None:
            code = np.array([self._domain.code(value)], dtype=self._domain.dtype)
            body = Oral(self._domain.pack(code))
        return [Send(self._peers, round, body, messages=1, rule=self._rule(round))]

    def _only_speaker(self, round: int) -> GeneralId | None:
        """The commander in round 1, the king in his own round; None where all speak."""
        if round == 1:
            return self._commander
        return (round - 2) // self.steps if self._is_kings(round) else None

    def _is_kings(self, round: int) -> bool:
        return round > 1 and (round - 1) % self.steps == 0

    def _value_or_default(self) -> Value:
        return self._domain.default if self._value is None else self._value

    def _rule(self, round: int) -> str:
        step = 0 if round == 1 else (round - 2) % self.steps + 1
        return f"PK-{step}" if step == 0 or self.steps == 3 else f"PQ-{step}"


class PhaseKing(_Phases):
    """Three rounds a phase, n > 3m. `order` is the commander's own and nobody else's."""

    steps = 3

    def _count(self, step: int) -> None:
        value, times = self._most_named()
        is_enough = times >= self._n - self._m if step == 1 else times > self._m
        self._value = value if is_enough else None

    def _obey(self, word: Value) -> None:
        _, times = self._most_named()
        if self._value is None or times < self._n - self._m:
            self._value = word


class PhaseQueen(_Phases):
    """Two rounds a phase, n > 4m. `order` is the commander's own and nobody else's."""

    steps = 2

    def _count(self, step: int) -> None:
        self._value, _ = self._most_named()

    def _obey(self, word: Value) -> None:
        _, times = self._most_named()
        if 2 * times <= self._n + 2 * self._m:
            self._value = word


def king_messages(n: int, m: int) -> int:
    """The order, and in each phase two rounds in which all speak and the king's."""
    return (n - 1) + phase_kings(m) * (2 * n * (n - 1) + n - 1)


def queen_messages(n: int, m: int) -> int:
    return (n - 1) + phase_kings(m) * (n * (n - 1) + n - 1)
