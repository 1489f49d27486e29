"""Any lockstep protocol on a sparse graph, over vertex-disjoint paths (Dolev 1982).

Each round of the protocol takes as many rounds here as the longest path has hops. What one general
says to another goes along 2m + 1 vertex-disjoint paths, or over their own link if they have one;
m traitors stand on at most m of them, so what m + 1 paths bring is what was said. The sender of a
message is its path's origin, and every hop checks that it came from his predecessor on a path that
all know.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from node.effects import Decide, Effect, Reason, Refuse, Send
from node.messages import Body, Bundle, Empty, Parcel, Parcels
from node.orders import Brief, GeneralId
from node.protocols.lockstep import Lockstep


def relayed(me: GeneralId, brief: Brief, part: Lockstep) -> Lockstep:
    """The part as it is played on the brief's graph: itself where no path has to be taken."""
    return Relay(me, brief, part) if brief.paths else part


class Relay:
    """One general's part: his own in the protocol, and a hop on the paths that lead through him."""

    def __init__(self, me: GeneralId, brief: Brief, part: Lockstep) -> None:
        self.rounds = part.rounds * brief.reach
        self._me = me
        self._part = part
        self._hops = brief.reach
        self._needed = brief.m + 1
        self._paths = frozenset(brief.paths)
        #: The paths that begin here, by target.
        self._routes: dict[GeneralId, list[tuple[GeneralId, ...]]] = defaultdict(list)
        for path in brief.paths:
            if path[0] == me:
                self._routes[path[-1]].append(path)
        #: By hop, who speaks to me and to whom I speak: along some path, whoever has its word.
        self._before: dict[int, frozenset[GeneralId]] = {}
        self._after: dict[int, tuple[GeneralId, ...]] = {}
        for hop in range(1, brief.reach + 1):
            steps = {(path[hop - 1], path[hop]) for path in brief.paths if len(path) > hop}
            self._before[hop] = frozenset(a for a, b in steps if b == me)
            self._after[hop] = tuple(sorted(b for a, b in steps if a == me))
        self._carried: dict[tuple[GeneralId, ...], Body | Bundle] = {}
        self._arrived: dict[tuple[GeneralId, ...], Body | Bundle] = {}

    def speakers(self, round: int) -> frozenset[GeneralId]:
        return self._before[self._hop(round)]

    def say(self, round: int) -> list[Send]:
        hop = self._hop(round)
        parcels: dict[GeneralId, list[Parcel]] = defaultdict(list)
        messages: Counter[GeneralId] = Counter()
        rules: dict[GeneralId, str] = {}
        if hop == 1:
            for send in self._part.say(self._step(round)):
                for target in send.to:
                    for path in self._routes[target]:
                        assert not isinstance(send.body, Parcels)
                        parcels[path[1]].append(Parcel(path, send.body))
                        rules[path[1]] = send.rule
                    messages[self._routes[target][0][1]] += send.messages
        else:
            for path, body in sorted(self._carried.items()):
                parcels[path[hop]].append(Parcel(path, body))
        self._carried.clear()
        return [
            Send(
                (peer,),
                round,
                Parcels(tuple(parcels[peer])) if parcels[peer] else Empty(),
                messages[peer],
                rules.get(peer, "relay"),
            )
            for peer in self._after[hop]
        ]

    def hear(self, round: int, heard: Mapping[GeneralId, Body | Bundle | Parcels]) -> list[Effect]:
        hop = self._hop(round)
        refused: list[Effect] = []
        for speaker, body in heard.items():
            if isinstance(body, Parcels):
                refused += self._take(hop, speaker, body)
            elif not isinstance(body, Empty):
                refused.append(Refuse(speaker, Reason.BAD_SHAPE, rule="relay"))
        if hop < self._hops:
            return refused
        step = self._step(round)
        found = {origin: self._believed(origin) for origin in sorted(self._part.speakers(step))}
        believed = {origin: body for origin, body in found.items() if body is not None}
        self._arrived.clear()
        return refused + self._part.hear(step, believed)

    def decide(self) -> Decide:
        return self._part.decide()

    def _hop(self, round: int) -> int:
        return (round - 1) % self._hops + 1

    def _step(self, round: int) -> int:
        """The protocol's own round."""
        return (round - 1) // self._hops + 1

    def _take(self, hop: int, speaker: GeneralId, body: Parcels) -> list[Effect]:
        """Keeps what came along its path, for me or for the next on it; the rest is refused."""
        refused: list[Effect] = []
        for parcel in body.parcels:
            path = parcel.path
            place = path[hop - 1 : hop + 1]
            if path not in self._paths or place != (speaker, self._me):
                refused.append(Refuse(speaker, Reason.NOT_ON_PATH, rule="relay"))
                continue
            kept = self._arrived if len(path) == hop + 1 else self._carried
            if path in kept:
                refused.append(Refuse(speaker, Reason.DUPLICATE, rule="relay"))
            else:
                kept[path] = parcel.body
        return refused

    def _believed(self, origin: GeneralId) -> Body | Bundle | None:
        """What more than m paths brought, or the one link that the two have; None if nothing."""
        brought = {path: body for path, body in self._arrived.items() if path[0] == origin}
        direct = brought.get((origin, self._me))
        if direct is not None or not brought:
            return direct
        ((body, paths),) = Counter(brought.values()).most_common(1)
        return body if paths >= self._needed else None
