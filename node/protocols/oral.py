"""OM(m): agreement with oral messages (Lamport, Shostak, Pease 1982, section 3).

OM-0  In OM(0) the commander sends his order to every lieutenant; each uses what he receives.
OM-1  The commander sends his order to every lieutenant.
OM-2  Lieutenant i takes what he received, the default if nothing, and acts as the commander of
      OM(m-1) towards the lieutenants not yet on the path.
OM-3  i uses majority(v_1 .. v_n-1): his own received value and, for each j, what he got from j.

Unrolled, the recursion is m + 1 rounds: in round r each lieutenant relays his whole level r - 1 of
the tree of paths in one array (`paths.py`), and after the last round majorities are taken from the
leaves to the root, a level at a time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from node.effects import Decide, Effect, Reason, Refuse, Send
from node.messages import Content, Oral
from node.orders import Codes, Domain, GeneralId, Value, others
from node.protocols import paths
from node.protocols.paths import Positions
from node.quorums import lockstep_rounds, majorities, tally


class OralMessages:
    """One general's part in OM(m). `order` is the commander's own and nobody else's."""

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
        self._commander = commander
        self._domain = domain
        self._order = order
        self._peers = others(range(n), commander, me)
        self._default = domain.code(domain.default)
        #: For each round from the third on, where its rows hold what becomes my level. Looked up
        #: before the rounds, for a forked process is given a copy of each page that it touches.
        self._places = [
            self._taken_from(round) for round in range(3, self.rounds + 1) if me != commander
        ]
        #: levels[r - 1]: (paths of r generals,) codes; levels[0] is what the commander said.
        self.levels: list[Codes] = []

    def speakers(self, round: int) -> frozenset[GeneralId]:
        if self._me == self._commander:
            return frozenset()
        return frozenset([self._commander] if round == 1 else self._peers)

    def say(self, round: int) -> list[Send]:
        if self._me == self._commander:
            return self._om_1_order() if round == 1 else []
        return self._om_2_relay(round) if round > 1 else []

    def hear(self, round: int, heard: Mapping[GeneralId, Content]) -> list[Effect]:
        if self._me == self._commander:
            return []
        return self._om_2_take(round, heard)

    def decide(self) -> Decide:
        if self._me == self._commander:
            assert self._order is not None
            return Decide(value=self._order, tally=((self._order, 1),), rule="OM-1")
        if self.rounds == 1:
            return self._om_0_use()
        return self._om_3_majority()

    def _om_1_order(self) -> list[Send]:
        assert self._order is not None
        codes = np.array([self._domain.code(self._order)], dtype=self._domain.dtype)
        rule = "OM-1" if self.rounds > 1 else "OM-0"
        return [Send(self._peers, 1, Oral(self._domain.pack(codes)), messages=1, rule=rule)]

    def _om_2_take(self, round: int, heard: Mapping[GeneralId, Content]) -> list[Effect]:
        """Takes what was said in `round` into a new level; silence and nonsense leave the default.

        Of speaker j's array, over paths without j, the paths without me become mine that end in j.
        """
        speakers = (self._commander,) if round == 1 else self._peers
        count = values_in_frame(len(self._peers) + 2, round)
        told, refused = self._read(speakers, count, heard)
        if round > 2:
            before, earlier, later, arrivals = self._places[round - 3]
            without_me = told[:before].take(earlier, axis=1), told[before:].take(later, axis=1)
            told = np.concatenate(without_me).reshape(-1)[arrivals]
        self.levels.append(told.reshape(-1))
        return refused

    def _taken_from(self, round: int) -> tuple[int, Positions, Positions, Positions]:
        """How many rows are of peers before me; the paths without me in these and in the others';
        and where each of my paths is then."""
        size = len(self._peers)
        # My rank among the peers of those who come before me, and among the others'.
        before = self._me - (self._me > self._commander)
        earlier = paths.avoiding(size, round - 2, max(before - 1, 0))
        later = paths.avoiding(size, round - 2, min(before, size - 1))
        return before, earlier, later, paths.arrivals(size, round - 1)

    def _read(
        self,
        speakers: tuple[GeneralId, ...],
        count: int,
        heard: Mapping[GeneralId, Content],
    ) -> tuple[Codes, list[Effect]]:
        """(speakers, count): what each said, the default from those who said nothing to the point.

        And the refusals of those who did not.
        """
        domain = self._domain
        size = domain.packed_bytes(count)
        faults: dict[GeneralId, Reason] = {}
        said = [body.values for who in speakers if isinstance(body := heard.get(who), Oral)]
        joined = b"".join(said)
        # Each is looked at by itself only where they are not all as they should be.
        is_whole = len(heard) == len(said) == len(speakers) and {size} == set(map(len, said))
        if not is_whole or domain.are_padded(joined, count):
            faults = {
                speaker: reason
                for speaker, body in heard.items()
                if (reason := oral_fault(body, count, domain)) is not None
            }
            nothing = domain.pack(np.full(count, self._default, dtype=domain.dtype))
            told = {who: body.values for who, body in heard.items() if isinstance(body, Oral)}
            told = dict.fromkeys(speakers, nothing) | told | dict.fromkeys(faults, nothing)
            joined = b"".join([told[who] for who in speakers])
        codes = domain.unpack_rows(joined, len(speakers), count)
        if not domain.are_codes(codes):
            codes = codes.copy()
            for speaker, row in zip(speakers, codes, strict=True):
                if not domain.are_codes(row):
                    row[:] = self._default
                    faults[speaker] = Reason.BAD_VALUE
        return codes, [Refuse(who, faults[who], rule="OM-2") for who in sorted(faults)]

    def _om_2_relay(self, round: int) -> list[Send]:
        """My level r - 1 to all other lieutenants: one array; each skips the paths he is on."""
        if not self._peers:
            return []
        messages = paths.count(len(self._peers) - 1, round - 2)
        body = Oral(self._domain.pack(self.levels[round - 2]))
        return [Send(self._peers, round, body, messages=messages, rule="OM-2")]

    def _om_0_use(self) -> Decide:
        value = self._domain.value(self.levels[0][0])
        return Decide(value=value, tally=((value, 1),), rule="OM-0")

    def _om_3_majority(self) -> Decide:
        resolved = self.resolved()
        votes = self.levels[0].tolist() + resolved[1].tolist()
        counted = tally(map(self._domain.value, votes))
        return Decide(value=self._domain.value(resolved[0][0]), tally=counted, rule="OM-3")

    def resolved(self) -> list[Codes]:
        """Each level by majorities, the root's first: children p:j of paths p stand in rows."""
        resolved = [self.levels[-1]]
        for level in self.levels[-2::-1]:
            votes = resolved[-1].reshape(-1, len(level))
            resolved.append(majorities(level, votes, self._domain))
        return resolved[::-1]


def read_oral(body: Content, count: int, domain: Domain) -> Codes | Reason:
    """The `count` codes that a body holds, or why it holds no such thing."""
    fault = oral_fault(body, count, domain)
    if fault is not None or not isinstance(body, Oral):
        return fault or Reason.BAD_SHAPE
    codes = domain.unpack(body.values, count)
    return codes if domain.are_codes(codes) else Reason.BAD_VALUE


def oral_fault(body: Content, count: int, domain: Domain) -> Reason | None:
    """Why a body cannot be `count` packed values, which are not yet looked at, if it cannot."""
    if not isinstance(body, Oral) or len(body.values) != domain.packed_bytes(count):
        return Reason.BAD_SHAPE
    return Reason.NONCANONICAL if domain.are_padded(body.values, count) else None


def values_in_frame(n: int, round: int) -> int:
    """How many values an oral frame of `round` holds: the paths of the level that it relays."""
    return 1 if round <= 2 else paths.count(n - 2, round - 2)


def messages(n: int, m: int) -> int:
    """The paper's messages of OM(m): (n-1) + (n-1)(n-2) + ... to m + 1 factors."""
    return sum(paths.count(n - 1, factors) for factors in range(1, m + 2))
