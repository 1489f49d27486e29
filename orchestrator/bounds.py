"""The bounds of the theorems, seen: below each, a search for the smallest way to break it; at it,
the same search, which finds none.

Traitors say whatever they like, so a search over all they can say is a proof for that size, and a
search over some of it is not: each result says which it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, permutations, product
from random import Random
from typing import Any

from node.orders import ATTACK, RETREAT, GeneralId
from node.quorums import oral_generals_min, signed_generals_min
from orchestrator.backends.simulation import Simulation
from orchestrator.scenario import Outcome, Scenario, from_fields
from orchestrator.trial import play

#: A case of more ways to lie than this is searched at random, so many of them.
EXHAUSTIVE_MAX = 4_000
SAMPLED = 1_000

ORDERS = (ATTACK, RETREAT)


@dataclass(frozen=True)
class Liars:
    """Who are traitors, and all that they can say: the lines of a script that are open, by traitor.

    Each can be said in any of the case's words; None among them is silence.
    """

    who: tuple[GeneralId, ...]
    slots: tuple[tuple[GeneralId, dict[str, Any]], ...]


@dataclass(frozen=True)
class Case:
    """A protocol at or below a bound, and every kind of traitors to be tried against it."""

    title: str
    theorem: str
    is_below: bool
    fields: dict[str, Any]
    liars: tuple[Liars, ...]
    words: tuple[str | None, ...] = ORDERS

    @property
    def ways(self) -> int:
        """How many ways there are to fill all slots, for each order of a loyal commander."""
        return sum(self.ways_of(liars) for liars in self.liars)

    def ways_of(self, liars: Liars) -> int:
        ways: int = len(self.words) ** len(liars.slots)
        return ways if 0 in liars.who else ways * len(ORDERS)


@dataclass(frozen=True)
class Found:
    """What a search came to. `broken` is the first scenario that breaks a promise."""

    case: Case
    tried: int
    is_exhaustive: bool
    broken: Scenario | None
    why: str = ""

    @property
    def is_as_the_theorem_says(self) -> bool:
        return (self.broken is not None) is self.case.is_below


def cases(protocol: str, m_max: int = 2) -> Iterator[Case]:
    """What there is to see of a protocol, the smallest first."""
    for m in range(1, m_max + 1):
        if protocol == "oral":
            yield from _oral(m)
        else:
            yield from _signed(m)


def search(case: Case, on_tried: Callable[[int], None] = lambda tried: None) -> Found:
    """Plays one way to lie after the other until a promise breaks; all of them if none does."""
    is_exhaustive = case.ways <= EXHAUSTIVE_MAX
    lies = _all(case) if is_exhaustive else islice(_some(case), SAMPLED)
    tried = 0
    for tried, scenario in enumerate(lies, start=1):
        verdict = play(scenario, Simulation()).verdict
        on_tried(tried)
        if verdict.outcome in (Outcome.VIOLATION, Outcome.OUT_OF_MODEL):
            return Found(case, tried, is_exhaustive, scenario, verdict.sentence())
    return Found(case, tried, is_exhaustive, None)


def _all(case: Case) -> Iterator[Scenario]:
    for liars in case.liars:
        for order in ORDERS[:1] if 0 in liars.who else ORDERS:
            for words in product(case.words, repeat=len(liars.slots)):
                yield _scenario(case, liars, order, words)


def _some(case: Case) -> Iterator[Scenario]:
    chance = Random(f"byzantine/1/bounds/{case.title}")
    while True:
        liars = chance.choice(case.liars)
        words = tuple(chance.choice(case.words) for _ in liars.slots)
        yield _scenario(case, liars, chance.choice(ORDERS), words)


def _scenario(case: Case, liars: Liars, order: str, words: tuple[str | None, ...]) -> Scenario:
    lines: dict[GeneralId, list[dict[str, Any]]] = {general: [] for general in liars.who}
    for (general, line), word in zip(liars.slots, words, strict=True):
        lines[general].append({**line, "say": word})
    traitors = [
        {"general": general, "strategy": "script", "with": {"lines": said}}
        for general, said in lines.items()
    ]
    return from_fields({**case.fields, "order": order, "traitors": traitors}, "bounds")


def _oral(m: int) -> Iterator[Case]:
    below, bound = oral_generals_min(m) - 1, oral_generals_min(m)
    theorem = "Lamport, Shostak, Pease 1982, Theorem 1"
    for n, size in ((below, "3m"), (bound, "3m + 1")):
        fields = {"protocol": "oral", "n": n, "m": m}
        yield Case(f"OM({m}), n = {n} = {size}", theorem, n == below, fields, _oral_liars(n, m, m))
    if m > 1:
        fields = {"protocol": "oral", "n": bound, "m": m - 1}
        title = f"OM({m - 1}) against {m} traitors, a round too few, n = {bound}"
        yield Case(title, "Fischer, Lynch 1982", True, fields, _oral_liars(bound, m, m - 1))
    else:
        yield _relayed(is_below=True)
        yield _relayed(is_below=False)


def _oral_liars(n: int, traitors: int, m: int) -> tuple[Liars, ...]:
    """The last lieutenants, or the commander and the last of them: all others are alike."""
    casts = (tuple(range(n - traitors, n)), (0, *range(n - traitors + 1, n)))
    return tuple(Liars(who, tuple(_oral_slots(n, m, who))) for who in casts)


def _oral_slots(
    n: int, m: int, traitors: tuple[GeneralId, ...]
) -> Iterator[tuple[GeneralId, dict[str, Any]]]:
    """Every value that a traitor sends to a loyal general, on every path."""
    loyal = [g for g in range(n) if g not in traitors]
    for traitor in traitors:
        if traitor == 0:
            yield from ((0, {"round": 1, "to": to}) for to in loyal)
            continue
        lieutenants = [g for g in range(1, n) if g != traitor]
        for length in range(1, m + 1):
            for middle in permutations(lieutenants, length - 1):
                path = [0, *middle, traitor]
                for to in (g for g in loyal if g not in path):
                    yield traitor, {"round": length + 1, "to": to, "path": path}


def _relayed(is_below: bool) -> Case:
    """OM(1) over 2m paths, and over 2m + 1: a traitor says one thing to each general in a round."""
    fields: dict[str, Any] = {"protocol": "oral", "n": 4, "m": 1, "topology": "ring", "force": True}
    title = "OM(1) relayed on a ring of 4, connectivity 2 = 2m"
    if not is_below:
        edges = [[a, b] for a in range(3) for b in range(3, 6)]
        fields = {"protocol": "oral", "n": 6, "m": 1, "topology": edges}
        title = "OM(1) relayed on K(3,3), connectivity 3 = 2m + 1"
    n = fields["n"]
    traitor = n - 1
    to_all = [to for to in range(n) if to != traitor]
    slots = tuple((traitor, {"round": round, "to": to}) for round in (1, 2) for to in to_all)
    return Case(title, "Dolev 1982", is_below, fields, (Liars((traitor,), slots),))


def _signed(m: int) -> Iterator[Case]:
    """m traitors against SM(m - 1), which takes one round too few, and against SM(m)."""
    n = max(signed_generals_min(m), 3)
    who = (0, *range(n - m + 1, n))
    for played, rounds in ((m - 1, "m"), (m, "m + 1")):
        theorem = "Lamport, Shostak, Pease 1982, section 4; Fischer, Lynch 1982"
        title = f"SM({played}) against {m} traitor{'s' * (m > 1)}, {rounds} rounds, n = {n}"
        fields = {"protocol": "signed", "n": n, "m": played}
        liars = (Liars(who, tuple(_signed_slots(n, played, who))),)
        yield Case(title, theorem, played < m, fields, liars, (*ORDERS, None))


def _signed_slots(
    n: int, m: int, traitors: tuple[GeneralId, ...]
) -> Iterator[tuple[GeneralId, dict[str, Any]]]:
    """What traitors can sign for a loyal general, in every round, by chains of traitors alone."""
    loyal = [g for g in range(n) if g not in traitors]
    yield from ((0, {"round": 1, "to": to}) for to in loyal)
    for round in range(2, m + 2):
        for chain in permutations(traitors[1:], round - 1):
            for to in loyal:
                yield chain[-1], {"round": round, "to": to, "chain": [0, *chain]}
