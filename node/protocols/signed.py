"""SM(m): agreement with signed messages (Lamport, Shostak, Pease 1982, section 4).

SM-1  The commander signs and sends his order v:0 to every lieutenant.
SM-2  Lieutenant i, on v:0 and nothing yet, sets V = {v} and sends v:0:i to all others; on
      v:0:j1..jk with v not in V, adds v and, if k < m, sends v:0:j1..jk:i to those not on it.
SM-3  When no more can come, obey choice(V).

Who comes to hold two values under the commander's own signature has found him out. He accuses him,
and hands the two to the others with his next frames, so that all who are loyal hold the proof: no
message of the paper's, and nothing that V depends on.

A round-r order carries exactly r distinct signatures: the commander's first, the link's sender's
last, never the receiver's. Two values are enough: with two, choice is fixed (Dolev, Strong 1983).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from node.effects import Accuse, Decide, Effect, Note, Reason, Refuse, Send
from node.messages import Content, Empty, Signed, SignedOrder
from node.orders import Domain, GeneralId, Value, others
from node.quorums import choice, lockstep_rounds

#: Values kept and relayed.
VALUES_KEPT = 2


class SignedMessages:
    """One general's part in SM(m). The instance is the commander's id.

    `verify(order, instance)` says whether every signature of a chain is good. On a graph, a general
    speaks to his `neighbours` alone, and `rounds` are m + d: SM(m + d - 1), section 6.
    """

    def __init__(
        self,
        *,
        me: GeneralId,
        n: int,
        m: int,
        commander: GeneralId,
        domain: Domain,
        verify: Callable[[SignedOrder, int], bool],
        order: Value | None = None,
        neighbours: Collection[GeneralId] | None = None,
        rounds: int | None = None,
    ) -> None:
        self.rounds = rounds or lockstep_rounds(m)
        self._me = me
        self._n = n
        self._commander = commander
        self._domain = domain
        self._verify = verify
        self._order = order
        near = range(n) if neighbours is None else neighbours
        self._is_near_commander = commander in near
        self._peers = others(near, commander, me)
        #: V, with the order that brought each value; at most two.
        self._accepted: list[tuple[Value, SignedOrder]] = []
        #: How many of V were accepted before the round that is being played.
        self._relayed = 0
        #: The commander's two orders, once he is found out, and whether they were handed on.
        self._proof: tuple[SignedOrder, ...] = ()
        self._is_handed_on = False

    def speakers(self, round: int) -> frozenset[GeneralId]:
        if self._me == self._commander:
            return frozenset()
        if round == 1:
            return frozenset([self._commander] if self._is_near_commander else [])
        return frozenset(self._peers)

    def say(self, round: int) -> list[Send]:
        if self._me == self._commander:
            return self._sm_1_order() if round == 1 else []
        return self._sm_2_relay(round) if round > 1 else []

    def hear(self, round: int, heard: Mapping[GeneralId, Content]) -> list[Effect]:
        effects: list[Effect] = []
        for speaker, body in heard.items():
            if isinstance(body, Signed):
                effects += self._sm_2_accept(round, speaker, body)
                effects += self._take_proof(speaker, body.proof)
            elif not isinstance(body, Empty):
                effects.append(Refuse(speaker, Reason.BAD_SHAPE, rule="SM-2"))
        return effects

    def decide(self) -> Decide:
        return self._sm_3_choice()

    def _sm_1_order(self) -> list[Send]:
        assert self._order is not None
        order = SignedOrder(self._domain.token(self._order), (self._me,), ())
        self._accepted.append((self._order, order))
        return [Send(self._peers, 1, Signed((order,)), messages=1, rule="SM-1")]

    def _sm_2_accept(self, round: int, speaker: GeneralId, body: Signed) -> list[Effect]:
        """Takes what is new and well signed into V.

        One bad signature proves that its sender never was loyal, so the rest of the frame is left
        unread: it bounds what a flood of bogus chains can cost.
        """
        effects: list[Effect] = []
        for order in body.orders:
            fault = self._fault(round, speaker, order)
            value = self._domain.read(order.token) if fault is None else None
            if fault is None and value is None:
                fault = Reason.BAD_VALUE
            if fault is None and self._is_known(value):
                continue
            if fault is None and not self._verify(order, self._commander):
                fault = Reason.BAD_SIGNATURE
            if fault is not None:
                effects.append(Refuse(speaker, fault, rule="SM-2"))
            if fault is Reason.BAD_SIGNATURE:
                break
            if fault is None and value is not None:
                effects += self._add(value, order)
        return effects

    def _fault(self, round: int, speaker: GeneralId, order: SignedOrder) -> Reason | None:
        """What is wrong with the chain's signers in this round, before any costly check."""
        signers = order.signers
        if len(order.signatures) != len(signers) or not signers:
            return Reason.BAD_SHAPE
        if signers[0] != self._commander:
            return Reason.NOT_COMMANDER
        if not all(0 <= signer < self._n for signer in signers):
            return Reason.UNKNOWN_SIGNER
        if len(set(signers)) != len(signers):
            return Reason.REPEATED_SIGNER
        if len(signers) != round:
            return Reason.CHAIN_LENGTH
        if self._me in signers:
            return Reason.SELF_IN_CHAIN
        return Reason.NOT_SENDER if signers[-1] != speaker else None

    def _is_known(self, value: Value | None) -> bool:
        kept = self._accepted
        return len(kept) == VALUES_KEPT or any(value == known for known, _ in kept)

    def _add(self, value: Value, order: SignedOrder) -> list[Effect]:
        self._accepted.append((value, order))
        effects: list[Effect] = [Note(f"accepted {order}", rule="SM-2")]
        if len(self._accepted) == VALUES_KEPT:
            first, second = (
                SignedOrder(order.token, order.signers[:1], order.signatures[:1])
                for _, order in self._accepted
            )
            effects += self._find_out(first, second)
        return effects

    def _find_out(self, first: SignedOrder, second: SignedOrder) -> list[Effect]:
        """Two values under the commander's own signature: he signed both, and nobody else could."""
        if self._proof:
            return []
        self._proof = first, second
        return [Accuse(self._commander, self._commander, (first, second), rule="SM-2")]

    def _take_proof(self, speaker: GeneralId, proof: tuple[SignedOrder, ...]) -> list[Effect]:
        """What another one found out, unless it is known here."""
        if not proof or self._proof:
            return []
        if len(proof) == 2 and self._is_proof(*proof):
            return self._find_out(*proof)
        return [Refuse(speaker, Reason.BAD_PROOF, rule="SM-2")]

    def _is_proof(self, first: SignedOrder, second: SignedOrder) -> bool:
        return first.token != second.token and all(
            order.signers == (self._commander,) and self._verify(order, self._commander)
            for order in (first, second)
        )

    def _sm_2_relay(self, round: int) -> list[Send]:
        """What the last round added to V, under my name, to each lieutenant not on the chain."""
        fresh = tuple(order for _, order in self._accepted[self._relayed :])
        self._relayed = len(self._accepted)
        signers = {signer for order in fresh for signer in order.signers}
        audiences: dict[tuple[SignedOrder, ...], list[GeneralId]] = {}
        for peer in self._peers:
            news = fresh
            if peer in signers:
                news = tuple(order for order in fresh if peer not in order.signers)
            audiences.setdefault(news, []).append(peer)
        proof = () if self._is_handed_on else self._proof
        self._is_handed_on = bool(self._proof)
        return [
            Send(tuple(peers), round, self._under_my_name(news, proof), len(news), rule="SM-2")
            for news, peers in audiences.items()
        ]

    def _under_my_name(
        self, orders: tuple[SignedOrder, ...], proof: tuple[SignedOrder, ...]
    ) -> Signed | Empty:
        if not orders and not proof:
            return Empty()
        signed = (SignedOrder(o.token, (*o.signers, self._me), o.signatures) for o in orders)
        return Signed(tuple(signed), proof)

    def _sm_3_choice(self) -> Decide:
        values = [value for value, _ in self._accepted]
        counted = tuple((value, 1) for value in sorted(values, key=str))
        return Decide(value=choice(values, self._domain), tally=counted, rule="SM-3")


def messages(n: int, m: int) -> int:
    """The paper's messages of a loyal run: one order, told once by everyone who may relay it."""
    return (n - 1) + ((n - 1) * (n - 2) if m > 0 else 0)
